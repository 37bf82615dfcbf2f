"""The NCMEC writer by small batches: the shape, what is counted as lost, and its options."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hashlists.errors import OptionsError
from hashlists.formats.base import FileOrigin
from hashlists.model import Classification, HashKind, Retraction
from hashlists.validate import TEXT_KEY_TAG
from tests import export_support as support


def row(number=1, **fields):
    key = TEXT_KEY_TAG + f"42/own{number}".encode()
    hashes = {HashKind.MD5: support.value(HashKind.MD5, number)}
    return support.Row(**{"key": key, "hashes": hashes, "source_id": f"own{number}", **fields})


def test_videos_stand_behind_images():
    drawn = [row(1, media_type="video/mp4"), row(2), row(3, media_type="video/mp4")]
    batch = support.export_batch(drawn, retracted=[False, False, True], reasons=[None, None, "why"])
    data, losses = support.write([batch, support.export_batch([row(4)])], "ncmec")
    text = data.decode()
    assert text.index("<images>") < text.index("own4") < text.index("<videos>") < text.index("own1")
    assert losses == {"media type": 1, "reasons of withdrawals": 1}


def test_a_deletion_names_its_entry_where_anybody_may_look_for_it():
    """Of what kind it was is not told; readers may keep images and videos apart."""
    drawn = [row(1), row(2, key=b"\x03" + support.value(HashKind.MD5, 2))]
    data, losses = support.write([support.export_batch(drawn, retracted=[True, True])], "ncmec")
    for kind in ("Image", "Video"):
        for identity in (
            '<member id="42"></member><id>own1</id>',
            '<member id="0"></member><id>2</id>',
        ):
            assert f"<deleted{kind}>{identity}</deleted{kind}>" in data.decode()
    assert losses == {"key": 1}
    assert support.read(data, "ncmec").retractions == [
        Retraction(TEXT_KEY_TAG + own, reason)
        for reason in ("deletedImage", "deletedVideo")
        for own in (b"42/own1", b"0/2")
    ]


def test_instructions_of_others_mean_nothing():
    data, _ = support.write([support.export_batch([row()])], "ncmec")
    foreign = data.replace(b"<images>", b"<?other since='1'?><images>")
    assert foreign != data
    assert support.read(foreign, "ncmec") == support.read(data, "ncmec")
    data, _ = support.write([], "ncmec", origin=FileOrigin(since=7))
    assert support.read(data, "ncmec").delta


def test_entries_of_other_origin_get_the_member_of_the_options():
    other = row(1, key=b"\x03" + support.value(HashKind.MD5, 1), source_id="77")
    foreign = row(2, classification=Classification("vics", "US", "1"))
    options = {"member_id": "9", "member_name": "Unit <7>", "max_timestamp": "2026-11-21T12:00:00Z"}
    data, losses = support.write([support.export_batch([other, foreign])], "ncmec", options)
    assert b'<member id="9">Unit &lt;7&gt;</member><id>1</id>' in data
    assert b'<member id="42"></member><id>own2</id>' in data
    assert b'<images maxTimestamp="2026-11-21T12:00:00Z">' in data
    assert losses == {"key": 1, "source id": 1, "classification": 1}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"member": "1"}, "unknown option 'member' of format ncmec"),
        ({"member_id": "x"}, "must be a number"),
        ({"member_name": "\x01"}, "characters that XML cannot hold"),
        ({"pdna_encoding": "base32"}, "must be one of hex, base64, decimal"),
        ({"max_timestamp": "today"}, "must be a time"),
    ],
)
def test_wrong_options(options, why):
    with pytest.raises(OptionsError, match=why):
        support.write([], "ncmec", options)


def test_text_that_xml_cannot_hold_is_counted():
    drawn = [
        row(1, updated_at="\ufffe", classification=Classification("ncmec", "", "\uffff")),
        row(2, key=TEXT_KEY_TAG + "42/\uffff".encode()),
    ]
    data, losses = support.write([support.export_batch(drawn)], "ncmec")
    assert losses == {"updated at": 1, "classification": 1, "key": 1, "source id": 1}
    assert len(support.read(data, "ncmec").rows) == 2


@pytest.mark.parametrize("encoding", ["hex", "base64", "decimal"])
def test_photodna_in_each_way_of_writing_it(encoding):
    hashes = {HashKind.PHOTODNA: support.value(HashKind.PHOTODNA, 1)}
    batch = support.export_batch([row(1, hashes=hashes)])
    data, losses = support.write([batch], "ncmec", {"pdna_encoding": encoding})
    assert support.read(data, "ncmec").rows[0].hashes == hashes
    assert losses == {}


def test_what_the_format_has_no_place_for_is_counted():
    hashes = {kind: support.value(kind, 1) for kind in (HashKind.MD5, HashKind.SHA256)}
    full = row(
        1,
        hashes=hashes,
        extra=((HashKind.PDQ, support.value(HashKind.PDQ, 2), "crop:0.02"),),
        size=7,
        verified_count=3,
        updated_at="2017-10-24T15:00:00Z",
        classification=Classification("ncmec", "", "A1"),
    )
    bare = row(2, hashes={HashKind.SHA256: support.value(HashKind.SHA256, 2)})
    data, losses = support.write([support.export_batch([full, bare])], "ncmec")
    assert losses == {
        "sha256": 1,
        "derived hashes": 1,
        "size": 1,
        "verified count": 1,
        "entries without a hash that the format needs": 1,
    }
    (found,) = support.read(data, "ncmec").rows
    assert found.classification == full.classification
    assert found.updated_at == full.updated_at


def test_nothing_at_all_is_an_empty_page():
    data, losses = support.write([], "ncmec")
    assert losses == {}
    assert support.read(data, "ncmec") == support.ReadBack()


def test_a_key_with_a_stroke_is_no_member_and_id():
    """Nor is it one where the entry is withdrawn, and its id is told for that alone."""
    drawn = [row(1), row(2, key=TEXT_KEY_TAG + b"2024/17", source_id=None)]
    for gone in (False, True):
        batch = support.export_batch(drawn, retracted=[gone, gone])
        data, losses = support.write([batch], "ncmec")
        text = data.decode()
        assert '<member id="42"></member><id>own1</id>' in text
        assert '<member id="0"></member><id>2</id>' in text
        assert "2024" not in text
        assert losses == {"key": 1}
    assert support.write([replace(batch, key_ids=None)], "ncmec")[1] == {"key": 2}
