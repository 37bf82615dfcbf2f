"""Unpacks an answer of HTTP (RFC 9110, section 8.4) piece by piece.

Invariants: an answer is plain or packed once with gzip; whatever else it says of itself is refused,
since each further packing multiplies what a few bytes can grow to. No piece is longer than was
asked for, so whoever counts them can stop in time. Knows nothing of HTTP but the names of codings.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from hashlists.errors import ExchangePageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_GZIP: Final = 16 + zlib.MAX_WBITS
_GZIP_NAMES: Final = ("gzip", "x-gzip")


def unpacked(sent: Iterable[bytes], coding: str, *, piece_bytes: int) -> Iterator[bytes]:
    """The content of an answer.

    Args:
        sent: its body as it came.
        coding: its Content-Encoding; empty where it has none.
        piece_bytes: what a piece has at most, where it is packed.

    Raises:
        ExchangePageError: it is packed otherwise, more than once or badly, or is cut off.
    """
    names = [each.strip().lower() for each in coding.split(",")]
    names = [each for each in names if each not in ("", "identity")]
    if not names:
        return iter(sent)
    if len(names) > 1 or names[0] not in _GZIP_NAMES:
        raise ExchangePageError("the answer is packed otherwise than once with gzip")
    return _inflated(sent, piece_bytes)


def _inflated(sent: Iterable[bytes], piece_bytes: int) -> Iterator[bytes]:
    inflater, is_over = zlib.decompressobj(_GZIP), False
    for each in sent:
        rest = each
        while rest:
            if is_over:
                raise ExchangePageError("the answer goes on behind the end of what is packed")
            try:
                piece = inflater.decompress(rest, piece_bytes)
            except zlib.error:
                raise ExchangePageError("the answer is not packed with gzip as it says") from None
            is_over = inflater.eof
            rest = inflater.unused_data if is_over else inflater.unconsumed_tail
            yield piece
    if not is_over:
        raise ExchangePageError("the answer ends before what is packed does")


__all__ = ["unpacked"]
