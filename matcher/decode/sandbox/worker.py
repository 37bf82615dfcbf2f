"""What runs in a decode worker: one file after the other, until the connection ends.

Invariants: nothing is kept from one file to the next, and nothing but `read` and `write` on one
connection is used to talk; the worker has no other descriptor, and no environment but what programs
need to start. A worker that does not understand its parent ends.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from matcher.decode import worker
from matcher.decode.pool import broken_down
from matcher.decode.sandbox import confinement, frames
from matcher.parent import end_with

if TYPE_CHECKING:
    from collections.abc import Callable

    from matcher.decode.limits import DecodeLimits
    from matcher.decode.sandbox.orders import Ceilings
    from matcher.model import DecodeRequest

_STANDARD = range(3)
#: A file that took so much processor time may have left much memory behind, which the C library
#: would keep.
_TRIM_SECONDS = 0.2
_MOST_DESCRIPTORS = 1 << 20


def run(connection: int, shared: int, ceilings: Ceilings, *, parent: int, threads: bool) -> None:
    """Serves until the parent closes the connection.

    Args:
        connection: descriptor of a connected stream socket.
        shared: descriptor of the memory in which large files lie.
        ceilings: what this process may use up.
        parent: process id of the one that forked this one, with which it ends.
        threads: it may start threads.
    """
    trim = _trim_of_the_c_library()
    with mmap.mmap(shared, 0, access=mmap.ACCESS_READ) as memory:
        _let_go_of_all_but(connection)
        os.nice(ceilings.niceness)
        had = confinement.limit(
            memory_bytes=ceilings.memory_bytes, cpu_seconds=ceilings.cpu_seconds, threads=threads
        )
        if not end_with(parent, signal.SIGKILL):
            return
        had |= confinement.close_filter(threads=threads)
        write_all(connection, frames.GREETING.pack(had.value))
        while (head := _read(connection, frames.REQUEST_HEAD_BYTES)) is not None:
            asked = frames.unpack_request(head)
            request = asked.with_crops(_read(connection, asked.crop_bytes) or b"")
            data = memory[: asked.nbytes] if asked.shared else _read(connection, asked.nbytes)
            begun = time.process_time()
            answer = _answer(data or b"", request, ceilings.limits, asked.number)
            del data
            write_all(connection, answer)
            if time.process_time() - begun > _TRIM_SECONDS:
                trim()


def _answer(data: bytes, request: DecodeRequest, limits: DecodeLimits, number: int) -> bytes:
    try:
        result = worker.decode(data, request, limits)
    except MemoryError:
        return frames.pack_out_of_memory(number)
    except Exception as error:  # noqa: BLE001 - the border where foreign exceptions end
        result = broken_down(error)
    return frames.pack_answer(result, request, number)


def _trim_of_the_c_library() -> Callable[[], object]:
    """Gives memory back to the system; where the library cannot be told to, nothing."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return (lambda: None) if trim is None else partial(trim, 0)


def _let_go_of_all_but(connection: int) -> None:
    """Closes what was inherited; what codecs print about a file goes nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in _STANDARD:
        os.dup2(nowhere, standard)
    most = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MOST_DESCRIPTORS)
    os.closerange(_STANDARD.stop, connection)
    os.closerange(connection + 1, most)


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


__all__ = ["run"]
