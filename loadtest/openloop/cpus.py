"""Which CPUs a server has, and which what measures it.

On the same CPUs a load generator takes from the server what it is to measure: at three times the
load it takes three times as much. Apart from each other, neither waits for the other; the server
then is one of a smaller machine, by which its peak is measured, too.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Cpus:
    """The CPUs of each side, by number.

    Attributes:
        server: of all processes of a server, and of the floor that it is compared with.
        generator: of what sends and counts.
    """

    server: frozenset[int]
    generator: frozenset[int]

    @classmethod
    def shared(cls) -> Self:
        """Both have all that there are."""
        usable = frozenset(os.sched_getaffinity(0))
        return cls(usable, usable)

    @classmethod
    def apart(cls) -> Self:
        """The generator has one of its own.

        Raises:
            RuntimeError: there is only one.
        """
        *first, last = sorted(os.sched_getaffinity(0))
        if not first:
            raise RuntimeError("a server and its load apart from each other need two CPUs")
        return cls(frozenset(first), frozenset({last}))


@contextlib.contextmanager
def confined(cpus: frozenset[int]) -> Iterator[None]:
    """Processes that this thread starts meanwhile keep to these CPUs for good."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
