"""Writes Hashwarden's own CSV layout, which `csv` reads back with `columns=hashwarden`.

RFC 4180 in UTF-8: commas, CRLF, quotes where needed, one record a line, one header line that
`own_layout` documents. Hashes are lower-case hex, yes and no are `yes` and `no`, times are RFC 3339
in UTC, further hashes are `KIND:HEX` or `KIND:HEX:DERIVATION` with spaces between them, recipients
stand between bars. The same entries give the same bytes. No cell is a formula to a spreadsheet
(`csv_cells`). Everything is carried but line ends and control characters in the reason of a
retraction, which become spaces and are counted. Further columns, all empty, say by their names what
holds of the file as a whole: `sender_ID_upto_R`, and in a delta `delta_since_R`.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from datetime import UTC
from typing import TYPE_CHECKING, BinaryIO

from hashlists.formats import csv_cells, losses, own_layout
from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.formats.field_mapping import FLAGS
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hashlists.model import EntryBatch, ExportBatch

_WORDS: Mapping[bool | None, str] = {True: "yes", False: "no", None: ""}


class CsvWriter:
    """Writes entries as CSV (see `base.ListWriter`).

    Options: none but `columns=hashwarden`, which is the layout that is written anyway.

    Raises:
        OptionsError: there are other options.
    """

    def __init__(
        self, stream: BinaryIO, options: Mapping[str, str], origin: FileOrigin = NO_ORIGIN
    ) -> None:
        own_layout.refuse_writer_options(options)
        self._stream = stream
        self._origin = origin
        self._losses: Counter[str] = Counter()
        self._names = (*own_layout.COLUMNS, *own_layout.mark_columns(origin))
        self._write_rows([self._names])

    @property
    def losses(self) -> Mapping[str, int]:
        """Reasons of retractions whose line ends or control characters became spaces."""
        return dict(self._losses)

    @property
    def left_out(self) -> int:
        """Every entry can be written."""
        return 0

    def write(self, batch: ExportBatch) -> None:
        """Writes the entries of a batch, in order."""
        columns, empty = self._columns(batch), [""] * len(batch)
        self._write_rows(zip(*(columns.get(name, empty) for name in self._names), strict=True))

    def finish(self) -> None:
        """Nothing stands at the end of a CSV file."""

    def _write_rows(self, rows: Sequence[Sequence[str]] | zip[tuple[str | int, ...]]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n").writerows(rows)
        self._stream.write(text.getvalue().encode())

    def _columns(self, batch: ExportBatch) -> dict[str, Sequence[str | int]]:
        entries = batch.entries
        texts: dict[str, Sequence[str | None]] = {
            "source_id": entries.source_ids,
            "media_type": entries.media_types,
            **own_layout.class_columns(entries),
            "updated_at": entries.source_updated_at,
            "originator": [each.originator for each in entries.handlings],
            "releasable_to": [
                csv_cells.names_cell(each.releasable_to) for each in entries.handlings
            ],
            "retraction_reason": self._reasons(batch.reasons),
        }
        flags = own_layout.flag_columns(entries)
        return {
            **own_layout.context_columns(batch, self._origin),
            "key": own_layout.key_column(entries),
            **_hash_cells(entries),
            own_layout.FURTHER: list(map(csv_cells.further_cell, own_layout.extra_by_row(entries))),
            "size": _numbers(entries.sizes),
            **{name: [_WORDS[said] for said in flags[name]] for name in FLAGS},
            "verified_count": _numbers(entries.verified_counts),
            **{name: list(map(csv_cells.guarded, column)) for name, column in texts.items()},
            "expires_at": [_time(each.expires_at) for each in entries.handlings],
            "retracted": [_WORDS[gone] for gone in batch.retracted],
        }

    def _reasons(self, reasons: Sequence[str | None]) -> list[str]:
        plain = [csv_cells.on_one_line(reason or "") for reason in reasons]
        changed = sum(new != (old or "") for new, old in zip(plain, reasons, strict=True))
        if changed:
            self._losses[losses.REASONS] += changed
        return plain


def _hash_cells(entries: EntryBatch) -> dict[str, list[str]]:
    empty = [""] * len(entries)
    return {
        kind: [value.hex() if value else "" for value in entries.hashes[kind]]
        if kind in entries.hashes
        else empty
        for kind in HashKind
    }


def _numbers(values: Sequence[int | None]) -> list[str | int]:
    return ["" if value is None else value for value in values]


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat() if moment else ""
