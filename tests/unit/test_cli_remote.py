"""Matching at a server: in order, sent again where that may help, digests where no image may go."""

from __future__ import annotations

import random

import pytest

from hashlists.model import HashKind
from matcher.cli.remote import RemoteMatcher
from matcher.cli.results import Failure
from matcher.client import MatchAnswer, StreamAnswer
from matcher.errors import ServerError
from matcher.model import Decision, ImageHashes, MatchResult, NotHashableReason, ViewHashes
from matcher.pipeline import MatchOptions

OPTIONS = MatchOptions(policy="strict", views=("all",), max_matches=3)
BUSY = ServerError("RESOURCE: busy", reason="OVERLOADED", retryable=True)
DRAINED = ServerError("UNAVAILABLE: going down", reason="UNAVAILABLE", retryable=True)
BROKEN = ServerError("INTERNAL: bug", reason="INTERNAL")
TOO_LARGE = ServerError("INVALID_ARGUMENT: too large", reason="IMAGE_TOO_LARGE")
NO_POLICY = ServerError("INVALID_ARGUMENT: no such policy", reason="POLICY_UNKNOWN")


def answer(detail, *, decision=Decision.NO_KNOWN_MATCH, stale=False):
    result = MatchResult(
        decision=decision,
        reason=None,
        detail=detail,
        match_id="",
        matches=(),
        total_matches=0,
        shadow_matches=0,
        kinds_tried=(),
        views_tried=(),
        views_left_out=(),
        revision=1,
        policy="strict",
        policy_version="v",
    )
    return MatchAnswer(result, None, stale, "1", "1")


class FakeClient:
    """Answers in any order. `script` holds, for each stream, what to do with each item's bytes."""

    def __init__(self, *script, lookup=None, stale=False):
        self.script = list(script)
        self.sent = []
        self.looked_up = []
        self.lookup = lookup or answer("by digest")
        self.stale = stale

    def match_images(self, images, *, policy, views, max_matches):
        assert (policy, views, max_matches) == ("strict", ("all",), 3)
        act = self.script.pop(0) if self.script else {}
        if isinstance(act, ServerError):
            raise act
        items = list(images)
        self.sent.append([data for _, data in items])
        random.Random(0).shuffle(items)
        for request_id, data in items:
            if (problem := act.get(data)) is not None:
                yield StreamAnswer(request_id, None, problem)
            elif data not in act:
                yield StreamAnswer(request_id, answer(data.decode(), stale=self.stale), None)
        if isinstance(act.get("end"), ServerError):
            raise act["end"]

    def lookup_hashes(self, queries, *, policy, max_matches):
        assert (policy, max_matches) == ("strict", 3)
        self.looked_up += queries
        return [self.lookup for _ in queries]


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def run(tmp_path, pauses):
    def matched(client, contents, *, max_bytes=8):
        paths = []
        for number, data in enumerate(contents):
            paths.append(str(tmp_path / f"{number}"))
            if data is not None:
                (tmp_path / f"{number}").write_bytes(data)
        matcher = RemoteMatcher(client, OPTIONS, max_bytes=max_bytes, pause=pauses.append)
        found = list(matcher.match_files(paths))
        assert [each.path for each in found] == paths
        return [each.outcome for each in found]

    return matched


def details(outcomes):
    return [outcome.detail for outcome in outcomes]


def test_answers_come_in_the_order_of_the_input(run, pauses):
    contents = [b"f%d" % n for n in range(100)]
    assert details(run(FakeClient(), contents)) == [data.decode() for data in contents]
    assert pauses == [0.0]


def test_no_files(run):
    assert run(FakeClient(), []) == []


def test_what_was_refused_for_the_moment_is_sent_again(run, pauses):
    client = FakeClient({b"b": BUSY, b"c": BUSY}, {b"c": BUSY})
    assert details(run(client, [b"a", b"b", b"c", b"d"])) == ["a", "b", "c", "d"]
    assert client.sent == [[b"a", b"b", b"c", b"d"], [b"b", b"c"], [b"c"]]
    assert pauses == sorted(pauses)
    assert len(pauses) == 3


def test_a_drained_stream_is_taken_up_again(run):
    client = FakeClient({b"a": None, b"c": None, "end": DRAINED})
    assert details(run(client, [b"a", b"b", b"c"])) == ["a", "b", "c"]
    assert client.sent[1] == [b"a", b"c"]


