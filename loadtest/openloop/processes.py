"""CPU time and memory of a server's processes, its children's children included, over time.

A process that ended is charged to its parent, once that has waited for it, as the kernel does it.
So the sum over the tree never loses what a worker took that was replaced.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import psutil

_PERIOD_SECONDS: Final = 0.5
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at all processes.

    Attributes:
        at: seconds on the monotonic clock.
        cpu: CPU seconds so far, by role.
        memory: MiB that are no file's, by role.
    """

    at: float
    cpu: dict[str, float]
    memory: dict[str, float]


@dataclass(slots=True)
class Watch:
    """Looks at process trees every half second, from a thread of its own.

    Attributes:
        roots: the first process of each tree, by a name for it.
        samples: what was seen so far.
    """

    roots: dict[str, int]
    samples: list[Sample] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.look()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.look()

    def look(self) -> Sample:
        """One look, kept with the others."""
        sample = sample_of(self.roots)
        self.samples.append(sample)
        return sample

    def _run(self) -> None:
        while not self._stop.wait(_PERIOD_SECONDS):
            self.look()


def sample_of(roots: dict[str, int]) -> Sample:
    """CPU time and memory of process trees, by role."""
    cpu: dict[str, float] = {}
    memory: dict[str, float] = {}
    at = time.monotonic()
    for name, pid in roots.items():
        commands: dict[int, list[str]] = {}
        for process, is_root in _tree(pid):
            try:
                with process.oneshot():
                    times = process.cpu_times()
                    command = commands[process.pid] = process.cmdline()
                    role = role_of(command, commands.get(process.ppid()))
                role = name if is_root else f"{name}: {role}"
                taken = times.user + times.system
                taken += times.children_user + times.children_system
                own = _anonymous_mib(process.pid)
            except (psutil.Error, OSError):
                continue  # it ended; its parent is charged
            cpu[role] = cpu.get(role, 0.0) + taken
            memory[role] = memory.get(role, 0.0) + own
    return Sample(at, cpu, memory)


def role_of(command: list[str], parents: list[str] | None = None) -> str:
    """What a process is for, by its command line: the module that it runs, or its program.

    Args:
        command: of the process.
        parents: of its parent. One that was forked and runs nothing else has the same.
    """
    if command and command == parents:
        return f"forks of {role_of(command)}"
    if "-m" in command[:-1]:
        return command[command.index("-m") + 1].rpartition(".")[2]
    if any("forkserver" in word for word in command):
        return "forkserver"
    return Path(command[0]).name if command else "ended"


def _tree(pid: int) -> list[tuple[psutil.Process, bool]]:
    try:
        root = psutil.Process(pid)
        return [(root, True), *((each, False) for each in root.children(recursive=True))]
    except psutil.Error:
        return []


def _anonymous_mib(pid: int) -> float:
    """Memory that is no file's: what a leak would grow. Mapped lists and libraries are left out."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / _MIB
    return 0.0
