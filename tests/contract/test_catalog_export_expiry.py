"""What a delta tells of entries whose time of use ended since the recipient was given them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event

from hashlists.catalog import ExportSelection
from hashlists.catalog.export import EXPIRED
from hashlists.catalog.records import to_microseconds
from hashlists.model import Handling
from tests.catalog_support import CLASS_1, CLASS_2, DEMO, Item, bring, ids_by_name, items
from tests.clocks import Clock

if TYPE_CHECKING:
    from hashlists.catalog import Catalog

WHO = {"author": "an operator", "reason": "why"}
DAYS = [datetime(2100 + number, 1, 1, tzinfo=UTC) for number in range(4)]
#: To be used by A until the first, second, third and fourth of the days.
UNTIL = [Handling("us", ("a",), day) for day in DAYS]


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """The moment at which the catalog is read; commits have their own, real one."""
    clock = Clock(datetime(2099, 1, 1, tzinfo=UTC), told=to_microseconds)
    monkeypatch.setattr("hashlists.catalog.catalog.now_microseconds", clock)
    return clock


@pytest.fixture
def demo(catalog: Catalog) -> Catalog:
    catalog.create_list(DEMO, author="a person")
    return catalog


def sent(catalog: Catalog, **chosen: object):
    """Record name -> whether it is withdrawn and why; and the export."""
    with catalog.read() as reader:
        export = reader.export(ExportSelection(("demo",), ("a",), **chosen))
        batches = list(export)
    rows = [
        (key[1:].decode(), gone, reason)
        for each in batches
        for key, gone, reason in zip(each.entries.keys, each.retracted, each.reasons, strict=True)
    ]
    assert len({name for name, *_ in rows}) == len(rows)
    return {name: (gone, reason) for name, gone, reason in rows}, export


def test_what_expired_without_any_other_change_is_withdrawn(demo, clock):
    kept, soon, later = (Item(str(at), handling=UNTIL[at]) for at in (3, 0, 1))
    since = bring(demo, [kept, soon, later, Item("4")]).revision.number
    assert sent(demo, since=since)[0] == {}
    clock.now = DAYS[0]
    told, export = sent(demo, since=since)
    assert told == {"0": (True, EXPIRED)}
    assert (export.held_back.expired, export.held_back.unreleasable) == (1, 0)
    clock.now = DAYS[2]
    assert sent(demo, since=since)[0] == {"0": (True, EXPIRED), "1": (True, EXPIRED)}
    assert list(sent(demo)[0]) == ["3"]


def test_it_is_withdrawn_whatever_else_became_of_it(demo, clock):
    records = [Item(name, handling=UNTIL[0]) for name in ("expired", "narrowed", "changed")]
    retracted, renewed = (Item(name, handling=UNTIL[0]) for name in ("retracted", "renewed"))
    bring(demo, [*records, retracted, renewed])
    since = demo.head()
    narrowed = records[1].next(handling=Handling("us", ("b",)))
    bring(
        demo,
        [narrowed, records[2].next(), renewed.next(handling=UNTIL[2])],
        gone=[retracted],
    )
    clock.now = DAYS[1]
    assert sent(demo, since=since)[0] == {
        "expired": (True, EXPIRED),
        "narrowed": (True, None),
        "changed": (True, EXPIRED),
        "retracted": (True, "withdrawn"),
        "renewed": (False, None),
    }


def test_what_had_expired_before_is_not_told(demo, clock):
    past = Handling("us", ("a",), datetime(2001, 1, 1, tzinfo=UTC))
    x, y = Item("x", handling=past), Item("y", handling=past)
    since = bring(demo, [x, y]).revision.number
    bring(demo, gone=[y])
    assert sent(demo, since=since)[0] == {}


def test_of_what_the_recipient_could_not_have_nothing_is_told(demo, clock):
    other, classed = UNTIL[0], replace(UNTIL[0], releasable_to=("b",))
    bring(demo, [Item("b", handling=classed), Item("2", handling=other, classification=CLASS_2)])
    since = demo.head()
    bring(demo, [Item("new", handling=UNTIL[0])])
    clock.now = DAYS[1]
    assert sent(demo, since=since, classifications=[CLASS_1])[0] == {}
    assert sent(demo, since=since)[0] == {"2": (True, EXPIRED)}


def test_only_the_version_that_the_recipient_was_given_counts(demo, clock):
    x, y = Item("x", handling=UNTIL[0]), Item("y", handling=UNTIL[2])
    bring(demo, [x, y])
    bring(demo, [x.next(handling=UNTIL[3]), y.next(handling=UNTIL[1])])
    since = demo.head()
    clock.now = DAYS[1]
    assert sent(demo, since=since)[0] == {"y": (True, EXPIRED)}


def test_a_delta_up_to_a_revision_tells_it_too(demo, clock):
    x, y = Item("x", handling=UNTIL[0]), Item("y", handling=UNTIL[2])
    bring(demo, [x, y])
    since = demo.head()
    bring(demo, [y.next()])
    upto = demo.head()
    bring(demo, [x.next(handling=UNTIL[2])])
    clock.now = DAYS[1]
    assert sent(demo, since=since, upto=upto)[0] == {"x": (True, EXPIRED), "y": (False, None)}
    assert sent(demo, since=upto)[0] == {"x": (False, None)}  # so it comes back with the next


@pytest.mark.parametrize("few", [1_000, 0])
def test_of_several_changes_and_more_than_are_looked_up_at_a_time(demo, clock, monkeypatch, few):
    monkeypatch.setattr("hashlists.catalog.handling_uses.CHUNK", few)
    monkeypatch.setattr("hashlists.catalog.bulk._FETCHED_ROWS", 2)
    for part in range(3):
        names = [f"{part}-{n}" for n in range(5)]
        bring(demo, items(*names, handling=UNTIL[part]), items(f"{part}-kept", handling=UNTIL[3]))
    since = demo.head()
    demo.retract("demo", [ids_by_name(demo)["0-0"]], **WHO)
    clock.now = DAYS[1]
    with demo.read() as reader:
        batches = list(reader.export(ExportSelection(("demo",), ("a",), since), batch_size=3))
    assert max(map(len, batches)) == 3
    told = list(itertools.chain.from_iterable(each.entries.keys for each in batches))
    assert sorted(told) == sorted(Item(f"{part}-{n}").key for part in range(2) for n in range(5))
    assert sent(demo, since=since)[0]["0-0"] == (True, None)  # not by the end of its use


def test_lists_without_an_end_of_use_cost_nothing(demo, clock):
    """Where no handling ended, no version is looked at to find what did."""
    demo.create_list(replace(DEMO, name="other"), author="a person")
    bring(demo, items("x", "y"), items("z", handling=UNTIL[3]))
    bring(demo, items("x", handling=UNTIL[0]), list_name="other")
    since = demo.head()
    clock.now = DAYS[1]
    statements: list[str] = []

    def listen(_connection, _cursor, statement, *_):
        statements.append(statement)

    event.listen(demo._engine, "before_cursor_execute", listen)
    try:
        assert sent(demo, since=since)[0] == {}
    finally:
        event.remove(demo._engine, "before_cursor_execute", listen)
    assert any("change_handlings" in each for each in statements)
    assert not any("FROM entry_versions" in each for each in statements)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_deltas_in_a_row_lead_to_what_a_whole_export_shows(demo, clock, order):
    """Time passes and the list changes in turns."""
    records = {str(n): Item(str(n), handling=UNTIL[n % 4]) for n in range(24)}
    has: dict[str, tuple[bool, str | None]] = {}
    since = 0
    bring(demo, list(records.values()))
    for step, day in enumerate(order):
        told, export = sent(demo, since=since)
        has = {name: each for name, each in {**has, **told}.items() if not each[0]}
        since = export.revision
        assert has == sent(demo)[0]
        clock.now = max(clock.now, DAYS[step])
        some = [records[str(n)] for n in range(step, 24, 5)]
        for each in some[1:]:
            records[each.name] = each.next(handling=UNTIL[day])
        bring(demo, [records[each.name] for each in some[1:]], gone=some[:1])
    told, _ = sent(demo, since=since)
    has = {name: each for name, each in {**has, **told}.items() if not each[0]}
    assert has == sent(demo)[0]
