"""A list's handling changes by revision, and holds of every entry that says nothing of its own."""

from __future__ import annotations

import random
import re
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sqlalchemy import event, func, insert, select, text

from hashlists.catalog.engine import writer
from hashlists.catalog.expired import Span
from hashlists.catalog.list_handling import EndsOfUse, ListHandling, read_sayings
from hashlists.catalog.rehandled import rehandled_ids
from hashlists.catalog.schema import entry_versions, handlings
from hashlists.errors import HandlingWidenedError, InvalidNameError, ListNotFoundError
from hashlists.model import ChangeKind, Handling, Retraction, SaidHandling
from tests.catalog_support import (
    DEMO,
    Item,
    batch,
    bring,
    ids_of,
    items,
    names_in_force,
    require_coverage,
    source,
)
from tests.contract.test_catalog_export import exported, shown, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.catalog import Catalog, StageResult

WHO = {"author": "an operator", "reason": "the agreement was renewed"}
FUTURE = datetime(2101, 1, 1, tzinfo=UTC)
PAST = datetime(2001, 1, 1, tzinfo=UTC)
FIRST = Handling("us", ("a", "b"))
NOTHING = SaidHandling()
_OF_ENTRIES = re.compile(r"\b(FROM|JOIN|INTO|UPDATE) (entries|entry_versions)\b")


@pytest.fixture
def demo(catalog: Catalog) -> Catalog:
    catalog.create_list(replace(DEMO, handling=FIRST), author="a person")
    return catalog


def bring_said(catalog: Catalog, *records: Item, **said: SaidHandling) -> StageResult:
    """Imports records as validation hands them on, with what each says of handling itself."""
    sayings = [said.get(record.name, NOTHING) for record in records]
    first = catalog.get_list("demo").first_handling
    merged = [
        replace(record, handling=saying.over(first))
        for record, saying in zip(records, sayings, strict=True)
    ]
    with catalog.begin_import("demo", source()) as staged:
        result = staged.stage(replace(batch(merged), said_handlings=sayings))
        staged.commit()
    return result


def holding(catalog: Catalog) -> dict[str, Handling]:
    """Record name -> what holds of it now."""
    return {
        name: catalog.entry(entry_id).handling for name, entry_id in names_in_force(catalog).items()
    }


def to(*names: str) -> SaidHandling:
    return SaidHandling(releasable_to=names)


def until(end: datetime) -> SaidHandling:
    return SaidHandling(expires_at=end)


def versions(catalog: Catalog) -> int:
    with catalog._engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(entry_versions)).scalar_one()


def changed(catalog: Catalog, since: int) -> list[int]:
    with catalog.read() as reader:
        ids = reader.changed_ids(since).tolist()
        assert reader.changed_count(since) >= len(ids)
        return ids


def released(catalog: Catalog, recipient: str, **chosen: int) -> set[str]:
    return set(shown(catalog, recipients=[recipient], **chosen))


