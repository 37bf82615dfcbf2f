"""Hostile files against a running service, in a process of its own: bombs, and mutated files.

The long run of mutated files is `python -m loadtest.hostile --files 200000`.
"""

from __future__ import annotations

import asyncio
import io
import time

import psutil
import pytest
from PIL import Image

from loadtest.hostile import __main__ as hostile
from loadtest.hostile.bombs import bombs, grid_of, tile_of
from loadtest.hostile.layout import layout_of
from loadtest.hostile.mutations import mutated
from loadtest.hostile.seeds import seeds
from loadtest.hostile.sending import Tally
from loadtest.openloop import server
from loadtest.openloop.processes import Watch
from matcher.client import AsyncClient
from matcher.decode.worker.sniff import sniff
from matcher.demo_data import published_test_image
from matcher.model import Decision, NotHashableReason

KNOWN = published_test_image().data
#: What a decoder is given here: less than usual, so that the whole takes less.
SECONDS, GRACE_SECONDS = 2, 2
LIMITS = {
    "decode_seconds": SECONDS,
    "decode_grace_seconds": GRACE_SECONDS,
    "decode_workers": 2,
    "processes": 1,
    "max_fatal_images": 1000,
}
#: Bytes that a decoder may take beyond what it begins with, by the defaults.
MOST_MIB = (3 * 2**29 + 2**28) >> 20
#: Judged by what they say of themselves, before anything is unfolded.
REFUSED_AT_ONCE = {
    *("png pixels", "png claims", "gif claims", "webp claims", "webp frames", "tiff claims"),
    *("tiff tile", "heic claims", "heic grid", "avif claims", "avif grid", "jpeg2000 claims"),
    "jpeg2000 tile",
}


@pytest.mark.slow
async def test_bombs_are_answered_in_bounded_time_and_memory(tmp_path):
    """And what others send meanwhile is answered as ever."""
    files = bombs()
    kinds = {name.partition(" ")[0] for name in files}
    assert kinds == {"png", "gif", "webp", "tiff", "avif", "jpeg2000", "heic"}
    assert set(files) >= REFUSED_AT_ONCE
    with server.hashwarden(tmp_path, LIMITS) as running, Watch({"server": running.pid}) as watch:
        async with AsyncClient(running.address, timeout=120) as client:
            begun = watch.look().memory
            ended = asyncio.Event()

            async def neighbour():
                count = 0
                while not ended.is_set():
                    answer = await client.match_image(KNOWN)
                    assert answer.result.decision is Decision.MATCH
                    count += 1
                return count

            others = asyncio.create_task(neighbour())
            for name, data in files.items():
                started = time.monotonic()
                answer = await client.match_image(data)
                took = time.monotonic() - started
                result = answer.result
                assert (result.reason is None) != (result.decision is Decision.NOT_HASHABLE), name
                if name in REFUSED_AT_ONCE:
                    assert result.reason is NotHashableReason.OVER_LIMIT, name
                # A decoder that runs on is ended, and another is there for the next file.
                assert took < SECONDS + GRACE_SECONDS + 20, name
            ended.set()
            assert await others > len(files)
            assert psutil.Process(running.pid).is_running()
    forks = "server: forks of forkserver"
    assert max(each.memory.get(forks, 0) for each in watch.samples) < begun[forks] + 2 * MOST_MIB
    assert watch.samples[-2].memory["server"] < begun["server"] + 100


def test_a_grid_of_one_tile_is_a_picture_and_no_broken_file():
    """Or the bomb made of it would show nothing."""
    with Image.open(io.BytesIO(grid_of(tile_of("heic"), b"hvc1", 4))) as picture:
        picture.load()
        assert picture.size == (256, 256)


@pytest.mark.slow
def test_mutated_files_get_answers_of_a_running_service(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["hostile", "--files", "1500", "--seed", "5"])
    assert hostile.main() == 0
    told = capsys.readouterr().out
    assert "Findings: 0." in told
    # Mutation must reach beyond the first check, or this would show nothing.
    for outcome in ("malformed", "over_limit", "unsupported", "NO_KNOWN_MATCH", "cut off"):
        assert outcome in told


class TestMutations:
    def test_seeds_are_of_every_format(self):
        formats = {sniff(data).value for data in seeds().values()}
        assert formats >= {"jpeg", "png", "gif", "webp", "tiff", "bmp", "avif", "heic", "ico"}
        assert "jpeg2000" in formats

    def test_what_is_mutated_is_taken_apart(self):
        for name, data in seeds().items():
            found = layout_of(data)
            if not name.startswith("jpegxl"):
                assert found.sizes, name
                assert found.lengths, name
            for start, end in found.pieces:
                assert 0 <= start < end <= len(data), name

    def test_they_are_the_same_for_the_same_number(self):
        corpus = list(seeds().values())
        files = [mutated(corpus, 3, number) for number in range(60)]
        assert files == [mutated(corpus, 3, number) for number in range(60)]
        assert len(set(files)) == 60


class TestTally:
    def test_what_must_not_be_is_a_finding(self):
        tally = Tally()
        tally.take("1", None, None)
        tally.lose({"2", "known-200"}, "gone")
        assert tally.answered == 2
        assert [each.partition(":")[0] for each in tally.findings] == ["1", "2", "known-200"]

    def test_memory_that_grows_is_told(self):
        assert hostile.Growth("server", 100, 160).is_leak
        assert not hostile.Growth("server", 100, 105).is_leak
        assert not hostile.Growth("server", 10, 20).is_leak
