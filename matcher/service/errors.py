"""The one table from errors to gRPC status, with rich details (AIP-193)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf import duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from hashlists import errors as lists
from matcher import errors as match
from matcher.service.request_ids import HEADER, id_of
from matcher.telemetry import request_id

if TYPE_CHECKING:
    from grpc.aio import ServicerContext

DOMAIN = "hashwarden"
#: The metadata in which a status with its details is told.
STATUS_KEY = "grpc-status-details-bin"
_RETRY_SECONDS = 1
_log = logging.getLogger(__name__)

#: What may be tried again after a while; the answer says after which.
_PASSING = (
    match.OverloadedError,
    match.NotReadyError,
    match.ThrottledError,
    match.DecodersAwayError,
    match.TooManyAttemptsError,
)

#: The first class that fits decides, so subclasses stand before their bases.
STATUS_OF: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (match.UnknownPolicyError, grpc.StatusCode.NOT_FOUND),
    (match.UnknownViewError, grpc.StatusCode.INVALID_ARGUMENT),
    (match.PolicyError, grpc.StatusCode.FAILED_PRECONDITION),
    (match.InvalidRequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (match.NotReadyError, grpc.StatusCode.UNAVAILABLE),
    (match.OverloadedError, grpc.StatusCode.UNAVAILABLE),
    (match.ClimbingError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (match.ThrottledError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (match.DecodersAwayError, grpc.StatusCode.UNAVAILABLE),
    (match.UnprotectedError, grpc.StatusCode.FAILED_PRECONDITION),
    (match.UploadTooSlowError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (match.ExportNotAllowedError, grpc.StatusCode.PERMISSION_DENIED),
    (match.UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (match.RoleMissingError, grpc.StatusCode.PERMISSION_DENIED),
    (match.PolicyWidenedError, grpc.StatusCode.PERMISSION_DENIED),
    (match.TooManyAttemptsError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (match.BrokenSealError, grpc.StatusCode.INVALID_ARGUMENT),
    (match.TokenExpiredError, grpc.StatusCode.FAILED_PRECONDITION),
    (match.SealingKeyError, grpc.StatusCode.FAILED_PRECONDITION),
    (match.MatchRecordsError, grpc.StatusCode.UNAVAILABLE),
    (match.NoMatchRecordsError, grpc.StatusCode.FAILED_PRECONDITION),
    (match.MatchNotFoundError, grpc.StatusCode.NOT_FOUND),
    (match.CatalogNeededError, grpc.StatusCode.FAILED_PRECONDITION),
    (match.CredentialsError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.AccessDatabaseError, grpc.StatusCode.UNAVAILABLE),
    (lists.AuditError, grpc.StatusCode.UNAVAILABLE),
    (lists.ClientInvalidError, grpc.StatusCode.INVALID_ARGUMENT),
    (lists.ClientNotFoundError, grpc.StatusCode.NOT_FOUND),
    (lists.ClientExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (lists.TokenKeyError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.ListNotFoundError, grpc.StatusCode.NOT_FOUND),
    (lists.EntryNotFoundError, grpc.StatusCode.NOT_FOUND),
    (lists.RevisionNotFoundError, grpc.StatusCode.NOT_FOUND),
    (lists.ListExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (lists.ImportInProgressError, grpc.StatusCode.ABORTED),
    (lists.ImportConflictError, grpc.StatusCode.ALREADY_EXISTS),
    (lists.HarmMismatchError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.InvalidNameError, grpc.StatusCode.INVALID_ARGUMENT),
    (lists.UnknownFormatError, grpc.StatusCode.INVALID_ARGUMENT),
    (lists.OptionsError, grpc.StatusCode.INVALID_ARGUMENT),
    (lists.FormatError, grpc.StatusCode.INVALID_ARGUMENT),
    (lists.DigestMismatchError, grpc.StatusCode.DATA_LOSS),
    (lists.TooManyRejectionsError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.WithdrawalsRefusedError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.FullListRefusedError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.FileOrderError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.ImportDeclinedError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.ListChangedError, grpc.StatusCode.ABORTED),
    (lists.DerivedHashError, grpc.StatusCode.INVALID_ARGUMENT),
    (lists.ExchangeNotFoundError, grpc.StatusCode.NOT_FOUND),
    (lists.ExchangeExistsError, grpc.StatusCode.ALREADY_EXISTS),
    (lists.ListFedError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.HandlingWidenedError, grpc.StatusCode.PERMISSION_DENIED),
    (lists.ExchangeConflictError, grpc.StatusCode.ABORTED),
    (lists.ExchangeAwayError, grpc.StatusCode.UNAVAILABLE),
    (lists.ExchangeError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.ExportTargetError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.EncryptionRecipientError, grpc.StatusCode.INVALID_ARGUMENT),
    (lists.DecryptionKeyError, grpc.StatusCode.INVALID_ARGUMENT),
    (lists.ImportProcessError, grpc.StatusCode.UNAVAILABLE),
    (lists.ExportProcessError, grpc.StatusCode.UNAVAILABLE),
    (lists.SnapshotLockedError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.SnapshotError, grpc.StatusCode.UNAVAILABLE),
    (lists.SnapshotStoreError, grpc.StatusCode.UNAVAILABLE),
    (lists.SnapshotKeyError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.EncryptionKeyError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.EncryptedFileError, grpc.StatusCode.DATA_LOSS),
    (lists.BackupError, grpc.StatusCode.FAILED_PRECONDITION),
    (lists.CatalogError, grpc.StatusCode.UNAVAILABLE),
)


def status_of(error: Exception) -> status_pb2.Status:
    """The status that a caller sees for `error`.

    What is not in the table is a bug of ours: it is logged with its traceback, and the caller
    gets `INTERNAL` without its text, which might hold what must not leave.
    """
    code = _code_of(error)
    if code is not None:
        return _with_request_id(_status(code, str(error), error))
    _log.error("unexpected error", exc_info=error)
    said = "internal error; the server's log has more"
    return _with_request_id(_status(grpc.StatusCode.INTERNAL, said, error))


def _code_of(error: Exception) -> grpc.StatusCode | None:
    return next((code for kind, code in STATUS_OF if isinstance(error, kind)), None)


def _status(code: grpc.StatusCode, message: str, error: Exception) -> status_pb2.Status:
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=message)
    reason = getattr(error, "reason", "INTERNAL")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    if isinstance(error, match.InvalidRequestError) and error.field:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=error.field, description=message
        )
        status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    if isinstance(error, _PASSING):
        seconds = getattr(error, "retry_seconds", _RETRY_SECONDS)
        delay = duration_pb2.Duration(seconds=seconds)
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def _with_request_id(status: status_pb2.Status) -> status_pb2.Status:
    if called := request_id.get():
        status.details.add().Pack(error_details_pb2.RequestInfo(request_id=called))
    return status


def reason_of(status: status_pb2.Status) -> str:
    """The reason that a status of ours tells, one of a closed set; empty where it tells none."""
    told = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(told) and told.domain == DOMAIN:
            return str(told.reason)
    return ""


async def abort(context: ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """Ends an RPC with the status of `error`."""
    called = id_of(context)  # first: it stands in the status, too
    status: Any = rpc_status.to_status(status_of(error))  # a named tuple, which its type hides
    trailing = (*status.trailing_metadata, (HEADER, called))
    await context.abort_with_status(status._replace(trailing_metadata=trailing))
    raise AssertionError("abort_with_status always raises")


class StandingRefusal:
    """What calls are refused with by the hundred: its status is made once.

    Only the id of the call is put behind it: two messages one behind the other are read as one, in
    which repeated fields hold what both held (Protocol Buffers, Encoding, "Last One Wins").

    Args:
        error: what is told.

    Raises:
        ValueError: the error is not in the table.
    """

    def __init__(self, error: Exception) -> None:
        code = _code_of(error)
        if code is None:
            raise ValueError(f"{type(error).__name__} has no status")
        self._code = code
        self._message = str(error)
        self._status = _status(code, self._message, error).SerializeToString()

    async def abort(self, context: ServicerContext[Any, Any]) -> NoReturn:
        """Ends an RPC with it."""
        called = id_of(context)
        status = self._status + _with_request_id(status_pb2.Status()).SerializeToString()
        trailing = ((STATUS_KEY, status), (HEADER, called))
        await context.abort(self._code, self._message, trailing)
        raise AssertionError("abort always raises")
