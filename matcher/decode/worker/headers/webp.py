# ruff: noqa: PLR2004 - lengths and offsets as the format's standard lays them down
"""WebP (RIFF container, VP8, VP8L): canvas, frames and length."""

from __future__ import annotations

from matcher.decode.worker.exif import orientation_of
from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers.base import Header
from matcher.decode.worker.headers.budget import Budget

_FILE_HEADER_BYTES = 12
_CANVAS_COPIES = 3  # libwebp keeps two canvases, and Pillow takes a copy as bytes
_CHANNELS = 4


def declared_bytes(data: bytes) -> int:
    """Length of the whole file as its header declares it."""
    return 8 + int.from_bytes(data[4:8], "little")


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the canvas from the first chunk and counts the frames."""
    size = _canvas(data)
    if size is None:
        raise malformed("WebP without an image header")
    width, height = size
    frames, exif, at = 0, slice(0), _FILE_HEADER_BYTES
    budget = Budget("WebP")
    while at + 8 <= len(data):
        budget.take_parts()
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"ANMF":
            frames += 1
        elif data[at : at + 4] == b"EXIF":
            exif = slice(at + 8, at + 8 + length)  # the last counts, and is read once
        at += 8 + length + (length & 1)
    return Header(
        width,
        height,
        frames=min(max(frames, 1), frame_limit),
        truncated=len(data) < declared_bytes(data),
        extra_bytes=width * height * _CHANNELS * _CANVAS_COPIES,
        orientation=orientation_of(data[exif]),
    )


def _canvas(data: bytes) -> tuple[int, int] | None:
    chunk, body = data[12:16], data[20:30]
    if chunk == b"VP8X" and len(body) == 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and len(body) == 10 and body[3:6] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return width & 0x3FFF, height & 0x3FFF
    return None
