"""Fuzzes the reader of NSRLFile.txt: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_nsrl_csv.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import random
import sys

from list_fuzzing import main, run

V2 = '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"'
V1 = '"SHA-1","FileName","FileSize","ProductCode","OpSystemCode","MD4","MD5","CRC32","SpecialCode"'
TOKENS = (
    b'"', b'","', b",", b"\n", b"\r\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b" ", b'""',
    b"-1", b"99999999999999999999", b"0" * 40, b"DA39A3EE5E6B4B0D3255BFEF95601890AFD80709",
    b"SHA-1", b"FileName", b"x" * 300, b",,,,,,,", V2.encode(), b"INSERT INTO x",
)  # fmt: skip


def corpus():
    """Small whole files of both versions, in several encodings."""
    chance = random.Random(7)
    second, first = [V2], [V1]
    for number in range(6):
        sha1, md5 = chance.randbytes(20).hex().upper(), chance.randbytes(16).hex().upper()
        name = ("a.txt", 'odd "name", "x"', "été.dll")[number % 3]
        second.append(f'"{sha1}","{md5}","0F1E2D3C","{name}",{number},3095,"WIN",""')
        first.append(f'"{sha1}","{name}",{number},3,"NT","{"1" * 32}","{md5}","0F1E2D3C",""')
    texts = ["\r\n".join([*lines, ""]) for lines in (second, first)]
    return [
        *((text.encode("latin-1"), {}) for text in texts),
        (texts[0].encode("utf-8-sig"), {}),
        (texts[0].encode("utf-16"), {}),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("nsrl-csv", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("nsrl-csv", corpus(), TOKENS))
