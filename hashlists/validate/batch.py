"""One batch of raw columns, checked: the order of the checks, and what becomes of each record."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hashlists.formats.advice import cut_line
from hashlists.limits import DEFAULT_LIMITS, ImportLimits
from hashlists.model import FOR_GOOD, EntryBatch, Handling, Rejection, Retraction
from hashlists.moments import change_moment
from hashlists.validate.check import UNPRINTABLE, Check
from hashlists.validate.classes import classify
from hashlists.validate.entries import to_entries
from hashlists.validate.fields import (
    read_media_types,
    read_numbers,
    read_sizes,
    read_source_ids,
    read_texts,
)
from hashlists.validate.flags import read_flags
from hashlists.validate.handling import read_handlings
from hashlists.validate.hashes import read_hashes
from hashlists.validate.keys import find_keys
from hashlists.validate.rows import GoodPlaces, Rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.formats.base import RawBatch

_UNMATCHABLE: Final = "listed by nothing that can be matched"


@dataclass(frozen=True, slots=True)
class Validated:
    """What became of one batch: each of its records stands in exactly one of the three.

    Attributes:
        entries: good records.
        retractions: the source's own word that entries are gone, or listed by nothing that could
            be matched; empty for formats that have no such word, as VICS.
        rejections: one for each record that is not imported, in file order, those that the reader
            found included.
    """

    entries: EntryBatch
    retractions: Sequence[Retraction] = field(repr=False)
    rejections: Sequence[Rejection]


def validate(
    batch: RawBatch, *, default_handling: Handling, limits: ImportLimits = DEFAULT_LIMITS
) -> Validated:
    """Checks a batch and decodes its hashes.

    Args:
        batch: raw columns from a reader.
        default_handling: handling with which the list was made: what holds of records that say
            nothing, and over which contents are compared.
        limits: ceilings of the import.

    Returns:
        Entries, retractions and rejections; together as many as the batch has records.

    Raises:
        FormatError: the last record is at fault and may be cut off, as `open_ended` says.
    """
    retracted = batch.withdrawn
    check = Check(batch.rows, limits, retracted)
    for row, (name, reason) in batch.faults.items():
        check.reject(row, name, reason)
    rows = _check_columns(batch, default_handling, check)
    _refuse_cut_off(batch, check)
    dropped = check.faults.keys() | retracted
    rejections = [
        Rejection(batch.place_at(row), name, reason) for row, (name, reason) in check.faults.items()
    ]
    rejections.extend(batch.rejections)
    rejections.sort(key=lambda rejection: rejection.place.number)
    return Validated(
        to_entries(rows.without(dropped), GoodPlaces(batch, dropped)),
        tuple(
            _retraction(row, rows, batch, limits) for row in sorted(retracted - check.faults.keys())
        ),
        rejections,
    )


def _check_columns(batch: RawBatch, default_handling: Handling, check: Check) -> Rows:
    names = batch.names
    hashes, extra = read_hashes(batch, check)
    handlings, said_handlings = read_handlings(batch, default_handling, check)
    flags, flags_known = read_flags(batch.flags, check)
    return Rows(
        keys=find_keys(batch, hashes, check),
        hashes=hashes,
        extra=extra,
        sizes=read_sizes(batch, check),
        classifications=classify(batch, check),
        handlings=handlings,
        said_handlings=said_handlings,
        flags=flags,
        flags_known=flags_known,
        verified_counts=read_numbers(batch.verified_counts, names.verified_count, check),
        media_types=read_media_types(batch.media_types, check),
        source_ids=read_source_ids(batch, check),
        updated_at=read_texts(
            batch.updated_at, names.updated_at, check.limits.max_text_chars, check
        ),
        stamped=_stamped(batch),
    )


def _stamped(batch: RawBatch) -> list[bool]:
    stamped = [batch.stamped] * batch.rows
    for row in batch.unstamped:
        stamped[row] = False
    return stamped


def _retraction(row: int, rows: Rows, batch: RawBatch, limits: ImportLimits) -> Retraction:
    """A withdrawal holds whatever its reason looks like: that is only made fit to be kept."""
    told_at = change_moment(rows.updated_at[row]) if rows.stamped[row] else None
    if row in batch.unmatchable:
        return Retraction(rows.keys[row], _UNMATCHABLE, unmatchable=True, told_at=told_at)
    reason = batch.retraction_reasons[row] if batch.retraction_reasons is not None else None
    return Retraction(
        rows.keys[row],
        UNPRINTABLE.sub(" ", reason or "")[: limits.max_reason_chars],
        told_at=FOR_GOOD if row in batch.for_good else told_at,
    )


def _refuse_cut_off(batch: RawBatch, check: Check) -> None:
    """Refuses the file when its last record is at fault and has no end."""
    last = batch.rows - 1
    if batch.open_ended and last in check.faults:
        name, reason = check.faults[last]
        problem = f"{name + ': ' if name else ''}{reason}"
        raise cut_line(f"does not hold a whole record ({problem})", batch.place_at(last))


__all__ = ["Validated", "validate"]
