"""CSV (RFC 4180, UTF-8, CRLF, one header line): every record, for spreadsheets.

The columns are those of `rows.Row`; behind them stand those of the strongest match, and at the end
`matches`: all of them, as JSON Lines has them. `raw_name` is base64, `gaps` have spaces between.

A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, a tab or a line end, wide forms
included, as a formula, and anybody who can name an object could write one. Such a cell, and one
that begins with an apostrophe, gets an apostrophe in front; whoever reads the file with a program
takes the first apostrophe of a cell away again. Keys may hold line ends, which stand in quotes.
"""

from __future__ import annotations

import base64
import csv
import io
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.formats import csv_cells
from matcher.scan.reports.rows import FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.model import MatchRecord, Record
    from matcher.scan.reports.rows import Row, Rows

#: Of the strongest match.
_STRONGEST: Final = (
    *("list", "harm", "severity", "basis", "kind", "distance", "view", "entry"),
    *("scheme", "profile", "category", "derivation"),
)
_MATCHES: Final = "matches"
_PLAIN: Final = tuple(name for name in FIELDS if name != _MATCHES)
COLUMNS: Final = (*_PLAIN, *_STRONGEST, _MATCHES)
_encode = msgspec.json.Encoder().encode
_GUARDED: Final = tuple(csv_cells.FORMULA_STARTS + "\n'")
_Cell = str | int | None


class CsvReport:
    """Writes CSV (see `base.Report`)."""

    def __init__(self, stream: BinaryIO, rows: Rows) -> None:
        self._stream = stream
        self._rows = rows
        self._write_lines([COLUMNS])

    @property
    def notes(self) -> Sequence[str]:
        """Nothing is lost."""
        return ()

    def write(self, records: Sequence[Record]) -> None:
        """Writes a line for each."""
        self._write_lines([_cells(row) for row in self._rows.of(records)])

    def finish(self) -> None:
        """Nothing stands at the end."""

    def _write_lines(self, lines: Sequence[Sequence[_Cell]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerows(lines)
        self._stream.write(text.getvalue().encode())


def guarded(text: str) -> str:
    """The text as no spreadsheet runs it; `csv_cells.unguarded` gives it back."""
    return "'" + text if text.startswith(_GUARDED) else text


def _cells(row: Row) -> list[_Cell]:
    own = {name: getattr(row, name) for name in _PLAIN}
    own["raw_name"] = base64.b64encode(row.raw_name).decode()
    own["gaps"] = " ".join(row.gaps)
    cells: list[_Cell] = [*own.values(), *_strongest(row.matches)]
    cells.append(_encode(row.matches).decode() if row.matches else "")
    return [guarded(cell) if isinstance(cell, str) else cell for cell in cells]


def _strongest(matches: tuple[MatchRecord, ...]) -> tuple[_Cell, ...]:
    if not matches:
        return ("",) * len(_STRONGEST)
    first = matches[0]
    return (
        *(first.list, first.harm, first.severity, first.basis, first.kind),
        *(first.distance, first.view, first.entry),
        *(first.classification or ("", "", "")),
        first.derivation,
    )


__all__ = ["COLUMNS", "CsvReport", "guarded"]
