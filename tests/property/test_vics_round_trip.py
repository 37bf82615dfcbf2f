"""What is written as VICS and read back is the same in every field that VICS carries."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.catalog import Catalog
from hashlists.errors import OptionsError
from hashlists.formats.losses import SHARED_KEY
from hashlists.formats.registry import open_writer
from hashlists.importer import import_file
from hashlists.model import Classification, EntryFlag, HashKind
from hashlists.validate import KEY_TAGS
from tests import export_support as support
from tests.catalog_support import DEMO

CARRIED_FLAGS = (
    EntryFlag.VICTIM_IDENTIFIED
    | EntryFlag.OFFENDER_IDENTIFIED
    | EntryFlag.DISTRIBUTED
    | EntryFlag.SUSPECTED
    | EntryFlag.SELF_GENERATED
    | EntryFlag.PRECATEGORIZED
)


@st.composite
def vics_rows(draw, number):
    """An entry as a VICS file could have brought it, or any other."""
    row = draw(support.rows(number))
    md5 = support.value(HashKind.MD5, number)
    if draw(st.booleans()):
        row = dataclasses.replace(row, hashes={**row.hashes, HashKind.MD5: md5})
    if HashKind.MD5 in row.hashes and draw(st.booleans()):
        row = dataclasses.replace(row, key=KEY_TAGS[HashKind.MD5] + md5)
    code = draw(st.sampled_from(["0", "1", "255", "256", "-1", "B", "01"]))
    profile = draw(st.sampled_from(["UK", "US"]))
    return dataclasses.replace(
        row,
        classification=draw(
            st.sampled_from([row.classification, Classification("vics", profile, code), None])
        ),
        source_id=draw(
            st.sampled_from([row.source_id, str(number), "0", "2147483647", "2147483648", "-5"])
        ),
        updated_at=draw(
            st.sampled_from([row.updated_at, "2023-06-07T02:31:49.8300Z", "2023-06-07"])
        ),
    )


@st.composite
def vics_batches(draw):
    rows = [draw(vics_rows(number)) for number in range(draw(st.integers(0, 5)))]
    gone = [draw(st.sampled_from([False, False, True])) for _ in rows]
    return support.export_batch(rows, retracted=gone)


def category(row):
    """The class as VICS of the profile UK carries it."""
    found = row.classification
    carried = found and found.scheme == "vics" and found.profile == "UK"
    if not carried or found.code not in map(str, range(256)):
        return None
    return found


def number_of(source_id):
    """The source's id where it is an Int32 that VICS carries."""
    carried = source_id is not None and source_id in {"0", "1", "2", "3", "4", "2147483647"}
    return source_id if carried or source_id is None else None


@given(st.lists(vics_batches(), max_size=1))
def test_a_round_trip_keeps_all_that_the_format_carries(batches):
    data, losses = support.write(batches, "vics", {"profile": "UK"})
    json.loads(data)
    found = support.read(data, "vics").rows
    rows = [row for row in support.in_force(batches) if HashKind.MD5 in row.hashes]
    assert len(found) == len(rows)
    for back, row in zip(found, rows, strict=True):
        assert back.key == KEY_TAGS[HashKind.MD5] + row.hashes[HashKind.MD5]
        assert back.hashes == row.hashes
        extra = [each for each in row.extra if each[2] is None]
        assert sorted(back.extra) == sorted(extra)
        assert (back.size, back.media_type) == (row.size, row.media_type)
        assert back.classification == category(row)
        assert back.updated_at == (row.updated_at if "T" in str(row.updated_at) else None)
        known = row.flags_known & CARRIED_FLAGS
        assert back.flags == row.flags & CARRIED_FLAGS
        assert back.flags_known == known | EntryFlag.PRECATEGORIZED
        if number_of(row.source_id) is not None:
            assert back.source_id == row.source_id
        else:
            assert int(back.source_id) < 0
    assert losses == expected_losses(batches)


