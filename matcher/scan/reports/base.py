"""What every report is to the pass over the records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.model import Record


class Report(Protocol):
    """Takes the records of a scan in their order, a few at a time, and keeps few of them."""

    def write(self, records: Sequence[Record]) -> None:
        """Takes the next ones.

        Raises:
            OSError: what lies below took no more.
        """
        ...

    def finish(self) -> None:
        """Writes what stands at the end, once.

        Raises:
            OSError: what lies below took no more.
        """
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the format could not carry, in words for a person; known after `finish`."""
        ...


__all__ = ["Report"]
