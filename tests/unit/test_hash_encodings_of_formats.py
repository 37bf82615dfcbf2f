"""Each way of writing a hash means the same bytes to every reader that can carry its kind."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest

from hashlists.formats.registry import format_names
from hashlists.model import HashKind
from tests.known_files_support import read
from tests.list_samples import SAMPLES, Record, raw

MD5, SHA1, SHA256 = HashKind.MD5, HashKind.SHA1, HashKind.SHA256
PDQ, PHOTODNA = HashKind.PDQ, HashKind.PHOTODNA

Written = Callable[[bytes], str]
HEX: dict[str, Written] = {
    "lower hex": lambda value: value.hex(),
    "upper hex": lambda value: value.hex().upper(),
    "mixed hex": lambda value: value.hex().upper()[:9] + value.hex()[9:],
}
BASE64: dict[str, Written] = {"base64": lambda value: base64.b64encode(value).decode()}
BASE32: dict[str, Written] = {
    "base32": lambda value: base64.b32encode(value).decode(),
    "lower base32": lambda value: base64.b32encode(value).decode().lower(),
}
DECIMAL: dict[str, Written] = {
    "decimal": lambda value: ",".join(map(str, value)),
    "decimal with spaces": lambda value: ", ".join(map(str, value)),
}
#: What the research into formats found in use, by kind.
WRITTEN: dict[HashKind, dict[str, Written]] = {
    PHOTODNA: HEX | BASE64 | DECIMAL,
    PDQ: HEX | BASE64,
    SHA1: HEX | BASE32,
    MD5: HEX,
    SHA256: HEX,
}
ALL = (MD5, SHA1, SHA256, PDQ, PHOTODNA)
#: Kinds that a record of the format can carry, in whatever way it is written.
CARRIES: dict[str, tuple[HashKind, ...]] = {
    "csv": ALL,
    "icse": (MD5, SHA1, PHOTODNA),
    "jsonl": ALL,
    "misp": (PDQ, PHOTODNA),
    "ncmec": (MD5, SHA1, PDQ, PHOTODNA),
    "parquet": ALL,
    "stix": (PDQ, PHOTODNA),
    "stopncii": (PDQ, MD5),
    "tat": (PDQ, MD5, SHA1, SHA256),
    "threatexchange": ALL,
    "threatexchange-text": ALL,
    "vics": (PDQ, PHOTODNA),
}
#: Kinds that the format, or the schema of its issuer, has in hex alone.
HEX_ALONE: dict[str, tuple[HashKind, ...]] = {
    "misp": (MD5, SHA1, SHA256),
    "stix": (MD5, SHA1, SHA256),
    "vics": (MD5, SHA1, SHA256),
    "digests": (MD5,),
    "hashlookup": (MD5, SHA1),
    "nsrl-csv": (SHA1, MD5),
    "nsrl-sqlite": (SHA1, MD5),
}
#: Formats of raw bytes.
BINARY = {"encase", "tsk"}

CASES = [
    (name, kind, how) for name, kinds in CARRIES.items() for kind in kinds for how in WRITTEN[kind]
] + [(name, kind, how) for name, kinds in HEX_ALONE.items() for kind in kinds for how in HEX]


def test_no_format_is_left_out():
    assert CARRIES.keys() | HEX_ALONE.keys() | BINARY == set(format_names()) == SAMPLES.keys()


@pytest.mark.parametrize(("name", "kind", "how"), CASES)
def test_a_reader_takes_each_way_of_writing_a_kind(name, kind, how):
    sample = SAMPLES[name]
    word = sample.words[0] if sample.words else ""
    values = [raw(kind, number) for number in (1, 2)]
    others = {
        each: raw(each, 3).hex()
        for each in HEX_ALONE.get(name, ())
        if each is not kind and name.startswith(("hash", "nsrl"))
    }
    records = [
        Record(number, {**others, kind: WRITTEN[kind][how](value)}, word)
        for number, value in enumerate(values, start=1)
    ]
    options = dict(sample.options)
    if name in ("csv", "jsonl", "parquet"):
        options = {"columns.key": "id", f"columns.{kind}": str(kind)}
    if name == "digests" and kind is SHA256:
        options["kind"] = "sha256"
    found = read(sample.make(records), name, options)
    assert found.faults == []
    assert found.column(kind) == values


@pytest.mark.parametrize("how", [*HEX, *BASE64, *BASE32])
@pytest.mark.parametrize("kind", ALL)
def test_ways_of_writing_may_be_mixed_in_one_file(kind, how):
    """A first value in hex says nothing of those that follow."""
    sample, options = SAMPLES["jsonl"], {"columns.key": "id", f"columns.{kind}": str(kind)}
    written = (HEX | BASE64 | BASE32)[how]
    records = [Record(1, {kind: raw(kind, 1).hex()}), Record(2, {kind: written(raw(kind, 2))})]
    for each in (records, records[::-1]):
        found = read(sample.make(each), "jsonl", options)
        assert found.faults == []
        assert sorted(found.column(kind)) == sorted(raw(kind, number) for number in (1, 2))
