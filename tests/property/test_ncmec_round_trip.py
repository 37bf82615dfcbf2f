"""What is written in NCMEC's shape and read back is the same in every field that it carries."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from hashlists.formats.losses import FLAGS, NO_HASH
from hashlists.model import Classification, HashKind
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
        own = draw(support.TEXTS).lstrip() + str(number)
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
        "further hashes": sum(any(each[2] is None for each in row.extra) for row in rows),
        "derived hashes": sum(any(each[2] for each in row.extra) for row in rows),
        "size": sum(row.size is not None for row in rows),
        **support.handling_losses(rows),
        **{name: sum(flag in row.flags_known for row in rows) for flag, name in FLAGS.items()},
        "verified count": sum(row.verified_count is not None for row in rows),
        "media type": sum(row.media_type is not None for row in rows),
    }
    assert losses == {name: times for name, times in expected_losses.items() if times}


@given(st.lists(support.export_batches(), max_size=2))
def test_entries_of_any_origin_are_written_or_counted(batches):
    data, losses = support.write(batches, "ncmec", {"member_id": "9"})
    assert support.write(batches, "ncmec", {"member_id": "9"}) == (data, losses)
    found = support.read(data, "ncmec")
    rows = support.in_force(batches)
    left_out = losses.get(NO_HASH, 0)
    assert left_out == sum(not row.hashes.keys() & set(KINDS) for row in rows)
    assert len(found.rows) == len(rows) - left_out
    assert len(found.retractions) == 2 * len(support.withdrawn(batches))  # image and video
    for kind in set(HashKind) - set(KINDS):
        written = [row for row in rows if row.hashes.keys() & set(KINDS)]
        assert losses.get(str(kind), 0) == sum(kind in row.hashes for row in written)
