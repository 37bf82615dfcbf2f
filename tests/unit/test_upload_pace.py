"""How slowly an upload of a list file may come."""

from __future__ import annotations

import asyncio

import pytest

from matcher._proto.hashwarden.lists.v1 import lists_pb2 as pb
from matcher.errors import UploadTooSlowError
from matcher.service.upload_pace import PROGRESS_BYTES, Pace

SECONDS = 10.0


class Clock:
    """Stands still but where a message takes its time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def paced(*messages):
    """The pace of an upload whose messages each take so many seconds, and have so many bytes."""
    clock = Clock()

    async def requests():
        for seconds, size in messages:
            clock.now += seconds
            yield pb.ImportHashListRequest(chunk=bytes(size))

    pace = Pace(requests(), SECONDS, clock)
    pace.clock = clock
    return pace


async def taken(pace):
    """Sizes of the messages after the first."""
    await pace.start()
    sizes = []
    while (request := await pace.next()) is not None:
        sizes.append(len(request.chunk))
        pace.clock.now += 100 * SECONDS  # what is done with them is the server's own time
    return sizes


@pytest.mark.parametrize(
    "messages",
    [
        [(9.9, 0)] + [(9.9, PROGRESS_BYTES)] * 5,
        [(9.9, 0)] + [(4.9, PROGRESS_BYTES // 2)] * 10,
        [(0, 0)] + [(0.0, 1)] * 200,
        [(0, 0), (9.9, 1)],
        [],
    ],
)
async def test_what_makes_progress_comes_whole(messages):
    assert await taken(paced(*messages)) == [size for _, size in messages[1:]]


@pytest.mark.parametrize(
    "messages",
    [
        [(0, 0)] + [(5.1, PROGRESS_BYTES // 2 - 1)] * 3,
        [(0, 0)] + [(0.1, 1)] * 200,
        [(0, 0)] + [(1, PROGRESS_BYTES)] * 5 + [(6, 1)] * 3,
    ],
)
async def test_what_trickles_is_given_up(messages):
    with pytest.raises(UploadTooSlowError, match="less than 64 KiB came in 10 seconds"):
        await taken(paced(*messages))


async def test_what_is_silent_is_given_up():
    async def silent():
        await asyncio.Event().wait()
        yield

    with pytest.raises(UploadTooSlowError, match="no message came"):
        await Pace(silent(), 0.01).start()
    with pytest.raises(UploadTooSlowError, match="less than 64 KiB came"):
        await Pace(silent(), 0.01).next()
