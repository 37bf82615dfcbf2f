"""What an ICSE hash CSV can carry of generated entries comes back, and the rest is counted."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from hashlists.formats.csv_cells import guarded
from hashlists.formats.field_mapping import FLAGS
from hashlists.formats.icse_columns import BASELINE_CLASS, FLAG_COLUMNS, HASH_COLUMNS
from hashlists.formats.losses import NO_HASH, WITHDRAWALS
from hashlists.model import NO_ONWARD_SHARING, EntryFlag, Handling, HashKind
from hashlists.validate import KEY_TAGS
from tests.export_support import export_batches, in_force, read, withdrawn, write

WRITTEN = EntryFlag(sum(FLAGS[name] for name in FLAG_COLUMNS))


def carried(row, *, agency, submissions):
    """What is left of an entry, or None."""
    hashes = {kind: value for kind, value in row.hashes.items() if kind in HASH_COLUMNS}
    if not hashes:
        return None
    strongest = next(
        kind for kind in (HashKind.SHA1, HashKind.MD5, HashKind.PHOTODNA) if kind in hashes
    )
    baseline = row.classification == BASELINE_CLASS or EntryFlag.BASELINE in row.flags
    flags = row.flags & WRITTEN
    known = row.flags_known & WRITTEN
    originator = row.handling.originator
    keeps_agency = agency and guarded(originator) == originator
    return replace(
        row,
        key=KEY_TAGS[strongest] + hashes[strongest],
        hashes=hashes,
        extra=(),
        size=None,
        classification=BASELINE_CLASS if baseline else None,
        handling=Handling(originator) if keeps_agency else NO_ONWARD_SHARING,
        flags=flags | EntryFlag.BASELINE if baseline else flags,
        flags_known=known | EntryFlag.BASELINE if baseline else known,
        verified_count=row.verified_count if submissions else None,
        media_type=None,
        source_id=row.source_id
        if row.source_id and guarded(row.source_id) == row.source_id
        else None,
        updated_at=None,
    )


@settings(max_examples=min(40, settings().max_examples), deadline=None)
@given(export_batches(max_rows=4), st.booleans(), st.booleans())
def test_what_the_format_carries_comes_back(batch, agency, submissions):
    words = {True: "yes", False: "no"}
    options = {"agency": words[agency], "submissions": words[submissions]}
    data, losses = write([batch], "icse", options)
    expected = [carried(row, agency=agency, submissions=submissions) for row in in_force([batch])]
    assert read(data, "icse", options).rows == [row for row in expected if row]
    assert losses.get(WITHDRAWALS, 0) == len(withdrawn([batch]))
    assert losses.get(NO_HASH, 0) == expected.count(None)
    assert data == write([batch], "icse", options)[0]
    # Nothing was lost without a word.
    whole = [row for row, left in zip(in_force([batch]), expected, strict=True) if row == left]
    assert losses or len(whole) == len(batch)
