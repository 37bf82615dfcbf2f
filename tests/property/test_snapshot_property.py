"""Snapshots over random content: a round trip loses nothing, and no changed byte goes unnoticed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hashlists.errors import SnapshotError
from hashlists.snapshot import SnapshotWriter, open_current, open_snapshot


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """No power is cut here, and syncing to disk would be most of the time."""
    with mock.patch("os.fsync"):
        yield


DTYPES = ["|b1", "|u1", "<u2", ">u4", "<u8", "|i1", "<i2", ">i4", "<i8", "<f4", "<f8"]
names = st.from_regex(r"\A[a-z0-9_]{1,8}(\.[a-z0-9_]{1,8}){0,2}\Z").filter(
    lambda name: name != "manifest",
)
arrays = hnp.arrays(
    dtype=st.sampled_from(DTYPES),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9),
)
documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    items=st.dictionaries(names, arrays | documents, max_size=5),
    revision=st.integers(0, 2**63 - 1),
)
def test_a_round_trip_loses_nothing(items: dict[str, Any], revision: int):
    with tempfile.TemporaryDirectory() as root:
        with SnapshotWriter(Path(root), revision=revision) as writer:
            for name, item in items.items():
                if isinstance(item, np.ndarray):
                    writer.add_array(name, item)
                else:
                    writer.add_document(name, item)
            writer.publish({"n": len(items)})
        opened = open_current(Path(root))
        assert opened is not None
        assert opened.revision == revision
        assert set(opened.arrays) | set(opened.documents) == set(items)
        for name, item in items.items():
            if isinstance(item, np.ndarray):
                back = opened.arrays[name]
                assert back.dtype == item.dtype.newbyteorder("<")
                np.testing.assert_array_equal(back, item)
                assert back.shape == item.shape
                assert not back.flags.writeable
            else:
                assert opened.documents[name] == item


@given(
    array=arrays.filter(lambda array: array.ndim > 0),
    cuts=st.lists(st.integers(0, 9), max_size=4),
)
def test_parts_and_links_lose_nothing(array: np.ndarray, cuts: list[int]):
    """Written part by part, then shared with a second snapshot: the same array three times."""
    parts = np.split(array, sorted(min(cut, len(array)) for cut in cuts))
    with tempfile.TemporaryDirectory() as root:
        with SnapshotWriter(Path(root), revision=1) as writer:
            writer.add_array_in_parts("a", parts, dtype=array.dtype, row_shape=array.shape[1:])
            writer.add_array("whole", array)
            writer.publish({})
        first = open_current(Path(root))
        assert first is not None
        records = first.manifest["arrays"]
        assert records["a"] == {**records["whole"], "file": "a.bin"}
        with SnapshotWriter(Path(root), revision=2) as writer:
            writer.link_array("b", first, "a")
            writer.publish({})
        second = open_current(Path(root), held=first)
        assert second is not None
        np.testing.assert_array_equal(second.arrays["b"], array)
        assert (second.arrays["b"] is first.arrays["a"]) == (array.size > 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with SnapshotWriter(tmp_path_factory.mktemp("snapshots"), revision=3) as writer:
        writer.add_array("pdq.codes", np.arange(96, dtype=np.uint8).reshape(3, 32))
        writer.add_array("empty", np.empty(0, np.uint32))
        writer.add_document("lists", [{"name": "one", "entries": 3}])
        return writer.publish({"a": [1, 2]})


FILES = ["manifest.json", "pdq.codes.bin", "empty.bin", "lists.json"]


@given(
    file=st.sampled_from(FILES),
    at=st.floats(0, 1, exclude_max=True),
    cut=st.integers(0, 8),
    insert=st.binary(max_size=8),
)
def test_no_changed_byte_goes_unnoticed(
    folder: Path,
    file: str,
    at: float,
    cut: int,
    insert: bytes,
):
    path = folder / file
    before = path.read_bytes()
    start = int(at * len(before))
    after = before[:start] + insert + before[start + cut :]
    try:
        path.write_bytes(after)
        if after == before:
            open_snapshot(folder)
        else:
            with pytest.raises(SnapshotError, match=file):
                open_snapshot(folder)
    finally:
        path.write_bytes(before)


def test_every_single_bit_counts(folder: Path):
    for file in FILES:
        path = folder / file
        before = path.read_bytes()
        try:
            for position in range(len(before)):
                after = bytearray(before)
                after[position] ^= 1 << (position % 8)
                path.write_bytes(after)
                with pytest.raises(SnapshotError):
                    open_snapshot(folder)
        finally:
            path.write_bytes(before)
    assert open_snapshot(folder).revision == 3


@given(data=st.binary(max_size=200))
def test_any_pointer_is_an_answer_or_a_typed_error(data: bytes):
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "current").write_bytes(data)
        with pytest.raises(SnapshotError):
            open_current(Path(root))
