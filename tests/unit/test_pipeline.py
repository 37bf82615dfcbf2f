"""Hashes in, decisions out: batches, options, provenance. The judging itself: test_policy_*."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hashlists import snapshot
from hashlists.model import Classification, EntryFlag, Harm, HashKind, ListState
from matcher import pipeline
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher.client.messages import match_answer
from matcher.errors import InvalidRequestError, PolicyError, UnknownPolicyError
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.entries import COLUMNS
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.write import write_index
from matcher.model import (
    Basis,
    Decision,
    DecodedImage,
    DecodeRequest,
    Digests,
    ImageHashes,
    NotHashableReason,
    Undecodable,
    ViewBlocks,
    ViewHashes,
    ViewSelection,
)
from matcher.pipeline import DEFAULT_OPTIONS, Generation, MatchOptions, hash_items, match_items
from matcher.policy.rules import default_policy, policies_from_dict
from matcher.service.convert import result_to_proto

RNG = np.random.default_rng(20)
CODES = RNG.integers(0, 256, (4, 32), dtype=np.uint8)
SHA256 = RNG.integers(0, 256, (4, 32), dtype=np.uint8)
PHOTODNA = RNG.integers(0, 256, (1, 144), dtype=np.uint8)


def flip(code, bits):
    """The code with its first `bits` bits changed."""
    mask = np.packbits(np.arange(256) < bits)
    return (code ^ mask).tobytes()


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Entry 101 in list csam (both kinds), 102 and 103 share a code, 104 in shadow."""
    return build(
        tmp_path_factory.mktemp("snapshots"),
        IndexRows(
            catalog_ids=np.array([101, 102, 103, 104], np.int64),
            list_rows=np.array([0, 0, 1, 2], np.uint16),
            classification_rows=np.array([1, 0, 1, 1], COLUMNS["classification_rows"]),
            flags=np.zeros(4, np.uint16),
            sizes=np.full(4, -1, np.int64),
            expires=np.zeros(4, np.uint32),
            codes={
                HashKind.PDQ: (np.arange(4), CODES[[0, 1, 1, 2]]),
                HashKind.SHA256: (np.array([0]), SHA256[:1]),
                HashKind.PHOTODNA: (np.array([1]), PHOTODNA),
            },
        ),
    )


def build(root, rows):
    """An index of these entries in three lists, the last one in shadow."""
    builder = IndexBuilder()
    builder.add(rows)
    lists = [
        IndexedList("csam", Harm.CSAM, ListState.LIVE, 2, {HashKind.PDQ: 2, HashKind.SHA256: 1}),
        IndexedList("ncii", Harm.NCII, ListState.LIVE, 1, {HashKind.PDQ: 1}),
        IndexedList("trial", Harm.CSAM, ListState.SHADOW, 1, {HashKind.PDQ: 1}),
    ]
    with snapshot.SnapshotWriter(root, revision=7) as writer:
        write_index(
            writer,
            lists=lists,
            classifications=[None, Classification("vics", "US", "1")],
            base=builder,
        )
        path = writer.publish(parameters={})
    return MatchIndex.open(snapshot.open_snapshot(path))


@pytest.fixture
def generation(index):
    return Generation(index, {"default": default_policy()})


def item(pdq=None, *, view="upright", quality=90, digests=None, **more):
    views = () if pdq is None else (ViewHashes(view, quality, {HashKind.PDQ: bytes(pdq)}),)
    return ImageHashes(digests=digests or {}, size=10, views=views, **more)


def match(generation, *items, options=DEFAULT_OPTIONS):
    return match_items(generation, items, [options] * len(items))


def test_an_empty_batch():
    assert match_items(Generation(MatchIndex.empty(), {"default": default_policy()}), [], []) == []


