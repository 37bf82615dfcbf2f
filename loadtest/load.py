"""Steady load on a server: requests start at fixed times, answered or not.

    python -m loadtest.load 127.0.0.1:50051 --rate 60 --out answers.bin

Every fourth request is a photograph to be decoded, hashed and matched, the others are codes to be
looked up. Latency counts from the moment at which a request was meant to start, so that a server
that stalls is charged for all that had to wait. Each answer is one record in the file: the intended
start (seconds since 1970), the latency in seconds, and whether it was an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashlists.model import HashKind
from loadtest import catalogs, photographs
from matcher.client import AsyncClient, HashQuery
from matcher.errors import MatcherError

if TYPE_CHECKING:
    from typing import BinaryIO

    from numpy.typing import NDArray

RECORD = np.dtype([("start", "<f8"), ("latency", "<f8"), ("answered", "?")])
_IMAGE_EVERY = 4
#: Far beyond every entry that a catalog here holds: these codes are nobody's.
_FIRST_UNKNOWN = 1 << 40


@dataclass(slots=True)
class _Asker:
    """Sends one request and notes how it went."""

    client: AsyncClient
    out: BinaryIO
    images: list[bytes]

    async def ask(self, number: int, start: float) -> None:
        answered = True
        try:
            if number % _IMAGE_EVERY == 0:
                await self.client.match_image(self.images[number % len(self.images)])
            else:
                code = catalogs.codes(_FIRST_UNKNOWN + number, 1).tobytes()
                await self.client.lookup_hashes([HashQuery({HashKind.PDQ: code})])
        except MatcherError:
            answered = False
        record = np.array((start, time.time() - start, answered), RECORD)
        self.out.write(record.tobytes())


async def run(target: str, *, rate: float, out: BinaryIO) -> None:
    """Asks until SIGTERM or SIGINT, then waits for what is still under way."""
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    async with AsyncClient(target) as client, asyncio.TaskGroup() as tasks:
        asker = _Asker(client, out, [photographs.jpeg_file(name) for name in photographs.NAMES])
        begin = time.time()
        number = 0
        while not stop.is_set():
            start = begin + number / rate
            await asyncio.sleep(max(0.0, start - time.time()))
            tasks.create_task(asker.ask(number, start))
            number += 1


def read(file: Path) -> NDArray[np.void]:
    """The records of a file, in the order of their intended starts."""
    records = np.fromfile(file, RECORD)
    return records[np.argsort(records["start"], kind="stable")]


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("target", metavar="HOST:PORT")
    parser.add_argument("--rate", type=float, default=60.0, help="requests a second")
    parser.add_argument("--out", type=Path, required=True, help="file of the answers")
    options = parser.parse_args()
    with options.out.open("wb", buffering=0) as out:
        asyncio.run(run(options.target, rate=options.rate, out=out))


if __name__ == "__main__":
    main()
