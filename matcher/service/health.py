"""Standard gRPC health, live apart from ready; and whether the event loop still turns.

`live` serves as soon as the process answers: restart it only when this fails. The empty name and
the names of the services serve once lists are loaded and the self-test passed, and stop serving
first when the server drains: send traffic only while they do. A stale list raises an alarm in the
log and in answers; it never makes the server unready, since matching on is better than not.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from grpc_health.v1 import health, health_pb2

if TYPE_CHECKING:
    from collections.abc import Callable

LIVE = "live"
#: Seconds between beats, and without one after which a loop counts as stuck.
BEAT_SECONDS, STUCK_SECONDS = 1.0, 30.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Sets what the standard health service says.

    Args:
        services: full names of the gRPC services whose readiness is told.
    """

    def __init__(self, services: tuple[str, ...]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._ready_names = ("", *services)
        self._ready = False

    @property
    def is_ready(self) -> bool:
        """What the empty name says; readable from any thread."""
        return self._ready

    async def start(self) -> None:
        """Live, not ready."""
        await self.servicer.set(LIVE, _SERVING)
        await self._set_ready(_NOT_SERVING)

    async def ready(self) -> None:
        """Loaded and self-tested."""
        await self._set_ready(_SERVING)

    async def drain(self) -> None:
        """No new traffic, please."""
        await self._set_ready(_NOT_SERVING)

    async def _set_ready(self, status: int) -> None:
        self._ready = status == _SERVING
        for name in self._ready_names:
            await self.servicer.set(name, status)


class Pulse:
    """Tells from any thread whether the event loop still turns."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    async def run(self) -> None:
        """Beats until cancelled."""
        while True:
            self._last = self._clock()
            await asyncio.sleep(BEAT_SECONDS)

    @property
    def beats(self) -> bool:
        """False once the loop has been stuck for long."""
        return self._clock() - self._last < STUCK_SECONDS
