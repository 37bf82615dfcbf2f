"""Tells whether the process that opened a staged change still lives.

A process is named by boot, process-id namespace, process id and start time, so that a number used
again after a restart, or in another container, is not taken for it. Where a process of that boot
and namespace cannot be looked up, its last heartbeat decides.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

#: Microseconds without a heartbeat after which a process that cannot be looked up counts as dead.
HEARTBEAT_TIMEOUT_US = 15 * 60 * 1_000_000


def this_process() -> str:
    """The name of the running process, as stored with the changes it opens."""
    return f"{_host()} {os.getpid()} {_start_time(os.getpid()) or '?'}"


def is_alive(owner: str, *, heartbeat_at: int, now: int) -> bool:
    """Whether the process named `owner` may still be staging.

    Args:
        owner: what `this_process` returned there.
        heartbeat_at: its last sign of life, in microseconds since 1970.
        now: the present, likewise.
    """
    host, _, process = owner.partition(" ")
    if host == _host() and host != "?":
        pid, _, started = process.partition(" ")
        return pid.isdigit() and _start_time(int(pid)) == started
    boot, here = host.partition("/")[0], _host().partition("/")[0]
    if "?" not in (boot, here) and boot != here:
        return False  # SQLite serves one host: another boot is an earlier one
    return now - heartbeat_at < HEARTBEAT_TIMEOUT_US


@lru_cache(maxsize=1)
def _host() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return "?"
    return f"{boot}/{namespace}"


def _start_time(pid: int) -> str | None:
    """Start of a process in clock ticks since boot; None when no such process lives."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    state, *fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in "ZX" else fields[18]
