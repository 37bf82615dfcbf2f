"""Fuzzes the archives among scanned objects: mutated ones end in members and typed problems.

    python tests/fuzz/fuzz_scan_archives.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import gzip
import io
import random
import sys
import tarfile
import zipfile

from fuzzing import command_line, tried

from matcher.scan.model import Content, Listed
from matcher.scan.sources.archives import ArchiveLimits, ArchiveProblem, members

#: The first lets the whole corpus pass; the others are met.
LIMITS = (
    ArchiveLimits(member_bytes=2000, total_bytes=200_000, slack_bytes=50_000, members=20),
    ArchiveLimits(member_bytes=100, members=3),
    ArchiveLimits(total_bytes=3_200),
    ArchiveLimits(slack_bytes=1_000, ratio=1),
)
_DATA = random.Random(1).randbytes(3000)
_TOKENS = (
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"\x1f\x8b\x08",
    b"ustar\x0000", b"ustar  \x00", b"\xff" * 4, b"\x00" * 4, b"\xff" * 8, b"L", b"x", b"S", b"g",
    b"00000000017", b"\x80" + b"\xff" * 11, b"30 mtime=1\n", b"GNU.sparse.major=1\n",
)  # fmt: skip
_HEADERS = (124, 136, 148, 156, 257, 345, 386, 482)  # places in a header of tar that matter


def corpus():
    """Small whole archives of every kind."""
    files = {"a.jpg": _DATA, "b/c.png": _DATA[:500], "é": b"x", "long" * 60: b"y", "empty": b""}
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data in files.items():
                with archive.open(zipfile.ZipInfo(name), "w", force_zip64=name == "a.jpg") as into:
                    into.write(data)
            archive.comment = b"a comment"
        found.append(out.getvalue())
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=form) as archive:
            for name, data in files.items():
                if form == tarfile.USTAR_FORMAT and len(name) > 100:
                    continue
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        found.append(out.getvalue())
    packed = [gzip.compress(data, 1, mtime=0) for data in found[2:]]
    return [*found, *packed, gzip.compress(_DATA, mtime=0) + gzip.compress(_DATA[:9], mtime=0)]


def mutated(files, seed, number):
    """Input `number` of a run: always the same for the same seed.

    Some are packed only once they were mutated, or else check sums would end most at once; headers
    of tar are given the right sum for the same reason.
    """
    chance = random.Random(f"{seed}/{number}")
    data = bytearray(chance.choice(files))
    repack = data.startswith(b"\x1f\x8b") and chance.random() < 0.7
    if repack:
        data = bytearray(gzip.decompress(data))
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        at = chance.randrange(len(data) + 1)
        block = at - at % 512
        at = chance.choice(
            (at, at % 80, max(len(data) - 1 - at % 400, 0), block + chance.choice(_HEADERS))
        )
        kind = chance.randrange(5)
        if kind == 0:
            data[at : at + 1] = chance.randbytes(1)
        elif kind == 1:
            token = chance.choice(_TOKENS)
            data[at : at + len(token)] = token
        elif kind == 2:
            del data[at : at + chance.choice((1, 7, 512))]
        elif kind == 3:
            data[at:at] = data[at : at + chance.choice((1, 100, 512))]
        else:
            del data[at:]
    if chance.random() < 0.7:
        _mend(data)
    return gzip.compress(data, 1) if repack else bytes(data)


def _mend(data):
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b"ustar":
            data[start + 148 : start + 156] = b" " * 8
            total = sum(data[start : start + 512])
            data[start + 148 : start + 156] = b"%06o\0 " % total


def read(data, limits=LIMITS[0]):
    """Opens one input and checks what came of it."""
    total, outcome = 0, "whole"
    for count, each in enumerate(members(Content(Listed("x.gz"), data), limits), 1):
        assert count <= limits.members + 1
        if isinstance(each, ArchiveProblem):
            assert each.detail
            outcome = each.reason.value
            continue
        assert each.path
        assert (each.data is None) == (each.size > limits.member_bytes)
        assert (each.digests is None) != (each.data is None)
        assert each.size == (each.digests.size if each.data is None else len(each.data))
        total += each.size
    assert total <= limits.total_bytes
    return outcome


def fuzz(inputs, seed, only=None):
    """The inputs that ended in anything else, and how often each outcome came."""
    files = corpus()

    def attempt(number):
        return read(mutated(files, seed, number), LIMITS[number % len(LIMITS)])

    return tried(attempt, inputs, seed, only)


if __name__ == "__main__":
    sys.exit(command_line("archives", "Fuzzes the archives among scanned objects.", fuzz))
