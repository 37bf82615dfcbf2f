"""Writes Hashwarden's own layout as Parquet, which `parquet` reads back; nothing is lost.

The columns are those of `own_layout`, in its order: hashes as bytes of fixed length, numbers as
64-bit integers, yes and no as booleans, `expires_at` as microseconds in UTC, `releasable_to` as a
list of texts, `further_hashes` as a list of structures with `kind`, `value` (bytes) and
`derivation`; null where there is nothing to say. The file's metadata has `hashwarden.layout` = 1,
`hashwarden.sender` and `hashwarden.upto` with whose it is and which revision it shows, and in a
delta `hashwarden.since` with the one that it starts from.
Compressed with Zstandard, in groups of rows that end with the batch that makes them 65,536 or more.
The same entries give the same bytes with the same version of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, Final

from hashlists.formats import own_layout
from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.formats.field_mapping import FLAGS
from hashlists.formats.parquet_groups import RowGroups
from hashlists.formats.parquet_library import (
    LAYOUT_KEY,
    LAYOUT_VERSION,
    MARK_PREFIX,
    pyarrow_modules,
)
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.model import ExportBatch, ExtraHash

_NUMBERS: Final = ("size", "verified_count", "entry_id", "revision")
#: Columns of few different values, for which a dictionary pays.
_REPETITIVE: Final = (
    *("media_type", "scheme", "profile", "category", "originator"),
    *own_layout.ORIGIN,
)


class ParquetWriter:
    """Writes entries as Parquet (see `base.ListWriter`).

    Options: none but `columns=hashwarden`, which is the layout that is written anyway.

    Raises:
        UnknownFormatError: pyarrow is not installed.
        OptionsError: there are other options.
    """

    def __init__(
        self, stream: BinaryIO, options: Mapping[str, str], origin: FileOrigin = NO_ORIGIN
    ) -> None:
        own_layout.refuse_writer_options(options)
        pyarrow, _ = pyarrow_modules()
        self._origin = origin
        self._groups = RowGroups(stream, _schema(pyarrow, origin), _REPETITIVE)

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
        self._groups.write(_columns(batch, self._origin))

    def finish(self) -> None:
        """Writes the last group of rows, and the table of contents."""
        self._groups.finish()


def _schema(pa: Any, origin: FileOrigin) -> Any:
    further = pa.struct(
        [
            pa.field("kind", pa.string(), nullable=False),
            pa.field("value", pa.binary(), nullable=False),
            pa.field("derivation", pa.string()),
        ]
    )
    types: dict[str, Any] = {
        **{str(kind): pa.binary(kind.nbytes) for kind in HashKind},
        **dict.fromkeys(_NUMBERS, pa.int64()),
        **dict.fromkeys(FLAGS, pa.bool_()),
        own_layout.FURTHER: pa.list_(further),
        "releasable_to": pa.list_(pa.string()),
        "expires_at": pa.timestamp("us", "UTC"),
        "retracted": pa.bool_(),
    }
    said = own_layout.mark_members(origin).items()
    mark = {f"{MARK_PREFIX}{name}".encode(): str(value).encode() for name, value in said}
    return pa.schema(
        [pa.field(name, types.get(name, pa.string())) for name in own_layout.COLUMNS],
        metadata={LAYOUT_KEY: LAYOUT_VERSION.encode(), **mark},
    )


def _columns(batch: ExportBatch, origin: FileOrigin) -> dict[str, Sequence[Any]]:
    entries = batch.entries
    nothing = [None] * len(entries)
    return {
        "key": [key or None for key in own_layout.key_column(entries)],
        "source_id": entries.source_ids,
        **{str(kind): entries.hashes.get(kind, nothing) for kind in HashKind},
        own_layout.FURTHER: [
            [_further(each) for each in extra] or None for extra in own_layout.extra_by_row(entries)
        ],
        "size": entries.sizes,
        "media_type": entries.media_types,
        **own_layout.class_columns(entries),
        **own_layout.flag_columns(entries),
        "verified_count": entries.verified_counts,
        "updated_at": entries.source_updated_at,
        "originator": [each.originator or None for each in entries.handlings],
        "releasable_to": [list(each.releasable_to) or None for each in entries.handlings],
        "expires_at": [each.expires_at for each in entries.handlings],
        "retracted": batch.retracted,
        "retraction_reason": batch.reasons,
        **own_layout.context_columns(batch, origin),
    }


def _further(each: ExtraHash) -> dict[str, object]:
    return {"kind": str(each.kind), "value": each.value, "derivation": each.derivation}
