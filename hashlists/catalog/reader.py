"""Reads the catalog at one revision, all of it or what has changed: for an index, or an export.

Invariants: everything a reader returns comes from one read transaction, hence from one revision;
memory is bounded by the size of a batch, plus eight bytes for every retracted entry (reading all)
or every changed one (following). Opening one and asking for lists costs the same however many
revisions there are. Nothing here writes. Which entries come out is told by `entry_columns`.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from hashlists.catalog import touched
from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.entry_columns import (
    END_ROWS,
    IN_ORDER,
    MICROSECONDS,
    VERSION_ROWS,
    EntryBatches,
    EntryColumns,
    whole_entries,
)
from hashlists.catalog.export import Export, ExportSelection
from hashlists.catalog.lists import list_records
from hashlists.catalog.records import ListRecord, read_catalog_id
from hashlists.catalog.schema import Action, changes, classifications, entry_versions, retractions
from hashlists.catalog.states import chunks, read_head, retracted_among
from hashlists.id_arrays import distinct_ids, joined_ids
from hashlists.model import Classification

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

_ENDS_BY_ENTRY = BulkSelect(entry_versions.c.entry_id, END_ROWS)
_BY_ENTRY = BulkSelect(entry_versions.c.entry_id, VERSION_ROWS.order_by(*IN_ORDER))

_LOOKED_UP = 2_000  # entries at a time


class CatalogReader:
    """One consistent view; valid inside the `with` block of `Catalog.read` only.

    Attributes:
        revision: the revision that it shows.
        catalog_id: this catalog's own identity, lower-case hex; no two catalogs share one.
    """

    def __init__(self, connection: Connection, *, now: int) -> None:
        self._connection = connection
        self._now = now
        self.revision = read_head(connection)
        self.catalog_id = read_catalog_id(connection)

    def lists(self) -> Sequence[ListRecord]:
        """All lists, by name."""
        with catalog_errors():
            return list_records(self._connection, now=self._now)

    def classifications(self) -> Mapping[int, Classification]:
        """Every classification by its id; ids start at 1."""
        table = classifications.c
        query = select(table.classification_id, table.scheme, table.profile, table.code)
        with catalog_errors():
            rows = self._connection.execute(query.order_by(table.classification_id)).all()
        return {row[0]: Classification(row[1], row[2], row[3]) for row in rows}

    def changed_count(self, since: int) -> int:
        """At least as many entries as `changed_ids` would tell, at the cost of a few sums."""
        with catalog_errors():
            return touched.changed_count(self._connection, since)

    def changed_ids(self, since: int) -> NDArray[np.int64]:
        """The entries that revisions in (`since`, `revision`] touched.

        Returns:
            `(K,) int64`, ascending: every entry that those revisions gave a version, retracted,
            restored or purged, or whose end of use became another with what its list says. What
            else happened to a list touches no entry.
        """
        with catalog_errors():
            changed = touched.changed_ids(self._connection, since)
            return joined_ids(changed, touched.retimed_ids(self._connection, since))

    def out_of_force_since(self, since: int) -> NDArray[np.int64]:
        """The entries that revisions in (`since`, `revision`] took out of force for now.

        The cost grows with what was retracted, restored and purged, not with what was imported.
        Expiry is not told here, but by `EntryColumns.expires` beforehand.

        Returns:
            `(K,) int64`, ascending, a part of `changed_ids`: retracted or purged by one of those
            revisions, and not in force now. All that was in force at `since` and no longer is,
            but for expiry, is among them.
        """
        with catalog_errors():
            return touched.out_of_force_since(self._connection, since)

    def ids_with_new_ends(self, since: int, *, by: int | None = None) -> NDArray[np.int64]:
        """The entries that revisions in (`since`, `revision`] may have given another end of use.

        Which it is, `ends_of_use` tells; an entry that those revisions brought first is left out.
        The cost grows with the handlings of the lists in question and with what is told.

        Args:
            since: a revision.
            by: only those that may end up to then, in seconds since 1970 UTC; None for all.

        Returns:
            `(K,) int64`, ascending, a part of `changed_ids`.
        """
        moment = None if by is None else by * MICROSECONDS
        with catalog_errors():
            return touched.ids_with_new_ends(self._connection, since, by=moment)

    def ends_of_use(
        self, entry_ids: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint32]]]:
        """Streams the ends of use of entries in force, a few thousand at a time.

        Args:
            entry_ids: `(K,) int64`, strictly ascending.

        Yields:
            Ids `(M,) int64`, ascending, and ends `(M,) uint32`, of those that `entry_columns` would
            give, as `EntryColumns.expires` has them.
        """
        with catalog_errors():
            batch = EntryBatches(self._connection, now=self._now)
            for start in range(0, len(entry_ids), _LOOKED_UP):
                chosen = entry_ids[start : start + _LOOKED_UP].tolist()
                rows = list(chain.from_iterable(_ENDS_BY_ENTRY.run(self._connection, chosen)))
                retracted = np.array(sorted(retracted_among(self._connection, chosen)), np.int64)
                if rows:
                    yield batch.ends_of_use([tuple(row) for row in rows], retracted)

    def purged_since(self, since: int) -> bool:
        """Whether a revision in (`since`, `revision`] purged any entry."""
        with catalog_errors():
            return touched.purged_since(self._connection, since)

    @property
    def purge_mark(self) -> str:
        """`revision_mark` of the newest revision that purged any entry; "" where none did."""
        with catalog_errors():
            mark = touched.revision_mark(self._connection, touched.last_purge(self._connection))
        assert mark is not None  # a revision that was just found
        return mark

    def revision_mark(self, number: int) -> str | None:
        """What names the commit behind a revision number, so that no other one is taken for it.

        A catalog that is restored from a backup and moved on gives numbers a second time.

        Returns:
            Lower-case hex, drawn at random with the commit; "" for revision 0, and None where
            there is no such revision.
        """
        with catalog_errors():
            return touched.revision_mark(self._connection, number)

    def entry_columns(
        self, *, batch_size: int = 65_536, entry_ids: NDArray[np.int64] | None = None
    ) -> Iterator[EntryColumns]:
        """Streams the entries in force, ordered by entry id.

        Those that have expired are among them for a week: see `EntryColumns.expires`.

        Args:
            batch_size: versions read at a time; a batch has at most about so many entries. Where
                entries are named, 2,000 at most, so that a server that follows changes holds up
                its other threads as little as may be.
            entry_ids: `(K,) int64`, strictly ascending: only those of them that are in force, at
                a cost that grows with `K`; None for all.

        Raises:
            CatalogError: the database failed.
        """
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        if entry_ids is None:
            return self._scan(batch_size)
        if not (np.diff(entry_ids) > 0).all():
            raise ValueError("entry_ids must be strictly ascending")
        return self._look_up(entry_ids, min(batch_size, _LOOKED_UP))

    def export(self, selection: ExportSelection, *, batch_size: int = 30_000) -> Export:
        """Streams lists with all that is known of each entry: see `export`.

        A list's entries come newest change first; a delta's by entry id.

        Args:
            selection: what is to go out, and to whom.
            batch_size: entries of a batch, at most.

        Returns:
            An iterator of `ExportBatch`; what was held back is told by its attributes.

        Raises:
            ListNotFoundError: no list goes by one of the names.
            RevisionNotFoundError: `since` or `upto` is after the newest revision.
            CatalogError: the database failed.
        """
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        with catalog_errors():
            return Export(self._connection, selection, now=self._now, batch_size=batch_size)

    def _scan(self, batch_size: int) -> Iterator[EntryColumns]:
        with catalog_errors():
            retracted = self._retracted()
            batch = EntryBatches(self._connection, now=self._now)
            # As plain SQL, so that no value passes through SQLAlchemy's converters.
            query = VERSION_ROWS.order_by(*IN_ORDER).compile(
                dialect=self._connection.dialect, compile_kwargs={"literal_binds": True}
            )
            result = self._connection.exec_driver_sql(
                str(query), execution_options={"stream_results": True}
            )
            for rows in whole_entries(result.partitions(batch_size), batch_size):
                columns = batch.columns(rows, retracted)
                if columns is not None:
                    yield columns

    def _look_up(self, entry_ids: NDArray[np.int64], batch_size: int) -> Iterator[EntryColumns]:
        with catalog_errors():
            batch = EntryBatches(self._connection, now=self._now)
            for chosen in chunks(entry_ids.tolist(), batch_size):
                rows = list(chain.from_iterable(_BY_ENTRY.run(self._connection, chosen)))
                retracted = np.array(sorted(retracted_among(self._connection, chosen)), np.int64)
                columns = batch.columns(rows, retracted) if rows else None
                if columns is not None:
                    yield columns

    def _retracted(self) -> NDArray[np.int64]:
        """Ids of the entries that any origin holds retracted, ascending."""
        query = (
            select(retractions.c.entry_id, retractions.c.origin, retractions.c.action)
            .join(changes, changes.c.change_id == retractions.c.change_id)
            .where(changes.c.revision.is_not(None))
            .order_by(retractions.c.entry_id, retractions.c.origin, changes.c.revision.desc())
        )
        found: list[int] = []
        last: tuple[int, str] | None = None
        for entry_id, origin, action in self._connection.execute(query):
            if (entry_id, origin) != last and action == Action.RETRACT:
                found.append(entry_id)
            last = (entry_id, origin)
        return distinct_ids(np.array(found, np.int64))
