"""How the entries of a record stand now, and what would be decided of it now.

Reads no clock, and no store but the one passed in. Entries are looked up in what is served, so a
replica tells as well as the server that has the catalog. What is judged anew is what was met then,
at the distances of then: what else the upload might meet by now is not known, as its codes are not
kept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from hashlists.model import Harm, HashKind, ListState
from hashlists.words import counted
from matcher.model import EntryStanding, ImageHashes
from matcher.policy.binding import bind
from matcher.policy.decide import MAX_MATCHES, Candidate, decide
from matcher.policy.rules import policies_from_dict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from matcher.index.entries import IndexedEntry
    from matcher.index.match_index import MatchIndex
    from matcher.model import Decision
    from matcher.pipeline import Generation
    from matcher.policy.policy import Policy
    from matcher.records.model import MatchRecord, RecordedEntry, RecordedMatch
    from matcher.records.store import RecordFilter, RecordStore, StoredRecord

#: No quality is kept: what was met had enough of it.
_QUALITY = 100
#: Entries whose standing is looked up together.
_ENTRIES = 2_000


@dataclass(frozen=True, slots=True)
class Replay:
    """What one policy makes of a recorded match, as entries are now.

    Attributes:
        decision: the answer.
        policy_version: of the policy.
        explanation: for the operator.
    """

    decision: Decision
    policy_version: str
    explanation: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded match judged anew.

    Attributes:
        then: by the policy of then; None where that is not kept.
        now: by the policy of that name as it is now; None where there is none.
        standings: of the entries, in the order of the record's matches.
        differences: between then and now, one line each.
        revision: that entries were looked up in.
    """

    then: Replay | None
    now: Replay | None
    standings: tuple[EntryStanding, ...]
    differences: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Undone:
    """A match that rests on entries which are no longer what they were.

    Attributes:
        stored: its record.
        standings: of the entries, in the order of the record's matches.
        nothing_left: no entry that it rests on is in force and unchanged, as far as it is known:
            where more matched than a record holds, something may be.
    """

    stored: StoredRecord
    standings: tuple[EntryStanding, ...]
    nothing_left: bool


def undone(store: RecordStore, index: MatchIndex, wanted: RecordFilter) -> Iterator[list[Undone]]:
    """The undone among the records that are wanted, some at a time and never none.

    Every entry that was ever met is looked up once, and then only what rests on those that changed.
    """
    marks: list[bytes] = []
    met = store.entries()
    while some := list(islice(met, _ENTRIES)):
        stand = standings(index, [entry for _, entry in some])
        marks += [
            mark
            for (mark, _), each in zip(some, stand, strict=True)
            if each is not EntryStanding.UNCHANGED
        ]
    for page in store.resting_on(marks, wanted):
        yield [_undone(index, each) for each in page]


def _undone(index: MatchIndex, stored: StoredRecord) -> Undone:
    record = stored.record
    stand = tuple(standings(index, [each.entry for each in record.matches]))
    unlisted = record.total_matches > len(record.matches)
    return Undone(stored, stand, not unlisted and EntryStanding.UNCHANGED not in stand)


def standings(index: MatchIndex, entries: Sequence[RecordedEntry]) -> list[EntryStanding]:
    """How entries stand, in their order."""
    found = _in_force(index, [each.entry_id for each in entries])
    return [_standing(index, found.get(each.entry_id), each) for each in entries]


def replay(
    record: MatchRecord,
    generation: Generation,
    document: Mapping[str, Any] | None,
    *,
    now: datetime,
) -> Replayed:
    """Judges a recorded match anew.

    Args:
        record: what was met.
        generation: lists and policies as they are now.
        document: of the policy of then; None where it is not kept.
        now: decides which allow-list rules are in force.
    """
    index = generation.index
    stand = standings(index, [each.entry for each in record.matches])
    candidates = list(_candidates(index, record.matches))
    then = current = None
    past = None if document is None else policies_from_dict(document, origin="a policy of then")
    policy_then = None if past is None else past.get(record.policy)
    policy_now = generation.policies.get(record.policy)
    if policy_now is not None and policy_then is not None:
        # A request may have asked for other views than its policy names.
        policy_now = replace(policy_now, views=policy_then.views)
    if policy_then is not None:
        then = _judged(record, generation, policy_then, candidates, now)
    if policy_now is not None:
        current = _judged(record, generation, policy_now, candidates, now)
    differences = tuple(
        _differences(record, list(zip(record.matches, stand, strict=True)), then, current)
    )
    return Replayed(then, current, tuple(stand), differences, index.revision)


