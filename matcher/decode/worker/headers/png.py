# ruff: noqa: PLR2004 - lengths and offsets as the format's standard lays them down
"""PNG and APNG (W3C PNG, third edition): IHDR, acTL and IEND, by walking the chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matcher.decode.worker.exif import orientation_of
from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers.base import Header
from matcher.decode.worker.headers.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE_BYTES = 8
_IHDR_BYTES = 13


@dataclass(frozen=True, slots=True)
class Chunk:
    """One chunk: its name and where its content lies; `end` may lie beyond the file."""

    name: bytes
    start: int
    end: int


def chunks(data: bytes) -> Iterator[Chunk]:
    """Walks the chunks, the one that the end of the file cuts through included.

    Raises:
        NotDecodableError: there are too many.
    """
    budget = Budget("PNG")
    at = SIGNATURE_BYTES
    while at + 8 <= len(data):
        budget.take_parts()
        start = at + 8
        end = start + int.from_bytes(data[at : at + 4], "big")
        yield Chunk(data[at + 4 : at + 8], start, end)
        if data[at + 4 : at + 8] == b"IEND":
            return
        at = end + 4


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads size, number of frames and whether the end is there."""
    width = height = 0
    frames, whole, exif = 1, False, slice(0)
    for chunk in chunks(data):
        content = data[chunk.start : min(chunk.end, chunk.start + _IHDR_BYTES)]
        if chunk.name == b"IHDR" and len(content) == _IHDR_BYTES:
            width, height = int.from_bytes(content[:4], "big"), int.from_bytes(content[4:8], "big")
        elif chunk.name == b"acTL" and len(content) >= 8:
            frames = max(1, min(int.from_bytes(content[:4], "big"), frame_limit))
        elif chunk.name == b"eXIf":
            exif = slice(chunk.start, chunk.end)  # the last counts, and is read once
        elif chunk.name == b"IEND":
            whole = True
    if not width or not height:
        raise malformed("PNG without an image header")
    orientation = orientation_of(data[exif])
    return Header(width, height, frames=frames, truncated=not whole, orientation=orientation)
