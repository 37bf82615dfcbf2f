# ruff: noqa: PLR2004 - lengths and offsets as the format's standard lays them down
"""HEIC and AVIF (ISO 14496-12 and 23008-12): sizes, transformations and protection by the boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers.base import Header

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL_BOX_BYTES = 4  # version and flags before the children of a "meta" box
_PATH_TO_PROPERTIES = (b"meta", b"iprp", b"ipco")
_COUNTED_PROPERTIES = 65_536
_DECODER_COPIES = 2  # the codec's own planes beside the interleaved copy
_SEQUENCE_SIZE_AT = 24  # bytes into a visual sample entry


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the largest picture of the file, and what its properties say of it."""
    del frame_limit  # pictures of a container are counted by its decoder, which only lists them
    sizes: list[tuple[int, int]] = []
    transformed = False
    for name, start, end in _properties(data):
        if name == b"ispe" and end - start >= 12:
            sizes.append((_number(data, start + 4), _number(data, start + 8)))
        elif name in {b"irot", b"imir"}:
            transformed = True
    meta = [(start, end) for name, start, end in _children(data, 0, len(data)) if name == b"meta"]
    protected = any(
        name == b"ipro"
        for start, end in meta
        for name, _, _ in _children(data, start + _FULL_BOX_BYTES, end)
    )
    whole = _last_end(data) <= len(data)
    if not sizes:
        if b"moov" not in data[: 1 << 16] and not whole:
            raise malformed("cut off before the description of its picture")
        sizes = [_track_size(data)]
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    return Header(
        width,
        height,
        truncated=not whole,
        extra_bytes=width * height * 3 * _DECODER_COPIES,
        transformed=transformed,
        encrypted=protected,
    )


def _children(data: bytes, at: int, limit: int) -> Iterator[tuple[bytes, int, int]]:
    """Boxes between two places: name, start of content, end (which may lie beyond the file)."""
    for _ in range(_COUNTED_PROPERTIES):
        if at + 8 > min(limit, len(data)):
            return
        size, start = _number(data, at), at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = limit if size == 0 else at + size
        if end < start:
            return
        yield data[at + 4 : at + 8], start, end
        at = end


def _properties(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The children of meta/iprp/ipco."""
    spans = [(0, len(data))]
    for wanted in _PATH_TO_PROPERTIES:
        spans = [
            (start + (_FULL_BOX_BYTES if wanted == b"meta" else 0), end)
            for span in spans
            for name, start, end in _children(data, *span)
            if name == wanted
        ]
    for span in spans:
        yield from _children(data, *span)


def _track_size(data: bytes) -> tuple[int, int]:
    """Size by the sample entry of an image sequence that has no still picture."""
    for codec in (b"av01", b"hvc1", b"hev1"):
        at = data.find(codec, 32)  # beyond the list of brands
        if at >= 0:
            place = at + 4 + _SEQUENCE_SIZE_AT
            size = data[place : place + 4]
            return int.from_bytes(size[:2], "big"), int.from_bytes(size[2:], "big")
    raise malformed("container without a picture")


def _last_end(data: bytes) -> int:
    return max((end for _, _, end in _children(data, 0, len(data))), default=0)


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
