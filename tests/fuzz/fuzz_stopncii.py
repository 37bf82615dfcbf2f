"""Fuzzes the StopNCII reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_stopncii.py --inputs 100000 --seed 1

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
    b'"hashRecords":[', b'"hashStatus":"Deleted"', b'"signalType":"VideoMD5"', b'"count":1,',
    b'"hasMoreRecords":true,', b'"nextPageToken":"x",', b'"hashRegions":["UK"],',
)  # fmt: skip


def corpus():
    """Small whole pages, with the members before and behind the records."""
    chance = random.Random(7)
    records = [
        {
            "lastModtimestamp": 1625167804 + number,
            "signalType": "VideoMD5" if number == 3 else "ImagePDQ",
            "hashValue": chance.randbytes(16 if number == 3 else 32).hex(),
            "hashStatus": ("Active", "Received", "Withdrawn", "Active")[number],
            "caseNumbers": {"27664732-76e1-4a17-8099-455798e67022": "Received"},
            "hashRegions": ["UK"],
            "CSPFeedbacks": [{"source": "x", "feedbackValue": "Blocked", "tags": ["y"]}],
        }
        for number in range(4)
    ]
    members = {"count": 4, "nextSetTimestamp": 1, "nextPageToken": "t", "hasMoreRecords": True}
    before = json.dumps({**members, "hashRecords": records}).encode()
    behind = json.dumps({"hashRecords": records, "hasMoreRecords": False}, indent=1).encode()
    return [(before, {}), (behind, {}), (b"\xef\xbb\xbf" + behind, {})]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("stopncii", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("stopncii", corpus(), TOKENS))
