"""A second chance for files that viewers show and Pillow refuses.

Nothing here guesses at pixels: parts that no picture needs are left out, and lengths that a cut
made wrong are mended, so that the decoder gets as far as the bytes go.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from matcher.decode.worker.headers import jpeg, png, webp
from matcher.decode.worker.sniff import Format

if TYPE_CHECKING:
    from collections.abc import Iterator

#: JPEG segments that change no pixel: TEM, APP1..APP13 and APP15 (APP14 tells the colours), COM.
_JPEG_NEEDLESS = frozenset({0x01, *range(0xE1, 0xEE), 0xEF, 0xFE})
_PNG_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
_IEND = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_LEAST_SHARE = 0.1  # of a file; of less, all that renders would be made of zeros
#: Major brands by which the decoders know their files; a file may name its own first.
_KNOWN_BRANDS = {Format.AVIF: (b"avif", b"avis"), Format.HEIC: (b"heic", b"heix", b"mif1")}


def attempts(image_format: Format, data: bytes, *, truncated: bool, limit: int) -> Iterator[bytes]:
    """The versions of a file to try in turn, the most faithful first.

    Args:
        image_format: what it is.
        data: the file as received.
        truncated: whether its structure says that it was cut off.
        limit: bytes that a version may have.
    """
    if image_format in _KNOWN_BRANDS:
        yield _with_known_brand(image_format, data)
    elif image_format is Format.WEBP and truncated:
        yield _filled_webp(data, limit)
    else:
        yield data
    if image_format is Format.JPEG:
        yield _bare_jpeg(data)
    elif image_format is Format.PNG:
        yield _bare_png(data)


def _with_known_brand(image_format: Format, data: bytes) -> bytes:
    known = _KNOWN_BRANDS[image_format]
    return data if data[8:12] in known else data[:8] + known[0] + data[12:]


def _filled_webp(data: bytes, limit: int) -> bytes:
    """Zeros in place of what is missing: the decoder takes nothing short of the declared length."""
    declared = webp.declared_bytes(data)
    if declared > limit or len(data) < _LEAST_SHARE * declared:
        return data
    return data.ljust(declared, b"\0")


def _bare_jpeg(data: bytes) -> bytes:
    """Without comments and application data (thumbnails, further pictures, profiles)."""
    kept, copied = [], 0
    for segment in jpeg.segments(data):
        if segment.marker in _JPEG_NEEDLESS:
            kept.append(data[copied : segment.start])
            copied = segment.end
    return b"".join(kept) + data[copied:]


def _bare_png(data: bytes) -> bytes:
    """The plain still picture alone, with checksums made anew and the last chunk as cut."""
    parts = [data[: png.SIGNATURE_BYTES]]
    for chunk in png.chunks(data):
        if chunk.name in _PNG_NEEDED:
            content = data[chunk.start : chunk.end]
            checksum = zlib.crc32(content, zlib.crc32(chunk.name))
            parts += [
                len(content).to_bytes(4, "big"),
                chunk.name,
                content,
                checksum.to_bytes(4, "big"),
            ]
    return b"".join([*parts, _IEND])
