"""What the tests of writers share: generated entries as an export hands them on, and the way back.

`export_batches` draws batches in which every field comes in all its shapes: present and absent,
flags known and unknown, several values of a kind with and without derivation, keys of every sort,
handlings, any printable Unicode, entries that are no longer in force. All hashes are made up.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.formats.registry import open_reader, open_writer
from hashlists.limits import DEFAULT_LIMITS
from hashlists.model import (
    NO_FLAGS,
    NO_ONWARD_SHARING,
    Classification,
    EntryBatch,
    EntryFlag,
    ExportBatch,
    ExtraHash,
    Handling,
    HashKind,
    Place,
)
from hashlists.validate import KEY_TAGS, TEXT_KEY_TAG, validate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hashlists.limits import ImportLimits
    from hashlists.model import Retraction

#: Printable text of every sort, with what some format gives a meaning more often than by chance.
TEXTS = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x24F, exclude_characters="\x7f")
    | st.sampled_from(list(",;|'\"=+-@<>&%:\\/{}[] \u2028é漢🦀")),
    min_size=1,
    max_size=12,
)
MEDIA_TYPES = st.sampled_from(["image/jpeg", "image/svg+xml", "video/mp4"])
TIMES = st.datetimes(
    min_value=datetime(1971, 1, 1),  # noqa: DTZ001 - the strategy adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
CLASSES = st.builds(Classification, TEXTS, st.just("") | TEXTS, TEXTS)
RECIPIENTS = st.lists(TEXTS, max_size=3, unique=True).map(tuple)
HANDLINGS = st.just(NO_ONWARD_SHARING) | st.builds(
    Handling, st.just("") | TEXTS, RECIPIENTS, st.none() | TIMES
)
DERIVATIONS = st.none() | st.sampled_from(["crop:0.02", "crop:0.1"])
FLAGS = st.dictionaries(st.sampled_from(list(EntryFlag)), st.booleans())


def value(kind: HashKind, seed: object) -> bytes:
    """A made-up hash: nobody's, the same for the same seed, and no degenerate one."""
    shake = hashlib.shake_128(f"{kind} {seed}".encode())
    return shake.digest(kind.nbytes)


@dataclass(frozen=True)
class Row:
    """One entry with all its fields, as plain values that can be compared."""

    key: bytes
    hashes: Mapping[HashKind, bytes]
    extra: tuple[tuple[HashKind, bytes, str | None], ...] = ()
    size: int | None = None
    classification: Classification | None = None
    handling: Handling = NO_ONWARD_SHARING
    flags: EntryFlag = NO_FLAGS
    flags_known: EntryFlag = NO_FLAGS
    verified_count: int | None = None
    media_type: str | None = None
    source_id: str | None = None
    updated_at: str | None = None

    def only(self, *names: str) -> dict[str, object]:
        """The named fields, to compare what a format carries."""
        return {name: getattr(self, name) for name in names}


@dataclass
class ReadBack:
    """What reading a file gave: entries in file order, withdrawals, and whether it is a delta."""

    rows: list[Row] = field(default_factory=list)
    retractions: list[Retraction] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    delta: bool = False


@st.composite
def rows(draw, number: int = 0, kinds: Sequence[HashKind] = tuple(HashKind)) -> Row:
    """One entry; rows of different numbers never share a key."""
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=len(kinds), unique=True))
    hashes = {kind: value(kind, number) for kind in HashKind if kind in chosen}
    extra: dict[tuple[HashKind, bytes], str | None] = {}
    for at in range(draw(st.sampled_from([0, 0, 0, 1, 3]))):
        kind = draw(st.sampled_from(kinds))
        derivation = draw(DERIVATIONS)
        if kind not in hashes and derivation is None:
            derivation = "crop:0.02"  # a value of the source's own would be the first of its kind
        extra[kind, value(kind, (number, at))] = derivation
    known = draw(FLAGS)
    by_kind = st.sampled_from(list(hashes))
    return Row(
        key=draw(
            by_kind.map(lambda kind: KEY_TAGS[kind] + hashes[kind])
            | TEXTS.map(lambda text: TEXT_KEY_TAG + f"{text}{number}".encode())
        ),
        hashes=hashes,
        extra=tuple((*pair, derivation) for pair, derivation in extra.items()),
        size=draw(st.none() | st.integers(1, 2**63 - 1)),
        classification=draw(st.none() | CLASSES),
        handling=draw(HANDLINGS),
        flags=EntryFlag(sum(flag for flag, said in known.items() if said)),
        flags_known=EntryFlag(sum(known)),
        verified_count=draw(st.none() | st.integers(0, 1000)),
        media_type=draw(st.none() | MEDIA_TYPES),
        source_id=draw(st.none() | TEXTS),
        updated_at=draw(st.none() | TEXTS),
    )


@st.composite
def export_batches(
    draw,
    *,
    max_rows: int = 5,
    kinds: Sequence[HashKind] = tuple(HashKind),
    may_be_retracted: bool = True,
) -> ExportBatch:
    """A batch of made-up entries.

    Args:
        draw: given by Hypothesis.
        max_rows: at most so many; there may be none.
        kinds: of their hashes.
        may_be_retracted: whether some are in force no longer.
    """
    count = draw(st.integers(0, max_rows))
    drawn = [draw(rows(number, kinds)) for number in range(count)]
    gone = [may_be_retracted and draw(st.sampled_from([False, False, True])) for _ in drawn]
    reasons = [draw(st.none() | TEXTS) if each else None for each in gone]
    return export_batch(drawn, retracted=gone, reasons=reasons)


