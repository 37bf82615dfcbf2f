"""ICO: the true sizes of the pictures in an icon, which its directory may understate.

Pillow decodes an icon while opening it, so all that can be judged has to be judged here.
"""

from __future__ import annotations

from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers import bmp
from matcher.decode.worker.headers.base import Header

_DIRECTORY_BYTES, _ENTRY_BYTES = 6, 16
_PNG = b"\x89PNG\r\n\x1a\n"


def read_header(data: bytes, frame_limit: int) -> Header:
    """Reads the largest width and height of any picture in the icon."""
    count = int.from_bytes(data[4:6], "little")
    entries = [
        data[at : at + _ENTRY_BYTES]
        for at in range(_DIRECTORY_BYTES, _DIRECTORY_BYTES + count * _ENTRY_BYTES, _ENTRY_BYTES)
        if at + _ENTRY_BYTES <= len(data)
    ]
    if not entries:
        raise malformed("icon without pictures")
    places = [
        (int.from_bytes(entry[12:16], "little"), int.from_bytes(entry[8:12], "little"))
        for entry in entries
    ]
    # An entry that lies beyond the end of the file takes no memory; Pillow will say what it is.
    sizes = [_picture_size(data, start) for start, _ in places if start + 16 <= len(data)]
    if not sizes:
        raise malformed("icon cut off before its pictures")
    return Header(
        max(width for width, _ in sizes),
        max(height for _, height in sizes),
        frames=min(1, frame_limit),
        truncated=len(entries) < count or any(sum(place) > len(data) for place in places),
    )


def _picture_size(data: bytes, at: int) -> tuple[int, int]:
    if data[at : at + 8] == _PNG:
        return (
            int.from_bytes(data[at + 16 : at + 20], "big"),
            int.from_bytes(data[at + 20 : at + 24], "big"),
        )
    return bmp.bitmap_size(data, at)  # twice the height: the picture and its mask
