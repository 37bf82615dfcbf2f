"""Fuzzes the reader of EnCase hash sets: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_encase.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import random
import sys

from list_fuzzing import main, run

MAGIC = b"HASH\r\n\xff\x00"
TOKENS = (b"\x00", b"\xff", b"\x00" * 18, b"\xff" * 18, MAGIC, b"\x00" * 16, b"x" * 1152, b"HASH")


def corpus():
    """Small whole files: with records and without."""
    chance = random.Random(7)
    head = (MAGIC.ljust(1032, b"\x00") + "a set".encode("utf-16-le")).ljust(1152, b"\x00")
    records = b"".join(chance.randbytes(16) + b"\x01\x00" for _ in range(60))
    return [(head + records, {}), (head + records[: 18 * 7], {}), (head, {})]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("encase", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("encase", corpus(), TOKENS))
