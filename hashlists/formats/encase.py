"""Reads EnCase hash sets (`.hash`): MD5 values in binary records.

A head of 1,152 bytes begins with `HASH`, a line end and FF 00; a name of the set, UTF-16LE, stands
at 1,032 and is never taken over. Records of 18 bytes follow: an MD5 and two bytes whose meaning is
not published, which are left aside. Nothing else in the head is known, so a count that it may hold
is not compared; a file that ends inside a record was cut off and is refused, one that was cut off
between records cannot be told from a whole one.

The key is the MD5. Such files know no retractions, no classes and no sizes.
The layout is that which The Sleuth Kit reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np

from hashlists.errors import FormatError
from hashlists.formats.advice import GET_AGAIN, INSPECT
from hashlists.formats.base import (
    BatchReader,
    Encoding,
    FileHeader,
    Format,
    HashColumn,
    Likeness,
    RawBatch,
)
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.unreadable import refuse_unreadable, take_sample
from hashlists.model import HashKind, Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hashlists.formats.base import Sample
    from hashlists.limits import ImportLimits

MAGIC: Final = b"HASH\r\n\xff\x00"
HEAD_BYTES: Final = 1152
_RECORD: Final = np.dtype([("md5", np.uint8, (16,)), ("rest", np.uint8, (2,))])


class EncaseReader(BatchReader):
    """Iterates over an EnCase hash set (see `base.ListReader`). It has no options.

    Raises:
        OptionsError: an option was given.
        FormatError: the file is of another format, or ends inside its head or a record.
    """

    format: Final = "encase"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown_options(options, (), self.format)
        sample = take_sample(stream)
        refuse_unreadable(sample)
        if not sample.head.startswith(MAGIC):
            raise FormatError(
                f"the file does not begin as an EnCase hash set does (HASH, FF 00); {INSPECT}"
            )
        if len(sample.head) < HEAD_BYTES:
            raise FormatError(
                f"the file ends inside its head: it has {len(sample.head)} of {HEAD_BYTES} bytes; "
                f"it was cut off: {GET_AGAIN}"
            )
        self._stream = stream
        self._rows = max(1, min(limits.max_batch_rows, limits.block_bytes // _RECORD.itemsize))
        self._taken = 0
        self._header = FileHeader(self.format, "", "", "")
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """The name of the format; the set's own name is not taken over."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes consumed so far."""
        return HEAD_BYTES + self._taken * _RECORD.itemsize

    def _read(self) -> Iterator[RawBatch]:
        self._stream.seek(HEAD_BYTES)
        size = self._rows * _RECORD.itemsize
        while data := self._stream.read(size):
            rows, left_over = divmod(len(data), _RECORD.itemsize)
            if left_over:
                raise FormatError(
                    f"the file ends inside this record; it was cut off: {GET_AGAIN}",
                    place=_Places(self._taken)(rows),
                )
            digits = np.frombuffer(data, _RECORD)["md5"].tobytes().hex()
            first = self._taken
            self._taken += rows
            yield RawBatch(
                rows=rows,
                header=self._header,
                hashes=[
                    HashColumn(
                        HashKind.MD5,
                        [digits[at : at + 32] for at in range(0, len(digits), 32)],
                        Encoding.HEX,
                        "MD5",
                    )
                ],
                place_at=_Places(first),
            )


class _Places:
    """Places by the number of the record."""

    __slots__ = ("_first",)

    def __init__(self, first: int) -> None:
        self._first = first

    def __call__(self, row: int, /) -> Place:
        number = self._first + row
        return Place("record", number + 1, HEAD_BYTES + number * _RECORD.itemsize)


def looks_like(sample: Sample) -> Likeness | None:
    """Tells the format by its first bytes."""
    if sample.head.startswith(MAGIC):
        return Likeness(95, "the file begins as EnCase hash sets do (HASH, FF 00)")
    return None


FORMAT = Format(
    "encase", "EnCase hash set (.hash)", open_reader=EncaseReader, looks_like=looks_like
)

__all__ = ["FORMAT", "HEAD_BYTES", "MAGIC", "EncaseReader", "looks_like"]
