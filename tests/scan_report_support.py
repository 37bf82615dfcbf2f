"""What the tests of a scan's reports share: made-up records, and the sums that belong to them.

`RECORDS` draws records of every sort: awkward names, members of archives, names that are no UTF-8,
matches of every basis, times that no calendar has. All digests are made up.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from matcher.model import NotHashableReason
from matcher.scan.document import Place, ScanDocument
from matcher.scan.model import (
    FOUND,
    BatchResult,
    FailureReason,
    MatchRecord,
    Outcome,
    Record,
    Way,
)
from matcher.scan.state.summary import Run, RunEnd, ScanSummary, Work
from matcher.scan.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PLACES = (Place("s3://holiday-bucket/2026/"), Place("/srv/uploads"))
DOCUMENT = ScanDocument(
    id="k3v9", made_at=1_790_000_000.0, made_by="operator", places=PLACES, policy="default"
)
RUN = Run(
    number=1,
    began_at=1_790_000_010.0,
    revision=7,
    policy="default",
    policy_version="0123456789ab",
    hashed=("upright", "pdq"),
    ended_at=1_790_000_070.0,
    how=RunEnd.DONE,
    objects=0,
)

TEXTS = st.text(
    st.characters(min_codepoint=0x00, max_codepoint=0x24F)
    | st.sampled_from(list("=+-@\t\r\n,;\"'%/!\\<>&{}\u2028\uff1dé漢🦀")),
    max_size=12,
)
NAMES = TEXTS.filter(bool)
MATCHES = st.builds(
    MatchRecord,
    list=NAMES,
    harm=st.sampled_from(["csam", "terrorism"]),
    entry=st.integers(1, 2**62),
    kind=st.sampled_from(["pdq", "md5", "photodna"]),
    basis=st.sampled_from(["near", "exact"]),
    view=st.sampled_from(["", "upright", "frame:3"]),
    distance=st.none() | st.integers(0, 4_000),
    severity=st.sampled_from(["severe", "abuse", "unmapped", "own word"]),
    classification=st.none()
    | st.tuples(
        st.sampled_from(["vics", "iwf"]),
        st.sampled_from(["US", "UK", "", "<b>"]),
        st.sampled_from(["0", "1", "2", "255", "256", "A", "01"]),
    ),
    derivation=st.none() | st.just("crop:0.1"),
)
MOMENTS = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 4e9)


@st.composite
def records(draw: st.DrawFn) -> Record:
    """One record, of no particular place in the scan."""
    outcome = draw(st.sampled_from(list(Outcome)))
    found = outcome in FOUND
    reason = ""
    if outcome is Outcome.FAILED:
        reason = str(draw(st.sampled_from(list(FailureReason))))
    elif outcome is Outcome.NOT_HASHABLE:
        reason = str(draw(st.sampled_from(list(NotHashableReason))))
    matches = tuple(draw(st.lists(MATCHES, min_size=1, max_size=3))) if found else ()
    seed = draw(st.integers(0, 5))  # few, so that some objects have the same bytes
    return Record(
        id="",
        source=draw(st.integers(0, len(PLACES) - 1)),
        key=draw(NAMES),
        outcome=outcome,
        way=draw(st.sampled_from(list(Way))),
        member=draw(st.just("") | NAMES),
        reason=reason,
        detail=draw(TEXTS),
        attempts=draw(st.integers(0, 9)),
        size=draw(st.none() | st.integers(0, 2**40)),
        modified=draw(MOMENTS),
        etag=digest("md5", seed),
        version=draw(TEXTS),
        format=draw(st.sampled_from(["", "jpeg", "jpeg2000", "other"])),
        match_id=draw(NAMES) if found else "",
        matches=matches,
        total_matches=len(matches),
        revision=draw(st.sampled_from([0, 7, 8])),
        md5=digest("md5", seed) if found else "",
        sha1=digest("sha1", seed) if found else "",
        sha256=digest("sha256", seed) if found else "",
        gaps=draw(st.lists(st.sampled_from(["truncated", "frames"]), unique=True).map(tuple)),
        raw=draw(st.just(b"") | st.binary(min_size=1, max_size=6)),
    )


def numbered(drawn: Iterable[Record]) -> list[Record]:
    """The records with ids of their own."""
    kept = []
    for row, record in enumerate(drawn):
        fields = {name: getattr(record, name) for name in record.__struct_fields__}
        kept.append(Record(**{**fields, "id": f"1-{row + 1}"}))
    return kept


RECORDS = st.lists(records(), max_size=8).map(numbered)


def digest(kind: str, seed: object) -> str:
    """A made-up digest in hex: nobody's, and the same for the same seed."""
    return hashlib.new(kind, f"made up {seed}".encode()).hexdigest()


def found_record(number: int, **fields: object) -> Record:
    """A record of something that matched near by."""
    match = MatchRecord(
        list="hotline",
        harm="csam",
        entry=number,
        kind="pdq",
        basis="near",
        view="upright",
        distance=12,
        severity="abuse",
        classification=("vics", "US", "1"),
    )
    made: dict[str, object] = {
        "id": f"1-{number}",
        "source": 0,
        "key": f"album/{number}.jpg",
        "outcome": Outcome.MATCHED,
        "attempts": 1,
        "size": 1_000 + number,
        "modified": 1_700_000_000.25,
        "format": "jpeg",
        "match_id": f"m{number}",
        "matches": (match,),
        "total_matches": 1,
        "revision": 7,
        "md5": digest("md5", number),
        "sha1": digest("sha1", number),
        "sha256": digest("sha256", number),
    }
    return Record(**{**made, **fields})  # type: ignore[arg-type]


def summary_of(records: Sequence[Record], **changed: object) -> ScanSummary:
    """What a scan with these records, all of one batch, has come to."""
    tally = Tally.of(BatchResult(1, tuple(records), fetched_bytes=4_096, seconds=2.0))
    made = ScanSummary(
        document=DOCUMENT,
        runs=(replace(RUN, objects=tally.objects),),
        listed=tally.objects,
        listed_bytes=tally.listed_bytes,
        listing_done=True,
        finished=tally.objects,
        batches=1,
        tally=tally,
        not_selected=0,
        skipped={},
        kept=0,
        work_seconds=2.0,
        bucket_seconds=1.0,
        timeline=(Work(0.0, tally.objects, 4_096),),
    )
    return replace(made, **changed)  # type: ignore[arg-type]