def export_batch(
    drawn: Sequence[Row],
    *,
    retracted: Sequence[bool] | None = None,
    reasons: Sequence[str | None] | None = None,
) -> ExportBatch:
    """The rows as an export hands them on: of those in force no longer the key alone."""
    count = len(drawn)
    gone = list(retracted or [False] * count)
    told = [Row(row.key, {}) if out else row for row, out in zip(drawn, gone, strict=True)]
    return ExportBatch(
        entries=_entries(told),
        entry_ids=list(range(1, count + 1)),
        list_names=["demo"] * count,
        revisions=list(range(1, count + 1)),
        retracted=gone,
        reasons=list(reasons or [None] * count),
        key_ids=[row.source_id for row in drawn],
    )


def _entries(drawn: Sequence[Row]) -> EntryBatch:
    kinds = [kind for kind in HashKind if any(kind in row.hashes for row in drawn)]
    return EntryBatch(
        keys=[row.key for row in drawn],
        hashes={kind: [row.hashes.get(kind) for row in drawn] for kind in kinds},
        extra_hashes=[ExtraHash(at, *each) for at, row in enumerate(drawn) for each in row.extra],
        sizes=[row.size for row in drawn],
        classifications=[row.classification for row in drawn],
        handlings=[row.handling for row in drawn],
        flags=[int(row.flags) for row in drawn],
        flags_known=[int(row.flags_known) for row in drawn],
        verified_counts=[row.verified_count for row in drawn],
        media_types=[row.media_type for row in drawn],
        source_ids=[row.source_id for row in drawn],
        source_updated_at=[row.updated_at for row in drawn],
        content_digests=[hashlib.md5(repr(row).encode()).digest() for row in drawn],
        place_at=lambda row: Place("entry", row + 1),
    )


def rows_of(entries: EntryBatch) -> list[Row]:
    """A batch, entry by entry."""
    extra: dict[int, list[tuple[HashKind, bytes, str | None]]] = {}
    for row, kind, content, derivation in entries.extra_hashes:
        extra.setdefault(row, []).append((kind, content, derivation))
    return [
        Row(
            key=key,
            hashes={kind: found for kind in HashKind if (found := _hash(entries, kind, at))},
            extra=tuple(extra.get(at, ())),
            size=entries.sizes[at],
            classification=entries.classifications[at],
            handling=entries.handlings[at],
            flags=EntryFlag(entries.flags[at]),
            flags_known=EntryFlag(entries.flags_known[at]),
            verified_count=entries.verified_counts[at],
            media_type=entries.media_types[at],
            source_id=entries.source_ids[at],
            updated_at=entries.source_updated_at[at],
        )
        for at, key in enumerate(entries.keys)
    ]


def _hash(entries: EntryBatch, kind: HashKind, row: int) -> bytes | None:
    column = entries.hashes.get(kind)
    return column[row] if column is not None else None


def in_force(batches: Iterable[ExportBatch]) -> list[Row]:
    """The entries of export batches that are in force."""
    return [
        row
        for batch in batches
        for row, gone in zip(rows_of(batch.entries), batch.retracted, strict=True)
        if not gone
    ]


def withdrawn(batches: Iterable[ExportBatch]) -> list[tuple[Row, str | None]]:
    """The entries of export batches that are in force no longer, and why."""
    return [
        (row, reason)
        for batch in batches
        for row, gone, reason in zip(
            rows_of(batch.entries), batch.retracted, batch.reasons, strict=True
        )
        if gone
    ]


def handling_losses(some: Iterable[Row]) -> dict[str, int]:
    """How many of them say something of their handling, by what they say."""
    said = [row.handling for row in some]
    return {
        "originator": sum(bool(each.originator) for each in said),
        "releasable to": sum(bool(each.releasable_to) for each in said),
        "expires at": sum(each.expires_at is not None for each in said),
    }


def write(
    batches: Iterable[ExportBatch],
    format_name: str,
    options: Mapping[str, str] | None = None,
    origin: FileOrigin = NO_ORIGIN,
) -> tuple[bytes, dict[str, int]]:
    """The file that a writer makes of the batches, and what it could not write."""
    out = io.BytesIO()
    writer = open_writer(out, format=format_name, options=options, origin=origin)
    for batch in batches:
        writer.write(batch)
    writer.finish()
    assert not out.closed
    return out.getvalue(), dict(writer.losses)


def read(
    data: bytes,
    format_name: str,
    options: Mapping[str, str] | None = None,
    limits: ImportLimits = DEFAULT_LIMITS,
    *,
    handling: Handling = NO_ONWARD_SHARING,
    may_reject: Collection[str] = (),
) -> ReadBack:
    """What a file holds; no record may be rejected but for a fault of a field in `may_reject`."""
    found = ReadBack()
    for raw in open_reader(io.BytesIO(data), format=format_name, options=options, limits=limits):
        result = validate(raw, default_handling=handling, limits=limits)
        assert [each for each in result.rejections if each.field not in may_reject] == []
        found.rows += rows_of(result.entries)
        found.retractions += result.retractions
        found.delta |= raw.delta
        for note, times in raw.notes.items():
            found.notes[note] = found.notes.get(note, 0) + times
    return found
