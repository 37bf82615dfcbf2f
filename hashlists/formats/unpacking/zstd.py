"""Unpacks Zstandard files (RFC 8878): frames one behind the other, skippable ones among them.

The library ends a cut frame without a word, so the frames' own structure is walked first: block
after block up to the last byte. A frame that needs a dictionary is refused, since none is at hand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

import zstandard

from hashlists.errors import FormatError

if TYPE_CHECKING:
    from hashlists.formats.unpacking.stream import Unpacker

MAGIC: Final = b"\x28\xb5\x2f\xfd"
#: Skippable frames start with one of 16 magics: 0x184D2A50 to 0x184D2A5F, little-endian.
_SKIPPABLE_TAIL: Final = b"\x2a\x4d\x18"
_SKIPPABLE_HEADS: Final = range(0x50, 0x60)
_MAX_HEADER: Final = 18
_MAX_WINDOW: Final = 128 * 1024 * 1024
_MAX_BLOCK: Final = 128 * 1024
_RLE, _RESERVED = 1, 3
_CUT: Final = "the zstd file is cut off; get it again from its source"
_DAMAGED: Final = "the zstd file is damaged, or something stands behind its end"


def is_zstd(head: bytes) -> bool:
    """Whether a file that begins so is packed with Zstandard."""
    return head.startswith(MAGIC) or _is_skippable(head)


def begin(stream: BinaryIO) -> Unpacker:
    """Unpacks from the first byte on; `require_whole` comes first."""
    stream.seek(0)
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    reader: Unpacker = decompressor.stream_reader(stream, read_across_frames=True, closefd=False)
    return reader


def require_whole(stream: BinaryIO) -> None:
    """Walks over all frames without unpacking them.

    Raises:
        FormatError: one is cut off, damaged, needs a dictionary or too much memory, or something
            else follows.
    """
    size = stream.seek(0, 2)
    at = 0
    while at < size:
        stream.seek(at)
        head = stream.read(_MAX_HEADER)
        if _is_skippable(head):
            at += 8 + int.from_bytes(_exactly(head[4:8], 4), "little")
        elif head.startswith(MAGIC):
            at = _end_of_frame(stream, at, head)
        else:
            raise FormatError(_DAMAGED)
    if at > size:
        raise FormatError(_CUT)


def _end_of_frame(stream: BinaryIO, at: int, head: bytes) -> int:
    """Where the frame that starts at `at` ends."""
    try:
        parameters = zstandard.get_frame_parameters(head)
        header_bytes = zstandard.frame_header_size(head)
    except zstandard.ZstdError:
        raise FormatError(_CUT if len(head) < _MAX_HEADER else _DAMAGED) from None
    if parameters.dict_id:
        raise FormatError(
            "the zstd file was packed with a dictionary, which is not at hand; pack it without one"
        )
    if parameters.window_size > _MAX_WINDOW:
        raise FormatError(
            f"the zstd file needs a window of {parameters.window_size:,} bytes, more than "
            f"{_MAX_WINDOW:,}; pack it without --long or --ultra"
        )
    at += header_bytes
    last = False
    while not last:
        stream.seek(at)
        block = int.from_bytes(_exactly(stream.read(3), 3), "little")
        last, kind, size = bool(block & 1), block >> 1 & 3, block >> 3
        if kind == _RESERVED or size > _MAX_BLOCK:
            raise FormatError(_DAMAGED)
        at += 3 + (1 if kind == _RLE else size)
    return at + (4 if parameters.has_checksum else 0)


def _is_skippable(head: bytes) -> bool:
    return head[:1] != b"" and head[0] in _SKIPPABLE_HEADS and head[1:4] == _SKIPPABLE_TAIL


def _exactly(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise FormatError(_CUT)
    return data


__all__ = ["MAGIC", "begin", "is_zstd", "require_whole"]
