"""How a scan's progress is shown: live to a person, line by line elsewhere, as JSON to a program.

The live display alone shows where in the listing the scan is: lines end in logs that others read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from matcher.cli.output import is_terminal, note, print_json, printable, shorten_left
from matcher.cli.scan_words import counts_words, outcome_words, size_words, time_words
from matcher.scan.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import RenderableType
    from rich.live import Live

    from matcher.cli.scan_meter import Meter

_LINE_SECONDS: Final = 30.0
_EVENT_SECONDS: Final = 5.0
_DRAWS_A_SECOND: Final = 4
_STYLES: Final = {
    Outcome.MATCHED: "bold red",
    Outcome.REVIEW: "bold yellow",
    Outcome.NOT_HASHABLE: "magenta",
    Outcome.FAILED: "bold red",
}


class Display(Protocol):
    """Shows a meter.

    Attributes:
        for_programs: standard output is theirs, and people are told nothing there.
    """

    for_programs: bool

    def begin(self, title: str, meter: Meter) -> None:
        """Shows it from now on, under a title."""
        ...

    def tick(self, at: float) -> None:
        """Shows what is new, if it is time; called about once a second."""
        ...

    def tell(self, event: str, words: str, details: Mapping[str, Any]) -> None:
        """Tells what happened: a line for people, or an event for programs."""
        ...

    def end(self) -> None:
        """Shows no more. May be called twice."""
        ...


def choose_display(*, events: bool) -> Display:
    """The display that fits where the output goes."""
    if events:
        return EventDisplay()
    return LiveDisplay() if is_terminal(error=True) else LineDisplay()


class LineDisplay:
    """A line on standard error every half minute."""

    for_programs = False

    def __init__(self) -> None:
        self._meter: Meter | None = None
        self._told_at = 0.0

    def begin(self, title: str, meter: Meter) -> None:
        """Shows it from now on, under a title."""
        note(title)
        self._meter, self._told_at = meter, meter.begun

    def tick(self, at: float) -> None:
        """Tells how far it is, if that was not told for half a minute."""
        if self._meter is not None and at - self._told_at >= _LINE_SECONDS:
            self._told_at = at
            note(line(self._meter, at))

    def tell(self, event: str, words: str, details: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Tells what happened in a line."""
        note(words)

    def end(self) -> None:
        """Shows no more."""
        self._meter = None


class EventDisplay:
    """Objects of JSON on standard output."""

    for_programs = True

    def __init__(self) -> None:
        self._meter: Meter | None = None
        self._told_at = 0.0

    def begin(self, title: str, meter: Meter) -> None:  # noqa: ARG002  an event told it
        """Shows it from now on."""
        self._meter, self._told_at = meter, meter.begun

    def tick(self, at: float) -> None:
        """Writes how far it is, if that was not written for a few seconds."""
        if self._meter is not None and at - self._told_at >= _EVENT_SECONDS:
            self._told_at = at
            print_json({"event": "progress", **self._meter.record(at)})

    def tell(self, event: str, words: str, details: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Writes what happened."""
        print_json({"event": event, **details})

    def end(self) -> None:
        """Shows no more."""
        self._meter = None


class LiveDisplay:
    """A few lines on standard error that are drawn anew several times a second."""

    for_programs = False

    def __init__(self) -> None:
        self._live: Live | None = None
        self._title = ""
        self._meter: Meter | None = None
        self._at = 0.0

    def begin(self, title: str, meter: Meter) -> None:
        """Shows it from now on, under a title."""
        from rich.console import Console  # noqa: PLC0415  only where a terminal is
        from rich.live import Live  # noqa: PLC0415

        self._title, self._meter, self._at = title, meter, meter.begun
        self._live = Live(
            console=Console(stderr=True),
            get_renderable=self._drawn,
            refresh_per_second=_DRAWS_A_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def tick(self, at: float) -> None:
        """What is drawn next is of then."""
        self._at = at

    def tell(self, event: str, words: str, details: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Tells what happened in a line above the display."""
        if self._live is None:
            note(words)
        else:
            from rich.text import Text  # noqa: PLC0415  only where a terminal is

            self._live.console.print(Text(printable(words)))

    def end(self) -> None:
        """Takes the display away."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _drawn(self) -> RenderableType:
        assert self._meter is not None
        return drawn(self._title, self._meter, self._at)


def line(meter: Meter, at: float) -> str:
    """How far it is, in one line without the name of any object."""
    objects, nbytes = meter.rates(at)
    left = meter.seconds_left(at)
    told = [
        _far(meter),
        f"{objects:,.1f} objects/s, {size_words(nbytes)}/s",
        *([] if left is None else [f"about {time_words(left)} left"]),
        *_troubles(meter),
    ]
    return f"{', '.join(told)}: {counts_words(meter.outcomes)}"


def _far(meter: Meter) -> str:
    """E.g. "1,200 of 40,000 objects (3 %)"; "1,200 objects" while the listing goes on."""
    if meter.total is None:
        return f"{meter.done:,} objects"
    share = f" ({100 * meter.done // meter.total} %)" if meter.total else ""
    return f"{meter.done:,} of {meter.total:,} objects{share}"


def _troubles(meter: Meter) -> list[str]:
    return [
        f"{number:,} {word}"
        for number, word in ((meter.retried, "tried again"), (meter.throttled, "times throttled"))
        if number
    ]


def drawn(title: str, meter: Meter, at: float) -> RenderableType:
    """The live display: a title, a bar, rates, outcomes and the place in the listing."""
    from rich.console import Group  # noqa: PLC0415  only where a terminal is
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    objects, nbytes = meter.rates(at)
    left = meter.seconds_left(at)
    bar = ProgressBar(
        total=meter.total,
        completed=meter.done,
        pulse=meter.total is None,
        animation_time=at,
        width=None,
    )
    far = [_far(meter), "the listing goes on" if meter.total is None else ""]
    if left is not None:
        far.append(f"about {time_words(left)} left")
    rates = [f"{objects:,.1f} objects/s", f"{size_words(nbytes)}/s", *_troubles(meter)]
    filled = Table.grid(expand=True)  # a bar alone ends no line
    filled.add_row(bar)
    return Group(
        Text(printable(title), style="bold", no_wrap=True, overflow="ellipsis"),
        filled,
        Text("  ".join(filter(None, far))),
        Text("  ".join(rates)),
        _outcomes(meter),
        _Place(meter.prefix),  # not filled to the edge: ^C, which the terminal writes, must fit
    )


def _outcomes(meter: Meter) -> RenderableType:
    from rich.text import Text  # noqa: PLC0415  only where a terminal is

    told = Text()
    for each in Outcome:
        number = meter.count(each)
        style = _STYLES.get(each, "") if number else "dim"
        told.append(f"{outcome_words(each)} {number:,}", style=style).append("  ")
    return told


class _Place:
    """Where in the listing the scan is, cut at its left to the width of the terminal."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def __rich__(self) -> RenderableType:
        from rich.console import Console  # noqa: PLC0415  only where a terminal is
        from rich.text import Text  # noqa: PLC0415

        if not self._prefix:
            return Text("")
        width = Console(stderr=True).width - len("at /^C")
        return Text(f"at {shorten_left(printable(self._prefix), width)}/", style="dim")


__all__ = [
    "Display",
    "EventDisplay",
    "LineDisplay",
    "LiveDisplay",
    "choose_display",
    "drawn",
    "line",
]
