"""Which ids of calls are taken, where they go, and that they stand in the log."""

from __future__ import annotations

import io
import json
import logging
import uuid
from contextvars import copy_context

import pytest
from google.rpc import error_details_pb2

from matcher.errors import OverloadedError
from matcher.service.errors import reason_of, status_of
from matcher.service.request_ids import HEADER, chosen, id_of, note_request
from matcher.service.threads import Threads
from matcher.telemetry import HumanFormatter, JsonFormatter, redact, request_id, trace_id


class Context:
    def __init__(self, *metadata):
        self._metadata = metadata
        self.trailing = ()

    def invocation_metadata(self):
        return self._metadata

    def set_trailing_metadata(self, trailing):
        self.trailing = trailing


@pytest.mark.parametrize("sent", ["a", "req-4711", "1/2:3", "4bf92f35-77b3.x=+_", "a" * 128])
def test_a_fit_id_is_taken(sent):
    assert chosen([("other", "x"), (HEADER, sent)]) == sent


@pytest.mark.parametrize(
    "sent", [[], [""], ["a" * 129], ["a b"], ["-a"], ["a\n"], ["ä"], ["{x}"], ["a", "b"]]
)
def test_for_what_is_not_fit_one_is_made(sent):
    made = chosen([(HEADER, each) for each in sent])
    assert made not in sent
    assert str(uuid.UUID(made)) == made
    assert redact(made) == made


def test_a_call_has_one_id_which_its_answer_carries():
    def within():
        context = Context((HEADER, "mine"))
        assert note_request(context) == "mine"
        assert context.trailing == ((HEADER, "mine"),)
        assert id_of(Context((HEADER, "another"))) == "mine"
        assert request_id.get() == "mine"

    copy_context().run(within)
    assert request_id.get() == ""


def test_it_is_in_the_details_of_errors():
    def within():
        request_id.set("mine")
        return status_of(OverloadedError("full"))

    status = copy_context().run(within)
    told = error_details_pb2.RequestInfo()
    assert any(each.Unpack(told) for each in status.details)
    assert told.request_id == "mine"
    assert reason_of(status) == "OVERLOADED"
    assert not any(each.Unpack(told) for each in status_of(OverloadedError("full")).details)
    del status.details[:]
    assert reason_of(status) == ""


def logged(formatter, **ids):
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    log = logging.Logger("matcher.tests")  # noqa: LOG001 - of this test alone
    log.addHandler(handler)

    def within():
        for name, value in ids.items():
            {"request_id": request_id, "trace_id": trace_id}[name].set(value)
        log.info("something happened")

    copy_context().run(within)
    return stream.getvalue()


def test_it_is_in_the_log():
    line = json.loads(logged(JsonFormatter(), request_id="mine", trace_id="0" * 31 + "1"))
    assert line["request_id"] == "mine"
    assert line["trace_id"] == "0" * 31 + "1"
    assert logged(HumanFormatter(), request_id="mine").endswith("happened request_id=mine\n")
    assert "request_id" not in json.loads(logged(JsonFormatter()))
    # The caller's word may be anything, a hash too.
    assert "0" * 32 not in logged(JsonFormatter(), request_id="0" * 32)


async def test_it_is_known_in_threads_that_work_for_the_call():
    threads = Threads("test", workers=1, max_pending=1)
    token = request_id.set("mine")
    try:
        assert await threads.run(request_id.get) == "mine"
    finally:
        request_id.reset(token)
        threads.close()
