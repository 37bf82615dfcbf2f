"""What a confined process tries, it does not get."""

from __future__ import annotations

import subprocess
import sys

import pytest

ATTEMPTS = {
    "open": "open('/etc/hostname').read()",
    "create": "open('/tmp/x', 'w')",
    "socket": "socket.socket()",
    "pair": "socket.socketpair()",
    "fork": "os.fork()",
    "exec": "os.execv('/bin/true', ['true'])",
    "thread": "threading.Thread(target=int).start()",
    "kill": "os.kill(os.getppid(), 0)",
    "list": "os.listdir('/')",
    "stat": "os.stat('/etc/passwd')",
    "unlink": "os.unlink('/tmp/x')",
    "root": "os.setuid(0)",
    "limit": "resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
    "memory": "bytearray(1 << 33)",
    "code": "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)",
    "copy": "os.dup(1)",
    "ptrace": "refused(ctypes.CDLL(None, use_errno=True).ptrace(16, os.getppid(), 0, 0))",
}
PROGRAM = """
import ctypes, mmap, os, resource, socket, sys, threading
from matcher.decode.sandbox import confinement
def refused(result):
    if result == -1:
        raise OSError
confinement.limit(memory_bytes=1 << 28, cpu_seconds=60, threads={threads})
confinement.close_filter(threads={threads})
try:
    {attempt}
except (OSError, MemoryError, RuntimeError, ValueError):
    os.write(1, b"refused")
else:
    os.write(1, b"done")
os._exit(0)
"""


def tried(attempt, *, threads=False):
    program = PROGRAM.format(attempt=attempt, threads=threads)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, timeout=170, text=True
    )
    return done.stdout


@pytest.mark.parametrize("name", ATTEMPTS)
def test_it_is_refused(name):
    assert tried(ATTEMPTS[name]) == "refused"


def test_computing_is_not():
    assert tried("sum(bytearray(1 << 20)); sorted(range(1000))") == "done"


def test_threads_are_allowed_where_they_must_be_and_processes_never():
    assert tried(ATTEMPTS["thread"], threads=True) == "done"
    assert tried(ATTEMPTS["fork"], threads=True) == "refused"
    assert (
        tried("subprocess = os.posix_spawn('/bin/true', ['true'], {})", threads=True) == "refused"
    )
    assert tried(ATTEMPTS["open"], threads=True) == "refused"
