"""Keeps beside the snapshots which of their entries are out of force, for a start without catalog.

Every process that serves a change, and every builder, sees to the file `withdrawn` of the folder of
snapshots (`hashlists.snapshot.withdrawn`). Invariants:

* One process at a time writes it, and reads the catalog anew once it has the right to: so whoever
  writes last has seen the newest, an older state never takes the place of a newer one, and what
  was restored in the meantime is in it no more.
* It names each snapshot that it is true of. Of another catalog, or of one that was restored from a
  backup since, it names none and hides nothing.
* Nothing that is served waits for it or fails with it, nor does following wait for more than a
  moment.
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

import threading
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
from matcher.follow.delta import is_in
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

#: So long a look at the catalog waits for the file.
_AT_ONCE_SECONDS = 0.1
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
        since, changed = held.revision, reader.changed_ids(held.revision)
        known = changed[is_in(changed, held.ids) | is_in(changed, held.ending)]
    else:
        since, known = min(standing.values()), _NO_IDS
        held = Withdrawn(reader.catalog_id, since, "", (), _NO_IDS)
    asked = joined_ids(reader.ids_with_new_ends(since), known)
    ends = ends_of_use(reader, asked)
    out = joined_ids(asked[ends == OVER], reader.out_of_force_since(since))
    as_before = ~(is_in(held.ending, asked) | is_in(held.ending, out))
    has_end = (ends != OVER) & (ends != NEVER)
    ending, its_ends = asked[has_end], ends[has_end]
    if as_before.any():
        ending = np.concatenate([held.ending[as_before], ending])
        order = np.argsort(ending)
        ending = ending[order]
        its_ends = np.concatenate([held.ends[as_before], its_ends])[order]
    return Withdrawn(
        catalog_id=reader.catalog_id,
        revision=reader.revision,
        mark=mark,
        snapshots=tuple(sorted(standing)),
        ids=joined_ids(held.ids[~is_in(held.ids, asked[ends != OVER])], out),
        ending=ending,
        ends=its_ends,
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

    A list's end of use may concern millions of entries, and reading these takes seconds: what is
    not done at once goes on in a thread, while following goes on too. Not for several threads.

    Args:
        catalog: None where nothing is ever written.
        snapshots_dir: the folder of snapshots.
        problems: where failures are told.
        background: whether to use a thread.
    """

    def __init__(
        self,
        catalog: Readable | None,
        snapshots_dir: Path,
        problems: Problems,
        *,
        background: bool = False,
    ) -> None:
        self._catalog = catalog
        self._snapshots_dir = snapshots_dir
        self._problems = problems
        self._background = background
        self._owed = False
        self._keeping: _Keeping | None = None

    def owe(self) -> None:
        """Something else is served than before."""
        self._owed = self._catalog is not None

    def keep(self) -> None:
        """Brings the file up to date where that is owed, until it succeeds; never raises."""
        if self._catalog is None or not self._has_ended() or not self._owed:
            return
        self._owed = False
        self._keeping = _Keeping(self._catalog, self._snapshots_dir)
        if self._background:
            thread = threading.Thread(target=self._keeping.run, name="withdrawn-keeping")
            self._keeping.thread = thread
            thread.start()
            thread.join(_AT_ONCE_SECONDS)
        else:
            self._keeping.run()
        self._has_ended()

    def close(self) -> None:
        """Brings it up to date one last time, and waits for that."""
        if self._keeping is not None and self._keeping.thread is not None:
            self._keeping.thread.join()
        self._background = False
        self.keep()

    def _has_ended(self) -> bool:
        """Whether nothing is under way; takes note of how the last one ended."""
        keeping = self._keeping
        if keeping is None:
            return True
        if keeping.thread is not None and keeping.thread.is_alive():
            return False
        self._keeping = None
        if keeping.error is None:
            self._owed |= not keeping.done
            self._problems.solved(Concern.WITHDRAWN)
        else:
            self._owed = True
            self._problems.note(Concern.WITHDRAWN, keeping.error)
        return True

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


class _Keeping:
    """Brings the file up to date once, and keeps how that ended."""

    def __init__(self, catalog: Readable, snapshots_dir: Path) -> None:
        self._catalog = catalog
        self._snapshots_dir = snapshots_dir
        self.thread: threading.Thread | None = None
        self.done = False
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.done = keep_withdrawn(self._catalog, self._snapshots_dir)
        except Exception as error:  # noqa: BLE001 - whatever it is, what is served goes on
            self.error = error


__all__ = ["Withdrawals", "keep_withdrawn"]
