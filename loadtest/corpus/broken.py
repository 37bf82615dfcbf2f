"""What is sent beside pictures: other files, broken ones, and bombs that are small to send.

A bomb says in its header how much it would unfold to; the PNG ones hold it as well. Nothing here
harms a decoder that judges headers.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from loadtest.corpus.pictures import encode, painted
from matcher.model import Decision, NotHashableReason

if TYPE_CHECKING:
    from collections.abc import Iterator

_SMALL: Final = (640, 481)
_HUGE: Final = 60_000  # pixels along a side; one bit each are 450 MB
#: Just below the default limit of pixels (2^27).
_HEAVY: Final = 11_500
_ROWS: Final = 1_000  # packed at a time

Broken = tuple[str, bytes, Decision, NotHashableReason]


def bad_files() -> Iterator[Broken]:
    """Files that cannot be hashed: name, bytes, decision and reason."""
    small = painted(901, _SMALL)
    jpeg, png = encode(small, "jpeg"), encode(small, "png")
    noise = np.random.default_rng(902).integers(0, 256, 100_000, np.uint8).tobytes()
    flat = Image.new("RGB", _SMALL, (90, 120, 150))
    unsupported, malformed = NotHashableReason.UNSUPPORTED, NotHashableReason.MALFORMED
    for name, content, reason in (
        ("note.txt", b"This is no picture.\n" * 200, unsupported),
        ("page.html", b"<!DOCTYPE html><html><body>no picture</body></html>\n", unsupported),
        ("paper.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<<>>\nendobj\n" * 40, unsupported),
        ("noise.bin", b"\x00" + noise, unsupported),
        ("header-only.jpg", jpeg[:300], malformed),
        ("header-only.png", png[:33], malformed),
        ("header-only.webp", encode(small, "webp")[:40], malformed),
        ("flat.jpg", encode(flat, "jpeg"), NotHashableReason.FEATURELESS),
    ):
        yield name, content, Decision.NOT_HASHABLE, reason


def bombs() -> Iterator[Broken]:
    """Files that would take more than they look: name, bytes, decision and reason."""
    small = painted(903, _SMALL)
    over = NotHashableReason.OVER_LIMIT
    for name, content, reason in (
        ("bomb.png", png_of_zeros(_HUGE, _HUGE), over),
        ("bomb.jpg", _sized_jpeg(encode(small, "jpeg")), over),
        ("bomb.gif", _sized_gif(encode(small, "gif")), over),
        ("bomb.jp2", _sized_jpeg2000(small), over),
        ("heavy.png", png_of_zeros(_HEAVY, _HEAVY), NotHashableReason.FEATURELESS),
    ):
        yield name, content, Decision.NOT_HASHABLE, reason


def png_of_zeros(width: int, height: int) -> bytes:
    """A black PNG of one bit a pixel, packed a thousandfold.

    Rows are packed once and repeated: a full flush leaves nothing that the next rows refer to.
    """
    row = bytes(1 + (width + 7) // 8)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = packer.compress(row * _ROWS) + packer.flush(zlib.Z_FULL_FLUSH)
    last = packer.compress(row * (height % _ROWS)) + packer.flush()
    check = 1
    for at in range(0, height, _ROWS):
        check = zlib.adler32(row * min(_ROWS, height - at), check)
    body = b"\x78\xda" + block * (height // _ROWS) + last + struct.pack(">I", check)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = (_chunk(b"IHDR", header), _chunk(b"IDAT", body), _chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def _sized_jpeg(file: bytes) -> bytes:
    """The file with the largest height and width in its frame header (ITU-T T.81, B.2.2)."""
    at = file.index(b"\xff\xc0")
    return file[: at + 5] + struct.pack(">HH", 65_500, 65_500) + file[at + 9 :]


def _sized_gif(file: bytes) -> bytes:
    """The file with the largest screen and first picture (GIF89a, 18 and 20)."""
    large = struct.pack("<HH", 65_535, 65_535)
    table = 3 << ((file[10] & 7) + 1) if file[10] & 0x80 else 0
    at = file.index(b",", 13 + table)
    return file[:6] + large + file[10 : at + 5] + large + file[at + 9 :]


def _sized_jpeg2000(picture: Image.Image) -> bytes:
    """A file with the largest width and height in its SIZ segment (ITU-T T.800, A.5.1)."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG2000")
    file = stream.getvalue()
    at = file.index(b"\xff\x51") + 6
    huge = struct.pack(">II", 0x7FFFFFFF, 0x7FFFFFFF)
    box = file.find(b"ihdr")
    if box >= 0:
        file = file[: box + 4] + huge + file[box + 12 :]
    return file[:at] + huge + file[at + 8 :]
