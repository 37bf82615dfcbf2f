"""EnCase hash sets: records behind a head, cut files."""

from __future__ import annotations

import io

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.encase import HEAD_BYTES, MAGIC
from hashlists.formats.registry import open_reader
from hashlists.limits import ImportLimits
from hashlists.model import HashKind
from hashlists.validate import KEY_TAGS
from tests.known_files_support import likeness, read, value


def hash_set(*values, name="SECRET set"):
    head = MAGIC.ljust(1032, b"\0") + name.encode("utf-16-le")
    return head.ljust(HEAD_BYTES, b"\0") + b"".join(each + b"\x01\x02" for each in values)


def test_values_are_taken_and_the_name_is_not():
    values = [value(HashKind.MD5, seed) for seed in range(1, 6)]
    outcome = read(hash_set(*values), "encase")
    assert outcome.column(HashKind.MD5) == values
    assert outcome.keys == [KEY_TAGS[HashKind.MD5] + each for each in values]
    assert outcome.places[:2] == ["record 1 (byte 1152)", "record 2 (byte 1170)"]
    assert outcome.rejections == []
    assert "SECRET" not in repr(outcome)


def test_batches_of_any_size_give_the_same():
    values = [value(HashKind.MD5, seed) for seed in range(1, 8)]
    for rows, size in ((1, 1), (3, 1 << 19), (100, 40)):
        limits = ImportLimits(max_batch_rows=rows, block_bytes=size)
        outcome = read(hash_set(*values), "encase", limits=limits)
        assert outcome.column(HashKind.MD5) == values
        assert outcome.places[6] == "record 7 (byte 1260)"


def test_an_empty_set_holds_nothing():
    assert read(hash_set(), "encase").keys == []


def test_degenerate_values_are_rejected_alone():
    outcome = read(hash_set(value(HashKind.MD5), bytes(16)), "encase")
    ((place, name, reason),) = outcome.faults
    assert (place, name) == (2, "MD5")
    assert "all equal" in reason


@pytest.mark.parametrize("missing", [1, 2, 17])
def test_a_cut_record_is_refused(missing):
    data = hash_set(value(HashKind.MD5, 1), value(HashKind.MD5, 2))
    with pytest.raises(FormatError, match=r"record 2 \(byte 1170\): .*cut off"):
        read(data[:-missing], "encase")


@pytest.mark.parametrize("length", [8, 1151])
def test_a_cut_head_is_refused(length):
    with pytest.raises(FormatError, match=f"has {length} of 1152 bytes; it was cut off"):
        read(hash_set()[:length], "encase")


@pytest.mark.parametrize("data", [b"HASH", b"hello", b"HASH\n\xff\0" + bytes(2000)])
def test_another_file_is_refused(data):
    with pytest.raises(FormatError, match="does not begin as an EnCase hash set"):
        read(data, "encase")


def test_options_likeness_and_progress():
    data = hash_set(value(HashKind.MD5))
    with pytest.raises(OptionsError, match="it has none"):
        read(data, "encase", {"kind": "md5"})
    assert likeness(data, "encase").score == 95
    assert likeness(b"HASH", "encase") is None
    reader = open_reader(io.BytesIO(data), format="encase")
    assert reader.header.format == "encase"
    assert iter(reader) is reader
    list(reader)
    assert reader.bytes_read == len(data)
