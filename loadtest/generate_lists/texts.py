"""Lists that are text: a head, something for each record, and a tail."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from loadtest.generate_lists.records import made_up_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.generate_lists.records import Record

_RECORDS_AT_A_TIME = 2048


@dataclass(frozen=True, slots=True)
class Text:
    """How a list is laid out.

    Attributes:
        head: what stands in front; `%d` in it is the number of records.
        record: one record as text.
        between: stands between two records.
        tail: what stands behind.
    """

    head: str
    record: Callable[[Record], str]
    between: str
    tail: str

    def write(self, out: BinaryIO, records: int, seed: int) -> None:
        """Writes a whole file."""
        out.write((self.head % records if "%d" in self.head else self.head).encode())
        made_up = made_up_records(records, seed)
        between = ""
        while some := list(itertools.islice(made_up, _RECORDS_AT_A_TIME)):
            out.write((between + self.between.join(map(self.record, some))).encode())
            between = self.between
        out.write(self.tail.encode())
