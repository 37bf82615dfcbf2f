"""Parquet: every record, for tables of millions; needs the extra `parquet`.

The columns are those of `rows.Row`, with null where there is nothing to say: `raw_name` as bytes,
`modified` as microseconds in UTC, `gaps` as a list of texts, `matches` as a list of structures with
`list`, `harm`, `entry`, `kind`, `basis`, `view`, `distance`, `severity`, `scheme`, `profile`,
`category` and `derivation`. Compressed with Zstandard, in groups of 65,536 rows or a few more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Final

from hashlists.formats.parquet_groups import RowGroups
from hashlists.formats.parquet_library import pyarrow_modules
from matcher.scan.reports.addresses import moment
from matcher.scan.reports.rows import FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.model import MatchRecord, Record
    from matcher.scan.reports.rows import Row, Rows

#: Columns of few different values, for which a dictionary pays.
_REPETITIVE: Final = ("place", "outcome", "way", "reason", "format")
_NUMBERS: Final = ("attempts", "size", "revision", "total_matches")
_REQUIRED: Final = ("id", "address", "place", "key", "outcome", "way")


class ParquetReport:
    """Writes Parquet (see `base.Report`).

    Raises:
        UnknownFormatError: pyarrow is not installed.
    """

    def __init__(self, stream: BinaryIO, rows: Rows) -> None:
        pyarrow, _ = pyarrow_modules()
        self._rows = rows
        self._groups = RowGroups(stream, _schema(pyarrow), _REPETITIVE)

    @property
    def notes(self) -> Sequence[str]:
        """Nothing is lost."""
        return ()

    def write(self, records: Sequence[Record]) -> None:
        """Takes a row for each, and writes a group of rows once there are enough."""
        self._groups.write(_columns(records, self._rows.of(records)))

    def finish(self) -> None:
        """Writes the last group of rows, and the table of contents."""
        self._groups.finish()


def _schema(pa: Any) -> Any:
    text, number = pa.string(), pa.int64()
    match = pa.struct(
        [
            *(pa.field(name, text, nullable=False) for name in ("list", "harm")),
            pa.field("entry", number, nullable=False),
            *(pa.field(name, text, nullable=False) for name in ("kind", "basis", "view")),
            pa.field("distance", number),
            pa.field("severity", text, nullable=False),
            *(pa.field(name, text) for name in ("scheme", "profile", "category", "derivation")),
        ]
    )
    types: dict[str, Any] = {
        **dict.fromkeys(_NUMBERS, number),
        "raw_name": pa.binary(),
        "modified": pa.timestamp("us", "UTC"),
        "gaps": pa.list_(text),
        "matches": pa.list_(match),
    }
    return pa.schema(
        [pa.field(name, types.get(name, text), nullable=name not in _REQUIRED) for name in FIELDS]
    )


def _columns(records: Sequence[Record], rows: Sequence[Row]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows]
        if name in (*_NUMBERS, *_REQUIRED)
        else [getattr(row, name) or None for row in rows]
        for name in FIELDS
    }
    columns["modified"] = [moment(record.modified) for record in records]
    columns["matches"] = [list(map(_match, row.matches)) or None for row in rows]
    return columns


def _match(match: MatchRecord) -> dict[str, object]:
    scheme, profile, category = match.classification or (None, None, None)
    return {
        "list": match.list,
        "harm": match.harm,
        "entry": match.entry,
        "kind": match.kind,
        "basis": match.basis,
        "view": match.view,
        "distance": match.distance,
        "severity": match.severity,
        "scheme": scheme,
        "profile": profile,
        "category": category,
        "derivation": match.derivation,
    }


__all__ = ["ParquetReport"]
