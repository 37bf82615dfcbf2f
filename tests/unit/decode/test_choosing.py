"""Which decoders there are, and what is told where they are not protected."""

from __future__ import annotations

import sys
from unittest import mock

import pytest

from matcher.decode.choosing import Sandbox, decode_pool
from matcher.decode.limits import DecodeLimits, WorkerLimits
from matcher.decode.pool import InProcessPool
from matcher.decode.protection import EVERY_PROTECTION, Protection, told
from matcher.decode.sandbox.pool import SandboxPool
from matcher.errors import DecodersAwayError, UnprotectedError

pytestmark = pytest.mark.usefixtures("sandboxed_decoders")


@pytest.fixture
def made(request):
    """Makes pools, and closes them."""

    def make(sandbox):
        pool = decode_pool(DecodeLimits(), WorkerLimits(), workers=1, sandbox=sandbox)
        request.addfinalizer(pool.close)
        return pool

    return make


def test_decoders_are_processes_unless_somebody_says_otherwise(made):
    assert isinstance(made(Sandbox.ON), SandboxPool)
    threads = made(Sandbox.OFF)
    assert isinstance(threads, InProcessPool)
    assert (threads.protection(), threads.restarts()) == (Protection(0), {})


def test_where_all_protection_is_there_it_may_be_required(made):
    assert made(Sandbox.REQUIRED).protection() == EVERY_PROTECTION


def test_where_some_is_missing_and_required_nothing_is_served():
    some = Protection.MEMORY | Protection.PRIVILEGES
    with (
        mock.patch.object(SandboxPool, "protection", return_value=some),
        mock.patch.object(SandboxPool, "close") as close,
        pytest.raises(UnprotectedError, match=r"system calls, files; .* libseccomp"),
    ):
        decode_pool(DecodeLimits(), WorkerLimits(), workers=1, sandbox=Sandbox.REQUIRED)
    assert close.called


def test_decoders_that_cannot_be_started_are_not_waited_for():
    with (
        mock.patch.object(SandboxPool, "protection", side_effect=DecodersAwayError("none")),
        pytest.raises(DecodersAwayError),
    ):
        decode_pool(DecodeLimits(), WorkerLimits(), workers=1, sandbox=Sandbox.REQUIRED)


class TestOtherSystems:
    @pytest.fixture(autouse=True)
    def _elsewhere(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "darwin")

    def test_they_are_threads_and_it_is_told(self, made, caplog):
        assert isinstance(made(Sandbox.ON), InProcessPool)
        assert "unprotected" in caplog.text

    def test_what_is_required_is_refused(self):
        with pytest.raises(UnprotectedError, match="Linux"):
            decode_pool(DecodeLimits(), WorkerLimits(), workers=1, sandbox=Sandbox.REQUIRED)


def test_protection_is_told_by_name():
    assert Protection(0).text == "none"
    assert EVERY_PROTECTION.text == "system calls, memory, privileges, files"
    assert told(EVERY_PROTECTION) == "limited in: system calls, memory, privileges, files"
    some = told(Protection.MEMORY | Protection.PRIVILEGES)
    assert some == "limited in: memory, privileges; not in: system calls, files"
