"""Writes the ICSE hash CSV: sixteen columns between semicolons, as `icse` reads them.

Written: MD5 and SHA-1 in lower-case hex, PhotoDNA in upper-case hex, the source's id as Image ID,
the three flags as `Y` or `N`, Baseline as `Yes` or `No`, `Image` or `Video` by the media type, and
`False` for `File Available`, for no file is. What nothing is known of stays empty. Entries that
carry none of the three hashes, and those in force no longer, cannot be written at all. Entries of
different keys may have the same strongest hash of the three, by which `icse` reads them unless told
otherwise: all of them are written, and those beyond the first counted.

An id or agency that a spreadsheet would run as a formula (`csv_cells`) is left out: a guard before
it would make it another id to every other program. That this file serves as an upload to ICSE is
an assumption; none of the published pages says so.

Options, `yes` or `no` (default):
    agency: write the originator of the handling as `Agency`.
    submissions: write the number of reviewers as `Number of submissions`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from itertools import compress
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.formats import own_layout
from hashlists.formats.base import RETRACTED
from hashlists.formats.csv_cells import guarded
from hashlists.formats.field_mapping import FLAGS, refuse_unknown, yes_or_no
from hashlists.formats.icse_columns import (
    AGENCY,
    BASELINE,
    BASELINE_CLASS,
    COLUMNS,
    DELIMITER,
    FILE_AVAILABLE,
    FLAG_COLUMNS,
    HASH_COLUMNS,
    IMAGE_ID,
    MEDIA_TYPE,
    SUBMISSIONS,
)
from hashlists.formats.shared_keys import SHARED_KEY, SharedKeys
from hashlists.model import NO_ONWARD_SHARING, EntryFlag, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hashlists.model import Classification, EntryBatch, ExportBatch

_WRITTEN_FLAGS: Final = EntryFlag(sum(FLAGS[name] for name in FLAG_COLUMNS))
_NO_HASH: Final = "entry without MD5, SHA1 or PhotoDNA"
_MEDIA_WORDS: Final = {"image": "Image", "video": "Video"}


class IcseWriter:
    """Writes entries as an ICSE hash CSV (see `base.ListWriter`); the module names the options.

    Raises:
        OptionsError: an option is unknown or wrong.
    """

    def __init__(self, stream: BinaryIO, options: Mapping[str, str]) -> None:
        refuse_unknown(options, ("agency", "submissions"))
        self._with_agency = yes_or_no("agency", options.get("agency", "no"))
        self._with_submissions = yes_or_no("submissions", options.get("submissions", "no"))
        self._stream = stream
        self._losses: Counter[str] = Counter()
        self._shared = SharedKeys()
        self._write_rows([COLUMNS])

    @property
    def losses(self) -> Mapping[str, int]:
        """Fields that the format does not have, and entries that it cannot hold."""
        return {name: count for name, count in self._losses.items() if count}

    @property
    def left_out(self) -> int:
        """Entries without any of the three hashes."""
        return self._losses[_NO_HASH]

    def write(self, batch: ExportBatch) -> None:
        """Writes the entries of a batch, in order."""
        entries = batch.entries
        columns = self._columns(entries)
        kept = self._kept(batch)
        self._count_losses(entries, kept)
        rows = zip(*(columns.get(name, [""] * len(entries)) for name in COLUMNS), strict=True)
        self._write_rows(compress(rows, kept))
        self._shared.take(key for key in compress(_strongest(entries), kept) if key)

    def finish(self) -> None:
        """Counts what shares a key; nothing stands at the end of a CSV file."""
        self._losses[SHARED_KEY] = self._shared.repeated

    def _write_rows(self, rows: Iterable[Sequence[str]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=DELIMITER, lineterminator="\r\n").writerows(rows)
        self._stream.write(text.getvalue().encode())

    def _kept(self, batch: ExportBatch) -> list[bool]:
        """Which entries can be written; the others are counted."""
        hashes = batch.entries.hashes
        held = [
            any(kind in hashes and hashes[HashKind(kind)][row] for kind in HASH_COLUMNS)
            for row in range(len(batch))
        ]
        self._losses[RETRACTED] += sum(batch.retracted)
        self._losses[_NO_HASH] += sum(
            not has and not gone for has, gone in zip(held, batch.retracted, strict=True)
        )
        return [has and not gone for has, gone in zip(held, batch.retracted, strict=True)]

    def _columns(self, entries: EntryBatch) -> dict[str, list[str]]:
        flags = own_layout.flag_columns(entries)
        columns = {
            column: [_word(said, yes="Y", no="N") for said in flags[field]]
            for field, column in FLAG_COLUMNS.items()
        }
        columns[FLAG_COLUMNS[BASELINE]] = [
            _word(said or _is_baseline(found) or said, yes="Yes", no="No")
            for said, found in zip(flags[BASELINE], entries.classifications, strict=True)
        ]
        for field, column in HASH_COLUMNS.items():
            kind = HashKind(field)
            values = [value.hex() if value else "" for value in entries.hashes.get(kind, ())]
            columns[column] = (
                [text.upper() for text in values] if kind is HashKind.PHOTODNA else values
            )
        columns[IMAGE_ID] = [_plain(text) for text in entries.source_ids]
        columns[FILE_AVAILABLE] = ["False"] * len(entries)
        columns[MEDIA_TYPE] = [
            _MEDIA_WORDS.get((text or "").partition("/")[0], "") for text in entries.media_types
        ]
        if self._with_agency:
            columns[AGENCY] = [_plain(each.originator) for each in entries.handlings]
        if self._with_submissions:
            columns[SUBMISSIONS] = [
                "" if count is None else str(count) for count in entries.verified_counts
            ]
        return {name: values for name, values in columns.items() if values}

    def _count_losses(self, entries: EntryBatch, kept: Sequence[bool]) -> None:
        lost = self._losses
        for kind, values in entries.hashes.items():
            if kind not in HASH_COLUMNS:
                lost[kind.value] += sum(map(bool, compress(values, kept)))
        lost[own_layout.FURTHER] += len({x.row for x in entries.extra_hashes if kept[x.row]})
        lost["key"] += sum(map(bool, compress(own_layout.key_column(entries), kept)))
        lost["size"] += _count(entries.sizes, kept)
        lost["media_type"] += _count(entries.media_types, kept)
        lost["updated_at"] += _count(entries.source_updated_at, kept)
        lost["source_id that would be a formula"] += sum(
            _plain(text) != (text or "") for text in compress(entries.source_ids, kept)
        )
        lost["classification"] += sum(
            found is not None and not _is_baseline(found)
            for found in compress(entries.classifications, kept)
        )
        lost["flags"] += sum(
            bool(known & ~_WRITTEN_FLAGS) for known in compress(entries.flags_known, kept)
        )
        if not self._with_submissions:
            lost["verified_count"] += _count(entries.verified_counts, kept)
        bare = NO_ONWARD_SHARING
        for handling in compress(entries.handlings, kept):
            written = self._with_agency and _plain(handling.originator) == handling.originator
            rest = (handling.releasable_to, handling.expires_at)
            lost["handling"] += rest != (bare.releasable_to, bare.expires_at) or (
                bool(handling.originator) and not written
            )


def _strongest(entries: EntryBatch) -> list[bytes | None]:
    """Of each row the strongest of the three hashes."""
    found: list[bytes | None] = [None] * len(entries)
    for kind in (HashKind.PHOTODNA, HashKind.MD5, HashKind.SHA1):
        for row, value in enumerate(entries.hashes.get(kind, ())):
            if value:
                found[row] = value
    return found


def _word(said: bool | None, *, yes: str, no: str) -> str:  # noqa: FBT001  # three values
    return "" if said is None else yes if said else no


def _is_baseline(found: Classification | None) -> bool:
    return found is not None and (found.scheme, found.code) == (
        BASELINE_CLASS.scheme,
        BASELINE_CLASS.code,
    )


def _plain(text: str | None) -> str:
    """The text, unless a spreadsheet would run it."""
    return text if text and guarded(text) == text else ""


def _count(values: Sequence[object], kept: Sequence[bool]) -> int:
    return sum(value is not None for value in compress(values, kept))
