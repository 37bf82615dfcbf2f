"""The catalog's one face: lists, imports, retractions, and reading at one revision.

Invariants: every change becomes visible whole, at one revision, or not at all; what was reported
as committed survives a crash. The parts behind it: `open_change` (visibility), `staging`
(imports), `changes` (the operator's acts), `reader` (bulk reading).
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import insert, select, update

from hashlists.catalog import changes as acts
from hashlists.catalog import lookup
from hashlists.catalog import open_change as opening
from hashlists.catalog.engine import catalog_errors, open_engine, stager, writer
from hashlists.catalog.migrate import migrate
from hashlists.catalog.open_change import ChangeAuthor, ChangeTotals
from hashlists.catalog.reader import CatalogReader
from hashlists.catalog.records import (
    Counts,
    FinishedImport,
    ImportSource,
    ListRecord,
    find_list,
    from_microseconds,
    intern_handling,
    list_record,
    now_microseconds,
    read_handling,
)
from hashlists.catalog.schema import (
    KIND_BITS,
    ChangeState,
    changes,
    classifications,
    entries,
    entry_versions,
    extra_hashes,
    hash_lists,
    imports,
    revisions,
)
from hashlists.catalog.staging import StagedImport
from hashlists.catalog.states import read_head
from hashlists.catalog.tombstones import read_tombstones
from hashlists.catalog.wipe import is_wipe_owed, wipe_deleted
from hashlists.errors import (
    EntryNotFoundError,
    ImportConflictError,
    ImportInProgressError,
    InvalidNameError,
    ListExistsError,
)
from hashlists.model import (
    ChangeKind,
    Classification,
    Entry,
    EntryFlag,
    Harm,
    HashKind,
    HashList,
    ListState,
    Revision,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from sqlalchemy import Connection, Engine, Row

    from hashlists.catalog.lookup import Standing
    from hashlists.model import EntrySelection, PurgeReport, RollbackReport

_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
MAX_PAGE = 1_000


class Catalog:
    """An open catalog. Threads may share it; processes open it each for themselves."""

    def __init__(self, engine: Engine) -> None:
        """Use `Catalog.open`."""
        self._engine = engine

    @classmethod
    def open(cls, url: str) -> Self:
        """Opens the catalog at an SQLAlchemy URL, and makes or upgrades it.

        Raises:
            CatalogError: it cannot be opened, is no catalog, or is of a newer build.
        """
        engine = open_engine(url)
        try:
            migrate(engine)
        except BaseException:
            engine.dispose()
            raise
        return cls(engine)

    def close(self) -> None:
        """Closes all idle connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Lists

    def create_list(self, hash_list: HashList, *, author: str) -> ListRecord:
        """Adds an empty list, as one revision.

        Raises:
            InvalidNameError: the name is not 1 to 63 lower-case letters, digits and inner dashes,
                a letter first.
            ListExistsError: a list of that name exists.
        """
        if not _NAME.fullmatch(hash_list.name):
            raise InvalidNameError(
                "a list's name has 1 to 63 lower-case letters, digits and dashes, begins with a"
                f" letter and does not end with a dash; {hash_list.name!r} does not"
            )
        with self._reading() as connection:
            _require_free_name(connection, hash_list.name)
        # An import that is bringing the same handling is waited for here, not under the lock.
        with catalog_errors(), stager(self._engine).begin() as connection:
            intern_handling(connection, hash_list.handling)
        with self._writing() as connection:
            _require_free_name(connection, hash_list.name)
            now = now_microseconds()
            row_id = connection.execute(
                insert(hash_lists).values(
                    name=hash_list.name,
                    harm=hash_list.harm,
                    source=hash_list.source,
                    title=hash_list.title,
                    legal_basis=hash_list.legal_basis,
                    state=hash_list.state,
                    handling_id=intern_handling(connection, hash_list.handling),
                    created_at=now,
                )
            ).inserted_primary_key
            assert row_id is not None
            by = ChangeAuthor(row_id[0], hash_list.name, ChangeKind.CREATE_LIST, author, "")
            _bare_revision(connection, by)
            return list_record(connection, find_list(connection, hash_list.name), now=now)

    def update_list(
        self,
        name: str,
        *,
        author: str,
        reason: str,
        state: ListState | None = None,
        title: str | None = None,
        legal_basis: str | None = None,
        harm: Harm | None = None,
        source: str | None = None,
    ) -> ListRecord:
        """Changes what is given of a list, as one revision; None leaves it as it is.

        Harm and source are what answers about entries rest on, so they can be corrected only
        while the list has never held an entry.

        Raises:
            ListNotFoundError: no list goes by that name.
            ListExistsError: harm or source would change, and the list holds or held entries, or
                an import into it is under way.
        """
        given = {
            "state": state,
            "title": title,
            "legal_basis": legal_basis,
            "harm": harm,
            "source": source,
        }
        with self._writing() as connection:
            row = find_list(connection, name)
            values = {
                column: value
                for column, value in given.items()
                if value is not None and getattr(row, column) != value
            }
            if values.keys() & {"harm", "source"} and _was_filled(connection, row.list_id):
                raise ListExistsError(
                    f"the list {name!r} holds or held entries, so its harm and source stay as they"
                    " are; import into another list"
                )
            if values:
                connection.execute(
                    update(hash_lists).where(hash_lists.c.list_id == row.list_id).values(values)
                )
                by = ChangeAuthor(row.list_id, name, ChangeKind.UPDATE_LIST, author, reason)
                _bare_revision(connection, by)
            return list_record(connection, find_list(connection, name), now=now_microseconds())

    def get_list(self, name: str) -> ListRecord:
        """One list, with the coverage of its entries in force.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        with self._reading() as connection:
            return list_record(connection, find_list(connection, name), now=now_microseconds())

    def was_filled(self, name: str) -> bool:
        """Whether entries were ever imported into a list, or are being imported now.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        self.sweep()  # what a crashed import has left is not under way
        with self._reading() as connection:
            return _was_filled(connection, find_list(connection, name).list_id)

    def list_lists(self, *, after: str | None = None, limit: int = 100) -> list[ListRecord]:
        """Lists by name, from the one after `after` on; at most 1000."""
        query = select(hash_lists).order_by(hash_lists.c.name).limit(_page(limit))
        if after is not None:
            query = query.where(hash_lists.c.name > after)
        now = now_microseconds()
        with self._reading() as connection:
            return [
                list_record(connection, row, now=now) for row in connection.execute(query).all()
            ]

    # Revisions

    def head(self) -> int:
        """The newest committed revision; 0 when there is none."""
        with self._reading() as connection:
            return read_head(connection)

    def list_revisions(
        self, list_name: str | None = None, *, before: int | None = None, limit: int = 100
    ) -> list[Revision]:
        """Revisions below `before`, newest first; of one list, or of all; at most 1000.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        query = (
            select(revisions, changes.c.kind, changes.c.author, changes.c.reason, hash_lists.c.name)
            .join(changes, changes.c.change_id == revisions.c.change_id)
            .join(hash_lists, hash_lists.c.list_id == changes.c.list_id)
            .order_by(revisions.c.number.desc())
            .limit(_page(limit))
        )
        if before is not None:
            query = query.where(revisions.c.number < before)
        with self._reading() as connection:
            if list_name is not None:
                query = query.where(changes.c.list_id == find_list(connection, list_name).list_id)
            return [_revision(row) for row in connection.execute(query)]

    # Imports

    def begin_import(self, list_name: str, source: ImportSource) -> StagedImport:
        """Begins to stage an import; nothing of it is seen before its commit.

        Raises:
            ListNotFoundError: no list goes by that name.
            ImportInProgressError: another import of this list, or under this idempotency key,
                is under way in a living process.
            ImportConflictError: an import under this key has ended; see `find_import`.
        """
        by = self._author(list_name, ChangeKind.IMPORT, source.importer, source.reason)
        self._free_key(source.idempotency_key)
        details = {
            "format": source.format,
            "file_sha256": source.sha256,
            "file_length": source.length,
            "idempotency_key": source.idempotency_key,
            "request_sha256": source.request_sha256,
        }
        change = opening.open_change(self._engine, by, details=details)
        try:
            with self._reading() as connection:
                held = select(entries.c.entry_id).where(entries.c.list_id == by.list_id).limit(1)
                fresh = connection.execute(held).first() is None
                tombstones = read_tombstones(connection, by.list_id)
        except BaseException:
            change.abort()
            raise
        return StagedImport(change, fresh=fresh, tombstones=tombstones)

    def find_import(self, idempotency_key: str) -> FinishedImport | None:
        """The import that ended well under that key; None when there is none."""
        query = (
            select(imports, changes, hash_lists.c.name)
            .join(changes, changes.c.change_id == imports.c.change_id)
            .join(hash_lists, hash_lists.c.list_id == changes.c.list_id)
            .where(imports.c.idempotency_key == idempotency_key)
            .where(changes.c.state.in_([ChangeState.COMMITTED, ChangeState.EMPTY]))
        )
        with self._reading() as connection:
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

    def sweep(self) -> int:
        """Removes what crashed processes had staged.

        Returns:
            Rows removed.
        """
        return opening.sweep(self._engine)

    # The operator's acts

    def retract(
        self, list_name: str, entry_ids: Sequence[int], *, author: str, reason: str
    ) -> Revision | None:
        """Takes entries out of force; only `restore` brings them back. See `changes.retract`."""
        by = self._author(list_name, ChangeKind.RETRACT, author, reason)
        return acts.retract(self._engine, by, entry_ids)

    def restore(
        self, list_name: str, entry_ids: Sequence[int], *, author: str, reason: str
    ) -> Revision | None:
        """Puts entries back in force, whoever had retracted them. See `changes.restore`."""
        by = self._author(list_name, ChangeKind.RESTORE, author, reason)
        return acts.restore(self._engine, by, entry_ids)

    def rollback(
        self, list_name: str, to_revision: int, *, author: str, reason: str
    ) -> Revision | None:
        """Makes the list's entries those of an earlier revision. See `changes.rollback`."""
        by = self._author(list_name, ChangeKind.ROLLBACK, author, reason)
        return acts.rollback(self._engine, by, to_revision)

    def purge(
        self, list_name: str, entry_ids: Sequence[int], *, author: str, reason: str
    ) -> PurgeReport:
        """Erases entries for good. See `changes.purge`."""
        by = self._author(list_name, ChangeKind.PURGE, author, reason)
        return acts.purge(self._engine, by, entry_ids)

    def find_entries(self, list_name: str, selection: EntrySelection) -> list[int]:
        """The ids of the entries that a selection names. See `lookup.find_entries`."""
        with self._reading() as connection:
            return lookup.find_entries(connection, find_list(connection, list_name), selection)

    def standing(self, entry_ids: Sequence[int]) -> Standing:
        """How entries stand now: what an act on them would change. See `lookup.standing`."""
        with self._reading() as connection:
            return lookup.standing(connection, entry_ids)

    def preview_rollback(self, list_name: str, to_revision: int) -> RollbackReport:
        """What `rollback` would change; changes nothing. See `lookup.preview_rollback`."""
        by = self._author(list_name, ChangeKind.ROLLBACK, "", "")
        return lookup.preview_rollback(self._engine, by, to_revision)

    @property
    def wipe_owed(self) -> bool:
        """Whether a purge has left traces in the database's files: call `wipe_deleted`."""
        with self._reading() as connection:
            return is_wipe_owed(connection)

    def wipe_deleted(self) -> bool:
        """Finishes a purge that left traces in the files; False when it must be done again.

        Raises:
            CatalogError: the database failed; the wipe is owed as before.
        """
        return wipe_deleted(self._engine)

    # Reading

    @contextmanager
    def read(self) -> Iterator[CatalogReader]:
        """One read transaction: everything read in it is of one revision.

        Raises:
            CatalogError: the database failed.
        """
        with self._reading() as connection:
            yield CatalogReader(connection, now=now_microseconds())

    def entry(self, entry_id: int) -> Entry:
        """The newest committed version of an entry, also of one that is retracted by now.

        Raises:
            EntryNotFoundError: no entry goes by that id, or it was purged.
        """
        query = (
            select(
                entry_versions,
                entries.c.source_key,
                hash_lists.c.name,
                classifications.c.scheme,
                classifications.c.profile,
                classifications.c.code,
            )
            .join(entries, entries.c.entry_id == entry_versions.c.entry_id)
            .join(hash_lists, hash_lists.c.list_id == entries.c.list_id)
            .join(changes, changes.c.change_id == entry_versions.c.change_id)
            .outerjoin(
                classifications,
                classifications.c.classification_id == entry_versions.c.classification_id,
            )
            .where(entry_versions.c.entry_id == entry_id, changes.c.revision.is_not(None))
            .order_by(changes.c.revision.desc())
            .limit(1)
        )
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
            if row is None:
                raise EntryNotFoundError(f"there is no entry {entry_id}; it may have been purged")
            return _entry(connection, row)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with catalog_errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with catalog_errors(), writer(self._engine).begin() as connection:
            yield connection

    def _author(self, list_name: str, kind: ChangeKind, author: str, reason: str) -> ChangeAuthor:
        with self._reading() as connection:
            row = find_list(connection, list_name)
        return ChangeAuthor(row.list_id, list_name, kind, author, reason)

    def _free_key(self, idempotency_key: str | None) -> None:
        """Sees to it that no import holds the key, or says which does."""
        if idempotency_key is None:
            return
        if self.find_import(idempotency_key) is not None:
            raise ImportConflictError("an import under this idempotency key has ended already")
        query = select(imports.c.change_id).where(imports.c.idempotency_key == idempotency_key)
        for _ in range(2):
            with self._reading() as connection:
                if connection.execute(query).first() is None:
                    return
            self.sweep()
        raise ImportInProgressError("an import under this idempotency key is under way")


