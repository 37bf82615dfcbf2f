"""Times in an HdrHistogram: three significant digits at every size, nothing sampled or cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from hdrh.histogram import HdrHistogram

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LOWEST_US: Final = 1
_HIGHEST_US: Final = 3_600_000_000
_DIGITS: Final = 3
#: What the curve of a plot is made of: from the median up, ever finer.
CURVE: Final = (0, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 100)


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles in milliseconds; zeros where there is no time.

    Attributes:
        count: how many times there are.
        curve: the value at each percentile of `CURVE`.
    """

    count: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float
    curve: tuple[float, ...]


def times_of(seconds: NDArray[np.float64]) -> Times:
    """Percentiles of times.

    Raises:
        ValueError: a time is longer than an hour.
    """
    if len(seconds) and seconds.max() * 1e6 > _HIGHEST_US:
        raise ValueError("a time is longer than an hour")
    histogram = HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)
    for value in np.maximum(np.rint(seconds * 1e6), _LOWEST_US).astype(np.int64).tolist():
        histogram.record_value(value)

    def at(percentile: float) -> float:
        return float(histogram.get_value_at_percentile(percentile)) / 1e3 if len(seconds) else 0.0

    return Times(
        count=len(seconds),
        p50=at(50),
        p90=at(90),
        p99=at(99),
        p999=at(99.9),
        max=at(100),
        curve=tuple(at(each) for each in CURVE),
    )
