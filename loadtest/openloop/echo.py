"""A bare gRPC server that answers every image with the same bytes: the floor of any service.

    python -m loadtest.openloop.echo

It takes and gives bytes as they are, unary and over streams, under the names of `MatchService`.
Prints its address, and serves until it is told to end.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SERVICE = "hashwarden.match.v1.MatchService"
_LARGEST = 32 << 20


async def _image(request: bytes, _: Any) -> bytes:
    return request


async def _images(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield request


async def serve() -> None:
    """Serves until SIGTERM or SIGINT."""
    options = (
        ("grpc.max_send_message_length", _LARGEST),
        ("grpc.max_receive_message_length", _LARGEST),
    )
    server = grpc.aio.server(options=options)
    handlers: dict[str, Any] = {
        "MatchImage": grpc.unary_unary_rpc_method_handler(_image),
        "MatchImages": grpc.stream_stream_rpc_method_handler(_images),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stop = asyncio.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await stop.wait()
    await server.stop(1.0)


if __name__ == "__main__":
    asyncio.run(serve())
