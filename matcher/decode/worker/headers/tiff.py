# ruff: noqa: PLR2004 - lengths and offsets as the format's standard lays them down
"""TIFF and BigTIFF: sizes, tiles and the reach of strips, by walking the directories.

Directories and arrays are named by their places, so many may lie in one: a small file could stand
for any number of them. What is read is therefore counted over the whole file: the entries of all
directories as parts, and the bytes of all arrays, of which no honest file has more than its length.
Pillow, which takes every array of a page into memory, is kept from the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from matcher.decode.worker.failures import malformed, over_limit
from matcher.decode.worker.headers.base import Header
from matcher.decode.worker.headers.budget import MOST_PARTS, Budget

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 322, 323
_BITS, _PHOTOMETRIC, _ORIENTATION = 258, 262, 274
_WHITE_IS_ZERO = 0
_NUMBERS = frozenset(
    {_WIDTH, _HEIGHT, _TILE_WIDTH, _TILE_HEIGHT, _BITS, _PHOTOMETRIC, _ORIENTATION}
)
_REACHES = ((273, 279), (324, 325))  # offsets and lengths, of strips and of tiles
_ARRAYS = frozenset(tag for pair in _REACHES for tag in pair)
_TYPE_BYTES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8}  # BYTE, SHORT, LONG, IFD, LONG8
#: Of the other types: ASCII, RATIONAL, the signed ones, floats, SLONG8 and IFD8.
_OTHER_BYTES = {2: 1, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 17: 8, 18: 8}
_ALL_BYTES = _TYPE_BYTES | _OTHER_BYTES
_SHARED_BYTES = 2**20  # of arrays that pages may have in common
_CHANNELS = 4  # bytes of a pixel in the buffer of a tile, at the usual 8 bits a sample


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


@dataclass(frozen=True, slots=True)
class _Array:
    """Where the numbers of an entry lie, all of them within the file."""

    place: int
    size: int
    count: int


@dataclass(slots=True)
class _Page:
    """What is kept of a directory: first numbers by tag, and arrays by tag, not yet unpacked."""

    numbers: dict[int, int] = field(default_factory=dict)
    arrays: dict[int, _Array] = field(default_factory=dict)


@dataclass(slots=True)
class _Pages:
    """What is kept of all pages.

    Attributes:
        first: numbers of the first page; None before there is one.
        count: pages.
        tile_pixels: pixels of the largest tile.
        whole: no directory, strip or tile is cut off.
    """

    first: dict[int, int] | None = None
    count: int = 0
    tile_pixels: int = 0
    whole: bool = True

    def add(self, numbers: dict[int, int], *, whole: bool) -> None:
        self.first = numbers if self.first is None else self.first
        self.count += 1
        tile_pixels = numbers.get(_TILE_WIDTH, 0) * numbers.get(_TILE_HEIGHT, 0)
        self.tile_pixels = max(self.tile_pixels, tile_pixels)
        self.whole = self.whole and whole


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the first page's size, counts pages, and tells whether any strip is cut off.

    Sizes of further pages are judged when they are reached: Pillow takes no memory before.
    """
    pages = _Reader(data).pages(frame_limit)
    if pages.first is None:
        raise malformed("TIFF without a directory")
    first = pages.first
    width, height = first.get(_WIDTH, 0), first.get(_HEIGHT, 0)
    if not width or not height:
        raise malformed("TIFF without a size")
    return Header(
        width,
        height,
        frames=pages.count,
        truncated=not pages.whole,
        extra_bytes=pages.tile_pixels * _CHANNELS,
        orientation=first.get(_ORIENTATION, 0) or 1,
        sample_bits=12 if first.get(_BITS) == 12 else 16,
        white_is_zero=first.get(_PHOTOMETRIC) == _WHITE_IS_ZERO,
    )


def _layout(data: bytes) -> _Layout:
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    at, count_bytes, value_bytes = _BIG if 43 in data[2:4] else _CLASSIC
    first = int.from_bytes(data[at : at + value_bytes], order)
    return _Layout(order, first, count_bytes, value_bytes)


class _Reader:
    """Walks the directories of one file, within one budget."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._layout: Final = _layout(data)
        self._budget = Budget("TIFF")
        self._array_bytes = 0

    def pages(self, limit: int) -> _Pages:
        """Reads every page up to the limit.

        Raises:
            NotDecodableError: over the budget.
        """
        data, layout, pages = self._data, self._layout, _Pages()
        seen: set[int] = set()
        at = layout.first
        while at and at not in seen and pages.count < limit:
            seen.add(at)
            entries = layout.number(data, at, layout.count_bytes)
            start = at + layout.count_bytes
            end = start + entries * layout.entry_bytes
            cut = end + layout.value_bytes > len(data)
            if cut:
                # Pillow reads a directory as far as it goes; so does this.
                entries = max(0, (len(data) - start) // layout.entry_bytes)
                pages.whole = False
            if entries or not cut:
                page = self._page(start, entries)
                pages.add(page.numbers, whole=self._reach(page) <= len(data))
            at = 0 if cut else layout.number(data, end, layout.value_bytes)
        return pages

    def _page(self, start: int, entries: int) -> _Page:
        self._budget.take_parts(1 + entries)
        page, layout = _Page(), self._layout
        for at in range(start, start + entries * layout.entry_bytes, layout.entry_bytes):
            array = self._array(at)
            tag = layout.number(self._data, at, 2)
            if tag in _ARRAYS:
                page.arrays[tag] = array
            elif tag in _NUMBERS:
                page.numbers[tag] = self._first(array)
        return page

    def _array(self, at: int) -> _Array:
        """Where the numbers of an entry are; none where its type is none of whole numbers."""
        data, layout = self._data, self._layout
        kind = layout.number(data, at + 2, 2)
        size = _ALL_BYTES.get(kind, 0)
        count = layout.number(data, at + 4, layout.value_bytes)
        place = at + 4 + layout.value_bytes
        if size * count > layout.value_bytes:
            place = layout.number(data, place, layout.value_bytes)
            self._take_array(min(size * count, max(0, len(data) - place)))
        if kind not in _TYPE_BYTES or place + size * count > len(data):
            return _Array(0, 1, 0)
        return _Array(place, size, count)

    def _take_array(self, size: int) -> None:
        self._array_bytes += size
        limit = len(self._data) + _SHARED_BYTES
        if self._array_bytes > limit:
            raise over_limit("TIFF", self._array_bytes, limit, "bytes of arrays or more")

    def _first(self, array: _Array) -> int:
        return self._layout.number(self._data, array.place, array.size) if array.count else 0

    def _reach(self, page: _Page) -> float:
        """The place where the furthest strip or tile of a page ends."""
        reach = 0.0
        for tags in _REACHES:
            offsets, lengths = (page.arrays.get(tag) for tag in tags)
            if offsets is None or lengths is None:
                continue
            count = min(offsets.count, lengths.count)
            if count > MOST_PARTS:
                raise over_limit("TIFF", count, MOST_PARTS, "strips or tiles")
            if count:
                # As floats: exact up to 2^53, and beyond that they do not wrap.
                ends = self._unpacked(offsets, count) + self._unpacked(lengths, count)
                reach = max(reach, float(ends.max()))
        return reach

    def _unpacked(self, array: _Array, count: int) -> NDArray[np.float64]:
        kind = f"{'<' if self._layout.order == 'little' else '>'}u{array.size}"
        return np.frombuffer(self._data, kind, count, array.place).astype(np.float64)
