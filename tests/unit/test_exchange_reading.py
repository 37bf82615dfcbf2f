"""A page of an exchange, read: what stays of it in memory, and what is set aside."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
from types import SimpleNamespace

import pytest

from hashlists.exchanges.http import Answer
from hashlists.exchanges.reading import read_page
from hashlists.limits import ImportLimits
from hashlists.model import NO_ONWARD_SHARING, HashKind
from tests.export_support import value

LIMITS = ImportLimits(block_bytes=64 * 1024)


def record(number, **members):
    return {
        "signalType": "ImagePDQ",
        "hashValue": value(HashKind.PDQ, number).hex(),
        "hashStatus": "Active",
        **members,
    }


def read(data):
    client = SimpleNamespace(format="stopncii", reader_options={})
    answer = Answer(io.BytesIO(data), len(data), hashlib.sha256(data).digest(), None)
    return read_page(answer, client, NO_ONWARD_SHARING, LIMITS)


@pytest.mark.parametrize("kind", ["ImagePDQ", "Text"])
def test_the_text_of_a_page_is_not_held_once_it_was_read(kind):
    records = [record(n, signalType=kind, caseNumbers={"x" * 4000: ""}) for n in range(1000)]
    data = json.dumps({"hashRecords": records}).encode()
    assert len(data) > 4_000_000
    tracemalloc.start()
    page = read(data)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(map(len, page.entries)) == (1000 if kind == "ImagePDQ" else 0)
    assert held < len(data) / 2


def test_places_are_right_when_the_text_is_gone():
    records = [record(n, signalType="Text" if n % 3 else "ImagePDQ") for n in range(2000)]
    data = json.dumps({"hashRecords": records}).encode()
    page = read(data)
    (*batches,) = page.entries
    assert len(batches) > 2
    for entries in batches:
        for row, key in enumerate(entries.keys):
            place = entries.place_at(row)
            said = json.JSONDecoder().raw_decode(data[place.offset :].decode())[0]
            assert said == records[place.number - 1]
            assert bytes.fromhex(said["hashValue"]) == key[1:]


def test_a_record_that_says_two_things_is_set_aside():
    text = json.dumps({"hashRecords": [record(1), record(2), record(3)]})
    text = text.replace('"hashStatus": "Active"', '"hashStatus": "Active", "hashStatus": "x"', 1)
    page = read(text.encode())
    assert [len(entries) for entries in page.entries] == [2]
    (aside,) = page.set_aside
    assert (aside.place, aside.field) == ("record 1 (byte 17)", "hashStatus")
