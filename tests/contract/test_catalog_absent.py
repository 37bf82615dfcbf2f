"""Imports that are to name all of a list: what they do not name goes, and comes back with them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import event

from hashlists.catalog import Catalog, staging
from hashlists.catalog.id_set import IdSet
from hashlists.model import Handling, Retraction
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
from tests.contract.test_catalog_export import FUTURE, PAST

WHO = {"author": "an operator", "reason": "why"}


@pytest.fixture
def demo(catalog: Catalog) -> Catalog:
    catalog.create_list(DEMO, author="a person")
    bring(catalog, items("a", "b", "c", "d"))
    return catalog


def absent_names(catalog: Catalog, staged) -> list[str]:
    ids = [entry_id for part in staged.absent().parts(2) for entry_id in part]
    return sorted(catalog.entry(entry_id).key[1:].decode() for entry_id in ids)


def bring_all(catalog: Catalog, *records: Item, gone=(), list_name="demo"):
    with catalog.begin_import(list_name, source()) as staged:
        staged.stage(batch(records))
        staged.stage_retractions([Retraction(each.key) for each in gone])
        result = staged.stage_absent(staged.absent(), reason="no longer listed")
        return result.retracted, staged.commit()


def test_what_is_not_named_goes_in_the_same_revision(demo):
    retracted, revision = bring_all(demo, Item("a"), Item("b").next(), Item("new"))
    assert (retracted, revision.retracted, revision.added, revision.updated) == (2, 2, 1, 1)
    assert set(names_in_force(demo)) == {"a", "b", "new"}
    require_coverage(demo)
    record = demo.entry_record(3)
    assert record.retracted_by == ("source",)
    assert record.history[-1].reason == "no longer listed"


def test_what_is_named_again_comes_back(demo):
    bring_all(demo, *items("a"))
    _, revision = bring_all(demo, *items("a", "b", "c", "d"))
    assert (revision.retracted, revision.restored) == (0, 3)
    assert set(names_in_force(demo)) == set("abcd")
    require_coverage(demo)


def test_the_same_file_again_changes_nothing(demo):
    bring_all(demo, *items("a", "b"))
    retracted, revision = bring_all(demo, *items("a", "b"))
    assert (retracted, revision) == (0, None)


def test_what_was_retracted_before_needs_nothing(demo):
    demo.retract("demo", ids_of(demo, "c"), **WHO)
    bring(demo, gone=items("d"))
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a")))
        assert absent_names(demo, staged) == ["b"]
        assert staged.before.entries == 2


def test_counting_changes_nothing_and_counts_the_same_twice(demo):
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a", "new")))
        staged.stage_retractions([Retraction(Item("d").key)])
        demo.retract("demo", ids_of(demo, "c"), **WHO)  # an urgent one meanwhile
        assert absent_names(demo, staged) == absent_names(demo, staged) == ["b", "c"]
    assert set(names_in_force(demo)) == {"a", "b", "d"}
    require_coverage(demo)


def test_an_operators_act_meanwhile_counts_once(demo):
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a")))
        assert staged.stage_absent(staged.absent(), reason="").retracted == 3
        demo.retract("demo", ids_of(demo, "c"), **WHO)
        staged.commit()
    assert set(names_in_force(demo)) == {"a"}
    require_coverage(demo)


def test_what_comes_after_all_is_taken_back(demo):
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a")))
        staged.stage_absent(staged.absent(), reason="")
        staged.stage(batch(items("b", "c")))
        assert absent_names(demo, staged) == []
        assert staged.commit().retracted == 1
    assert set(names_in_force(demo)) == {"a", "b", "c"}
    require_coverage(demo)


def test_other_lists_are_not_looked_at(demo):
    demo.create_list(_named("other"), author="p")
    bring(demo, items("a", "x"), list_name="other")
    bring_all(demo, *items("x"), list_name="other")
    assert len(names_in_force(demo)) == 5
    assert demo.get_list("demo").coverage.entries == 4
    assert demo.get_list("other").coverage.entries == 1


def test_an_empty_file_and_an_empty_list(demo):
    demo.create_list(_named("other"), author="p")
    with demo.begin_import("other", source()) as staged:
        assert len(staged.absent()) == 0
        assert (staged.before.fresh, staged.before.entries, staged.before.format) == (True, 0, None)
        assert staged.stage_absent(staged.absent(), reason="").retracted == 0
        assert staged.commit() is None
    with demo.begin_import("demo", source()) as staged:
        assert staged.stage_absent(staged.absent(), reason="").retracted == 4
        assert staged.commit().retracted == 4
    assert names_in_force(demo) == {}
    require_coverage(demo)


def test_expired_entries_are_on_the_list(demo):
    bring(demo, [Item("old", handling=Handling("", (), PAST))])
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch([*items("a", "b", "c"), Item("d", handling=Handling("", (), FUTURE))]))
        assert absent_names(demo, staged) == ["old"]
        assert staged.before.entries == 5


def test_the_last_format_is_known_also_where_nothing_had_changed(demo):
    def formats() -> str | None:
        with demo.begin_import("demo", source()) as staged:
            return staged.before.format

    assert formats() == "made-up"
    with demo.begin_import("demo", _of_format("other")) as staged:
        staged.stage(batch(items("a")))
        assert staged.commit() is None
    assert formats() == "other"
    with demo.begin_import("demo", _of_format("given up")) as staged:
        staged.stage(batch(items("new")))
    assert formats() == "other"


def test_parts_are_small_and_so_are_transactions(demo, monkeypatch):
    names = [str(number) for number in range(100)]
    bring(demo, items(*names))
    monkeypatch.setattr(staging, "ROWS_PER_TRANSACTION", 30)
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a", "b", "c", "d")))
        absent = staged.absent()
        assert list(map(len, absent.parts(30))) == [30, 30, 30, 10]
        commits: list[object] = []

        def note(connection):
            commits.append(connection)

        event.listen(demo._engine, "commit", note)
        assert staged.stage_absent(absent, reason="").retracted == 100
        event.remove(demo._engine, "commit", note)
        assert len(commits) == 4
        staged.commit()
    require_coverage(demo)


def test_sets_of_ids():
    ids, other = IdSet(), IdSet()
    given = np.array([9, 1, 700_000, 8], np.int64)
    assert ids.missing_of(given).tolist() == [9, 1, 700_000, 8]
    ids.add(9)
    other.add_range(700_000, 2)
    assert ids.missing_of(given).tolist() == [1, 700_000, 8]
    for both in (ids.union(other), other.union(ids)):
        assert both.missing_of(given).tolist() == [1, 8]
        assert both.missing_of(given[:0]).tolist() == []
        assert 700_001 in both
    assert 700_001 not in ids
    assert 9 not in other
    assert list(IdSet().parts(2)) == []
    both = ids.union(other)
    assert list(both.parts(2)) == [[9, 700_000], [700_001]]
    assert list(both.parts(3)) == [[9, 700_000, 700_001]]
    assert both.to_array().tolist() == [9, 700_000, 700_001]
    assert both.holds(given).tolist() == [True, False, True, False]
    assert IdSet.of([given, given[:2]]).to_array().tolist() == [1, 8, 9, 700_000]
    assert (IdSet().is_empty, both.is_empty) == (True, False)
    assert IdSet().to_array().tolist() == IdSet.of([given[:0]]).to_array().tolist() == []


def _named(name):
    return replace(DEMO, name=name)


def _of_format(name):
    return replace(source(), format=name)
