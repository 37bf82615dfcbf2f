"""A pool of sandboxed decode workers; see `matcher.decode.pool` for what any pool promises.

Invariants: a worker has one file at a time. What it gives back is judged before anybody else sees
it. A worker that ends, runs out of memory, says nonsense or does not answer is killed and replaced.
A file whose worker did so is tried once more, in a new worker; one whose worker ran out of time is
not, for it would only take as long again. Callers who gave up are dropped before work is spent.

Each worker has a thread here that waits for it. What its caller wants done with the same bytes is
done there while the worker is at work.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections import Counter
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from matcher.decode.limits import DecodeLimits, WorkerLimits
from matcher.decode.pool import Decoded, broken_down, checked, out_of_memory
from matcher.decode.sandbox.connection import TooSlowError, WorkerGoneError
from matcher.decode.sandbox.forks import PROGRAM, Forkserver
from matcher.decode.sandbox.frames import OutOfMemoryError
from matcher.decode.sandbox.orders import Ceilings
from matcher.decode.sandbox.seats import Seat, cpu_seconds
from matcher.errors import DecoderContractError, DecodersAwayError
from matcher.model import NotHashableReason, Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from matcher.decode.protection import Protection
    from matcher.decode.sandbox.connection import Worker
    from matcher.model import DecodeRequest

_log = logging.getLogger(__name__)
_TRIES = 2
_CAUSES: Mapping[type[Exception], str] = {
    WorkerGoneError: "ended",
    OutOfMemoryError: "memory",
    DecoderContractError: "nonsense",
    TooSlowError: "time",
}
#: Before another try to start a decoder, where none can be started.
_AWAY_SECONDS = (0.1, 1.0, 3.0)


@dataclass(slots=True)
class _Job:
    data: bytes = field(repr=False)
    request: DecodeRequest
    future: Future[Decoded]
    started: Callable[[], None] | None
    meanwhile: Callable[[], None] | None
    #: Of the call that the file came with: what is told of the file is told as that call's.
    context: Context = field(default_factory=copy_context, repr=False)

    def use_the_time(self) -> None:
        """Does what the caller wants done meanwhile, unless that was done."""
        work, self.meanwhile = self.meanwhile, None
        if work is not None:
            work()


class SandboxPool:
    """Decoders in processes that can do nothing but decode. Safe to use from several threads.

    Args:
        limits: ceilings for one upload; by default those of `DecodeLimits`.
        workers: processes; by default one for each CPU.
        worker_limits: ceilings for each process; by default those of `WorkerLimits`.
        program: the module that forks the workers.
    """

    def __init__(
        self,
        limits: DecodeLimits | None = None,
        workers: int | None = None,
        *,
        worker_limits: WorkerLimits | None = None,
        program: str = PROGRAM,
    ) -> None:
        self._limits = limits or DecodeLimits()
        self._worker_limits = worker_limits or WorkerLimits()
        own = self._worker_limits
        ceilings = Ceilings(
            self._limits, own.memory_bytes, cpu_seconds(own.seconds), niceness=own.niceness
        )
        self._forks = Forkserver(ceilings, program=program)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._restarts: Counter[str] = Counter(dict.fromkeys(_CAUSES.values(), 0))
        self._protection: Protection | None = None
        self._threads = [
            threading.Thread(target=self._serve, name=f"decode-{number}", daemon=True)
            for number in range(workers or os.cpu_count() or 1)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self,
        data: bytes,
        request: DecodeRequest,
        *,
        started: Callable[[], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Future[Decoded]:
        """As `DecodePool.submit`."""
        future: Future[Decoded] = Future()
        with self._lock:  # nothing comes after the word that it closes
            if self._closing.is_set():
                raise RuntimeError("the pool is closed")
            self._jobs.put(_Job(data, request, future, started, meanwhile))
        return future

    def close(self) -> None:
        """As `DecodePool.close`."""
        with self._lock:
            if not self._closing.is_set():
                self._closing.set()
                for _ in self._threads:
                    self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._forks.close()

    def versions(self) -> str:
        """As `DecodePool.versions`."""
        return self._forks.versions()

    def protection(self) -> Protection:
        """What protects against a decoder that a file has taken over; forks one where none is.

        Raises:
            DecodersAwayError: none can be started.
        """
        if self._protection is None:
            seat = self._seat()
            seat.worker(threads=False)
            seat.clear()
        assert self._protection is not None
        return self._protection

    def restarts(self) -> Mapping[str, int]:
        """As `DecodePool.restarts`; every cause is there."""
        with self._lock:
            return dict(self._restarts)

    # What a thread does

    def _serve(self) -> None:
        seat = self._seat()
        while (job := self._jobs.get()) is not None:
            if job.future.set_running_or_notify_cancel():
                if job.started is not None:
                    job.started()
                try:
                    result = self._answer(seat, job)
                    job.use_the_time()  # where no worker was asked
                    job.future.set_result(result)
                except DecodersAwayError as error:
                    _log.error("%s", error)
                    job.future.set_exception(error)
            del job  # an upload is not kept until the next one comes
        seat.clear()

    def _answer(self, seat: Seat, job: _Job) -> Decoded:
        """What comes of a file, always.

        Raises:
            DecodersAwayError: no decoder can be started.
        """
        if len(job.data) > self._limits.encoded_bytes:
            return _too_large(len(job.data), self._limits.encoded_bytes)
        try:
            return self._tried(seat, job)
        except DecodersAwayError:
            raise
        except Exception as error:  # noqa: BLE001 - a thread that ended would answer nobody
            bug = "decoding failed on our side: this is a bug (%s)"
            job.context.run(_log.error, bug, type(error).__name__)
            seat.clear()
            return broken_down(error)

    def _tried(self, seat: Seat, job: _Job) -> Decoded:
        """Has a file decoded, by two workers at most.

        Raises:
            DecodersAwayError: none can be started.
        """
        threads = _may_want_threads(job.data)
        failure: Exception = WorkerGoneError()
        for _ in range(_TRIES):
            worker = self._worker(seat, threads=threads)
            try:
                return self._ask(worker, job)
            except tuple(_CAUSES) as error:
                failure = error
            job.context.run(seat.replace, _CAUSES[type(failure)], threads=threads)
            if isinstance(failure, TooSlowError):
                return _failed("decoding took too long and was stopped")
        if isinstance(failure, OutOfMemoryError):
            return out_of_memory(fatal=True)
        return _failed("the decoder broke down twice on this file")

    def _ask(self, worker: Worker, job: _Job) -> Decoded:
        """Has one file decoded by one worker, and judges what comes back.

        Raises:
            WorkerGoneError, TooSlowError: no answer came.
            DecoderContractError: the answer is none.
            OutOfMemoryError: it says that memory ran out.
        """
        seconds, views = self._worker_limits.seconds, self._limits.codes
        answer = worker.ask(
            job.data, job.request, seconds=seconds, views=views, meanwhile=job.use_the_time
        )
        return checked(answer, job.request, self._limits)

    def _worker(self, seat: Seat, *, threads: bool) -> Worker:
        """A worker that waits for a file; where none can be started, more tries are made.

        Raises:
            DecodersAwayError: none of them went well.
        """
        for pause in _AWAY_SECONDS:
            try:
                return seat.worker(threads=threads)
            except DecodersAwayError as error:
                _log.warning("%s; trying again", error)
                self._closing.wait(pause)
        return seat.worker(threads=threads)

    def _seat(self) -> Seat:
        return Seat(
            self._forks,
            files=self._worker_limits.files,
            greeted=self._greeted,
            replaced=self._replaced,
        )

    def _greeted(self, had: Protection) -> None:
        with self._lock:
            self._protection = had if self._protection is None else self._protection & had

    def _replaced(self, cause: str) -> None:
        with self._lock:
            self._restarts[cause] += 1


def _may_want_threads(data: bytes) -> bool:
    """Whether a file is of the boxes of ISO 14496-12, as HEIC is.

    The decoder of HEIC, libde265, does not work without a thread of its own. So these files, and no
    others, go to workers that may start threads, which are confined as their process is.
    """
    return data[4:8] == b"ftyp"


def _too_large(size: int, most: int) -> Undecodable:
    return Undecodable(NotHashableReason.OVER_LIMIT, f"file of {size:,} bytes; at most {most:,}")


def _failed(detail: str) -> Undecodable:
    return Undecodable(NotHashableReason.DECODER_FAILED, detail, fatal=True)


__all__ = ["SandboxPool"]
