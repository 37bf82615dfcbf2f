"""The catalog's one face: lists, imports, the operator's acts, and reading at one revision.

Invariants: every change becomes visible whole, at one revision, or not at all; what was reported
as committed survives a crash. The parts behind it:

- `schema` and `migrate`: the tables. `database`, `engine`, `on_sqlite`, `on_postgresql`: where they
  lie.
- `lists`, `history`: the lists, and the revisions.
- `imports`, `staging`, `staged_retractions`, `absent`, `entry_writer`: what an import does.
- `derived`, `staged_derived`: codes that were made here from entries' own files.
- `match_days`: what lists did to the uploads of each day.
- `exchanges`: feeds that fill lists, and how far they were fetched.
- `open_change`, `commit`, `sweep`: how a change is staged, becomes visible, or is removed.
- `retract`, `rollback`, `purge`, `wipe`: the operator's acts; `acts` as commands offer them.
- `lookup`, `states`, `entry_record`: single entries.
- `reader`, `entry_columns`, `touched`: all entries, or what has changed, for an index.
- `export`, `export_rows`: the same with all that is known of them, for others.
- `list_handling`: what holds of an entry of what its record and its list say of handling.
- `counts`, `interning`, `tombstones`, `barring`, `records`, `retraction_rows`: what several of
  these share.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from hashlists.catalog import derived, exchanges, handling_uses, imports, lists, lookup, match_days
from hashlists.catalog.commit import ChangeAuthor
from hashlists.catalog.engine import (
    catalog_errors,
    follower,
    logs_values,
    open_engine,
    stay_with,
)
from hashlists.catalog.entry_record import read_entry_record
from hashlists.catalog.history import list_revisions
from hashlists.catalog.migrate import migrate
from hashlists.catalog.purge import purge
from hashlists.catalog.reader import CatalogReader
from hashlists.catalog.records import FinishedImport, ImportSource, ListRecord, now_microseconds
from hashlists.catalog.retract import restore, retract
from hashlists.catalog.rollback import preview_rollback, rollback
from hashlists.catalog.states import read_head
from hashlists.catalog.sweep import sweep
from hashlists.catalog.wipe import is_wipe_owed, wipe_deleted
from hashlists.model import ChangeKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from datetime import date
    from types import TracebackType

    from sqlalchemy import Connection, Engine

    from hashlists.catalog.derived import DerivedAction, DerivedHash, DerivedRecord
    from hashlists.catalog.exchange_records import (
        Checkpoint,
        ExchangeRecord,
        ExchangeState,
        SetAside,
        SetAsideRecord,
    )
    from hashlists.catalog.lookup import Standing
    from hashlists.catalog.staging import StagedImport
    from hashlists.model import (
        ApartFromList,
        Entry,
        EntryRecord,
        EntrySelection,
        Harm,
        HashList,
        ListState,
        MatchDay,
        PurgeReport,
        Revision,
        RollbackReport,
        SaidHandling,
    )

MAX_PAGE = 1_000


class Catalog:
    """An open catalog. Threads may share it; processes open it each for themselves."""

    def __init__(self, engine: Engine) -> None:
        """Use `Catalog.open`."""
        self._engine = engine

    @classmethod
    def open(cls, url: str, *, make: bool = True, catalog_id: str = "") -> Self:
        """Opens the catalog at an SQLAlchemy URL, and makes or upgrades it.

        It stays the one that was opened: where another is found in its place later, whatever is
        called ends with an `OtherCatalogError`.

        Args:
            url: of the catalog.
            make: False for an error where the file or the tables are missing: an empty catalog in
                its place would be followed as if every list had been purged.
            catalog_id: the identity that it must have, as `CatalogReader` has it; empty: any.

        Raises:
            OtherCatalogError: it has another identity.
            CatalogError: it cannot be opened, is no catalog, or is of a newer build.
        """
        engine = open_engine(url, make=make)
        try:
            stay_with(engine, migrate(engine, make=make, catalog_id=catalog_id))
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
        return lists.create_list(self._engine, hash_list, author=author)

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
        return lists.update_list(self._engine, name, given, author=author, reason=reason)

    def promote_list(
        self, name: str, *, author: str, reason: str, if_revision: int | None = None
    ) -> ListRecord:
        """Makes a list live, as one revision, so that what it holds decides from then on.

        A list that is live already stays as it is, without a revision.

        Args:
            name: the list.
            author: who promotes it.
            reason: why.
            if_revision: the newest revision of the list that was looked at; None for any.

        Raises:
            ListNotFoundError: no list goes by that name.
            ListChangedError: the list has changed since `if_revision`.
            ImportInProgressError: an import into it is under way, which nobody has looked at.
        """
        return lists.promote_list(
            self._engine, name, author=author, reason=reason, if_revision=if_revision
        )

    def demote_list(self, name: str, *, author: str, reason: str) -> ListRecord:
        """Puts a list in shadow, as one revision: matched and counted, it decides nothing.

        A list that is in shadow already stays as it is, without a revision.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        return lists.demote_list(self._engine, name, author=author, reason=reason)

    def change_handling(
        self,
        name: str,
        said: SaidHandling,
        *,
        author: str,
        reason: str,
        endless: bool = False,
        may_widen: bool = True,
    ) -> ListRecord:
        """Changes what a list says of handling, as one revision, and so what holds of its entries.

        It holds of every entry as far as the record says nothing of its own; `list_handling` tells
        what holds of entries from before that was kept apart. No entry is written. A list that says
        so already stays as it is, without a revision.

        Args:
            name: the list.
            said: what it says from now on; what is None stays as it is.
            author: who changes it.
            reason: why.
            endless: its entries may be used without an end, unless `said` names one.
            may_widen: whether it may name recipients that it did not name, or a later end.

        Raises:
            ListNotFoundError: no list goes by that name.
            InvalidNameError: a recipient has no name.
            HandlingWidenedError: it would be widened, and may not be.
        """
        change = lists.HandlingChange(said, endless=endless, may_widen=may_widen)
        return lists.change_handling(self._engine, name, change, author=author, reason=reason)

    def get_list(self, name: str) -> ListRecord:
        """One list, with the coverage of its entries in force.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        with self._reading() as connection:
            row = lists.find_list(connection, name)
            return lists.list_record(connection, row, now=now_microseconds())

    def count_apart(self, name: str) -> ApartFromList:
        """How many entries of a list hold to another handling than it says, by field.

        Their records said so, or an earlier version did not keep apart who did.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        with self._reading() as connection:
            row = lists.find_list(connection, name)
            return handling_uses.count_apart(connection, row.list_id)

    def was_filled(self, name: str) -> bool:
        """Whether entries were ever imported into a list, or are being imported now.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        self.sweep()  # what a crashed import has left is not under way
        with self._reading() as connection:
            return lists.was_filled(connection, lists.find_list(connection, name).list_id)

    def list_lists(self, *, after: str | None = None, limit: int = 100) -> list[ListRecord]:
        """Lists by name, from the one after `after` on; at most 1000."""
        now = now_microseconds()
        with self._reading() as connection:
            return lists.list_records(connection, now=now, after=after, limit=_page(limit))

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
        with self._reading() as connection:
            list_id = None
            if list_name is not None:
                list_id = lists.find_list(connection, list_name).list_id
            return list_revisions(connection, list_id=list_id, before=before, limit=_page(limit))

    # Imports

    def begin_import(
        self, list_name: str, source: ImportSource, *, latest: bool = False
    ) -> StagedImport:
        """Begins to stage an import; nothing of it is seen before its commit.

        Args:
            list_name: the list.
            source: what is imported.
            latest: leave aside records that by their source's time stamps are older than what the
                list has of their entries; see `older`. False takes each record for the latest.

        Raises:
            ListNotFoundError: no list goes by that name.
            ImportInProgressError: another import of this list, or under this idempotency key,
                is under way in a living process.
            ImportConflictError: an import under this key has ended; see `find_import`.
            ListFedError: an exchange fills the list, and the source is another.
        """
        by = self._author(list_name, ChangeKind.IMPORT, source.importer, source.reason)
        return imports.begin_import(self._engine, by, source, latest=latest)

    def find_import(self, idempotency_key: str) -> FinishedImport | None:
        """The import that ended well under that key; None when there is none."""
        with self._reading() as connection:
            return imports.find_import(connection, idempotency_key)

    def sweep(self) -> int:
        """Removes what crashed processes had staged.

        Returns:
            Rows removed.
        """
        return sweep(self._engine)

    # The operator's acts

    def retract(
        self, list_name: str, entry_ids: Sequence[int], *, author: str, reason: str
    ) -> Revision | None:
        """Takes entries out of force; only `restore` brings them back. See `retract.retract`."""
        by = self._author(list_name, ChangeKind.RETRACT, author, reason)
        return retract(self._engine, by, entry_ids)

    def restore(
        self, list_name: str, entry_ids: Sequence[int], *, author: str, reason: str
    ) -> Revision | None:
        """Puts entries back in force, whoever had retracted them. See `retract.restore`."""
        by = self._author(list_name, ChangeKind.RESTORE, author, reason)
        return restore(self._engine, by, entry_ids)

    def rollback(
        self, list_name: str, to_revision: int, *, author: str, reason: str
    ) -> Revision | None:
        """Makes the list's entries those of an earlier revision. See `rollback.rollback`."""
        by = self._author(list_name, ChangeKind.ROLLBACK, author, reason)
        return rollback(self._engine, by, to_revision)

    def purge(
        self, list_name: str, entry_ids: Sequence[int], *, author: str, reason: str
    ) -> PurgeReport:
        """Erases entries for good. See `purge.purge`."""
        by = self._author(list_name, ChangeKind.PURGE, author, reason)
        return purge(self._engine, by, entry_ids)

    def find_entries(self, list_name: str, selection: EntrySelection) -> list[int]:
        """The ids of the entries that a selection names. See `lookup.find_entries`."""
        with self._reading() as connection:
            hash_list = lists.find_list(connection, list_name)
            return lookup.find_entries(connection, hash_list, selection)

    def entries_by_digest(self, list_name: str, digests: Sequence[bytes]) -> dict[bytes, list[int]]:
        """Which entries carry which of the digests. See `lookup.entries_by_digest`."""
        with self._reading() as connection:
            hash_list = lists.find_list(connection, list_name)
            return lookup.entries_by_digest(connection, hash_list, digests)

    def standing(self, entry_ids: Sequence[int]) -> Standing:
        """How entries stand now: what an act on them would change. See `lookup.standing`."""
        with self._reading() as connection:
            return lookup.standing(connection, entry_ids)

    def preview_rollback(self, list_name: str, to_revision: int) -> RollbackReport:
        """What `rollback` would change; changes nothing. See `rollback.preview_rollback`."""
        by = self._author(list_name, ChangeKind.ROLLBACK, "", "")
        return preview_rollback(self._engine, by, to_revision)

    @property
    def wipe_owed(self) -> bool:
        """Whether a purge has left traces in the database's files: call `wipe_deleted`."""
        with self._reading() as connection:
            return is_wipe_owed(connection)

    @property
    def logs_values(self) -> bool:
        """Whether the database server's log is given values, hashes among them."""
        with self._reading() as connection:
            return logs_values(connection)

    def wipe_deleted(self) -> bool:
        """Finishes a purge that left traces in the files; False when it must be done again.

        Raises:
            CatalogError: the database failed; the wipe is owed as before.
        """
        return wipe_deleted(self._engine)

    # Derived codes

    def add_derived(
        self,
        list_name: str,
        rows: Sequence[DerivedHash],
        *,
        author: str,
        reason: str,
        action: DerivedAction,
    ) -> Revision | None:
        """Proposes, confirms or withdraws codes that were made here from entries' own files.

        Only confirmed ones are matched. See `derived` for when they count, and when no longer.

        Args:
            list_name: of the entries.
            rows: at most `derived.MAX_DERIVED`.
            author: who does it.
            reason: why.
            action: what is done to all of them.

        Returns:
            The revision, or None where all of them stood like that already.

        Raises:
            ListNotFoundError: no list goes by that name.
            EntryNotFoundError: an entry is not of this list; then nothing is done.
            DerivedHashError: a code cannot be one of its entry; then nothing is done.
        """
        by = self._author(list_name, ChangeKind.ENRICH, author, reason)
        return derived.add_derived(self._engine, by, rows, action)

    def list_derived(
        self,
        list_name: str,
        *,
        action: DerivedAction | None = None,
        entry_ids: Collection[int] | None = None,
        after: int = 0,
        limit: int = MAX_PAGE,
    ) -> list[DerivedRecord]:
        """Derived codes of a list, by entry, with the newest act on each.

        Args:
            list_name: the list.
            action: only codes whose newest act is this; None for any.
            entry_ids: only codes of these entries; None for all.
            after: the entry after which the page begins.
            limit: so many codes, at most 1000, and the rest of those that lie about them: a page
                has all the chosen codes of each of its entries. An empty one is the end.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        with self._reading() as connection:
            row = lists.find_list(connection, list_name)
            return derived.list_derived(
                connection,
                row.list_id,
                action,
                after=after,
                limit=_page(limit),
                entry_ids=entry_ids,
            )

    # What lists match

    def add_match_days(self, days: Sequence[MatchDay]) -> None:
        """Adds to the numbers of what lists did to uploads; lists that are not known are left.

        Raises:
            CatalogError: the database failed; nothing was added.
        """
        match_days.add_match_days(self._engine, days)

    def match_days(self, list_name: str, *, since: date) -> list[MatchDay]:
        """What a list did to the uploads of each day from `since` on, oldest first.

        Raises:
            ListNotFoundError: no list goes by that name.
        """
        with self._reading() as connection:
            return match_days.read_match_days(connection, list_name, since=since)

    # Exchanges

    def add_exchange(
        self, name: str, *, kind: str, list_name: str, settings: Mapping[str, Any]
    ) -> ExchangeRecord:
        """Adds a feed that fills a list; it was never fetched, and is active.

        Args:
            name: of the form of a list's.
            kind: which client fetches it.
            list_name: the list.
            settings: of the client, as JSON-able values. Credentials have no place here.

        Raises:
            InvalidNameError: it is no name.
            ListNotFoundError: no list goes by that name.
            ExchangeExistsError: an exchange of that name, or of that list, exists.
            ListFedError: the list holds or held entries from elsewhere.
        """
        return exchanges.add_exchange(
            self._engine, name, kind=kind, list_name=list_name, settings=settings
        )

    def add_exchange_with_list(
        self,
        name: str,
        *,
        kind: str,
        hash_list: HashList,
        settings: Mapping[str, Any],
        author: str,
    ) -> ExchangeRecord:
        """Adds a feed as `add_exchange` does, and the list that it fills, or neither.

        Raises:
            InvalidNameError: the exchange's or the list's is no name.
            ExchangeExistsError: an exchange of that name exists.
            ListExistsError: a list of that name exists.
        """
        return exchanges.add_exchange_with_list(
            self._engine, name, kind=kind, hash_list=hash_list, settings=settings, author=author
        )

    def update_exchange(
        self,
        name: str,
        *,
        state: ExchangeState | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> ExchangeRecord:
        """Pauses or resumes an exchange, or changes its settings; None leaves them as they are.

        Raises:
            ExchangeNotFoundError: no exchange goes by that name.
        """
        return exchanges.update_exchange(self._engine, name, state=state, settings=settings)

    def remove_exchange(self, name: str) -> None:
        """Forgets an exchange, its checkpoint and what was set aside; its list stays as it is.

        Raises:
            ExchangeNotFoundError: no exchange goes by that name.
        """
        exchanges.remove_exchange(self._engine, name)

    def get_exchange(self, name: str) -> ExchangeRecord:
        """One exchange, and how far it was fetched.

        Raises:
            ExchangeNotFoundError: no exchange goes by that name.
        """
        with self._reading() as connection:
            return exchanges.find_exchange(connection, name)

    def list_exchanges(self) -> list[ExchangeRecord]:
        """All exchanges, by name."""
        with self._reading() as connection:
            return exchanges.list_exchanges(connection)

    def list_set_aside(self, name: str, *, limit: int = 100) -> list[SetAsideRecord]:
        """The records of an exchange that were set aside last, newest first; at most 1000.

        Raises:
            ExchangeNotFoundError: no exchange goes by that name.
        """
        with self._reading() as connection:
            return exchanges.list_set_aside(connection, name, limit=_page(limit))

    def save_progress(self, checkpoint: Checkpoint, set_aside: Sequence[SetAside] = ()) -> None:
        """Moves an exchange's checkpoint where no entry came with it; see `StagedImport.commit`.

        Raises:
            ExchangeNotFoundError: the exchange was removed meanwhile.
            ExchangeConflictError: another fetch has moved its checkpoint meanwhile.
        """
        exchanges.save_progress(self._engine, checkpoint, set_aside)

    # Reading

    @contextmanager
    def read(self) -> Iterator[CatalogReader]:
        """One read transaction: everything read in it is of one revision.

        Raises:
            CatalogError: the database failed.
        """
        with catalog_errors(), follower(self._engine).connect() as connection:
            yield CatalogReader(connection, now=now_microseconds())

    def entry(self, entry_id: int) -> Entry:
        """The newest committed version of an entry, also of one that is retracted by now.

        Raises:
            EntryNotFoundError: no entry goes by that id, or it was purged.
        """
        with self._reading() as connection:
            return lookup.read_entry(connection, entry_id)

    def entry_record(self, entry_id: int) -> EntryRecord:
        """An entry with its standing and its history. See `entry_record.read_entry_record`.

        Raises:
            EntryNotFoundError: no entry goes by that id, or it was purged.
        """
        with self._reading() as connection:
            return read_entry_record(connection, entry_id)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with catalog_errors(), self._engine.connect() as connection:
            yield connection

    def _author(self, list_name: str, kind: ChangeKind, author: str, reason: str) -> ChangeAuthor:
        with self._reading() as connection:
            row = lists.find_list(connection, list_name)
        return ChangeAuthor(row.list_id, list_name, kind, author, reason)


def _page(limit: int) -> int:
    return max(1, min(limit, MAX_PAGE))
