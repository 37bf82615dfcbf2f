"""What the engine needs of whatever decides about an object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matcher.model import Digests, ImageHashes
    from matcher.scan.model import Answer


class Judge(Protocol):
    """Decides about objects, many at a time; used from one event loop.

    Attributes:
        max_bytes: of an encoded file; a larger one is looked up by its digests.
        tells_hashes: answers carry hashes, by which the same bytes can be looked up again.
    """

    @property
    def max_bytes(self) -> int:
        """Of an encoded file; a larger one is looked up by its digests."""
        ...

    @property
    def tells_hashes(self) -> bool:
        """Answers carry hashes, by which the same bytes can be looked up again."""
        ...

    async def judge(self, data: bytes, digests: Digests) -> Answer:
        """What is known of a file, which is decoded for it.

        Raises:
            EngineError: nothing can be judged any more.
        """
        ...

    async def look_up(
        self, hashes: ImageHashes, *, image_format: str = "", gaps: tuple[str, ...] = ()
    ) -> Answer:
        """What is known of a file that was hashed already.

        Args:
            hashes: with all three digests.
            image_format: of the file, for the answer.
            gaps: the same.

        Raises:
            EngineError: nothing can be judged any more.
        """
        ...

    async def close(self) -> None:
        """Answers what was asked and ends. May be called twice."""
        ...
