"""Fuzzes the reader of the hashlookup format: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_hashlookup.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import json
import random
import sys

from list_fuzzing import main, run

TOKENS = (
    b"\n", b"\r\n", b"\x00", b"\xff", b"\xef\xbb\xbf", b"{", b"}", b"[", b"]", b'"', b",", b":",
    b"null", b"true", b"1e999", b"-1", b'"MD5":', b'"KnownMalicious":', b'"SHA-1":"x"', b"\\ud800",
    b"[" * 2000, b'"hashlookup:trust":', b"0" * 32, b"x" * 300,
)  # fmt: skip


def corpus():
    """Small whole files; the last is read by trust."""
    chance = random.Random(7)
    lines = []
    for number in range(6):
        record = {
            "FileName": "./bin/été",
            "FileSize": str(number),
            "MD5": chance.randbytes(16).hex().upper(),
            "SHA-1": chance.randbytes(20).hex().upper(),
            "SHA-256": chance.randbytes(32).hex().upper(),
            "ProductCode": {"ProductName": "x", "MfgCode": "1"},
            "parents": [{"MD5": "x"}],
            "hashlookup:trust": 20 * number,
        }
        if number == 3:
            record["KnownMalicious"] = "somewhere"
        lines.append(json.dumps(record, ensure_ascii=False))
    text = "\n".join([*lines, ""])
    return [
        (text.encode(), {}),
        (text.encode("utf-8-sig"), {}),
        (text.encode("utf-16"), {}),
        (text.encode(), {"min_trust": "50"}),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("hashlookup", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("hashlookup", corpus(), TOKENS))
