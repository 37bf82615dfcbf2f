"""How a channel is set up, and gRPC's errors as ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from matcher.client.unreached import why_unreached
from matcher.errors import ServerError

if TYPE_CHECKING:
    from types import TracebackType

MAX_MESSAGE_BYTES = 32 << 20
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_STATS_DAYS = 30
_SHUTTING_DOWN = grpc.StatusCode.UNAVAILABLE.name
_RETRIES = {
    "methodConfig": [
        {
            "name": [
                {"service": "hashwarden.match.v1.MatchService", "method": name}
                for name in ("MatchImage", "LookupHashes", "HashImage")
            ]
            + [
                {"service": "hashwarden.match.v1.MatchRecordService", "method": name}
                for name in ("GetMatchRecord", "ReplayMatch", "ReportOutcome")
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2,
                # CANCELLED by a server is a call that reached it as it began to shut down, and that
                # it had not taken yet; what the caller cancels is not tried again.
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
            },
        }
    ]
}
OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", json.dumps(_RETRIES)),
    # A call that was sent beyond this is not tried again; by default that is 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
)


class OwnErrors:
    """Turns gRPC's errors into `ServerError`; holds no state of a call, so calls may share it."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if isinstance(error, grpc.RpcError):
            raise server_error(status_of(error), self._target) from error


def status_of(error: Any) -> status_pb2.Status:
    """The rich status of an RPC error, or what its code and text amount to."""
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def server_error(status: status_pb2.Status, target: str = "") -> ServerError:
    """The error that a status stands for; `target` where it may be that nobody answered at all."""
    code = next(each for each in grpc.StatusCode if each.value[0] == status.code)
    reason = called = ""
    for detail in status.details:
        info, about = error_details_pb2.ErrorInfo(), error_details_pb2.RequestInfo()
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(about):
            called = about.request_id
    away = code is grpc.StatusCode.UNAVAILABLE
    # A server of ours says in words what is wrong; of another's words the code says the most.
    message = status.message if reason and status.message else f"{code.name}: {status.message}"
    if away and target and not status.details:  # a server of ours gives details
        message = why_unreached(status.message, target)
    if code is grpc.StatusCode.UNIMPLEMENTED and not reason:
        message = (
            f"{code.name}: no such call is answered at that address; a server matches at one and "
            "keeps lists at another (the settings listen and lists_listen; `serve` prints both)"
        )
    if code is grpc.StatusCode.CANCELLED:  # by the server; who cancels here gets no status
        message = "the server was shutting down and has not answered; send it again"
        return ServerError(
            message, reason=reason or _SHUTTING_DOWN, retryable=True, request_id=called
        )
    return ServerError(message, reason=reason or code.name, retryable=away, request_id=called)
