"""What a phase sends and when: drawn beforehand from a seed, so that sending has nothing to decide.

Arrivals of an open phase are fixed before the first request starts. So nothing that a server does
can put one off, which is what makes coordinated omission impossible.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from loadtest.corpus.model import Sort
from loadtest.openloop.scenario import Arrivals, Way

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from loadtest.corpus.model import CorpusFile
    from loadtest.openloop.scenario import Mix, Phase

#: Requests of a closed phase come from a sequence of so many, over and over.
_CLOSED_SEQUENCE = 4096
#: The corpus's sort of file behind each share of a mix.
_SORT_OF = {
    "unknown": Sort.UNKNOWN,
    "repeated": Sort.UNKNOWN,
    "copy": Sort.COPY,
    "near": Sort.NEAR,
    "bad": Sort.BAD,
    "bomb": Sort.BOMB,
}


@dataclass(frozen=True, slots=True)
class Plan:
    """The requests of a phase, as columns.

    Attributes:
        starts: `(N,) float64`, seconds from the phase's start, ascending; of a closed phase zeros.
        files: `(N,) int32`, rows of the corpus.
        fresh: `(N,) bool`, whether the file is sent with other bytes than ever before.
        streamed: `(N,) bool`, whether over a stream.
        in_flight: of a closed phase; 0 for an open one.
        seconds: how long requests start.
    """

    starts: NDArray[np.float64]
    files: NDArray[np.int32]
    fresh: NDArray[np.bool_]
    streamed: NDArray[np.bool_]
    in_flight: int
    seconds: float

    def save(self, path: Path) -> None:
        """Writes it to a file that `load` reads."""
        np.savez(
            path,
            starts=self.starts,
            files=self.files,
            fresh=self.fresh,
            streamed=self.streamed,
            closed=np.array([self.in_flight, self.seconds]),
        )

    @classmethod
    def load(cls, path: Path) -> Plan:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as saved:
            in_flight, seconds = saved["closed"]
            return cls(
                saved["starts"],
                saved["files"],
                saved["fresh"],
                saved["streamed"],
                int(in_flight),
                float(seconds),
            )


def starts_of(
    arrivals: Arrivals, rate: float, seconds: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """When requests start, in seconds from the beginning, ascending, below `seconds`.

    Args:
        arrivals: `FIXED` at equal distances; `POISSON` as many independent callers have it: their
            number is drawn, and each start is anywhere.
        rate: requests a second.
        seconds: how long.
        rng: draws them.
    """
    if arrivals is Arrivals.FIXED:
        return np.arange(max(1, round(rate * seconds))) / rate
    return np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))


def draw_plan(
    phase: Phase,
    files: Sequence[CorpusFile],
    *,
    mix: Mix,
    rate: float,
    rng: np.random.Generator,
) -> Plan:
    """Draws the requests of a phase.

    Args:
        phase: what to draw.
        files: of the pictures that are sent.
        mix: what is sent.
        rate: requests a second of an open phase.
        rng: draws.

    Raises:
        LookupError: there is no file of a sort that the mix wants.
    """
    if phase.is_open:
        starts = starts_of(phase.arrivals, rate, phase.seconds, rng)
    else:
        starts = np.zeros(_CLOSED_SEQUENCE)
    chosen, fresh = _draw_files(len(starts), files, mix, rng)
    streamed = {
        Way.UNARY: np.zeros(len(starts), np.bool_),
        Way.STREAM: np.ones(len(starts), np.bool_),
        Way.MIXED: rng.random(len(starts)) < 0.5,
    }[phase.way]
    return Plan(starts, chosen, fresh, streamed, phase.in_flight or 0, phase.seconds)


def _draw_files(
    count: int,
    files: Sequence[CorpusFile],
    mix: Mix,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    shares = {name: getattr(mix, name) for name in _SORT_OF}
    names = rng.choice(len(shares), count, p=np.array([*shares.values()]) / sum(shares.values()))
    chosen, fresh = np.zeros(count, np.int32), np.zeros(count, np.bool_)
    for row, (name, share) in enumerate(shares.items()):
        if not share:
            continue
        weights = np.array([each.weight * (each.sort is _SORT_OF[name]) for each in files])
        if not weights.any():
            raise LookupError(f"there is no file for the share {name!r}")
        mine = names == row
        chosen[mine] = rng.choice(len(files), int(mine.sum()), p=weights / weights.sum())
        fresh[mine] = name == "unknown"
    return chosen, fresh
