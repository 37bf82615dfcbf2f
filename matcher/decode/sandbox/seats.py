"""The decode workers of one thread, and when one is replaced.

Invariants: a worker is asked only while it waits; one that ended meanwhile, or spoke unasked, is
replaced before a file is entrusted to it. A worker is retired after so many files and so much time,
whatever it did.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from matcher.decode.sandbox.connection import TooSlowError, WorkerGoneError
from matcher.errors import DecoderContractError, DecodersAwayError

if TYPE_CHECKING:
    from collections.abc import Callable

    from matcher.decode.protection import Protection
    from matcher.decode.sandbox.connection import Worker
    from matcher.decode.sandbox.forks import Forkserver

_log = logging.getLogger(__name__)
#: A worker that was at work for so long is retired. The kernel's limit of processor time, which
#: kills whatever a worker is doing, lies so far beyond that no honest one comes to it.
RETIRE_SECONDS = 600.0


def cpu_seconds(seconds: float) -> int:
    """Processor time that a worker may use up in all, where one file may take so many seconds."""
    return int(2 * (RETIRE_SECONDS + seconds))


class Seat:
    """One worker that may start no threads, and one that may, each forked when it is needed.

    Args:
        forks: forks and ends them.
        files: after so many a worker is retired.
        greeted: told what protects against each new worker.
        replaced: told the cause whenever a worker had to be replaced.
    """

    def __init__(
        self,
        forks: Forkserver,
        *,
        files: int,
        greeted: Callable[[Protection], None],
        replaced: Callable[[str], None],
    ) -> None:
        self._forks = forks
        self._files = files
        self._greeted = greeted
        self._replaced = replaced
        self._workers: dict[bool, Worker] = {}

    def worker(self, *, threads: bool) -> Worker:
        """The one that may, or may not, start threads; it waits for a file.

        Raises:
            DecodersAwayError: it cannot be started.
        """
        held = self._workers.get(threads)
        if held is not None and (trouble := held.trouble):
            self.replace(trouble, threads=threads)
        elif held is not None and self._is_old(held):
            self._drop(threads=threads)
        if threads not in self._workers:
            self._workers[threads] = self._new(threads=threads)
        return self._workers[threads]

    def replace(self, cause: str, *, threads: bool) -> None:
        """Ends a worker that did what none may; the next one is forked when it is needed."""
        status = self._drop(threads=threads)
        self._replaced(cause)
        told = "" if status is None else f", exit status {status}"
        _log.warning("a decode worker is replaced (%s%s)", cause, told)

    def clear(self) -> None:
        """Ends both."""
        for threads in list(self._workers):
            self._drop(threads=threads)

    def _new(self, *, threads: bool) -> Worker:
        worker = self._forks.fork(threads=threads)
        try:
            self._greeted(worker.greeting())
        except (WorkerGoneError, TooSlowError, DecoderContractError) as error:
            self._forks.end(worker)
            raise DecodersAwayError("a decoder ended before its first file") from error
        return worker

    def _is_old(self, worker: Worker) -> bool:
        return worker.files >= self._files or worker.busy_seconds >= RETIRE_SECONDS

    def _drop(self, *, threads: bool) -> int | None:
        return self._forks.end(self._workers.pop(threads))


__all__ = ["RETIRE_SECONDS", "Seat", "cpu_seconds"]