def test_items_of_one_batch_do_not_mix(generation):
    known, near, unknown, same = match(
        generation,
        item(CODES[0], digests={HashKind.SHA256: SHA256[0].tobytes()}),
        item(flip(CODES[0], 31)),
        item(CODES[3]),
        item(CODES[0], digests={HashKind.SHA256: SHA256[1].tobytes()}),
    )
    assert known.decision is Decision.MATCH
    assert {each.basis for each in known.matches} == {Basis.EXACT, Basis.NEAR}
    assert near.decision is Decision.REVIEW
    assert near.matches[0].distance == 31
    assert unknown.decision is Decision.NO_KNOWN_MATCH
    assert unknown.match_id == ""
    assert same.decision is Decision.REVIEW
    ids = {each.match_id for each in (known, near, same)}
    assert len(ids) == 3
    assert all(ids)


def test_the_batch_gives_what_single_items_give(generation):
    items = [item(flip(CODES[i % 4], int(RNG.integers(0, 60)))) for i in range(40)]
    together = match(generation, *items)
    alone = [match(generation, each)[0] for each in items]
    assert [replace(each, match_id="") for each in together] == [
        replace(each, match_id="") for each in alone
    ]


def test_just_past_the_threshold_is_no_match(generation):
    (result,) = match(generation, item(flip(CODES[0], 32)))
    assert result.decision is Decision.NO_KNOWN_MATCH
    assert result.kinds_tried == (HashKind.PDQ,)
    assert result.views_tried == ("upright",)


def test_a_code_in_two_lists_shows_both(generation):
    (result,) = match(generation, item(CODES[1]))
    assert {(each.list_name, each.entry_id) for each in result.matches} == {
        ("csam", 102),
        ("ncii", 103),
    }
    assert {each.severity for each in result.matches if each.entry_id == 102} == {"unmapped"}


def test_a_shadow_list_is_counted_and_decides_nothing(generation):
    (result,) = match(generation, item(CODES[2]))
    assert result.decision is Decision.NO_KNOWN_MATCH
    assert result.shadow_matches == 1
    assert result.matches == ()
    assert len(result.hit_lists) == 1
    assert {name for name, _ in result.hit_lists} < set(result.counted_lists)


def test_the_answer_says_what_it_rests_on(generation):
    (result,) = match(generation, item(CODES[0]))
    assert result.revision == 7
    assert result.policy == "default"
    assert result.policy_version == default_policy().version


def test_more_matches_than_are_listed(generation):
    (result,) = match(generation, item(CODES[1]), options=MatchOptions(max_matches=1))
    assert len(result.matches) == 1
    assert result.total_matches == 2
    assert result.truncated


def test_poor_quality_is_not_looked_up(generation):
    (result,) = match(generation, item(CODES[0], quality=49))
    assert result.decision is Decision.NOT_HASHABLE
    assert result.reason is NotHashableReason.FEATURELESS
    assert result.kinds_tried == ()


def test_photodna_from_a_caller(generation):
    (result,) = match(generation, item(photodna=PHOTODNA[0].tobytes()))
    assert result.decision is Decision.REVIEW
    assert result.matches[0].kind is HashKind.PHOTODNA


def test_items_may_have_policies_of_their_own(index):
    document = {
        "policies": {
            "narrow": {"thresholds": {"pdq": 10}},
            "none": {"thresholds": {"pdq": "off", "photodna": "off"}},
        }
    }
    generation = Generation(index, policies_from_dict(document, origin="test"))
    probe = item(flip(CODES[0], 20))
    wide, narrow, none = match_items(
        generation,
        [probe] * 3,
        [MatchOptions(), MatchOptions(policy="narrow"), MatchOptions(policy="none")],
    )
    assert wide.decision is Decision.REVIEW
    assert narrow.decision is Decision.NO_KNOWN_MATCH
    assert none.kinds_tried == ()


def test_unknown_policies_and_views_are_named(generation):
    with pytest.raises(UnknownPolicyError, match="there are: default"):
        generation.policy_for(MatchOptions(policy="other"))
    with pytest.raises(PolicyError, match="sideways"):
        generation.policy_for(MatchOptions(views=("sideways",)))


