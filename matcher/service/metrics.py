"""What a server process counts and measures, in a Prometheus registry of its own.

No label holds a hash or a client's words: labels are methods, status codes, decisions, reasons,
stages and segments, so their number is bounded. The name of a list is one only where the operator
asks for it (`metrics_list_names`). What is known anyway (revision, sizes, age) is read when
somebody asks, not kept up all the time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from matcher import __version__
from matcher.decode.protection import EVERY_PROTECTION
from matcher.errors import RoleMissingError, TooManyAttemptsError
from matcher.model import Decision, NotHashableReason
from matcher.service.directory import Unfit
from matcher.service.stage_times import StageTimes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.core import Metric

    from matcher.decode.protection import Protection

#: Seconds; a lookup takes a fraction of a millisecond, a large picture seconds.
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: Items of a batch; `max_batch` is 64 unless it was set.
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
#: Known beforehand, since alert rules ask for them.
_EXPECTED_REJECTS = (
    "overloaded",
    "client_throttled",
    "decoders_away",
    "not_ready",
    "queries_too_similar",
)
_COUNTS = {
    "swaps": "Times that something else began to be served.",
    "throttled_images": "Images refused because their client's keep taking decoders down.",
    "snapshot_builds": "Snapshots that this process had built.",
    "snapshot_build_failures": "Snapshot builds that failed.",
    "snapshot_build_seconds": "Time that building snapshots took, failures included.",
    "match_records_kept": "Records of matches that were written.",
    "match_records_lost": "Records of matches that were not, as too many waited or time ran out.",
    "tokens_unsealed": "Tokens of uploads that answers lack, as there was no key.",
    "hot_entries_flagged": "Entries that were flagged as hit far more often than usual.",
    "hot_entry_reviews": "Answers that are REVIEW since all they rest on is flagged entries.",
    "climbing_series": "Series of near-identical queries by one client that were noticed.",
    "climbing_refused": "Queries of such series that were refused.",
    "audit_events_lost": "Events noticed while matching that could not be recorded.",
    "snapshot_pulls": "Looks at the store of snapshots that ended well.",
    "snapshot_pull_failures": "Looks at the store of snapshots that failed.",
    "snapshot_pull_seconds": "Time that pulling snapshots took, failures included.",
}


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What is served now, and how well it follows its source.

    Attributes:
        ready: lists are loaded, the self-test passed, and the server does not drain.
        stale: answers say so: the source is ahead, or was not heard of for too long.
        revision: the catalog revision that is served; -1 before any is.
        entries: entries in all segments, retracted ones included.
        segments: entries by segment.
        seconds_since_contact: since the source of lists last answered; infinite before it did.
        problem: why the newest revision is not served; empty when it is.
        items_in_flight: uploads and lookups accepted and not yet answered.
        protection: what protects against decoders that a file took over; None while not known.
        decoder_restarts: decoders that had to be replaced, by cause.
        throttled_clients: clients that are held back, since their images take decoders down.
        index_age_seconds: since this process began to serve that revision; infinite before it did.
        queues: uploads that wait, by what for.
        hot_entries: entries that are flagged as hit far more often than usual.
        list_ages: seconds since each list that decides was changed last; empty while not known.
        tell_list_names: whether lists are told by name.
        counts: what adds up since the start, by its name among `_COUNTS`.
        certificate_ends: when what TLS rests on ends, in seconds since 1970 UTC, by what it is;
            empty without TLS.
    """

    ready: bool
    stale: bool
    revision: int
    entries: int
    segments: Mapping[str, int]
    seconds_since_contact: float
    problem: str
    items_in_flight: int
    protection: Protection | None
    decoder_restarts: Mapping[str, int]
    throttled_clients: int
    index_age_seconds: float
    queues: Mapping[str, int]
    hot_entries: int
    list_ages: Mapping[str, float]
    tell_list_names: bool
    counts: Mapping[str, float]
    certificate_ends: Mapping[str, float]


