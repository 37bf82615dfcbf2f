"""Finds what an earlier scan has kept of objects that have not changed since.

Both scans met the objects in the order of the listing, so that one pass over what was kept goes
beside one over the listing: memory does not grow with either. Where an order has changed less is
found, and never anything wrong: what stands for an object is of its very key and version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matcher.model import NotHashableReason
from matcher.scan.records import object_id_of, opened_hashes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from matcher.scan.document import Place
    from matcher.scan.model import KeptHashes, Listed
    from matcher.scan.state import KeptBatch, ScanState
    from matcher.sealing import Sealer

#: Stores tell times in seconds or finer, here one way and there another.
_SAME_SECONDS: Final = 1.0
#: A file may be written again within the same tick of its file system's clock.
_TICK_SECONDS: Final = 2.0
#: Another try may do better, and a limit may be another one by now.
_MAY_PASS: Final = frozenset({NotHashableReason.DECODER_FAILED, NotHashableReason.OVER_LIMIT})


class Earlier:
    """What an earlier scan has kept. Not for several threads at once.

    Args:
        state: of the earlier scan; opened at least to be looked at.
        sealer: opens what it has kept.
        places: of this scan.
        orders: of each of them, `Source.order`.
        archives: whether this scan opens archives.
        hashed: names of the views and kinds that this scan hashes.
        decoders: that this scan has, as `ScanState.begin_run` takes them. What could not be hashed
            stands only where those of all runs of the earlier scan were the same.

    Attributes:
        problem: why nothing of the earlier scan stands; empty where something may.
    """

    def __init__(
        self,
        state: ScanState,
        sealer: Sealer,
        places: Sequence[Place],
        orders: Sequence[Callable[[str], object]],
        *,
        archives: bool,
        hashed: Collection[str] = (),
        decoders: str = "",
    ) -> None:
        self._archives = archives
        self._same_decoders = bool(decoders) and decoders == decoders_in(state)
        self._archives_then = state.document.archives
        missing = not_hashed(state, hashed)
        then = {_name(each): row for row, each in enumerate(state.document.places)}
        met = {
            row: then[_name(each)]
            for row, each in enumerate(places)
            if not each.inventory and _name(each) in then
        }
        self.problem = ""
        if missing:
            self.problem = f"the earlier scan has not hashed: {', '.join(missing)}"
        elif not met:
            self.problem = (
                "the earlier scan was of other places, or one of both has an inventory for a "
                "listing, which is in no order"
            )
        elif not state.summary().kept:
            self.problem = "the earlier scan has kept no hashes, or they have expired"
        self._walks = {
            row: _Walk(state.kept(sealer, source=its), orders[row])
            for row, its in met.items()
            if not self.problem
        }

    def find(self, source: int, listed: Listed) -> tuple[KeptHashes, ...]:
        """What was kept of an object: its own hashes, then those of its members; empty for nothing.

        To be asked for objects in the order of the listing; one that comes late is not found.

        Args:
            source: number of the place among this scan's, from 0.
            listed: as it is listed now.

        Raises:
            StateError: the earlier scan's keys are not here, or its state is damaged.
            SealingKeyError: no key can be read.
        """
        walk = self._walks.get(source)
        found = () if walk is None else walk.find(listed)
        if not found or not is_same(found[0], listed):
            return ()
        if any(self._may_pass(each) for each in found):
            return ()
        if self._archives != self._archives_then and not opened_hashes(found[0])[1].views:
            return ()  # it may be an archive, which is opened now and was not, or the other way
        return found

    def _may_pass(self, kept: KeptHashes) -> bool:
        """Whether what could not be hashed then may be hashed now."""
        why = kept.undecodable
        return why is not None and (why[0] in _MAY_PASS or not self._same_decoders)


def not_hashed(state: ScanState, hashed: Collection[str]) -> tuple[str, ...]:
    """Which of these views and kinds were not hashed in every run of a scan."""
    return tuple(sorted(set(hashed).difference(hashed_in(state))))


def hashed_in(state: ScanState) -> tuple[str, ...]:
    """Which views and kinds were hashed in every run of a scan."""
    runs = [set(each.hashed) for each in state.summary().runs if each.objects]
    return tuple(sorted(set.intersection(*runs))) if runs else ()


def decoders_in(state: ScanState) -> str:
    """The decoders of every run of a scan; empty where those differ, or one's are not known."""
    lines = {each.decoders for each in state.summary().runs if each.objects}
    return lines.pop() if len(lines) == 1 else ""


def is_same(kept: KeptHashes, listed: Listed) -> bool:
    """Whether an object is surely the very version whose hashes were kept."""
    then = kept.listed
    if (then.key, then.raw, then.size) != (listed.key, listed.raw, listed.size):
        return False
    if then.version and listed.version and then.version != listed.version:
        return False
    if then.etag or listed.etag:
        return then.etag == listed.etag and _is_near(then.modified, listed.modified)
    if then.size is None or then.modified is None or then.modified != listed.modified:
        return False
    read_at, _ = opened_hashes(kept)
    return then.modified + _TICK_SECONDS < read_at


def _name(place: Place) -> tuple[str, str, str]:
    """What two scans call the same place, where both list it in the same order."""
    return place.url, place.endpoint, place.inventory


def _is_near(then: float | None, now: float | None) -> bool:
    return then is None or now is None or abs(then - now) < _SAME_SECONDS


class _Walk:
    """Goes through what was kept of one place, never back."""

    def __init__(self, kept: Iterator[KeptBatch], order: Callable[[str], object]) -> None:
        self._objects = _objects(kept)
        self._order = order
        self._at: tuple[KeptHashes, ...] | None = next(self._objects, None)

    def find(self, listed: Listed) -> tuple[KeptHashes, ...]:
        place = self._order(listed.key)
        while self._at is not None and self._order(self._at[0].listed.key) < place:  # type: ignore[operator]
            self._at = next(self._objects, None)
        if self._at is None or self._at[0].listed.key != listed.key:
            return ()
        return self._at


def _objects(kept: Iterator[KeptBatch]) -> Iterator[tuple[KeptHashes, ...]]:
    """Each object with its members, where there are hashes of them all."""
    for batch in kept:
        group: list[KeptHashes] = []
        for each in batch.hashes:
            if group and object_id_of(each.id) != object_id_of(group[0].id):
                yield from _whole(group, batch)
                group = []
            group.append(each)
        yield from _whole(group, batch)


def _whole(group: list[KeptHashes], batch: KeptBatch) -> Iterator[tuple[KeptHashes, ...]]:
    if group and not group[0].member and group[0].id not in batch.partly:
        yield tuple(group)


__all__ = ["Earlier", "decoders_in", "hashed_in", "is_same", "not_hashed"]
