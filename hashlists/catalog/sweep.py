"""Finds changes that are open, and removes those that nobody will commit, with all their rows.

Invariants: what a living process stages is never removed; a change is marked before its first row
goes, so that an owner that lives after all cannot go on or commit; each transaction is short.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select, update

from hashlists.catalog.engine import catalog_errors, is_held, writer
from hashlists.catalog.records import now_microseconds, read_catalog_id
from hashlists.catalog.schema import (
    VERSIONS_PER_CHANGE,
    ChangeState,
    changes,
    derived_hashes,
    entries,
    entry_versions,
    extra_hashes,
    imports,
    retractions,
)
from hashlists.catalog.staged_counts import forget_counts
from hashlists.catalog.text_uses import forget_uses

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Row

_SWEPT_ROWS = 5_000


def sweep(engine: Engine) -> int:
    """Removes what dead processes had staged, in short transactions.

    Returns:
        Rows of `entry_versions` removed.
    """
    with catalog_errors(), engine.connect() as connection:
        dead = dead_changes(connection, open_changes(connection))
    return sum(remove_change(engine, change_id) for change_id in dead)


def open_changes(connection: Connection, list_id: int | None = None) -> list[Row[Any]]:
    """Rows of the changes that have not ended, of one list or of all."""
    query = select(changes).where(changes.c.state.in_([ChangeState.STAGING, ChangeState.ABANDONED]))
    if list_id is not None:
        query = query.where(changes.c.list_id == list_id)
    return list(connection.execute(query).all())


def dead_changes(connection: Connection, found: list[Row[Any]]) -> list[int]:
    """Ids of those open changes that nobody will end."""
    if not found:
        return []
    catalog_id, now = read_catalog_id(connection), now_microseconds()
    return [
        change.change_id
        for change in found
        if change.state == ChangeState.ABANDONED
        or not is_held(connection, catalog_id, change, now=now)
    ]


def remove_change(engine: Engine, change_id: int) -> int:
    """Removes a change that will never be committed, with all its rows.

    First it is marked, so that an owner that lives after all cannot go on or commit.

    Returns:
        Rows of `entry_versions` removed.
    """
    this_change = update(changes).where(changes.c.change_id == change_id)
    with catalog_errors(), writer(engine).begin() as connection:
        marked = connection.execute(
            this_change.where(
                changes.c.state.in_([ChangeState.STAGING, ChangeState.ABANDONED])
            ).values(state=ChangeState.ABANDONED)
        )
        if marked.rowcount != 1:
            return 0
    removed = 0
    while rows := _remove_some(engine, change_id):
        removed += rows
    while _forget_some(engine, change_id):
        pass
    with catalog_errors(), writer(engine).begin() as connection:
        connection.execute(delete(retractions).where(retractions.c.change_id == change_id))
        connection.execute(delete(derived_hashes).where(derived_hashes.c.change_id == change_id))
        connection.execute(delete(imports).where(imports.c.change_id == change_id))
        forget_counts(connection, change_id)
        connection.execute(
            this_change.where(changes.c.state == ChangeState.ABANDONED).values(
                state=ChangeState.ABORTED
            )
        )
    return removed


def _remove_some(engine: Engine, change_id: int) -> int:
    """Removes up to `_SWEPT_ROWS` staged versions, and the entries that came with them."""
    first = change_id * VERSIONS_PER_CHANGE
    version = entry_versions.c.version_id
    query = (
        select(version, entry_versions.c.entry_id)
        .where(version >= first, version < first + VERSIONS_PER_CHANGE)
        .order_by(version)
        .limit(_SWEPT_ROWS)
    )
    with catalog_errors(), writer(engine).begin() as connection:
        rows = connection.execute(query).all()
        if not rows:
            return 0
        last = rows[-1].version_id
        extra = extra_hashes.c.version_id
        connection.execute(delete(extra_hashes).where(extra >= first, extra <= last))
        for hanging in (retractions, derived_hashes):
            connection.execute(
                delete(hanging).where(
                    hanging.c.change_id == change_id,
                    hanging.c.entry_id.in_([row.entry_id for row in rows]),
                )
            )
        connection.execute(delete(entry_versions).where(version >= first, version <= last))
        connection.execute(
            delete(entries).where(
                entries.c.change_id == change_id,
                entries.c.entry_id.in_([row.entry_id for row in rows]),
            )
        )
    return len(rows)


def _forget_some(engine: Engine, change_id: int) -> bool:
    """Forgets up to `_SWEPT_ROWS` of what the change used of each kind of text; False at the end.

    Its versions are gone by then.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        return forget_uses(connection, change_id, at_most=_SWEPT_ROWS)
