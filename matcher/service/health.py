"""Standard gRPC health, live apart from ready; and whether the event loop still turns.

`live` serves as soon as the process answers: restart it only when this fails. The empty name and
the names of the services serve once lists are loaded and the self-test passed, and stop serving
first when the server drains: send traffic only while they do. A stale list raises an alarm in the
log and in answers; it never makes the server unready, since matching on is better than not.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

LIVE = "live"
#: Seconds between beats, and without one after which a loop counts as stuck.
BEAT_SECONDS, STUCK_SECONDS = 1.0, 30.0
_SERVING = health_pb2.HealthCheckResponse.SERVING
_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """Sets what the standard health service says.

    Args:
        services: full names of the gRPC services whose readiness is told.
    """

    def __init__(self, services: tuple[str, ...]) -> None:
        self.servicer = HealthServicer()
        self._ready_names = ("", *services)
        self._ready = False

    @property
    def is_ready(self) -> bool:
        """What the empty name says; readable from any thread."""
        return self._ready

    async def start(self) -> None:
        """Live, not ready."""
        self.servicer.tell(LIVE, _SERVING)
        self._set_ready(_NOT_SERVING)

    async def ready(self) -> None:
        """Loaded and self-tested."""
        self._set_ready(_SERVING)

    async def drain(self) -> None:
        """No new traffic, please. Who watches is told so, and not waited for."""
        self._set_ready(_NOT_SERVING)
        self.servicer.end()

    def _set_ready(self, status: int) -> None:
        self._ready = status == _SERVING
        for name in self._ready_names:
            self.servicer.tell(name, status)


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Tells what it was told last. Single event loop only.

    The one of grpcio-health-checking has watchers watch on when the server ends, so that each of
    them holds up its end for as long as accepted work may take.
    """

    def __init__(self) -> None:
        self._statuses: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._ended = False

    def tell(self, name: str, status: int) -> None:
        """What to say of a service from now on."""
        self._statuses[name] = status
        self._changed.set()
        self._changed = asyncio.Event()

    def end(self) -> None:
        """Nothing will change any more."""
        self._ended = True
        self._changed.set()

    async def Check(  # noqa: N802 - named by the proto
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """What is to be said now."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802 - named by the proto
        self, request: health_pb2.HealthCheckRequest, _: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """What is to be said now, and whenever that changes, until the server ends."""
        said = None
        while True:
            changed, ended = self._changed, self._ended
            status = self._statuses.get(request.service, _UNKNOWN)
            if status != said:
                said = status
                yield health_pb2.HealthCheckResponse(status=status)
            if ended:
                return
            await changed.wait()


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
