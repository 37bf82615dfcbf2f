"""Files that are small to send and would be enormous to unfold, of every format known for it.

Each says or holds far more pixels, frames, tiles, pages or text than it has bytes. Some are refused
from their headers; the others are looked at within limits of time and memory.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Final

from PIL import Image

from loadtest.corpus.broken import png_of_zeros
from loadtest.hostile.layout import Number, layout_of
from loadtest.hostile.seeds import seeds

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HUGE: Final = 60_000  # pixels along a side
#: Tiles of a grid along a side, at most (ISO/IEC 23008-12, 6.6.2.3).
MOST_TILES: Final = 256

_PILLOW_NAMES: Final = {"heic": "HEIF", "avif": "AVIF"}


def bombs() -> dict[str, bytes]:
    """The files by names that tell their format and trick."""
    whole = seeds()
    return dict(
        [
            *_png(whole),
            *_gif(whole),
            *_webp(whole),
            *_tiff(whole),
            *_of_boxes(whole),
            *_jpeg2000(whole),
        ]
    )


def _png(whole: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    yield "png pixels", png_of_zeros(_HUGE, _HUGE)
    yield "png claims", _claiming(whole["png RGB"], 0x7FFFFFFF)
    file, zeros = whole["png RGB"], zlib.compress(bytes(1 << 26), 9)
    header = 8 + 25
    for kind, before in ((b"zTXt", b"Comment\0\0"), (b"iCCP", b"icc\0\0")):
        yield f"png {kind.decode()}", file[:header] + _chunk(kind, before + zeros) + file[header:]
    animation = whole["png animation"]
    control, *_, last = (
        piece for piece in layout_of(animation).pieces if animation[piece[0] + 4] in b"f"
    )
    frames = animation[control[0] : control[1]] + animation[last[0] : last[1]]
    start = last[1]
    yield "png frames", animation[:start] + frames * 5_000 + animation[start:]


def _gif(whole: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    yield "gif claims", _claiming(whole["gif"], 0xFFFF)
    animation = whole["gif animation"]
    screen = struct.pack("<HH", 11_000, 11_000)
    large = animation[:6] + screen + animation[10:]
    start, end = layout_of(large).pieces[-1]
    yield "gif frames", large[:start] + large[start:end] * 5_000 + large[start:]


def _webp(whole: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    animation = whole["webp animation"]
    yield "webp claims", _claiming(animation, 0xFFFFFE)
    canvas = animation.index(b"VP8X") + 12
    large = animation[:canvas] + (10_999).to_bytes(3, "little") * 2 + animation[canvas + 6 :]
    start, end = next(each for each in layout_of(large).pieces if large[each[0] :][:4] == b"ANMF")
    many = large[:start] + large[start:end] * 5_000 + large[start:]
    yield "webp frames", many[:4] + struct.pack("<I", len(many) - 8) + many[8:]


def _tiff(whole: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    yield "tiff claims", _claiming(whole["tiff RGB"], 0x7FFFFFFF)
    side = 11_000
    packed = zlib.compress(bytes(side * side), 9)
    yield "tiff pixels", _tiff_of(_entries(side, side, packing=8, at=8, size=len(packed)), packed)
    pages, size = 20_000, 2 + 12 * 9 + 4
    data = bytearray(struct.pack("<2sHI", b"II", 42, 8))
    for page in range(pages):
        following = 8 + (page + 1) * size if page + 1 < pages else 0
        data += _directory(_entries(1000, 1000, packing=1, at=8, size=1_000_000), following)
    yield "tiff pages", bytes(data)
    looping = _directory(_entries(8, 8, packing=1, at=8, size=64), 8)
    yield "tiff loop", struct.pack("<2sHI", b"II", 42, 8) + looping
    tiled = [*_entries(64, 64, packing=8, at=8, size=len(packed)), (322, 4, 1 << 20)]
    yield "tiff tile", _tiff_of(sorted([*tiled, (323, 4, 1 << 20)]), packed)


def _of_boxes(whole: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    for name, codec in (("heic", b"hvc1"), ("avif", b"av01")):
        yield f"{name} claims", _claiming(whole[name], 0x7FFFFFFF)
        file = tile_of(name)
        yield f"{name} grid", grid_of(file, codec, MOST_TILES)
        yield f"{name} grid that claims to be small", grid_of(file, codec, MOST_TILES, told=64)


def _jpeg2000(whole: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
    file = whole["jpeg2000 stream"]
    yield "jpeg2000 claims", _claiming(whole["jpeg2000 RGB"], 0x7FFFFFFF)
    size, origin = struct.pack(">II", 11_000, 11_000), bytes(8)
    at = file.index(b"\xff\x51") + 6
    for name, tile in (("tiles", 1), ("tile", 11_000), ("few tiles", 44)):
        tiles = struct.pack(">II", tile, tile)
        yield f"jpeg2000 {name}", file[:at] + size + origin + tiles + origin + file[at + 32 :]
    layers = bytearray(file)
    coding = file.index(b"\xff\x52")
    layers[coding + 6 : coding + 8] = b"\xff\xff"
    yield "jpeg2000 layers", bytes(layers)


def _claiming(file: bytes, value: int) -> bytes:
    """The file with the width and height of its first picture set."""
    data = bytearray(file)
    for each in layout_of(file).sizes[:2]:
        _set(data, each, min(value, (1 << 8 * each.size) - 1))
    if file.startswith(b"\x89PNG"):
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


def _set(data: bytearray, number: Number, value: int) -> None:
    data[number.at : number.at + number.size] = value.to_bytes(number.size, number.order)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


_Entry = tuple[int, int, int]  # tag, type, value


def _entries(width: int, height: int, *, packing: int, at: int, size: int) -> list[_Entry]:
    """Those of a grey page of one strip (TIFF 6.0, section 4)."""
    numbers = {256: width, 257: height, 258: 8, 259: packing, 262: 1, 273: at, 277: 1}
    return [(tag, 4, value) for tag, value in (numbers | {278: height, 279: size}).items()]


def _directory(entries: list[_Entry], following: int) -> bytes:
    packed = (struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    return struct.pack("<H", len(entries)) + b"".join(packed) + struct.pack("<I", following)


def _tiff_of(entries: list[_Entry], content: bytes) -> bytes:
    header = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    return header + content + _directory(entries, 0)


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I", 8 + len(content)) + kind + content


def _full(kind: bytes, *parts: bytes, version: int = 0) -> bytes:
    return _box(kind, struct.pack(">I", version << 24), *parts)


def tile_of(name: str) -> bytes:
    """A picture of the least size that a tile may have; `heic` or `avif`."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(file, _PILLOW_NAMES[name])
    return file.getvalue()


