"""The local engine: each object has its record, whatever is wrong with it or its neighbours."""

from __future__ import annotations

import asyncio
import gzip
import io
import zipfile
from collections import Counter
from dataclasses import replace

import msgspec
import pytest

from matcher.decode.pool import InProcessPool
from matcher.errors import DecodersAwayError, UnknownPolicyError
from matcher.hashing.digests import digest_bytes
from matcher.model import NotHashableReason
from matcher.pipeline import MatchOptions, match_items
from matcher.scan.engines import local
from matcher.scan.engines.archived import REST
from matcher.scan.engines.local import LocalEngine, LocalOptions
from matcher.scan.errors import EngineError
from matcher.scan.events import Retried, Throttled
from matcher.scan.fetching import Patience
from matcher.scan.judging.local import LocalJudge
from matcher.scan.model import Batch, FailureReason, FetchError, Outcome, Way
from matcher.scan.records import opened_hashes
from matcher.scan.sources.archives import ArchiveLimits
from tests.scan_support import MemorySource, generation_of, hashes_of, picture

MAX_BYTES = 200_000
PICTURES = {f"p/{n:03}.png": picture(n) for n in range(40)}
KNOWN = [picture(n) for n in (3, 17)]
BRIEF = Patience(attempts=3, first_seconds=0.001, longest_seconds=0.002)


@pytest.fixture(scope="module")
def generation(tmp_path_factory):
    return generation_of(tmp_path_factory.mktemp("snapshots"), KNOWN)


@pytest.fixture(scope="module")
def pool():
    pool = InProcessPool(workers=2)
    yield pool
    pool.close()


class CountingPool:
    """Counts what is decoded; is away as often as `away` says."""

    def __init__(self, pool):
        self._pool = pool
        self.decoded = Counter()
        self.away = 0

    def submit(self, data, request, **options):
        self.decoded[digest_bytes(data).sha256] += 1
        if self.away:
            self.away -= 1
            failed = self._pool.submit(b"", request)
            failed.result()
            gone = type(failed)()
            gone.set_exception(DecodersAwayError("no decoder can be started"))
            return gone
        return self._pool.submit(data, request, **options)


@pytest.fixture
def counting(pool):
    return CountingPool(pool)


@pytest.fixture
async def judge(generation, counting):
    async def at_once(seconds):
        pass

    judge = LocalJudge(
        generation, counting, MatchOptions(within=None), max_bytes=MAX_BYTES, sleep=at_once
    )
    yield judge
    await judge.close()


def batch_of(source, *keys, number=1):
    return Batch(number, 0, tuple(source.listed(key) for key in keys or source.objects))


async def scan(source, judge, *batches, events=None, **options):
    engine = LocalEngine(
        [source], judge, LocalOptions(patience=BRIEF, **options), events=events or (lambda _: 0)
    )
    try:
        return await asyncio.gather(*(engine.scan(each) for each in batches))
    finally:
        await engine.close()


async def scanned(source, judge, **options):
    (result,) = await scan(source, judge, batch_of(source), **options)
    return {record.key: record for record in result.records}


async def test_records_tell_what_looking_each_file_up_by_itself_does(judge, generation):
    """The oracle hashes and looks up one file after the other."""
    records = await scanned(MemorySource(PICTURES), judge)
    assert list(records) == list(PICTURES)
    for key, hashes in zip(PICTURES, hashes_of(PICTURES.values()), strict=True):
        (result,) = match_items(generation, [hashes], [MatchOptions(within=None)])
        record = records[key]
        assert record.outcome == result.decision.lower().replace("match", "matched").replace(
            "no_known_matched", "no_known_match"
        )
        assert record.total_matches == result.total_matches
        assert (record.format, record.way, record.attempts) == ("png", Way.FETCHED, 1)
        assert (record.size, record.etag) == (len(PICTURES[key]), f"e-{key}")
    matched = [key for key, each in records.items() if each.outcome is Outcome.MATCHED]
    assert matched == ["p/003.png", "p/017.png"]
    assert records["p/003.png"].sha256 == digest_bytes(PICTURES["p/003.png"]).sha256.hex()


