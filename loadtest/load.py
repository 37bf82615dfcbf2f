"""Steady load on a server: requests start at fixed times, answered or not.

    python -m loadtest.load 127.0.0.1:50051 --rate 60 --out answers.bin

Every fourth request is a photograph to be decoded, hashed and matched, the others are codes to be
looked up. Latency counts from the moment at which a request was meant to start, so that a server
that stalls is charged for all that had to wait. Each answer is one record in the file: the intended
start (seconds since 1970), how late it was sent, the latency in seconds, and whether it was an
answer. What is sent late was kept back by the machine or this process, not by the server. Records
are kept in memory until the end, since a disk that is busy would keep the next requests waiting.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashlists.model import HashKind
from loadtest import catalogs, photographs
from matcher.client import AsyncClient, HashQuery
from matcher.errors import MatcherError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

RECORD = np.dtype([("start", "<f8"), ("late", "<f8"), ("latency", "<f8"), ("answered", "?")])
_IMAGE_EVERY = 4
#: Far beyond every entry that a catalog here holds: these codes are nobody's.
_FIRST_UNKNOWN = 1 << 40


@dataclass(slots=True)
class _Asker:
    """Sends one request and notes how it went."""

    client: AsyncClient
    images: list[bytes]
    records: bytearray = field(default_factory=bytearray)

    async def ask(self, number: int, start: float) -> None:
        answered, late = True, time.time() - start
        try:
            if number % _IMAGE_EVERY == 0:
                await self.client.match_image(self.images[number % len(self.images)])
            else:
                code = catalogs.codes(_FIRST_UNKNOWN + number, 1).tobytes()
                await self.client.lookup_hashes([HashQuery({HashKind.PDQ: code})])
        except MatcherError:
            answered = False
        record = np.array((start, late, time.time() - start, answered), RECORD)
        self.records += record.tobytes()


async def run(target: str, *, rate: float, on_start: Callable[[], object]) -> bytes:
    """Asks until SIGTERM or SIGINT, waits for what is still under way, and returns the records."""
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    images = [photographs.jpeg_file(name) for name in photographs.NAMES]
    async with AsyncClient(target) as client, asyncio.TaskGroup() as tasks:
        asker = _Asker(client, images)
        on_start()
        begin = time.time()
        number = 0
        while not stop.is_set():
            start = begin + number / rate
            await asyncio.sleep(max(0.0, start - time.time()))
            tasks.create_task(asker.ask(number, start))
            number += 1
    return bytes(asker.records)


def read(file: Path) -> NDArray[np.void]:
    """The records of a file, in the order of their intended starts."""
    records = np.fromfile(file, RECORD)
    return records[np.argsort(records["start"], kind="stable")]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument(
        "--out", type=Path, required=True, help="file of the answers, empty at first"
    )
    options = parser.parse_args()
    records = asyncio.run(run(options.target, rate=options.rate, on_start=options.out.touch))
    options.out.write_bytes(records)


if __name__ == "__main__":
    main()
