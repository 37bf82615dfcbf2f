"""Writes Hashwarden's own layout as JSON Lines, which `jsonl` reads back; nothing is lost.

The first line is `{"format":"hashwarden","version":1}`, with `"sender":ID,"upto":R` behind that,
and in a delta `"since":R`; the last is `{"records":N}`; each line between is an entry: the members
that `own_layout` names, in its order, absent where there is nothing to say. Hashes are lower-case
hex, yes and no are `true` and `false`, times are RFC 3339 in UTC, `further_hashes` is a list of
objects with `kind`, `value` and perhaps `derivation`, `releasable_to` a list of names. UTF-8, no
blanks, LF: the same entries give the same bytes.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from hashlists.formats import own_layout
from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hashlists.model import ExportBatch, ExtraHash

VERSION: Final = 1
HEADER: Final = {"format": "hashwarden", "version": VERSION}
_encoder = msgspec.json.Encoder()


class JsonLinesWriter:
    """Writes entries as JSON Lines (see `base.ListWriter`).

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
        self._records = 0
        self._stream.write(_encoder.encode_lines([{**HEADER, **own_layout.mark_members(origin)}]))

    @property
    def losses(self) -> Mapping[str, int]:
        """Nothing is lost."""
        return {}

    @property
    def left_out(self) -> int:
        """Every entry can be written."""
        return 0

    def write(self, batch: ExportBatch) -> None:
        """Writes the entries of a batch, in order."""
        columns = _columns(batch, self._origin)
        names = [name for name in own_layout.COLUMNS if name in columns]
        lines = [
            {name: value for name, value in zip(names, row, strict=True) if value not in _NOTHING}
            for row in zip(*(columns[name] for name in names), strict=True)
        ]
        self._stream.write(_encoder.encode_lines(lines))
        self._records += len(lines)

    def finish(self) -> None:
        """Writes the line that tells a whole file from one that was cut off."""
        self._stream.write(_encoder.encode_lines([{"records": self._records}]))


_NOTHING: Final[tuple[Any, ...]] = (None, "", [], ())


def _columns(batch: ExportBatch, origin: FileOrigin) -> dict[str, Sequence[Any]]:
    entries = batch.entries
    return {
        "key": own_layout.key_column(entries),
        "source_id": entries.source_ids,
        **{
            kind: [value and value.hex() for value in entries.hashes[kind]]
            for kind in HashKind
            if kind in entries.hashes
        },
        own_layout.FURTHER: [
            list(map(_further, each)) for each in own_layout.extra_by_row(entries)
        ],
        "size": entries.sizes,
        "media_type": entries.media_types,
        **own_layout.class_columns(entries),
        **own_layout.flag_columns(entries),
        "verified_count": entries.verified_counts,
        "updated_at": entries.source_updated_at,
        "originator": [each.originator for each in entries.handlings],
        "releasable_to": [each.releasable_to for each in entries.handlings],
        "expires_at": [_time(each.expires_at) for each in entries.handlings],
        "retracted": [gone or None for gone in batch.retracted],
        "retraction_reason": batch.reasons,
        **own_layout.context_columns(batch, origin),
    }


def _further(each: ExtraHash) -> dict[str, str]:
    written = {"kind": str(each.kind), "value": each.value.hex()}
    return written if each.derivation is None else {**written, "derivation": each.derivation}


def _time(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).isoformat() if moment else None