async def test_what_is_wrong_with_one_object_is_its_own(judge):
    source = MemorySource(
        PICTURES
        | {
            "broken": b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
            "empty": b"",
            "large": bytes(MAX_BYTES + 1),
            "text": b"some words",
        }
    )
    source.faults["p/000.png"].append(FetchError(FailureReason.FORBIDDEN, "it may not be read"))
    source.faults["p/001.png"].append(ZeroDivisionError())
    batch = batch_of(source)
    del source.objects["p/002.png"]
    (result,) = await scan(source, judge, batch)
    records = {each.key: each for each in result.records}
    assert [each.key for each in batch.objects] == list(records)
    told = {key: (each.outcome, each.reason) for key, each in records.items()}
    assert told["broken"] == (Outcome.NOT_HASHABLE, NotHashableReason.MALFORMED)
    assert told["empty"] == (Outcome.NOT_HASHABLE, NotHashableReason.MALFORMED)
    assert told["large"] == (Outcome.NOT_HASHABLE, NotHashableReason.OVER_LIMIT)
    assert told["text"] == (Outcome.NOT_HASHABLE, NotHashableReason.UNSUPPORTED)
    assert told["p/000.png"] == (Outcome.FAILED, FailureReason.FORBIDDEN)
    assert told["p/001.png"] == (Outcome.FAILED, FailureReason.STORE_ERROR)
    assert "this is a bug (ZeroDivisionError)" in records["p/001.png"].detail
    assert told["p/002.png"] == (Outcome.FAILED, FailureReason.VANISHED)
    assert told["p/003.png"] == (Outcome.MATCHED, "")
    counts = Counter(outcome for outcome, _ in told.values())
    assert counts[Outcome.NO_KNOWN_MATCH] == 35
    read = [len(source.objects[k]) for k, each in records.items() if each.outcome != "failed"]
    assert result.fetched_bytes == sum(read)


async def test_faults_that_pass_are_tried_again_and_counted(judge):
    source, heard = MemorySource(PICTURES), []
    slow = FetchError(FailureReason.THROTTLED, "slow down", transient=True, throttled=True)
    error = FetchError(FailureReason.STORE_ERROR, "500", transient=True)
    source.faults["p/003.png"].extend([slow, error])
    source.faults["p/004.png"].extend([error] * 5)
    records = await scanned(source, judge, events=heard.append)
    assert (records["p/003.png"].outcome, records["p/003.png"].attempts) == ("matched", 3)
    failed = records["p/004.png"]
    assert (failed.outcome, failed.reason, failed.attempts) == ("failed", "store_error", 3)
    assert [each.at_once for each in heard if isinstance(each, Throttled)] == [4]
    told = Counter(each.reason for each in heard if isinstance(each, Retried))
    assert told == {FailureReason.THROTTLED: 1, FailureReason.STORE_ERROR: 3}


async def test_the_same_bytes_are_decoded_once_and_each_has_its_record(judge, counting):
    source = MemorySource(
        {f"{n:03}": (KNOWN[0], PICTURES["p/005.png"], b"no picture")[n % 3] for n in range(150)}
        | {"large-1": bytes(MAX_BYTES + 9), "large-2": bytes(MAX_BYTES + 9)}
    )
    keys = list(source.objects)
    batches = [batch_of(source, *keys[at : at + 50], number=at + 1) for at in range(0, 152, 50)]
    results = await scan(source, judge, *batches)
    assert set(counting.decoded.values()) == {1}
    records = [record for each in results for record in each.records]
    assert [each.key for each in records] == keys
    assert Counter(each.way for each in records) == {Way.FETCHED: 4, Way.REPEAT: 148}
    matched = [each for each in records if each.outcome is Outcome.MATCHED]
    assert len(matched) == len({each.match_id for each in matched}) == 50
    assert len({(each.matches, each.format, each.detail) for each in matched}) == 1
    assert Counter(each.reason for each in records if each.reason) == {
        "unsupported": 50,
        "over_limit": 2,
    }


async def test_kept_hashes_give_the_hashes(judge):
    source = MemorySource(dict(list(PICTURES.items())[:3]) | {"text": b"words", "twin": KNOWN[0]})
    source.objects["z-twin"] = KNOWN[0]
    (result,) = await scan(source, judge, batch_of(source), keep_hashes=True)
    assert [each.id for each in result.kept] == [each.id for each in result.records]
    kept = {each.listed.key: opened_hashes(each)[1] for each in result.kept}
    assert kept["twin"] == kept["z-twin"] == hashes_of(KNOWN[:1])[0]
    assert kept["text"].undecodable.reason is NotHashableReason.UNSUPPORTED
    (result,) = await scan(source, judge, batch_of(source))
    assert result.kept == ()


async def test_decoders_that_are_away_are_waited_for(judge, counting):
    counting.away = 2
    source = MemorySource({"a": KNOWN[0]})
    assert (await scanned(source, judge))["a"].outcome is Outcome.MATCHED
    counting.away = 100
    record = (await scanned(source, judge))["a"]
    assert (record.outcome, record.reason) == (Outcome.FAILED, FailureReason.DECODERS_AWAY)
    assert record.attempts == 1
    counting.away = 0


