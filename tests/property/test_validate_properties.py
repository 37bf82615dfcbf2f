"""Validation by columns gives what validation row by row gives."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from hashlists.formats.base import Encoding, FileHeader, FlagColumn, HashColumn, RawBatch
from hashlists.model import EntryFlag, Handling, HashKind, Place
from hashlists.validate import validate

HEADER = FileHeader("vics", "2.0", "vics", "US")


def written(kind: HashKind):
    good = st.binary(min_size=kind.nbytes, max_size=kind.nbytes)
    return st.one_of(
        good.map(bytes.hex),
        good.map(lambda value: value.hex().upper()),
        good.map(lambda value: base64.b64encode(value).decode()),
        good.map(lambda value: base64.b32encode(value).decode()),
        good.map(lambda value: ",".join(map(str, value))),
        st.sampled_from([None, "", " ", "00" * kind.nbytes, "ff" * kind.nbytes]),
        st.text(max_size=2 * kind.nbytes + 1),
    )


ROW = st.fixed_dictionaries(
    {
        "md5": written(HashKind.MD5),
        "pdq": written(HashKind.PDQ),
        "size": st.integers(-5, 5) | st.sampled_from([None, "7", "x", 2**63]),
        "id": st.none() | st.text(max_size=5) | st.just("x" * 300),
        "code": st.none() | st.integers(0, 5) | st.text(max_size=3),
        "flag": st.sampled_from([None, True, False, "yes", "N", "?", 1, 0, 2]),
    }
)


def batch(rows):
    def take(name):
        return [row[name] for row in rows]

    return RawBatch(
        rows=len(rows),
        header=HEADER,
        hashes=[
            HashColumn(HashKind.MD5, take("md5"), Encoding.DETECT, "MD5"),
            HashColumn(HashKind.PDQ, take("pdq"), Encoding.DETECT, "PDQ"),
        ],
        place_at=lambda row: Place("line", row),
        sizes=take("size"),
        source_ids=take("id"),
        codes=take("code"),
        flags=[FlagColumn(EntryFlag.BASELINE, take("flag"), "Baseline")],
    )


def outcome(rows):
    """For each row its entry as a tuple, or why it was rejected."""
    result = validate(batch(rows), default_handling=Handling())
    entries = result.entries
    by_row = {r.place.number: (r.field, r.reason) for r in result.rejections}
    assert len(by_row) == len(result.rejections)
    for row in range(len(entries)):
        hashes = {kind: values[row] for kind, values in entries.hashes.items() if values[row]}
        number = entries.place_at(row).number
        assert number not in by_row
        by_row[number] = (
            entries.keys[row],
            hashes,
            entries.sizes[row],
            entries.classifications[row],
            entries.flags[row],
            entries.flags_known[row],
            entries.source_ids[row],
            entries.content_digests[row],
        )
    return [by_row[row] for row in range(len(rows))]


@given(st.lists(ROW, max_size=12))
def test_a_batch_is_the_sum_of_its_rows(rows):
    assert outcome(rows) == [outcome([row])[0] for row in rows]


@given(st.lists(ROW, max_size=8))
def test_every_row_is_an_entry_or_a_rejection_that_shows_no_hash(rows):
    result = validate(batch(rows), default_handling=Handling())
    assert len(result.entries) + len(result.rejections) == len(rows)
    for rejection in result.rejections:
        for name in ("md5", "pdq"):
            text = rows[rejection.place.number][name]
            assert not (text and len(text) > 16 and text in rejection.reason)
