"""Scans that rest on one another end as scans that fetch everything do."""

from __future__ import annotations

import io
import os
import zipfile
from collections import Counter

import msgspec
import pytest

from matcher.decode.pool import InProcessPool
from matcher.pipeline import MatchOptions
from matcher.scan.document import Place, Selection
from matcher.scan.engines.local import LocalEngine, LocalOptions
from matcher.scan.judging.local import LocalJudge
from matcher.scan.model import Outcome, Way
from matcher.scan.rematch import rematch
from matcher.scan.run import run_scan
from matcher.scan.sources import open_source
from matcher.scan.sources.archives import ArchiveLimits
from matcher.scan.sources.selection import Selector
from matcher.scan.state import RunEnd, ScanState
from matcher.scan.unchanged import Earlier
from tests.scan_state_support import RUN, document, sealer
from tests.scan_support import generation_of, picture

SEALER = sealer()
OPTIONS = MatchOptions(within=None)
HASHED = ("pdq", "upright")
#: Long enough ago that no file can have changed in the same tick in which it was read.
PAST = 1_600_000_000


@pytest.fixture(scope="module")
def pool():
    pool = InProcessPool(workers=2)
    yield pool
    pool.close()


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """An older revision, and a newer one that knows more."""
    numbers = ((3,), (3, 17, 102))
    return [
        generation_of(tmp_path_factory.mktemp("snapshots"), [picture(n) for n in each])
        for each in numbers
    ]


@pytest.fixture
def place(tmp_path):
    folder = tmp_path / "held"
    for number in range(30):
        write(folder / f"{number % 4}" / f"{number:03}.png", picture(number))
    write(folder / "1" / "words.txt", b"some words")
    write(folder / "2" / "broken.png", picture(5)[:60])
    write(folder / "more.zip", zipped(a=picture(102), b=b"some words", c=picture(103)))
    write(folder / "bad.zip", zipped(a=picture(104))[:-30])
    return Place(str(folder))


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (PAST, PAST))


def zipped(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.png", data)
    return out.getvalue()


async def scan(state, generation, pool, *, earlier=None):
    """A whole scan, or what is left of it; its records without what is drawn at random."""
    places = state.document.places
    sources = [open_source(each) for each in places]
    known = None
    if earlier is not None:
        orders = [each.order for each in sources]
        known = Earlier(
            earlier,
            SEALER,
            places,
            orders,
            archives=True,
            hashed=HASHED,
            decoders=pool.versions(),
        )
        assert known.problem == ""
    judge = LocalJudge(generation, pool, OPTIONS, max_bytes=1_000_000)
    engine = LocalEngine(
        sources, judge, LocalOptions(keep_hashes=True), archives=ArchiveLimits(), earlier=known
    )
    state.begin_run(**RUN, hashed=HASHED, decoders=pool.versions())
    try:
        assert await run_scan(state, sources, Selector(Selection()), engine, sealer=SEALER)
    finally:
        await engine.close()
        await judge.close()
        for each in sources:
            await each.close()
    state.end_run(RunEnd.DONE)
    assert state.summary().done
    return told(state)


def told(state):
    """What records say of objects, by name; how they came to it is left out."""
    return {
        (each.key, each.member): msgspec.structs.replace(
            each, id="", match_id="", way=Way.FETCHED, attempts=0
        )
        for each in state.records()
    }


def new(folder, place):
    return ScanState.create(
        folder, document(id=folder.name, places=(place,), archives=True, hashes_until=1e12)
    )


async def test_what_has_not_changed_is_not_fetched_and_ends_the_same(tmp_path, place, lists, pool):
    with new(tmp_path / "first", place) as first:
        before = await scan(first, lists[0], pool)
        held = tmp_path / "held"
        write(held / "0" / "000.png", picture(50))
        os.utime(held / "0" / "000.png", (PAST + 60, PAST + 60))
        (held / "0" / "004.png").unlink()
        write(held / "0" / "0041.png", picture(51))
        with new(tmp_path / "again", place) as again, new(tmp_path / "anew", place) as anew:
            found = await scan(again, lists[1], pool, earlier=first)
            assert found == await scan(anew, lists[1], pool)
            ways = Counter(each.way for each in again.records())
            fetched = {each.key for each in again.records() if each.way is not Way.UNCHANGED}
            with new(tmp_path / "third", place) as third:  # what stood is kept, and stands again
                assert await scan(third, lists[1], pool, earlier=again) == found
                repeated = {each.key for each in third.records() if each.way is not Way.UNCHANGED}
    assert before.keys() - found.keys() == {("0/004.png", "")}
    assert fetched == {"0/000.png", "0/0041.png", "bad.zip"}
    assert repeated == {"bad.zip"}  # what failed is tried again
    assert ways[Way.UNCHANGED] == len(found) - 3
    matched = {name for name, each in found.items() if each.outcome is Outcome.MATCHED}
    assert matched == {("3/003.png", ""), ("1/017.png", ""), ("more.zip", "a.png")}


async def test_looking_up_again_ends_as_scanning_again(tmp_path, place, lists, pool):
    with new(tmp_path / "first", place) as first:
        await scan(first, lists[0], pool)
        with new(tmp_path / "again", place) as again, new(tmp_path / "anew", place) as anew:
            again.begin_run(**RUN)
            list(rematch(again, first, lists[1], OPTIONS, sealer=SEALER, hashed=HASHED))
            expected = await scan(anew, lists[1], pool)
            found = told(again)
            skipped = again.summary().skipped
    failed = {name for name, each in expected.items() if each.outcome is Outcome.FAILED}
    assert failed == {("bad.zip", "")}
    assert found == {name: each for name, each in expected.items() if name not in failed}
    assert skipped == {"objects of which no hashes are kept": 1}
