"""Scans of a real S3 server that fails, and by decoders that die: each object has its record."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
from collections import Counter
from contextlib import asynccontextmanager

import psutil
import pytest
from PIL import Image

from matcher.decode.limits import DecodeLimits, WorkerLimits
from matcher.decode.sandbox.pool import SandboxPool
from matcher.pipeline import MatchOptions
from matcher.scan.document import Place, ScanDocument
from matcher.scan.engines.local import LocalEngine, LocalOptions
from matcher.scan.events import Finished, Retried, Throttled
from matcher.scan.fetching import Patience
from matcher.scan.judging.local import LocalJudge
from matcher.scan.model import FailureReason, Outcome
from matcher.scan.run import run_scan
from matcher.scan.sources import SourceOptions, open_source
from matcher.scan.sources.selection import Selector
from matcher.scan.state import ScanState
from tests.faulty_proxy import ALWAYS, Fault, FaultyProxy, vanish
from tests.planted_decoders import planted
from tests.s3_server import give_credentials
from tests.scan_support import generation_of, picture

KNOWN = picture(900)
OBJECTS = 150
#: No decoder is killed because this machine is busy.
PATIENT = WorkerLimits(seconds=120, niceness=0)
BRIEF = Patience(attempts=4, first_seconds=0.01, longest_seconds=0.05)


@pytest.fixture(scope="module")
def generation(tmp_path_factory):
    return generation_of(tmp_path_factory.mktemp("snapshots"), [KNOWN])


def make_objects(folder):
    """Pictures, the seventh of each ten a known one."""
    for number in range(OBJECTS):
        data = KNOWN if number % 10 == 7 else picture(number)
        (folder / f"{number:03}.png").write_bytes(data)


@asynccontextmanager
async def scanning(tmp_path, generation, place, *, pool=None, options=None, events=None):
    """A way to run a scan to its end; gives its records by key, and its sums."""
    pool = pool or SandboxPool(DecodeLimits(), 2, worker_limits=PATIENT)
    judge = LocalJudge(generation, pool, MatchOptions(within=None), max_bytes=1 << 20)
    source = open_source(place, options=options)
    events = events or (lambda _: 0)
    engine = LocalEngine([source], judge, LocalOptions(patience=BRIEF, batches=3), events=events)

    async def run():
        with ScanState.create(
            tmp_path / "out", ScanDocument("s", 0.0, "a person", (place,))
        ) as state:
            state.begin_run(revision=7, policy="default", policy_version="v")
            selector = Selector(state.document.selection)
            assert await run_scan(state, [source], selector, engine, events=events)
            summary = state.summary()
            assert sum(summary.tally.outcomes.values()) == summary.listed == summary.finished
            return {each.key: each for each in state.records()}

    try:
        yield run
    finally:
        for each in (engine, judge, source):
            await each.close()
        await asyncio.to_thread(pool.close)


def check_others(records, but):
    """All but those have the outcome that they have in peace, from one try."""
    for key, record in records.items():
        if key not in but:
            known = int(key[:3]) % 10 == 7
            expected = Outcome.MATCHED if known else Outcome.NO_KNOWN_MATCH
            assert (key, record.outcome, record.attempts) == (key, expected, 1)


async def test_a_store_that_fails_now_and_then(tmp_path, generation, s3_store, monkeypatch):
    give_credentials(monkeypatch, tmp_path)
    make_objects(s3_store.bucket("scan-faults"))
    heard = []
    with FaultyProxy(s3_store.endpoint) as proxy:
        proxy.add(
            Fault("007.png", times=2, status=500, code="InternalError"),
            Fault("017.png", times=1, status=503, code="SlowDown"),
            Fault("027.png", times=1, cut_after=200),
            Fault("037.png", times=ALWAYS, status=500, code="InternalError"),
            Fault("047.png", times=ALWAYS, status=503, code="SlowDown"),
            Fault("057.png", times=ALWAYS, cut_after=100),
            Fault("067.png", times=ALWAYS, status=403, code="AccessDenied"),
            vanish("077.png"),
            Fault("087.png", times=1, stall_after=100),
        )
        place = Place("s3://scan-faults/", endpoint=proxy.endpoint)
        impatient = SourceOptions(idle_seconds=2.0)
        async with scanning(
            tmp_path, generation, place, options=impatient, events=heard.append
        ) as run:
            records = await run()
        tries = {key: proxy.asked(key) for key in records}
    assert len(records) == OBJECTS
    hit = {f"0{n}7.png" for n in range(9)}
    check_others(records, hit)
    told = {key: (records[key].outcome, records[key].reason, records[key].attempts) for key in hit}
    assert told == {
        "007.png": (Outcome.MATCHED, "", 3),
        "017.png": (Outcome.MATCHED, "", 2),
        "027.png": (Outcome.MATCHED, "", 2),
        "037.png": (Outcome.FAILED, FailureReason.STORE_ERROR, 4),
        "047.png": (Outcome.FAILED, FailureReason.THROTTLED, 4),
        "057.png": (Outcome.FAILED, FailureReason.CUT_OFF, 4),
        "067.png": (Outcome.FAILED, FailureReason.FORBIDDEN, 1),
        "077.png": (Outcome.FAILED, FailureReason.VANISHED, 1),
        "087.png": (Outcome.MATCHED, "", 2),
    }
    assert {key: each.attempts for key, each in records.items()} == tries  # counted once
    assert any(isinstance(each, Throttled) for each in heard)
    retried = Counter(each.reason for each in heard if isinstance(each, Retried))
    assert retried[FailureReason.STORE_ERROR] == 2 + 3
    assert retried[FailureReason.THROTTLED] == 1 + 3


async def test_a_store_that_throttles_everything_for_a_while(
    tmp_path, generation, s3_store, monkeypatch
):
    give_credentials(monkeypatch, tmp_path)
    make_objects(s3_store.bucket("scan-slow"))
    with FaultyProxy(s3_store.endpoint) as proxy:
        proxy.add(Fault(skip=20, times=30, status=503, code="SlowDown"))
        place = Place("s3://scan-slow/", endpoint=proxy.endpoint)
        async with scanning(tmp_path, generation, place) as run:
            records = await run()
    assert Counter(each.outcome for each in records.values()) == {
        Outcome.MATCHED: OBJECTS // 10,
        Outcome.NO_KNOWN_MATCH: OBJECTS - OBJECTS // 10,
    }


async def test_decoders_that_die_cost_their_own_file_alone(tmp_path, generation):
    folder = tmp_path / "objects"
    folder.mkdir()
    make_objects(folder)
    planted_files = {
        "010.png": planted("segfault"),
        "020.png": planted("exit"),
        "030.png": planted("raise"),
        "050.png": planted("used", picture(50)),
    }
    for name, data in planted_files.items():
        (folder / name).write_bytes(data)
    pool = SandboxPool(DecodeLimits(), 2, worker_limits=PATIENT, program="tests.planted_decoders")
    async with scanning(tmp_path, generation, Place(str(folder)), pool=pool) as run:
        records = await run()
    check_others(records, planted_files)
    told = {name: (records[name].outcome, records[name].reason) for name in planted_files}
    assert told.pop("050.png") == (Outcome.NO_KNOWN_MATCH, "")  # a fresh decoder does it
    assert set(told.values()) == {(Outcome.NOT_HASHABLE, "decoder_failed")}


async def test_decoders_that_are_killed_are_replaced(tmp_path, generation):
    folder = tmp_path / "objects"
    folder.mkdir()
    make_objects(folder)
    large = io.BytesIO()
    Image.effect_noise((900, 900), 90).save(large, "PNG")
    (folder / "000.png").write_bytes(large.getvalue())
    pool, kills = SandboxPool(DecodeLimits(), 2, worker_limits=PATIENT), 0

    def kill(event):
        """Kills all decoders whenever a batch is finished, while the others are at work."""
        nonlocal kills
        if isinstance(event, Finished):
            servers = psutil.Process().children()
            for each in (decoder for server in servers for decoder in server.children()):
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(each.pid, signal.SIGKILL)
                kills += 1

    place = Place(str(folder))
    async with scanning(tmp_path, generation, place, pool=pool, events=kill) as run:
        records = await run()
    assert kills
    assert len(records) == OBJECTS
    failed = [key for key, each in records.items() if each.outcome is Outcome.NOT_HASHABLE]
    assert {records[key].reason for key in failed} <= {"decoder_failed"}  # met twice
    check_others(records, {*failed, "000.png"})
