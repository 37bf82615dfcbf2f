"""What became of one object of a batch, while it is put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matcher.scan.model import KeptHashes, Record


@dataclass(slots=True)
class Done:
    """What became of an object.

    Attributes:
        records: its own first, then those of its members.
        kept: hashes that let it be looked up again.
        fetched_bytes: that were read.
    """

    records: list[Record] = field(default_factory=list)
    kept: list[KeptHashes] = field(default_factory=list)
    fetched_bytes: int = 0

    def take(self, record: Record, kept: KeptHashes | None = None) -> None:
        """One more record, and what is kept with it."""
        self.records.append(record)
        if kept is not None:
            self.kept.append(kept)


__all__ = ["Done"]
