"""BMP (Windows bitmap, OS/2 1.x and 2.x) and the bare bitmaps inside icons."""

from __future__ import annotations

from matcher.decode.worker.failures import malformed, over_limit
from matcher.decode.worker.headers.base import Header

FILE_HEADER_BYTES = 14
_CORE_HEADER_BYTES = 12
_UNCOMPRESSED = frozenset({0, 3})  # plain, and plain with bit fields
_RUN_LENGTHS = frozenset({1, 2})
_MOST_RUN_BYTES = 8 * 1024**2  # Pillow decodes runs at some three million bytes a second


def bitmap_size(data: bytes, at: int) -> tuple[int, int]:
    """Width and height from the bitmap header at `at`, whichever way up the rows run.

    Raises:
        NotDecodableError: there is no room for a header, or too much is coded in runs.
    """
    header_bytes = int.from_bytes(data[at : at + 4], "little")
    if header_bytes == _CORE_HEADER_BYTES and at + _CORE_HEADER_BYTES <= len(data):
        return _number(data, at + 4, 2), _number(data, at + 6, 2)
    if at + 16 > len(data):
        raise malformed("bitmap without a header")
    if _number(data, at + 16, 4) in _RUN_LENGTHS and len(data) - at > _MOST_RUN_BYTES:
        raise over_limit("bitmap in runs", len(data) - at, _MOST_RUN_BYTES, "bytes")
    height = int.from_bytes(data[at + 8 : at + 12], "little", signed=True)
    return _number(data, at + 4, 4), abs(height)


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the size and whether all rows are there."""
    del frame_limit
    width, height = bitmap_size(data, FILE_HEADER_BYTES)
    if not width or not height:
        raise malformed("bitmap without pixels")
    return Header(width, height, truncated=_pixel_end(data, width, height) > len(data))


def _pixel_end(data: bytes, width: int, height: int) -> int:
    """Where the pixels end by the header; 0 for run-length coding, whose length may be unsaid."""
    start = _number(data, 10, 4)
    if _number(data, FILE_HEADER_BYTES, 4) == _CORE_HEADER_BYTES:
        bits, compression = _number(data, 24, 2), 0
    else:
        bits, compression = _number(data, 28, 2), _number(data, 30, 4)
    if compression in _UNCOMPRESSED:
        return start + (width * bits + 31) // 32 * 4 * height
    stored = _number(data, 34, 4)
    return start + stored if stored else 0


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")
