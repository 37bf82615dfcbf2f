"""Looks what an earlier scan has kept up again, in newer lists: nothing is fetched.

It makes a scan of its own, as resumable as any: its batches are the earlier scan's, under the same
numbers, and its records have the same ids. What the earlier scan has no hashes of is counted as
skipped, and so is what it has not come to.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import TYPE_CHECKING, Final

from matcher.pipeline import match_items
from matcher.scan.errors import StateError
from matcher.scan.model import Batch, BatchResult, FailureReason, Outcome, Record
from matcher.scan.records import opened_hashes, record_of_kept
from matcher.scan.unchanged import decoders_in, hashed_in, not_hashed

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from matcher.pipeline import Generation, MatchOptions
    from matcher.scan.model import KeptHashes, Listed
    from matcher.scan.state import KeptBatch, ScanState
    from matcher.sealing import Sealer

NO_OBJECT_HASHES: Final = "objects of which no hashes are kept"
NO_MEMBER_HASHES: Final = "members of archives of which no hashes are kept"
NOT_FINISHED: Final = "objects that the earlier scan has not finished"
NOT_LISTED: Final = "places that the earlier scan has not listed to their end"
_LEFT_OUT: Final = "views_left_out"
#: Batches that are planned together, which spares the disk.
_TOGETHER: Final = 16


def rematch(
    state: ScanState,
    earlier: ScanState,
    generation: Generation,
    options: MatchOptions,
    *,
    sealer: Sealer,
    hashed: Collection[str] = (),
) -> Iterator[BatchResult]:
    """Goes on until all is looked up; each result is finished in the state before it is given.

    Whoever stops taking results stops it between two batches; begun again it goes on from there.
    The state is that of a run: see `ScanState.begin_run`.

    Args:
        state: of the new scan, whose places are the earlier one's.
        earlier: state of the earlier scan, opened at least to be looked at.
        generation: the lists to look up in.
        options: whose policy judges.
        sealer: opens what was kept; seals what the new scan keeps, if its document says so.
        hashed: views and kinds that the policy asks for; where the earlier scan has not hashed
            them all, that stands among the gaps of each record.

    Raises:
        StateError: the earlier scan's keys are not here, a state is damaged, or cannot be written.
        SealingKeyError: no key can be read.
        UnknownPolicyError, PolicyError: of the options.
    """
    if state.document.places != earlier.document.places:
        raise StateError("the scan and the earlier one are of different places")
    # What this scan keeps is of no more, and was read by no newer decoders.
    state.set_hashed(hashed_in(earlier), decoders=decoders_in(earlier))
    gaps = (_LEFT_OUT,) if not_hashed(earlier, hashed) else ()
    results = (
        _result(batch, known, generation, options, gaps)
        for batch, known in _batches(state, earlier, sealer)
    )
    yield from _finished(state, results, sealer if state.document.hashes_until else None)
    _end_listing(state, earlier)


def _finished(
    state: ScanState, results: Iterator[BatchResult], keeps: Sealer | None
) -> Iterator[BatchResult]:
    """Each result once it is finished, which the disk does while the next one is looked up."""
    with ThreadPoolExecutor(1, "rematch") as disk:
        waiting: tuple[BatchResult, Future[bool]] | None = None
        for result in results:
            yield from _written(waiting)
            waiting = (result, disk.submit(state.finish, result, sealer=keeps))
        yield from _written(waiting)


def _written(waiting: tuple[BatchResult, Future[bool]] | None) -> Iterator[BatchResult]:
    if waiting is not None and waiting[1].result():
        yield waiting[0]


def _batches(
    state: ScanState, earlier: ScanState, sealer: Sealer
) -> Iterator[tuple[Batch, Sequence[KeptHashes]]]:
    """What a stopped run has left, then what was not planned yet."""
    for batch in state.planned():
        found = earlier.kept_of(batch.number, sealer)
        yield batch, () if found is None else found.hashes
    for planned in _planned_anew(state, earlier, sealer):
        for batch, known in planned:
            yield batch, known.hashes


def _planned_anew(
    state: ScanState, earlier: ScanState, sealer: Sealer
) -> Iterator[list[tuple[Batch, KeptBatch]]]:
    """What is not planned yet, planned some batches at a time."""
    some: list[KeptBatch] = []
    for each in earlier.kept(sealer, after=state.next_number - 1):
        some.append(each)
        if len(some) == _TOGETHER:
            yield _plan(state, some)
            some = []
    if some:
        yield _plan(state, some)


def _plan(state: ScanState, kept: Sequence[KeptBatch]) -> list[tuple[Batch, KeptBatch]]:
    planned = [(Batch(each.number, each.source, _objects(each.hashes)), each) for each in kept]
    for source, same in groupby((batch for batch, _ in planned), key=lambda each: each.source):
        batches = list(same)
        state.plan(source, str(batches[-1].number), batches)
    return planned


def _result(
    batch: Batch,
    known: Sequence[KeptHashes],
    generation: Generation,
    options: MatchOptions,
    gaps: tuple[str, ...],
) -> BatchResult:
    began = time.monotonic()
    hashes = [opened_hashes(each)[1] for each in known]
    results = match_items(generation, hashes, [options] * len(hashes))
    records = [
        record_of_kept(each, its, result, gaps=gaps if its.views else ())
        for each, its, result in zip(known, hashes, results, strict=True)
    ]
    there = set(_objects(known))
    records += [
        _forgotten(batch, row, each) for row, each in enumerate(batch.objects) if each not in there
    ]
    return BatchResult(batch.number, tuple(records), tuple(known), seconds=time.monotonic() - began)


def _forgotten(batch: Batch, row: int, listed: Listed) -> Record:
    """Its hashes were there when the batch was planned."""
    return Record(
        id=f"{batch.number}-f{row + 1}",
        source=batch.source,
        key=listed.key,
        outcome=Outcome.FAILED,
        reason=FailureReason.VANISHED,
        detail="its hashes were forgotten meanwhile",
        size=listed.size,
        modified=listed.modified,
        etag=listed.etag,
        version=listed.version,
        raw=listed.raw,
    )


def _end_listing(state: ScanState, earlier: ScanState) -> None:
    """Nothing is left of any place; what had no hashes is told once."""
    now, then = state.summary(), earlier.summary()
    skipped = {
        NO_OBJECT_HASHES: then.finished - now.listed,
        NO_MEMBER_HASHES: then.tally.members - now.tally.members,
        NOT_FINISHED: then.listed - then.finished,
        NOT_LISTED: sum(
            not earlier.position(source).done for source in range(len(state.document.places))
        ),
    }
    for source in reversed(range(len(state.document.places))):
        position = state.position(source)
        if not position.done:
            told = {reason: number for reason, number in skipped.items() if number > 0}
            state.plan(source, position.cursor, [], done=True, skipped=told if not source else {})


def _objects(hashes: Sequence[KeptHashes]) -> tuple[Listed, ...]:
    return tuple(each.listed for each in hashes if not each.member)


__all__ = ["NOT_FINISHED", "NOT_LISTED", "NO_MEMBER_HASHES", "NO_OBJECT_HASHES", "rematch"]
