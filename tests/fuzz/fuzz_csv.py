"""Fuzzes the CSV reader and validation: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_csv.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import base64
import csv
import io
import random
import sys

from list_fuzzing import main, run

from hashlists.formats import own_layout

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
    own = io.StringIO(newline="")
    writer = csv.writer(own)
    writer.writerow(own_layout.COLUMNS)
    for number in range(4):
        cells = dict.fromkeys(own_layout.COLUMNS, "")
        cells |= {"md5": chance.randbytes(16).hex(), "key": f"id:{number}", "source_id": "'=x"}
        cells["further_hashes"] = f"pdq:{chance.randbytes(32).hex()}:crop%3A0.02"
        cells |= {"releasable_to": "a|b%7C", "expires_at": "2030-01-01T00:00:00Z", "scheme": "x"}
        cells |= {"category": "1", "retracted": "yes" if number == 2 else "", "baseline": "no"}
        writer.writerow([cells[name] for name in own_layout.COLUMNS])
    status = {
        "columns.md5": "md5",
        "columns.key": "id",
        "columns.md5.2": "note",
        "separator.md5": "space",
        "columns.retracted": "class",
        "columns.retraction_reason": "series",
        "columns.releasable_to": "type",
        "retracted_values": "2",
        "listed_values": "0,1",
    }
    plain = text.replace('"a ""note"", with\nlines"', "")
    keyed = {**OPTIONS, "columns.key": "id"}
    semicolon = {**OPTIONS, "delimiter": ";", "columns.key": "md5"}
    return [
        (text.encode(), OPTIONS),
        (text.encode("utf-8-sig").replace(b"\n", b"\r\n"), keyed),
        (text.replace(",", ";").encode("cp1252"), {**semicolon, "encoding": "cp1252"}),
        (text.encode("utf-16"), {**OPTIONS, "encoding": "utf-16"}),
        (own.getvalue().encode(), {"columns": "hashwarden"}),
        (plain.encode(), status),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("csv", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("csv", corpus(), TOKENS))
