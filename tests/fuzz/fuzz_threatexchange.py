"""Fuzzes the ThreatExchange reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_threatexchange.py --inputs 100000 --seed 1

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
    b'"data":[', b'"should_delete":true,', b'"type":"HASH_MD5",', b'"descriptors":null,',
    b'"tags":{"data":[{"text":"a"}]},', b'"status":"NON_MALICIOUS",', b'"paging":{"next":"x"},',
)  # fmt: skip


def corpus():
    """Small whole pages, with descriptors of several members and tags of both shapes."""
    chance = random.Random(7)
    sizes = {"HASH_PDQ": 32, "HASH_MD5": 16, "HASH_SHA256": 32, "HASH_PHOTODNA": 144}
    records = []
    for number, (name, size) in enumerate(sizes.items()):
        value = chance.randbytes(size)
        tags = ["a", "b"] if number % 2 else {"data": [{"id": "1", "text": "b"}]}
        opinion = {"id": "1", "owner": {"id": str(number)}, "status": "MALICIOUS", "tags": tags}
        records.append(
            {
                "id": str(number),
                "indicator": ",".join(map(str, value)) if size == 144 else value.hex(),
                "type": name,
                "last_updated": 1595000000 + number,
                "should_delete": number == 1,
                "descriptors": {"data": [opinion, {**opinion, "status": "UNKNOWN"}]},
            }
        )
    paging = {"cursors": {"after": "x"}, "next": "https://x.example/?access_token=y"}
    more = json.dumps({"data": records, "paging": paging}).encode()
    last = json.dumps({"paging": {"cursors": {}}, "data": records}, indent=1).encode()
    return [(more, {}), (last, {"tags": "c,b", "non_malicious": "keep"})]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("threatexchange", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("threatexchange", corpus(), TOKENS))
