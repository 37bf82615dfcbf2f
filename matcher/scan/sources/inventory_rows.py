"""Rows of an inventory's files: CSV, packed or not, and Parquet; a few at a time in memory."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote_plus

from hashlists.errors import UnknownFormatError
from hashlists.formats.parquet_library import pyarrow_modules
from matcher.scan.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_GZIP_MAGIC: Final = b"\x1f\x8b"
_PARQUET_MAGIC: Final = b"PAR1"
#: Columns by the names that CSV and Parquet files give them, without "_" and in small letters.
_FIELDS: Final = {
    "bucket": "bucket",
    "key": "key",
    "size": "size",
    "lastmodified": "modified",
    "lastmodifieddate": "modified",
    "etag": "etag",
    "islatest": "is_latest",
    "isdeletemarker": "is_delete_marker",
}
_BARE: Final = ("Bucket", "Key")
_BATCH_ROWS: Final = 4096
_YES_NO: Final = {"true": True, "false": False, "": None}


@dataclass(frozen=True, slots=True)
class Row:
    """What an inventory tells of an object; None where it does not.

    Attributes:
        modified: seconds since 1970, UTC.
    """

    bucket: str
    key: str
    size: int | None
    modified: float | None
    etag: str
    is_latest: bool
    is_delete_marker: bool


def rows_of(file: IO[bytes], name: str, columns: Sequence[str], skip: int) -> Iterator[Row]:
    """The rows behind the first `skip` ones.

    Args:
        file: from its first byte on.
        name: of the file, for errors.
        columns: of a CSV file, where the manifest tells them; else its first line does.
        skip: so many rows are left out.

    Raises:
        SourceError: the file is cut off or damaged, or lacks bucket or key.
    """
    magic = file.read(4)
    file.seek(0)
    if magic == _PARQUET_MAGIC:
        return _parquet_rows(file, name, skip)
    if magic.startswith(b"ORC"):
        raise SourceError(f"{name}: is in ORC, which is not read: have it written as CSV")
    return _csv_rows(file, name, columns, skip, packed=magic.startswith(_GZIP_MAGIC))


def _csv_rows(
    file: IO[bytes], name: str, columns: Sequence[str], skip: int, *, packed: bool
) -> Iterator[Row]:
    opened = gzip.GzipFile(fileobj=file) if packed else file
    text = io.TextIOWrapper(cast("Any", opened), encoding="utf-8", newline="")
    lines = csv.reader(text, strict=True)
    try:
        if not columns:
            first = next(lines, None)
            if first is None:
                return
            columns, lines_left = _columns_by(first, name, lines)
        else:
            lines_left = lines
        fields = _fields(columns, name)
        for number, cells in enumerate(islice(lines_left, skip, None), skip + 1):
            if len(cells) != len(columns):
                raise SourceError(
                    f"{name}: row {number} has {len(cells)} cells, not {len(columns)}: the file is"
                    " damaged, or no part of this inventory"
                )
            told = {field: cells[at] for field, at in fields.items()}
            told["key"] = unquote_plus(told["key"], errors="strict")
            yield _row(told, name, number)
    except (EOFError, OSError, UnicodeDecodeError, csv.Error, zlib.error):
        raise SourceError(f"{name}: is cut off or damaged; get it again") from None
    finally:
        text.detach()  # the file is closed by who opened it


def _columns_by(
    first: Sequence[str], name: str, lines: Iterator[list[str]]
) -> tuple[Sequence[str], Iterator[list[str]]]:
    """The columns of a file that has no manifest, and the rows."""
    if {"bucket", "key"} <= set(map(_field, first)):
        return first, lines
    if len(first) == len(_BARE):
        return _BARE, chain([list(first)], lines)
    raise SourceError(
        f"{name}: what its columns are is not told: give the inventory's manifest.json, or put a"
        " first line with their names into it"
    )


def _parquet_rows(file: IO[bytes], name: str, skip: int) -> Iterator[Row]:
    try:
        pyarrow, parquet = pyarrow_modules()
    except UnknownFormatError as error:
        raise SourceError(f"{name}: {error}") from None
    try:
        table = parquet.ParquetFile(file)
        columns = list(table.schema_arrow.names)
        fields = _fields(columns, name)
        number = 0
        for group in range(table.num_row_groups):
            rows = table.metadata.row_group(group).num_rows
            if number + rows <= skip:
                number += rows
                continue
            wanted = [columns[at] for at in fields.values()]
            for batch in table.iter_batches(_BATCH_ROWS, row_groups=[group], columns=wanted):
                cells = {
                    field: batch.column(columns[at]).to_pylist() for field, at in fields.items()
                }
                for row in range(batch.num_rows):
                    number += 1
                    if number > skip:
                        yield _row(
                            {field: each[row] for field, each in cells.items()}, name, number
                        )
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError):
        raise SourceError(f"{name}: is cut off or damaged; get it again") from None


def _field(column: str) -> str:
    return _FIELDS.get(column.strip().lower().replace("_", "").replace("-", ""), "")


def _fields(columns: Sequence[str], name: str) -> dict[str, int]:
    fields = {field: at for at, each in enumerate(columns) if (field := _field(each))}
    if not {"bucket", "key"} <= set(fields):
        raise SourceError(f"{name}: has no columns Bucket and Key, so it is no inventory")
    return fields


def _row(cells: Mapping[str, Any], name: str, number: int) -> Row:
    try:
        is_latest = _flag(cells.get("is_latest"))
        return Row(
            bucket=str(cells["bucket"]),
            key=_named(cells["key"]),
            size=_size(cells.get("size")),
            modified=_time(cells.get("modified")),
            etag=str(cells.get("etag") or "").strip('"'),
            is_latest=True if is_latest is None else is_latest,
            is_delete_marker=bool(_flag(cells.get("is_delete_marker"))),
        )
    except (ValueError, KeyError, OverflowError):
        raise SourceError(
            f"{name}: row {number} is none of an inventory: the file is damaged, or its columns are"
            " others than the manifest tells"
        ) from None


def _named(cell: Any) -> str:
    if not isinstance(cell, str) or not cell:
        raise ValueError
    return cell


def _size(cell: Any) -> int | None:
    if cell is None or cell == "":
        return None
    size = int(cell)
    if size < 0:
        raise ValueError
    return size


def _time(cell: Any) -> float | None:
    if cell is None or cell == "":
        return None
    moment = cell if isinstance(cell, datetime) else datetime.fromisoformat(str(cell))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return float(int(moment.timestamp()))


def _flag(cell: Any) -> bool | None:
    return cell if isinstance(cell, bool | None) else _YES_NO[str(cell).lower()]


__all__ = ["Row", "rows_of"]
