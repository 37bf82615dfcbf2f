"""Whatever a feed tells, in whatever pages, faults and interruptions: the list ends as the feed."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashlists.catalog import Catalog
from hashlists.errors import ExchangeError
from tests.exchange_servers import ANSWERS, Fault, Feed, serve
from tests.exchange_support import add_exchange, fetch_from, held

PASSING = [
    None,
    Fault(429, b"", {"Retry-After": "1"}),
    Fault(500, b""),
    Fault(cut=30),
    Fault(drop=True),
    Fault(body=b"<"),
    Fault(body=b"{}", headers={"Content-Type": "text/html"}),
]
numbers = st.integers(0, 11)
acts = st.tuples(
    st.sampled_from(["put", "put", "put", "delete"]), numbers, st.integers(0, 3), st.booleans()
)
rounds = st.fixed_dictionaries(
    {
        "before": st.lists(acts, max_size=8),
        "during": st.lists(acts, max_size=3),
        "size": st.integers(1, 5),
        "faults": st.lists(st.sampled_from(PASSING), max_size=5),
        "interrupted_after": st.none() | st.integers(1, 4),
        "minutes": st.sampled_from([0, 1, 45, 800, 60 * 24]),
    }
)


class BrokenOffError(BaseException):
    """As Control-C, or worse."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    file = tmp_path_factory.mktemp("empty") / "catalog.db"
    Catalog.open(f"sqlite:///{file}").close()
    return file


def play(feed, act):
    what, number, version, passes = act
    if passes:
        feed.time.pass_by(seconds=90)
    if what == "put":
        feed.put(number, version=version)
    else:
        feed.delete(number)


def fetch_round(catalog, server, planned):
    feed = server.feed
    feed.size = planned["size"]
    server.faults = list(planned["faults"])
    during = iter(planned["during"])

    def meanwhile():
        act = next(during, None)
        if act is not None:
            play(feed, act)

    def watch(report):
        if report.pages == planned["interrupted_after"]:
            raise BrokenOffError

    server.before_page = meanwhile
    with suppress(ExchangeError, BrokenOffError):
        fetch_from(catalog, server, watch=watch)
    server.before_page = lambda: None


@pytest.mark.parametrize("kind", ANSWERS)
@settings(max_examples=max(3, settings().max_examples // 20))
@given(plan=st.lists(rounds, min_size=1, max_size=4))
def test_the_list_ends_as_the_feed(kind, plan, empty):
    with tempfile.TemporaryDirectory() as folder, serve(Feed(kind)) as server:
        shutil.copy(empty, Path(folder) / "catalog.db")
        with Catalog.open(f"sqlite:///{folder}/catalog.db") as catalog:
            add_exchange(catalog, server)
            for planned in plan:
                for act in planned["before"]:
                    play(server.feed, act)
                fetch_round(catalog, server, planned)
                server.feed.time.pass_by(minutes=planned["minutes"])
            server.faults = []
            server.feed.time.pass_by(minutes=1)
            fetch_from(catalog, server)
            assert held(catalog) == server.feed.truth()
            assert fetch_from(catalog, server).revision == 0