def _judged(
    record: MatchRecord,
    generation: Generation,
    policy: Policy,
    candidates: Sequence[Candidate],
    now: datetime,
) -> Replay:
    digests = {HashKind.SHA256: bytes.fromhex(record.sha256)} if record.sha256 else {}
    hashes = ImageHashes(digests, record.size)
    bound = bind(policy, generation.lists, strict=False)
    made = decide(bound, hashes, candidates, max_matches=MAX_MATCHES, now=now)
    told = made.detail_for_operator or "no entry that it met counts"
    if bound.allow.has_pairs:
        told += "; pairs of the allow-list were not looked at, as no code of the upload is kept"
    return Replay(made.decision, policy.version, told)


def _in_force(index: MatchIndex, ids: Sequence[int]) -> dict[int, IndexedEntry]:
    """Those of the entries that are in force, by their ids."""
    rows = index.rows_of(np.unique(np.array(ids, np.int64)))
    shown = rows[~index.hidden.hides(rows)]
    entries = map(index.entry, shown.tolist())
    return {each.catalog_id: each for each in entries}


def _standing(index: MatchIndex, now: IndexedEntry | None, then: RecordedEntry) -> EntryStanding:
    if now is None:
        return EntryStanding.WITHDRAWN
    hash_list = index.lists[now.list_row]
    if hash_list.state is ListState.SHADOW or hash_list.name != then.list_name:
        return EntryStanding.WITHDRAWN
    return (
        EntryStanding.UNCHANGED if now.classification == then.label else EntryStanding.RECLASSIFIED
    )


def _candidates(index: MatchIndex, matches: Sequence[RecordedMatch]) -> Iterator[Candidate]:
    found = _in_force(index, [each.entry.entry_id for each in matches])
    for each in matches:
        now = found.get(each.entry.entry_id)
        if now is not None:
            hash_list = index.lists[now.list_row]
            yield Candidate(
                list_name=hash_list.name,
                harm=Harm(hash_list.harm),
                list_state=hash_list.state,
                entry_id=now.catalog_id,
                kind=each.kind,
                view=each.view,
                quality=_QUALITY,
                distance=each.distance,
                classification=now.classification,
                flags=now.flags,
                entry_size=now.size,
                derivation=each.derivation,
            )


def _differences(
    record: MatchRecord,
    stand: Sequence[tuple[RecordedMatch, EntryStanding]],
    then: Replay | None,
    now: Replay | None,
) -> Iterator[str]:
    if now is None:
        yield f"policy {record.policy}: there is none by that name now"
    elif now.policy_version != record.policy_version:
        yield f"policy {record.policy}: {record.policy_version} then, {now.policy_version} now"
    if record.flagged:
        yield "MATCH became REVIEW, as all entries were hit far more often than usual"
    if then is None:
        yield f"policy {record.policy_version}: what it said is not kept"
    for name, each in (("by the policy of then", then), ("by the policy of now", now)):
        if each is not None and each.decision is not record.decision:
            told = f"{record.decision.value} was decided, {each.decision.value} would be"
            yield f"{told}, {name}, as entries are now"
    told_of = set()
    for match, standing in stand:
        if standing is not EntryStanding.UNCHANGED and match.entry not in told_of:
            told_of.add(match.entry)
            yield f"entry {match.entry.entry_id} of list {match.entry.list_name}: {standing.value}"
    unlisted = record.total_matches - len(record.matches)
    if unlisted > 0:
        yield f"{counted(unlisted, 'further match is', 'further matches are')} not in the record"


__all__ = ["Replay", "Replayed", "Undone", "replay", "standings", "undone"]
