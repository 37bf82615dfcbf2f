"""Where the parts of a file lie: what a mutation that knows the format takes hold of.

Only as much of each format is read as that needs, and any file is read: what makes no sense ends
the reading. Formats: PNG (W3C, 5), JPEG (ITU-T T.81, B), GIF89a, RIFF (WebP), TIFF 6.0 and its
64-bit form, files of boxes (ISO/IEC 14496-12, and JPEG 2000's), JPEG 2000 codestreams (ITU-T T.800,
A), BMP, ICO.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_PIECES: Final = 400
_DEEPEST: Final = 8  # boxes within boxes
Order = Literal["big", "little"]


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number without a sign that stands in a file.

    Attributes:
        at, size: where, in bytes.
        order: of its bytes.
    """

    at: int
    size: int
    order: Order


@dataclass(slots=True)
class Layout:
    """What was found in a file.

    Attributes:
        pieces: chunks, segments, boxes, blocks: each from where to where.
        lengths: numbers that say how long or how many something is.
        sizes: numbers of pixels, tiles or frames.
        places: numbers that say where something lies in the file.
    """

    pieces: list[tuple[int, int]] = field(default_factory=list)
    lengths: list[Number] = field(default_factory=list)
    sizes: list[Number] = field(default_factory=list)
    places: list[Number] = field(default_factory=list)

    def add_sizes(self, order: Order, size: int, *at: int) -> None:
        """Notes numbers of pixels, tiles or frames."""
        self.sizes += [Number(each, size, order) for each in at]


def layout_of(data: bytes) -> Layout:
    """What lies where in a file; empty where its format is not known."""
    found = Layout()
    for prefixes, read in _READERS:
        if data.startswith(prefixes):
            read(data, found)
    if data[4:8] in {b"ftyp", b"jP  ", b"JXL "}:
        _read_boxes(data, 0, len(data), found)
    length = len(data)
    for numbers in (found.lengths, found.sizes, found.places):
        numbers[:] = [each for each in numbers if each.at >= 0 and each.at + each.size <= length]
    return found


def _read_png(data: bytes, found: Layout) -> None:
    at = 8
    while at + 12 <= len(data) and len(found.pieces) < _MOST_PIECES:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            return
        found.pieces.append((at, end))
        found.lengths.append(Number(at, 4, "big"))
        if kind == b"IHDR":
            found.add_sizes("big", 4, at + 8, at + 12)
        elif kind == b"acTL":
            found.add_sizes("big", 4, at + 8)
        elif kind == b"fcTL":
            found.add_sizes("big", 4, at + 12, at + 16, at + 20, at + 24)
        at = end


def _read_jpeg(data: bytes, found: Layout) -> None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and len(found.pieces) < _MOST_PIECES:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        end = min(len(data), at + 2 + length)
        if marker == 0xDA:  # what follows a scan's header is its data
            while end + 1 < len(data) and not (
                data[end] == 0xFF and data[end + 1] not in {0, *range(0xD0, 0xD8)}
            ):
                end += 1
        found.pieces.append((at, end))
        found.lengths.append(Number(at + 2, 2, "big"))
        if marker in {0xC0, 0xC1, 0xC2}:
            found.add_sizes("big", 2, at + 5, at + 7)
            found.lengths.append(Number(at + 9, 1, "big"))
        if marker == 0xE1 and data[at + 4 : at + 8] == b"Exif":
            _read_tiff(data[:end], found, at + 10)
        at = end


