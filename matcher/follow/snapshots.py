"""Builds snapshots from the catalog: everything, or only what changed since the base segment.

Invariants:

* A snapshot holds exactly one revision, read in one transaction, and says which.
* All snapshots of a folder are of one catalog (`hashlists.snapshot.origin`).
* One process of a machine builds at a time. What a killed one left behind is removed by the next.
* Once a purge has been built in, no snapshot that could still hold what was purged stays on disk.
* An unchanged base is linked, not copied; it was verified by the process that links it.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists import snapshot as snapshots
from hashlists.errors import HashlistsError, SnapshotError, SnapshotLockedError
from hashlists.snapshot.manifest import key_name
from hashlists.snapshot.origin import catalog_of, require_same
from matcher.follow.lineage import Lineage
from matcher.follow.lock import build_lock
from matcher.follow.rows import RowNumbers
from matcher.follow.view import Sealed
from matcher.follow.withdrawing import keep_withdrawn
from matcher.index.build import IndexBuilder
from matcher.index.write import LinkedSegment, write_index

if TYPE_CHECKING:
    from pathlib import Path

    from hashlists.catalog import CatalogReader
    from hashlists.snapshot import SnapshotWriter
    from hashlists.snapshot.vault import Vault
    from matcher.follow.readable import Readable

_log = logging.getLogger(__name__)
#: So many changed entries are built beside the base before everything is built anew,
RECENT_ENTRIES = 100_000
#: or this share of the base, where that is more. Servers ask for it sooner once few changes come
#: (`matcher.follow.choosing`).
RECENT_SHARE = 2


def build_snapshot(
    catalog: Readable,
    snapshots_dir: Path,
    *,
    full: bool = False,
    seen: str | None = None,
    vault: Vault | None = None,
) -> Path:
    """Brings the published snapshot up to the catalog's newest revision.

    Waits while another process builds. Nothing is built where the published one is of the newest
    revision already, and encrypted as it would be now. What older snapshots hold goes in any case
    as `hashlists.snapshot.sweep` says,
    so that what a builder left that was killed goes too.

    Args:
        catalog: what to build from.
        snapshots_dir: the folder of snapshots; made if it is missing.
        full: build everything, also where what changed would do or nothing has.
        seen: name of the snapshot that was published when this was asked for (empty: none); if it
            is another one by now, that will do. None: never.
        vault: encrypts what is built with its newest key; None: nothing is encrypted.

    Returns:
        The folder of the snapshot that is published then.

    Raises:
        OtherCatalogError: what is published was made of another catalog.
        CatalogError: the catalog cannot be read.
        EncryptionKeyError: there is no key.
        SnapshotLockedError: the published one is encrypted with a key that is not here. So nothing
            takes its place, but where `full` says so and there is another key.
        SnapshotError: the snapshot cannot be written, or there are too many lists for one.
        OSError: the disk refuses; what was published before stays published. Or something older
            cannot be removed.
    """
    with build_lock(snapshots_dir):
        with suppress(OSError):  # makes room; what cannot go is told below
            snapshots.sweep(snapshots_dir)
        path = _current(catalog, snapshots_dir, full=full, seen=seen, vault=vault)
        # Before anything is served from it: what was withdrawn while it was being built counts
        # for it, too. Where this fails, a server does it again and tells it.
        with suppress(HashlistsError, OSError):
            keep_withdrawn(catalog, snapshots_dir)
        snapshots.sweep(snapshots_dir)
        return path


def _current(
    catalog: Readable,
    snapshots_dir: Path,
    *,
    full: bool,
    seen: str | None,
    vault: Vault | None,
) -> Path:
    """The published snapshot where it will do, otherwise a new one."""
    if seen is not None and (name := published_name(snapshots_dir)) not in {"", seen}:
        return snapshots_dir / name
    own = catalog_of(snapshots_dir)
    held = _published(snapshots_dir, vault, full=full)
    full = full or not _is_encrypted_as_now(held, vault)
    plan = _Plan.read(catalog, held, full=full, own=own)
    if plan is None:
        assert held is not None
        return held.snapshot.path
    with snapshots.SnapshotWriter(snapshots_dir, revision=plan.revision, vault=vault) as writer:
        plan.write(writer)
        return writer.publish(plan.lineage.parameters(), allow_older=plan.allow_older)


def published_name(snapshots_dir: Path) -> str:
    """The published snapshot's name; empty where there is none or nobody can tell."""
    try:
        return snapshots.current_name(snapshots_dir) or ""
    except SnapshotError:
        return ""


def _is_encrypted_as_now(held: Sealed | None, vault: Vault | None) -> bool:
    """Whether what is held is encrypted with the key that a new one would be, or both are not."""
    if held is None:
        return True
    name = key_name(held.snapshot.path, held.snapshot.manifest)
    return name == ("" if vault is None else vault.newest().name)


def _published(snapshots_dir: Path, vault: Vault | None, *, full: bool) -> Sealed | None:
    """The published snapshot, if it is one that can be built upon.

    Raises:
        SnapshotLockedError: as `build_snapshot`.
    """
    try:
        return Sealed.open_current(snapshots_dir, vault=vault)
    except SnapshotLockedError as error:
        # Without its keys a shell or a server would leave in clear what is encrypted, or encrypt
        # it with a key that no other process has.
        if vault is None or not full:
            raise
        _log.warning("the published snapshot is built anew: %s", error)
        return None
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
    def read(cls, catalog: Readable, held: Sealed | None, *, full: bool, own: str) -> _Plan | None:
        """Reads what is to be written; None where `held` is what the catalog shows.

        Args:
            catalog: what is read.
            held: the published snapshot, if it can be built upon.
            full: everything, although what changed would do.
            own: the identity that the catalog must have; empty: any.
        """
        with catalog.read() as reader:
            require_same(reader.catalog_id, own)
            stands = held is not None and held.lineage.stands(held.snapshot.revision, reader)
            if held is not None and not stands:
                _log.error(
                    "an older state of the catalog was restored: it is at revision %d, and "
                    "the published snapshot of revision %d holds what it does not; what came after "
                    "that state does not match any more, so import it again",
                    reader.revision,
                    held.snapshot.revision,
                )
            if held is None or not stands:
                return cls._all(reader, allow_older=True)
            if not full and held.snapshot.revision == reader.revision:
                return None
            if not full and _can_extend(held, reader):
                return cls._recent(reader, held)
            return cls._all(reader, allow_older=False)

    @classmethod
    def _all(cls, reader: CatalogReader, *, allow_older: bool) -> _Plan:
        numbers, rows = RowNumbers(reader), IndexBuilder()
        for columns in reader.entry_columns():
            rows.add(numbers.number(columns))
        return cls(reader.revision, Lineage.now(reader), allow_older, numbers, rows, None)

    @classmethod
    def _recent(cls, reader: CatalogReader, held: Sealed) -> _Plan:
        lineage = Lineage.now(reader, base=held.lineage)
        changed = reader.changed_ids(lineage.base_revision)
        numbers = RowNumbers(
            reader, lists=held.index.lists, classifications=held.index.classifications
        )
        rows = IndexBuilder()
        for columns in reader.entry_columns(entry_ids=changed):
            rows.add(numbers.number(columns))
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


__all__ = ["build_snapshot", "published_name"]
