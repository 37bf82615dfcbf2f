# ruff: noqa: PLR2004 - lengths and offsets as the format's standard lays them down
"""JPEG XL (ISO 18181): the size in the codestream, bare or in boxes.

The plug-in decodes while it opens, so the size has to be known before.
"""

from __future__ import annotations

from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers.base import Header
from matcher.decode.worker.headers.budget import Budget

_CODESTREAM = b"\xff\x0a"
_SIZE_BITS = (9, 13, 18, 30)
#: Width as a share of the height, by the three bits that name a usual shape.
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SAMPLE_BYTES = 4  # the decoder works in 32-bit floats
_CHANNELS = 4
_HEADER_BYTES = 16


class _Bits:
    """Reads numbers of a few bits, lowest bit first."""

    def __init__(self, data: bytes) -> None:
        self._number = int.from_bytes(data, "little")

    def take(self, count: int) -> int:
        value = self._number & ((1 << count) - 1)
        self._number >>= count
        return value


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the size of the picture."""
    del frame_limit  # the plug-in gives the first frame only
    at = _codestream_start(data)
    if at is None:
        raise malformed("JPEG XL without a codestream")
    bits = _Bits(data[at + 2 : at + 2 + _HEADER_BYTES])
    small = bits.take(1)
    height = _side(bits, small)
    ratio = bits.take(3)
    if ratio:
        upper, lower = _RATIOS[ratio - 1]
        width = height * upper // lower
    else:
        width = _side(bits, small)
    extra = width * height * _CHANNELS * _SAMPLE_BYTES
    return Header(width, height, extra_bytes=extra)


def _side(bits: _Bits, small: int) -> int:
    return 8 * (bits.take(5) + 1) if small else 1 + bits.take(_SIZE_BITS[bits.take(2)])


def _codestream_start(data: bytes) -> int | None:
    """Where the codestream begins: at once, or in the first box that holds (a part of) it."""
    if data.startswith(_CODESTREAM):
        return 0
    budget, at = Budget("JPEG XL"), 0
    while at + 8 <= len(data):
        budget.take_parts()
        size, name, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        if name in {b"jxlc", b"jxlp"}:
            start += 4 if name == b"jxlp" else 0
            return start if data[start : start + 2] == _CODESTREAM else None
        if size < 8:
            return None
        at += size
    return None
