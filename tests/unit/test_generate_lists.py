"""Generated lists: every format is read whole, and they are the same list in each."""

from __future__ import annotations

import io

import pytest

from hashlists.formats.registry import format_names
from hashlists.model import HashKind
from loadtest.generate_lists import LISTS, format_of, write_list
from tests.export_support import read

RECORDS = 2500  # more than are made at a time


def written(name, records=RECORDS, seed=3):
    out = io.BytesIO()
    write_list(name, out, records=records, seed=seed)
    return out.getvalue()


def hashes(rows):
    return [row.hashes for row in rows]


def test_all_formats_can_be_generated_but_plain_lines_of_hashes():
    formats = {format_of(name) for name in LISTS}
    assert {*formats, "threatexchange-text"} == set(format_names())


@pytest.mark.parametrize("name", sorted(LISTS))
def test_no_record_is_rejected_and_all_have_their_hashes(name):
    generated = LISTS[name]
    found = read(written(name), format_of(name), generated.options)
    assert len({row.key for row in found.rows}) == len(found.rows) == RECORDS
    assert found.retractions == []
    assert all(set(generated.kinds) <= set(each) for each in hashes(found.rows))


@pytest.mark.parametrize("name", sorted(LISTS))
def test_a_shorter_list_is_the_beginning_of_a_longer_one(name):
    options = LISTS[name].options
    long, short = (
        read(written(name, records), format_of(name), options).rows for records in (1100, 1050)
    )
    assert short == long[:1050]


def test_a_record_has_the_same_values_in_every_format():
    values = {kind: set() for kind in HashKind}
    for name in LISTS:
        for each in hashes(read(written(name, 20), format_of(name), LISTS[name].options).rows):
            for kind, value in each.items():
                values[kind].add(value)
    kinds = {HashKind.MD5, HashKind.SHA1, HashKind.SHA256, HashKind.PDQ, HashKind.PHOTODNA}
    assert {kind for kind, found in values.items() if found} == kinds
    assert {len(found) for found in values.values()} == {0, 20}


@pytest.mark.parametrize("name", ["vics", "parquet", "encase"])
def test_another_seed_gives_other_values(name):
    assert written(name, 20, 3) == written(name, 20, 3) != written(name, 20, 4)
