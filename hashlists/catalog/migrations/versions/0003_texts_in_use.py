"""Whether any version has a classification or handling is looked up, and not searched for.

A purge asks it while it keeps all other writers waiting.
"""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds two indexes, which takes some seconds for each million entries."""
    for column in ("classification_id", "handling_id"):
        op.create_index(f"ix_entry_versions_{column}", "entry_versions", [column])
