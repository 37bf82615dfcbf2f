"""Readers by name."""

from __future__ import annotations

import io

import pytest

from hashlists.errors import UnknownFormatError
from hashlists.formats.registry import FORMATS, find_format, format_names, open_reader


def test_names_are_sorted():
    assert list(format_names()) == sorted(FORMATS)
    assert {"csv", "ncmec", "vics"} <= set(format_names())


def test_unknown_format_lists_the_known():
    with pytest.raises(UnknownFormatError, match=r"'exe'; known formats: csv, .*vics"):
        open_reader(io.BytesIO(b""), format="exe")


def test_a_stream_is_read_from_its_start_and_left_open():
    stream = io.BytesIO(b"md5\n" + b"0123456789abcdef" * 2 + b"\n")
    stream.read(7)
    options = {"columns.md5": "md5"}
    (batch,) = open_reader(stream, format="csv", options=options)
    assert batch.rows == 1
    assert not stream.closed


def test_a_format_that_was_nearly_named_is_told():
    with pytest.raises(UnknownFormatError, match=r"'vcis'; did you mean vics\? known formats: csv"):
        find_format("vcis")
