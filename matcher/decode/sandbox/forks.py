"""The parent's end of the forkserver: starts it, has workers forked, and ends them.

Invariants: one question is under way at a time, so answers cannot be mixed up. A worker is known by
a descriptor of its process, so a signal never reaches another one. A forkserver that is gone is
started anew by the next question.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from matcher.decode.protection import Protection
from matcher.decode.sandbox.forkserver import MESSAGE_BYTES
from matcher.decode.sandbox.worker import GREETING
from matcher.errors import DecoderContractError, DecodersAwayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.decode.limits import DecodeLimits

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
_GREETING_SECONDS = 10.0
_END_SECONDS = 5.0


class WorkerGoneError(Exception):
    """The worker ended, or no longer takes what it is sent."""


class TooSlowError(Exception):
    """The worker did not answer in time."""


class Forkserver:
    """Starts workers. Safe to use from several threads.

    Args:
        limits: ceilings for one file.
        cpu_seconds: that one worker may use up in all.
        program: the module that forks them.
    """

    def __init__(self, limits: DecodeLimits, *, cpu_seconds: int, program: str = PROGRAM) -> None:
        self._program = program
        self._limits = limits
        self._cpu_seconds = cpu_seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._versions = ""
        self.threads = 0

    def versions(self) -> str:
        """The decoders at work and their versions; starts them where they are not.

        Raises:
            DecodersAwayError: they cannot be started.
        """
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
        with self._lock, contextlib.ExitStack() as stack:
            control = self._started()
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            stack.callback(ours.close)
            stack.enter_context(theirs)
            shared = _shared_memory(self._limits.encoded_bytes)
            memory = mmap.mmap(shared, 0)
            stack.callback(memory.close)
            fcntl.fcntl(
                shared,
                fcntl.F_ADD_SEALS,
                _F_SEAL_FUTURE_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL,
            )
            try:
                answer, handles = self._ask(
                    control, {"fork": {"threads": threads}}, theirs.fileno(), shared
                )
            finally:
                os.close(shared)
            if "error" in answer:
                raise DecodersAwayError(
                    f"no decoder can be started: {os.strerror(answer['error'])}"
                )
            stack.pop_all()
            theirs.close()
            return Worker(answer["pid"], handles[0], ours, memory)

    def ended(self, pid: int) -> int:
        """The exit status of a worker that ended, or was told to: negative for a signal."""
        with self._lock:
            if self._control is None:
                return 0
            try:
                answer, _ = self._ask(self._control, {"wait": pid})
            except DecodersAwayError:
                return 0
            return int(answer["status"])

    def close(self) -> None:
        """Ends the forkserver, and with it every worker."""
        with self._lock:
            self._stop()

    def _started(self) -> socket.socket:
        if self._control is not None and self._process is not None:
            if self._process.poll() is None:
                return self._control
            self._stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", self._program]
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, **_ONE_THREAD},
            )
        self._control = ours
        ours.settimeout(_START_SECONDS)
        order = {"limits": asdict(self._limits), "cpu_seconds": self._cpu_seconds}
        said, _ = self._ask(ours, order)
        self._versions, self.threads = said["versions"], said["threads"]
        return ours

    def _ask(
        self, control: socket.socket, question: Mapping[str, Any], *descriptors: int
    ) -> tuple[Mapping[str, Any], list[int]]:
        try:
            socket.send_fds(control, [json.dumps(question).encode()], list(descriptors))
            answer, handles, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        except OSError as error:
            self._stop()
            raise DecodersAwayError(f"decoders cannot be started: {error}") from error
        if not answer:
            self._stop()
            raise DecodersAwayError("decoders cannot be started: their first process ended")
        said: Mapping[str, Any] = json.loads(answer)
        return said, handles

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


class Worker:
    """One decode worker, for one thread.

    Args:
        pid: its process.
        handle: descriptor of that process.
        connection: to it.
        memory: shared with it; it cannot write there.
    """

    def __init__(self, pid: int, handle: int, connection: socket.socket, memory: mmap.mmap) -> None:
        self.pid = pid
        self._handle = handle
        self._connection = connection
        self._memory = memory
        self.files = 0

    def greeting(self) -> Protection:
        """What protects against it; the first that it says.

        Raises:
            WorkerGoneError, TooSlowError: it never said so.
            DecoderContractError: it said something else.
        """
        (bits,) = GREETING.unpack(self.read(GREETING.size, _GREETING_SECONDS))
        try:
            return Protection(bits)
        except ValueError:
            raise DecoderContractError("the decoder broke its contract: its greeting") from None

    def share(self, data: bytes) -> None:
        """Puts a file where the worker can read it."""
        self._memory[: len(data)] = data

    def write(self, data: bytes, seconds: float) -> None:
        """Sends all of it.

        Raises:
            WorkerGoneError, TooSlowError: it was not taken.
        """
        self._connection.settimeout(seconds)
        try:
            self._connection.sendall(data)
        except TimeoutError:
            raise TooSlowError from None
        except OSError:
            raise WorkerGoneError from None

    def read(self, nbytes: int, seconds: float) -> bytearray:
        """So many bytes.

        Raises:
            WorkerGoneError, TooSlowError: they did not come.
        """
        data = bytearray(nbytes)
        left = memoryview(data)
        self._connection.settimeout(seconds)
        while left:
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

    def end(self) -> None:
        """Kills it, whatever it does, and lets go of what was shared with it."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        select.select([self._handle], [], [], _END_SECONDS)
        os.close(self._handle)
        self._connection.close()
        self._memory.close()


def _shared_memory(nbytes: int) -> int:
    """A descriptor of memory that has no name and never grows or shrinks."""
    descriptor = os.memfd_create("hashwarden-upload", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, nbytes)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


__all__ = ["PROGRAM", "Forkserver", "TooSlowError", "Worker", "WorkerGoneError"]
