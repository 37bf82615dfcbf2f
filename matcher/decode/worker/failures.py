"""How the modules of the worker tell one another that a file yields no picture.

Texts name sizes, limits and formats only, never anything else that a file holds.
"""

from __future__ import annotations

import struct
import zlib

from matcher.model import NotHashableReason, Undecodable

#: What Pillow, its codecs and pi-heif raise on bytes that are not what they should be. Anything
#: else that comes out of them is a fault of ours or of theirs, and counts as `decoder_failed`.
BAD_BYTES: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class NotDecodableError(Exception):
    """A file yields no picture, for a reason of the list."""

    def __init__(self, reason: NotHashableReason, detail: str) -> None:
        super().__init__(detail)
        self.answer = Undecodable(reason, detail)


def malformed(detail: str) -> NotDecodableError:
    """The bytes are damaged, cut off beyond use, or not what they say."""
    return NotDecodableError(NotHashableReason.MALFORMED, detail)


def over_limit(what: str, amount: int, limit: int, unit: str) -> NotDecodableError:
    """The file would cost more than is allowed."""
    return NotDecodableError(
        NotHashableReason.OVER_LIMIT, f"{what}: {amount} {unit}, the limit is {limit}"
    )
