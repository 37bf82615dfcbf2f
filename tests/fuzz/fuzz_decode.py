"""Fuzzes the decoder: mutated files of every format must end in an image or a reason.

The mutator and its small seed files are those of `loadtest.hostile`, which sends them to a running
service; here they go straight to the decoder. Any exception, any answer that the parent's contract
check refuses, and any input that costs too much time or memory is a finding: it is printed with the
number that reproduces it, and the exit status is 1.

    python tests/fuzz/fuzz_decode.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import resource
import sys
import time

from fuzzing import command_line, tried

from loadtest.hostile.mutations import mutated
from loadtest.hostile.seeds import seeds
from matcher.decode import worker
from matcher.decode.limits import DecodeLimits
from matcher.decode.pool import Decoded, checked, out_of_memory
from matcher.model import ALL_VIEWS, CODE64_KINDS, DecodedImage, DecodeRequest, HashKind

#: Small, so that a hostile size costs little before it is refused or rendered.
LIMITS = DecodeLimits(
    encoded_bytes=2**20, pixels=2**20, jpeg_pixels=2**22, memory_bytes=2**26, frame_pixels=2**22
)
REQUESTS = (
    DecodeRequest(),
    DecodeRequest(ALL_VIEWS, frozenset({HashKind.WHASH})),
    DecodeRequest(ALL_VIEWS, frozenset(CODE64_KINDS)),
)
_MOST_SECONDS = 5.0  # of processor time for one input
_MOST_GROWTH = 2**30  # bytes by which one input may raise the most memory ever taken
#: Of the figure for the most memory: kilobytes on Linux, bytes on macOS.
_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024


class TooCostlyError(Exception):
    """An input took more time or memory than its size can account for."""


class Cost:
    """Time and memory that this process has taken since the last call."""

    def __init__(self) -> None:
        self._seconds, self._memory = self._taken()

    def forget(self) -> None:
        """Begins anew."""
        self._seconds, self._memory = self._taken()

    def check(self) -> None:
        """Judges what was taken, and begins anew.

        Raises:
            TooCostlyError: it was too much.
        """
        seconds, memory = self._taken()
        took, grew = seconds - self._seconds, memory - self._memory
        self._seconds, self._memory = seconds, memory
        if took > _MOST_SECONDS or grew > _MOST_GROWTH:
            raise TooCostlyError(f"{took:.1f} s of processor time, {grew >> 20} MiB more memory")

    @staticmethod
    def _taken() -> tuple[float, int]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return time.process_time(), peak * _MEMORY_UNIT


def _decoded(data: bytes, request: DecodeRequest) -> Decoded:
    try:
        return worker.decode(data, request, LIMITS)
    except MemoryError:
        return out_of_memory()


def run(inputs: int, seed: int, only: int | None = None) -> tuple[list[int], dict[str, int]]:
    """Decodes mutated inputs.

    Returns:
        The numbers of the inputs that ended in anything but a result, and how often each kind of
        result came.
    """
    corpus = list(seeds().values())
    cost = Cost()

    def attempt(number: int) -> str:
        data = mutated(corpus, seed, number)
        request = REQUESTS[number % len(REQUESTS)]
        try:
            result = checked(_decoded(data, request), request, LIMITS)
        except Exception:
            cost.forget()
            raise
        cost.check()
        if isinstance(result, DecodedImage):
            return "truncated" if result.truncated else "decoded"
        return result.reason.value

    return tried(attempt, inputs, seed, only)


def main() -> int:
    """The command line; exit status 1 when anything was found."""
    return command_line("decode", __doc__.split("\n", 1)[0], run)


if __name__ == "__main__":
    sys.exit(main())
