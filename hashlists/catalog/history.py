"""The revisions as they were committed: who changed which list, when and why. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hashlists.catalog.interning import handling_from_document
from hashlists.catalog.records import from_microseconds
from hashlists.catalog.schema import changes, handlings, hash_lists, list_handlings, revisions
from hashlists.model import ChangeKind, Revision

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row


def list_revisions(
    connection: Connection, *, list_id: int | None, before: int | None, limit: int
) -> list[Revision]:
    """Revisions below `before`, newest first; of one list, or of all."""
    query = (
        select(
            revisions,
            changes.c.kind,
            changes.c.author,
            changes.c.reason,
            hash_lists.c.name,
            handlings.c.document,
        )
        .join(changes, changes.c.change_id == revisions.c.change_id)
        .join(hash_lists, hash_lists.c.list_id == changes.c.list_id)
        .outerjoin(list_handlings, list_handlings.c.change_id == changes.c.change_id)
        .outerjoin(handlings, handlings.c.handling_id == list_handlings.c.handling_id)
        .order_by(revisions.c.number.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(revisions.c.number < before)
    if list_id is not None:
        query = query.where(changes.c.list_id == list_id)
    return [_revision(row) for row in connection.execute(query)]


def _revision(row: Row[Any]) -> Revision:
    return Revision(
        number=row.number,
        kind=ChangeKind(row.kind),
        list_name=row.name,
        author=row.author,
        reason=row.reason,
        committed_at=from_microseconds(row.committed_at),
        added=row.added,
        updated=row.updated,
        retracted=row.retracted,
        restored=row.restored,
        handling=None if row.document is None else handling_from_document(row.document),
    )
