"""A forkserver whose decoders do harm when a file asks: `python -m tests.planted_decoders FD`.

A planted file begins with `PLANTED` and a word; any other is decoded as ever.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time

import numpy as np

from matcher.decode import worker
from matcher.decode.sandbox import forkserver
from matcher.decode.sandbox import worker as sandboxed
from matcher.model import NotHashableReason, Undecodable

PLANTED = b"planted:"
#: Stands for the number of the request in what a file says.
NUMBER = 0x7E57AB1E
_honest = {"decode": worker.decode, "run": sandboxed.run, "answer": sandboxed._answer}
_write_all = sandboxed.write_all
_state = {"connection": -1, "number": 0, "more": b""}


def planted(word, rest=b""):
    """A file that asks for that."""
    return PLANTED + word.encode() + b":" + rest


def run(connection, *arguments, **named):
    _state["connection"] = connection
    return _honest["run"](connection, *arguments, **named)


def answer(data, request, limits, number):
    _state["number"] = number
    return _honest["answer"](data, request, limits, number)


def write_all(connection, data):
    """Says whatever else a file wants to have said after its answer."""
    _write_all(connection, data + _state["more"])
    _state["more"] = b""


def decode(data, request, limits):
    """Does what the file says."""
    if not data.startswith(PLANTED):
        return _honest["decode"](data, request, limits)
    word, rest = data.removeprefix(PLANTED).split(b":", 1)
    return globals()[f"do_{word.decode()}"](rest, request, limits)


def do_segfault(*_):
    ctypes.string_at(0)


def do_abort(*_):
    os.abort()


def do_loop(*_):
    while True:
        pass


def do_sleep(*_):
    time.sleep(3600)


def do_memory(*_):
    kept = []
    while True:
        kept.append(np.empty(1 << 26, np.uint8))


def do_raise(*_):
    raise KeyError("a bug")


def do_exit(*_):
    os._exit(0)


def do_silence(*_):
    """Closes its connection and goes on."""
    os.close(_state["connection"])
    time.sleep(3600)


def do_say(rest, *_):
    """Says what the file does, in place of an answer, and no more."""
    os.write(_state["connection"], _numbered(rest, _state["number"]))
    time.sleep(3600)


def do_half(rest, *_):
    """Says what the file does, and ends."""
    os.write(_state["connection"], _numbered(rest, _state["number"]))
    os._exit(0)


def do_late(rest, *_):
    """Says what the file does, long after anybody waits for it."""
    time.sleep(10)
    os.write(_state["connection"], _numbered(rest, _state["number"]))


def do_early(rest, *_):
    """Answers this file, and the one after it before it comes."""
    _state["more"] = _numbered(rest, _state["number"] + 1)
    return told("early")


def do_used(rest, request, limits):
    """Breaks down in every worker but a fresh one."""
    if _state["number"] > 1:
        do_segfault()
    return _honest["decode"](rest, request, limits)


def do_nap(rest, request, limits):
    time.sleep(0.3)
    return _honest["decode"](rest, request, limits)


def do_pid(*_):
    return told(str(os.getpid()))


def do_environ(*_):
    return told(" ".join(sorted(name for name in os.environ if name.startswith("HASHWARDEN"))))


def told(text):
    return Undecodable(NotHashableReason.MALFORMED, text)


def _numbered(data, number):
    return data.replace(struct.pack("<I", NUMBER), struct.pack("<I", number))


worker.decode = decode
sandboxed.run = run
sandboxed._answer = answer
sandboxed.write_all = write_all

if __name__ == "__main__":
    sys.exit(forkserver.main())
