"""Fuzzes the reader of RDS 3: mutated databases end in a result or a typed error.

    python tests/fuzz/fuzz_nsrl_sqlite.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import random
import sys

from list_fuzzing import main, run
from sqlite_fuzzing import TOKENS, database

FILE = "CREATE TABLE FILE (sha256 TEXT, sha1 TEXT, md5 TEXT, file_name TEXT, file_size INTEGER)"
METADATA = "CREATE TABLE METADATA (id INTEGER PRIMARY KEY, bytes INTEGER, sha1 TEXT, md5 TEXT)"
VIEW = "CREATE VIEW FILE AS SELECT upper(sha1) AS sha1, bytes AS file_size FROM METADATA"
WITHOUT = "CREATE TABLE FILE (sha1 TEXT PRIMARY KEY, md5 TEXT) WITHOUT ROWID"


def corpus():
    """Small whole databases of each shape."""
    chance = random.Random(7)

    def digits(size):
        return chance.randbytes(size).hex().upper()

    files = [(digits(32), digits(20), digits(16), "a.txt", n) for n in range(20)]
    metadata = [(None, n, digits(20), digits(16)) for n in range(20)]
    pairs = [(digits(20), digits(16)) for _ in range(20)]
    into_file = "INSERT INTO FILE VALUES (?, ?, ?, ?, ?)"
    into_metadata = "INSERT INTO METADATA VALUES (?, ?, ?, ?)"
    return [
        (database(FILE, rows=[(into_file, files)]), {}),
        (database(METADATA, VIEW, rows=[(into_metadata, metadata)]), {}),
        (database(WITHOUT, rows=[("INSERT INTO FILE VALUES (?, ?)", pairs)]), {}),
        (database("PRAGMA encoding = 'UTF-16be'", FILE, rows=[(into_file, files[:4])]), {}),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("nsrl-sqlite", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("nsrl-sqlite", corpus(), TOKENS))
