"""gRPC's handlers of methods, taken apart and put together again around what they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

Handler = Any  # grpc.RpcMethodHandler is generic over what mypy cannot see here
Behavior = Any  # a coroutine function, or one of an asynchronous generator
Deserializer = Callable[[bytes], Any]


def behavior_of(handler: Handler) -> Behavior:
    """What the handler does with a request, or with a stream of them, and a context."""
    return (
        handler.stream_stream or handler.unary_stream or handler.stream_unary or handler.unary_unary
    )


def with_behavior(
    handler: Handler, behavior: Behavior, deserializer: Deserializer | None = None
) -> Handler:
    """A handler of the same kind of call that does something else.

    Args:
        handler: says what kind.
        behavior: what to do instead.
        deserializer: of its messages; None for the handler's own.
    """
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[handler.request_streaming, handler.response_streaming]
    return make(
        behavior,
        request_deserializer=deserializer or handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )
