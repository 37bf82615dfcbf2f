"""Feeds that say what is not so, of their times and of their end: nothing is lost in silence."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import pytest

from hashlists.catalog import Catalog, Checkpoint
from hashlists.exchanges.progress import Progress
from tests.exchange_servers import ANSWERS, START, Feed, Record, serve
from tests.exchange_support import NAME, add_exchange, fetch_from, held

FAR = timedelta(days=365 * 50)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The file of an empty catalog, made once."""
    file = tmp_path_factory.mktemp("empty") / "catalog.db"
    Catalog.open(f"sqlite:///{file}").close()
    return file


@pytest.fixture
def catalog(tmp_path, empty):
    shutil.copy(empty, tmp_path / "catalog.db")
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as opened:
        yield opened


@pytest.mark.parametrize(
    ("kind", "size", "in_order"),
    [
        *((kind, 50, True) for kind in ANSWERS),
        *(("tat", size, way) for size in (2, 3) for way in (True, False)),
    ],
)
def test_one_record_dated_too_late_stops_nothing(catalog, kind, size, in_order):
    feed = Feed(kind, size=size, in_order=in_order)
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(*range(5))
        feed.records[9] = Record(9, 0, START + FAR)
        fetch_from(catalog, server)
        for round_ in range(2):
            feed.time.pass_by(days=2)
            feed.put(20 + round_, 30 + round_)
            feed.delete(round_)
            report = fetch_from(catalog, server)
            assert (report.added, report.retracted) == (2, 1)
            found, truth = held(catalog), feed.truth()
            if kind == "ncmec":  # which is asked for a range, and the record lies behind it
                del truth[feed.key(feed.records[9])]
            assert found == truth


@pytest.mark.parametrize("server_ahead", [timedelta(days=3), timedelta(days=-3)])
def test_a_position_lies_behind_neither_clock(catalog, server_ahead):
    feed = Feed("tat", size=2)
    with serve(feed) as server:
        add_exchange(catalog, server)
        server.ahead = server_ahead
        for number in range(5):
            feed.records[number] = Record(number, 0, START + timedelta(days=number))
        fetch_from(catalog, server)
        assert held(catalog) == feed.truth()
        position = Progress.from_document(catalog.get_exchange(NAME).checkpoint).position
        after = int(position["after"].partition(",")[0])
        assert after <= START.timestamp()
        assert after <= (START + server_ahead).timestamp()


def test_a_position_that_lay_behind_the_clock_already_is_drawn_back(catalog):
    feed = Feed("tat")
    with serve(feed) as server:
        add_exchange(catalog, server)
        feed.put(1)
        fetch_from(catalog, server)
        record = catalog.get_exchange(NAME)
        progress = Progress.from_document(record.checkpoint)
        far = {"after": f"{int((START + FAR).timestamp())},9"}
        catalog.save_progress(checkpoint_of(record, progress.moved(far, START)))
        feed.time.pass_by(days=1)
        feed.put(2)
        fetch_from(catalog, server)
        feed.time.pass_by(days=1)
        feed.put(3)
        fetch_from(catalog, server)
        assert held(catalog) == feed.truth()


def checkpoint_of(record, progress):
    return Checkpoint(record.exchange_id, progress.to_document(), record.number)


@pytest.mark.parametrize("odd", ["soon", "99999999999999,1", "1772366400", "1772366400,x", ",1"])
def test_a_checkpoint_that_cannot_be_read_moves_nothing(catalog, odd, monkeypatch):
    right = ANSWERS["tat"]

    def with_odd_checkpoint(feed, query):
        return json.dumps({**json.loads(right(feed, query)), "checkpoint": odd}).encode()

    monkeypatch.setitem(ANSWERS, "tat", with_odd_checkpoint)
    feed = Feed("tat", size=2)
    with serve(feed) as server:
        add_exchange(catalog, server)
        for round_ in range(3):
            feed.put(*range(round_ * 5, round_ * 5 + 5))
            fetch_from(catalog, server)
            assert held(catalog) == feed.truth()
            feed.time.pass_by(days=1)
