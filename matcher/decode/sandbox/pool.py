"""A pool of sandboxed decode workers; see `matcher.decode.pool` for what any pool promises.

Invariants: a worker has one file at a time. What it gives back is judged before anybody else sees
it. A worker that ends, says nonsense or does not answer is killed and replaced. A file whose worker
ended or said nonsense is tried once more, in another worker; one whose worker ran out of time is
not, for it would only take as long again. Callers who gave up are dropped before work is spent.

Each worker has a thread here that waits for it, and does nothing else.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections import Counter
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matcher.decode.limits import DecodeLimits
from matcher.decode.pool import Decoded, checked
from matcher.decode.sandbox import frames
from matcher.decode.sandbox.forks import PROGRAM, Forkserver, TooSlowError, Worker, WorkerGoneError
from matcher.errors import DecoderContractError, DecodersAwayError
from matcher.model import NotHashableReason, Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matcher.decode.protection import Protection
    from matcher.model import DecodeRequest

_log = logging.getLogger(__name__)
#: A worker is retired after so much work, so that what a codec leaks does not add up.
_RETIRE_FILES = 10_000
#: The kernel kills a worker that has used up so much processor time, whatever it does.
_CPU_SECONDS = 3_600
_TRIES = 2
_CAUSES = ("ended", "nonsense", "time")
_AWAY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Job:
    data: bytes = field(repr=False)
    request: DecodeRequest
    future: Future[Decoded]


class SandboxPool:
    """Decoders in processes that can do nothing but decode. Safe to use from several threads.

    Args:
        limits: ceilings for one upload; by default those of `DecodeLimits`.
        workers: processes; by default one for each CPU.
        kill_seconds: after which a worker that does not answer is killed; by default what one file
            may take, and half as much again.
        program: the module that forks the workers.
    """

    def __init__(
        self,
        limits: DecodeLimits | None = None,
        workers: int | None = None,
        *,
        kill_seconds: float | None = None,
        program: str = PROGRAM,
    ) -> None:
        self._limits = limits or DecodeLimits()
        self._seconds = kill_seconds or 1.5 * self._limits.seconds + 1.0
        self._forks = Forkserver(self._limits, cpu_seconds=_CPU_SECONDS, program=program)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._restarts: Counter[str] = Counter(dict.fromkeys(_CAUSES, 0))
        self._protection: Protection | None = None
        self._versions = ""
        self._seats = [
            threading.Thread(target=self._serve, name=f"decode-{number}", daemon=True)
            for number in range(workers or os.cpu_count() or 1)
        ]
        for seat in self._seats:
            seat.start()

    def submit(self, data: bytes, request: DecodeRequest) -> Future[Decoded]:
        """As `DecodePool.submit`."""
        if self._closing.is_set():
            raise RuntimeError("the pool is closed")
        future: Future[Decoded] = Future()
        self._jobs.put(_Job(data, request, future))
        return future

    def close(self) -> None:
        """As `DecodePool.close`."""
        if not self._closing.is_set():
            self._closing.set()
            for _ in self._seats:
                self._jobs.put(None)
        for seat in self._seats:
            seat.join()
        self._forks.close()

    def versions(self) -> str:
        """As `DecodePool.versions`."""
        if not self._versions:
            self._versions = self._forks.versions()
        return self._versions

    def protection(self) -> Protection:
        """What protects against a decoder that a file has taken over; forks one where none is.

        Raises:
            DecodersAwayError: none can be started.
        """
        if self._protection is None:
            self._let_go(self._new(threads=False))
        assert self._protection is not None
        return self._protection

    def restarts(self) -> Mapping[str, int]:
        """As `DecodePool.restarts`; every cause is there."""
        with self._lock:
            return dict(self._restarts)

    # What a thread does

    def _serve(self) -> None:
        seat = _Seat(self._new, self._let_go)
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                job.future.set_result(self._answer(seat, job))
            del job  # an upload is not kept until the next one comes
        seat.clear()

    def _answer(self, seat: _Seat, job: _Job) -> Decoded:
        if len(job.data) > self._limits.encoded_bytes:
            return _too_large(len(job.data), self._limits.encoded_bytes)
        threads = _may_want_threads(job.data)
        for _ in range(_TRIES):
            try:
                return self._ask(seat.worker(threads=threads), job)
            except TooSlowError:
                self._replace(seat, "time", threads=threads)
                return _failed("decoding took too long and was stopped", fatal=True)
            except WorkerGoneError:
                self._replace(seat, "ended", threads=threads)
            except DecoderContractError:
                self._replace(seat, "nonsense", threads=threads)
            except DecodersAwayError as error:
                _log.error("%s", error)
                self._closing.wait(_AWAY_SECONDS)
                return _failed("no decoder could be started")
        return _failed("the decoder broke down twice on this file", fatal=True)

    def _ask(self, worker: Worker, job: _Job) -> Decoded:
        """Has one file decoded.

        Raises:
            WorkerGoneError, TooSlowError: no answer came.
            DecoderContractError: the answer is none.
        """
        until = time.monotonic() + self._seconds

        def left() -> float:
            return max(0.001, until - time.monotonic())

        worker.files += 1
        head = frames.pack_request(job.request, len(job.data))
        if len(job.data) > frames.INLINE_BYTES:
            worker.share(job.data)
            worker.write(head, left())
        else:
            worker.write(head + job.data, left())
        answer = bytes(worker.read(frames.ANSWER_HEAD_BYTES, left()))
        body = worker.read(frames.body_bytes(answer, views=self._limits.codes), left())
        return checked(frames.unpack_answer(answer, body, job.request), job.request, self._limits)

    def _new(self, *, threads: bool) -> Worker:
        worker = self._forks.fork(threads=threads)
        try:
            had = worker.greeting()
        except (WorkerGoneError, TooSlowError, DecoderContractError) as error:
            self._let_go(worker)
            raise DecodersAwayError("a decoder ended before its first file") from error
        with self._lock:
            known = self._protection
            self._protection = had if known is None else known & had
        return worker

    def _replace(self, seat: _Seat, cause: str, *, threads: bool) -> None:
        """Ends a worker; the next one is forked when it is needed."""
        status = seat.drop(threads=threads)
        with self._lock:
            self._restarts[cause] += 1
        _log.warning("a decode worker is replaced (%s, exit status %d)", cause, status)

    def _let_go(self, worker: Worker) -> int:
        """Ends a worker, whatever it does; its exit status."""
        worker.end()
        return self._forks.ended(worker.pid)


class _Seat:
    """The workers of one thread: one that may start no threads, and one that may, where needed."""

    def __init__(self, start: Callable[..., Worker], end: Callable[[Worker], int]) -> None:
        self._start = start
        self._end = end
        self._workers: dict[bool, Worker] = {}

    def worker(self, *, threads: bool) -> Worker:
        """The one that may, or may not, start threads.

        Raises:
            DecodersAwayError: it cannot be started.
        """
        held = self._workers.get(threads)
        if held is not None and held.files >= _RETIRE_FILES:
            self.drop(threads=threads)
            held = None
        if held is None:
            held = self._workers[threads] = self._start(threads=threads)
        return held

    def drop(self, *, threads: bool) -> int:
        """Ends one of them; its exit status."""
        return self._end(self._workers.pop(threads))

    def clear(self) -> None:
        """Ends both."""
        for threads in list(self._workers):
            self.drop(threads=threads)


def _may_want_threads(data: bytes) -> bool:
    """Whether a file is of the boxes of ISO 14496-12, as HEIC is.

    The decoder of HEIC, libde265, does not work without a thread of its own. So these files, and no
    others, go to workers that may start threads, which are confined as their process is.
    """
    return data[4:8] == b"ftyp"


def _too_large(size: int, most: int) -> Undecodable:
    return Undecodable(NotHashableReason.OVER_LIMIT, f"file of {size:,} bytes; at most {most:,}")


def _failed(detail: str, *, fatal: bool = False) -> Undecodable:
    return Undecodable(NotHashableReason.DECODER_FAILED, detail, fatal=fatal)


__all__ = ["SandboxPool"]
