"""Places are told to overlap where they have an object in common, and only there."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.scan.document import Place
from matcher.scan.sources.addresses import place_of
from matcher.scan.sources.overlap import overlapping


def places(*texts, **more):
    return [place_of(str(each), **more) for each in texts]


def urls(found):
    return found and tuple(each.url for each in found)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (("s3://b0b", "s3://b0b/x"), ("s3://b0b/x/", "s3://b0b/")),
        (("s3://b0b/x/y", "s3://other", "s3://b0b/x"), ("s3://b0b/x/y/", "s3://b0b/x/")),
        (("s3://b0b/x", "s3://b0b/x/"), ("s3://b0b/x/", "s3://b0b/x/")),
        (("s3://b0b/x", "s3://b0b/xy"), None),
        (("s3://b0b/x", "gs://b0b/x"), None),
        (("s3://b0b", "s3://b0b0"), None),
        (("s3://b0b",), None),
        ((), None),
    ],
)
def test_places_of_stores(texts, found):
    assert urls(overlapping(places(*texts))) == found


def test_places_of_two_stores_lie_apart():
    one = place_of("s3://b0b", endpoint="https://a.test")
    other = place_of("s3://b0b", endpoint="https://b.test")
    assert overlapping([one, other]) is None
    assert overlapping([one, one]) == (one, one)


def test_an_inventory_names_objects_of_its_place():
    listed = place_of("s3://b0b/x", inventory="s3://lists/manifest.json")
    assert overlapping([place_of("s3://b0b"), listed])[0] == listed
    assert overlapping([place_of("s3://lists"), listed]) is None


def test_a_prefix_may_set_places_apart():
    both = places("s3://b0b", "s3://b0b/x")
    assert overlapping(both, prefix="y") is None  # keys that begin with y, and with x/y
    assert urls(overlapping(both, prefix="x/")) == ("s3://b0b/x/", "s3://b0b/")


def test_folders(tmp_path):
    inner, outer, beside = (tmp_path / each for each in ("a/b", "a", "ab"))
    inner.mkdir(parents=True)
    assert urls(overlapping(places(outer, inner))) == (str(inner), str(outer))
    assert urls(overlapping(places(inner, beside, outer))) == (str(inner), str(outer))
    assert overlapping(places(inner, beside)) is None
    assert urls(overlapping(places("/", beside))) == (str(beside), "/")
    assert overlapping(places(outer, inner), prefix="c") is None


def test_folders_are_the_same_whatever_their_names(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    assert overlapping(places(tmp_path / "link", tmp_path / "a"))
    assert overlapping(places(tmp_path / "a", tmp_path / "link/b"))
    assert overlapping(places(tmp_path / "a", tmp_path / "a/b/../b"))
    (tmp_path / "round").symlink_to("round")
    assert overlapping(places(tmp_path / "a", tmp_path / "round")) is None


def test_a_single_file_is_a_place(tmp_path):
    one, other = tmp_path / "one", tmp_path / "one.png"
    one.touch()
    other.touch()
    assert overlapping(places(one, other)) is None
    assert overlapping(places(one, one))
    assert urls(overlapping(places(tmp_path, one))) == (str(one), str(tmp_path))
    assert overlapping(places(tmp_path, one), prefix="two") is None


PARTS = st.text("xy/", max_size=3).filter(lambda text: "//" not in text)


@given(st.lists(PARTS, min_size=2, max_size=3), PARTS)
def test_they_overlap_where_a_key_is_in_two_of_them(prefixes, prefix):
    held = [Place(f"s3://b0b/{each}") for each in prefixes]
    begin = [(each if each.endswith("/") or not each else f"{each}/") + prefix for each in prefixes]
    keys = ["".join(each) for size in range(8) for each in product("xy/", repeat=size)]
    twice = any(sum(key.startswith(each) for each in begin) > 1 for key in keys)
    assert (overlapping(held, prefix=prefix) is not None) is twice
