"""Fuzzes the MISP reader and validation: mutated events end in a result or a typed error.

    python tests/fuzz/fuzz_misp.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import json
import random
import sys

from list_fuzzing import main, run

TOKENS = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"},{", b"]}", b"}]", b"\\u0000", b"\\ud800",
    b"\xff", b"\xef\xbb\xbf", b"\x00", b" ", b"\n", b"null", b"true", b"NaN", b"1e999", b"-1",
    b'"Event":{', b'"Attribute":[', b'"Object":[', b'"response":', b'"Tag":[{"name":"', b"tlp:red",
    b"copine-scale:level-1", b'"deleted":', b'"to_ids":false', b'"uuid":"', b"filename|md5", b"|",
    b'"distribution":"1"', b'"type":"sha256","value":"', b"0" * 32, b"*",
)  # fmt: skip

OPTIONS = {"to_ids": "any", "tlp.green": "a,b", "distribution.1": "a"}


def _uuid(number):
    return f"{number:08d}-0000-4000-8000-000000000000"


def _attribute(chance, number, kind, size, **members):
    return {
        "uuid": _uuid(number),
        "type": kind,
        "value": chance.randbytes(size).hex(),
        "to_ids": True,
        "deleted": False,
        "distribution": "5",
        "timestamp": "1700000000",
        "comment": 'a "quote", {braces} and \\ in a text',
        "Tag": [{"name": "tlp:green"}],
        **members,
    }


def _event(chance, first):
    texts = {"type": "text", "object_relation": "pdq", "to_ids": False}
    return {
        "uuid": _uuid(first),
        "info": "x",
        "distribution": "3",
        "Orgc": {"name": f"org {first}"},
        "Attribute": [
            _attribute(chance, first + 1, "sha256", 32),
            _attribute(chance, first + 2, "md5", 16, deleted=True),
            _attribute(chance, first + 3, "filename|sha1", 20),
            _attribute(chance, first + 4, "domain", 4),
        ],
        "Galaxy": [{"name": "x", "GalaxyCluster": []}],
        "Object": [
            {
                "uuid": _uuid(first + 5),
                "name": "hashwarden-image",
                "Attribute": [
                    _attribute(chance, first + 6, "sha1", 20),
                    _attribute(chance, first + 7, "text", 32, **texts),
                ],
            },
            {"uuid": _uuid(first + 8), "name": "url", "Attribute": []},
        ],
        "Tag": [{"name": "copine-scale:level-5"}],
    }


def corpus():
    """Small whole files: one event, and answers of a server with several."""
    chance = random.Random(7)
    one = json.dumps({"Event": _event(chance, 10)}, indent=1).encode()
    several = json.dumps({"response": [{"Event": _event(chance, n)} for n in (20, 40)]}).encode()
    found = {"response": {"Attribute": [_attribute(chance, n, "md5", 16) for n in (60, 61)]}}
    return [(one, {}), (several, OPTIONS), (json.dumps(found).encode(), {})]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("misp", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("misp", corpus(), TOKENS))