def test_what_stays_unanswered_is_an_error_and_not_an_all_clear(run):
    client = FakeClient(*[{b"b": BUSY}] * 10)
    outcomes = run(client, [b"a", b"b"])
    assert outcomes[0].detail == "a"
    assert outcomes[1] == Failure("overloaded", "RESOURCE: busy")
    assert len(client.sent) == 5


def test_an_item_that_is_never_mentioned_is_an_error(run):
    client = FakeClient(*[{b"b": None}] * 5)
    assert run(client, [b"a", b"b"])[1].reason == "unanswered"


def test_a_stream_that_breaks_for_good_leaves_errors(run):
    client = FakeClient({b"b": None, "end": BROKEN})
    outcomes = run(client, [b"a", b"b"])
    assert [type(each) for each in outcomes] == [MatchResult, Failure]
    assert len(client.sent) == 1


def test_an_error_of_one_item_is_its_own(run):
    outcomes = run(FakeClient({b"b": BROKEN}), [b"a", b"b", b"c"])
    assert outcomes[1] == Failure("internal", "INTERNAL: bug")
    assert details(outcomes)[::2] == ["a", "c"]


@pytest.mark.parametrize("error", [BROKEN, NO_POLICY])
def test_a_server_that_answers_nothing_is_one_error(run, error):
    with pytest.raises(ServerError) as caught:
        run(FakeClient(error), [b"a", b"b"])
    assert caught.value is error


def test_a_server_that_cannot_be_reached_is_one_error(run, pauses):
    with pytest.raises(ServerError):
        run(FakeClient(*[DRAINED] * 5), [b"a"])
    assert len(pauses) == 3


def test_an_unknown_policy_is_one_error_and_not_one_for_each_file(run):
    with pytest.raises(ServerError) as caught:
        run(FakeClient({b"a": NO_POLICY, b"b": NO_POLICY}), [b"a", b"b"])
    assert caught.value is NO_POLICY


def test_what_may_not_go_as_an_image_goes_by_its_digests(run):
    client = FakeClient({b"c": TOO_LARGE})
    outcomes = run(client, [b"far too large", b"", b"c", b"d"])
    assert client.sent == [[b"c", b"d"]]
    assert sorted(query.size for query in client.looked_up) == [0, 1, 13]
    assert all(
        set(query.hashes) == {HashKind.MD5, HashKind.SHA1, HashKind.SHA256}
        for query in client.looked_up
    )
    reasons = [outcome.reason for outcome in outcomes]
    assert reasons == [
        NotHashableReason.OVER_LIMIT,
        NotHashableReason.MALFORMED,
        NotHashableReason.OVER_LIMIT,
        None,
    ]
    assert {outcome.decision for outcome in outcomes[:3]} == {Decision.NOT_HASHABLE}


def test_a_digest_that_matches_stays_a_match(run):
    client = FakeClient(lookup=answer("", decision=Decision.MATCH))
    (outcome,) = run(client, [b"far too large"])
    assert outcome.decision is Decision.MATCH
    assert outcome.reason is NotHashableReason.OVER_LIMIT


def test_a_digest_lookup_that_fails_is_an_error(run):
    (outcome,) = run(FakeClient(lookup=BROKEN), [b"far too large"])
    assert outcome == Failure("internal", "INTERNAL: bug")


def test_an_unreadable_file_stops_nothing(run):
    outcomes = run(FakeClient(), [b"a", None, b"c"])
    assert outcomes[1].reason == "unreadable"
    assert details(outcomes)[::2] == ["a", "c"]


def test_stale_lists_are_told_once(run, capsys):
    run(FakeClient(stale=True), [b"a", b"b"])
    assert capsys.readouterr().err.count("not the newest") == 1


def test_lookup_sends_all_hashes_of_an_item():
    client = FakeClient()
    item = ImageHashes(
        digests={HashKind.MD5: b"m" * 16},
        size=9,
        views=(ViewHashes("upright", 70, {HashKind.PDQ: b"p" * 32}),),
        photodna=b"d" * 144,
    )
    bare = ImageHashes(digests={HashKind.SHA1: b"s" * 20}, size=None)
    outcomes = RemoteMatcher(client, OPTIONS, max_bytes=1).lookup([item, bare])
    assert details(outcomes) == ["by digest", "by digest"]
    first, second = client.looked_up
    assert set(first.hashes) == {HashKind.MD5, HashKind.PDQ, HashKind.PHOTODNA}
    assert (first.size, first.quality) == (9, 70)
    assert (second.size, second.quality) == (None, None)
