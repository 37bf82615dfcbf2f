"""Fuzzes the ICSE reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_icse.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import base64
import random
import sys

from list_fuzzing import main, run

from hashlists.formats.icse_columns import COLUMNS

TOKENS = (
    b'"', b'""', b";", b",", b"\n", b"\r\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b" ", b"Y",
    b"No", b"maybe", b"MD5", b"Baseline;", b"0" * 32, b"F" * 288, b"-1", b"\xc3\xa9", b"x" * 300,
)  # fmt: skip


def corpus():
    """Small whole files: all columns, and the needed ones in another order."""
    chance = random.Random(7)
    lines = []
    for number in range(5):
        lines.append(
            {
                "MD5": chance.randbytes(16).hex(),
                "SHA1": chance.randbytes(20).hex() if number % 2 else "",
                "ZZ40": chance.randbytes(16).hex().upper(),
                "PhotoDNA": chance.randbytes(144).hex().upper(),
                "Lace": base64.b64encode(chance.randbytes(129)).decode(),
                "Image ID": f"ID-{number}",
                "Is distributed": "Y",
                "Victim identified": "N",
                "Offender identified": "",
                "Series name": "a series",
                "Agency": "a unit",
                "Number of submissions": str(number),
                "File Available": "True",
                "Media Type": "Image",
                "Baseline": "Yes" if number % 2 else "No",
            }
        )
    dropped = ("ZZ40", "Lace", "Investigation name")
    fewer = [name for name in reversed(COLUMNS) if name not in dropped]
    asked = dict.fromkeys(("series", "agency", "submissions", "key_by_image_id"), "yes")
    return [
        (_table(lines, COLUMNS, "\n"), {}),
        (_table(lines, COLUMNS, "\r\n"), asked),
        (b"\xef\xbb\xbf" + _table(lines, fewer, "\n"), asked),
    ]


def _table(lines, columns, end):
    rows = [columns, *([line.get(name, "") for name in columns] for line in lines)]
    return "".join(";".join(row) + end for row in rows).encode()


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("icse", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("icse", corpus(), TOKENS))
