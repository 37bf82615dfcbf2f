# ruff: noqa: PLR2004 - lengths and offsets as the format's standard lays them down
"""HEIC and AVIF (ISO 14496-12 and 23008-12): sizes, transformations and protection by the boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers.base import Header
from matcher.decode.worker.headers.budget import Budget

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL_BOX_BYTES = 4  # version and flags before the children of a "meta" box
_PATH_TO_PROPERTIES = (b"iprp", b"ipco")  # within "meta"
_DECODER_COPIES = 2  # the codec's own planes beside the interleaved copy
_SEQUENCE_SIZE_AT = 24  # bytes into a visual sample entry

#: Name, start of content, end (which may lie beyond the file).
_Box = tuple[bytes, int, int]


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the largest picture of the file, and what its properties say of it."""
    del frame_limit  # pictures of a container are counted by its decoder, which only lists them
    sizes: list[tuple[int, int]] = []
    transformed = False
    budget = Budget("HEIC or AVIF")
    top = list(_children(data, 0, len(data), budget))
    metas = [(start + _FULL_BOX_BYTES, end) for name, start, end in top if name == b"meta"]
    protected = any(
        name == b"ipro" for meta in metas for name, _, _ in _children(data, *meta, budget)
    )
    for name, start, end in _properties(data, metas, budget):
        if name == b"ispe" and end - start >= 12:
            sizes.append((_number(data, start + 4), _number(data, start + 8)))
        elif name in {b"irot", b"imir"}:
            transformed = True
    whole = max((end for _, _, end in top), default=0) <= len(data)
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


def _children(data: bytes, at: int, limit: int, budget: Budget) -> Iterator[_Box]:
    """Boxes between two places."""
    while at + 8 <= min(limit, len(data)):
        budget.take_parts()
        size, start = _number(data, at), at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = limit if size == 0 else at + size
        if end < start:
            return
        yield data[at + 4 : at + 8], start, end
        at = end


def _properties(data: bytes, metas: list[tuple[int, int]], budget: Budget) -> Iterator[_Box]:
    """The children of meta/iprp/ipco."""
    spans = metas
    for wanted in _PATH_TO_PROPERTIES:
        spans = [
            (start, end)
            for span in spans
            for name, start, end in _children(data, *span, budget)
            if name == wanted
        ]
    for span in spans:
        yield from _children(data, *span, budget)


def _track_size(data: bytes) -> tuple[int, int]:
    """Size by the sample entry of an image sequence that has no still picture."""
    for codec in (b"av01", b"hvc1", b"hev1"):
        at = data.find(codec, 32)  # beyond the list of brands
        if at >= 0:
            place = at + 4 + _SEQUENCE_SIZE_AT
            size = data[place : place + 4]
            return int.from_bytes(size[:2], "big"), int.from_bytes(size[2:], "big")
    raise malformed("container without a picture")


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