class TestChange:
    def test_is_a_revision_with_author_and_reason(self, demo):
        record = demo.change_handling("demo", SaidHandling("them", ("c",), FUTURE), **WHO)
        assert record.hash_list.handling == Handling("them", ("c",), FUTURE)
        assert (record.revision, record.first_handling) == (2, FIRST)
        assert demo.get_list("demo") == record
        newest, first = demo.list_revisions()
        assert newest.kind is ChangeKind.HANDLING
        assert (newest.handling, first.handling) == (record.hash_list.handling, FIRST)
        assert (newest.author, newest.reason) == (WHO["author"], WHO["reason"])

    def test_what_is_not_said_stays(self, demo):
        demo.change_handling("demo", until(FUTURE), **WHO)
        assert demo.get_list("demo").hash_list.handling == replace(FIRST, expires_at=FUTURE)
        demo.change_handling("demo", to(), **WHO)
        assert demo.get_list("demo").hash_list.handling == Handling("us", (), FUTURE)
        demo.change_handling("demo", NOTHING, endless=True, **WHO)
        assert demo.get_list("demo").hash_list.handling == Handling("us")

    def test_what_it_says_already_is_no_revision(self, demo):
        demo.change_handling("demo", to("a", "b"), endless=True, **WHO)
        assert demo.head() == 1

    @pytest.mark.parametrize("said", [to("b", "a"), to("a", "b", "a")])
    def test_the_order_of_recipients_and_repeats_are_no_revision(self, demo, said):
        demo.change_handling("demo", said, **WHO)
        assert demo.head() == 1

    def test_each_recipient_is_kept_once(self, demo):
        record = demo.change_handling("demo", to("c", "c", "a"), **WHO)
        assert record.hash_list.handling.releasable_to == ("c", "a")

    @pytest.mark.parametrize("name", ["", " "])
    def test_a_recipient_without_a_name_is_refused(self, demo, name):
        with pytest.raises(InvalidNameError, match="recipient"):
            demo.change_handling("demo", to("a", name), **WHO)
        with pytest.raises(InvalidNameError, match="recipient"):
            demo.create_list(
                replace(DEMO, name="other", handling=Handling("", (name,))), author="a person"
            )
        assert demo.head() == 1

    @pytest.mark.parametrize(
        ("said", "endless"), [(to("a", "c"), False), (until(FUTURE), False), (NOTHING, True)]
    )
    def test_is_refused_where_it_may_not_widen(self, demo, said, endless):
        demo.change_handling("demo", until(FUTURE - timedelta(days=9)), **WHO)
        with pytest.raises(HandlingWidenedError, match="without --server"):
            demo.change_handling("demo", said, endless=endless, may_widen=False, **WHO)
        assert demo.head() == 2
        narrower = SaidHandling(None, ("b",), FUTURE - timedelta(days=10))
        demo.change_handling("demo", narrower, may_widen=False, **WHO)
        assert demo.get_list("demo").hash_list.handling == narrower.over(FIRST)

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            (SaidHandling(originator="them"), "another originator"),
            (until(datetime.now(UTC) + timedelta(hours=23)), "a day from now"),
        ],
        ids=["originator", "short-notice"],
    )
    def test_from_afar_nothing_is_done_that_cannot_be_undone_from_there(self, demo, said, why):
        with pytest.raises(HandlingWidenedError, match=why):
            demo.change_handling("demo", said, may_widen=False, **WHO)
        assert demo.head() == 1
        demo.change_handling("demo", said, **WHO)
        assert demo.head() == 2
        demo.change_handling("demo", to("b"), may_widen=False, **WHO)  # that end stays as it is
        assert demo.head() == 3

    def test_names_each_recipient_once(self, demo):
        demo.change_handling("demo", to("a", "b", "a"), **WHO)
        assert demo.head() == 1
        demo.change_handling("demo", to("b", "b"), may_widen=False, **WHO)
        assert demo.get_list("demo").hash_list.handling.releasable_to == ("b",)

    def test_of_a_list_that_is_not_there(self, demo):
        with pytest.raises(ListNotFoundError):
            demo.change_handling("nosuch", to("c"), **WHO)

    def test_may_come_while_an_import_is_under_way(self, demo):
        with demo.begin_import("demo", source()) as staged:
            staged.stage(replace(batch(items("x")), said_handlings=[NOTHING]))
            demo.change_handling("demo", to("c"), **WHO)
            staged.stage(replace(batch(items("y")), said_handlings=[NOTHING]))
            staged.commit()
        assert holding(demo) == dict.fromkeys("xy", Handling("us", ("c",)))

    def test_a_rollback_of_the_entries_leaves_it(self, demo):
        bring_said(demo, *items("x"))
        demo.change_handling("demo", to("c"), **WHO)
        bring_said(demo, *items("y"))
        demo.rollback("demo", 2, **WHO)
        assert holding(demo) == {"x": Handling("us", ("c",))}

    def test_what_a_list_once_said_outlives_a_purge(self, demo):
        bring(demo, [Item("x", handling=FIRST)])
        demo.change_handling("demo", to("c"), **WHO)
        demo.purge("demo", ids_of(demo, "x"), **WHO)
        assert demo.get_list("demo").first_handling == FIRST


