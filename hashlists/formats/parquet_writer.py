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

import io
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from hashlists.formats import own_layout
from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.formats.field_mapping import FLAGS
from hashlists.formats.parquet_library import (
    LAYOUT_KEY,
    LAYOUT_VERSION,
    MARK_PREFIX,
    pyarrow_modules,
)
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

    from hashlists.model import ExportBatch, ExtraHash

_ROWS_IN_GROUP: Final = 65_536
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
        self._pa, parquet = pyarrow_modules()
        self._origin = origin
        self._schema = _schema(self._pa, origin)
        self._waiting: list[Any] = []
        self._rows = 0
        self._writer = parquet.ParquetWriter(
            _Sink(stream),
            self._schema,
            compression="zstd",
            use_dictionary=list(_REPETITIVE),
        )

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
        table = self._pa.table(
            [self._pa.array(columns[field.name], field.type) for field in self._schema],
            schema=self._schema,
        )
        self._waiting.append(table)
        self._rows += len(batch)
        if self._rows >= _ROWS_IN_GROUP:
            self._write_waiting()

    def finish(self) -> None:
        """Writes the last group of rows, and the table of contents."""
        self._write_waiting()
        self._writer.close()

    def _write_waiting(self) -> None:
        if self._rows:
            table = self._pa.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=self._rows)
        self._waiting, self._rows = [], 0


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


class _Sink(io.RawIOBase):
    """Writes to the stream; closing it, as the library may, leaves the stream open."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._stream.write(data)
        return memoryview(data).nbytes
