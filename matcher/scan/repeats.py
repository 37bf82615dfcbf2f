"""Bytes that were seen in this run already are not decoded again, but looked up by their hashes.

What is known of them is kept packed, the least lately used goes first, and an object whose twin is
being judged this moment waits for that. The SHA-256 of the bytes decides, and nothing else. What is
kept holds hashes: it stays in memory, and ends with the run.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from matcher.model import ImageHashes
from matcher.tokens import from_bytes, to_bytes

if TYPE_CHECKING:
    from matcher.model import Undecodable
    from matcher.scan.model import Answer

MOST_BYTES: Final = 64 * 1024 * 1024
#: What Python takes beside the packed hashes: the entry, its key and the objects.
_OVERHEAD_BYTES: Final = 450


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of bytes that were hashed.

    Attributes:
        hashes: of them.
        image_format, gaps: as an answer has them.
    """

    hashes: ImageHashes = field(repr=False)
    image_format: str
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Packed:
    hashes: bytes = field(repr=False)
    image_format: str
    gaps: tuple[str, ...]
    undecodable: Undecodable | None

    @property
    def nbytes(self) -> int:
        return len(self.hashes) + _OVERHEAD_BYTES


class Repeats:
    """The bytes of this run. Of one event loop.

    Who is told by `claim` that bytes are new judges them, and then calls `settle`, always.

    Args:
        most_bytes: of memory.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most = most_bytes
        self._held = 0
        self._known: OrderedDict[bytes, _Packed] = OrderedDict()
        self._judged: dict[bytes, asyncio.Event] = {}

    def __len__(self) -> int:
        return len(self._known)

    @property
    def held(self) -> int:
        """Bytes of memory that are taken, about."""
        return self._held

    async def claim(self, sha256: bytes) -> Known | None:
        """What is known of bytes; None where the caller is the first and has to judge them."""
        while True:
            packed = self._known.get(sha256)
            if packed is not None:
                self._known.move_to_end(sha256)
                return _unpacked(packed)
            judged = self._judged.get(sha256)
            if judged is None:
                self._judged[sha256] = asyncio.Event()
                return None
            await judged.wait()

    def settle(self, sha256: bytes, answer: Answer | None) -> None:
        """Ends what `claim` began.

        Args:
            sha256: of the bytes.
            answer: what judging gave; None, or one without hashes, where a twin is to be judged by
                itself.
        """
        if answer is not None and answer.hashes is not None and self._most:
            hashes = answer.hashes
            packed = _Packed(
                to_bytes(hashes, sealed_at=0), answer.format, answer.gaps, hashes.undecodable
            )
            self._known[sha256] = packed
            self._held += packed.nbytes
            while self._held > self._most and len(self._known) > 1:
                _, oldest = self._known.popitem(last=False)
                self._held -= oldest.nbytes
        self._judged.pop(sha256).set()


def _unpacked(packed: _Packed) -> Known:
    _, hashes = from_bytes(packed.hashes)
    if packed.undecodable is not None:
        hashes = ImageHashes(hashes.digests, hashes.size, undecodable=packed.undecodable)
    return Known(hashes, packed.image_format, packed.gaps)


__all__ = ["MOST_BYTES", "Known", "Repeats"]