def _read_gif(data: bytes, found: Layout) -> None:
    found.add_sizes("little", 2, 6, 8)
    at = 13 + (3 << ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    while at < len(data) and len(found.pieces) < _MOST_PIECES:
        start = at
        if data[at] == 0x2C and at + 10 < len(data):
            found.add_sizes("little", 2, at + 1, at + 3, at + 5, at + 7)
            packed = data[at + 9]
            at += 10 + (3 << ((packed & 7) + 1) if packed & 0x80 else 0) + 1
        elif data[at] == 0x21:
            at += 2
        else:
            return
        while at < len(data) and data[at]:
            found.lengths.append(Number(at, 1, "little"))
            at += 1 + data[at]
        at += 1
        found.pieces.append((start, min(at, len(data))))


def _read_riff(data: bytes, found: Layout) -> None:
    found.lengths.append(Number(4, 4, "little"))
    at = 12
    while at + 8 <= len(data) and len(found.pieces) < _MOST_PIECES:
        kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + length + length % 2
        found.lengths.append(Number(at + 4, 4, "little"))
        if end > len(data):
            return
        found.pieces.append((at, end))
        if kind == b"VP8X":
            found.add_sizes("little", 3, at + 12, at + 15)
        elif kind == b"ANMF":
            found.add_sizes("little", 3, at + 8, at + 11, at + 14, at + 17)
        elif kind == b"VP8 ":
            found.add_sizes("little", 2, at + 14, at + 16)
        elif kind == b"VP8L":
            found.add_sizes("little", 4, at + 9)
        at = end


def _read_tiff(data: bytes, found: Layout, base: int = 0) -> None:
    """Directories and their entries; also those of a JPEG's Exif, from `base` on."""
    order: Order = "little" if data[base : base + 2] == b"II" else "big"
    sign = "<" if order == "little" else ">"
    big = data[base + 2 : base + 4] in {b"+\0", b"\0+"}
    count_size, entry_size, value_size = (8, 20, 8) if big else (2, 12, 4)
    link = base + (8 if big else 4)
    seen: set[int] = set()
    while link + value_size <= len(data) and len(found.pieces) < _MOST_PIECES:
        found.places.append(Number(link, value_size, order))
        at = base + int.from_bytes(data[link : link + value_size], order)
        if at in seen or at <= base or at + count_size > len(data):
            return
        seen.add(at)
        count = int.from_bytes(data[at : at + count_size], order)
        found.lengths.append(Number(at, count_size, order))
        for number in range(min(count, 64)):
            entry = at + count_size + number * entry_size
            if entry + entry_size > len(data):
                return
            found.pieces.append((entry, entry + entry_size))
            (tag,) = struct.unpack_from(f"{sign}H", data, entry)
            found.lengths.append(Number(entry + 2, 2, order))
            found.lengths.append(Number(entry + 4, value_size, order))
            value = Number(entry + 4 + value_size, value_size, order)
            is_size = tag in {256, 257, 277, 278, 322, 323}
            (found.sizes if is_size else found.places).append(value)
        link = at + count_size + count * entry_size


#: Boxes that hold boxes, and how many bytes stand before those.
_HOLDERS: Final = {
    **dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf"), 0),
    **dict.fromkeys((b"iprp", b"ipco", b"jp2h", b"grpl", b"edts"), 0),
    b"meta": 4,
    b"iref": 4,
    b"iinf": 6,
    b"stsd": 8,
}


def _read_boxes(data: bytes, at: int, stop: int, found: Layout, depth: int = 0) -> None:
    while at + 8 <= stop and len(found.pieces) < _MOST_PIECES:
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        found.lengths.append(Number(at, 4, "big"))
        end = stop if length == 0 else at + length
        if length == 1 or (length and length < 8) or end > stop:
            return
        found.pieces.append((at, end))
        if kind == b"ispe":
            found.add_sizes("big", 4, at + 12, at + 16)
        elif kind == b"ihdr":
            found.add_sizes("big", 4, at + 8, at + 12)
        elif kind == b"tkhd":
            found.add_sizes("big", 2, end - 8, end - 4)
        elif kind in {b"iloc", b"stco", b"co64"}:
            found.places += [Number(each, 4, "big") for each in range(at + 12, end - 3, 2)]
        elif kind in {b"stts", b"stsc", b"stsz", b"iinf", b"ipma"}:
            found.lengths += [Number(each, 4, "big") for each in range(at + 12, min(end, at + 36))]
        elif kind == b"jp2c":
            _read_codestream(data, found, at + 8)
        if kind in _HOLDERS and depth < _DEEPEST:
            _read_boxes(data, at + 8 + _HOLDERS[kind], end, found, depth + 1)
        at = end


def _read_codestream(data: bytes, found: Layout, start: int = 0) -> None:
    """JPEG 2000's main header, and its parts of tiles."""
    at = start + 2
    while at + 4 <= len(data) and data[at] == 0xFF and len(found.pieces) < _MOST_PIECES:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        end = min(len(data), at + 2 + length)
        if marker == 0x51:  # SIZ
            found.add_sizes("big", 4, *range(at + 6, at + 38, 4))
            found.lengths.append(Number(at + 38, 2, "big"))
        elif marker == 0x52:  # COD: layers, and levels of the transform
            found.lengths += [Number(at + 6, 2, "big"), Number(at + 9, 1, "big")]
        elif marker == 0x90:  # SOT: the tile's number, and how long its part is
            found.lengths += [Number(at + 4, 2, "big"), Number(at + 6, 4, "big")]
            end = at + max(12, int.from_bytes(data[at + 6 : at + 10], "big"))
        found.lengths.append(Number(at + 2, 2, "big"))
        found.pieces.append((at, min(end, len(data))))
        at = end


def _read_bitmap(_: bytes, found: Layout) -> None:
    found.add_sizes("little", 4, 18, 22)
    found.lengths += [Number(at, 4, "little") for at in (2, 10, 14, 34, 46)]
    found.lengths += [Number(at, 2, "little") for at in (26, 28, 30)]


def _read_icon(data: bytes, found: Layout) -> None:
    found.lengths.append(Number(4, 2, "little"))
    for at in range(6, min(len(data) - 16, 6 + 16 * (data[4] if len(data) > 4 else 0)) + 1, 16):
        found.pieces.append((at, at + 16))
        found.add_sizes("little", 1, at, at + 1)
        found.lengths.append(Number(at + 8, 4, "little"))
        found.places.append(Number(at + 12, 4, "little"))


_READERS: Final[tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes, Layout], None]], ...]] = (
    (b"\x89PNG", _read_png),
    (b"\xff\xd8", _read_jpeg),
    (b"GIF8", _read_gif),
    (b"RIFF", _read_riff),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _read_tiff),
    (b"\xff\x4f\xff\x51", _read_codestream),
    (b"BM", _read_bitmap),
    (b"\0\0\1\0", _read_icon),
)

__all__ = ["Layout", "Number", "layout_of"]
