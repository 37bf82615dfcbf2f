"""Queries of `hashwarden lookup` are read exactly, and errors never repeat a hash."""

from __future__ import annotations

import contextlib
import io
import re
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.model import HashKind
from matcher.cli.lookup import _lines, parse_query


@given(st.sampled_from(HashKind), st.data())
def test_every_kind_is_read_in_either_case(kind, data):
    value = data.draw(st.binary(min_size=kind.nbytes, max_size=kind.nbytes))
    digits = data.draw(st.sampled_from([value.hex(), value.hex().upper()]))
    name = data.draw(st.sampled_from([kind.value, kind.value.upper()]))
    item = parse_query(f"{name}:{digits}", 0, 12, 77)
    held = {**item.digests, **(item.views[0].codes if item.views else {})}
    if item.photodna is not None:
        held[HashKind.PHOTODNA] = item.photodna
    assert held == {kind: value}
    assert item.size == 12
    assert all(view.quality == 77 and view.view == "upright" for view in item.views)


def test_hashes_of_one_file_are_joined_by_commas():
    item = parse_query(f"md5:{'0' * 32}, pdq:{'1' * 64},phash:{'2' * 16}", 0, None, 100)
    assert set(item.digests) == {HashKind.MD5}
    assert set(item.views[0].codes) == {HashKind.PDQ, HashKind.PHASH}
    assert item.size is None


BAD = {
    "no colon": "deadbeef" * 4,
    "unknown kind": f"md6:{'ab' * 16}",
    "no hex": f"md5:{'xy' * 16}",
    "too short": f"md5:{'ab' * 15}",
    "too long": f"sha1:{'ab' * 21}",
    "empty value": "md5:",
    "empty": "",
    "two values": f"md5:{'ab' * 16},md5:{'cd' * 16}",
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD)
def test_bad_queries_are_told_by_number_and_never_repeated(text):
    with pytest.raises(click.UsageError) as caught:
        parse_query(text, 3, None, 100)
    assert caught.value.message.startswith("query 3: ")
    assert not re.search("(ab|cd|xy){2}|deadbeef", caught.value.message)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(click.UsageError):
        parse_query(text, 0, None, 100)


def test_dash_reads_a_query_a_line(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("md5:aa\n\n  sha1:bb  \n"))
    assert list(_lines(["first", "-", "last"])) == ["first", "md5:aa", "sha1:bb", "last"]
