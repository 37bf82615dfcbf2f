"""GIF (87a, 89a): canvas, frames and trailer, by walking the blocks."""

from __future__ import annotations

import re

from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers.base import Header
from matcher.decode.worker.headers.budget import Budget

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_SCREEN_BYTES = 13
_DESCRIPTOR_BYTES = 10
#: Pillow and browsers step over stray bytes between blocks.
_NEXT_BLOCK = re.compile(rb"[\x21\x2c\x3b]")


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the canvas and counts the frames.

    A frame may reach beyond the screen that the file declares, and Pillow then grows the canvas:
    for the first frame that is the size given here, for any other it is told apart, so that a
    monstrous later frame does not keep the first from being hashed.
    """
    if len(data) < _SCREEN_BYTES:
        raise malformed("GIF without a screen descriptor")
    width, height = first = _word(data, 6), _word(data, 8)
    at = _SCREEN_BYTES + _table_bytes(data[10])
    frames, whole = 0, False
    budget = Budget("GIF")
    while (found := _NEXT_BLOCK.search(data, at)) is not None:
        budget.take_parts()
        at = found.start()
        if data[at] == _IMAGE and at + _DESCRIPTOR_BYTES <= len(data):
            if frames == frame_limit:
                whole = True  # the rest is not looked at, so nothing can be said against it
                break
            frames += 1
            width = max(width, _word(data, at + 1) + _word(data, at + 5))
            height = max(height, _word(data, at + 3) + _word(data, at + 7))
            first = (width, height) if frames == 1 else first
            at += _DESCRIPTOR_BYTES + _table_bytes(data[at + 9]) + 1
        elif data[at] == _EXTENSION:
            at += 2
        elif data[at] == _TRAILER:
            whole = True
            break
        else:
            at += 1  # a descriptor that the end of the file cuts through
            continue
        at = _after_blocks(data, at, budget)
    if not frames:
        raise malformed("GIF without an image")
    return Header(*first, later_pixels=width * height, frames=frames, truncated=not whole)


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _table_bytes(flags: int) -> int:
    """Bytes of the colour table that a descriptor's flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int, budget: Budget) -> int:
    """The place after a run of sub-blocks; beyond the file where it is cut off."""
    steps, size = 0, len(data)
    for steps in range(budget.steps_left + 2):  # noqa: B007 - counted below, once for all
        if at >= size or not (length := data[at]):
            break
        at += length + 1
    budget.take_steps(steps)
    return at + 1
