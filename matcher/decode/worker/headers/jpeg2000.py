"""JPEG 2000 (ISO 15444-1): the size in the codestream, and in the box around it."""

from __future__ import annotations

from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers.base import Header

_CODESTREAM = b"\xff\x4f\xff\x51"
_END = b"\xff\xd9"
_SIZ_BYTES = 40  # from the start of the codestream to its number of components
_SAMPLE_BYTES = 4  # OpenJPEG decodes every component to 32-bit integers


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the larger of both sizes, the decoder's memory, and whether the end is there."""
    del frame_limit
    at = data.find(_CODESTREAM)
    if at < 0 or at + _SIZ_BYTES + 2 > len(data):
        raise malformed("JPEG 2000 without a codestream")
    size = [_number(data, at + 8 + 4 * i) for i in range(8)]
    width, height = size[0] - size[2], size[1] - size[3]
    tile_pixels = min(size[4], size[0]) * min(size[5], size[1])
    components = int.from_bytes(data[at + _SIZ_BYTES : at + _SIZ_BYTES + 2], "big")
    if width <= 0 or height <= 0 or not components:
        raise malformed("JPEG 2000 with a damaged size segment")
    box_width, box_height = _box_size(data, at)
    return Header(
        max(width, box_width),
        max(height, box_height),
        truncated=_END not in data[max(at, len(data) - 64) :],
        extra_bytes=tile_pixels * components * _SAMPLE_BYTES,
    )


def _box_size(data: bytes, end: int) -> tuple[int, int]:
    """Width and height by the image header box; zeros for a bare codestream."""
    at = data.find(b"ihdr", 0, end)
    return (_number(data, at + 8), _number(data, at + 4)) if at >= 0 else (0, 0)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
