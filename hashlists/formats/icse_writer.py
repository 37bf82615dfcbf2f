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

from hashlists.formats import losses, own_layout
from hashlists.formats.base import NO_ORIGIN, FileOrigin
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
from hashlists.formats.shared_keys import SharedKeys
from hashlists.model import KEY_TAGS, EntryFlag, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hashlists.model import Classification, EntryBatch, ExportBatch

_WRITTEN_FLAGS: Final = sum(int(FLAGS[name]) for name in FLAG_COLUMNS)
_BASELINE_FLAG: Final = int(EntryFlag.BASELINE)
_MEDIA_WORDS: Final = {"image": "Image", "video": "Video"}


class IcseWriter:
    """Writes entries as an ICSE hash CSV (see `base.ListWriter`); the module names the options.

    Raises:
        OptionsError: an option is unknown or wrong.
    """

    def __init__(
        self, stream: BinaryIO, options: Mapping[str, str], origin: FileOrigin = NO_ORIGIN
    ) -> None:
        refuse_unknown(options, ("agency", "submissions"))
        self._with_agency = yes_or_no("agency", options.get("agency", "no"))
        self._with_submissions = yes_or_no("submissions", options.get("submissions", "no"))
        self._is_delta = bool(origin.since)
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
        return self._losses[losses.NO_HASH]

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
        self._losses[losses.SHARED_KEY] = self._shared.repeated

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
        without = sum(not has and not gone for has, gone in zip(held, batch.retracted, strict=True))
        self._losses[losses.NO_HASH] += without
        # In a delta the recipient may have hashes that such an entry had before.
        self._losses[losses.WITHDRAWALS] += sum(batch.retracted) + without * self._is_delta
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
        if entries.extra_hashes:
            for extra in compress(own_layout.extra_by_row(entries), kept):
                losses.count_further(lost, extra)
        keys = zip(entries.keys, _strongest(entries), strict=True)
        lost[losses.KEY] += sum(key != read for key, read in compress(keys, kept))
        lost[losses.SIZE] += _count(entries.sizes, kept)
        lost[losses.MEDIA_TYPE] += _count(entries.media_types, kept)
        lost[losses.UPDATED_AT] += _count(entries.source_updated_at, kept)
        lost[losses.SOURCE_ID] += sum(
            _plain(text) != (text or "") for text in compress(entries.source_ids, kept)
        )
        if not self._with_submissions:
            lost[losses.VERIFIED_COUNT] += _count(entries.verified_counts, kept)
        self._count_classes(entries, kept)
        for handling in compress(entries.handlings, kept):
            written = self._with_agency and _plain(handling.originator) == handling.originator
            losses.count_handling(lost, handling, originator=written)

    def _count_classes(self, entries: EntryBatch, kept: Sequence[bool]) -> None:
        """Classes and flags; what is of the class Baseline is written with the flag, too."""
        baseline = losses.FLAGS[EntryFlag.BASELINE]
        said = zip(entries.classifications, entries.flags, entries.flags_known, strict=True)
        for found, flags, known in compress(said, kept):
            self._losses[losses.CLASSIFICATION] += found not in (None, BASELINE_CLASS)
            denied = bool(known & ~flags & _BASELINE_FLAG)
            self._losses[baseline] += denied and _is_baseline(found)
            losses.count_flags(self._losses, known, _WRITTEN_FLAGS)


def _strongest(entries: EntryBatch) -> list[bytes | None]:
    """Of each row the strongest of the three hashes, as the key that a reader makes of it."""
    found: list[bytes | None] = [None] * len(entries)
    for kind in (HashKind.PHOTODNA, HashKind.MD5, HashKind.SHA1):
        for row, value in enumerate(entries.hashes.get(kind, ())):
            if value:
                found[row] = KEY_TAGS[kind] + value
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