def grid_of(file: bytes, codec: bytes, tiles: int, *, told: int | None = None) -> bytes:
    """A picture that consists of one tile, over and over (ISO/IEC 23008-12, 6.6.2.3).

    Args:
        file: whose picture is the tile.
        codec: of the tile.
        tiles: along a side.
        told: width and height as the properties of the whole tell them; what is true by default.
    """
    configuration = _found(file, b"hvcC" if codec == b"hvc1" else b"av1C")
    tile = _found(file, b"ispe")
    content = _found(file, b"mdat")[8:]
    side = tiles * int.from_bytes(tile[12:16], "big")
    told = told or side
    grid = struct.pack(">BBBBII", 0, 1, tiles - 1, tiles - 1, side, side)
    entries = [
        _full(b"infe", struct.pack(">HH", item, 0), kind, b"\0", version=2)
        for item, kind in ((1, codec), (2, b"grid"))
    ]
    count = min(tiles * tiles, 0xFFFF)
    inputs = struct.pack(">HH", 2, count) + struct.pack(">H", 1) * count
    properties = _box(
        b"ipco",
        *(configuration, tile, _full(b"ispe", struct.pack(">II", told, told))),
        _full(b"pixi", b"\3\x08\x08\x08"),
    )
    of_items = struct.pack(">I", 2) + bytes([0, 1, 3, 0x81, 2, 4]) + bytes([0, 2, 2, 3, 4])
    head = _box(b"ftyp", b"heic" if codec == b"hvc1" else b"avif", bytes(4), b"mif1", b"miaf")

    def described(at: int) -> bytes:
        places = b"".join(
            struct.pack(">HHHHII", item, method, 0, 1, place, size)
            for item, method, place, size in ((1, 0, at, len(content)), (2, 1, 0, len(grid)))
        )
        return _full(
            b"meta",
            _full(b"hdlr", bytes(4), b"pict", bytes(13)),
            _full(b"pitm", struct.pack(">H", 2)),
            _full(b"iloc", b"\x44\x00", struct.pack(">H", 2), places, version=1),
            _full(b"iinf", struct.pack(">H", 2), *entries),
            _full(b"iref", _box(b"dimg", inputs)),
            _box(b"iprp", properties, _full(b"ipma", of_items)),
            _box(b"idat", grid),
        )

    at = len(head) + len(described(0)) + 8
    return head + described(at) + _box(b"mdat", content)


def _found(file: bytes, kind: bytes) -> bytes:
    """The first box of a kind, its header included."""
    start = file.index(kind) - 4
    return file[start : start + int.from_bytes(file[start : start + 4], "big")]


__all__ = ["MOST_TILES", "bombs", "grid_of", "tile_of"]
