"""The clocks that a fetch goes by; tests bring their own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """What time it is, and how to let it pass.

    Attributes:
        now: the wall clock, in UTC. It may be wrong, so nothing is skipped on its word.
        monotonic: seconds, for durations.
        sleep: waits for that many seconds.
    """

    now: Callable[[], datetime] = _now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


__all__ = ["Clock"]
