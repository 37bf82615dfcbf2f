"""The one table from errors to status: complete, rich, and silent about bugs."""

from __future__ import annotations

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from hashlists import errors as lists
from matcher import errors as match
from matcher.service.errors import DOMAIN, STATUS_KEY, STATUS_OF, StandingRefusal, status_of
from matcher.service.request_ids import HEADER
from matcher.telemetry import request_id

#: Bases that nobody raises, and errors that never reach a caller of the service.
NOT_TOLD = {
    lists.HashlistsError,
    match.MatcherError,
    match.CallRefusedError,
    match.SettingsError,
    match.ServerError,
    match.DecoderContractError,
}


def own_errors():
    for module in (lists, match):
        for each in vars(module).values():
            if isinstance(each, type) and issubclass(each, Exception):
                yield each


@pytest.mark.parametrize("kind", [each for each in own_errors() if each not in NOT_TOLD])
def test_every_error_has_a_status(kind):
    status = status_of(kind("what is wrong"))
    assert status.code != grpc.StatusCode.INTERNAL.value[0]
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == DOMAIN
    assert info.reason == kind.reason
    assert "what is wrong" in status.message


def test_no_class_hides_behind_its_base():
    for position, (kind, _) in enumerate(STATUS_OF):
        assert not any(issubclass(kind, earlier) for earlier, _ in STATUS_OF[:position])


def test_a_bug_is_logged_and_its_text_kept_back(caplog):
    status = status_of(KeyError("0123456789abcdef"))
    assert status.code == grpc.StatusCode.INTERNAL.value[0]
    assert "0123456789abcdef" not in status.message
    assert "unexpected error" in caplog.text


def test_a_field_at_fault_is_named():
    status = status_of(match.InvalidRequestError("is empty", field="image"))
    request = error_details_pb2.BadRequest()
    assert any(each.Unpack(request) for each in status.details)
    assert request.field_violations[0].field == "image"


def test_overload_says_when_to_try_again():
    retry = error_details_pb2.RetryInfo()
    assert any(each.Unpack(retry) for each in status_of(match.OverloadedError("full")).details)
    assert retry.retry_delay.seconds > 0


def test_who_failed_too_often_is_told_how_long_to_wait():
    status = status_of(match.TooManyAttemptsError("later", retry_seconds=7))
    retry = error_details_pb2.RetryInfo()
    assert any(each.Unpack(retry) for each in status.details)
    assert retry.retry_delay.seconds == 7


class EndedError(Exception):
    """What ends a call."""


class Calling:
    """A call that notes how it was ended."""

    def __init__(self, called):
        self._called = called

    def invocation_metadata(self):
        return ((HEADER, self._called),)

    async def abort(self, code, details, trailing_metadata):
        self.ended = code, details, dict(trailing_metadata)
        raise EndedError


@pytest.mark.parametrize("called", ["first", "a-second-one"])
async def test_what_is_made_once_says_what_is_made_anew(called):
    error = match.OverloadedError("too many calls are open")
    call = Calling(called)
    with pytest.raises(EndedError):
        await StandingRefusal(error).abort(call)
    code, details, trailing = call.ended
    assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "too many calls are open")
    assert trailing[HEADER] == called == request_id.get()
    assert status_pb2.Status.FromString(trailing[STATUS_KEY]) == status_of(error)


def test_what_has_no_status_is_not_made_once():
    with pytest.raises(ValueError, match="KeyError"):
        StandingRefusal(KeyError("no error of ours"))
