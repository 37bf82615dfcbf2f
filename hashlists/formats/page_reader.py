"""What the readers of an exchange's pages share: records first, then what the page says of others.

A page tells where it stands among its pages only beside its records, mostly behind them. So `page`
is to be trusted once the reader is exhausted, and not before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from hashlists.formats.base import BatchReader, FileHeader, PageInfo, RawBatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hashlists.formats.chunk import Chunk

RecordT = TypeVar("RecordT")


class RecordStream(Protocol[RecordT]):
    """The records of a page, in whatever notation."""

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the stream so far."""
        ...

    def chunks(self) -> Iterator[Chunk[RecordT]]:
        """Yields all records, then reads the rest of the page."""
        ...


class PageReader(BatchReader, ABC, Generic[RecordT]):
    """Iterates over the records of one page (see `base.ListReader`).

    Args:
        records: of the page, opened up to the first of them.
    """

    def __init__(self, records: RecordStream[RecordT]) -> None:
        self._records = records
        self._page = PageInfo()
        self._batches = self._read()

    @property
    @abstractmethod
    def header(self) -> FileHeader:
        """What the page says of itself."""

    @property
    def bytes_read(self) -> int:
        """Bytes consumed so far."""
        return self._records.bytes_read

    @property
    def page(self) -> PageInfo:
        """Where the page stands among the others; once the reader is exhausted."""
        return self._page

    def _read(self) -> Iterator[RawBatch]:
        for chunk in self._records.chunks():
            if chunk.records or chunk.rejections:
                yield self._to_batch(chunk)
        self._page = self._read_page()
        if notes := self._last_notes():
            yield RawBatch.of_notes(self.header, notes)

    @abstractmethod
    def _to_batch(self, chunk: Chunk[RecordT]) -> RawBatch:
        """Consecutive records as columns."""

    @abstractmethod
    def _read_page(self) -> PageInfo:
        """What the page says beside its records, all of which were read."""

    def _last_notes(self) -> Mapping[str, int]:
        """Notes that belong to no batch."""
        return {}


__all__ = ["PageReader", "RecordStream"]
