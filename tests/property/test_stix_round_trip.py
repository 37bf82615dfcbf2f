"""What is written as STIX and read back is the same, and is valid by the standard's own schemas."""

from __future__ import annotations

import dataclasses
import json

import jsonschema
import msgspec
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from hashlists.formats.stix_extension import SCHEMA
from tests.export_support import export_batches, in_force, read, withdrawn, write
from tests.stix_support import problems

CARRIED = (
    "hashes",
    "extra",
    "size",
    "classification",
    "handling",
    "flags",
    "flags_known",
    "verified_count",
    "media_type",
    "source_id",
    "updated_at",
)


def as_carried(row):
    """All fields but the key, which becomes an id; further values in any order."""
    return {**row.only(*CARRIED), "extra": sorted(row.extra, key=repr), "hashes": dict(row.hashes)}


@given(batch=export_batches())
@settings(max_examples=min(60, settings().max_examples), deadline=None)
def test_every_field_survives(batch):
    data, losses = write([batch], "stix")
    found = read(data, "stix")
    assert losses == {}
    assert list(map(as_carried, found.rows)) == list(map(as_carried, in_force([batch])))
    reasons = [reason or "" for _, reason in withdrawn([batch])]
    assert [each.reason for each in found.retractions] == reasons


@given(batch=export_batches(may_be_retracted=False))
@settings(max_examples=25, deadline=None)
def test_keys_are_the_same_in_force_and_withdrawn(batch):
    """What a later bundle withdraws is what an earlier one listed."""
    listed, gone = (
        read(write([dataclasses.replace(batch, retracted=[every] * len(batch))], "stix")[0], "stix")
        for every in (False, True)
    )
    assert [row.key for row in listed.rows] == [each.key for each in gone.retractions]
    assert len({row.key for row in listed.rows}) == len(batch)


@given(batch=export_batches(max_rows=3))
@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
def test_bundles_are_valid(batch):
    """By what OASIS publishes, with every recommendation an error, and by our own schema."""
    options = {"producer": "A unit", "created": "2026-11-21T12:00:00+01:00"}
    bundle = json.loads(write([batch], "stix", options)[0])
    assert problems(bundle) == []
    for item in bundle["objects"]:
        for extension in item.get("extensions", {}).values():
            jsonschema.validate(extension, SCHEMA)


@given(
    value=st.recursive(
        st.text(st.characters(exclude_categories=["Cs"])) | st.integers(0, 2**53), st.lists
    )
)
def test_text_of_ids_is_canonical(value):
    """What ids are made of is written as RFC 8785 wants it: no space, sorted, fewest escapes."""
    item = {"b": value, "a": {"z": value, "k": 1}}
    expected = json.dumps(item, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert msgspec.json.encode(item, order="sorted").decode() == expected
