"""The first catalog: lists, revisions, entries and their versions, retractions, clients."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Makes all tables."""
    op.create_table(
        "classifications",
        sa.Column("classification_id", _ID, nullable=False),
        sa.Column("scheme", sa.Text(), nullable=False),
        sa.Column("profile", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("classification_id", name=op.f("pk_classifications")),
        sa.UniqueConstraint(
            "scheme", "profile", "code", name=op.f("uq_classifications_scheme_profile_code")
        ),
    )
    op.create_table(
        "clients",
        sa.Column("client_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("policy", sa.String(length=63), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", _ID, nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_clients")),
        sa.UniqueConstraint("identity", name=op.f("uq_clients_identity")),
        sa.UniqueConstraint("name", name=op.f("uq_clients_name")),
        sa.UniqueConstraint("token_sha256", name=op.f("uq_clients_token_sha256")),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", _ID, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.create_table(
        "entries",
        sa.Column("entry_id", _ID, autoincrement=False, nullable=False),
        sa.Column("list_id", _ID, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("source_key", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_entries")),
        sa.UniqueConstraint("list_id", "source_key", name=op.f("uq_entries_list_id_source_key")),
    )
    op.create_table(
        "handlings",
        sa.Column("handling_id", _ID, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("expires_at", _ID, nullable=True),
        sa.PrimaryKeyConstraint("handling_id", name=op.f("pk_handlings")),
        sa.UniqueConstraint("document", name=op.f("uq_handlings_document")),
    )
    op.create_table(
        "head",
        sa.Column("head_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("revision", _ID, nullable=False),
        sa.CheckConstraint("head_id = 1", name=op.f("ck_head_one_row")),
        sa.PrimaryKeyConstraint("head_id", name=op.f("pk_head")),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_meta")),
    )
    op.create_table(
        "entry_versions",
        sa.Column("version_id", _ID, autoincrement=False, nullable=False),
        sa.Column("entry_id", _ID, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("kinds", sa.SmallInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.Column("flags_known", sa.SmallInteger(), nullable=False),
        sa.Column("size", _ID, nullable=True),
        sa.Column("classification_id", _ID, nullable=True),
        sa.Column("handling_id", _ID, nullable=False),
        sa.Column("verified_count", _ID, nullable=True),
        sa.Column("media_type", sa.Text(), nullable=True),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("source_updated_at", sa.Text(), nullable=True),
        sa.Column("content_digest", sa.LargeBinary(), nullable=False),
        sa.Column("md5", sa.LargeBinary(), nullable=True),
        sa.Column("sha1", sa.LargeBinary(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("pdq", sa.LargeBinary(), nullable=True),
        sa.Column("phash", sa.LargeBinary(), nullable=True),
        sa.Column("dhash", sa.LargeBinary(), nullable=True),
        sa.Column("ahash", sa.LargeBinary(), nullable=True),
        sa.Column("whash", sa.LargeBinary(), nullable=True),
        sa.Column("photodna", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["entries.entry_id"], name=op.f("fk_entry_versions_entry_id")
        ),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_entry_versions")),
    )
    op.create_index("ix_entry_versions_entry_id", "entry_versions", ["entry_id"])
    op.create_table(
        "hash_lists",
        sa.Column("list_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("harm", sa.String(length=32), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("legal_basis", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("handling_id", _ID, nullable=False),
        sa.Column("created_at", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["handling_id"], ["handlings.handling_id"], name=op.f("fk_hash_lists_handling_id")
        ),
        sa.PrimaryKeyConstraint("list_id", name=op.f("pk_hash_lists")),
        sa.UniqueConstraint("name", name=op.f("uq_hash_lists_name")),
    )
    op.create_table(
        "changes",
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("list_id", _ID, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("revision", _ID, nullable=True),
        sa.Column("started_at", _ID, nullable=False),
        sa.Column("heartbeat_at", _ID, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "(state = 'committed') = (revision IS NOT NULL)",
            name=op.f("ck_changes_revision_if_committed"),
        ),
        sa.ForeignKeyConstraint(
            ["list_id"], ["hash_lists.list_id"], name=op.f("fk_changes_list_id")
        ),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_changes")),
        sa.UniqueConstraint("revision", name=op.f("uq_changes_revision")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_list_id", "changes", ["list_id", "revision"])
    op.create_index(
        "uq_changes_open",
        "changes",
        ["list_id"],
        unique=True,
        sqlite_where=sa.text("state IN ('staging', 'abandoned')"),
        postgresql_where=sa.text("state IN ('staging', 'abandoned')"),
    )
    op.create_table(
        "extra_hashes",
        sa.Column("version_id", _ID, autoincrement=False, nullable=False),
        sa.Column("ordinal", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("derivation", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["version_id"], ["entry_versions.version_id"], name=op.f("fk_extra_hashes_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "ordinal", name=op.f("pk_extra_hashes")),
    )
    op.create_table(
        "change_counts",
        sa.Column("count_id", _ID, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("kinds", sa.SmallInteger(), nullable=False),
        sa.Column("handling_id", _ID, nullable=False),
        sa.Column("entries", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_change_counts_change_id")
        ),
        sa.PrimaryKeyConstraint("count_id", name=op.f("pk_change_counts")),
    )
    op.create_index("ix_change_counts_change_id", "change_counts", ["change_id"])
    op.create_table(
        "change_classifications",
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("classification_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_change_classifications_change_id")
        ),
        sa.ForeignKeyConstraint(
            ["classification_id"],
            ["classifications.classification_id"],
            name=op.f("fk_change_classifications_classification_id"),
        ),
        sa.PrimaryKeyConstraint(
            "change_id", "classification_id", name=op.f("pk_change_classifications")
        ),
    )
    op.create_index(
        "ix_change_classifications_classification_id",
        "change_classifications",
        ["classification_id"],
    )
    op.create_table(
        "imports",
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("format", sa.String(length=64), nullable=False),
        sa.Column("file_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("file_length", _ID, nullable=False),
        sa.Column("request_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_imports_change_id")
        ),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_imports")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_imports_idempotency_key")),
    )
    op.create_table(
        "purged_entries",
        sa.Column("entry_id", _ID, autoincrement=False, nullable=False),
        sa.Column("list_id", _ID, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_purged_entries_change_id")
        ),
        sa.ForeignKeyConstraint(
            ["list_id"], ["hash_lists.list_id"], name=op.f("fk_purged_entries_list_id")
        ),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_purged_entries")),
    )
    op.create_table(
        "retractions",
        sa.Column("retraction_id", _ID, nullable=False),
        sa.Column("entry_id", _ID, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("origin", sa.String(length=16), nullable=False),
        sa.Column("action", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_retractions_change_id")
        ),
        sa.ForeignKeyConstraint(
            ["entry_id"], ["entries.entry_id"], name=op.f("fk_retractions_entry_id")
        ),
        sa.PrimaryKeyConstraint("retraction_id", name=op.f("pk_retractions")),
        sa.UniqueConstraint(
            "entry_id", "change_id", "origin", name=op.f("uq_retractions_entry_id_change_id_origin")
        ),
    )
    op.create_index("ix_retractions_change_id", "retractions", ["change_id"])
    op.create_table(
        "revisions",
        sa.Column("number", _ID, autoincrement=False, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("committed_at", _ID, nullable=False),
        sa.Column("added", _ID, nullable=False),
        sa.Column("updated", _ID, nullable=False),
        sa.Column("retracted", _ID, nullable=False),
        sa.Column("restored", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_revisions_change_id")
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_revisions")),
        sa.UniqueConstraint("change_id", name=op.f("uq_revisions_change_id")),
    )
    op.create_table(
        "tombstones",
        sa.Column("list_id", _ID, autoincrement=False, nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_tombstones_change_id")
        ),
        sa.ForeignKeyConstraint(
            ["list_id"], ["hash_lists.list_id"], name=op.f("fk_tombstones_list_id")
        ),
        sa.PrimaryKeyConstraint("list_id", "digest", name=op.f("pk_tombstones")),
    )
