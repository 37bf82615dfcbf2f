"""Own copies: what records said of handling comes back as that, and nothing of their list's."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest

from hashlists.catalog import Catalog
from hashlists.exporter import ExportRequest, export_to_stream
from hashlists.importer import import_files
from hashlists.model import (
    AS_ITS_LIST,
    ApartFromList,
    Handling,
    Harm,
    HashKind,
    HashList,
    SaidHandling,
)
from tests.export_support import value

WHO = {"author": "an operator", "reason": "an agreement ended"}
FORMATS = {"jsonl": {}, "csv": {"columns": "hashwarden"}, "parquet": {}, "stix": {}}
END = datetime(2100, 1, 1, tzinfo=UTC)
COLUMNS = {
    "columns.md5": "md5",
    "columns.key": "id",
    "columns.originator": "by",
    "columns.releasable_to": "to",
    "columns.expires_at": "until",
}
#: The first says nothing of handling; a mapped table that names no recipients names nobody.
RECORDS = {"own": {"to": "b", "by": "us", "until": END.isoformat()}, "nobody": {"to": ""}}


@pytest.fixture
def make(tmp_path):
    def made(name):
        catalog = Catalog.open(f"sqlite:///{tmp_path}/{name}.db")
        opened.append(catalog)
        handling = Handling("a list", ("b",))
        catalog.create_list(HashList("demo", Harm.TEST, "a unit", handling=handling), author="x")
        return catalog

    opened = []
    yield made
    for catalog in opened:
        catalog.close()


def bring(catalog, path, data, name, options):
    path.write_bytes(data)
    return import_files(
        catalog, [path], list_name="demo", format=name, options=options, importer="test"
    )


@pytest.fixture
def filled(make, tmp_path):
    catalog = make("first")
    plain = {"md5": value(HashKind.MD5, 1).hex(), "id": "plain"}
    few = {key: COLUMNS[key] for key in ("columns.md5", "columns.key")}
    bring(catalog, tmp_path / "plain.jsonl", json.dumps(plain).encode(), "jsonl", few)
    records = [
        {"md5": value(HashKind.MD5, seed).hex(), "id": name, **said}
        for seed, (name, said) in enumerate(RECORDS.items(), start=2)
    ]
    data = "\n".join(map(json.dumps, records)).encode()
    bring(catalog, tmp_path / "said.jsonl", data, "jsonl", COLUMNS)
    return catalog


def given(catalog, name="jsonl", recipients=("b",)):
    out = io.BytesIO()
    report = export_to_stream(
        catalog, out, ExportRequest(list_names=["demo"], format=name, recipients=recipients)
    )
    return out.getvalue(), report


def held(catalog):
    """By name what holds of each entry."""
    with catalog.read() as reader:
        ids = [int(each) for part in reader.entry_columns() for each in part.entry_ids]
    entries = [catalog.entry(each) for each in ids]
    names = {value(HashKind.MD5, seed): name for seed, name in enumerate(["plain", *RECORDS], 1)}
    return {names[entry.hashes[HashKind.MD5]]: entry.handling for entry in entries}


@pytest.mark.parametrize("name", FORMATS)
def test_a_list_that_was_moved_says_of_its_entries_what_it_says(filled, make, tmp_path, name):
    data, _ = given(filled, name, recipients=None)
    moved = make(name)
    bring(moved, tmp_path / "own", data, name, FORMATS[name])
    assert held(moved) == held(filled)
    assert held(moved)["plain"] == Handling("a list", ("b",))
    for catalog in (filled, moved):
        catalog.change_handling("demo", SaidHandling("z", ("c",), END), **WHO)
        now = {
            "plain": Handling("z", ("c",), END),
            "own": Handling("us", ("b",), END),
            "nobody": Handling("z", (), END),
        }
        assert held(catalog) == now
        catalog.change_handling("demo", SaidHandling(releasable_to=()), **WHO)
        assert given(catalog)[1].entries == 1  # the one whose record says so


def test_it_is_told_of_how_many_entries_records_say_otherwise(filled):
    assert filled.count_apart("demo") == ApartFromList(1, 1, 1)
    filled.change_handling("demo", SaidHandling("us", (), END), **WHO)
    assert filled.count_apart("demo") == ApartFromList(0, 1, 0)
    filled.change_handling("demo", SaidHandling(releasable_to=("b", "c")), **WHO)
    assert filled.count_apart("demo") == ApartFromList(0, 2, 0)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_for_a_recipient_says_all_that_holds(filled, name):
    assert AS_ITS_LIST[0] not in given(filled, name)[0].decode("latin-1")


def test_what_was_left_to_the_list_is_no_loss(filled):
    assert given(filled, "ncmec", recipients=None)[1].losses["releasable to"] == 1
