"""Builds snapshots from the catalog: everything, or only what changed since the base segment.

Invariants:

* A snapshot holds exactly one revision, read in one transaction, and says which.
* One process of a machine builds at a time. What a killed one left behind is removed by the next.
* Once a purge has been built in, no snapshot that could still hold what was purged stays on disk.
* An unchanged base is linked, not copied; it was verified by the process that links it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists import snapshot as snapshots
from hashlists.errors import SnapshotError
from matcher.follow.lineage import Lineage
from matcher.follow.lock import build_lock
from matcher.follow.rows import RowNumbers
from matcher.follow.view import Sealed
from matcher.index.build import IndexBuilder
from matcher.index.write import LinkedSegment, write_index

if TYPE_CHECKING:
    from pathlib import Path

    from hashlists.catalog import CatalogReader
    from hashlists.snapshot import SnapshotWriter
    from matcher.follow.readable import Readable

_log = logging.getLogger(__name__)
#: So many changed entries are built beside the base before everything is built anew,
RECENT_ENTRIES = 100_000
#: or this share of the base, where that is more.
RECENT_SHARE = 4


@dataclass(frozen=True, slots=True)
class Built:
    """What a build left published.

    Attributes:
        path: the snapshot's folder.
        erases_previous: snapshots before it may hold what was purged.
    """

    path: Path
    erases_previous: bool


def build_snapshot(
    catalog: Readable, snapshots_dir: Path, *, full: bool = False, seen: str | None = None
) -> Built:
    """Brings the published snapshot up to the catalog's newest revision.

    Waits while another process builds. Nothing is built where the published one is of the newest
    revision already.

    Args:
        catalog: what to build from.
        snapshots_dir: the folder of snapshots; made if it is missing.
        full: build everything, also where what changed would do or nothing has.
        seen: name of the snapshot that was published when this was asked for (empty: none); if it
            is another one by now, that will do. None: never.

    Raises:
        CatalogError: the catalog cannot be read.
        SnapshotError: the snapshot cannot be written, or there are too many lists for one.
        OSError: the disk refuses; what was published before stays published.
    """
    with build_lock(snapshots_dir):
        if seen is not None and (name := published_name(snapshots_dir)) not in {"", seen}:
            return Built(snapshots_dir / name, erases_previous=False)
        snapshots.sweep(snapshots_dir)
        held = _published(snapshots_dir)
        plan = _Plan.read(catalog, held, full=full)
        if plan is None:
            assert held is not None
            return Built(held.snapshot.path, erases_previous=False)
        with snapshots.SnapshotWriter(snapshots_dir, revision=plan.revision) as writer:
            plan.write(writer)
            path = writer.publish(plan.lineage.parameters(), allow_older=plan.allow_older)
        sweep(snapshots_dir, plan.lineage, before=held)
        return Built(path, erases_previous=not may_keep(held, plan.lineage))


def published_name(snapshots_dir: Path) -> str:
    """The published snapshot's name; empty where there is none or nobody can tell."""
    try:
        return snapshots.current_name(snapshots_dir) or ""
    except SnapshotError:
        return ""


def sweep(
    snapshots_dir: Path, lineage: Lineage, *, before: Sealed | None, erase: bool = False
) -> None:
    """Removes leftovers, and the previous snapshot too where it may hold what was purged.

    Args:
        snapshots_dir: the folder of snapshots.
        lineage: of the one that is published.
        before: the previous one; None where nobody knows.
        erase: the previous one must go in any case.

    Raises:
        OSError: something cannot be removed.
    """
    snapshots.sweep(snapshots_dir, keep_previous=not erase and may_keep(before, lineage))


def may_keep(before: Sealed | None, lineage: Lineage) -> bool:
    """Whether a snapshot before one of that lineage is free of what was purged by then."""
    if before is None or before.lineage.catalog_id != lineage.catalog_id:
        return not lineage.erased_before
    return before.lineage.base_revision >= lineage.erased_before


def _published(snapshots_dir: Path) -> Sealed | None:
    """The published snapshot, if it is one that can be built upon."""
    try:
        return Sealed.open_current(snapshots_dir)
    except SnapshotError as error:
        _log.warning("the published snapshot is built anew: %s", error)
        return None


@dataclass(frozen=True, slots=True)
class _Plan:
    """Everything that a snapshot is written from, read in one transaction."""

    revision: int
    lineage: Lineage
    allow_older: bool
    numbers: RowNumbers
    rows: IndexBuilder
    base: LinkedSegment | None  # None: `rows` are everything

    @classmethod
    def read(cls, catalog: Readable, held: Sealed | None, *, full: bool) -> _Plan | None:
        """Reads what is to be written; None where `held` is what the catalog shows."""
        with catalog.read() as reader:
            stands = held is not None and held.lineage.stands(held.snapshot.revision, reader)
            if held is None or not stands:
                erased = reader.revision if held is not None or reader.purged_since(0) else 0
                return cls._all(reader, erased_before=erased, allow_older=True)
            if not full and held.snapshot.revision == reader.revision:
                return None
            if not full and _can_extend(held, reader):
                return cls._recent(reader, held)
            purged = reader.purged_since(held.lineage.base_revision)
            erased = reader.revision if purged else held.lineage.erased_before
            return cls._all(reader, erased_before=erased, allow_older=False)

    @classmethod
    def _all(cls, reader: CatalogReader, *, erased_before: int, allow_older: bool) -> _Plan:
        numbers, rows = RowNumbers(reader), IndexBuilder()
        for columns in reader.entry_columns():
            rows.add(numbers.number(columns))
        mark = _mark(reader)
        lineage = Lineage(reader.catalog_id, mark, reader.revision, mark, erased_before)
        return cls(reader.revision, lineage, allow_older, numbers, rows, None)

    @classmethod
    def _recent(cls, reader: CatalogReader, held: Sealed) -> _Plan:
        since = held.lineage
        changed = reader.changed_ids(since.base_revision)
        numbers = RowNumbers(
            reader, lists=held.index.lists, classifications=held.index.classifications
        )
        rows = IndexBuilder()
        for columns in reader.entry_columns(entry_ids=changed):
            rows.add(numbers.number(columns))
        lineage = Lineage(
            since.catalog_id,
            _mark(reader),
            since.base_revision,
            since.base_mark,
            since.erased_before,
        )
        dead = held.index.segments[0].rows_of(changed)
        base = LinkedSegment(held.snapshot, "base", dead=dead)
        return cls(reader.revision, lineage, False, numbers, rows, base)  # noqa: FBT003 - a field

    def write(self, writer: SnapshotWriter) -> None:
        """Writes arrays and documents; the rows are used up."""
        write_index(
            writer,
            lists=self.numbers.lists,
            classifications=self.numbers.classifications(),
            base=self.rows if self.base is None else self.base,
            recent=self.rows if self.base is not None and len(self.rows) else None,
        )


def _can_extend(held: Sealed, reader: CatalogReader) -> bool:
    base = held.lineage.base_revision
    most = max(RECENT_ENTRIES, len(held.index.segments[0].entries) // RECENT_SHARE)
    return not reader.purged_since(base) and reader.changed_count(base) <= most


def _mark(reader: CatalogReader) -> str:
    mark = reader.revision_mark(reader.revision)
    assert mark is not None  # the reader's own revision
    return mark


__all__ = ["Built", "build_snapshot", "may_keep", "published_name", "sweep"]
