"""What is written in NCMEC's shape and read back is the same in every field that it carries."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.errors import OptionsError
from hashlists.model import NO_ONWARD_SHARING, Classification, HashKind, Retraction
from hashlists.validate import TEXT_KEY_TAG
from tests import export_support as support

KINDS = (HashKind.MD5, HashKind.SHA1, HashKind.PHOTODNA, HashKind.PDQ)
OPTIONS = st.fixed_dictionaries(
    {"pdna_encoding": st.sampled_from(["hex", "base64", "decimal"])},
    optional={"max_timestamp": st.just("2026-11-21T12:00:00Z"), "member_name": support.TEXTS},
)


@st.composite
def ncmec_batches(draw):
    """Entries that came from NCMEC, and what else a catalog may hold of them."""
    rows = []
    for number in range(draw(st.integers(0, 5))):
        own = draw(support.TEXTS) + str(number)
        member = draw(st.sampled_from(["0", "42", "7"]))
        row = draw(support.rows(number, KINDS))
        code = draw(st.none() | support.TEXTS)
        rows.append(
            dataclasses.replace(
                row,
                key=TEXT_KEY_TAG + f"{member}/{own}".encode(),
                source_id=own,
                classification=Classification("ncmec", "", code) if code else None,
            )
        )
    gone = [draw(st.sampled_from([False, False, True])) for _ in rows]
    return support.export_batch(rows, retracted=gone)


CARRIED = ("key", "hashes", "classification", "source_id", "updated_at")


@given(st.lists(ncmec_batches(), max_size=1), OPTIONS)
def test_a_round_trip_keeps_all_that_the_format_carries(batches, options):
    data, losses = support.write(batches, "ncmec", options)
    found = support.read(data, "ncmec")
    rows = support.in_force(batches)
    expected = [row.only(*CARRIED) for row in rows]

    def by_key(each):
        return each["key"]

    assert sorted((row.only(*CARRIED) for row in found.rows), key=by_key) == sorted(
        expected, key=by_key
    )
    assert {each.key for each in found.retractions} == {
        row.key for row, _ in support.withdrawn(batches)
    }
    assert found.notes == {}
    expected_losses = {
        "extra_hashes": sum(bool(row.extra) for row in rows),
        "size": sum(row.size is not None for row in rows),
        "handling": sum(row.handling != NO_ONWARD_SHARING for row in rows),
        "flags": sum(bool(row.flags_known) for row in rows),
        "verified_count": sum(row.verified_count is not None for row in rows),
        "media_type": sum(row.media_type is not None for row in rows),
    }
    assert losses == {name: times for name, times in expected_losses.items() if times}


@given(st.lists(support.export_batches(), max_size=2))
def test_entries_of_any_origin_are_written_or_counted(batches):
    data, losses = support.write(batches, "ncmec", {"member_id": "9"})
    assert support.write(batches, "ncmec", {"member_id": "9"}) == (data, losses)
    found = support.read(data, "ncmec")
    rows = support.in_force(batches)
    left_out = losses.get("entries without md5, sha1, photodna or pdq, left out", 0)
    assert left_out == sum(not row.hashes.keys() & set(KINDS) for row in rows)
    assert len(found.rows) == len(rows) - left_out
    assert len(found.retractions) == len(support.withdrawn(batches))
    for kind in set(HashKind) - set(KINDS):
        written = [row for row in rows if row.hashes.keys() & set(KINDS)]
        assert losses.get(str(kind), 0) == sum(kind in row.hashes for row in written)


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
    assert "<deletedVideo>" in text
    assert losses == {"media_type": 1, "retraction_reason": 1}
    assert support.read(data, "ncmec").retractions == [
        Retraction(TEXT_KEY_TAG + b"42/own3", "deletedVideo")
    ]


def test_entries_of_other_origin_get_the_member_of_the_options():
    other = row(1, key=b"\x03" + support.value(HashKind.MD5, 1), source_id="77")
    foreign = row(2, classification=Classification("vics", "US", "1"))
    options = {"member_id": "9", "member_name": "Unit <7>", "max_timestamp": "2026-11-21T12:00:00Z"}
    data, losses = support.write([support.export_batch([other, foreign])], "ncmec", options)
    assert b'<member id="9">Unit &lt;7&gt;</member><id>1</id>' in data
    assert b'<member id="42"></member><id>own2</id>' in data
    assert b'<images maxTimestamp="2026-11-21T12:00:00Z">' in data
    assert losses == {"key": 1, "source_id": 1, "classification": 1}


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
    assert losses == {"source_updated_at": 1, "classification": 1, "key": 1, "source_id": 1}
    assert len(support.read(data, "ncmec").rows) == 2
