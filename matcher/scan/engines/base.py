"""What carries batches out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from matcher.scan.model import Batch, BatchResult


class Engine(Protocol):
    """Scans batches, several at a time; used from one event loop."""

    @property
    def capacity(self) -> int:
        """How many batches it takes at a time to be kept busy."""
        ...

    async def scan(self, batch: Batch) -> BatchResult:
        """What becomes of a batch. What goes wrong with an object is its record's to tell.

        Raises:
            EngineError: nothing more can be scanned, e.g. the whole cluster is gone.
        """
        ...

    async def close(self) -> None:
        """Frees the workers. May be called twice."""
        ...