class TestEntries:
    def test_follow_their_list_as_far_as_they_say_nothing(self, demo):
        said = {"own": SaidHandling("them", ("z",), FUTURE), "some": to("z"), "closed": to()}
        bring_said(demo, *items("none", *said), **said)
        demo.change_handling("demo", SaidHandling("others", ("c", "d"), FUTURE), **WHO)
        assert holding(demo) == {
            "none": Handling("others", ("c", "d"), FUTURE),
            "own": Handling("them", ("z",), FUTURE),
            "some": Handling("others", ("z",), FUTURE),
            "closed": Handling("others", (), FUTURE),
        }

    def test_none_is_written(self, demo):
        bring_said(demo, *items("x", "y"), x=to("z"))
        before, head = versions(demo), demo.head()
        demo.change_handling("demo", to("c"), **WHO)
        assert versions(demo) == before
        assert changed(demo, head) == []
        again = bring_said(demo, *items("x", "y"), x=to("z"))
        assert (again.added, again.updated, again.unchanged) == (0, 0, 2)
        assert versions(demo) == before

    def test_that_begin_to_say_what_their_list_says_are_written(self, demo):
        bring_said(demo, *items("x"))
        assert bring_said(demo, *items("x"), x=to("a", "b")).updated == 1
        demo.change_handling("demo", to("c"), **WHO)
        assert holding(demo)["x"].releasable_to == ("a", "b")
        demo.rollback("demo", 2, **WHO)
        assert holding(demo)["x"].releasable_to == ("c",)
        require_coverage(demo)


class TestEntriesOfUnknownSayings:
    """As earlier versions stored them: record and list together."""

    def test_are_narrowed_and_never_widened(self, demo):
        same = Item("same", handling=FIRST)
        own = Item("own", handling=Handling("them", ("z",), FUTURE))
        bring(demo, [same, own])
        for said, now in [(("b", "c"), ("b",)), (("c",), ()), (("a", "b", "c"), ("a", "b"))]:
            demo.change_handling("demo", to(*said), **WHO)
            assert holding(demo) == {"same": replace(FIRST, releasable_to=now), "own": own.handling}
        demo.change_handling("demo", until(FUTURE - timedelta(days=1)), **WHO)
        assert holding(demo)["same"].expires_at == FUTURE - timedelta(days=1)
        assert holding(demo)["own"].expires_at == FUTURE  # said by its record

    def test_are_left_until_it_matters_and_then_learnt_once(self, demo):
        record = Item("x", handling=FIRST)
        bring(demo, [record])
        assert bring_said(demo, record).unchanged == 1
        demo.change_handling("demo", to("a", "b", "c"), **WHO)
        assert released(demo, "c") == set()
        assert bring_said(demo, record).updated == 1
        assert released(demo, "c") == {"x"}
        assert bring_said(demo, record).unchanged == 1
        require_coverage(demo)


