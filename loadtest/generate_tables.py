"""Writes a CSV, JSON Lines or Parquet file of any size with made-up records, the same for a seed.

The values are random bytes: they are nobody's hashes. Every record has MD5, SHA-1, PDQ, a category
and an id, some 150 bytes as CSV. Memory does not grow with the number of records.

    python -m loadtest.generate_tables --records 1000000 list.csv

`OPTIONS` are the options that read such a file; the program prints them as arguments.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    _Block = list[tuple[str, str, str, str, str]]

NAMES = ("md5", "sha1", "pdq", "category", "id")
OPTIONS: Mapping[str, str] = {
    "columns.md5": "md5",
    "columns.sha1": "sha1",
    "columns.pdq": "pdq",
    "columns.category": "category",
    "columns.source_id": "id",
    "scheme": "iwf",
}
_RECORDS_AT_A_TIME = 65_536
_MD5, _SHA1, _PDQ = 32, 40, 64  # digits


def blocks(records: int, seed: int = 0) -> Iterator[_Block]:
    """The records, some ten thousand at a time."""
    rng = random.Random(seed)
    width = _MD5 + _SHA1 + _PDQ
    for first in range(0, records, _RECORDS_AT_A_TIME):
        count = min(_RECORDS_AT_A_TIME, records - first)
        noise = rng.randbytes(count * width // 2).hex()
        categories = rng.choices("ABC", k=count)
        yield [
            (
                noise[at : at + _MD5],
                noise[at + _MD5 : at + _MD5 + _SHA1],
                noise[at + _MD5 + _SHA1 : at + width],
                categories[row],
                f"ID-{first + row}",
            )
            for row, at in enumerate(range(0, count * width, width))
        ]


def write_csv(out: BinaryIO, records: int, seed: int = 0) -> None:
    """Writes a CSV file with a header line."""
    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(NAMES)
    for block in blocks(records, seed):
        writer.writerows(block)
    text.detach()


def write_jsonl(out: BinaryIO, records: int, seed: int = 0) -> None:
    """Writes JSON Lines."""
    for block in blocks(records, seed):
        lines = (json.dumps(dict(zip(NAMES, row, strict=True))) for row in block)
        out.write("".join(f"{line}\n" for line in lines).encode())


def write_parquet(out: BinaryIO, records: int, seed: int = 0) -> None:
    """Writes Parquet with hashes as text, as most tools would."""
    schema = pa.schema([(name, pa.string()) for name in NAMES])
    with pq.ParquetWriter(out, schema) as writer:
        for block in blocks(records, seed):
            columns = [list(column) for column in zip(*block, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))


WRITERS: Mapping[str, Callable[[BinaryIO, int, int], None]] = {
    ".csv": write_csv,
    ".jsonl": write_jsonl,
    ".parquet": write_parquet,
}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("file", type=Path, help="ends in .csv, .jsonl or .parquet")
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with options.file.open("wb") as out:
        WRITERS[options.file.suffix](out, options.records, options.seed)
    print(" ".join(f"--option {name}={value}" for name, value in OPTIONS.items()))


if __name__ == "__main__":
    main()
