"""Forks decode workers: `python -m matcher.decode.sandbox.forkserver FD`.

Starting Python and the codecs takes a quarter of a second, forking a process that has them a few
milliseconds. This process has one thread, decodes samples once, and from then on only forks, kills,
waits for who ended, and never sees a byte of an upload. It ends when its parent closes the
connection, and its workers end with it. Signals by which a terminal or a service manager ends all
processes of a group are its parent's to act on: accepted work is finished first.

The connection is a socket of type `SOCK_SEQPACKET`; each message is one JSON document, and a
message that asks for a worker carries two descriptors: the worker's end of a stream socket and the
shared memory. Both ends are trusted.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import traceback
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matcher.decode import worker as decoders
from matcher.decode.limits import DecodeLimits
from matcher.decode.sandbox import worker
from matcher.decode.sandbox.orders import MESSAGE_BYTES, Ceilings
from matcher.decode.worker.warming import warm_up

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DESCRIPTORS = 2
_NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """The program; see the module."""
    for each in _NOT_OURS:
        signal.signal(each, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as control:
        order = json.loads(control.recv(MESSAGE_BYTES))
        ceilings = Ceilings(**{**order, "limits": DecodeLimits(**order["limits"])})
        warm_up()
        gc.collect()
        gc.freeze()  # collecting in a worker would copy every page
        threads = len(list(Path("/proc/self/task").iterdir()))
        _send(control, {"versions": decoders.versions(), "threads": threads})
        _Forks(control, ceilings).serve()
    return 0


class _Forks:
    """Does what the parent asks for.

    Args:
        control: connection to it.
        ceilings: what each worker may use up.
    """

    def __init__(self, control: socket.socket, ceilings: Ceilings) -> None:
        self._control = control
        self._ceilings = ceilings
        self._workers: set[int] = set()

    def serve(self) -> None:
        """Until the parent closes the connection."""
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, _DESCRIPTORS)
            if not message:
                return
            asked = json.loads(message)
            if "end" in asked:
                answer: Mapping[str, Any] = {"status": self._end(asked["end"])}
            else:
                answer = self._fork(*descriptors, **asked["fork"])
            _send(self._control, answer)

    def _fork(self, connection: int, shared: int, *, threads: bool) -> Mapping[str, Any]:
        this = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            return {"error": error.errno}
        else:
            if not pid:
                work = partial(worker.run, connection, shared, self._ceilings)
                _be_worker(partial(work, parent=this, threads=threads))
            self._workers.add(pid)
            return {"pid": pid}
        finally:
            os.close(connection)
            os.close(shared)

    def _end(self, pid: int) -> int | None:
        """Kills a worker, unless it has ended; its exit status, and None where it is not ours.

        Nobody else waits for it, so its number is not given to another process before.
        """
        if pid not in self._workers:
            return None
        with suppress(PermissionError):  # where a process may kill none but of its own user
            os.kill(pid, signal.SIGKILL)
            self._workers.discard(pid)
            _, status = os.waitpid(pid, 0)
            return os.waitstatus_to_exitcode(status)
        return None


def _be_worker(work: Callable[[], None]) -> None:
    """Never returns to what the forkserver was doing."""
    status = 1
    try:
        work()
        status = 0
    except BrokenPipeError:
        status = 0  # the parent has gone
    except BaseException:  # noqa: BLE001 - nothing of this process may go on as the forkserver
        traceback.print_exc()
    finally:
        os._exit(status)


def _send(control: socket.socket, message: Mapping[str, Any]) -> None:
    control.send(json.dumps(message).encode())


if __name__ == "__main__":
    sys.exit(main())