class TestExports:
    def test_go_by_what_the_list_says_now(self, demo):
        bring_said(demo, *items("x", "own"), own=to("a"))
        assert (released(demo, "a"), released(demo, "c")) == ({"x", "own"}, set())
        demo.change_handling("demo", to("c"), **WHO)
        assert (released(demo, "a"), released(demo, "c")) == ({"own"}, {"x"})
        (out,), export = exported(demo, recipients=["c"])
        assert out.entries.handlings == [Handling("us", ("c",))]
        assert export.held_back.by_recipient == {"c": 1}

    def test_of_an_earlier_revision_go_by_the_stricter(self, demo):
        bring_said(demo, *items("x"))
        wide = demo.head()
        demo.change_handling("demo", to("b", "c"), **WHO)
        narrow = demo.head()
        assert [released(demo, each, upto=wide) for each in "abc"] == [set(), {"x"}, set()]
        (out,), _ = exported(demo, recipients=["b"], upto=wide)
        assert out.entries.handlings == [Handling("us", ("b",))]
        demo.change_handling("demo", to("a", "b", "c"), **WHO)
        assert [released(demo, each, upto=wide) for each in "abc"] == [{"x"}, {"x"}, set()]
        assert [released(demo, each, upto=narrow) for each in "abc"] == [set(), {"x"}, {"x"}]

    def test_a_delta_withdraws_what_was_narrowed(self, demo):
        bring_said(demo, *items("x", "own"), own=to("a"))
        since = demo.head()
        demo.change_handling("demo", to("c"), **WHO)
        batches, _ = exported(demo, recipients=["a"], since=since)
        assert [(name, gone) for name, (gone, _) in told(batches).items()] == [("x", True)]
        (out,) = batches
        assert out.revisions == [demo.head()]
        assert shown(demo, recipients=["a"], since=demo.head()) == {}

    def test_a_delta_gives_what_was_widened(self, demo):
        bring_said(demo, *items("x", "own"), own=to("a"))
        since = demo.head()
        demo.change_handling("demo", to("a", "b", "c"), **WHO)
        assert {
            name: gone for name, (gone, _) in shown(demo, recipients=["c"], since=since).items()
        } == {"x": False}
        assert released(demo, "a", since=since) == {"x"}  # whoever has it may know more of it now

    def test_a_delta_tells_nothing_where_recipients_only_changed_places(self, demo):
        bring_said(demo, *items("x"))
        since = demo.head()
        demo.change_handling("demo", to("a", "b", "c"), **WHO)
        demo.change_handling("demo", to("b", "a"), **WHO)
        widened = demo.head() - 1
        assert shown(demo, recipients=["a"], since=demo.head()) == {}
        assert released(demo, "a", since=widened) == {"x"}
        held = ListHandling((since, since + 1), (FIRST, replace(FIRST, releasable_to=("b", "a"))))
        with demo._engine.connect() as connection:
            found = rehandled_ids(connection, 1, held, Span(0, 1), since=since)
        assert found.is_empty

    @pytest.mark.parametrize("said", [to("b"), until(PAST)])
    def test_a_delta_gives_what_was_narrowed_while_its_revision_was_exported(self, demo, said):
        bring_said(demo, *items("x", "own"), own=to("a"))
        since = demo.head()
        bring_said(demo, *items("y"))
        upto = demo.head()
        demo.change_handling("demo", said, **WHO)
        given = released(demo, "a", upto=since)
        assert "x" not in given
        demo.change_handling("demo", to("a", "b"), endless=True, **WHO)
        for delta in ({"since": since}, {"since": since, "upto": upto}):
            rows = shown(demo, recipients=["a"], **delta)
            assert not any(gone for gone, _ in rows.values())
            assert given | rows.keys() == released(demo, "a")

    def test_a_delta_tells_another_end_of_use(self, demo):
        bring_said(demo, *items("x", "own"), own=until(FUTURE))
        since = demo.head()
        demo.change_handling("demo", until(FUTURE - timedelta(days=9)), **WHO)
        (out,), _ = exported(demo, recipients=["a"], since=since)
        assert [each.expires_at for each in out.entries.handlings] == [FUTURE - timedelta(days=9)]

    def test_a_delta_withdraws_what_its_list_let_expire(self, demo, monkeypatch):
        bring_said(demo, *items("x", "own"), own=until(FUTURE))
        demo.change_handling("demo", until(FUTURE - timedelta(days=9)), **WHO)
        since = demo.head()
        later = int((FUTURE - timedelta(days=1)).timestamp() * 1_000_000)
        monkeypatch.setattr("hashlists.catalog.catalog.now_microseconds", lambda: later)
        assert {name: gone for name, (gone, _) in shown(demo, since=since).items()} == {"x": True}

    @pytest.mark.slow
    def test_a_delta_applied_to_an_export_gives_the_next(self, demo):
        rng = random.Random(11)
        recipients = [("a",), ("b",), ("a", "b"), (), ("a", "c")]
        known: dict[str, Item] = {}
        at: dict[int, dict[str, tuple[bool, bytes]]] = {}
        for step in range(12):
            if step % 3 == 2:
                demo.change_handling("demo", to(*rng.choice(recipients)), **WHO)
            else:
                _import_at_random(demo, rng, known, recipients, as_before=step < 6)
            at[demo.head()] = shown(demo, recipients=["a"])
            for since, before in at.items():
                state = dict(before)
                delta = shown(demo, recipients=["a"], since=since, batch_size=7)
                for name, (gone, digest) in delta.items():
                    state[name] = (False, digest)
                    if gone:
                        del state[name]
                assert state == at[demo.head()], (since, demo.head())
        assert any(at.values())