def test_views_of_the_caller(generation):
    assert generation.policy_for(MatchOptions(views=("all",))).request.views.mirrored
    assert not generation.policy_for(MatchOptions()).request.views.mirrored


@pytest.mark.parametrize("number", [0, 101])
def test_max_matches_is_bounded(number):
    with pytest.raises(InvalidRequestError, match="max_matches"):
        MatchOptions(max_matches=number)


def test_policies_are_checked_when_first_loaded_and_weakened_later(index):
    document = {"policies": {"default": {"lists": ["absent"]}}}
    generation = Generation(index, policies_from_dict(document, origin="test"))
    with pytest.raises(PolicyError, match="absent"):
        generation.check_policies()
    assert "absent" in generation.policy_problems()[0]
    (result,) = match(generation, item(CODES[0]))
    assert result.decision is Decision.NO_KNOWN_MATCH


def test_a_default_policy_that_does_not_exist(index):
    with pytest.raises(UnknownPolicyError):
        Generation(index, {"default": default_policy()}, "other").check_policies()


def digests_of(number):
    return Digests(bytes([number] * 16), bytes([number] * 20), bytes([number] * 32), 5)


def test_hash_items_keeps_order_and_what_could_not_be_decoded():
    luma = RNG.integers(0, 256, (64, 64)).astype(np.float32)
    image = DecodedImage(
        64, 64, "png", 1, truncated=False, views=(ViewBlocks("upright", luma, {}),)
    )
    broken = Undecodable(NotHashableReason.MALFORMED, "cut off")
    request = DecodeRequest(views=ViewSelection())
    first, second, third = hash_items(
        [digests_of(i) for i in range(3)], [image, broken, image], [request] * 3
    )
    assert second.undecodable is broken
    assert second.views == ()
    assert second.digests[HashKind.MD5] == bytes([1] * 16)
    assert first.views == third.views
    assert first.views[0].codes[HashKind.PDQ]
    assert first.size == 5


def rows_of(codes, **columns):
    """Entries 1, 2, ... with a PDQ code each, in list csam unless `columns` say otherwise."""
    n = len(codes)
    return IndexRows(
        catalog_ids=np.arange(1, n + 1),
        list_rows=columns.get("list_rows", np.zeros(n, np.uint16)),
        classification_rows=np.ones(n, COLUMNS["classification_rows"]),
        flags=columns.get("flags", np.zeros(n, np.uint16)),
        sizes=np.full(n, -1, np.int64),
        expires=np.zeros(n, np.uint32),
        codes={HashKind.PDQ: (np.arange(n), codes), **columns.get("more", {})},
    )


