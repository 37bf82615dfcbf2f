"""Writes a page of NCMEC entries of any size with made-up values, the same for the same seed.

The values are random bytes: they are nobody's hashes. Every entry has MD5, SHA-1, PhotoDNA and PDQ,
laid out as the documentation does, some 800 bytes in all. One in so many has feedback of other
members, which the reader takes more slowly. Memory does not grow with the number of entries.

    python -m loadtest.generate_ncmec --records 1000000 page.xml
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">
    <images count="%d" maxTimestamp="2023-06-07T02:59:49Z">
"""
_TAIL = """    </images>
</queryResult>
"""
_ENTRY = """        <image>
            <member id="%d">Example Member</member>
            <timestamp>2023-06-07T02:%02d:49Z</timestamp>
            <id>image%d</id>
            <classification>%s</classification>
            <fingerprints>
                <md5>%s</md5>
                <sha1>%s</sha1>
                <pdna>%s</pdna>
                <pdq>%s</pdq>
            </fingerprints>%s
        </image>
"""
_FEEDBACK = """
            <feedback lastUpdateTimestamp="2023-06-01T12:48:14Z">
                <affirmativeFeedback type="Md5" lastUpdateTimestamp="2023-06-01T12:48:14Z">
                    <members timestamp="2023-06-01T12:48:14Z">
                        <member id="7">Another Member</member>
                    </members>
                </affirmativeFeedback>
            </feedback>"""
_ENTRIES_AT_A_TIME = 2048
_MD5, _SHA1, _PHOTODNA, _PDQ = 16, 20, 144, 32
_BYTES_EACH = _MD5 + _SHA1 + _PHOTODNA + _PDQ
_CODES = ("A1", "A2", "B1", "B2")
_MEMBERS = 100


def write_ncmec(out: BinaryIO, *, records: int, seed: int = 0, feedback_every: int = 10) -> None:
    """Writes one page.

    Args:
        out: takes the bytes.
        records: how many entries to write.
        seed: the same seed gives the same bytes.
        feedback_every: every so-manieth entry has feedback; 0 for none.
    """
    rng = random.Random(seed)
    out.write((_HEAD % records).encode())
    for first in range(0, records, _ENTRIES_AT_A_TIME):
        numbers = range(first, min(first + _ENTRIES_AT_A_TIME, records))
        out.write("".join(_entries(rng, numbers, feedback_every)).encode())
    out.write(_TAIL.encode())


def _entries(rng: random.Random, numbers: range, feedback_every: int) -> Iterator[str]:
    noise = rng.randbytes(_BYTES_EACH * len(numbers))
    for row, number in enumerate(numbers):
        at = row * _BYTES_EACH
        md5 = noise[at : (at := at + _MD5)].hex()
        sha1 = noise[at : (at := at + _SHA1)].hex()
        photodna = noise[at : (at := at + _PHOTODNA)].hex()
        pdq = noise[at : at + _PDQ].hex()
        has_feedback = feedback_every and number % feedback_every == 0
        yield _ENTRY % (
            10 + number % _MEMBERS,
            number % 60,
            number,
            _CODES[noise[at] % len(_CODES)],
            md5,
            sha1,
            photodna,
            pdq,
            _FEEDBACK if has_feedback else "",
        )


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="file to write")
    parser.add_argument("--records", type=int, required=True, help="how many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--feedback-every", type=int, default=10, metavar="N", help="0 for none")
    arguments = parser.parse_args()
    with arguments.out.open("wb") as out:
        write_ncmec(
            out,
            records=arguments.records,
            seed=arguments.seed,
            feedback_every=arguments.feedback_every,
        )
    size = arguments.out.stat().st_size
    print(f"{arguments.records} entries, {size} bytes: {arguments.out}")


if __name__ == "__main__":
    main()
