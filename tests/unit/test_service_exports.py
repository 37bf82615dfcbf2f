"""Exports as the service runs them: children that lie, die and wait, and callers that go away."""

from __future__ import annotations

import asyncio
import sys
from contextlib import aclosing

import psutil
import pytest

from hashlists.errors import ExportProcessError, ListNotFoundError, OptionsError
from hashlists.exporting.request import Compression, ExportRequest
from hashlists.model import Classification, HashKind
from matcher._proto.hashwarden.lists.v1 import lists_pb2 as pb
from matcher.client.exports import export_request as request_on_the_wire
from matcher.errors import ExportNotAllowedError, InvalidRequestError, OverloadedError
from matcher.service import exports, list_files
from matcher.service.exports import Exports, ExportSettings

REQUEST = ExportRequest(list_names=["demo"], format="jsonl", recipients=["unit-a"])
#: A child that says its process id as the first piece of the file.
BEGIN = """
import os, sys
from hashlists.exporting.frames import FrameKind, FrameWriter
order = sys.stdin.readline()
frames = FrameWriter(sys.stdout.buffer)
frames.write(str(os.getpid()).encode())
frames.flush()
"""
WAIT = "sys.stdin.read()\n"
REPORT = "frames.end(FrameKind.REPORT, {'entries': 1})\n"


@pytest.fixture
def plant(monkeypatch):
    """Has this code run as the child."""

    def planted(code):
        monkeypatch.setattr(exports, "_COMMAND", (sys.executable, "-c", code))

    return planted


def runner(**changes):
    return Exports(ExportSettings(**{"catalog_url": "sqlite:///none", "allowed": True, **changes}))


async def gone(pid):
    async with asyncio.timeout(60):
        while psutil.pid_exists(pid):  # noqa: ASYNC110 - an ended process has no event for a test
            await asyncio.sleep(0.01)


async def test_pieces_then_the_report(plant):
    plant(BEGIN + REPORT)
    pid, report = [each async for each in runner().run(REQUEST)]
    assert (psutil.pid_exists(int(pid)), report) == (False, {"entries": 1})


async def test_nothing_goes_out_where_it_is_not_allowed(plant):
    plant(BEGIN + REPORT)
    with pytest.raises(ExportNotAllowedError, match="danger_export_without_tls"):
        await anext(runner(allowed=False).run(REQUEST))


@pytest.mark.parametrize(
    "end",
    [
        "",
        "os.kill(os.getpid(), 9)\n",
        "sys.stdout.buffer.write(b'P')\n",
        "sys.stdout.buffer.write(b'P' + bytes([0, 0, 0, 9]) + b'short')\n",
        "sys.stdout.buffer.write(b'P' + bytes([255, 255, 255, 255]))\n",
        "sys.stdout.buffer.write(b'nonsense')\n",
        "sys.stdout.buffer.write(b'R' + bytes([0, 0, 0, 3]) + b'{{{')\n",
    ],
)
async def test_a_child_that_ends_early_or_talks_nonsense(plant, end):
    plant(BEGIN + end)
    running = runner().run(REQUEST)
    pid = int(await anext(running))
    with pytest.raises(ExportProcessError, match="ended early"):
        await anext(running)
    assert not psutil.pid_exists(pid)


async def test_a_child_that_cannot_start_says_nothing(plant):
    plant("import no_such_module")
    with pytest.raises(ExportProcessError):
        await anext(runner().run(REQUEST))


async def test_the_childs_error_is_raised_as_what_it_is(plant):
    plant(BEGIN + "frames.end(FrameKind.ERROR, {'reason': 'LIST_NOT_FOUND', 'message': 'none'})")
    running = runner().run(REQUEST)
    await anext(running)
    with pytest.raises(ListNotFoundError, match="none"):
        await anext(running)


async def test_who_goes_away_ends_the_child(plant):
    plant(BEGIN + WAIT)
    async with aclosing(runner().run(REQUEST)) as running:
        pid = int(await anext(running))
        assert psutil.pid_exists(pid)
    assert not psutil.pid_exists(pid)


