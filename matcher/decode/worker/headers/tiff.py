# ruff: noqa: PLR2004 - lengths and offsets as the format's standard lays them down
"""TIFF and BigTIFF: sizes, tiles and the reach of strips, by walking the directories."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers.base import Header

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_BITS, _PHOTOMETRIC, _ORIENTATION = 258, 262, 274
_WHITE_IS_ZERO = 0
_OFFSETS, _COUNTS = (273, 324), (279, 325)
_WANTED = frozenset(
    {
        *(_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT),
        *(_BITS, _PHOTOMETRIC, _ORIENTATION),
        *_OFFSETS,
        *_COUNTS,
    }
)
_TYPE_BYTES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8}  # BYTE, SHORT, LONG, IFD, LONG8
_CHANNELS = 4  # bytes of a pixel in the buffer of a tile, at the usual 8 bits a sample

_Numbers = Mapping[int, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class _Layout:
    """How numbers and directories lie in this file: byte order, and the widths of BigTIFF."""

    order: Literal["little", "big"]
    first: int
    count_bytes: int
    value_bytes: int

    @property
    def entry_bytes(self) -> int:
        return 4 + 2 * self.value_bytes

    def number(self, data: bytes, at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], self.order)


_CLASSIC = (4, 2, 4)
_BIG = (8, 8, 8)


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the first page's size, counts pages, and tells whether any strip is cut off.

    Sizes of further pages are judged when they are reached: Pillow takes no memory before.
    """
    layout = _layout(data)
    pages, whole = _directories(data, layout, frame_limit)
    if not pages:
        raise malformed("TIFF without a directory")
    width, height = (_first(pages[0], tag) for tag in (_WIDTH, _HEIGHT))
    if not width or not height:
        raise malformed("TIFF without a size")
    tile_bytes = max(_first(page, _TILE_WIDTH) * _first(page, _TILE_HEIGHT) for page in pages)
    return Header(
        width,
        height,
        frames=len(pages),
        truncated=not whole or any(_reach(page) > len(data) for page in pages),
        extra_bytes=tile_bytes * _CHANNELS,
        orientation=_first(pages[0], _ORIENTATION) or 1,
        sample_bits=12 if _first(pages[0], _BITS) == 12 else 16,
        white_is_zero=_PHOTOMETRIC in pages[0] and _first(pages[0], _PHOTOMETRIC) == _WHITE_IS_ZERO,
    )


def _layout(data: bytes) -> _Layout:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    at, count_bytes, value_bytes = _BIG if 43 in data[2:4] else _CLASSIC
    first = int.from_bytes(data[at : at + value_bytes], order)
    return _Layout(order, first, count_bytes, value_bytes)


def _directories(data: bytes, layout: _Layout, limit: int) -> tuple[list[_Numbers], bool]:
    """The wanted tags of every page up to the limit, and whether no directory was cut off."""
    pages: list[_Numbers] = []
    seen: set[int] = set()
    at = layout.first
    while at and at not in seen and len(pages) < limit:
        seen.add(at)
        entries = layout.number(data, at, layout.count_bytes)
        start = at + layout.count_bytes
        end = start + entries * layout.entry_bytes
        if end + layout.value_bytes > len(data):
            # Pillow reads a directory as far as it goes; so does this.
            entries = max(0, (len(data) - start) // layout.entry_bytes)
            if entries:
                pages.append(_page(data, layout, start, entries))
            return pages, False
        pages.append(_page(data, layout, start, entries))
        at = layout.number(data, end, layout.value_bytes)
    return pages, True


def _page(data: bytes, layout: _Layout, start: int, entries: int) -> _Numbers:
    tags: dict[int, tuple[int, ...]] = {}
    for i in range(entries):
        at = start + i * layout.entry_bytes
        tag = layout.number(data, at, 2)
        if tag in _WANTED:
            tags[tag] = _values(data, layout, at)
    return tags


def _values(data: bytes, layout: _Layout, at: int) -> tuple[int, ...]:
    """The numbers of one entry; empty where its type is none of whole numbers."""
    size = _TYPE_BYTES.get(layout.number(data, at + 2, 2), 0)
    count = layout.number(data, at + 4, layout.value_bytes)
    place = at + 4 + layout.value_bytes
    if size * count > layout.value_bytes:
        place = layout.number(data, place, layout.value_bytes)
    if not size or place + size * count > len(data):
        return ()
    return tuple(layout.number(data, place + size * i, size) for i in range(count))


def _first(page: _Numbers, tag: int) -> int:
    return next(iter(page.get(tag, ())), 0)


def _reach(page: _Numbers) -> int:
    """The place where the furthest strip or tile ends."""
    pairs = (
        zip(page.get(offsets, ()), page.get(counts, ()), strict=False)
        for offsets, counts in zip(_OFFSETS, _COUNTS, strict=True)
    )
    return max((offset + count for pair in pairs for offset, count in pair), default=0)
