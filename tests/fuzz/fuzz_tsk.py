"""Fuzzes the reader of The Sleuth Kit's databases: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_tsk.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import random
import sys

from list_fuzzing import main, run
from sqlite_fuzzing import TOKENS, database

HASHES = (
    "CREATE TABLE hashes (id INTEGER PRIMARY KEY AUTOINCREMENT, md5 BINARY(16) UNIQUE,"
    " sha1 BINARY(20), sha2_256 BINARY(32))"
)
TABLES = (
    "CREATE TABLE db_properties (name TEXT NOT NULL, value TEXT)",
    "INSERT INTO db_properties VALUES ('Schema Version', '1')",
    HASHES,
    "CREATE TABLE comments (comment TEXT NOT NULL, hash_id INTEGER NOT NULL)",
)


def corpus():
    """Small whole databases: of raw bytes, of texts, in which a changed byte shows, and empty."""
    chance = random.Random(7)
    insert = "INSERT INTO hashes (md5, sha1) VALUES (?, ?)"
    rows = [(chance.randbytes(16), chance.randbytes(20)) for _ in range(40)]
    texts = [(chance.randbytes(16).hex(), chance.randbytes(20).hex()) for _ in range(80)]
    return [
        (database(*TABLES, rows=[(insert, rows)]), {}),
        (database(*TABLES, rows=[(insert, texts)]), {}),
        (database(*TABLES), {}),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("tsk", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("tsk", corpus(), TOKENS))