async def test_a_twin_of_what_got_no_answer_is_judged_by_itself(judge, counting):
    counting.away = 4  # all tries of the first
    source = MemorySource({"a": KNOWN[0], "b": KNOWN[0]})
    records = await scanned(source, judge)
    outcomes = Counter(each.outcome for each in records.values())
    assert outcomes == {Outcome.FAILED: 1, Outcome.MATCHED: 1}


async def test_memory_is_bounded(judge):
    source = MemorySource({f"{n:03}": bytes([n]) * 60_000 for n in range(40)})
    await scan(source, judge, batch_of(source), most_bytes=200_000)
    assert 1 < source.most_at_once <= 3


class LyingSource(MemorySource):
    """Tells other sizes than objects have; notes how many larger ones are read at a time."""

    told = 1
    large = most_large = 0

    def listed(self, key):
        return msgspec.structs.replace(super().listed(key), size=self.told)

    async def fetch(self, listed, *, max_bytes):
        size = len(self.objects[listed.key])
        self.large += max_bytes >= size
        self.most_large = max(self.large, self.most_large)
        try:
            content = await super().fetch(listed, max_bytes=max_bytes)
            return replace(content, listed=msgspec.structs.replace(listed, size=size))
        finally:
            self.large -= max_bytes >= size


@pytest.mark.parametrize("told", [1, MAX_BYTES * 9])
async def test_memory_is_bounded_where_a_listing_tells_wrong_sizes(judge, monkeypatch, told):
    monkeypatch.setattr(local, "_PIECE_BYTES", 1)
    source = LyingSource(PICTURES | {"p/large": b"x" * (MAX_BYTES + 1)})
    source.told = told
    records = await scanned(source, judge, most_bytes=2 * MAX_BYTES)
    assert records["p/large"].reason == NotHashableReason.OVER_LIMIT
    assert records["p/large"].size == MAX_BYTES + 1
    outcomes = Counter(records[key].outcome for key in PICTURES)
    assert outcomes == {Outcome.MATCHED: 2, Outcome.NO_KNOWN_MATCH: 38}
    assert source.most_large <= 2
    assert source.fetches["p/large"] == 1
    assert {source.fetches[key] for key in PICTURES} == {2}


async def test_a_judge_that_is_gone_ends_the_scan():
    class Gone:
        max_bytes, tells_hashes = MAX_BYTES, False

        async def judge(self, data, digests):
            raise EngineError("the server refuses")

    source = MemorySource(PICTURES)
    with pytest.raises(EngineError, match="refuses"):
        await scan(source, Gone(), batch_of(source))


async def test_a_scan_that_is_cancelled_leaves_nothing_under_way(judge):
    source = MemorySource(PICTURES)
    reached = asyncio.Event()

    async def stuck():
        reached.set()
        await asyncio.Event().wait()

    source.faults["p/020.png"].append(stuck)
    engine = LocalEngine([source], judge)
    task = asyncio.create_task(engine.scan(batch_of(source)))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.at_once == 0
    (result,) = await asyncio.gather(engine.scan(batch_of(source)))
    assert len(result.records) == 40
    await engine.close()


def test_a_policy_that_is_not_there_is_told_at_once(generation, pool):
    with pytest.raises(UnknownPolicyError):
        LocalJudge(generation, pool, MatchOptions("none", within=None), max_bytes=1)


# Archives


def zipped(**files):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


async def archives_scanned(source, judge, limits=None, **options):
    engine = LocalEngine(
        [source], judge, LocalOptions(patience=BRIEF, **options), archives=limits or ArchiveLimits()
    )
    try:
        return await engine.scan(batch_of(source))
    finally:
        await engine.close()


async def test_members_of_archives_have_records_of_their_own(judge, counting):
    source = MemorySource(
        {
            "a.zip": zipped(one=KNOWN[0], two=PICTURES["p/004.png"], three=b"words"),
            "b.png": KNOWN[0],
            "c.gz": gzip.compress(KNOWN[1]),
        }
    )
    result = await archives_scanned(source, judge, keep_hashes=True)
    told = [(each.id, each.key, each.member, each.outcome) for each in result.records]
    assert told == [
        ("1-1", "a.zip", "", Outcome.NO_KNOWN_MATCH),
        ("1-1.1", "a.zip", "one", Outcome.MATCHED),
        ("1-1.2", "a.zip", "two", Outcome.NO_KNOWN_MATCH),
        ("1-1.3", "a.zip", "three", Outcome.NOT_HASHABLE),
        ("1-2", "b.png", "", Outcome.MATCHED),
        ("1-3", "c.gz", "", Outcome.NO_KNOWN_MATCH),
        ("1-3.1", "c.gz", "c", Outcome.MATCHED),
    ]
    assert [each.id for each in result.kept] == [each.id for each in result.records]
    assert set(counting.decoded.values()) == {1}  # the twin of a member, too
    assert len(list(result.of_objects())) == 3
    plain = await scanned(source, judge)
    assert plain["a.zip"].outcome is Outcome.NOT_HASHABLE


