"""Fuzzes the STIX reader and validation: mutated bundles end in a result or a typed error.

    python tests/fuzz/fuzz_stix.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import json
import random
import sys

from list_fuzzing import main, run

from hashlists.formats.stix_extension import EXTENSION_ID

TOKENS = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"},{", b"]}", b"\\u0000", b"\\ud800",
    b"\xff", b"\xef\xbb\xbf", b"\x00", b" ", b"\n", b"null", b"true", b"NaN", b"1e999", b"-1",
    b'"objects":[', b'"type":"bundle"', b'"type":"indicator"', b'"hashes":{"MD5":"', b" OR ",
    b" AND ", b"'", b"\\'", b"IN (", b'"revoked":true', b'"modified":"', b"2026-01-01T00:00:00Z",
    b'"extensions":{"', EXTENSION_ID.encode(), b'"more":true', b"0" * 32,
)  # fmt: skip

OPTIONS = {"classification": "labels", "label_prefix": "l", "tlp.green": "a,b"}


def _id(kind, number):
    return f"{kind}--{number:08d}-0000-4000-8000-000000000000"


def corpus():
    """Small whole bundles: one as other tools write them, one with our extension."""
    chance = random.Random(7)
    md5, sha256 = (chance.randbytes(size).hex() for size in (16, 32))
    common = [
        {"type": "identity", "id": _id("identity", 1), "name": "A hotline"},
        {
            "type": "marking-definition",
            "id": _id("marking-definition", 1),
            "definition_type": "tlp",
            "definition": {"tlp": "green"},
        },
        {"type": "relationship", "id": _id("relationship", 1)},
    ]
    files = [
        {
            "type": "file",
            "id": _id("file", number),
            "hashes": {"MD5": chance.randbytes(16).hex(), "PDQ": chance.randbytes(32).hex()},
            "size": 488,
            "mime_type": "image/png",
            "object_marking_refs": [_id("marking-definition", 1)],
        }
        for number in range(2)
    ]
    indicators = [
        {
            "type": "indicator",
            "id": _id("indicator", number // 2),
            "modified": f"2026-01-0{number + 1}T00:00:00.000Z",
            "created_by_ref": _id("identity", 1),
            "pattern": f"[file:hashes.MD5 = '{md5}' OR file:hashes.'SHA-256' IN ('{sha256}')]",
            "pattern_type": "stix",
            "labels": ["label"],
            "revoked": number == 3,
            "valid_until": "2027-01-01T00:00:00Z",
        }
        for number in range(5)
    ]
    extension = {
        "extension_type": "property-extension",
        "entry_id": "one",
        "perceptual_hashes": [{"algorithm": "pdq", "value": chance.randbytes(32).hex()}],
        "further_digests": [{"algorithm": "md5", "value": chance.randbytes(16).hex()}],
        "classification": {"scheme": "vics", "profile": "US", "code": "1"},
        "flags": {"series": True, "baseline": False},
        "verified_count": 3,
        "releasable_to": ["a"],
        "expires_at": "2030-01-01T00:00:00Z",
    }
    ours = {**files[0], "id": _id("file", 9), "extensions": {EXTENSION_ID: extension}}
    first = json.dumps({"type": "bundle", "objects": [*files, *indicators, *common]}, indent=1)
    second = json.dumps({"objects": [*common, ours], "id": _id("bundle", 1), "type": "bundle"})
    return [
        (first.encode(), OPTIONS),
        (second.encode(), {}),
        (b"\xef\xbb\xbf" + first.encode(), {}),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("stix", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("stix", corpus(), TOKENS))
