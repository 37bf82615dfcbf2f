"""Which objects are chosen: globs, limits, samples and shards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.scan.document import Selection
from matcher.scan.errors import SelectionError
from matcher.scan.model import Listed
from matcher.scan.sources.selection import Selector

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
LISTED = st.builds(
    Listed,
    KEYS,
    st.none() | st.integers(0, 2**40),
    st.none() | st.floats(0, 2**33),
    raw=st.just(b"") | st.binary(min_size=1, max_size=10),
)


def chosen(objects: list[Listed], **asked: object) -> list[Listed]:
    selector = Selector(Selection(**asked))  # type: ignore[arg-type]
    return [each for each in objects if selector.passes(each)]


@given(st.lists(LISTED, max_size=60), st.integers(1, 9))
def test_shards_take_each_object_once(objects: list[Listed], shards: int) -> None:
    parts = [chosen(objects, shard=shard, shards=shards) for shard in range(1, shards + 1)]
    assert sorted(map(repr, (each for part in parts for each in part))) == sorted(
        map(repr, objects)
    )


@given(st.lists(LISTED, max_size=60), st.floats(0.001, 1), st.floats(0.001, 1))
def test_a_larger_sample_holds_a_smaller_one(
    objects: list[Listed], one: float, other: float
) -> None:
    small, large = sorted((one, other))
    taken = chosen(objects, sample=large)
    assert all(each in taken for each in chosen(objects, sample=small))
    assert chosen(objects, sample=1.0) == objects


@given(st.lists(LISTED, max_size=40), st.integers(0, 2**40), st.floats(0, 2**33))
def test_limits_agree_with_their_words(objects: list[Listed], size: int, moment: float) -> None:
    least = chosen(objects, min_bytes=size)
    most = chosen(objects, max_bytes=size)
    assert all((each in least) == (each.size is None or each.size >= size) for each in objects)
    assert all((each in most) == (each.size is None or each.size <= size) for each in objects)
    since = chosen(objects, modified_since=moment)
    before = chosen(objects, modified_before=moment)
    for each in objects:
        assert (each in since) == (each.modified is None or each.modified >= moment)
        assert (each in before) == (each.modified is None or each.modified < moment)


@given(KEYS, KEYS)
def test_a_prefix_is_one_of_characters(key: str, prefix: str) -> None:
    assert bool(chosen([Listed(key)], prefix=prefix)) == key.startswith(prefix)
    assert chosen([Listed(prefix + key)], prefix=prefix)


@given(KEYS)
def test_two_stars_are_any_key(key: str) -> None:
    assert chosen([Listed(key)], include=("**",)) == [Listed(key)]
    assert chosen([Listed(key)], include=("*",)) == [Listed(key)]
    assert chosen([Listed(key)], exclude=("**",)) == []


def test_samples_and_shards_are_of_the_share_that_was_asked_for() -> None:
    objects = [Listed(f"folder/{number}.jpg") for number in range(4000)]
    sampled = chosen(objects, sample=0.25)
    assert 880 < len(sampled) < 1120
    for shard in range(1, 5):
        assert 880 < len(chosen(objects, shard=shard, shards=4)) < 1120
        # Drawn apart: else the sample of some shards would be all of them, of others nothing.
        assert 180 < len(chosen(objects, shard=shard, shards=4, sample=0.25)) < 320


GLOBS = [
    ("*.jpg", "a.jpg", True),
    ("*.jpg", "deep/er/a.jpg", True),
    ("*.jpg", "a.JPG", False),
    ("*.jpg", "a.jpg.txt", False),
    ("/*.jpg", "a.jpg", True),
    ("/*.jpg", "deep/a.jpg", False),
    ("2024/*.jpg", "2024/a.jpg", True),
    ("2024/*.jpg", "2024/01/a.jpg", False),
    ("2024/**/*.jpg", "2024/01/02/a.jpg", True),
    ("2024/**", "2024/01/a.jpg", True),
    ("2024/**", "2024/new\nline.jpg", True),
    ("**/thumbs/**", "a/thumbs/b.jpg", True),
    ("**/thumbs/**", "a/thumbs\n/b.jpg", False),
    ("thumbs/", "a/thumbs/b.jpg", True),
    ("thumbs", "thumbs/b.jpg", True),
    ("img_??.png", "x/img_01.png", True),
    ("img_??.png", "x/img_1.png", False),
    ("[ab].gif", "a.gif", True),
    ("[!ab].gif", "a.gif", False),
    ("#tag.jpg", "#tag.jpg", True),
    ("!not.jpg", "!not.jpg", True),
    ("*.jpg", "new\nline.jpg", True),
    ("*.jpg", "a.jpg\n", False),
    ("a\nb", "a\nb", True),
    ("ü*", "über.jpg", True),
]


@pytest.mark.parametrize(("glob", "key", "matches"), GLOBS)
def test_globs(glob: str, key: str, matches: bool) -> None:
    assert bool(chosen([Listed(key)], include=(glob,))) is matches
    assert bool(chosen([Listed(key)], exclude=(glob,))) is not matches


def test_what_is_left_out_goes_before_what_is_let_in() -> None:
    objects = [Listed("a.jpg"), Listed("b.png"), Listed("thumbs/a.jpg"), Listed("c.txt")]
    kept = chosen(objects, include=("*.jpg", "*.png"), exclude=("thumbs/",))
    assert [each.key for each in kept] == ["a.jpg", "b.png"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"sample": 0.0}, "a sample"),
        ({"sample": 1.1}, "a sample"),
        ({"sample": float("nan")}, "a sample"),
        ({"shard": 0}, "a shard"),
        ({"shard": 3, "shards": 2}, "a shard"),
        ({"shards": 0}, "a shard"),
        ({"limit": 0}, "a limit"),
        ({"min_bytes": -1}, "a size"),
        ({"max_bytes": -1}, "a size"),
        ({"min_bytes": 2, "max_bytes": 1}, "nothing would pass"),
        ({"modified_since": 5.0, "modified_before": 5.0}, "nothing would pass"),
        ({"include": ("",)}, "--include: a glob is empty"),
        ({"exclude": (" ",)}, "--exclude: a glob is empty"),
        ({"exclude": ("a\0",)}, "--exclude: a glob"),
        ({"include": ("a\\",)}, "--include: a glob is malformed"),
    ],
)
def test_what_makes_no_sense(asked: dict[str, object], words: str) -> None:
    with pytest.raises(SelectionError, match=words):
        Selector(Selection(**asked))  # type: ignore[arg-type]


def test_limits_may_meet() -> None:
    assert chosen([Listed("a", 7)], min_bytes=7, max_bytes=7)
