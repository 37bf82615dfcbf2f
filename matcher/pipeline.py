"""Hashes in, decisions out; reads on one page.

`hash_items` turns decoded images into codes, `match_items` looks them up and lets the policy
judge. Both work on batches: one lookup a kind for many uploads together, of at most as many as keep
memory bounded where uploads meet clusters of near-duplicates. All that an answer rests on is one
immutable `Generation`, read once, so no answer mixes two revisions.

No IO happens here and no clock is read but those passed in.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from hashlists.model import CODE_KINDS, DIGEST_KINDS, HashKind
from matcher.errors import InvalidRequestError, PolicyWidenedError, UnknownPolicyError
from matcher.hashing.views import hash_views
from matcher.index.base import Candidates
from matcher.model import (
    QUALITY_FLOOR,
    Decision,
    DecodedImage,
    DecodeRequest,
    Digests,
    ImageHashes,
    MatchResult,
    Undecodable,
)
from matcher.policy.binding import BoundPolicy, ListInfo, bind
from matcher.policy.columns import HitColumns, Query, decide_columns
from matcher.policy.decide import MAX_MATCHES, Candidate, Judgement, decide
from matcher.policy.narrowing import widening
from matcher.stages import Stage, StageClock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matcher.index.match_index import MatchIndex
    from matcher.policy.rules import Policy

_DEFAULT_MAX_MATCHES = 10
#: Views looked up together at most; further ones gain nothing.
_MAX_CODES = 32
#: Hits that a block may be expected to give, going by the block before.
_MAX_HITS = 1 << 18
_LOOKED_UP = (*DIGEST_KINDS, *CODE_KINDS, HashKind.PHOTODNA)
#: With more hits an item is judged as arrays.
_FEW_HITS = 24


@dataclass(frozen=True, slots=True)
class MatchOptions:
    """What a caller chooses for one item.

    Attributes:
        policy: its name; empty for the default.
        views: families of views, or `("default",)` or `("all",)`; empty: as the policy says.
        max_matches: how many matches an answer lists, 1..100.
        within: the policy that binds the caller, beyond which nothing may be asked; empty for the
            default; None for a caller whom none binds.
    """

    policy: str = ""
    views: tuple[str, ...] = ()
    max_matches: int = _DEFAULT_MAX_MATCHES
    within: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.max_matches <= MAX_MATCHES:
            raise InvalidRequestError(
                f"must be from 1 to {MAX_MATCHES}, not {self.max_matches}", field="max_matches"
            )


DEFAULT_OPTIONS = MatchOptions()


@dataclass(frozen=True)
class Generation:
    """Everything that answers rest on at one moment: index, entry arrays and policies.

    Attributes:
        index: the lists at one revision.
        policies: by name, as configured.
        default_policy: the name that an empty one stands for.
    """

    index: MatchIndex
    policies: Mapping[str, Policy]
    default_policy: str = "default"
    _bound: dict[tuple[str, tuple[str, ...]], BoundPolicy] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    _widenings: dict[tuple[str, tuple[str, ...], str], str] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def revision(self) -> int:
        """The catalog revision that is searched."""
        return self.index.revision

    @cached_property
    def lists(self) -> tuple[ListInfo, ...]:
        """What policies need to know of the lists."""
        return tuple(
            ListInfo(name=each.name, harm=each.harm, state=each.state, counts=each.counts)
            for each in self.index.lists
        )

    def policy_for(self, options: MatchOptions) -> BoundPolicy:
        """The policy that judges for `options`, bound to the lists of this generation.

        Raises:
            UnknownPolicyError: no policy goes by that name.
            PolicyError: a view is unknown.
            PolicyWidenedError: it asks for more than the caller's policy allows.
        """
        if options.within is None:
            return self._bound_policy(options.policy or self.default_policy, options.views)
        within = options.within or self.default_policy
        name = options.policy or within
        beyond = self._widening(name, options.views, within)
        if beyond:
            raise PolicyWidenedError(
                f"the {beyond} asked for go beyond your policy: name none, or a narrower one"
            )
        return self._bound_policy(name, options.views)

    def _widening(self, name: str, views: tuple[str, ...], within: str) -> str:
        """In what a request goes beyond the caller's policy; empty where in nothing."""
        if name == within and not views:
            return ""
        key = (name, views, within)
        found = self._widenings.get(key)
        if found is None:
            allowed = self._bound_policy(within, ())
            if name not in self.policies:  # whether it exists is not told
                return "things"
            found = widening(self._bound_policy(name, views), allowed)
            self._widenings[key] = found
        return found

    def _bound_policy(self, name: str, views: tuple[str, ...]) -> BoundPolicy:
        key = (name, views)
        bound = self._bound.get(key)
        if bound is None:
            bound = bind(self._selected(*key), self.lists, strict=False)
            self._bound[key] = bound
        return bound

    def check_policies(self) -> None:
        """Refuses policies that do not fit the lists, when they are first loaded.

        Later, when lists have grown, the same misfit only weakens near matches to `REVIEW`:
        matching never stops for it.

        Raises:
            PolicyError: a policy names a list that does not exist, or expects too many chance
                hits and does not say `force`.
        """
        for policy in self.policies.values():
            bind(policy, self.lists)
        if self.default_policy not in self.policies:
            self._selected(self.default_policy, ())

    def policy_problems(self) -> tuple[str, ...]:
        """Where policies do not fit the lists as they are now."""
        return tuple(
            problem
            for name in self.policies
            for problem in self.policy_for(MatchOptions(policy=name)).problems
        )

    def _selected(self, name: str, views: tuple[str, ...]) -> Policy:
        policy = self.policies.get(name)
        if policy is None:
            known = ", ".join(sorted(self.policies))
            raise UnknownPolicyError(f"no policy is named {name!r}; there are: {known}")
        return policy.with_views(views) if views else policy


