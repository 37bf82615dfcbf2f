"""Notes: no hash in them, whatever a file calls things, and never more than a report can show."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import pytest

from hashlists.formats.notes import Notes
from hashlists.formats.registry import open_reader

MD5 = hashlib.md5(b"harmless", usedforsecurity=False)
SHA1 = hashlib.sha1(b"harmless", usedforsecurity=False)
HASHES = {
    "md5": MD5.hexdigest(),
    "md5 upper": MD5.hexdigest().upper(),
    "sha1": SHA1.hexdigest(),
    "sha1 base32": base64.b32encode(SHA1.digest()).decode(),
    "64 bits": MD5.hexdigest()[:16],
    "64 bits base32": "AB4DEFGHIJKLM",
    "in a name": f"x.{MD5.hexdigest()[:16]}",
}
NCMEC = "https://hashsharing.ncmec.org/hashsharing/v2"


def files(name):
    """A file of each format that calls something by that name."""
    record = {"id": 1, "hash_digest": "x", "algorithm": name}
    yield "tat", json.dumps({"results": [record]})
    record = {"signalType": name, "hashValue": "x", "hashStatus": "Active"}
    yield "stopncii", json.dumps({"hashRecords": [record]})
    record = {"id": 1, "type": name, "indicator": "x", "descriptors": {"data": [{"status": "x"}]}}
    yield "threatexchange", json.dumps({"data": [record]})
    yield "threatexchange-text", f"md5 {'ab' * 16}\n{name}  a file's name\n"
    yield "stix", json.dumps({"type": "bundle", "objects": [{"type": name}]})
    yield "misp", json.dumps({"Event": {"Attribute": [{"type": name, "value": "x"}]}})
    context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
    hashes = [{"HashName": name, "HashValue": "x"}]
    record = {"MD5": "ab" * 16, "MediaID": 1, "AlternativeHashes": hashes}
    yield "vics", json.dumps({"@odata.context": context, "value": [record]})
    entry = f'<image><member id="1"/><id>1</id><fingerprints><T{name}/></fingerprints></image>'
    yield "ncmec", f'<queryResult xmlns="{NCMEC}"><images>{entry}</images><T{name}/></queryResult>'


def told_of(name, data):
    """What is said of a file: its notes, and why records were rejected."""
    stream = io.BytesIO(data.encode())
    batches = list(open_reader(stream, format=name))
    told = [note for batch in batches for note in batch.notes]
    told += [reason for batch in batches for _, reason in batch.faults.values()]
    return told + [each.reason for batch in batches for each in batch.rejections]


@pytest.mark.parametrize("which", HASHES)
def test_what_looks_like_a_hash_is_no_name(which):
    for name, data in files(HASHES[which].replace(" ", "")):
        notes = told_of(name, data)
        assert notes, name
        assert not [note for note in notes if HASHES[which] in note], name


@pytest.mark.parametrize(
    "name", ["HASH_VIDEO_MD5", "filename|sha512/256", "x509-fingerprint-sha256", "network-traffic"]
)
def test_real_names_are_shown(name):
    notes = Notes()
    notes.add_named("left aside", name)
    assert notes == {f"left aside: {name}": 1}


def test_many_batches_cannot_fill_a_report():
    notes = Notes()
    for batch in range(200):
        notes.take({f"name {batch}.{number}": 2 for number in range(20)})
    assert len(notes) == 101
    assert notes["further notes"] == 2 * (200 * 20 - 100)
