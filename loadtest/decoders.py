"""What it costs to decode in sandboxed processes, beside threads of one process.

    python -m loadtest.decoders [--rounds N] [--smoke]

CPU time of all processes together: of this one, of the one that forks, and of the workers, those
that have ended included. The files are scikit-image's bundled photographs as JPEG, of 1 and of 12
megapixels: the smaller ones go through a socket, the larger ones through shared memory. Exit status
1 where the sandbox takes more than a third more CPU time than threads.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Final

import psutil

from loadtest import measure, photographs
from loadtest.decode_hash import decode_luminance
from matcher.decode.limits import WorkerLimits
from matcher.decode.pool import InProcessPool
from matcher.decode.sandbox.pool import SandboxPool
from matcher.model import DecodedImage, DecodeRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.decode.pool import DecodePool

_WORKERS: Final = 2
_REQUEST: Final = DecodeRequest()
_FILES: Final = 24
#: Of the CPU time of threads, as times as fast.
_REQUIRED, _AIM = 0.75, 0.9


def cpu_seconds() -> float:
    """CPU time of this process and of all below it, ended ones included."""
    total = time.process_time()
    for process in psutil.Process().children(recursive=True):
        # A worker counts for the one that forked it once it has ended and been waited for.
        spent = process.cpu_times()
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def decode_all(pool: DecodePool, files: Sequence[bytes]) -> None:
    """Decodes files, as many at once as the pool can.

    Raises:
        RuntimeError: one could not be decoded.
    """
    for each in [pool.submit(file, _REQUEST) for file in files]:
        if not isinstance(each.result(), DecodedImage):
            raise RuntimeError("a photograph could not be decoded")  # noqa: TRY004 - no mistake of the caller's


def main() -> int:
    """Prints the tables; returns the exit status."""
    options = measure.arguments("Decoding in sandboxed processes, beside threads.", rounds=15)
    pools: dict[str, DecodePool] = {
        "threads": InProcessPool(workers=_WORKERS),
        "sandboxed processes": SandboxPool(workers=_WORKERS),
        "a process for each file": SandboxPool(
            workers=_WORKERS, worker_limits=WorkerLimits(files=1)
        ),
    }
    print(measure.circumstances(("numpy", "pillow")))
    ratios = {}
    try:
        for megapixels in (1, 12):
            files = _files(megapixels, _FILES // megapixels)
            took = measure.interleaved(
                {name: partial(decode_all, pool, files) for name, pool in pools.items()}
                | {"floor: Pillow decodes luminance": lambda: list(map(decode_luminance, files))},  # noqa: B023 - called at once
                rounds=options.rounds,
                clock=cpu_seconds,
            )
            print(
                f"\n{len(files)} JPEG files of {megapixels} megapixels, "
                f"{sum(map(len, files)) // len(files) // 1000} kB on average, {_WORKERS} at once, "
                f"median of {options.rounds} rounds\n"
            )
            threads, sandbox, *_ = took
            ratio = {
                name: measure.times_as_fast(each, took[threads]) for name, each in took.items()
            }
            ratios[f"{megapixels}"] = ratio[sandbox]
            rows = [
                (
                    name,
                    f"{timing.cpu_median / len(files) * 1e3:.2f}",
                    f"{sorted(timing.wall)[len(timing.wall) // 2] / len(files) * 1e3:.2f}",
                    str(ratio[name]),
                )
                for name, timing in took.items()
            ]
            header = ("way", "CPU ms a file", "clock ms a file", "times as fast, CPU")
            print(measure.markdown_table(header, rows))
    finally:
        for pool in pools.values():
            pool.close()
    return measure.verdict(ratios, required=_REQUIRED, aim=_AIM, smoke=options.smoke)


def _files(megapixels: int, count: int) -> list[bytes]:
    made = [photographs.jpeg_file(name, pixels=megapixels * 10**6) for name in photographs.NAMES]
    return [made[number % len(made)] for number in range(max(count, 4))]


if __name__ == "__main__":
    sys.exit(main())
