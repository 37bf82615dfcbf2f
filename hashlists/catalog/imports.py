"""Imports as a whole: begun under an idempotency key, and found again under it.

How their rows are staged is told by `staging`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.exchanges import require_source_fits
from hashlists.catalog.open_change import open_change
from hashlists.catalog.records import FinishedImport, ImportSource
from hashlists.catalog.schema import (
    ChangeState,
    changes,
    entries,
    hash_lists,
    imports,
    list_counts,
)
from hashlists.catalog.staging import Before, StagedImport
from hashlists.catalog.sweep import sweep
from hashlists.catalog.tombstones import read_tombstones
from hashlists.errors import ImportConflictError, ImportInProgressError
from hashlists.model import ChangeKind

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from hashlists.catalog.commit import ChangeAuthor


def begin_import(
    engine: Engine, by: ChangeAuthor, source: ImportSource, *, latest: bool = False
) -> StagedImport:
    """Begins to stage an import; nothing of it is seen before its commit. See `Catalog`.

    Raises:
        ImportInProgressError: another import of this list, or under this idempotency key, is
            under way in a living process.
        ImportConflictError: an import under this key has ended; see `find_import`.
        ListFedError: an exchange fills the list, and the source is another.
    """
    _free_key(engine, source.idempotency_key)
    details = {
        "format": source.format,
        "file_sha256": source.sha256,
        "file_length": source.length,
        "idempotency_key": source.idempotency_key,
        "request_sha256": source.request_sha256,
    }
    change = open_change(engine, by, details=details)
    try:
        with catalog_errors(), engine.connect() as connection:
            require_source_fits(connection, by, source.exchange_id)
            before = _before(connection, by.list_id)
            tombstones = read_tombstones(connection, by.list_id)
    except BaseException:
        change.abort()
        raise
    return StagedImport(change, before=before, tombstones=tombstones, latest=latest)


def find_import(connection: Connection, idempotency_key: str) -> FinishedImport | None:
    """The import that ended well under that key; None when there is none."""
    query = (
        select(imports, changes, hash_lists.c.name)
        .join(changes, changes.c.change_id == imports.c.change_id)
        .join(hash_lists, hash_lists.c.list_id == changes.c.list_id)
        .where(imports.c.idempotency_key == idempotency_key)
        .where(changes.c.state.in_([ChangeState.COMMITTED, ChangeState.EMPTY]))
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    source = ImportSource(
        format=row.format,
        sha256=row.file_sha256,
        length=row.file_length,
        importer=row.author,
        reason=row.reason,
        idempotency_key=idempotency_key,
        request_sha256=row.request_sha256,
    )
    return FinishedImport(row.name, source, row.revision or 0, json.loads(row.report or "{}"))


def _before(connection: Connection, list_id: int) -> Before:
    held = select(entries.c.entry_id).where(entries.c.list_id == list_id).limit(1)
    in_force = select(func.sum(list_counts.c.entries)).where(list_counts.c.list_id == list_id)
    last = (
        select(imports.c.format)
        .join(changes, changes.c.change_id == imports.c.change_id)
        .where(changes.c.list_id == list_id, changes.c.kind == ChangeKind.IMPORT)
        .where(changes.c.state.in_([ChangeState.COMMITTED, ChangeState.EMPTY]))
        .order_by(changes.c.change_id.desc())
        .limit(1)
    )
    return Before(
        fresh=connection.execute(held).first() is None,
        entries=int(connection.execute(in_force).scalar() or 0),
        format=connection.execute(last).scalar(),
    )


def _free_key(engine: Engine, idempotency_key: str | None) -> None:
    """Sees to it that no import holds the key, or says which does."""
    if idempotency_key is None:
        return
    with catalog_errors(), engine.connect() as connection:
        ended = find_import(connection, idempotency_key) is not None
    if ended:
        raise ImportConflictError("an import under this idempotency key has ended already")
    query = select(imports.c.change_id).where(imports.c.idempotency_key == idempotency_key)
    for _ in range(2):
        with catalog_errors(), engine.connect() as connection:
            if connection.execute(query).first() is None:
                return
        sweep(engine)
    raise ImportInProgressError("an import under this idempotency key is under way")
