"""What became of every request: records, and their sum, in which nothing may be missing.

A request is lost until something is known of it, so one that nobody thought of counts as lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Records = NDArray[np.void]


class Outcome(IntEnum):
    """What became of a request.

    `REFUSED` is a server that says that it has too much to do; `FAILED` any other error, a time-out
    included; `UNSENT` an item that its stream never took, since the server did not read on; `LOST`
    has neither an answer nor an error.
    """

    LOST = 0
    ANSWERED = 1
    REFUSED = 2
    FAILED = 3
    UNSENT = 4


#: One request: row of its file, whether streamed; seconds on the monotonic clock at which it was
#: meant to start, was sent, and ended (NaN where it never was); what became of it, the gRPC status
#: code, and whether the answer is the right one.
RECORD = np.dtype(
    [
        ("file", "<i4"),
        ("streamed", "?"),
        ("intended", "<f8"),
        ("sent", "<f8"),
        ("done", "<f8"),
        ("outcome", "u1"),
        ("code", "<i4"),
        ("right", "?"),
    ]
)


@dataclass(frozen=True, slots=True)
class Tally:
    """How many requests ended how. `right` and `wrong` are parts of `answered`."""

    requests: int
    answered: int
    right: int
    wrong: int
    refused: int
    failed: int
    unsent: int
    lost: int

    @classmethod
    def of(cls, records: Records) -> Tally:
        """Counts records.

        Raises:
            AssertionError: an outcome is none of those known.
        """
        counts = np.bincount(records["outcome"], minlength=len(Outcome))
        if len(counts) > len(Outcome):
            raise AssertionError("a record has an outcome that does not exist")
        answered = records["outcome"] == Outcome.ANSWERED
        right = int((answered & records["right"]).sum())
        return cls(
            requests=len(records),
            answered=int(counts[Outcome.ANSWERED]),
            right=right,
            wrong=int(counts[Outcome.ANSWERED]) - right,
            refused=int(counts[Outcome.REFUSED]),
            failed=int(counts[Outcome.FAILED]),
            unsent=int(counts[Outcome.UNSENT]),
            lost=int(counts[Outcome.LOST]),
        )


def latencies(records: Records, end: float) -> NDArray[np.float64]:
    """Seconds from the intended start to the end, of all but what was refused, `(N,) float64`.

    What never ended counts up to `end`: it took at least so long. So no percentile looks better for
    leaving out what was slow.

    Args:
        records: of an open phase.
        end: when the phase was over, on the clock of the records.
    """
    kept = records[records["outcome"] != Outcome.REFUSED]
    done: NDArray[np.float64] = np.where(np.isnan(kept["done"]), end, kept["done"])
    times: NDArray[np.float64] = done - kept["intended"]
    return times


def refusal_times(records: Records) -> NDArray[np.float64]:
    """Seconds from sending to refusal, of what was refused, `(N,) float64`."""
    refused = records[records["outcome"] == Outcome.REFUSED]
    times: NDArray[np.float64] = refused["done"] - refused["sent"]
    return times


def lateness(records: Records) -> NDArray[np.float64]:
    """Seconds by which requests were sent late, `(N,) float64`: the generator's own doing.

    Only of unary calls: what a stream takes later waits for the server.
    """
    sent = records[~records["streamed"] & ~np.isnan(records["sent"])]
    late: NDArray[np.float64] = sent["sent"] - sent["intended"]
    return late
