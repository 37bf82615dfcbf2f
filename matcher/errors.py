"""Everything that can go wrong on the image side and is not a bug.

`matcher.service.errors` holds the one table from these (and those of `hashlists.errors`) to gRPC
status codes. No message repeats a hash, a token or a byte of an upload.
"""

from __future__ import annotations

import os

from hashlists.errors import HashlistsError


class MatcherError(Exception):
    """Base of all errors of this package.

    Attributes:
        reason: stable, UPPER_SNAKE_CASE, for programs (AIP-193 `ErrorInfo.reason`).
    """

    reason = "MATCHER_ERROR"


class InvalidRequestError(MatcherError):
    """A caller's request breaks the contract; `field` names the field at fault."""

    reason = "REQUEST_INVALID"

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field


class TooLargeError(InvalidRequestError):
    """An upload passes the limit of encoded bytes."""

    reason = "IMAGE_TOO_LARGE"


class PolicyError(MatcherError):
    """A policy is empty, names what does not exist, or would raise too many chance hits."""

    reason = "POLICY_INVALID"


class UnknownPolicyError(PolicyError):
    """No policy goes by that name."""

    reason = "POLICY_UNKNOWN"


class UnknownViewError(PolicyError):
    """No view goes by that name."""

    reason = "VIEW_UNKNOWN"


class SettingsError(MatcherError):
    """A setting, from the environment or a file, is wrong; the message names it and its place."""

    reason = "SETTINGS_INVALID"


class NotReadyError(MatcherError):
    """Nothing is loaded yet, or the self-test failed."""

    reason = "NOT_READY"


class SelfTestError(NotReadyError):
    """Hashing or matching gives other results here than it must; nothing may be served."""

    reason = "SELF_TEST_FAILED"


class OverloadedError(MatcherError):
    """More work is in flight than the service accepts; the caller may try again."""

    reason = "OVERLOADED"


class ThrottledError(MatcherError):
    """Images of this client keep taking decoders down, so it may have fewer in work than others.

    Attributes:
        retry_seconds: after which another try is worth while.
    """

    reason = "CLIENT_THROTTLED"

    def __init__(self, message: str, *, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class ClimbingError(ThrottledError):
    """A query belongs to a series of near-identical ones, whose answers are held to a rate."""

    reason = "QUERIES_TOO_SIMILAR"


class UploadTooSlowError(MatcherError):
    """The upload of a list file brings too little in the time that it may take."""

    reason = "UPLOAD_TOO_SLOW"


class ExportNotAllowedError(MatcherError):
    """This server exports nothing to callers over the network."""

    reason = "EXPORT_NOT_ALLOWED"


class CallRefusedError(MatcherError):
    """A call is refused for who called.

    Attributes:
        why: for the audit alone, in more detail than callers are told; one of a closed set.
        client: the client that was known all the same; empty for none.
    """

    def __init__(self, message: str, *, why: str = "", client: str = "") -> None:
        super().__init__(message)
        self.why = why or self.reason
        self.client = client


class UnauthenticatedError(CallRefusedError):
    """Who calls is not known. All that may be wrong with credentials is told in the same words."""

    reason = "UNAUTHENTICATED"


class RoleMissingError(CallRefusedError):
    """The client is known, and may not do this."""

    reason = "ROLE_MISSING"


class PolicyWidenedError(MatcherError):
    """A request asks for more than the client's policy allows."""

    reason = "POLICY_WIDENED"


class TooManyAttemptsError(CallRefusedError):
    """Too many calls with wrong credentials came from one place."""

    reason = "TOO_MANY_ATTEMPTS"

    def __init__(self, message: str, *, retry_seconds: int = 1) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class SealingKeyError(MatcherError):
    """A key that seals what is kept of uploads is missing, open to others, or another one."""

    reason = "SEALING_KEY_INVALID"


class BrokenSealError(MatcherError):
    """What was sealed cannot be opened: it was altered, or sealed elsewhere."""

    reason = "SEAL_BROKEN"


class TokenExpiredError(MatcherError):
    """An upload's token is older than tokens count."""

    reason = "TOKEN_EXPIRED"


class MatchRecordsError(MatcherError):
    """The records of matches cannot be opened, read or written."""

    reason = "MATCH_RECORDS_UNAVAILABLE"


class NoMatchRecordsError(MatcherError):
    """This server keeps no records of matches."""

    reason = "MATCH_RECORDS_OFF"


class MatchNotFoundError(MatcherError):
    """No record of a match by that id is kept, or none that the caller may see."""

    reason = "MATCH_NOT_FOUND"


class CatalogNeededError(MatcherError):
    """Only a server that has the catalog can answer."""

    reason = "CATALOG_NEEDED"


class CredentialsError(MatcherError):
    """A certificate, its key or a token cannot be read, or do not belong together."""

    reason = "CREDENTIALS_INVALID"


class DecoderContractError(MatcherError):
    """A decoder gave back something other than its contract; the item counts as failed."""

    reason = "DECODER_CONTRACT_BROKEN"


class DecodersAwayError(MatcherError):
    """No decoder can be started, e.g. for want of memory; another try may do better."""

    reason = "DECODERS_AWAY"


class UnprotectedError(MatcherError):
    """Decoders must be protected by all there is, and some of it is missing."""

    reason = "UNPROTECTED"


class ServerError(MatcherError):
    """A server answered a client of ours with an error, or could not be reached.

    Attributes:
        reason: the server's own, else the name of the gRPC status.
        retryable: trying again, with back-off, may help.
        request_id: of the call, as the server's log has it; empty where no server told it.
    """

    def __init__(
        self,
        message: str,
        *,
        reason: str = "SERVER_ERROR",
        retryable: bool = False,
        request_id: str = "",
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.request_id = request_id


def in_words(error: BaseException) -> str:
    """The error for a person, never empty: in words, and a class by name only where it is a bug.

    The text of a bug is left out, since it may hold a hash or a byte of an upload.
    """
    if isinstance(error, OSError):
        place = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        return place + (error.strerror or str(error) or "the operating system gives no reason")
    if isinstance(error, HashlistsError | MatcherError | ImportError):
        return str(error) or "no reason was given"
    return f"this is a bug ({type(error).__name__}); please report it"
