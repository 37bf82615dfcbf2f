# ruff: noqa: PLR2004 - lengths and offsets as the format's standard lays them down
"""JPEG (ITU T.81): frame size, scans and end of image, by walking the marker segments."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matcher.decode.worker.exif import orientation_of
from matcher.decode.worker.failures import malformed, over_limit
from matcher.decode.worker.headers.base import Header
from matcher.decode.worker.headers.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOS, _EOI, _APP1, _APP2 = 0xDA, 0xD9, 0xE1, 0xE2
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ALONE = frozenset({0x01, 0xD8})  # markers without a length, besides restarts
#: The next marker that is neither a stuffed zero byte, nor a restart, nor fill.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
#: Baseline, extended and progressive by Huffman's coding.
_USUAL_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_USUAL_COMPONENTS = frozenset({1, 3})
_COEFFICIENT_BYTES = 2
_SAMPLE_BITS = 8
_MOST_SCANS = 4096  # beyond any real file
#: Beyond the usual ten; a plain file of which libjpeg-turbo warns is decoded twice.
_PLAIN_SCANS = 64


@dataclass(frozen=True, slots=True)
class Segment:
    """One marker segment: its code, and where marker, content and end lie."""

    marker: int
    start: int
    content: int
    end: int


def segments(data: bytes) -> Iterator[Segment]:
    """Walks the segments of the first image in a file, ending with EOI or where the file ends.

    After a start of scan, the entropy-coded data is skipped.

    Raises:
        NotDecodableError: there are too many.
    """
    budget = Budget("JPEG")
    at, scanned = 2, False
    while (found := _NEXT_MARKER.search(data, at)) is not None:
        budget.take_parts()
        start, marker = found.start(), data[found.start() + 1]
        if not scanned:
            budget.take_steps(start - at)
            scanned = marker == _SOS
        if marker == _EOI or marker in _ALONE:
            yield Segment(marker, start, start + 2, start + 2)
            if marker == _EOI:
                return
            at = start + 2
            continue
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        if end < start + 4 or end > len(data):
            return
        yield Segment(marker, start, start + 4, end)
        at = end


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads size, number of scans, memory for coefficients and whether the end is there."""
    del frame_limit  # one image; the further images of an MPO are judged as they are reached
    width = height = scans = components = coefficient_bytes = 0
    buffered = complete = plain = several = False
    exif = b""
    for segment in segments(data):
        if segment.marker == _EOI:
            complete = True
        elif segment.marker == _APP1 and not exif and data.startswith(b"Exif", segment.content):
            exif = data[segment.content : segment.end]
        elif segment.marker == _APP2 and data.startswith(b"MPF\0", segment.content):
            several = True
        elif segment.marker in _FRAMES and not width:
            content = data[segment.content : segment.end]
            width, height, coefficient_bytes = _frame(content)
            components = content[5]
            buffered = segment.marker in _PROGRESSIVE
            plain = segment.marker in _USUAL_FRAMES and content[0] == _SAMPLE_BITS
            plain = plain and components in _USUAL_COMPONENTS
        elif segment.marker == _SOS:
            if not width:
                break
            scans += 1
            buffered = buffered or data[segment.content] < components
            if scans > _MOST_SCANS or (not buffered and data.endswith(b"\xff\xd9")):
                complete = True  # of a single scan, the last two bytes tell without a search
                break
    if not width or not height or not scans:
        raise malformed("JPEG without a frame header or without image data")
    _check_scans(scans if buffered else 1)
    return Header(
        width,
        height,
        truncated=not complete,
        stored_pixels=width * height,
        scans=scans if buffered else 1,
        extra_bytes=coefficient_bytes if buffered else 0,
        orientation=orientation_of(exif),
        plain=plain and not several and scans <= _PLAIN_SCANS,
    )


def _check_scans(scans: int) -> None:
    if scans > _MOST_SCANS:
        raise over_limit("JPEG", scans, _MOST_SCANS, "scans")


def _frame(content: bytes) -> tuple[int, int, int]:
    """Width, height and bytes of all coefficients from the content of a frame header."""
    if len(content) < 6 or len(content) < 6 + 3 * content[5] or not content[5]:
        raise malformed("JPEG with a damaged frame header")
    height, width = int.from_bytes(content[1:3], "big"), int.from_bytes(content[3:5], "big")
    factors = [content[7 + 3 * i] for i in range(content[5])]
    widest = max(factor >> 4 for factor in factors) or 1
    highest = max(factor & 15 for factor in factors) or 1
    shares = sum((factor >> 4) * (factor & 15) for factor in factors) / (widest * highest)
    return width, height, int(width * height * shares * _COEFFICIENT_BYTES)
