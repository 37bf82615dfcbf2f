"""What a streaming call over asyncio gives, ending with the status that the server gave.

A server may end a call while its client is still sending: it refuses an upload, or it shuts down.
gRPC for asyncio then replaces the server's status by `INTERNAL` wherever the message being sent
fails after that status came (https://github.com/grpc/grpc/issues/36066). The status is kept here
from the moment it comes. gRPC's blocking calls do not need this.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import grpc

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

Response = TypeVar("Response")
Known = TypeVar("Known")

_FAILED_WRITE = "Internal error from Core"
_WAIT_SECONDS = 5.0


async def responses(
    call: grpc.aio.StreamStreamCall[Any, Response] | grpc.aio.UnaryStreamCall[Any, Response],
) -> AsyncGenerator[Response, None]:
    """The call's responses; closing this before their end cancels the call.

    Raises:
        grpc.aio.AioRpcError: the call ended with an error; carries the server's status.
    """
    told: asyncio.Future[grpc.aio.AioRpcError] = asyncio.get_running_loop().create_future()

    def keep(ended: Any) -> None:
        """Called whenever gRPC sets a status; what it tells is at hand then."""
        status = grpc.aio.AioRpcError(
            _at_hand(ended.code()),
            grpc.aio.Metadata(),
            _at_hand(ended.trailing_metadata()),
            details=_at_hand(ended.details()),
            debug_error_string=_at_hand(ended.debug_error_string()),
        )
        if not told.done() and not _is_failed_write(status):
            told.set_result(status)

    call.add_done_callback(keep)
    try:
        async for response in call:
            yield response
    except grpc.aio.AioRpcError as error:
        if not _is_failed_write(error):
            raise
        try:
            status = await asyncio.wait_for(told, _WAIT_SECONDS)
        except TimeoutError:
            raise error from None
        raise status from error
    finally:
        call.cancel()  # changes nothing once it has ended


def _is_failed_write(error: grpc.aio.AioRpcError) -> bool:
    """Whether it was gRPC itself that set this status."""
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _FAILED_WRITE


def _at_hand(coroutine: Coroutine[Any, Any, Known]) -> Known:
    """What a coroutine returns that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        known: Known = returned.value
        return known
    coroutine.close()
    raise AssertionError("gRPC called back before it knew the status")
