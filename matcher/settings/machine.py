"""What the machine grants this process."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def usable_cpus() -> int:
    """CPUs that this process may run on, or fewer where its quota of their time is less."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(count, cpu_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")) or count)


def cpu_quota(membership: Path, root: Path) -> int | None:
    """CPUs that control groups (version 2) grant a process, rounded up; None without a bound.

    Args:
        membership: the file that names the process's group.
        root: where groups are mounted; a container sees its own group there.
    """
    quotas = []
    with contextlib.suppress(OSError, ValueError):
        named = next(
            (line[3:] for line in membership.read_text().splitlines() if line.startswith("0::")), ""
        )
        group = root / named.lstrip("/")
        for each in (group, *group.parents):
            if each.is_relative_to(root) and (each / "cpu.max").exists():
                granted, period = (each / "cpu.max").read_text().split()
                if granted != "max":
                    quotas.append(-(-int(granted) // int(period)))
    return max(1, min(quotas)) if quotas else None


__all__ = ["cpu_quota", "usable_cpus"]
