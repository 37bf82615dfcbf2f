"""The pictures of a report, as PNG files."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from loadtest.openloop.latency import CURVE
from loadtest.openloop.scenario import ALONE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes

    from loadtest.openloop.results import Look, PhaseResult, RunResult

_SIZE: Final = (10.0, 4.2)  # inches
_DPI: Final = 130
_STYLE: Final[Any] = {
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e3e6ea",
    "legend.frameon": False,
    "figure.facecolor": "white",
}
#: Told apart by the colour-blind, too (Okabe and Ito).
_COLOURS: Final = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#7f7f7f")
_RIGHT, _REFUSED, _FAILED, _WRONG = "#009e73", "#e69f00", "#d55e00", "#000000"
_QUIET: Final = "#5f6b7a"
_STRIPE: Final = "#f1f3f6"
#: Of the width of a plot, what a letter of a phase's name takes.
_LETTER: Final = 0.009
#: What the height of one takes.
_LINE: Final = 0.014
_HIGHEST: Final = 99.99


def plots(result: RunResult) -> dict[str, bytes]:
    """All pictures of a run by file name, without those that would be empty."""
    drawn: dict[str, Callable[[RunResult], Figure | None]] = {
        "throughput.png": _throughput,
        "latency.png": _latency,
        "cpu.png": _cpu,
        "memory.png": _memory,
        "cost.png": _cost,
    }
    with mpl.rc_context(_STYLE):
        figures = {name: draw(result) for name, draw in drawn.items()}
        return {name: _png(figure) for name, figure in figures.items() if figure is not None}


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=_DPI)
    return stream.getvalue()


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def _throughput(result: RunResult) -> Figure:
    """What was offered and what came of it, second by second."""
    figure, axes = _figure("Requests a second, by what became of them")
    end = 0.0
    for phase in result.phases:
        at = [phase.begin + second for second in range(len(phase.timeline) + 1)]
        end = max(end, at[-1])
        below = [0.0] * len(phase.timeline)
        for name, colour in (
            ("right", _RIGHT),
            ("refused", _REFUSED),
            ("failed", _FAILED),
            ("wrong", _WRONG),
        ):
            counts = [float(getattr(each, name)) for each in phase.timeline]
            above = [low + count for low, count in zip(below, counts, strict=True)]
            axes.stairs(above, at, baseline=below, fill=True, color=colour, linewidth=0)
            below = above
        offered = [each.offered for each in phase.timeline]
        axes.stairs(offered, at, color="#1b1f24", linewidth=1.1, baseline=None)
    _mark_phases(axes, result.phases, end)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("requests a second")
    for name, colour in (
        ("answered right", _RIGHT),
        ("refused", _REFUSED),
        ("failed", _FAILED),
        ("answered wrong", _WRONG),
    ):
        axes.fill_between([], [], color=colour, label=name)
    axes.plot([], [], color="#1b1f24", linewidth=1.1, label="offered")
    _legend(figure, 5)
    return figure


def _latency(result: RunResult) -> Figure | None:
    """Percentiles of latency, the rare ones spread out."""
    shown = [each for each in result.phases if (each.is_open or each.name == ALONE)]
    shown = [each for each in shown if each.latency.count and each.round == shown[-1].round]
    if not shown:
        return None
    figure, axes = _figure("Latency from the intended start, by percentile")
    for phase, colour in zip(shown, itertools.cycle(_COLOURS), strict=False):
        enough = 100 * (1 - 1 / phase.latency.count)
        points = [
            (_spread(percent), value)
            for percent, value in zip(CURVE, phase.latency.curve, strict=True)
            if percent <= min(enough, _HIGHEST)
        ]
        style = "--" if phase.name == ALONE else "-"
        label = f"{phase.name}: p50 {phase.latency.p50:.1f}, p99 {phase.latency.p99:.1f} ms"
        axes.plot(*zip(*points, strict=True), style, color=colour, marker="o", ms=3, label=label)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    ticks = [each for each in CURVE if each <= _HIGHEST and each not in {25, 75, 99.5, 99.95}]
    axes.set_xticks([_spread(each) for each in ticks], [f"{each:g} %" for each in ticks])
    axes.set_ylabel("milliseconds")
    axes.set_xlabel("share of requests that took at most so long")
    figure.legend(loc="outside lower center", ncols=2)
    return figure


def _spread(percent: float) -> float:
    """Where a percentile stands: each further nine takes as much room as the one before."""
    share = 1 - percent / 100
    nines = 0.0
    while share < 0.0999999 and nines < 4:
        share, nines = share * 10, nines + 1
    return nines + (1 - share) / 0.9


def _cpu(result: RunResult) -> Figure | None:
    """CPUs that each kind of process used."""
    return _stacked(result, "CPUs in use, by process", "CPUs", lambda each: each.cpu)


def _memory(result: RunResult) -> Figure | None:
    """Memory of each kind of process of the server."""
    return _stacked(
        result,
        "Memory of the server that is no file's, by process",
        "MiB",
        lambda each: {name: own for name, own in each.memory.items() if name.startswith("server")},
    )


def _stacked(
    result: RunResult, title: str, unit: str, values: Callable[[Look], dict[str, float]]
) -> Figure | None:
    looks = result.looks
    if not looks:
        return None
    figure, axes = _figure(title)
    names = sorted({name for each in looks for name in values(each)}, key=_server_first)
    rows = [[values(each).get(name, 0.0) for each in looks] for name in names]
    at = [each.at for each in looks]
    axes.stackplot(at, rows, labels=[*map(_role, names)], colors=_COLOURS, linewidth=0, alpha=0.9)
    _mark_phases(axes, result.phases, at[-1])
    axes.set_ylim(bottom=0)
    axes.set_ylabel(unit)
    _legend(figure, len(names))
    return figure


def _server_first(name: str) -> tuple[bool, str]:
    return not name.startswith("server"), name


def _role(name: str) -> str:
    return name.partition(": ")[2] or {"server": "server", "generator": "load generator"}[name]


def _cost(result: RunResult) -> Figure | None:
    """CPU time for an image beside the floor, phase by phase."""
    shown = [each for each in result.phases if each.cost and each.cost.floor]
    if not shown:
        return None
    figure, axes = _figure("CPU time for an image: the floor and the server")
    last: list[PhaseResult] = [each for each in shown if each.round == shown[-1].round]
    for row, phase in enumerate(last):
        cost = phase.cost
        assert cost is not None
        left = 0.0
        parts = (cost.luminance, cost.digests, cost.echo)
        for part, colour in zip(parts, ("#0072b2", "#56b4e9", "#a6cee3"), strict=True):
            axes.barh(row - 0.2, part, 0.36, left=left, color=colour)
            left += part
        axes.barh(row + 0.2, cost.server, 0.36, color="#d55e00")
        ratio = f" {cost.over_floor:.2f} times the floor"
        axes.text(cost.server, row + 0.2, ratio, va="center", color=_QUIET)
    axes.set_yticks(range(len(last)), [each.name for each in last])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("CPU milliseconds")
    axes.margins(x=0.25)
    for label, colour in (
        ("floor: luminance", "#0072b2"),
        ("digests", "#56b4e9"),
        ("gRPC echo", "#a6cee3"),
        ("server", "#d55e00"),
    ):
        axes.barh(0, 0, color=colour, label=label)
    figure.set_figheight(1.8 + 0.6 * len(last))
    _legend(figure, 4)
    return figure


def _mark_phases(axes: Axes, phases: Sequence[PhaseResult], end: float) -> None:
    """A stripe and a name for each phase."""
    whole = max(end, 1.0)
    axes.set_xlim(0, whole)
    for phase in phases:
        seconds = len(phase.timeline)
        axes.axvspan(phase.begin, phase.begin + seconds, color=_STRIPE, zorder=0)
        wide = seconds / whole > _LETTER * len(phase.name)
        if wide or seconds / whole > _LINE:
            axes.annotate(
                phase.name,
                (phase.begin + seconds / 2, 1.0),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="top",
                xytext=(0, -3),
                textcoords="offset points",
                color=_QUIET,
                fontsize=9,
                rotation=0 if wide else 90,
            )
    axes.set_xlabel("seconds")
    axes.margins(y=0.14)


def _legend(figure: Figure, columns: int) -> None:
    figure.legend(loc="outside lower center", ncols=min(columns, 5))
