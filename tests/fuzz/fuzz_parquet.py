"""Fuzzes the Parquet reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_parquet.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import io
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq
from list_fuzzing import main, run

TOKENS = (
    b"PAR1", b"PARE", b"\x00", b"\xff", b"\x15\x00", b"\x15\x04", b"\x80\x80\x01", b"\x7f" * 4,
    b"\x1c", b"\x2c", b"\x19", b"\xff\xff\xff\x7f", b"\x00" * 16, b"md5", b"x" * 40,
)  # fmt: skip
OPTIONS = {
    "columns.md5": "md5",
    "columns.pdq": "hashes.pdq",
    "columns.source_id": "id",
    "columns.size": "size",
    "columns.baseline": "baseline",
    "columns.updated_at": "seen",
}


def corpus():
    """Small whole files: plain pages, dictionaries, deltas, both versions of pages."""
    chance = random.Random(7)
    rows = 12
    table = pa.table(
        {
            "md5": [chance.randbytes(16).hex() for _ in range(rows)],
            "hashes": [{"pdq": [chance.randbytes(32)] * (row % 3)} for row in range(rows)],
            "id": list(range(rows)),
            "size": [None, 488] * (rows // 2),
            "baseline": [True, None, False] * (rows // 3),
            "seen": pa.array([1_700_000_000] * rows, pa.timestamp("s")),
        }
    )
    fixed = pa.table({"md5": pa.array([chance.randbytes(16) for _ in range(rows)], pa.binary(16))})
    only_md5 = {"columns.md5": "md5"}
    return [
        (_file(table, compression="none"), OPTIONS),
        (_file(table, compression="zstd", row_group_size=5), OPTIONS),
        (_file(table, data_page_version="2.0", use_dictionary=False), OPTIONS),
        (_file(fixed, compression="none", use_dictionary=False), only_md5),
        (
            _file(
                table.select(["md5"]),
                use_dictionary=False,
                column_encoding={"md5": "DELTA_BYTE_ARRAY"},
                compression="none",
            ),
            only_md5,
        ),
    ]


def _file(table, **options):
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("parquet", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("parquet", corpus(), TOKENS))
