"""What a forkserver is told when it starts; apart, so that its parent needs none of its modules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matcher.decode.limits import DecodeLimits

#: The largest message between a forkserver and its parent.
MESSAGE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What each worker may use up.

    Attributes:
        limits: for one file.
        memory_bytes: of address space beyond what it begins with.
        cpu_seconds: in all.
        niceness: what it adds to its own; whoever answers callers goes first, since even a refusal
            would wait where decoders fill the machine.
    """

    limits: DecodeLimits
    memory_bytes: int
    cpu_seconds: int
    niceness: int


__all__ = ["MESSAGE_BYTES", "Ceilings"]
