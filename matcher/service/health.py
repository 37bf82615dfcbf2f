"""Standard gRPC health, live apart from ready.

`live` serves as soon as the process answers: restart it only when this fails. The empty name and
the names of the services serve once lists are loaded and the self-test passed, and stop serving
first when the server drains: send traffic only while they do. A stale list raises an alarm in the
log and in answers; it never makes the server unready, since matching on is better than not.
"""

from __future__ import annotations

from grpc_health.v1 import health, health_pb2

LIVE = "live"
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
        for name in self._ready_names:
            await self.servicer.set(name, status)
