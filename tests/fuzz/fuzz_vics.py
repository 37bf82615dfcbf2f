"""Fuzzes the VICS reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_vics.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import base64
import io
import json
import random
import sys

from list_fuzzing import main, run

from loadtest.generate_lists import write_list

TOKENS = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"},{", b"]}", b"\\u0000", b"\\ud800",
    b"\xff", b"\xef\xbb\xbf", b"\x00", b" ", b"\n", b"null", b"true", b"NaN", b"1e999", b"-1",
    b"99999999999999999999", b"0", b'"value":[', b'"@odata.context":', b'"AlternativeHashes":[{',
    b'"MD5":"', b'"HashName":"PDQ","HashValue":"', b"#Cases", b"2.0.xml", b"=", b"0" * 64,
    b'"Media":[',
)  # fmt: skip


def corpus():
    """Small whole files of both versions, with the context on either side of the records."""
    chance = random.Random(7)
    generated = io.BytesIO()
    write_list("vics", generated, records=4, seed=7)
    records = [
        {
            "MediaID": str(number),
            "odata.id": "Media('x')",
            "Category": chance.choice((0, "1", None)),
            "MD5": chance.randbytes(16).hex(),
            "SHA1": chance.randbytes(20).hex(),
            "MediaSize": "488",
            "VictimIdentified": "true",
            "Series": "x",
            "Comments": 'a "quote", {braces} and \\ in a text',
            "AlternativeHashes": [
                {
                    "HashName": "PhotoDNA",
                    "HashValue": base64.b64encode(chance.randbytes(144)).decode(),
                },
                {"HashName": "PDQ", "HashValue": chance.randbytes(32).hex()},
                {"HashName": "PDQ", "HashValue": chance.randbytes(32).hex()},
                {"HashName": "other", "HashValue": "x"},
            ],
            "MediaFiles": [{"FilePath": "x", "Deleted": False}],
        }
        for number in range(3)
    ]
    context = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media"
    old = json.dumps({"value": records, "odata.metadata": context}, indent=1).encode()
    cases = [{"CaseID": "x", "Media": records[:2], "Contact": {"a": [1]}}, {}, {"Media": records}]
    context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Cases"
    case_file = json.dumps({"@odata.context": context, "value": cases}).encode()
    return [
        (generated.getvalue(), {}),
        (old, {}),
        (b"\xef\xbb\xbf" + old, {"profile": "CA"}),
        (case_file, {"cases": "media"}),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("vics", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("vics", corpus(), TOKENS))
