"""Fuzzes the unpacking of list files: mutated archives end in bytes or a typed error.

    python tests/fuzz/fuzz_unpacking.py --inputs 100000 --seed 1

runs the long version (some minutes on one core). `--only NUMBER` repeats one input.
"""

from __future__ import annotations

import gzip
import io
import random
import sys
import zipfile

import zstandard
from fuzzing import command_line, tried

from hashlists.errors import FormatError
from hashlists.formats.unpacking import descriptor_of, open_parts
from hashlists.limits import ImportLimits

#: Small, so that they are met.
LIMITS = ImportLimits(max_unpacked_bytes=200_000, max_parts=20)
_TEXT = bytes(random.Random(1).choices(b"0123456789abcdef\n", k=3000))
_TOKENS = (
    b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd", b"\x50\x2a\x4d\x18", b"\xff" * 4, b"\x00" * 4, b"\xff" * 8, b"a.csv",
)  # fmt: skip


def corpus():
    """Small whole files, packed in every way."""
    members = {"a.csv": _TEXT, "b/c.csv": _TEXT[:500], "é": b"x", "__MACOSX/x": b"", "d/": b""}
    zips = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, data in members.items():
                with archive.open(zipfile.ZipInfo(name), "w", force_zip64=name == "a.csv") as into:
                    into.write(data)
            archive.comment = b"a comment"
        zips.append(out.getvalue())
    frames = zstandard.ZstdCompressor(write_checksum=True).compress(_TEXT)
    skippable = b"\x55\x2a\x4d\x18\x03\x00\x00\x00abc"
    members = gzip.compress(_TEXT, mtime=0) + gzip.compress(_TEXT[:9], mtime=0)
    return [*zips, skippable + frames + zstandard.compress(_TEXT), members]


def mutated(files, seed, number):
    """Input `number` of a run: always the same for the same seed."""
    chance = random.Random(f"{seed}/{number}")
    data = bytearray(chance.choice(files))
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        at = chance.randrange(len(data) + 1)
        at = chance.choice((at, at % 80, max(len(data) - 1 - at % 400, 0)))
        kind = chance.randrange(5)
        if kind == 0:
            data[at : at + 1] = chance.randbytes(1)
        elif kind == 1:
            token = chance.choice(_TOKENS)
            data[at : at + len(token)] = token
        elif kind == 2:
            del data[at : at + chance.randrange(1, 40)]
        elif kind == 3:
            data[at:at] = data[at : at + chance.randrange(1, 200)]
        else:
            del data[at:]
    return bytes(data)


def read(data):
    """Unpacks one input and checks what came of it."""
    total = 0
    try:
        parts = open_parts(io.BytesIO(data), "x", LIMITS)
        assert len(parts.names) <= LIMITS.max_parts
        for part in parts:
            found = part.stream.read()
            total += len(found) if parts.compression else 0
            assert part.stream.seek(0) == 0
            assert part.stream.read(7) == found[:7]
            descriptor_of(part.stream)
    except FormatError as error:
        return "refused" if str(error) else "an error without words"
    assert total <= LIMITS.max_unpacked_bytes
    return "read"


def fuzz(inputs, seed, only=None):
    """The inputs that ended in anything else, and how often each outcome came."""
    files = corpus()

    def attempt(number):
        return read(mutated(files, seed, number))

    return tried(attempt, inputs, seed, only)


if __name__ == "__main__":
    sys.exit(command_line("unpacking", "Fuzzes the unpacking of list files.", fuzz))
