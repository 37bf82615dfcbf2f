"""A forkserver whose decoders do harm when a file asks: `python -m tests.planted_decoders FD`.

A planted file begins with `PLANTED` and a word; any other is decoded as ever.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

from matcher.decode import worker
from matcher.decode.sandbox import forkserver
from matcher.decode.sandbox import worker as sandboxed

PLANTED = b"planted:"
_decode = worker.decode
_connections: list[int] = []


def _run(connection, *arguments, **named):
    _connections.append(connection)
    return _honest_run(connection, *arguments, **named)


_honest_run = sandboxed.run


def planted(data, request, limits):
    """Does what the file says."""
    if not data.startswith(PLANTED):
        return _decode(data, request, limits)
    word = data.removeprefix(PLANTED).split(b":")[0].decode()
    return getattr(sys.modules[__name__], f"do_{word}")(data, request, limits)


def do_segfault(*_):
    ctypes.string_at(0)


def do_loop(*_):
    while True:
        pass


def do_sleep(*_):
    time.sleep(3600)


def do_memory(*_):
    return bytearray(1 << 40)


def do_raise(*_):
    raise KeyError("a bug")


def do_exit(*_):
    os._exit(0)


def do_silence(*_):
    """Closes its connection and goes on."""
    os.close(_connections[-1])
    time.sleep(3600)


def do_nonsense(data, request, limits):
    """Answers with whatever the file says after its word, in place of an answer."""
    os.write(_connections[-1], data.split(b":", 2)[2])
    time.sleep(3600)


worker.decode = planted
sandboxed.run = _run

if __name__ == "__main__":
    sys.exit(forkserver.main())
