"""The parent's end of the forkserver: starts it, and has workers forked and ended.

Invariants: one question is under way at a time, so answers cannot be mixed up. A worker is ended by
the process that forked it, whose child it is, so a signal never reaches another process. A
forkserver that is gone is started anew by the next question, and its workers are gone with it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from matcher.decode.sandbox.connection import Worker
from matcher.decode.sandbox.orders import MESSAGE_BYTES
from matcher.errors import DecodersAwayError
from matcher.settings import environment_to_start

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.decode.sandbox.orders import Ceilings

#: No more threads than the one that forks: neither of a codec nor of a library of linear algebra.
_ONE_THREAD = dict.fromkeys(
    (
        *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
        *("BLIS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
    ),
    "1",
)
_F_SEAL_FUTURE_WRITE = 0x10  # linux/fcntl.h; what is mapped already stays writable
PROGRAM = "matcher.decode.sandbox.forkserver"
_START_SECONDS = 60.0
_END_SECONDS = 5.0


class Forkserver:
    """Starts workers. Safe to use from several threads.

    Args:
        ceilings: what each worker may use up.
        program: the module that forks them.
    """

    def __init__(self, ceilings: Ceilings, *, program: str = PROGRAM) -> None:
        self._program = program
        self._ceilings = ceilings
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._generation = 0
        self._closed = False
        self._versions = ""
        self.threads = 0

    def versions(self) -> str:
        """The decoders at work and their versions; starts them where they are not.

        Raises:
            DecodersAwayError: they cannot be started.
        """
        if not self._versions:  # known ones are told at once, even while another one is started
            with self._lock:
                self._started()
        return self._versions

    def fork(self, *, threads: bool = False) -> Worker:
        """A new worker.

        Args:
            threads: it may start threads of its own process.

        Raises:
            DecodersAwayError: none can be started.
        """
        with self._lock:
            try:
                return self._fork(threads=threads)
            except _ForkserverGoneError:
                return self._fork(threads=threads)  # by another one

    def end(self, worker: Worker) -> int | None:
        """Kills a worker, whatever it does, and lets go of what was shared with it.

        Returns:
            Its exit status, negative for a signal; None where that is not known.
        """
        worker.close()
        with self._lock:
            if worker.generation != self._generation or self._control is None:
                return None  # it ended with the one that forked it
            try:
                answer = self._ask(self._control, {"end": worker.pid})
            except DecodersAwayError:
                return None
            status: int | None = answer["status"]
            return status

    def close(self) -> None:
        """Ends the forkserver, and with it every worker; none is started afterwards."""
        with self._lock:
            self._closed = True
            self._stop()

    def _fork(self, *, threads: bool) -> Worker:
        control = self._started()
        with contextlib.ExitStack() as stack:
            try:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
                stack.callback(ours.close)
                stack.enter_context(theirs)
                shared = _shared_memory(self._ceilings.limits.encoded_bytes)
                stack.callback(os.close, shared)
                memory = mmap.mmap(shared, 0)
                stack.callback(memory.close)
                _seal(shared)
            except OSError as error:
                raise DecodersAwayError(_told(error)) from error
            answer = self._ask(control, {"fork": {"threads": threads}}, theirs.fileno(), shared)
            if "error" in answer:
                raise DecodersAwayError(_told(OSError(answer["error"], "")))
            stack.pop_all()
        theirs.close()
        os.close(shared)
        return Worker(answer["pid"], self._generation, ours, memory)

    def _started(self) -> socket.socket:
        if self._closed:
            raise DecodersAwayError("no decoder is started any more: they were closed")
        if self._control is not None and self._process is not None:
            if self._process.poll() is None:
                return self._control
            self._stop()
        try:
            ours, self._process = _start(self._program)
        except OSError as error:
            raise DecodersAwayError(_told(error)) from error
        self._control = ours
        self._generation += 1
        said = self._ask(ours, asdict(self._ceilings))
        self._versions, self.threads = said["versions"], said["threads"]
        return ours

    def _ask(
        self, control: socket.socket, question: Mapping[str, Any], *descriptors: int
    ) -> Mapping[str, Any]:
        try:
            socket.send_fds(control, [json.dumps(question).encode()], list(descriptors))
            answer = control.recv(MESSAGE_BYTES)
        except ConnectionError:
            answer = b""
        except OSError as error:
            self._stop()
            raise _ForkserverGoneError(_told(error)) from error
        if not answer:
            self._stop()
            raise _ForkserverGoneError("no decoder can be started: their first process ended")
        said: Mapping[str, Any] = json.loads(answer)
        return said

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._process is not None:
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class _ForkserverGoneError(DecodersAwayError):
    """The forkserver ended while it was asked; another one may do better."""


def _start(program: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Starts a forkserver; the connection to it, and its process.

    Raises:
        OSError: there is no room for it.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with contextlib.ExitStack() as stack:
        stack.callback(ours.close)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-m", program, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=environment_to_start() | _ONE_THREAD,
            )
        stack.pop_all()
    ours.settimeout(_START_SECONDS)
    return ours, process


def _shared_memory(nbytes: int) -> int:
    """A descriptor of memory that has no name.

    Raises:
        OSError: there is no room for it.
    """
    descriptor = os.memfd_create("hashwarden-upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, nbytes)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _seal(descriptor: int) -> None:
    """Shared memory never grows or shrinks from now on, and nobody maps it for writing any more.

    Linux before 5.1 does not know the last. What a worker then writes there harms nobody but
    itself, since nobody reads it.
    """
    size = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    try:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _F_SEAL_FUTURE_WRITE | size)
    except OSError:
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, size)


def _told(error: OSError) -> str:
    reason = os.strerror(error.errno) if error.errno else "time is up"
    return f"no decoder can be started: {reason}"


__all__ = ["PROGRAM", "Forkserver"]