def _require_free_name(connection: Connection, name: str) -> None:
    taken = select(hash_lists.c.list_id).where(hash_lists.c.name == name)
    if connection.execute(taken).first() is not None:
        raise ListExistsError(f"a list named {name!r} exists already")


def _was_filled(connection: Connection, list_id: int) -> bool:
    query = (
        select(changes.c.change_id)
        .where(changes.c.list_id == list_id, changes.c.kind == ChangeKind.IMPORT)
        .where(changes.c.state.in_([ChangeState.STAGING, ChangeState.COMMITTED]))
        .limit(1)
    )
    return connection.execute(query).first() is not None


def _bare_revision(connection: Connection, by: ChangeAuthor) -> None:
    """A revision that changes no entry."""
    change_id = opening.insert_change(connection, by, ChangeState.EMPTY)
    opening.finish_change(connection, by, change_id, ChangeTotals(), Counts(), always=True)


def _page(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))


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
    )


def _entry(connection: Connection, row: Row[Any]) -> Entry:
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's documented access by name
    extras = (
        select(extra_hashes.c.kind, extra_hashes.c.value)
        .where(extra_hashes.c.version_id == row.version_id)
        .order_by(extra_hashes.c.ordinal)
    )
    hashes = {kind: columns[kind.value] for kind in KIND_BITS}
    classified = row.classification_id is not None
    return Entry(
        entry_id=row.entry_id,
        list_name=row.name,
        key=row.source_key,
        hashes={kind: value for kind, value in hashes.items() if value is not None},
        extra_hashes=tuple((HashKind(kind), value) for kind, value in connection.execute(extras)),
        size=row.size,
        classification=(Classification(row.scheme, row.profile, row.code) if classified else None),
        handling=read_handling(connection, row.handling_id),
        flags=EntryFlag(row.flags),
        flags_known=EntryFlag(row.flags_known),
        verified_count=row.verified_count,
        media_type=row.media_type,
        source_id=row.source_id,
        source_updated_at=row.source_updated_at,
    )
