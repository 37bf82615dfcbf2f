"""What a store's refusal of an object means: is it gone, closed to us, or worth another try?

Judged by the HTTP status and the error code of the store, which all three clouds name alike, and
where there is none by what became of the connection.
"""

from __future__ import annotations

import re
from typing import Final

from matcher.scan.model import FailureReason, FetchError

_THROTTLED: Final = frozenset(
    {
        "BandwidthLimitExceeded",
        "OperationTimedOut",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "ServerBusy",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
        "TooManyRequestsException",
    }
)
_PATIENCE: Final = frozenset({429, 503})
#: Of credentials: newer ones are there by the time of the next try.
_STALE: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_BY_CODE: Final = {
    "BlobArchived": FailureReason.ARCHIVED,
    "BlobBeingRehydrated": FailureReason.ARCHIVED,
    "InvalidObjectState": FailureReason.ARCHIVED,
    "RequestTimeout": FailureReason.TIMED_OUT,
    **dict.fromkeys(_STALE, FailureReason.FORBIDDEN),
}
_BY_STATUS: Final = {
    401: FailureReason.FORBIDDEN,
    403: FailureReason.FORBIDDEN,
    404: FailureReason.VANISHED,
    408: FailureReason.TIMED_OUT,
    410: FailureReason.VANISHED,
    412: FailureReason.CUT_OFF,  # it became another one while it was read
    416: FailureReason.CUT_OFF,  # it became a shorter one
    504: FailureReason.TIMED_OUT,
}
_PASSING: Final = frozenset({408, 412, 416})
_SERVERS_FAULT: Final = 500

_STATUS: Final = re.compile(r"non-2xx status code: (\d{3})\b")
_CODE: Final = re.compile(r"<Code>([A-Za-z.]{1,60})</Code>")
_LATE: Final = ("timed out", "TimedOut")
_CUT: Final = (
    "response body error",
    "error decoding response body",
    "IncompleteMessage",
    "UnexpectedEof",
    "connection closed",
    "end of file",
)


def of_text(text: str) -> FetchError:
    """What an error of the storage library means, by its text; nothing of that is passed on."""
    told, _, trace = text.partition("\n\nDebug source:")
    # The last ones: an object's key stands before, and may hold anything.
    statuses, codes = _STATUS.findall(told), _CODE.findall(told)
    if statuses:
        return of_answer(int(statuses[-1]), codes[-1] if codes else "")
    text = trace or told
    if any(each in text for each in _LATE):
        return timed_out()
    if any(each in text for each in _CUT):
        return cut_off("the connection broke off")
    return FetchError(
        FailureReason.STORE_ERROR, "the store cannot be reached, or breaks off", transient=True
    )


def of_answer(status: int, code: str = "", *, after_seconds: float = 0.0) -> FetchError:
    """What an answer means.

    Args:
        status: of HTTP.
        code: the store's own; empty where it gives none.
        after_seconds: how long it asks to be left alone.
    """
    told = f"the store answers {status} {code}".rstrip()
    if code in _THROTTLED or (status in _PATIENCE and code not in _BY_CODE):
        return FetchError(
            FailureReason.THROTTLED,
            told,
            transient=True,
            throttled=True,
            after_seconds=after_seconds,
        )
    reason = _BY_CODE.get(code) or _BY_STATUS.get(status, FailureReason.STORE_ERROR)
    passing = (
        code in _STALE or code == "RequestTimeout" or status in _PASSING or status >= _SERVERS_FAULT
    )
    return FetchError(reason, told, transient=passing)


def timed_out() -> FetchError:
    """No bytes came for too long."""
    return FetchError(FailureReason.TIMED_OUT, "the store does not answer in time", transient=True)


def cut_off(detail: str) -> FetchError:
    """Fewer bytes came than were told."""
    return FetchError(FailureReason.CUT_OFF, detail, transient=True)


__all__ = ["cut_off", "of_answer", "of_text", "timed_out"]
