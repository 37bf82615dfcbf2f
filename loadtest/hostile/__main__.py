"""Sends mutated files of every format to a running service: each must get its answer.

    python -m loadtest.hostile [--files N] [--seed N] [--first N] [--usual-limits]

A service is started here, in a process of its own, with decoders in their sandbox. It must not
crash, answer every file with a decision or with the reason why there is none, go on matching what
is listed, and hold no more memory at the end than after it was warmed up. Whatever else happens is
told with the number of the file: `--seed S --first N --files 1` sends that one again, and `--first`
goes on where a run was ended. Exit status 1 where anything was found.

Limits on pixels are lower than usual, so that sizes that only claim to be large cost little time;
`--usual-limits` leaves them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

from loadtest import measure
from loadtest.hostile.seeds import seeds
from loadtest.hostile.sending import Tally, send
from loadtest.openloop import server
from loadtest.openloop.processes import Watch

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Sequence

_SMALL: Final = {
    "decode_pixels": 2**20,
    "decode_jpeg_pixels": 2**22,
    "decode_memory_bytes": 2**26,
    "decode_frame_pixels": 2**22,
}
#: One client sends them all: it is not to be held back.
_PATIENT: Final = {"processes": 1, "max_fatal_images": 100_000, "fatal_image_seconds": 0.1}
_TELL_EVERY_SECONDS: Final = 10.0
#: Memory is compared from this part of the run on, in stretches of this part.
_WARM: Final = 0.2
_STRETCH: Final = 0.2
#: What it may grow by between them: of what it was, and MiB.
_GROWTH: Final = 1.1
_GROWTH_MIB: Final = 24.0
_SERVER: Final = "hashwarden"
_MOST_SHOWN: Final = 20
_RESTARTS: Final = re.compile(
    r'^hashwarden_decoder_restarts_total\{cause="(\w+)"\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Growth:
    """Memory of the processes of one role, MiB, medians of two stretches of the run."""

    role: str
    early: float
    late: float

    @property
    def is_leak(self) -> bool:
        """Whether it grew by more than it may."""
        return self.late > self.early * _GROWTH and self.late > self.early + _GROWTH_MIB


def growths(watch: Watch, progress: Sequence[tuple[float, int]], files: int) -> Iterator[Growth]:
    """How memory grew, by role.

    Args:
        watch: what was seen.
        progress: when so many files were answered.
        files: of the whole run.
    """

    def when(share: float) -> float:
        return next((at for at, done in progress if done >= share * files), progress[-1][0])

    early = (when(_WARM), when(_WARM + _STRETCH))
    late = (when(1 - _STRETCH), progress[-1][0])
    for role in dict.fromkeys(role for each in watch.samples for role in each.memory):
        before, after = (
            [
                each.memory[role]
                for each in watch.samples
                if low <= each.at <= high and role in each.memory
            ]
            for low, high in (early, late)
        )
        if before and after:
            yield Growth(role, statistics.median(before), statistics.median(after))


@dataclass(frozen=True, slots=True)
class Run:
    """What a run came to."""

    tally: Tally
    growths: list[Growth]
    restarts: dict[str, int]
    seconds: float


def run(*, files: int, seed: int, first: int, usual_limits: bool) -> Run:
    """Starts a service, sends the files, and ends it again."""
    corpus = list(seeds().values())
    tally, watch = Tally(), Watch({})
    settings: dict[str, str | float | bool] = {**_PATIENT, "admin_listen": _free_address()}
    if not usual_limits:
        settings |= _SMALL
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, server.hashwarden(Path(folder), settings) as it:
        process = psutil.Process(it.pid)
        watch.roots[_SERVER] = it.pid
        with watch:
            numbers = range(first, first + files)
            sending = send(it.address, corpus, seed=seed, numbers=numbers, tally=tally)
            progress = asyncio.run(_watched(sending, tally, files))
        if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
            tally.findings.append("the service ended")
        restarts = _restarts(str(settings["admin_listen"]))
    found = list(growths(watch, progress, files))
    return Run(tally, found, restarts, time.monotonic() - began)


async def _watched(
    sending: Coroutine[None, None, None], tally: Tally, files: int
) -> list[tuple[float, int]]:
    """Sends, and notes how far that came; tells it now and then."""
    task = asyncio.create_task(sending)
    progress: list[tuple[float, int]] = []
    told = time.monotonic()
    while not task.done():
        await asyncio.wait((task,), timeout=0.2)
        progress.append((time.monotonic(), tally.answered))
        if time.monotonic() - told > _TELL_EVERY_SECONDS:
            told = time.monotonic()
            said = f"{tally.answered:,} of {files:,} files, {len(tally.findings)} findings"
            print(said, file=sys.stderr, flush=True)
    try:
        await task
    except* OSError as problem:
        tally.findings.append(f"the service is gone: {problem.exceptions[0]}")
    return progress


def _free_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return f"127.0.0.1:{free.getsockname()[1]}"


def _restarts(admin: str) -> dict[str, int]:
    """Decoders that were replaced, by cause, as the service tells it."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{admin}/metrics") as said:
        text = said.read().decode()
        return {cause: int(float(count)) for cause, count in _RESTARTS.findall(text)}
    return {}


def report(found: Run, files: int) -> str:
    """The run as Markdown."""
    tally = found.tally
    outcomes = ((name, f"{count:,}") for name, count in tally.outcomes.most_common())
    memory = (
        (each.role, f"{each.early:.0f}", f"{each.late:.0f}", f"{each.late / each.early:.2f}")
        for each in found.growths
    )
    lines = [
        measure.circumstances(["pillow", "pi-heif", "grpcio"]),
        f"- {files:,} files in {found.seconds:.0f} s, {len(seeds())} seeds",
        "",
        measure.markdown_table(("answer", "files"), outcomes),
        "",
        measure.markdown_table(("anonymous memory of", "warm, MiB", "end, MiB", "ratio"), memory),
        "",
        f"Decoders replaced: {found.restarts or 'none'}.",
        f"Files that no decoder could answer: {_few(tally.failed)}.",
        f"Findings: {len(tally.findings)}.",
        *(f"- {each}" for each in tally.findings[:_MOST_SHOWN]),
        *(f"- {each.role} grew" for each in found.growths if each.is_leak),
    ]
    return "\n".join(lines)


def _few(numbers: Sequence[int]) -> str:
    if not numbers:
        return "none"
    shown = ", ".join(map(str, sorted(numbers)[:_MOST_SHOWN]))
    return f"{len(numbers)} ({shown}{', ...' if len(numbers) > _MOST_SHOWN else ''})"


def main() -> int:
    """Runs the command line; the exit status is 1 where anything was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--files", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1, help="which run")
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--usual-limits", action="store_true", help="leave the limits on pixels")
    options = parser.parse_args()
    found = run(
        files=options.files,
        seed=options.seed,
        first=options.first,
        usual_limits=options.usual_limits,
    )
    print(report(found, options.files))
    return int(bool(found.tally.findings) or any(each.is_leak for each in found.growths))


if __name__ == "__main__":
    sys.exit(main())