def _import_at_random(
    catalog: Catalog, rng: random.Random, known: dict[str, Item], recipients, *, as_before: bool
) -> None:
    names = sorted({str(rng.randrange(20)) for _ in range(9)})
    for name in names:
        known[name] = known[name].next() if name in known else Item(name)
    said = {name: to(*rng.choice(recipients)) for name in names if rng.random() < 0.5}
    if as_before:
        records = [
            replace(known[name], handling=said.get(name, NOTHING).over(FIRST)) for name in names
        ]
        bring(catalog, records)
    else:
        bring_said(catalog, *(known[name] for name in names), **said)
    gone = rng.choice(sorted(known))
    with catalog.begin_import("demo", source()) as staged:
        staged.stage_retractions([Retraction(known[gone].key, "gone")])
        staged.commit()


class TestEndsOfUse:
    def test_followers_are_told_every_entry_that_it_counts_for(self, demo):
        own = until(FUTURE)
        bring_said(demo, *items("x", "y", "own"), own=own)
        bring(demo, [Item("old", handling=FIRST), Item("kept", handling=own.over(FIRST))])
        head, ids = demo.head(), names_in_force(demo)
        demo.change_handling("demo", until(FUTURE - timedelta(days=9)), **WHO)
        assert changed(demo, head) == sorted(ids[name] for name in ("x", "y", "old"))
        with demo.read() as reader:
            (columns,) = reader.entry_columns()
        ends = dict(zip(columns.entry_ids.tolist(), columns.expires.tolist(), strict=True))
        sooner = int((FUTURE - timedelta(days=9)).timestamp())
        assert {name: ends[entry_id] for name, entry_id in ids.items()} == {
            **dict.fromkeys(("x", "y", "old"), sooner),
            **dict.fromkeys(("own", "kept"), int(FUTURE.timestamp())),
        }

    @pytest.mark.parametrize("many", [0, 2])
    def test_many_are_told_as_few_are(self, demo, monkeypatch, many):
        bring_said(demo, *items("x", "y", "z", "own"), own=until(FUTURE))
        head, ids = demo.head(), ids_of(demo, "x", "y", "z")
        demo.change_handling("demo", until(PAST), **WHO)
        bring_said(demo, *items("x"))
        monkeypatch.setattr("hashlists.catalog.touched._MANY", many)
        assert changed(demo, head) == sorted(ids)
        with demo.read() as reader:
            assert reader.ids_with_new_ends(head).tolist() == sorted(ids)
            before = int(PAST.timestamp()) - 1
            assert reader.ids_with_new_ends(head, by=before).tolist() == []
            assert reader.ids_with_new_ends(head, by=before + 1).tolist() == sorted(ids)

    def test_entries_that_expired_come_back_with_their_list(self, demo):
        demo.change_handling("demo", until(PAST), **WHO)
        bring_said(demo, *items("x", "own"), own=until(FUTURE))
        assert demo.get_list("demo").coverage.entries == 1
        require_coverage(demo)
        demo.change_handling("demo", NOTHING, endless=True, **WHO)
        assert demo.get_list("demo").coverage.entries == 2
        assert names_in_force(demo).keys() == {"x", "own"}
        require_coverage(demo)

    def test_only_its_own_entries_are_told(self, demo):
        demo.create_list(replace(DEMO, name="other"), author="a person")
        bring(demo, items("z"), list_name="other")
        bring_said(demo, *items("x"))
        (of_x,) = ids_of(demo, "x")
        head = demo.head()
        demo.change_handling("demo", until(FUTURE), **WHO)
        assert changed(demo, head) == [of_x]
        demo.change_handling("demo", NOTHING, endless=True, **WHO)
        assert changed(demo, head) == []  # as it was

    def test_the_rule_for_many_is_the_rule_for_one(self, demo):
        ends = (None, FUTURE, FUTURE - timedelta(days=1), PAST)
        bring(demo, [Item(str(n), handling=Handling("us", (), end)) for n, end in enumerate(ends)])
        said = {f"s{n}": SaidHandling(expires_at=end) for n, end in enumerate(ends)}
        bring_said(demo, *items(*said), **said)
        for step, end in enumerate([None, *ends[1:], None, *reversed(ends[1:])]):
            if step:
                demo.change_handling("demo", SaidHandling(expires_at=end), endless=True, **WHO)
            require_coverage(demo)
            _require_one_rule(demo)


