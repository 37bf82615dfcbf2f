"""The way of an export's bytes: packed, then encrypted, then counted, then out.

Invariant: an export that fails is abandoned: no layer writes an end, and nothing that is still
written afterwards, such as by a library that closes its file when it is collected, gets through.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from hashlists.exporting.age import AgeSink, parse_recipients
from hashlists.exporting.packing import PackingSink
from hashlists.exporting.request import Compression

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Buffer

    from hashlists.exporting.measured import Measured


class Sink(Protocol):
    """Takes bytes; ends with either `finish` or `abandon`, once."""

    def write(self, data: bytes) -> None:
        """Takes a piece."""
        ...

    def finish(self) -> None:
        """The content is whole."""
        ...

    def abandon(self) -> None:
        """The content stays without an end."""
        ...


class _Gate:
    """What a writer writes to; shut once the export has ended, however it has."""

    def __init__(self, below: Sink) -> None:
        self._below = below
        self.is_open = True

    def write(self, data: Buffer) -> int:
        if self.is_open:
            self._below.write(data if isinstance(data, bytes) else bytes(data))
        return memoryview(data).nbytes

    def flush(self) -> None:
        """What is given is on its way."""


@contextmanager
def outgoing(
    measured: Measured, compression: Compression, encrypt_to: Sequence[str]
) -> Iterator[BinaryIO]:
    """A stream whose bytes go to `measured`, packed and encrypted; whole if the block ends well.

    Raises:
        EncryptionRecipientError: a recipient is none.
    """
    recipients = parse_recipients(encrypt_to)
    top: Sink = AgeSink(measured, recipients) if recipients else measured
    if compression is not Compression.NONE:
        top = PackingSink(top, compression)
    gate = _Gate(top)
    try:
        yield cast("BinaryIO", gate)
    except BaseException:
        gate.is_open = False
        top.abandon()
        raise
    gate.is_open = False
    top.finish()


__all__ = ["Sink", "outgoing"]
