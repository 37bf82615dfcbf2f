"""Whatever is added, reported and swept: a store of records is what a plain dictionary would be."""

from __future__ import annotations

import itertools
from contextlib import ExitStack
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete

from matcher.errors import MatchNotFoundError
from matcher.model import Outcome
from matcher.records import RecordFilter, RecordStore, Reported, database, schema, store, sweeping
from matcher.records.model import micros_of
from matcher.sealing import KeySource
from tests.record_support import KEEP, KEY, OTHER_KEY, START, ids, record, record_clock, recorded

IDS = [f"m{number}" for number in range(6)]
CLIENTS = ["", "a", "b"]
added = st.tuples(
    st.just("add"),
    st.lists(
        st.tuples(
            st.sampled_from(IDS),
            st.sampled_from(CLIENTS),
            st.sets(st.tuples(st.integers(1, 3), st.sampled_from("ab")), min_size=1, max_size=3),
            st.sampled_from(["v1", "v2"]),
        ),
        min_size=1,
        max_size=3,
    ),
)
steps = st.lists(
    st.one_of(
        added,
        st.tuples(st.just("report"), st.sampled_from(IDS), st.sampled_from(list(Outcome))),
        st.tuples(st.just("pass"), st.integers(1, 20)),
        st.tuples(st.just("sweep")),
        st.tuples(st.just("rotate")),
    ),
    max_size=12,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'records.sqlite3'}"
    server = request.getfixturevalue("postgresql_server")
    return server.url(server.make_database())


years = itertools.count(step=365 * 86_400)


def long_after():
    """A steady clock by which years pass from one look to the next."""
    return float(next(years))


class Model:
    """What should be there."""

    def __init__(self):
        self.clock = record_clock()
        self.keys = KEY
        self.records = {}
        self.counts = {}

    @property
    def kept(self):
        oldest = micros_of(self.clock.now - KEEP)
        return {name: each for name, each in self.records.items() if each[0].at >= oldest}

    def add(self, new):
        held = self.records
        for each in new:
            if each.match_id not in held:
                held[each.match_id] = (each, None)

    def report(self, name, outcome):
        held, before = self.kept[name]
        for list_name in {each.entry.list_name for each in held.matches}:
            counts = self.counts.setdefault(list_name, dict.fromkeys(Outcome, 0))
            if before is not None:
                counts[before] -= 1
            counts[outcome] += 1
        self.records[name] = (held, outcome)

    def sweep(self):
        gone = self.records.keys() - self.kept.keys()
        self.records = dict(self.kept)
        return len(gone)


def check(opened, model):
    kept = model.kept
    for client in (None, *CLIENTS):
        for entries in (None, frozenset({1}), frozenset({2, 3})):
            expected = [
                name
                for name, (each, _) in kept.items()
                if client in {None, each.client}
                and (not entries or entries & {met.entry.entry_id for met in each.matches})
            ]
            assert sorted(ids(opened.pages(RecordFilter(client, entries=entries)))) == sorted(
                expected
            )
    for name in IDS:
        if name in kept:
            found = opened.get(name)
            assert found.record == kept[name][0]
            assert (found.reported and found.reported.outcome) == kept[name][1]
        else:
            with pytest.raises(MatchNotFoundError):
                opened.get(name)
    assert opened.outcome_counts() == model.counts


@pytest.mark.parametrize("page", [1, 200])
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15
)
@given(steps=steps)
def test_a_store_is_what_a_dictionary_would_be(url, page, steps):
    model = Model()

    def opened():
        keys = KeySource(f"keys:{model.keys}")
        current = RecordStore.open(url, keys, keep=KEEP, clock=model.clock, steady=long_after)
        closing.callback(current.close)
        return current

    with pytest.MonkeyPatch.context() as patch, ExitStack() as closing:
        patch.setattr(store, "_PAGE", page)
        patch.setattr(store, "_MARKS", page)
        patch.setattr(sweeping, "_SWEPT", page)
        empty(url)
        current = opened()
        for name, *rest in steps:
            if name == "add":
                new = [
                    record(
                        match_id,
                        at=model.clock.now,
                        client=client,
                        policy_version=version,
                        entries=[recorded(entry, name=of) for entry, of in sorted(met)],
                    )
                    for match_id, client, met, version in rest[0]
                ]
                current.add(new, {each.policy_version: {"v": each.policy_version} for each in new})
                model.add(new)
            elif name == "report":
                match_id, outcome = rest
                said = Reported(outcome, outcome.value, micros_of(model.clock.now), "r")
                if match_id in model.kept:
                    current.report(match_id, said)
                    model.report(match_id, outcome)
                else:
                    with pytest.raises(MatchNotFoundError):
                        current.report(match_id, said)
            elif name == "pass":
                model.clock.now += timedelta(days=rest[0])
            elif name == "sweep":
                swept = current.sweep().records + current.sweep().records
                assert swept == model.sweep()
                versions = {each.policy_version for each, _ in model.records.values()}
                assert all(current.policy(version) for version in versions)
                met = {each.entry for held, _ in model.records.values() for each in held.matches}
                assert {each for _, each in current.entries()} == met
            elif model.keys == KEY:
                current.close()
                model.keys = f"{OTHER_KEY},{KEY}"
                current = opened()
        check(current, model)


def empty(url):
    engine = database.open_database(url)
    with database.writing(engine) as connection:
        for table in reversed(schema.metadata.sorted_tables):
            if table not in {schema.meta, schema.head}:
                connection.execute(delete(table))
        kept = (schema.KEY_NAME, schema.TIME_NAME)
        connection.execute(delete(schema.meta).where(schema.meta.c.name.in_(kept)))
    engine.dispose()


def test_two_that_open_it_at_once_share_it(url):
    with (
        RecordStore.open(url, KeySource(f"keys:{KEY}"), keep=KEEP, clock=record_clock()) as one,
        RecordStore.open(url, KeySource(f"keys:{KEY}"), keep=KEEP, clock=record_clock()) as other,
    ):
        one.add([record("m")], {"v1": {}})
        other.add([record("n"), record("m")], {"v1": {}})
        assert ids(one.pages(RecordFilter())) == ids(other.pages(RecordFilter())) == ["n", "m"]
        assert one.get("n").record.moment == START


def test_the_time_that_records_age_by_is_kept_with_them(url):
    """A store that was just opened deletes nothing by its clock's word alone."""
    clock, keys = record_clock(), KeySource(f"keys:{KEY}")
    with RecordStore.open(url, keys, keep=KEEP, clock=clock, steady=clock) as opened:
        opened.add([record("m"), record("n", at=clock.now + KEEP)])
        clock.now += timedelta(days=20_000)
        assert opened.sweep().records == 0
    with RecordStore.open(url, keys, keep=KEEP, clock=clock, steady=clock) as again:
        assert again.sweep().ahead == timedelta(days=20_000) - KEEP
        clock.now += timedelta(seconds=1)
        assert again.sweep().records == 1
