"""Two real server processes notice together what neither could alone."""

from __future__ import annotations

import hashlib
import re

import pytest

from matcher import cli
from tests.e2e.test_supervisor import IMAGE, served, until

pytestmark = pytest.mark.timeout(300)
HITS = 24
TOLD = re.compile(r"(?m)^hashwarden_(hot_entries(?:_flagged_total)?) (\S+)$")


def told(server):
    """What each process says of hot entries: those it flagged, those that are."""
    pages = [dict(TOLD.findall(server.get("/metrics", process=each)[1])) for each in (0, 1)]
    return (
        [float(each["hot_entries_flagged_total"]) for each in pages],
        [float(each["hot_entries"]) for each in pages],
    )


@pytest.mark.slow
def test_hits_at_two_processes_make_an_entry_hot(begun_data, tmp_path):
    image = tmp_path / "image.png"
    image.write_bytes(IMAGE)
    data = ("--data", str(begun_data))
    listed = ("--list", "demo", "--harm", "csam", "--source", "Us", "--live")
    hashes = tmp_path / "list.csv"
    hashes.write_text(f"md5\n{hashlib.md5(IMAGE).hexdigest()}\n", encoding="utf-8")
    assert cli.main([*data, "lists", "import", str(hashes), *listed, "--column=md5=md5"]) == 0
    with served(begun_data, HOT_ENTRY_HITS=HITS, HOT_ENTRY_FACTOR=1) as server:
        until(lambda: server.ready_ones() == (200, [True, True]))
        for _ in range(HITS - 1):
            server.match()  # each by a connection of its own, which the kernel gives to either
        assert all(server.answered(each) for each in (0, 1)), "one process got them all"
        assert told(server) == ([0, 0], [0, 0])
        # What was told last may still be on its way to the other.
        until(lambda: server.match() and sum(told(server)[0]) == 1)
        until(lambda: told(server)[1] == [1, 1])
        assert max(server.answered(each) for each in (0, 1)) < HITS
