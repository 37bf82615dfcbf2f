"""Fuzzes the CSV reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_csv.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import base64
import random
import sys

from list_fuzzing import main, run

TOKENS = (
    b'"', b'""', b",", b";", b"\t", b"\n", b"\r\n", b"\r", b"\x00", b"\xff", b"\xef\xbb\xbf", b" ",
    b"\xff\xfe", b"-1", b"99999999999999999999", b"yes", b"maybe", b"=", b"0" * 32, b"f" * 64,
    b"255,", b"\xc3\xa9", b"\xd8\x00", b"md5", b"x" * 300,
)  # fmt: skip

OPTIONS = {
    "columns.md5": "md5",
    "columns.sha1": "sha1",
    "columns.pdq": "pdq",
    "columns.photodna": "photodna",
    "columns.source_id": "id",
    "columns.category": "class",
    "columns.size": "size",
    "columns.media_type": "type",
    "columns.verified_count": "votes",
    "columns.baseline": "baseline",
    "columns.series": "series",
    "scheme": "x",
}
HEADER = "md5,sha1,pdq,photodna,id,class,size,type,votes,baseline,series,note"


def corpus():
    """Small whole files in several dialects."""
    chance = random.Random(7)
    lines = [HEADER]
    for number in range(6):
        cells = (
            chance.randbytes(16).hex(),
            base64.b32encode(chance.randbytes(20)).decode(),
            chance.randbytes(32).hex() if number % 2 else "",
            base64.b64encode(chance.randbytes(144)).decode(),
            f"id-{number}",
            str(number % 3),
            str(1000 + number),
            "image/png",
            "3",
            "Yes",
            "",
            '"a ""note"", with\nlines"',
        )
        lines.append(",".join(cells))
    text = "\n".join(lines) + "\n"
    keyed = {**OPTIONS, "columns.key": "id"}
    semicolon = {**OPTIONS, "delimiter": ";", "columns.key": "md5"}
    return [
        (text.encode(), OPTIONS),
        (text.encode("utf-8-sig").replace(b"\n", b"\r\n"), keyed),
        (text.replace(",", ";").encode("cp1252"), {**semicolon, "encoding": "cp1252"}),
        (text.encode("utf-16"), {**OPTIONS, "encoding": "utf-16"}),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("csv", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("csv", corpus(), TOKENS))
