"""Keeps beside the snapshots which of their entries are out of force, for a start without catalog.

Every process that serves a change, and every builder, sees to the file `withdrawn` of the folder of
snapshots (`hashlists.snapshot.withdrawn`). Invariants:

* One process at a time writes it, and reads the catalog anew once it has the right to: so whoever
  writes last has seen the newest, an older state never takes the place of a newer one, and what
  was restored in the meantime is in it no more.
* It names each snapshot that it is true of. Of another catalog, or of one that was restored from a
  backup since, it names none and hides nothing.
* Nothing that is served waits for it or fails with it.
* It goes on from what the file says of the same snapshots, so a change costs in proportion to what
  it touches; all is read anew for a new snapshot only.
* An entry that came to another end of use, by its record or by its list, is there with that end, so
  that one that was brought forward holds. One that was put off does not: what a snapshot lets go,
  it lets go until the catalog is back.

**An entry that was changed and is still in force is not among them**, though its old hashes, which
the snapshot holds, may be out of force. Most changes add hashes or alter what is told of an entry,
and ids cannot tell those from the few that replace a hash: to hide the entry would lose known
imagery for as long as the catalog is away, by hashes that are still in force. An old hash that
matches meanwhile is a lead of an answer that says `stale`; to be rid of it at once, retract it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from hashlists.errors import SnapshotError
from hashlists.id_arrays import joined_ids
from hashlists.snapshot import manifests_below
from hashlists.snapshot.withdrawn import (
    Withdrawn,
    read_withdrawn,
    remove_withdrawn,
    write_withdrawn,
)
from matcher.follow.ending import OVER, ends_of_use
from matcher.follow.lineage import Lineage, still_stands
from matcher.follow.lock import withdrawn_lock
from matcher.follow.problems import Concern
from matcher.index.expiry import NEVER

if TYPE_CHECKING:
    from pathlib import Path

    from hashlists.catalog import CatalogReader
    from matcher.follow.problems import Problems
    from matcher.follow.readable import Readable
    from matcher.follow.view import View

_NO_IDS = np.empty(0, np.int64)


def keep_withdrawn(catalog: Readable, snapshots_dir: Path) -> bool:
    """Brings the file up to the catalog's newest revision.

    Args:
        catalog: what says which entries are out of force.
        snapshots_dir: the folder of snapshots, which is there.

    Returns:
        False where another process is at it just now, which may not have seen the newest.

    Raises:
        CatalogError: the catalog cannot be read.
        OSError: the file cannot be written; what was there before is still there.
    """
    with withdrawn_lock(snapshots_dir) as alone:
        if not alone:
            return False
        held: Withdrawn | None = None
        with suppress(SnapshotError):  # a damaged one is replaced
            held = read_withdrawn(snapshots_dir)
        with catalog.read() as reader:
            standing = _standing(snapshots_dir, reader)
            if not standing or _is_up_to_date(held, reader, standing):
                return True
            found = _withdrawn(reader, standing, held)
        if len(found.ids) or len(found.ending):
            write_withdrawn(snapshots_dir, found)
        else:
            remove_withdrawn(snapshots_dir)
        return True


def _standing(snapshots_dir: Path, reader: CatalogReader) -> dict[str, int]:
    """The revisions of the snapshots on disk that are of the reader's history, by name."""
    standing = {}
    for name, manifest in manifests_below(snapshots_dir).items():
        with suppress(SnapshotError):
            revision = manifest["revision"]
            if Lineage.stated(name, manifest).stands(revision, reader):
                standing[name] = revision
    return standing


def _is_up_to_date(held: Withdrawn | None, reader: CatalogReader, standing: dict[str, int]) -> bool:
    return (
        held is not None
        and held.catalog_id == reader.catalog_id
        and held.revision == reader.revision
        and held.mark == reader.revision_mark(reader.revision)
        and held.snapshots == tuple(sorted(standing))
    )


def _withdrawn(
    reader: CatalogReader, standing: dict[str, int], held: Withdrawn | None
) -> Withdrawn:
    """What is out of force since the oldest; the newer ones hold none of what went before them."""
    mark = reader.revision_mark(reader.revision)
    assert mark is not None  # the reader's own revision
    if held is not None and _can_go_on(held, reader, standing):
        # Or each small change would cost as much as all that was withdrawn before it.
        since, told = held.revision, joined_ids(held.ids, held.ending)
        known = np.intersect1d(told, reader.changed_ids(since), assume_unique=True)
    else:
        since, known = min(standing.values()), _NO_IDS
        held = Withdrawn(reader.catalog_id, since, "", (), _NO_IDS)
    asked = joined_ids(known, reader.ids_with_new_ends(since))
    all_ends = ends_of_use(reader, asked)
    in_force, its_ends = asked[all_ends != OVER], all_ends[all_ends != OVER]
    out = joined_ids(
        np.setdiff1d(asked, in_force, assume_unique=True), reader.out_of_force_since(since)
    )
    ids = joined_ids(np.setdiff1d(held.ids, in_force, assume_unique=True), out)
    as_before, has_end = ~np.isin(held.ending, joined_ids(asked, out)), its_ends != NEVER
    ending = np.concatenate([held.ending[as_before], in_force[has_end]])
    order = np.argsort(ending)
    return Withdrawn(
        catalog_id=reader.catalog_id,
        revision=reader.revision,
        mark=mark,
        snapshots=tuple(sorted(standing)),
        ids=ids,
        ending=ending[order],
        ends=np.concatenate([held.ends[as_before], its_ends[has_end]])[order],
    )


def _can_go_on(held: Withdrawn, reader: CatalogReader, standing: dict[str, int]) -> bool:
    """Whether the file says all that was withdrawn from these snapshots by its own revision."""
    return (
        held.catalog_id == reader.catalog_id
        and still_stands(held.revision, held.mark, reader)
        and held.snapshots == tuple(sorted(standing))
    )


class Withdrawals:
    """Sees to the file while a catalog is followed, and heeds it while that is away.

    Args:
        catalog: None where nothing is ever written.
        snapshots_dir: the folder of snapshots.
        problems: where failures are told.
    """

    def __init__(
        self,
        catalog: Readable | None,
        snapshots_dir: Path,
        problems: Problems,
    ) -> None:
        self._catalog = catalog
        self._snapshots_dir = snapshots_dir
        self._problems = problems
        self._owed = False

    def owe(self) -> None:
        """Something else is served than before."""
        self._owed = self._catalog is not None

    def keep(self) -> None:
        """Brings the file up to date where that is owed, until it succeeds; never raises."""
        if self._catalog is None or not self._owed:
            return
        try:
            self._owed = not keep_withdrawn(self._catalog, self._snapshots_dir)
        except Exception as error:  # noqa: BLE001 - whatever it is, what is served goes on
            self._problems.note(Concern.WITHDRAWN, error)
        else:
            self._problems.solved(Concern.WITHDRAWN)

    def applied(self, view: View) -> View:
        """A snapshot's view, less what the file says is out of force; for want of a catalog."""
        try:
            held = read_withdrawn(self._snapshots_dir)
        except SnapshotError as error:
            self._problems.note(Concern.WITHDRAWN, error)
            return view
        sealed = view.sealed
        if (
            held is None
            or sealed.name not in held.snapshots
            or sealed.lineage.catalog_id != held.catalog_id
            or held.revision <= view.withdrawn_by
        ):
            return view
        hidden = view.without(held.ids, by=held.revision)
        return hidden.with_ends(held.ending, held.ends, by=held.revision)


__all__ = ["Withdrawals", "keep_withdrawn"]