def cluster(n, reach=20):
    """`n` codes at most `reach` bits from `CODES[0]`."""
    codes = np.tile(CODES[0], (n, 1))
    flipped = RNG.integers(0, 256, (n, reach))
    for bit in flipped.T:
        codes[np.arange(n), bit // 8] ^= np.uint8(1) << (bit % 8).astype(np.uint8)
    return codes


def test_few_and_many_hits_are_judged_alike(tmp_path, monkeypatch):
    n = 600
    digests = np.repeat(SHA256[:1], 40, axis=0)
    rows = rows_of(
        cluster(n),
        list_rows=RNG.integers(0, 3, n).astype(np.uint16),
        flags=RNG.integers(0, sum(EntryFlag) + 1, n).astype(np.uint16),
        more={HashKind.SHA256: (np.arange(40), digests)},
    )
    places = np.flatnonzero(RNG.integers(0, 2, n))
    names = [f"crop:0.0{1 + place % 3}" for place in places]
    rows = replace(rows, derived={HashKind.PDQ: (places, names)})
    generation = Generation(build(tmp_path, rows), {"default": default_policy()})
    views = tuple(
        ViewHashes(view, 90, {HashKind.PDQ: flip(CODES[0], bits)})
        for view, bits in (("upright", 0), ("stored", 9), ("composited", 120))
    )
    crowded = item(digests={HashKind.SHA256: SHA256[0].tobytes()})
    items = [replace(crowded, views=views), item(CODES[3]), item(CODES[0]), crowded]
    options = MatchOptions(max_matches=50)
    as_arrays = match(generation, *items, options=options)
    monkeypatch.setattr(pipeline, "_FEW_HITS", 10**9)
    as_objects = match(generation, *items, options=options)
    assert [replace(a, match_id="") for a in as_arrays] == [
        replace(b, match_id="") for b in as_objects
    ]
    assert as_arrays[0].total_matches > 300
    assert as_arrays[0].shadow_matches > 150
    assert as_arrays[1].total_matches == 0


def test_a_cluster_is_looked_up_in_blocks_that_hits_bound(tmp_path, monkeypatch):
    generation = Generation(
        build(tmp_path, rows_of(cluster(500, reach=8))), {"default": default_policy()}
    )
    sizes = []
    search = MatchIndex.search

    def counted(self, kind, queries, threshold):
        sizes.append(len(queries))
        return search(self, kind, queries, threshold)

    monkeypatch.setattr(MatchIndex, "search", counted)
    monkeypatch.setattr(pipeline, "_MAX_HITS", 2000)
    results = match(generation, *[item(CODES[0])] * 40, *[item(CODES[3])] * 40)
    assert [each.total_matches for each in results] == [500] * 40 + [0] * 40
    assert sizes[:3] == [32, 4, 4]
    assert max(sizes[3:]) == 32


def test_the_hits_of_one_item_may_pass_the_bound(tmp_path, monkeypatch):
    generation = Generation(build(tmp_path, rows_of(cluster(200))), {"default": default_policy()})
    monkeypatch.setattr(pipeline, "_MAX_HITS", 10)
    monkeypatch.setattr(pipeline, "_MAX_CODES", 2)
    views = tuple(ViewHashes(f"frame:{k}", 90, {HashKind.PDQ: bytes(CODES[0])}) for k in range(4))
    results = match(generation, *[replace(item(), views=views)] * 3)
    assert [each.total_matches for each in results] == [200] * 3


def test_no_flag_shows_on_the_wire(tmp_path):
    n = sum(EntryFlag) + 1
    codes = RNG.integers(0, 256, (n, 32), dtype=np.uint8)
    rows = rows_of(codes, flags=np.arange(n, dtype=np.uint16))
    generation = Generation(build(tmp_path, rows), {"default": default_policy()})
    broken = Undecodable(NotHashableReason.MALFORMED, "cut off")
    results = match(generation, *(item(code, undecodable=broken) for code in codes))
    messages = [result_to_proto(each, provenance=pb.Provenance()) for each in results]
    assert {each.explanation for each in messages} == {
        "list csam: near by pdq; pixels not hashed: cut off"
    }
    assert {each.not_hashable.detail for each in messages} == {messages[0].explanation}


@pytest.mark.parametrize("made", ["", "crop:0.02", None])
def test_how_a_code_was_made_goes_over_the_wire(generation, made):
    (result,) = match(generation, item(CODES[0]))
    assert [each.derivation for each in result.matches] == [""]
    told = replace(result, matches=(replace(result.matches[0], derivation=made),))
    message = pb.MatchResult.FromString(
        result_to_proto(told, provenance=pb.Provenance()).SerializeToString()
    )
    assert message.matches[0].HasField("derivation") is (made is not None)
    assert match_answer(message).result.matches[0].derivation == made


def test_a_match_id_is_never_taken_for_an_option(monkeypatch):
    monkeypatch.setattr(pipeline.secrets, "token_urlsafe", lambda length: "-" * length)
    assert not pipeline._new_id().startswith("-")
