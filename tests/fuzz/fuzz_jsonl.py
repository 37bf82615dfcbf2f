"""Fuzzes the JSON Lines reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_jsonl.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import json
import random
import sys

from list_fuzzing import main, run

TOKENS = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r\n", b"}\n{", b"\\u0000",
    b"\\ud800", b"\xff", b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b" ", b"null", b"true", b"NaN",
    b"1e999", b"-1", b"1.5", b"99999999999999999999", b'"md5":', b'"records":1', b'"key":"id:x"',
    b'{"records":4}\n', b'"retracted":true', b'"further_hashes":[{"kind":"pdq","value":"',
    b"[" * 50,
)  # fmt: skip
OPTIONS = {
    "columns.md5": "md5",
    "columns.pdq": "hashes.pdq",
    "columns.source_id": "id",
    "columns.category": "class",
    "columns.size": "size",
    "columns.retracted": "gone",
    "columns.retraction_reason": "why",
    "columns.releasable_to": "to",
    "columns.expires_at": "until",
    "columns.series": "series",
    "scheme": "x",
}


def corpus():
    """Small whole files: the own layout, and a foreign one with and without keys."""
    chance = random.Random(7)
    foreign = [
        {
            "id": number,
            "md5": chance.randbytes(16).hex(),
            "hashes": {"pdq": [chance.randbytes(32).hex() for _ in range(number)]},
            "class": chance.choice((1, "2", None)),
            "size": 488,
            "series": "a series",
            "to": ["a", "b"],
            "until": "2030-01-01T00:00:00Z",
        }
        for number in range(4)
    ]
    own = [
        {"format": "hashwarden", "version": 1},
        {"md5": chance.randbytes(16).hex(), "baseline": True, "list": "x", "entry_id": 3},
        {"md5": chance.randbytes(16).hex(), "key": "id:a", "size": 3, "releasable_to": ["a"]},
        {
            "sha256": chance.randbytes(32).hex(),
            "further_hashes": [
                {"kind": "pdq", "value": chance.randbytes(32).hex(), "derivation": "crop:0.02"}
            ],
            "scheme": "vics",
            "profile": "US",
            "category": "1",
            "expires_at": "2030-01-01T00:00:00+00:00",
        },
        {"records": 3},
    ]
    return [
        (_lines(own), {}),
        (b"\xef\xbb\xbf" + _lines(own).replace(b"\n", b"\r\n"), {"columns": "hashwarden"}),
        (_lines(foreign), OPTIONS),
        (_lines(foreign), {**OPTIONS, "columns.key": "id"}),
    ]


def _lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("jsonl", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("jsonl", corpus(), TOKENS))