async def test_a_picture_that_is_called_an_archive_is_judged_as_a_picture(judge, counting):
    source = MemorySource({"a.zip": PICTURES["p/003.png"], "b.tar": picture(70), "c.gz": b"words"})
    source.objects["a.zip"] += b"trailing bytes, so that no digest is known"
    result = await archives_scanned(source, judge)
    own = {each.key: each.outcome for each in result.records}
    assert own == {
        "a.zip": Outcome.REVIEW,
        "b.tar": Outcome.NO_KNOWN_MATCH,
        "c.gz": Outcome.FAILED,
    }
    assert counting.decoded.total() == 3


async def test_what_cannot_be_taken_out_of_an_archive_is_told(judge):
    whole = zipped(**{f"m{n}": picture(n) for n in range(6)})
    source = MemorySource(
        {
            "cut.gz": gzip.compress(bytes(range(256)) * 40)[:-30],
            "many.zip": whole,
            "no.zip": b"no archive",
        }
    )
    result = await archives_scanned(source, judge, ArchiveLimits(members=4))
    own = {each.key: each for each in result.of_objects()}
    assert {key: (each.outcome, each.reason) for key, each in own.items()} == {
        "cut.gz": (Outcome.FAILED, FailureReason.ARCHIVE_DAMAGED),
        "many.zip": (Outcome.FAILED, FailureReason.ARCHIVE_LIMIT),
        "no.zip": (Outcome.FAILED, FailureReason.ARCHIVE_DAMAGED),
    }
    assert sum(each.key == "many.zip" and bool(each.member) for each in result.records) == 4


async def test_an_archive_that_is_known_itself_stays_found_when_it_is_damaged(
    pool, tmp_path_factory
):
    damaged = zipped(a=KNOWN[0])[:-30]
    known = generation_of(tmp_path_factory.mktemp("known"), KNOWN, exact=[damaged])
    judge = LocalJudge(known, pool, MatchOptions(within=None), max_bytes=MAX_BYTES)
    result = await archives_scanned(MemorySource({"a.zip": damaged}), judge)
    await judge.close()
    first, second = result.records
    assert first.outcome is Outcome.MATCHED
    assert (second.member, second.outcome) == (REST, Outcome.FAILED)


async def test_a_large_archive_is_opened_and_judged_by_its_digests(judge):
    source = MemorySource({"a.zip": zipped(one=KNOWN[0], pad=bytes(MAX_BYTES))})
    result = await archives_scanned(source, judge)
    told = [(each.member, each.outcome, each.reason) for each in result.records]
    assert told == [
        ("", Outcome.NO_KNOWN_MATCH, ""),
        ("one", Outcome.MATCHED, ""),
        ("pad", Outcome.NOT_HASHABLE, "unsupported"),
    ]


# What an earlier scan has kept


async def test_unchanged_objects_are_looked_up_and_not_fetched(judge):
    source = MemorySource(PICTURES | {"z.zip": zipped(one=KNOWN[0])})
    first = await archives_scanned(source, judge, keep_hashes=True)
    by_key = {}
    for each in first.kept:
        by_key.setdefault(each.listed.key, []).append(each)
    del by_key["p/007.png"]

    class Earlier:
        def find(self, number, listed):
            return tuple(by_key.get(listed.key, ()))

    source.fetches.clear()
    engine = LocalEngine(
        [source],
        judge,
        LocalOptions(keep_hashes=True),
        archives=ArchiveLimits(),
        earlier=Earlier(),
    )
    again = await engine.scan(batch_of(source, number=5))
    await engine.close()
    assert set(source.fetches) == {"p/007.png"}
    assert [each.id for each in again.kept] == [each.id for each in again.records]
    for then, now in zip(first.records, again.records, strict=True):
        same = now.key == "p/007.png"
        assert (now.way, now.attempts) == ((Way.FETCHED, 1) if same else (Way.UNCHANGED, 0))
        assert now.id == then.id.replace("1-", "5-", 1)
        assert (now.outcome, now.matches, now.format) == (then.outcome, then.matches, then.format)


def test_kept_hashes_are_no_use_to_a_judge_that_cannot_look_them_up():
    class Server:
        tells_hashes = False

    with pytest.raises(ValueError, match="does not look hashes up"):
        LocalEngine([], Server(), earlier=object())
