"""Fuzzes the TAT reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_tat.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import json
import random
import sys

from list_fuzzing import main, run

TOKENS = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"},{", b"]}", b"\\u0000", b"\\ud800",
    b"\xff", b"\xef\xbb\xbf", b"\x00", b" ", b"\n", b"null", b"true", b"NaN", b"1e999", b"-1",
    b"99999999999999999999", b"0", b"\x80\x04", b"0" * 64,
    b'"results":[', b'"deleted":true,', b'"algorithm":"SHA512",', b'"next":"https://[x",',
    b'"file_type":"a/b",', b'"id":1,', b'"checkpoint":7,',
)  # fmt: skip


def corpus():
    """Small whole pages, with the members before and behind the records."""
    chance = random.Random(7)
    sizes = {"PDQ": 32, "MD5": 16, "SHA-256": 32, "SHA1": 20}
    records = [
        {
            "hash_digest": chance.randbytes(size).hex(),
            "algorithm": name,
            "ideology": "far-right",
            "file_type": "jpg",
            "deleted": number == 1,
            "updated_on": 1704085200.5,
            "created_on": "x",
            "id": number,
        }
        for number, (name, size) in enumerate(sizes.items())
    ]
    members = {"count": 9, "next": "https://x.example/y?z=1", "checkpoint": "1704085200,124"}
    before = json.dumps({**members, "results": records}).encode()
    behind = json.dumps({"results": records, "next": None}, indent=1).encode()
    return [(before, {}), (behind, {})]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("tat", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("tat", corpus(), TOKENS))
