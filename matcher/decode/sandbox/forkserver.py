"""Forks decode workers: `python -m matcher.decode.sandbox.forkserver FD`.

Starting Python and the codecs takes a quarter of a second, forking a process that has them a few
milliseconds. This process has one thread, decodes samples once, and from then on only forks, waits
for who ended, and never sees a byte of an upload. It ends when its parent closes the connection,
and its workers end with it.

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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matcher.decode import worker as decoders
from matcher.decode.limits import DecodeLimits
from matcher.decode.sandbox import worker
from matcher.decode.worker.warming import warm_up
from matcher.parent import end_with

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MESSAGE_BYTES = 64 * 1024
_DESCRIPTORS = 2


def main() -> int:
    """The program; see the module."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to act on
    with socket.socket(fileno=int(sys.argv[1])) as control:
        order = json.loads(control.recv(MESSAGE_BYTES))
        limits = DecodeLimits(**order["limits"])
        samples = warm_up()
        gc.collect()
        gc.freeze()  # collecting in a worker would copy every page
        threads = len(list(Path("/proc/self/task").iterdir()))
        _send(control, {"versions": decoders.versions(), "samples": samples, "threads": threads})
        while True:
            message, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, _DESCRIPTORS)
            if not message:
                return 0
            asked = json.loads(message)
            if "wait" in asked:
                _, status = os.waitpid(asked["wait"], 0)
                _send(control, {"status": os.waitstatus_to_exitcode(status)})
            else:
                work = partial(
                    worker.run, limits=limits, cpu_seconds=order["cpu_seconds"], **asked["fork"]
                )
                _fork(control, descriptors, work)


def _fork(control: socket.socket, descriptors: list[int], work: Callable[[int, int], None]) -> None:
    connection, shared = descriptors
    this = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(connection)
        os.close(shared)
        _send(control, {"error": error.errno})
        return
    if not pid:
        control.close()
        _be_worker(this, partial(work, connection, shared))
    os.close(connection)
    os.close(shared)
    handle = os.pidfd_open(pid)  # nobody but this process waits for it, so the number is its own
    socket.send_fds(control, [json.dumps({"pid": pid}).encode()], [handle])
    os.close(handle)


def _be_worker(parent: int, work: Callable[[], None]) -> None:
    """Never returns to what the forkserver was doing."""
    status = 1
    try:
        if end_with(parent, signal.SIGKILL):
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
