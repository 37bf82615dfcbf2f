"""The orientation in an EXIF block (CIPA DC-008), and nothing else of it.

Read here rather than by Pillow, whose reader decodes every tag, warns, and may raise on tags that
do not matter.
"""

from __future__ import annotations

from typing import Final, Literal

UPRIGHT: Final = 1
_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4
_PREFIX = b"Exif\x00\x00"
_ENTRY_BYTES = 12
_LAST_ORIENTATION = 8


def orientation_of(exif: bytes) -> int:
    """The orientation 1..8 that an EXIF block declares; 1 where it says nothing sensible."""
    block = exif.removeprefix(_PREFIX)
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"
    if block[:4] not in {b"II\x2a\x00", b"MM\x00\x2a"}:
        return UPRIGHT

    def number(at: int, size: int) -> int:
        return int.from_bytes(block[at : at + size], order)

    start = number(4, 4)
    for at in range(start + 2, start + 2 + number(start, 2) * _ENTRY_BYTES, _ENTRY_BYTES):
        if at + _ENTRY_BYTES > len(block):
            break
        if number(at, 2) == _ORIENTATION_TAG and number(at + 2, 2) in {_SHORT, _LONG}:
            value = number(at + 8, 2 if number(at + 2, 2) == _SHORT else 4)
            return value if UPRIGHT <= value <= _LAST_ORIENTATION else UPRIGHT
    return UPRIGHT
