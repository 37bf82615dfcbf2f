"""How long uploads are in each stage, as a histogram of Prometheus's.

Seven stages are noted for each upload, so it is counted here, in plain numbers without locks, and
made a metric of only when somebody asks: the library's own histograms cost five times as much.
Written on the event loop alone; read by any thread.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from matcher.stages import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    from matcher.stages import Spell

_NANO = 1_000_000_000


class StageTimes(Collector):
    """Counts spells by stage and by how long they took.

    Args:
        buckets: upper bounds, these included, in seconds and in order.
    """

    def __init__(self, buckets: Sequence[float]) -> None:
        self._names = [*map(str, map(float, buckets)), "+Inf"]
        self._bounds = [round(each * _NANO) for each in buckets]
        self._counts = {stage: [0] * len(self._names) for stage in Stage}
        self._took = dict.fromkeys(Stage, 0)

    def observe(self, spells: Mapping[Stage, Spell]) -> None:
        """Notes how long an upload, or a call with hashes, was in each stage."""
        bounds = self._bounds
        for stage, spell in spells.items():
            took = spell.took
            self._counts[stage][bisect_left(bounds, took)] += 1
            self._took[stage] += took

    def collect(self) -> Iterator[Metric]:
        """The histogram as it is now."""
        told = HistogramMetricFamily(
            "hashwarden_stage_seconds",
            "Time that an upload, or a call with hashes, was in a stage of the work.",
            labels=["stage"],
        )
        for stage, counts in self._counts.items():
            up_to = zip(self._names, map(float, accumulate(counts)), strict=True)
            told.add_metric([stage.value], list(up_to), self._took[stage] / _NANO)
        yield told


__all__ = ["StageTimes"]