async def test_a_child_that_does_not_end_by_itself_is_killed(plant, monkeypatch):
    monkeypatch.setattr(exports, "_GRACE_SECONDS", 0.05)
    plant(BEGIN + "import signal\nsignal.pause()\n")
    async with aclosing(runner().run(REQUEST)) as running:
        pid = int(await anext(running))
    assert not psutil.pid_exists(pid)


async def test_who_is_cancelled_ends_the_child(plant):
    plant(BEGIN + WAIT)
    pids = asyncio.Queue()

    async def take():
        async with aclosing(runner().run(REQUEST)) as running:
            async for each in running:
                pids.put_nowait(int(each))

    taking = asyncio.create_task(take())
    pid = await pids.get()
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert not psutil.pid_exists(pid)


async def test_who_takes_nothing_is_given_up_and_holds_no_place(plant):
    plant(BEGIN + WAIT)
    some = runner(idle_seconds=0.05, parallel=1)
    running = some.run(REQUEST)
    await gone(int(await anext(running)))
    plant(BEGIN + REPORT)
    assert len([each async for each in some.run(REQUEST)]) == 2
    with pytest.raises(InvalidRequestError, match=r"nothing was taken for 0\.05 seconds"):
        await anext(running)


async def test_few_run_at_once(plant):
    plant(BEGIN + WAIT)
    some = runner(parallel=3)
    first, second = some.run(REQUEST), some.run(REQUEST)
    await anext(first)
    await anext(second)
    with pytest.raises(OverloadedError):
        await anext(some.run(REQUEST))
    await first.aclose()
    plant(BEGIN + REPORT)
    assert len([each async for each in some.run(REQUEST)]) == 2
    await second.aclose()


FULL = ExportRequest(
    list_names=["demo", "other"],
    format="vics",
    recipients=["unit-a", "unit-b"],
    options={"profile": "US"},
    since=2,
    upto=3,
    classifications=[Classification("vics", "US", "1"), Classification("ncmec", "", "A1"), None],
    kinds=[HashKind.MD5, HashKind.PDQ],
    derived=True,
    compression=Compression.GZIP,
    encrypt_to=["age1", "ssh-ed25519 AAAA somebody"],
)


@pytest.mark.parametrize("wanted", [REQUEST, FULL])
def test_a_request_crosses_the_wire_whole(wanted):
    sent = request_on_the_wire(wanted, author="a person").SerializeToString()
    came = list_files.export_request(pb.ExportHashListRequest.FromString(sent))
    packed = Compression.NONE if wanted.compression is None else wanted.compression
    for name in ExportRequest.__dataclass_fields__:
        expected = packed if name == "compression" else getattr(wanted, name)
        found = getattr(came, name)
        assert found == (list(expected) if isinstance(found, list) else expected), name


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"recipients": []}, "recipients"),
        ({"recipients": ["a", " "]}, "recipients[1]"),
        ({"recipients": ["a\nb"]}, "recipients[0]"),
        ({"recipients": ["a"] * 65}, "recipients"),
        ({"hash_lists": []}, "hash_lists"),
        ({"hash_lists": ["demo"]}, "hash_lists"),
        ({"format": "a\nb"}, "format"),
        ({"format_options": {"a": "\0"}}, "format_options"),
        ({"classifications": [pb.Classification(scheme="vics")]}, "classifications[0]"),
        ({"classifications": [pb.Classification()] * 1001}, "classifications"),
        ({"kinds": ["md5", "crc32"]}, "kinds[1]"),
        ({"compression": 9}, "compression"),
        ({"encryption_keys": [""]}, "encryption_keys[0]"),
    ],
)
def test_a_bad_request_names_its_field(fields, field):
    good = {"hash_lists": ["hashLists/demo"], "format": "csv", "recipients": ["unit-a"]}
    with pytest.raises(InvalidRequestError) as caught:
        list_files.export_request(pb.ExportHashListRequest(**{**good, **fields}))
    assert caught.value.field == field


def test_revisions_in_no_order_are_refused():
    message = pb.ExportHashListRequest(
        hash_lists=["hashLists/demo"],
        format="csv",
        recipients=["unit-a"],
        since_revision=3,
        upto_revision=2,
    )
    with pytest.raises(OptionsError):
        list_files.export_request(message)
