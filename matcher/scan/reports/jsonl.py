"""JSON Lines: every record, one object a line, in UTF-8; the complete report.

The names are those of `rows.Row`, in its order, absent where there is nothing to say. `raw_name` is
base64; `matches` is a list of objects, the strongest first, with `list`, `harm`, `entry`, `kind`,
`basis`, `view`, `distance` (0 for an exact match), `severity`, and perhaps `classification` (a
list of scheme, profile and code) and `derivation`. The same records give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.model import Record
    from matcher.scan.reports.rows import Rows


class JsonLinesReport:
    """Writes JSON Lines (see `base.Report`)."""

    def __init__(self, stream: BinaryIO, rows: Rows) -> None:
        self._stream = stream
        self._rows = rows
        self._encoder = msgspec.json.Encoder()

    @property
    def notes(self) -> Sequence[str]:
        """Nothing is lost."""
        return ()

    def write(self, records: Sequence[Record]) -> None:
        """Writes a line for each."""
        self._stream.write(self._encoder.encode_lines(self._rows.of(records)))

    def finish(self) -> None:
        """Nothing stands at the end."""


__all__ = ["JsonLinesReport"]
