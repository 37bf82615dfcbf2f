"""The catalog's tables, and the few constants that their meaning hangs on.

Invariants: a row of `entry_versions` or `retractions` counts for readers only once its change
carries a revision number; rows are appended, never altered, and only `purge` and the sweep of an
abandoned change delete any. `version_id` is `change_id * VERSIONS_PER_CHANGE + ordinal`, so the
primary key is also the index by change. No hash value is indexed here: looking up hashes is the
work of the in-memory index. Times are microseconds since 1970-01-01 UTC.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from hashlists.model import HashKind

#: The migration that brings an empty database to exactly these tables.
SCHEMA_VERSION = "0010"

#: Versions that one change may append: the low 32 bits of `version_id`.
VERSIONS_PER_CHANGE = 2**32

#: Bit of each kind in `entry_versions.kinds`. Stored for good: append, never renumber.
KIND_BITS: dict[HashKind, int] = {
    HashKind.MD5: 1,
    HashKind.SHA1: 2,
    HashKind.SHA256: 4,
    HashKind.PDQ: 8,
    HashKind.PHASH: 16,
    HashKind.DHASH: 32,
    HashKind.AHASH: 64,
    HashKind.WHASH: 128,
    HashKind.PHOTODNA: 256,
}


class ChangeState(StrEnum):
    """Where a change stands. Only `COMMITTED` changes have a revision and are seen."""

    STAGING = "staging"
    ABANDONED = "abandoned"  # its rows are being removed
    ABORTED = "aborted"  # its rows are gone
    EMPTY = "empty"  # ended well, and nothing had changed
    COMMITTED = "committed"


class Origin(StrEnum):
    """Who retracted an entry. An entry counts as retracted while either origin says so."""

    SOURCE = "source"
    OPERATOR = "operator"


class Action(StrEnum):
    """What a row of `retractions` does."""

    RETRACT = "retract"
    RESTORE = "restore"


# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_Id = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Name in `meta` of the catalog's own identity.
CATALOG_ID_NAME = "catalog_id"
#: Name in `meta` of the note that purged entries have left traces in the database's files.
WIPE_OWED_NAME = "wipe_owed"

#: The catalog's own identity, the key of its tombstones, and whether a wipe is owed.
meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

#: One row. Whoever draws a revision number holds this row's lock until the commit.
head = Table(
    "head",
    metadata,
    Column("head_id", Integer, primary_key=True, autoincrement=False),
    Column("revision", _Id, nullable=False),
    CheckConstraint("head_id = 1", name="one_row"),
)

#: Numbers that are handed out once and never again, also after a purge.
counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", _Id, nullable=False),
)

classifications = Table(
    "classifications",
    metadata,
    Column("classification_id", _Id, primary_key=True),
    Column("scheme", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("code", Text, nullable=False),
    UniqueConstraint("scheme", "profile", "code"),
)

handlings = Table(
    "handlings",
    metadata,
    Column("handling_id", _Id, primary_key=True),
    # SHA-256 of the document, which may be longer than an index of PostgreSQL takes.
    Column("digest", LargeBinary, nullable=False, unique=True),
    # Canonical JSON: an object of what a record itself said, or an array of all three fields, of a
    # list or of a version of which it is not known what its record said; see `list_handling`.
    Column("document", Text, nullable=False),
    Column("expires_at", _Id),
)

hash_lists = Table(
    "hash_lists",
    metadata,
    Column("list_id", _Id, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("harm", String(32), nullable=False),
    Column("source", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("legal_basis", Text, nullable=False),
    Column("state", String(16), nullable=False),
    # As the newest of its rows in `list_handlings` says.
    Column("handling_id", _Id, ForeignKey("handlings.handling_id"), nullable=False),
    Column("created_at", _Id, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("change_id", _Id, primary_key=True),
    Column("list_id", _Id, ForeignKey("hash_lists.list_id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("author", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("revision", _Id, unique=True),
    Column("started_at", _Id, nullable=False),
    Column("heartbeat_at", _Id, nullable=False),
    Column("owner", Text, nullable=False),  # the process that stages; see owner.py
    CheckConstraint("(state = 'committed') = (revision IS NOT NULL)", name="revision_if_committed"),
    Index("ix_changes_list_id", "list_id", "revision"),
    # At most one change at a time may stage into a list. PostgreSQL's is partial as well: its own
    # word for that, which only the migrations need, would have SQLAlchemy load its dialect.
    Index(
        "uq_changes_open",
        "list_id",
        unique=True,
        sqlite_where=text("state IN ('staging', 'abandoned')"),
    ),
    sqlite_autoincrement=True,
)

#: What each list said of handling from a change on; the first is the one that made the list.
list_handlings = Table(
    "list_handlings",
    metadata,
    Column(
        "change_id", _Id, ForeignKey("changes.change_id"), primary_key=True, autoincrement=False
    ),
    Column("list_id", _Id, ForeignKey("hash_lists.list_id"), nullable=False),
    Column("handling_id", _Id, ForeignKey("handlings.handling_id"), nullable=False),
    Index("ix_list_handlings_list_id", "list_id"),
    Index("ix_list_handlings_handling_id", "handling_id"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("number", _Id, primary_key=True, autoincrement=False),
    Column("change_id", _Id, ForeignKey("changes.change_id"), nullable=False, unique=True),
    Column("committed_at", _Id, nullable=False),
    Column("added", _Id, nullable=False),
    Column("updated", _Id, nullable=False),
    Column("retracted", _Id, nullable=False),
    Column("restored", _Id, nullable=False),
    # Random, so that the same number given again after a restore is seen to be another commit.
    Column("mark", LargeBinary, nullable=False),
)

imports = Table(
    "imports",
    metadata,
    Column("change_id", _Id, ForeignKey("changes.change_id"), primary_key=True),
    Column("format", String(64), nullable=False),
    Column("file_sha256", LargeBinary, nullable=False),
    Column("file_length", _Id, nullable=False),
    Column("request_sha256", LargeBinary, nullable=False),  # of all that was asked for
    Column("idempotency_key", Text, unique=True),
    Column("report", Text),  # JSON, set at the end
)

entries = Table(
    "entries",
    metadata,
    Column("entry_id", _Id, primary_key=True, autoincrement=False),
    Column("list_id", _Id, nullable=False),
    Column("change_id", _Id, nullable=False),  # the change that first brought it
    Column("source_key", LargeBinary, nullable=False),
    UniqueConstraint("list_id", "source_key"),
)

entry_versions = Table(
    "entry_versions",
    metadata,
    Column("version_id", _Id, primary_key=True, autoincrement=False),
    Column("entry_id", _Id, ForeignKey("entries.entry_id"), nullable=False),
    Column("change_id", _Id, nullable=False),
    Column("kinds", SmallInteger, nullable=False),  # which hashes it has, as KIND_BITS
    Column("flags", SmallInteger, nullable=False),
    Column("flags_known", SmallInteger, nullable=False),
    Column("size", _Id),
    Column("classification_id", _Id),
    Column("handling_id", _Id, nullable=False),
    Column("verified_count", _Id),
    Column("media_type", Text),
    Column("source_id", Text),
    Column("source_updated_at", Text),
    Column("content_digest", LargeBinary, nullable=False),
    *(Column(kind.value, LargeBinary) for kind in KIND_BITS),
    Index("ix_entry_versions_entry_id", "entry_id"),
)

#: Values of an entry beyond the first of a kind.
extra_hashes = Table(
    "extra_hashes",
    metadata,
    Column(
        "version_id",
        _Id,
        ForeignKey("entry_versions.version_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("derivation", String(32)),  # how it was made from the first value; null: the source's
)

retractions = Table(
    "retractions",
    metadata,
    Column("retraction_id", _Id, primary_key=True),
    Column("entry_id", _Id, ForeignKey("entries.entry_id"), nullable=False),
    Column("change_id", _Id, ForeignKey("changes.change_id"), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("action", String(16), nullable=False),
    Column("reason", Text, nullable=False),
    # When the source withdrew it, by its own clock; null where that is not known. See `older`.
    Column("told_at", _Id),
    UniqueConstraint("entry_id", "change_id", "origin"),
    Index("ix_retractions_change_id", "change_id"),
)

#: Entries in force of each list, by what they carry; every commit brings them up to date, so that
#: telling the coverage costs the same after ten revisions and after ten thousand.
list_counts = Table(
    "list_counts",
    metadata,
    Column("list_id", _Id, ForeignKey("hash_lists.list_id"), primary_key=True, autoincrement=False),
    Column("kinds", SmallInteger, primary_key=True, autoincrement=False),
    Column("handling_id", _Id, primary_key=True, autoincrement=False),
    Column("entries", _Id, nullable=False),
)

#: How a change that is being staged will move `list_counts`, as far as it does not hold that in
#: memory; its commit adds it there.
staged_counts = Table(
    "staged_counts",
    metadata,
    Column("change_id", _Id, ForeignKey("changes.change_id"), primary_key=True),
    Column("kinds", SmallInteger, primary_key=True, autoincrement=False),
    Column("handling_id", _Id, primary_key=True, autoincrement=False),
    Column("entries", _Id, nullable=False),
)

#: How many versions of a change have a classification; one that none has any more goes.
change_classifications = Table(
    "change_classifications",
    metadata,
    Column("change_id", _Id, ForeignKey("changes.change_id"), primary_key=True),
    Column(
        "classification_id",
        _Id,
        ForeignKey("classifications.classification_id"),
        primary_key=True,
    ),
    Column("versions", _Id, nullable=False),
    Index("ix_change_classifications_classification_id", "classification_id"),
)

#: The same of handlings.
change_handlings = Table(
    "change_handlings",
    metadata,
    Column("change_id", _Id, ForeignKey("changes.change_id"), primary_key=True),
    Column("handling_id", _Id, ForeignKey("handlings.handling_id"), primary_key=True),
    Column("versions", _Id, nullable=False),
    Index("ix_change_handlings_handling_id", "handling_id"),
)

#: What was erased for good, so that followers drop it everywhere.
purged_entries = Table(
    "purged_entries",
    metadata,
    Column("entry_id", _Id, primary_key=True, autoincrement=False),
    Column("list_id", _Id, ForeignKey("hash_lists.list_id"), nullable=False),
    Column("change_id", _Id, ForeignKey("changes.change_id"), nullable=False),
    Index("ix_purged_entries_change_id", "change_id"),
)

#: HMAC-SHA256 of purged keys and values, against their coming back with the next import.
tombstones = Table(
    "tombstones",
    metadata,
    Column("list_id", _Id, ForeignKey("hash_lists.list_id"), primary_key=True, autoincrement=False),
    Column("digest", LargeBinary, primary_key=True),
    Column("change_id", _Id, ForeignKey("changes.change_id"), nullable=False),
)

#: Codes that were made here from a file with exactly an entry's digest; see `derived`. Appended,
#: never altered: of what was done to one value the newest counts.
derived_hashes = Table(
    "derived_hashes",
    metadata,
    Column("derived_id", _Id, primary_key=True),
    Column("entry_id", _Id, ForeignKey("entries.entry_id"), nullable=False),
    Column("change_id", _Id, ForeignKey("changes.change_id"), nullable=False),
    Column("action", String(16), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("derivation", String(32), nullable=False),
    # The digest of the file; once the entry has another, the code counts no longer.
    Column("of_kind", String(16), nullable=False),
    Column("of_digest", LargeBinary, nullable=False),
    Index("ix_derived_hashes_entry_id", "entry_id"),
    Index("ix_derived_hashes_change_id", "change_id"),
)

#: What lists did, or in shadow would have done, to the uploads of a day: numbers alone.
match_days = Table(
    "match_days",
    metadata,
    Column("list_id", _Id, ForeignKey("hash_lists.list_id"), primary_key=True, autoincrement=False),
    Column("day", Integer, primary_key=True, autoincrement=False),  # days since 1970, UTC
    Column("policy", String(63), primary_key=True),
    Column("uploads", _Id, nullable=False),
    Column("exact", _Id, nullable=False),
    Column("near", _Id, nullable=False),
)

#: Feeds that fill lists. No credential stands here.
exchanges = Table(
    "exchanges",
    metadata,
    Column("exchange_id", _Id, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("kind", String(32), nullable=False),
    Column("list_id", _Id, ForeignKey("hash_lists.list_id"), nullable=False),
    Column("settings", Text, nullable=False),  # JSON object
    Column("state", String(16), nullable=False),
    Column("created_at", _Id, nullable=False),
    Column("full_at", _Id),  # when all of it was last fetched anew
    Column("full_due_at", _Id),  # since when all of it is owed, until it was fetched anew
    Index("ix_exchanges_list_id", "list_id", unique=True),  # two would withdraw each other's
    sqlite_autoincrement=True,  # a checkpoint never meets another exchange of the same number
)

#: How far each exchange was fetched; replaced in the transaction that makes a page visible.
exchange_checkpoints = Table(
    "exchange_checkpoints",
    metadata,
    Column(
        "exchange_id",
        _Id,
        ForeignKey("exchanges.exchange_id"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("number", _Id, nullable=False),  # counts up, so that nobody replaces what he never saw
    Column("document", Text, nullable=False),  # JSON
    Column("change_id", _Id, ForeignKey("changes.change_id")),
    Column("saved_at", _Id, nullable=False),
)

#: Records of exchanges that could not be taken: where and why, never the record.
exchange_set_aside = Table(
    "exchange_set_aside",
    metadata,
    Column("set_aside_id", _Id, primary_key=True),
    Column("exchange_id", _Id, ForeignKey("exchanges.exchange_id"), nullable=False),
    Column("change_id", _Id, ForeignKey("changes.change_id")),
    Column("seen_at", _Id, nullable=False),
    Column("page", Text, nullable=False),
    Column("place", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("record_sha256", LargeBinary, nullable=False),  # tells repetitions
    Index("ix_exchange_set_aside_exchange_id", "exchange_id", "seen_at"),
    UniqueConstraint("exchange_id", "record_sha256"),
)
