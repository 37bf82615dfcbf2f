"""What the kernel lets a decode worker do: compute, and talk to its parent.

`limit` and then `close_filter` are called once in a freshly forked worker, which holds nothing but
its connection and the shared memory. Invariants: nothing can be given back afterwards; what could
not be had is reported, never assumed. After both the process cannot open a file, make a socket,
start a process or map code, nor start a thread where it was not allowed to, and it leaves no core
dump. What is limited holds without the filter, too.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
from contextlib import suppress
from pathlib import Path

from matcher.decode.protection import Protection

try:
    import pyseccomp as seccomp
except (ImportError, OSError, RuntimeError):  # libseccomp is missing, or this is no Linux
    seccomp = None

_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_NOBODY = 65534  # the uid and gid that own nothing, on every Linux
_PROT_EXEC = 4
_CLONE_THREAD = 0x10000

#: What decoding takes, found by running every format under the filter. Each is about memory, time
#: or a descriptor that is open already; what else a worker asks for is refused with EPERM, which
#: costs the file that wanted it and nothing else.
_ALLOWED = (
    *("read", "write", "close"),
    *("brk", "munmap", "mremap", "madvise"),
    *("futex", "sched_yield", "restart_syscall", "membarrier", "rseq", "set_robust_list"),
    *("clock_gettime", "clock_getres", "gettimeofday", "clock_nanosleep", "nanosleep"),
    *("rt_sigreturn", "rt_sigaction", "rt_sigprocmask", "sigaltstack"),
    *("getpid", "gettid", "getrandom", "sched_getaffinity", "sysinfo", "getrusage"),
    *("exit", "exit_group"),
)


def limit(*, memory_bytes: int, cpu_seconds: int, threads: bool) -> Protection:
    """Gives up for good what no system call filter is needed for.

    The kernel forgets which signal is to end this process with its parent: ask for it afterwards.

    Args:
        memory_bytes: of address space beyond what is mapped now.
        cpu_seconds: that this process may use up in all; the kernel kills it afterwards.
        threads: it may start threads of its own process.

    Returns:
        What could be had.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    had = Protection(0)
    if _limit_memory(memory_bytes):
        had |= Protection.MEMORY
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    if _limit_files(libc):
        had |= Protection.FILES
    if _drop_privileges(libc):
        had |= Protection.PRIVILEGES
    if not threads:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    return had


def _limit_memory(more: int) -> bool:
    with suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        return True
    return False


def _limit_files(libc: ctypes.CDLL) -> bool:
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
        return bool(libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    return False


def _drop_privileges(libc: ctypes.CDLL) -> bool:
    gains_none = libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    with suppress(OSError):
        if os.geteuid() == 0:
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
            libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # that made it so again
    return gains_none and os.geteuid() != 0


def close_filter(*, threads: bool) -> Protection:
    """Has the kernel refuse every system call that decoding does not take.

    Args:
        threads: it may start threads of its own process, which are confined as it is.

    Returns:
        `SYSTEM_CALLS`; nothing where libseccomp or the kernel has no filter.

    `mmap` and `mprotect` are let through only where they do not ask for memory that can be run.
    """
    if seccomp is None:
        return Protection(0)
    try:
        rules = seccomp.SyscallFilter(seccomp.ERRNO(errno.EPERM))
        for name in _ALLOWED:
            rules.add_rule(seccomp.ALLOW, name)
        for name in ("mmap", "mprotect"):
            no_code = seccomp.Arg(2, seccomp.MASKED_EQ, _PROT_EXEC, 0)
            rules.add_rule(seccomp.ALLOW, name, no_code)
        if threads:
            own = seccomp.Arg(0, seccomp.MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD)
            rules.add_rule(seccomp.ALLOW, "clone", own)
        # Its flags cannot be looked at; told that it does not exist, the C library takes `clone`.
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
        # Ending itself, as `abort` does, harms nobody else.
        rules.add_rule(seccomp.ALLOW, "tgkill", seccomp.Arg(0, seccomp.EQ, os.getpid()))
        rules.load()
    except (OSError, RuntimeError, ValueError):
        return Protection(0)
    return Protection.SYSTEM_CALLS


__all__ = ["close_filter", "limit"]
