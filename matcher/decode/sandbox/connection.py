"""The parent's end of one decode worker: a question, its answer, and nothing in between.

Invariants: every wait has an end. An answer counts for the question whose number it bears, and only
where nothing was said before the question. Nothing that the worker says is believed: `frames` takes
apart what has the right form, and `matcher.decode.pool.checked` judges what it means.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from matcher.decode.protection import Protection
from matcher.decode.sandbox import frames
from matcher.errors import DecoderContractError

if TYPE_CHECKING:
    import mmap
    import socket
    from collections.abc import Callable

    from matcher.model import DecodedImage, DecodeRequest, Undecodable

_GREETING_SECONDS = 10.0
_LEAST_SECONDS = 0.001  # no time left is no time-out at all to a socket


class WorkerGoneError(Exception):
    """The worker ended, or no longer takes what it is sent."""


class TooSlowError(Exception):
    """The worker did not answer in time."""


class Worker:
    """One decode worker, for one thread.

    Args:
        pid: its process.
        generation: of the forkserver that forked it.
        connection: to it.
        memory: shared with it; it cannot write there.

    Attributes:
        files: that it was asked to decode.
        busy_seconds: that it was at work, by the clock on the wall.
    """

    def __init__(
        self, pid: int, generation: int, connection: socket.socket, memory: mmap.mmap
    ) -> None:
        self.pid = pid
        self.generation = generation
        self.files = 0
        self.busy_seconds = 0.0
        self._connection = connection
        self._memory = memory

    def greeting(self) -> Protection:
        """What protects against it; the first that it says.

        Raises:
            WorkerGoneError, TooSlowError: it never said so.
            DecoderContractError: it said something else.
        """
        (bits,) = frames.GREETING.unpack(
            self._read(frames.GREETING.size, time.monotonic() + _GREETING_SECONDS)
        )
        try:
            return Protection(bits)
        except ValueError:
            raise DecoderContractError("the decoder broke its contract: its greeting") from None

    def ask(
        self,
        data: bytes,
        request: DecodeRequest,
        *,
        seconds: float,
        views: int,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> DecodedImage | Undecodable:
        """Has one file decoded; what comes back has the right form and is otherwise unjudged.

        Args:
            data: the file as received.
            request: what is wanted of it.
            seconds: for the whole of it.
            views: most that there may be.
            meanwhile: called once the question is asked.

        Raises:
            WorkerGoneError, TooSlowError: no answer came.
            DecoderContractError: the answer is none.
            OutOfMemoryError: it says that memory ran out.
        """
        begun = time.monotonic()
        self.files += 1
        try:
            return self._ask(data, request, begun + seconds, views, meanwhile)
        finally:
            self.busy_seconds += time.monotonic() - begun

    def _ask(
        self,
        data: bytes,
        request: DecodeRequest,
        until: float,
        views: int,
        meanwhile: Callable[[], None],
    ) -> DecodedImage | Undecodable:
        number = self.files % frames.NUMBERS
        question = frames.pack_request(request, len(data), number)
        if len(data) > frames.INLINE_BYTES:
            self._memory[: len(data)] = data
        else:
            question += data
        self._write(question, until)
        meanwhile()
        head = bytes(self._read(frames.ANSWER_HEAD_BYTES, until))
        body = self._read(frames.body_bytes(head, number, views=views), until)
        return frames.unpack_answer(head, body, request)

    @property
    def trouble(self) -> str:
        """`ended` or `nonsense` where it is gone or speaks unasked; empty where it waits."""
        self._connection.settimeout(0)
        try:
            said = self._connection.recv(1)
        except BlockingIOError:
            return ""
        except OSError:
            return "ended"
        return "nonsense" if said else "ended"

    def close(self) -> None:
        """Lets go of what is shared with it; a worker that waits then ends by itself."""
        self._connection.close()
        self._memory.close()

    def _write(self, data: bytes, until: float) -> None:
        self._connection.settimeout(_left(until))
        try:
            self._connection.sendall(data)
        except TimeoutError:
            raise TooSlowError from None
        except OSError:
            raise WorkerGoneError from None

    def _read(self, nbytes: int, until: float) -> bytearray:
        data = bytearray(nbytes)
        left = memoryview(data)
        while left:
            self._connection.settimeout(_left(until))
            try:
                count = self._connection.recv_into(left)
            except TimeoutError:
                raise TooSlowError from None
            except OSError:
                raise WorkerGoneError from None
            if not count:
                raise WorkerGoneError
            left = left[count:]
        return data


def _left(until: float) -> float:
    return max(_LEAST_SECONDS, until - time.monotonic())


__all__ = ["TooSlowError", "Worker", "WorkerGoneError"]
