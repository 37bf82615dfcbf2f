"""What a scan matches by opens decoders for as long as they serve it, and tells which they are."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from matcher import __version__
from matcher.cli.scan_means import decoders_of, opened_means
from matcher.decode.pool import InProcessPool
from matcher.errors import DecodersAwayError
from matcher.model import Digests, Undecodable
from tests.scan_state_support import document
from tests.scan_support import generation_of, picture


class Session:
    """A session whose pools are counted."""

    def __init__(self, generation):
        self.settings = SimpleNamespace(image_bytes=1_000)
        self.generation = lambda: generation
        self.asked = []
        self.open = 0

    @contextmanager
    def decode_pool(self, workers=None):
        self.asked.append(workers)
        self.open += 1
        pool = InProcessPool(workers=1)
        try:
            yield pool
        finally:
            pool.close()
            self.open -= 1


@pytest.fixture
def session(tmp_path):
    return Session(generation_of(tmp_path, [picture(1)]))


async def judged(judge):
    data = b"no picture"
    return (await judge.judge(data, Digests(b"m" * 16, b"1" * 20, b"2" * 32, len(data)))).hashes


async def test_where_this_process_scans_its_decoders_are_there_for_all_judges(session):
    with opened_means(session, document(), workers=3) as means:
        for _ in range(2):
            async with means.judge() as judge:
                assert isinstance((await judged(judge)).undecodable, Undecodable)
        assert (session.asked, session.open) == ([3], 1)
        told = means.looked_up["decoders"]
        assert told.startswith(f"hashwarden {__version__}; pillow ")
    assert session.open == 0


async def test_where_a_cluster_scans_there_are_decoders_only_while_a_judge_is_open(session):
    with opened_means(session, document(), workers=3, afar=True) as means:
        assert means.looked_up["decoders"] == ""  # the cluster's are not known
        assert session.asked == []
        async with means.judge() as judge:
            assert isinstance((await judged(judge)).undecodable, Undecodable)
            assert session.open == 1
        assert (session.asked, session.open) == ([None], 0)  # workers are the cluster's


def test_decoders_that_cannot_be_started_are_not_known():
    class Away:
        def versions(self):
            raise DecodersAwayError("no room")

    assert decoders_of(Away()) == ""
