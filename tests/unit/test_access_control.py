"""Where gRPC meets the gate: what is refused, and before anything of it is read."""

from __future__ import annotations

from types import SimpleNamespace

import grpc
import pytest

from hashlists.access.model import Role
from hashlists.errors import AccessDatabaseError
from matcher.errors import RoleMissingError, UnauthenticatedError
from matcher.service.access import AccessControl
from matcher.service.gate import UNASKED, current_caller
from matcher.service.metrics import ServiceMetrics

PATH = "/a.Service/Call"


class AbortedError(Exception):
    """What gRPC raises where a handler ends a call."""


class Context:
    code = None

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self):
        return ()

    async def abort_with_status(self, status):
        self.code = status.code
        raise AbortedError

    async def abort(self, code, _):
        self.code = code
        raise AbortedError


class Gate:
    """A gate that does as it is told."""

    def __init__(self, *, is_open=False, hopeless=False, refusal=None, later=None):
        self._open = is_open
        self._hopeless = hopeless
        self.refusal = refusal
        self.later = later

    def is_open(self, _):
        return self._open

    def is_hopeless(self, *_):
        return self._hopeless

    def admit(self, *_):
        if self.refusal is not None:
            raise self.refusal
        return UNASKED

    def check_again(self, *_):
        if self.later is not None:
            raise self.later


async def once(request, _):
    return request, current_caller()


async def often(requests, _):
    async for request in requests:
        yield request


ONCE = grpc.unary_unary_rpc_method_handler(once)
OFTEN = grpc.stream_stream_rpc_method_handler(often)


@pytest.fixture
def metrics():
    return ServiceMetrics()


class Refusals(list):
    """What would be added up for the audit."""

    def add(self, *refusal):
        self.append(refusal)


async def handler_of(gate, metrics, handler=ONCE, refusals=None):
    async def continuation(_):
        return handler

    details = SimpleNamespace(method=PATH, invocation_metadata=())
    access = AccessControl(gate, metrics, Refusals() if refusals is None else refusals)
    return await access.intercept_service(continuation, details)


async def two_messages():
    for each in "ab":
        yield each


def refused(metrics, reason):
    return metrics.registry.get_sample_value("hashwarden_refused_calls_total", {"reason": reason})


async def test_what_is_open_or_unknown_passes_as_it_is(metrics):
    assert await handler_of(Gate(is_open=True), metrics) is ONCE
    assert await handler_of(Gate(), metrics, None) is None


async def test_who_is_let_in_is_known_to_the_handler(metrics):
    handler = await handler_of(Gate(), metrics)
    assert await handler.unary_unary("a", Context()) == ("a", UNASKED)


async def test_what_is_hopeless_is_refused_unread(metrics):
    refusal = UnauthenticatedError("x", why="TOKEN_UNKNOWN")
    handler = await handler_of(Gate(hopeless=True, refusal=refusal), metrics)
    assert handler.request_streaming  # whatever kind of call it is, no message is asked for

    class Unread:
        def __aiter__(self):
            raise AssertionError("it was read")

    context = Context()
    with pytest.raises(AbortedError):
        await handler.stream_stream(Unread(), context)
    assert context.code == grpc.StatusCode.UNAUTHENTICATED
    assert refused(metrics, "token_unknown") == 1


async def test_what_is_refused_is_added_up_for_the_audit_but_not_what_cannot_be_judged(metrics):
    error, away = RoleMissingError("x", client="a"), AccessDatabaseError("away")
    refusals = Refusals()
    for each in (error, away):
        handler = await handler_of(Gate(refusal=each), metrics, refusals=refusals)
        with pytest.raises(AbortedError):
            await handler.unary_unary("a", Context())
    assert refusals == [("ipv4:127.0.0.1:1", "Call", error)]


async def test_what_comes_to_count_in_that_moment_may_be_tried_again(metrics):
    handler = await handler_of(Gate(hopeless=True), metrics)
    context = Context()
    with pytest.raises(AbortedError):
        await handler.stream_stream(None, context)
    assert context.code == grpc.StatusCode.UNAVAILABLE


async def test_others_are_refused_before_the_handler(metrics):
    gate = Gate(refusal=RoleMissingError("x"))
    for handler, call in ((ONCE, "unary_unary"), (OFTEN, "stream_stream")):
        guarded, context = await handler_of(gate, metrics, handler), Context()
        answer = getattr(guarded, call)(None, context)
        with pytest.raises(AbortedError):
            await (anext(answer) if handler is OFTEN else answer)
        assert context.code == grpc.StatusCode.PERMISSION_DENIED
    assert refused(metrics, "role_missing") == 2


async def test_a_stream_ends_when_its_caller_may_no_longer(metrics):
    gate = Gate()
    handler, context = await handler_of(gate, metrics, OFTEN), Context()
    answers = handler.stream_stream(two_messages(), context)
    assert await anext(answers) == "a"
    gate.later = UnauthenticatedError("x")
    with pytest.raises(AbortedError):
        await anext(answers)
    assert context.code == grpc.StatusCode.UNAUTHENTICATED


async def test_also_one_that_only_answers(metrics):
    async def many(request, _):
        for each in request:
            yield each

    gate = Gate(later=UnauthenticatedError("x"))
    made = grpc.unary_stream_rpc_method_handler(many)
    handler, context = await handler_of(gate, metrics, made), Context()
    with pytest.raises(AbortedError):
        await anext(handler.unary_stream("ab", context))
    assert context.code == grpc.StatusCode.UNAUTHENTICATED


def test_roles_are_those_of_clients():
    assert UNASKED.roles == set(Role)
