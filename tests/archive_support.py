"""Harmless archives for tests, honest and hostile ones."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib


def zipped(members, *, method=zipfile.ZIP_DEFLATED, comment=b""):
    """A ZIP archive of `{name: bytes}`."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        archive.comment = comment
    return out.getvalue()


def overlapping_zip(*, members=50, kernel=b"0" * 100_000):
    """Many directory entries for the one and same file: each alone is fine."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(kernel) + packed.flush()
    crc = zlib.crc32(kernel)
    name = b"00000"
    sizes = struct.pack("<LLL", crc, len(data), len(kernel))
    local = b"PK\x03\x04" + struct.pack("<HHHHH", 20, 0, 8, 0, 33) + sizes
    local += struct.pack("<HH", len(name), 0) + name + data
    directory = b""
    for number in range(members):
        other = b"%05d" % number
        directory += b"PK\x01\x02" + struct.pack("<HHHHHH", 20, 20, 0, 8, 0, 33) + sizes
        directory += struct.pack("<HHHHHLL", len(other), 0, 0, 0, 0, 0, 0) + other
    end = struct.pack("<HHHHLLH", 0, 0, members, members, len(directory), len(local), 0)
    return local + directory + b"PK\x05\x06" + end
