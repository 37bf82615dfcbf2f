"""What commands print: JSON Lines, tables, notes and progress, each fit for where it goes.

Text that came from outside (file names, list names, reasons) is never taken for markup and never
reaches a terminal with its control characters, so a file name cannot repaint a screen.
"""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.progress import Progress


def printable(text: str) -> str:
    """The text with everything that a terminal could take for a command written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


#: As hashes are written in hex, or in base32 and base64 as far as no slash parts them. That of 64
#: bits stands by itself: names of snapshots end in as many digits.
_HASH = re.compile(
    r"[0-9A-Fa-f]{24,}|(?<![0-9A-Za-z])(?<![0-9]-)(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{16}(?![0-9A-Za-z])"
    r"|(?=[A-Za-z+=]*[0-9])[0-9A-Za-z+=]{28,}"
)


def without_hashes(text: str) -> str:
    """The text without what looks like a hash: one may stand where a name was expected."""
    return _HASH.sub("(hash)", text)


def is_hash(text: str) -> bool:
    """Whether the whole text looks like a hash."""
    return _HASH.fullmatch(text) is not None


def is_terminal(*, error: bool = False) -> bool:
    """Whether a person is looking at standard output (or at standard error)."""
    return (sys.stderr if error else sys.stdout).isatty()


def print_json(record: Mapping[str, Any]) -> None:
    """Writes one record as one line of JSON, at once, so that readers of a pipe can follow."""
    sys.stdout.write(json.dumps(record) + "\n")
    sys.stdout.flush()


def print_pretty_json(record: Mapping[str, Any]) -> None:
    """Writes one record as JSON for a person: indented and coloured."""
    from rich.console import Console  # noqa: PLC0415  only where a terminal is

    Console(highlight=True).print_json(json.dumps(record))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Writes a table: ruled and coloured on a terminal, tab-separated with a header elsewhere."""
    if is_terminal():
        _print_ruled(columns, rows, title)
        return
    for row in (columns, *rows):
        print_row(row)


def print_row(cells: Sequence[str]) -> None:
    """Writes one tab-separated line, at once."""
    sys.stdout.write("\t".join(printable(cell) for cell in cells) + "\n")
    sys.stdout.flush()


def print_paragraphs(paragraphs: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Writes what no table can show legibly, for a person: each a heading with lines below it.

    Lines are broken between words at the terminal's width, and stay indented.

    Args:
        paragraphs: heading, and lines; empty lines are left out.
    """
    from rich.console import Console  # noqa: PLC0415  only where a terminal is
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    for heading, lines in paragraphs:
        console.print(Text(printable(heading), style="bold"))
        for line in filter(None, lines):
            console.print(Padding(Text(printable(line)), (0, 0, 0, 2)))


def _print_ruled(columns: Sequence[str], rows: Iterable[Sequence[str]], title: str) -> None:
    from rich import box  # noqa: PLC0415  only where a terminal is
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console()
    shown = [[printable(cell) for cell in row] for row in rows]
    if columns[0] == PATH_COLUMN:
        width = _width_left(columns, shown, console.width)
        shown = [[shorten_left(path, width), *others] for path, *others in shown]
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        table.add_column(Text(name), overflow="fold")
    for row in shown:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console.print(table)


def _width_left(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> int:
    """Cells that the first column may have beside the others; never less than a third of all."""
    from rich.cells import cell_len  # noqa: PLC0415  only where a terminal is

    others = [max(map(cell_len, column)) for column in zip(columns, *rows, strict=True)][1:]
    return max(width // 3, width - sum(others) - 2 * len(others))


def shorten_left(path: str, width: int) -> str:
    """The path in at most `width` cells: its end, which tells files apart, behind an ellipsis."""
    from rich.cells import cell_len  # noqa: PLC0415  only where a terminal is

    if cell_len(path) <= width:
        return path
    kept = path[-(width - 1) :]  # a character has a cell at least
    while cell_len(kept) > width - 1:
        kept = kept[1:]
    return f"…{kept}"


#: The heading of a column of paths, which are shortened rather than folded.
PATH_COLUMN = "path"
_STYLES = {
    "MATCH": "bold red",
    "REVIEW": "bold yellow",
    "NOT HASHABLE": "magenta",
    "ERROR": "bold red",
    "ok": "green",
    "warn": "yellow",
    "fail": "bold red",
}


def note(message: str, *, style: str = "") -> None:
    """Writes one line about the work to standard error, after all results that came before it."""
    sys.stdout.flush()
    click.echo(click.style(printable(message), fg=style or None), err=True)


def told_often(told: str, times: int) -> str:
    """What was told, and how often where it was more than once."""
    return told if times == 1 else f"{told} ({times:,} times)"


class Advance(Protocol):
    """Moves a progress bar to `done` of `total`, with a word beside it."""

    def __call__(self, done: int, total: int, beside: str = "") -> None:
        """Draws the bar anew."""
        ...


def _stand_still(done: int, total: int, beside: str = "") -> None:
    """The progress of a command that nobody watches."""


@contextmanager
def progress(label: str, *, of_bytes: bool = False, printing: bool = False) -> Iterator[Advance]:
    """Shows a progress bar on standard error while a person watches; else shows nothing.

    Args:
        label: what is going on.
        of_bytes: the amounts are bytes.
        printing: results are printed meanwhile; on one and the same screen they show how far the
            work is, and a bar would get in their way.
    """
    if not is_terminal(error=True) or (printing and is_terminal()):
        yield _stand_still
        return
    with _new_progress(of_bytes=of_bytes) as bar:
        task = bar.add_task(printable(label), total=None, beside="")

        def advance(done: int, total: int, beside: str = "") -> None:
            bar.update(task, completed=done, total=total, beside=beside)

        yield advance


def _new_progress(*, of_bytes: bool) -> Progress:
    from rich import progress as widgets  # noqa: PLC0415  only where a terminal is
    from rich.console import Console  # noqa: PLC0415

    amount = widgets.DownloadColumn() if of_bytes else widgets.MofNCompleteColumn()
    return widgets.Progress(
        widgets.TextColumn("{task.description}", markup=False),
        widgets.BarColumn(),
        amount,
        widgets.TimeRemainingColumn(),
        widgets.TextColumn("{task.fields[beside]}", markup=False),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=False,  # else results would go to standard error
    )


@contextmanager
def waiting(label: str) -> Iterator[None]:
    """Shows on standard error that work is going on, while a person watches."""
    if not is_terminal(error=True):
        yield
        return
    from rich.console import Console  # noqa: PLC0415  only where a terminal is

    with Console(stderr=True).status(f"{printable(label)} ..."):
        yield
