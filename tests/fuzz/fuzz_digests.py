"""Fuzzes the reader of digests in text: mutated files end in a result or a typed error.

    python tests/fuzz/fuzz_digests.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import random
import sys

from list_fuzzing import main, run

TOKENS = (
    b"\n", b"\r\n", b"\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b" ", b"  ", b" *", b"\t", b"\\",
    b"#", b"|", b"|0000000000000001", b"MD5 (", b") = ", b"SHA-256", b"0" * 32, b"0" * 40,
    b"d41d8cd98f00b204e9800998ecf8427e", b"f" * 64, b"x" * 300, b'"', b",", b"(" * 20,
    b'"file_id","hashset_id","file_name","directory","hash","file_size"',
)  # fmt: skip
HASHKEEPER = (
    '"file_id","hashset_id","file_name","directory","hash","file_size","date_modified",'
    '"time_modified","time_zone","comments","date_accessed","time_accessed"'
)


def corpus():
    """Small whole files of each family, in several encodings."""
    chance = random.Random(7)
    md5s = [chance.randbytes(16).hex() for _ in range(6)]
    sha1s = [chance.randbytes(20).hex() for _ in range(6)]
    sha256s = [chance.randbytes(32).hex() for _ in range(6)]
    summed = "".join(f"{each}  folder/a b.jpg\n" for each in (*md5s, *sha256s[:2]))
    tagged = "".join(f"SHA1 (a (b) = c.jpg) = {each}\n" for each in sha1s)
    index = "0" * 41 + "|md5sum\n" + "0" * 40 + "1|name\n"
    index += "".join(f"{each.upper()}|{16 * at:016d}\n" for at, each in enumerate(md5s))
    keeper = [f'{n},7,"a, b","C:\\",{each},{n},"","","","c","",""' for n, each in enumerate(md5s)]
    return [
        (summed.encode(), {}),
        (summed.encode("utf-16"), {}),
        (tagged.encode("utf-8-sig"), {}),
        (index.encode(), {}),
        ("\r\n".join(["MD5", *md5s, ""]).encode(), {}),
        ("\n".join([*sha256s, ""]).encode(), {"kind": "sha256"}),
        ("\n".join([*md5s, *sha1s, *sha256s, ""]).encode(), {"kind": "by_length"}),
        ("\n".join([HASHKEEPER, *keeper, ""]).encode("latin-1"), {}),
    ]


def fuzz(inputs, seed):
    """For the everyday suite: findings and outcomes."""
    return run("digests", corpus(), TOKENS, inputs=inputs, seed=seed)


if __name__ == "__main__":
    sys.exit(main("digests", corpus(), TOKENS))