def expected_losses(batches):
    """Counted the slow and obvious way."""
    kept = support.in_force(batches)
    rows = [row for row in kept if HashKind.MD5 in row.hashes]
    counts = {
        "withdrawals": len(support.withdrawn(batches)),
        "entries without a hash that the format needs": len(kept) - len(rows),
        "key": sum(row.key != KEY_TAGS[HashKind.MD5] + row.hashes[HashKind.MD5] for row in rows),
        **support.handling_losses(rows),
        "verified count": sum(row.verified_count is not None for row in rows),
        "series": sum(EntryFlag.SERIES in row.flags_known for row in rows),
        "baseline": sum(EntryFlag.BASELINE in row.flags_known for row in rows),
        "precategorized not said, written as false": sum(
            EntryFlag.PRECATEGORIZED not in row.flags_known for row in rows
        ),
        "derived hashes": sum(any(each[2] for each in row.extra) for row in rows),
        "classification": sum(row.classification is not category(row) for row in rows),
        "source id": sum(row.source_id is not number_of(row.source_id) for row in rows),
        "updated at": sum(row.updated_at is not None and "T" not in row.updated_at for row in rows),
    }
    return {name: number for name, number in counts.items() if number}


@given(st.lists(vics_batches(), max_size=3))
def test_the_bytes_do_not_depend_on_how_entries_were_batched(batches):
    """One batch after the other gives the records of each, in order."""

    def records(some):
        data, _ = support.write(some, "vics", {"profile": "US"})
        return json.loads(data)["value"]

    assert records(batches) == [each for batch in batches for each in records([batch])]


def test_a_record_as_the_schema_has_it():
    hashes = {kind: support.value(kind, 1) for kind in HashKind}
    row = support.Row(
        key=KEY_TAGS[HashKind.MD5] + hashes[HashKind.MD5],
        hashes=hashes,
        extra=((HashKind.PHOTODNA, support.value(HashKind.PHOTODNA, 2), None),),
        flags=EntryFlag.DISTRIBUTED,
        flags_known=EntryFlag.DISTRIBUTED | EntryFlag.SELF_GENERATED,
        classification=Classification("vics", "US", "2"),
    )
    data, _ = support.write([support.export_batch([row])], "vics", {"profile": "US"})
    document = json.loads(data)
    assert document["@odata.context"].endswith("/DataModels/2.0.xml/US/$metadata#Media")
    assert data.startswith(b'{"@odata.context":')
    (record,) = document["value"]
    assert (record["Category"], record["MediaID"]) == (2, -1)
    assert record["IsDistributed"] is True
    assert record["SelfGenerated"] is record["IsPrecategorized"] is False
    assert "VictimIdentified" not in record
    assert len(record["PhotoDNA"]) == 192
    names = [each["HashName"] for each in record["AlternativeHashes"]]
    assert sorted(names) == ["PDQ", "PhotoDNA", "SHA256", "aHash", "dHash", "pHash", "wHash"]
    assert {each["MD5"] for each in record["AlternativeHashes"]} == {record["MD5"]}


@pytest.mark.parametrize(
    ("options", "match"),
    [({}, "needs the option profile"), ({"profile": "a/b"}, "profile"), ({"x": "1"}, "'x'")],
)
def test_options(options, match, tmp_path):
    with (tmp_path / "x").open("wb") as out, pytest.raises(OptionsError, match=match):
        open_writer(out, format="vics", options=options)


def test_no_entries():
    data, losses = support.write([], "vics", {"profile": "US"})
    assert json.loads(data)["value"] == []
    assert (support.read(data, "vics").rows, losses) == ([], {})


def test_records_of_one_md5_are_counted_and_the_first_can_be_read_back(tmp_path):
    md5 = support.value(HashKind.MD5, 1)
    rows = [
        support.Row(
            key=KEY_TAGS[HashKind.SHA1] + sha1, hashes={HashKind.MD5: of, HashKind.SHA1: sha1}
        )
        for number, of in enumerate([md5, support.value(HashKind.MD5, 2), md5, md5])
        for sha1 in [support.value(HashKind.SHA1, number)]
    ]
    batches = [support.export_batch(rows[:2]), support.export_batch(rows[2:])]
    data, losses = support.write(batches, "vics", {"profile": "UK"})
    counted = [losses[SHARED_KEY]]
    path = tmp_path / "list.json"
    path.write_bytes(data)
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as catalog:
        catalog.create_list(DEMO, author="a person")
        how = {"list_name": DEMO.name, "format": "vics", "importer": "a person"}
        report = import_file(catalog, path, max_rejected_share=1, **how)
    assert (counted, report.rejected, report.added) == ([2], 2, 2)
