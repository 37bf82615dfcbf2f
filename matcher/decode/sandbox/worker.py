"""What runs in a decode worker: one file after the other, until the connection ends.

Invariants: nothing is kept from one file to the next, and nothing but `read` and `write` on one
connection is used to talk. A worker that does not understand its parent ends.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING

from matcher.decode import worker
from matcher.decode.sandbox import frames
from matcher.decode.sandbox.confinement import confine
from matcher.model import NotHashableReason, Undecodable

if TYPE_CHECKING:
    from matcher.decode.limits import DecodeLimits
    from matcher.model import DecodedImage, DecodeRequest

#: The first thing that a worker says: what protects against it.
GREETING = struct.Struct("<I")
#: Python, Pillow's buffers and what codecs take beside the picture itself.
_SPARE_MEMORY_BYTES = 256 * 1024**2


def run(
    connection: int, shared: int, limits: DecodeLimits, *, cpu_seconds: int, threads: bool
) -> None:
    """Serves until the parent closes the connection.

    Args:
        connection: descriptor of a connected stream socket.
        shared: descriptor of the memory in which large files lie.
        limits: ceilings for one file.
        cpu_seconds: that this process may use up in all.
        threads: it may start threads.
    """
    with mmap.mmap(shared, 0, access=mmap.ACCESS_READ) as memory:
        os.close(shared)
        protection = confine(
            memory_bytes=limits.memory_bytes + _SPARE_MEMORY_BYTES,
            cpu_seconds=cpu_seconds,
            threads=threads,
        )
        write_all(connection, GREETING.pack(protection.value))
        while (head := _read(connection, frames.REQUEST_HEAD_BYTES)) is not None:
            asked = frames.unpack_request(head)
            request = asked.with_crops(_read(connection, asked.crop_bytes) or b"")
            data = memory[: asked.nbytes] if asked.shared else _read(connection, asked.nbytes)
            answer = _decode(data or b"", request, limits)
            del data
            write_all(connection, frames.pack_answer(answer, request))


def _decode(
    data: bytes, request: DecodeRequest, limits: DecodeLimits
) -> DecodedImage | Undecodable:
    try:
        return worker.decode(data, request, limits)
    except Exception as error:  # noqa: BLE001 - the border where foreign exceptions end
        return broken_down(error)


def broken_down(error: Exception) -> Undecodable:
    """What an exception that no decoder should raise is to the caller."""
    return Undecodable(
        NotHashableReason.DECODER_FAILED,
        f"the decoder broke down: this is a bug ({type(error).__name__}); please report it",
    )


def _read(connection: int, nbytes: int) -> bytes | None:
    """So many bytes; None where the parent has gone."""
    parts = []
    while nbytes:
        part = os.read(connection, nbytes)
        if not part:
            return None
        parts.append(part)
        nbytes -= len(part)
    return b"".join(parts)


def write_all(connection: int, data: bytes) -> None:
    """Writes all of it."""
    left = memoryview(data)
    while left:
        left = left[os.write(connection, left) :]


__all__ = ["GREETING", "run"]