class ServiceMetrics:
    """The numbers of one server process.

    Args:
        status: asked at every scrape, from the thread that scrapes; None where none is to be told.
    """

    def __init__(self, status: Callable[[], IndexStatus] | None = None) -> None:
        self.registry = new_registry()
        self.requests = Counter(
            "hashwarden_requests",
            "Calls that ended, by method and gRPC status code.",
            ["method", "code"],
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "hashwarden_requests_in_flight",
            "Calls under way; a stream is one call.",
            ["method"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "hashwarden_request_seconds",
            "Time to answer a unary call, or one item of a stream of images.",
            ["method"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        self.decisions = Counter(
            "hashwarden_decisions",
            "Decisions on images and lookups.",
            ["decision"],
            registry=self.registry,
        )
        self.not_hashable = Counter(
            "hashwarden_not_hashable",
            "Images whose pixels could not be hashed, by reason, whatever was decided.",
            ["reason"],
            registry=self.registry,
        )
        self.item_errors = Counter(
            "hashwarden_item_errors",
            "Items of streams and lookups answered with an error of their own, by status code.",
            ["code"],
            registry=self.registry,
        )
        self.refused = Counter(
            "hashwarden_refused_calls",
            "Calls that were refused for who called, by reason as the audit tells it.",
            ["reason"],
            registry=self.registry,
        )
        self.stalled = Counter(
            "hashwarden_stalled_calls",
            "Calls that were ended since their client neither sent nor took what was due.",
            registry=self.registry,
        )
        self.rejects = Counter(
            "hashwarden_rejects",
            "Calls, items and lookups that were answered with an error of ours, by its reason.",
            ["reason"],
            registry=self.registry,
        )
        self.stages = StageTimes(_BUCKETS)
        self.registry.register(self.stages)
        self.batch_items = Histogram(
            "hashwarden_batch_items",
            "Uploads that were hashed and looked up together.",
            buckets=_BATCHES,
            registry=self.registry,
        )
        self.match_records = Gauge(
            "hashwarden_match_records_waiting",
            "Records of matches that are not written yet.",
            registry=self.registry,
        )
        # Known beforehand, so that a rate over a first one is not lost.
        for decision in Decision:
            self.decisions.labels(decision.value)
        for reason in NotHashableReason:
            self.not_hashable.labels(reason.value)
        self.item_errors.labels("INTERNAL")
        for reason_of_ours in _EXPECTED_REJECTS:
            self.rejects.labels(reason_of_ours)
        for why in (*Unfit, RoleMissingError.reason, TooManyAttemptsError.reason):
            self.refused.labels(why.lower())
        if status is not None:
            self.registry.register(_StatusCollector(status))


def new_registry() -> CollectorRegistry:
    """A registry with what every process tells: its version, memory and processor time."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    Info("hashwarden_build", "The running version.", registry=registry).info(
        {"version": __version__}
    )
    return registry


class _StatusCollector(Collector):
    """Turns an `IndexStatus` into metrics at every scrape."""

    def __init__(self, status: Callable[[], IndexStatus]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        now = self._status()
        for name, text, value in (
            ("ready", "1 when loaded, self-tested and not draining.", float(now.ready)),
            ("stale", "1 when answers say that the lists may be out of date.", float(now.stale)),
            ("index_revision", "Catalog revision that is served; -1 for none.", now.revision),
            ("index_entries", "Entries in the index, retracted ones included.", now.entries),
            (
                "source_contact_age_seconds",
                "Since the source of lists last answered.",
                now.seconds_since_contact,
            ),
            ("items_in_flight", "Uploads and lookups not yet answered.", now.items_in_flight),
            (
                "index_age_seconds",
                "Since this process began to serve that revision.",
                now.index_age_seconds,
            ),
            (
                "hot_entries",
                "Entries that are flagged as hit far more often than usual.",
                float(now.hot_entries),
            ),
            (
                "throttled_clients",
                "Clients held back, since their images take decoders down.",
                now.throttled_clients,
            ),
        ):
            yield GaugeMetricFamily(f"hashwarden_{name}", text, value=value)
        segments = GaugeMetricFamily(
            "hashwarden_segment_entries", "Entries by segment of the index.", labels=["segment"]
        )
        for segment, entries in now.segments.items():
            segments.add_metric([segment], entries)
        yield segments
        queues = GaugeMetricFamily(
            "hashwarden_queue_items", "Uploads that wait, by what for.", labels=["queue"]
        )
        for queue, items in now.queues.items():
            queues.add_metric([queue], items)
        yield queues
        certificates = GaugeMetricFamily(
            "hashwarden_certificate_not_after_timestamp_seconds",
            "When what TLS rests on ends, in seconds since 1970 UTC, by what it is.",
            labels=["of"],
        )
        for of, end in now.certificate_ends.items():
            certificates.add_metric([of], end)
        yield certificates
        yield from _ages(now)
        yield from _decoders(now)
        for name, count in now.counts.items():
            yield CounterMetricFamily(f"hashwarden_{name}", _COUNTS[name], value=count)


def _ages(now: IndexStatus) -> Iterator[Metric]:
    ages = now.list_ages
    for which, last, of in (("newest", "last", min), ("oldest", "longest ago", max)):
        told = GaugeMetricFamily(
            f"hashwarden_{which}_list_age_seconds",
            f"Since the list that changed {last} did, among those that decide.",
        )
        if ages:  # what is not known has no value, but stands on the page
            told.add_metric([], of(ages.values()))
        yield told
    if now.tell_list_names:
        each_list = GaugeMetricFamily(
            "hashwarden_list_age_seconds", "Since a list was changed last.", labels=["list"]
        )
        for name, age in ages.items():
            each_list.add_metric([name], age)
        yield each_list


def _decoders(now: IndexStatus) -> Iterator[Metric]:
    if now.protection is not None:
        protected = GaugeMetricFamily(
            "hashwarden_decoders_protected",
            "1 where decoders are protected by it, else 0.",
            labels=["by"],
        )
        for each in EVERY_PROTECTION:
            protected.add_metric([(each.name or "").lower()], float(each in now.protection))
        yield protected
    restarts = CounterMetricFamily(
        "hashwarden_decoder_restarts", "Decoders that had to be replaced.", labels=["cause"]
    )
    for cause, count in now.decoder_restarts.items():
        restarts.add_metric([cause], count)
    yield restarts


class SupervisorMetrics:
    """The numbers of a supervisor.

    Args:
        processes: how many server processes there are to be.
    """

    def __init__(self, processes: int) -> None:
        self.registry = new_registry()
        Gauge(
            "hashwarden_processes", "Server processes that there are to be.", registry=self.registry
        ).set(processes)
        self.up = Gauge(
            "hashwarden_processes_up",
            "Server processes that run and are loaded.",
            registry=self.registry,
        )
        self.restarts = Counter(
            "hashwarden_process_restarts",
            "Server processes started again after an unexpected end.",
            ["process"],
            registry=self.registry,
        )


__all__ = ["IndexStatus", "ServiceMetrics", "SupervisorMetrics", "new_registry"]