def hash_items(
    digests: Sequence[Digests],
    decoded: Sequence[DecodedImage | Undecodable],
    requests: Sequence[DecodeRequest],
) -> list[ImageHashes]:
    """Hashes a batch of decoded uploads; those that could not be decoded keep their digests."""
    rows = [i for i, each in enumerate(decoded) if isinstance(each, DecodedImage)]
    images = [each for each in decoded if isinstance(each, DecodedImage)]
    views = dict(zip(rows, hash_views(images, [requests[i] for i in rows]), strict=True))
    return [
        ImageHashes(
            digests={
                HashKind.MD5: digest.md5,
                HashKind.SHA1: digest.sha1,
                HashKind.SHA256: digest.sha256,
            },
            size=digest.size,
            views=views.get(i, ()),
            undecodable=each if isinstance(each, Undecodable) else None,
            views_left_out=each.views_left_out if isinstance(each, DecodedImage) else (),
        )
        for i, (digest, each) in enumerate(zip(digests, decoded, strict=True))
    ]


def match_items(
    generation: Generation,
    items: Sequence[ImageHashes],
    options: Sequence[MatchOptions],
    *,
    now: datetime | None = None,
    clock: StageClock | None = None,
) -> list[MatchResult]:
    """Looks a batch of hashed uploads up and judges each by its own policy.

    Args:
        generation: what to search.
        items: hashed uploads, or hashes that callers sent.
        options: one for each item.
        now: decides which allow-list rules have expired; the present by default.
        clock: told how long looking up and judging take; None where nobody asks.

    Raises:
        UnknownPolicyError, PolicyError: as `Generation.policy_for`; check options beforehand to
            keep one item's mistake from its neighbours.
    """
    moment = now or datetime.now(UTC)
    policies = [generation.policy_for(each) for each in options]
    timed = clock or StageClock()
    results: list[MatchResult] = []
    codes = _MAX_CODES
    while len(results) < len(items):
        block = slice(len(results), _end_of_block(items, len(results), codes))
        with timed.stage(Stage.LOOKUP):
            found = _look_up(generation.index, items[block], policies[block])
        with timed.stage(Stage.POLICY):
            judged = zip(items[block], found, policies[block], options[block], strict=True)
            for item, each, policy, option in judged:
                judgement = _judge(
                    generation, item, each, policy, most=option.max_matches, now=moment
                )
                results.append(_result(item, each, judgement, policy, generation.revision))
        hits = sum(each.hits for each in found)
        codes = min(_MAX_CODES, _MAX_HITS * _codes(items[block]) // max(hits, 1))
    return results


def _judge(
    generation: Generation,
    item: ImageHashes,
    found: _Found,
    policy: BoundPolicy,
    *,
    most: int,
    now: datetime,
) -> Judgement:
    """What a policy makes of the hits of one item."""
    if found.hits <= _FEW_HITS:
        few = list(_candidates(generation.index, found))
        return decide(policy, item, few, max_matches=most, now=now)
    return decide_columns(policy, item, _columns(generation, found), max_matches=most, now=now)


def _end_of_block(items: Sequence[ImageHashes], start: int, codes: int) -> int:
    """Where the block that begins at `start` ends: at `codes` views, but one item at least."""
    stop = start + 1
    left = codes - _codes(items[start:stop])
    while stop < len(items) and (left := left - _codes(items[stop : stop + 1])) >= 0:
        stop += 1
    return stop


def _codes(items: Sequence[ImageHashes]) -> int:
    """What a block is measured in: views, which is what meets clusters."""
    return sum(max(1, len(item.views)) for item in items)


@dataclass(slots=True)
class _Found:
    """What the lookups of one item gave: slices of their hits."""

    kinds: set[HashKind] = field(default_factory=set)
    parts: list[tuple[_Lookup, Candidates]] = field(default_factory=list)
    hits: int = 0


def _look_up(
    index: MatchIndex, items: Sequence[ImageHashes], policies: Sequence[BoundPolicy]
) -> list[_Found]:
    found = [_Found() for _ in items]
    for lookup in _lookups(items, policies):
        for row in lookup.items:
            found[row].kinds.add(lookup.kind)
        queries = np.frombuffer(b"".join(lookup.codes), dtype=np.uint8)
        queries = queries.reshape(len(lookup.codes), lookup.kind.nbytes)
        hits = index.search(lookup.kind, queries, lookup.threshold)
        if len(hits):
            for row, part in _by_item(lookup, hits):
                found[row].parts.append((lookup, part))
                found[row].hits += len(part)
    return found


def _by_item(lookup: _Lookup, hits: Candidates) -> Iterator[tuple[int, Candidates]]:
    """Cuts the hits of a block up by item; query rows ascend, and so do the items they are of."""
    rows = np.array(lookup.items)[hits.query_rows]
    edges = [0, *(np.flatnonzero(np.diff(rows)) + 1).tolist(), len(rows)]
    for start, stop in pairwise(edges):
        part = slice(start, stop)
        yield (
            int(rows[start]),
            Candidates(
                *(hits.query_rows[part], hits.entry_rows[part]),
                *(hits.distances[part], hits.derivation_rows[part]),
            ),
        )


def _candidates(index: MatchIndex, found: _Found) -> Iterator[Candidate]:
    for lookup, hits in found.parts:
        columns = (hits.query_rows, hits.entry_rows, hits.distances, hits.derivation_rows)
        for query, row, distance, made in zip(*(each.tolist() for each in columns), strict=True):
            entry = index.entry(row)
            hash_list = index.lists[entry.list_row]
            yield Candidate(
                list_name=hash_list.name,
                harm=hash_list.harm,
                list_state=hash_list.state,
                entry_id=entry.catalog_id,
                kind=lookup.kind,
                view=lookup.views[query],
                quality=lookup.qualities[query],
                distance=distance,
                classification=entry.classification,
                flags=entry.flags,
                entry_size=entry.size,
                derivation=index.derivations[made],
            )


def _columns(generation: Generation, found: _Found) -> HitColumns:
    queries: list[Query] = []
    query_rows = []
    for lookup, hits in found.parts:
        first, last = int(hits.query_rows[0]), int(hits.query_rows[-1])
        query_rows.append(hits.query_rows - first + len(queries))
        queries.extend(
            Query(lookup.kind, lookup.views[row], lookup.qualities[row])
            for row in range(first, last + 1)
        )
    entries = generation.index.entries.take(
        np.concatenate([hits.entry_rows for _, hits in found.parts])
    )
    return HitColumns(
        queries=queries,
        lists=generation.lists,
        classifications=generation.index.classifications,
        derivations=generation.index.derivations,
        query_rows=np.concatenate(query_rows),
        distances=np.concatenate([hits.distances for _, hits in found.parts]),
        entry_ids=entries.catalog_ids,
        list_rows=entries.list_rows,
        classification_rows=entries.classification_rows,
        flags=entries.flags,
        sizes=entries.sizes,
        derivation_rows=np.concatenate([hits.derivation_rows for _, hits in found.parts]),
    )


@dataclass(frozen=True, slots=True)
class _Lookup:
    """One kind's queries over a whole batch: row `q` belongs to `items[q]`, seen in `views[q]`."""

    kind: HashKind
    threshold: int
    codes: list[bytes]
    items: list[int]
    views: list[str]
    qualities: list[int]


def _lookups(items: Sequence[ImageHashes], policies: Sequence[BoundPolicy]) -> Iterator[_Lookup]:
    for kind in _LOOKED_UP:
        thresholds = _thresholds(kind, policies)
        if all(each is None for each in thresholds):
            continue
        widest = max(each for each in thresholds if each is not None)  # each drops what is too far
        lookup = _Lookup(kind, widest, [], [], [], [])
        for row, (item, threshold) in enumerate(zip(items, thresholds, strict=True)):
            if threshold is not None:
                for code, view, quality in _queries(item, kind):
                    lookup.codes.append(code)
                    lookup.items.append(row)
                    lookup.views.append(view)
                    lookup.qualities.append(quality)
        if lookup.codes:
            yield lookup


def _thresholds(kind: HashKind, policies: Sequence[BoundPolicy]) -> list[int | None]:
    """How far each policy looks; None where it does not look for that kind."""
    if kind.is_digest:
        return [0] * len(policies)
    return [policy.max_threshold(kind) for policy in policies]


def _queries(item: ImageHashes, kind: HashKind) -> Iterator[tuple[bytes, str, int]]:
    """What to look up of one item: `(value, view, quality)`."""
    if kind.is_digest:
        if (digest := item.digests.get(kind)) is not None:
            yield digest, "", 100
    elif kind is HashKind.PHOTODNA:
        if item.photodna is not None:
            yield item.photodna, "upright", 100
    else:
        for view in item.views:
            code = view.codes.get(kind)
            if code is not None and view.quality >= QUALITY_FLOOR:
                yield code, view.view, view.quality


def _new_id() -> str:
    """An id that nobody guesses; its first letter keeps a command from reading it as an option."""
    return f"m{secrets.token_urlsafe(16)}"


def _result(
    item: ImageHashes,
    found: _Found,
    judgement: Judgement,
    policy: BoundPolicy,
    revision: int,
) -> MatchResult:
    named = judgement.decision in (Decision.MATCH, Decision.REVIEW)
    return MatchResult(
        decision=judgement.decision,
        reason=judgement.reason,
        detail=judgement.detail,
        detail_for_operator=judgement.detail_for_operator,
        match_id=_new_id() if named else "",
        matches=judgement.matches,
        total_matches=judgement.total_matches,
        shadow_matches=judgement.shadow_matches,
        kinds_tried=tuple(kind for kind in HashKind if kind in found.kinds),
        views_tried=tuple(v.view for v in item.views if v.quality >= QUALITY_FLOOR),
        views_left_out=item.views_left_out,
        revision=revision,
        policy=policy.name,
        policy_version=policy.version,
        hit_lists=judgement.hit_lists,
        counted_lists=policy.list_names,
        ignored=judgement.ignored,
        recorded=judgement.recorded,
    )


__all__ = [
    "DEFAULT_OPTIONS",
    "MAX_MATCHES",
    "Generation",
    "MatchOptions",
    "hash_items",
    "match_items",
]