def _require_one_rule(catalog: Catalog) -> None:
    list_id = catalog.get_list("demo").list_id
    with catalog._engine.connect() as connection:
        held = ListHandling.read(connection, list_id)
        query = select(entry_versions.c.handling_id, handlings.c.expires_at).join(
            handlings, handlings.c.handling_id == entry_versions.c.handling_id
        )
        rows: Mapping[int, int | None] = dict(map(tuple, connection.execute(query)))
        sayings = read_sayings(connection, rows)
        named = np.array([2**62 if end is None else end for end in rows.values()], np.int64)
        by_record = np.array([isinstance(sayings[each], SaidHandling) for each in rows])
        ends = EndsOfUse(connection).of(np.full(len(rows), list_id), named, by_record)
    wanted = [held.holds(sayings[each], held.newest).expires_at for each in rows]
    assert [
        None if end == 2**62 else datetime.fromtimestamp(end / 1e6, UTC) for end in ends.tolist()
    ] == wanted


def test_a_change_costs_the_same_for_many_entries(demo):
    """One row says it of all of them; nothing of theirs is read."""
    bring_said(demo, *items(*map(str, range(5_000))))
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_):
        seen.append(statement)

    event.listen(demo._engine, "before_cursor_execute", note)
    demo.change_handling("demo", to("c"), **WHO)
    event.remove(demo._engine, "before_cursor_execute", note)
    assert any("list_handlings" in each for each in seen)
    assert not any(_OF_ENTRIES.search(each) for each in seen)


_GIVES_EACH_ITS_OWN = (
    (
        "UPDATE entry_versions SET handling_id = entry_id"
        " - (SELECT min(entry_id) FROM entries)"
        " + (SELECT min(handling_id) FROM handlings WHERE document LIKE '%\"o0\"%')"
    ),
    "DELETE FROM change_handlings",
    "DELETE FROM list_counts",
    (
        "INSERT INTO change_handlings (change_id, handling_id, versions)"
        " SELECT change_id, handling_id, 1 FROM entry_versions"
    ),
    (
        "INSERT INTO list_counts (list_id, kinds, handling_id, entries)"
        " SELECT 1, kinds, handling_id, 1 FROM entry_versions"
    ),
)


class TestHandlingsOfTheirOwn:
    """Each entry of a list may have one: what is kept of them in memory takes a bit each."""

    NUMBER = 10_000

    @pytest.fixture
    def many(self, demo, monkeypatch):
        monkeypatch.setattr("hashlists.catalog.bulk._FETCHED_ROWS", 200)
        bring_said(demo, *items(*map(str, range(self.NUMBER))))
        with writer(demo._engine).begin() as connection:
            documents = [f'{{"originator":"o{number}"}}' for number in range(self.NUMBER)]
            rows = [{"digest": each.encode(), "document": each} for each in documents]
            connection.execute(insert(handlings), rows)
            for statement in _GIVES_EACH_ITS_OWN:
                connection.execute(text(statement))
        require_coverage(demo)
        return demo

    @pytest.mark.slow
    def test_hardly_any_memory_is_taken_for_whom_their_list_concerns(self, many):
        since = many.head()
        many.change_handling("demo", replace(to("b"), expires_at=FUTURE), **WHO)
        with many.read() as reader:
            connection = reader._connection
            held = ListHandling.read(connection, 1)
            find = {
                "another handling": lambda: sum(
                    map(len, rehandled_ids(connection, 1, held, Span(0, 1), since=since).arrays(99))
                ),
                "another end": lambda: reader.changed_count(since),
                "coverage": lambda: many.get_list("demo").coverage.entries,
            }
            for what, number in find.items():
                assert number() == self.NUMBER, what  # what is compiled once is not counted below
                tracemalloc.start()
                number()
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                # A page of rows, and that is all; numbers in a set alone would take as much again.
                assert peak < 100 * self.NUMBER, (what, peak)
        told = shown(many, recipients=["a"], since=since)
        assert sum(gone for gone, _ in told.values()) == self.NUMBER
