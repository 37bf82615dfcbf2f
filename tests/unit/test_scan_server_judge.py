"""Judging at a server: every image gets its answer, over streams that end, and what fails ends."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from hashlists.model import HashKind
from matcher import settings
from matcher.client import AsyncClient, MatchAnswer, StreamAnswer
from matcher.client.types import ImageInfo
from matcher.demo import published_test_image
from matcher.errors import ServerError
from matcher.hashing.digests import digest_bytes
from matcher.model import Decision, ImageHashes, MatchResult, NotHashableReason, ViewHashes
from matcher.pipeline import MatchOptions
from matcher.scan.engines.local import LocalEngine
from matcher.scan.errors import EngineError
from matcher.scan.judging import server as server_judge
from matcher.scan.judging.server import ServerJudge
from matcher.scan.model import Batch, FailureReason, Outcome
from matcher.service.server import running
from tests.scan_support import MemorySource, picture

BUSY = ServerError("busy", reason="OVERLOADED", retryable=True)
DRAINED = ServerError("going down", reason="UNAVAILABLE", retryable=True)
BROKEN = ServerError("a bug", reason="INTERNAL")
TOO_LARGE = ServerError("too large", reason="IMAGE_TOO_LARGE")
NO_POLICY = ServerError("no such policy", reason="POLICY_UNKNOWN")


def answer(detail, decision=Decision.NO_KNOWN_MATCH, *, image=None):
    none = {"reason": None, "match_id": "", "matches": (), "total_matches": 0, "shadow_matches": 0}
    more = {"kinds_tried": (), "views_tried": (), "views_left_out": (), "revision": 3}
    result = MatchResult(decision, detail=detail, policy="p", policy_version="v", **none, **more)
    return MatchAnswer(result, image, False, "1", "1")


class Client:
    """Each stream takes `most` images at most; `script` says what comes of an image's tries."""

    def __init__(self, *, most=1000, script=None, lookups=(), streams=()):
        self.most = most
        self.script = script or {}
        self.lookups = list(lookups)
        self.streams = list(streams)
        self.sent = Counter()
        self.opened = 0

    async def match_images(self, images, *, policy, views, max_matches):
        assert (policy, views, max_matches) == ("strict", ("all",), 3)
        self.opened += 1
        if self.streams and (problem := self.streams.pop(0)) is not None:
            raise problem
        taken = 0
        async for name, data in images:
            await asyncio.sleep(0)
            taken += 1
            self.sent[data] += 1
            outcomes = self.script.get(data, [])
            outcome = outcomes.pop(0) if outcomes else answer(data.decode())
            if taken > self.most or outcome == "end":
                raise DRAINED
            if isinstance(outcome, ServerError):
                yield StreamAnswer(name, None, outcome)
            else:
                yield StreamAnswer(name, outcome, None)

    async def lookup_hashes(self, queries, *, policy, max_matches):
        (query,) = queries
        assert set(query.hashes) == {HashKind.MD5, HashKind.SHA1, HashKind.SHA256}
        told = self.lookups.pop(0) if self.lookups else answer("by digests")
        if isinstance(told, tuple):
            raise told[0]
        return [told]


@pytest.fixture
async def judges():
    opened = []

    async def at_once(seconds):
        await asyncio.sleep(0)

    def judge(client):
        options = MatchOptions("strict", ("all",), 3)
        opened.append(ServerJudge(client, options, max_bytes=100, sleep=at_once))
        return opened[-1]

    yield judge
    for each in opened:
        await each.close()


async def judged(judge, *files):
    return await asyncio.wait_for(
        asyncio.gather(*(judge.judge(each, digest_bytes(each)) for each in files)), 30
    )


FILES = [f"file {n}".encode() for n in range(40)]


async def test_each_image_gets_its_own_answer(judges):
    client = Client()
    told = await judged(judges(client), *FILES)
    assert [each.result.detail.encode() for each in told] == FILES
    assert [each.digests for each in told] == [digest_bytes(each) for each in FILES]
    assert client.opened == 1


async def test_what_a_stream_leaves_unanswered_is_sent_again(judges):
    client = Client(most=7)
    told = await judged(judges(client), *FILES)
    assert [each.result.detail.encode() for each in told] == FILES
    assert client.opened > 5


async def test_a_server_that_is_busy_is_asked_again_and_not_for_ever(judges):
    client = Client(script={b"file 1": [BUSY, BUSY], b"file 2": [BUSY] * 100})
    told = await judged(judges(client), *FILES)
    assert told[1].result is not None
    assert told[2].failed == (FailureReason.SERVER, "busy")
    assert (client.sent[b"file 1"], client.sent[b"file 2"]) == (3, 6)


async def test_an_image_on_which_streams_end_fails_alone(judges):
    client = Client(script={b"file 5": ["end"] * 100})
    told = await judged(judges(client), *FILES)
    assert [n for n, each in enumerate(told) if each.failed] == [5]


async def test_errors_of_one_image_are_its_own(judges):
    client = Client(script={b"file 3": [BROKEN], b"file 4": [TOO_LARGE]})
    told = await judged(judges(client), *FILES)
    assert told[3].failed == (FailureReason.SERVER, "a bug")
    assert told[4].result.reason is NotHashableReason.OVER_LIMIT
    assert told[4].result.decision is Decision.NOT_HASHABLE
    assert sum(each.failed is None for each in told) == 39


