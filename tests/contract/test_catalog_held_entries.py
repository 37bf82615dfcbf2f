"""Large first imports, whose entries are stored later than their versions, many at once."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashlists.catalog import Catalog, held_entries
from hashlists.catalog.key_filter import KeyFilter
from hashlists.model import HashKind, Retraction
from tests.catalog_support import (
    DEMO,
    Item,
    batch,
    bring,
    in_force,
    items,
    names_in_force,
    require_coverage,
    source,
    value,
)


@pytest.fixture
def catalog_url(sqlite_url):
    return sqlite_url


@pytest.fixture(autouse=True, scope="module")
def _few_are_many():
    """What else takes a hundred thousand entries."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_entries, "MAX_HELD", 7)
        patch.setattr(held_entries, "STORED_AT_ONCE", 3)
        patch.setattr(held_entries, "ARRANGED_FROM", 2)
        yield


@pytest.fixture
def demo(catalog):
    catalog.create_list(DEMO, author="a person")
    return catalog


def require_nothing_staged(catalog):
    with catalog._engine.connect() as connection:
        for table in ("entries", "entry_versions", "change_handlings"):
            assert connection.exec_driver_sql(f"SELECT COUNT(*) FROM {table}").scalar() == 0


def require_entries(catalog):
    """Each version has its entry, and each entry a version of its own."""
    with catalog._engine.connect() as connection:
        has, needs = (
            sorted(connection.exec_driver_sql(f"SELECT DISTINCT entry_id FROM {table}").scalars())
            for table in ("entries", "entry_versions")
        )
    assert has == needs


@given(
    parts=st.lists(
        st.lists(
            st.builds(Item, st.text("abc", min_size=1, max_size=3), version=st.integers(0, 1)),
            max_size=6,
        ),
        max_size=5,
    )
)
@settings(max_examples=25)
def test_whatever_repeats_the_first_stands(sqlite_template, tmp_path_factory, parts):
    """The plain model: a dictionary, in the order of the file."""
    file = tmp_path_factory.mktemp("held") / "catalog.db"
    shutil.copyfile(sqlite_template, file)
    listed: dict[str, Item] = {}
    with Catalog.open(f"sqlite:///{file}") as demo:
        demo.create_list(DEMO, author="a person")
        with demo.begin_import("demo", source()) as staged:
            for part in parts:
                at_odds = [each for each in part if listed.setdefault(each.name, each) != each]
                result = staged.stage(batch(part))
                assert len(result.rejections) == len(at_odds)
                assert result.added + result.unchanged == len(part) - len(at_odds)
            staged.commit()
        ids, found = names_in_force(demo), in_force(demo)
        assert ids.keys() == listed.keys()
        assert all(found[ids[name]] == set(each.hashes.items()) for name, each in listed.items())
        require_entries(demo)
        require_coverage(demo)


def test_a_retraction_of_what_is_held_contradicts(demo):
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a", "b", "c")))
        result = staged.stage_retractions([Retraction(Item("b").key, "")])
        assert len(result.rejections) == 1
        staged.commit()
    assert set(names_in_force(demo)) == {"a", "b", "c"}
    require_entries(demo)


def test_hashes_stay_with_their_entries(demo):
    records = [Item(name, extra=((HashKind.PDQ, value(HashKind.PDQ, name)),)) for name in "cab"]
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch(records))
        staged.commit()
    ids = names_in_force(demo)
    for each in records:
        entry = demo.entry(ids[each.name])
        assert (entry.key, entry.hashes, entry.extra_hashes) == (each.key, each.hashes, each.extra)


@pytest.mark.parametrize(
    "keys", [[b"same"], [b"a", b"ab", b"b"], [b"b" * 99, b"a" * 99, b"ab" * 40]]
)
def test_keys_of_any_length(demo, keys):
    """Those that end where others go on, too."""
    names = [key.decode() for key in keys]
    bring(demo, items(*names))
    assert set(names_in_force(demo)) == set(names)
    assert bring(demo, items(*names)).revision is None


def test_nothing_is_left_of_an_import_that_is_given_up(demo):
    with demo.begin_import("demo", source()) as staged:
        for number in range(4):
            staged.stage(batch(items(*(f"{number}{each}" for each in "abcd"))))
    require_nothing_staged(demo)


def test_a_crash_between_versions_and_entries_leaves_nothing(demo, monkeypatch):
    staged = demo.begin_import("demo", source())
    staged.stage(batch(items(*"abc")))
    staged._change.close()  # as a process does that is killed
    monkeypatch.setattr("hashlists.catalog.sweep.is_held", lambda *_args, **_more: False)
    assert demo.sweep() == 3
    require_nothing_staged(demo)
    bring(demo, items(*"abc"))
    require_entries(demo)


@given(st.lists(st.binary(max_size=4), max_size=60), st.lists(st.binary(max_size=4), max_size=60))
def test_the_filter_forgets_no_key(put_in, others):
    some = KeyFilter()
    hashes = np.array([hash(each) for each in put_in], np.int64).view(np.uint64)
    some.add(hashes)
    assert some.possible(hashes).tolist() == list(range(len(put_in)))
    asked = np.array([hash(each) for each in others], np.int64).view(np.uint64)
    told = {others[row] for row in some.possible(asked).tolist()}
    assert told >= set(others) & set(put_in)
