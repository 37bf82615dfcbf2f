"""An end of use that a list or a record came to say holds while a server waits for a build."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import CatalogError
from hashlists.model import Handling, SaidHandling
from matcher.follow.ending import SECONDS_AHEAD, SECONDS_KNOWN, ends_of_use
from matcher.follow.follower import Follower
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import DEMO, Item, bring, ids_of, items
from tests.follow_support import found_in

WHO = {"author": "a person", "reason": "why"}
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


class Server:
    """A follower that has a snapshot of three entries, and gets no other; its clock stands."""

    def __init__(self, catalog, root):
        self.catalog = catalog
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.holder = Holder()
        self.follower = Follower(
            catalog,
            root,
            {"default": default_policy()},
            self.holder,
            live_entries=1,
            clock=lambda: 0.0,
            wall_clock=self.seconds,
        )
        self.follower.refresh()
        self.follower._making.builder = None

    def seconds(self):
        return self.now.timestamp()

    def found(self, *, after=0):
        """What it finds, so many seconds later."""
        self.now += timedelta(seconds=after)
        self.follower.refresh()
        return set(found_in(self.holder.current.index))

    def ends(self, *, after):
        """The list's use ends so many seconds from now."""
        end = self.now + timedelta(seconds=after)
        self.catalog.change_handling("demo", SaidHandling(expires_at=end), **WHO)


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, items(*"abc"))
        yield opened


@pytest.fixture
def server(catalog, tmp_path):
    server = Server(catalog, tmp_path / "snapshots")
    yield server
    server.follower.close()


@pytest.fixture
def a_b_c(catalog):
    return ids_of(catalog, *"abc")


def test_one_that_a_list_came_to_say(server, a_b_c):
    server.ends(after=600)
    assert server.found() == set(a_b_c)
    assert server.follower.state().behind
    assert server.found(after=599) == set(a_b_c)
    assert server.found(after=1) == set()


def test_one_that_records_came_to_say(server, catalog, a_b_c):
    a, b, c = a_b_c
    own = Handling(expires_at=server.now + timedelta(seconds=600))
    bring(catalog, [replace(Item(name).next(), handling=own) for name in "ab"])
    assert server.found() == {a, b, c}
    assert server.follower.state().behind
    assert server.found(after=600) == {c}


@pytest.mark.parametrize("end", [LONG_AGO, datetime.now(UTC) - timedelta(seconds=1)])
def test_one_that_has_passed(server, catalog, a_b_c, end):
    catalog.change_handling("demo", SaidHandling(expires_at=end), **WHO)
    assert server.found() == set()
    catalog.change_handling("demo", SaidHandling(), endless=True, **WHO)
    assert server.found() == set(a_b_c)


def test_one_that_is_put_off(server, a_b_c):
    server.ends(after=600)
    server.found()
    server.ends(after=6_000)
    assert server.found(after=600) == set(a_b_c)
    assert server.found(after=6_000) == set()


def test_one_that_is_far_off_is_not_read_until_it_comes(server, a_b_c, monkeypatch):
    asked = []

    def reading(reader, entry_ids, *, pause):
        asked.extend(entry_ids.tolist())
        return ends_of_use(reader, entry_ids, pause=pause)

    monkeypatch.setattr("matcher.follow.ending.ends_of_use", reading)
    server.ends(after=SECONDS_AHEAD + 2 * SECONDS_KNOWN)
    assert server.found() == set(a_b_c)
    assert server.found(after=SECONDS_KNOWN) == set(a_b_c)
    assert not asked
    assert server.found(after=SECONDS_KNOWN) == set(a_b_c)
    assert asked == a_b_c
    assert server.found(after=SECONDS_KNOWN - 1) == set(a_b_c)
    assert asked == a_b_c  # once for all
    assert server.found(after=SECONDS_AHEAD) == set()


def test_no_retraction_waits_for_it(server, catalog, a_b_c, monkeypatch):
    """Neither one that came before the ends are read, nor one that comes meanwhile."""
    a, b, c = a_b_c
    seen = []

    def reading(reader, entry_ids, *, pause):
        seen.append(set(found_in(server.holder.current.index)))
        catalog.retract("demo", [b], **WHO)
        server.follower._withdrawn_at = -1.0
        ends = ends_of_use(reader, entry_ids, pause=pause)
        seen.append(set(found_in(server.holder.current.index)))
        return ends

    catalog.retract("demo", [a], **WHO)
    server.ends(after=600)
    with monkeypatch.context() as patched:
        patched.setattr("matcher.follow.ending.ends_of_use", reading)
        assert server.found() == {c}
    assert seen == [{b, c}, {c}]
    assert server.found(after=599) == {c}
    assert server.found(after=1) == set()


def test_no_retraction_fails_with_it(server, catalog, a_b_c, monkeypatch):
    def failing(*_, **__):
        raise CatalogError("it took too long")

    catalog.retract("demo", a_b_c[:1], **WHO)
    server.ends(after=600)
    with monkeypatch.context() as patched:
        patched.setattr("matcher.follow.ending.ends_of_use", failing)
        assert server.found() == set(a_b_c[1:])
        assert "it took too long" in server.follower.state().problem
    assert server.found() == set(a_b_c[1:])
    assert "it took too long" not in server.follower.state().problem
    assert server.found(after=600) == set()