@pytest.mark.parametrize(
    "client",
    [
        Client(script={b"file 9": [NO_POLICY]}),
        Client(streams=[BROKEN]),
        Client(streams=[DRAINED] * 100),
    ],
    ids=["of all items", "of the stream", "not there"],
)
async def test_what_holds_for_all_ends_the_scan_in_the_servers_words(judges, client):
    judge = judges(client)
    with pytest.raises(
        EngineError, match=r"asking the server failed: (no such policy|a bug|going down)"
    ):
        await judged(judge, *FILES)
    with pytest.raises(EngineError):
        await judged(judge, b"another")


async def test_a_stream_is_ended_when_idle_and_opened_again(judges, monkeypatch):
    monkeypatch.setattr("matcher.scan.judging.server._IDLE_SECONDS", 0.01)
    client, ended = Client(), asyncio.Event()
    real = client.match_images

    async def watched(images, **options):
        async for each in real(images, **options):
            yield each
        ended.set()

    client.match_images = watched
    judge = judges(client)
    await judged(judge, b"one")
    await asyncio.wait_for(ended.wait(), 30)
    await judged(judge, b"two")
    assert client.opened == 2


async def test_a_server_that_never_answers_is_given_up(judges, monkeypatch):
    """It takes what is sent, and the scan does not wait for ever."""
    monkeypatch.setattr(server_judge, "_SILENCE_SECONDS", 0.05)

    class Silent(Client):
        async def match_images(self, images, **options):
            self.opened += 1
            async for _ in images:
                pass
            await asyncio.Event().wait()
            yield

    client = Silent()
    with pytest.raises(EngineError, match="has answered none"):
        await judged(judges(client), *FILES)
    assert client.opened > 2


async def test_a_bug_on_the_stream_ends_the_scan_and_nobody_waits_for_ever(judges):
    judge = judges(Client(streams=[None, ZeroDivisionError()], most=1))
    told = await asyncio.gather(judged(judge, FILES[0], FILES[1]), return_exceptions=True)
    assert isinstance(told[0], EngineError)
    assert str(told[0]).startswith("asking the server failed: this is a bug (ZeroDivisionError)")
    with pytest.raises(EngineError, match="this is a bug"):
        await judged(judge, FILES[2])


async def test_a_bug_in_looking_up_a_large_file_is_told_to_who_waits(judges):
    judge = judges(Client(script={FILES[0]: [TOO_LARGE]}, lookups=[(ZeroDivisionError(),)]))
    with pytest.raises(ZeroDivisionError):
        await judged(judge, FILES[0])


async def test_files_without_pixels_are_looked_up_by_digests(judges):
    matched = answer("known", Decision.MATCH)
    client = Client(lookups=[answer("no"), (DRAINED,), BUSY, matched, BROKEN])
    judge = judges(client)
    (empty,) = await judged(judge, b"")
    assert (empty.result.decision, empty.result.reason) == (
        Decision.NOT_HASHABLE,
        NotHashableReason.MALFORMED,
    )
    digests = digest_bytes(b"x" * 200)
    known = {
        HashKind.MD5: digests.md5,
        HashKind.SHA1: digests.sha1,
        HashKind.SHA256: digests.sha256,
    }
    told = await judge.look_up(ImageHashes(known, 200))
    assert (told.result.decision, told.result.reason) == (Decision.MATCH, None)
    told = await judge.look_up(ImageHashes(known, 200))
    assert told.failed == (FailureReason.SERVER, "a bug")
    client.lookups = [(BROKEN,)]
    with pytest.raises(EngineError, match="a bug"):
        await judge.look_up(ImageHashes(known, 200))
    with pytest.raises(ValueError, match="by their digests"):
        await judge.look_up(ImageHashes(known, 200, views=(ViewHashes("upright", 90, {}),)))


async def test_what_was_not_looked_at_is_told(judges):
    image = ImageInfo(4, 3, "gif", 12, truncated=True)
    client = Client(script={b"a": [answer("a", image=image)]})
    (told,) = await judged(judges(client), b"a")
    assert (told.format, told.gaps) == ("gif", ("truncated", "frames"))


async def test_at_a_real_server(tmp_path):
    free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
    chosen = settings.load_settings(tmp_path, environ={}, overrides=free)
    known = published_test_image().data
    source = MemorySource({"a": known, "b": picture(1), "c": b"", "d": b"words", "e": known})
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        async with AsyncClient(server.address) as client:
            judge = ServerJudge(client, MatchOptions(), max_bytes=1_000_000)
            engine = LocalEngine([source], judge)
            batch = Batch(1, 0, tuple(source.listed(key) for key in source.objects))
            result = await engine.scan(batch)
            wrong = ServerJudge(client, MatchOptions("none"), max_bytes=1_000_000)
            with pytest.raises(EngineError, match="asking the server failed"):
                await LocalEngine([source], wrong).scan(batch)
            for each in (judge, wrong):
                await each.close()
            await engine.close()
    told = {each.key: (each.outcome, each.format, each.reason) for each in result.records}
    assert told["a"][0] == told["e"][0] != Outcome.NO_KNOWN_MATCH
    assert told["b"] == (Outcome.NO_KNOWN_MATCH, "png", "")
    assert told["c"] == (Outcome.NOT_HASHABLE, "", "malformed")
    assert told["d"] == (Outcome.NOT_HASHABLE, "", "unsupported")
