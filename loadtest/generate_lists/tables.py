"""Tables: CSV, JSON Lines and Parquet with the same columns, hashes as text as most tools write."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from loadtest.generate_lists.records import made_up_records
from loadtest.generate_lists.texts import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadtest.generate_lists.records import Record

_NAMES = ("md5", "sha1", "pdq", "category", "id")
#: Options with which such files are read.
OPTIONS: Mapping[str, str] = {
    "columns.md5": "md5",
    "columns.sha1": "sha1",
    "columns.pdq": "pdq",
    "columns.category": "category",
    "columns.source_id": "id",
    "scheme": "iwf",
}
#: The same, with an end of use of its own for each record.
OPTIONS_WITH_ENDS: Mapping[str, str] = {**OPTIONS, "columns.expires_at": "until"}
_FIRST_END = datetime(2090, 1, 1, tzinfo=UTC)
_ROWS_OF_A_GROUP = 65_536


def _cells(record: Record) -> tuple[str, str, str, str, str]:
    return (
        record.md5.hex(),
        record.sha1.hex(),
        record.pdq.hex(),
        "ABC"[record.choice % 3],
        f"ID-{record.number}",
    )


def _csv(record: Record) -> str:
    return ",".join(_cells(record))


def _csv_with_end(record: Record) -> str:
    return f"{_csv(record)},{(_FIRST_END + timedelta(seconds=record.number)).isoformat()}"


def _jsonl(record: Record) -> str:
    members = zip(_NAMES, _cells(record), strict=True)
    return "{" + ", ".join(f'"{name}": "{cell}"' for name, cell in members) + "}"


CSV = Text(f"{','.join(_NAMES)}\n", _csv, "\n", "\n")
CSV_WITH_ENDS = Text(f"{','.join(_NAMES)},until\n", _csv_with_end, "\n", "\n")
JSONL = Text("", _jsonl, "\n", "\n")


def write_parquet(out: BinaryIO, records: int, seed: int) -> None:
    """Writes Parquet."""
    schema = pa.schema([(name, pa.string()) for name in _NAMES])
    made_up = made_up_records(records, seed)
    with pq.ParquetWriter(out, schema) as writer:
        while some := [_cells(record) for record in itertools.islice(made_up, _ROWS_OF_A_GROUP)]:
            columns = [list(column) for column in zip(*some, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))
