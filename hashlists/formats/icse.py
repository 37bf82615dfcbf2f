"""Reads the hash CSV that INTERPOL's ICSE database gives out.

Sixteen columns between semicolons, in any order; a file is told by the twelve of them that other
readers look for, and `ZZ40`, `Lace`, `Investigation name` and `Agency` may be missing. No
specification is published: columns and values are those that practitioners have described, and
what an issuer does otherwise is met by the options.

Taken over: MD5, SHA-1 and PhotoDNA (in hex, or in any other of its encodings), the Image ID, yes or
no for distributed, victim identified and offender identified, and Baseline, which becomes the flag
and the classification `("interpol", "", "baseline")`. `ZZ40` and `Lace`, hashes of other kinds, are
counted in a note. `File Available` and `Media Type` (a word, no media type) are left aside.

Never taken over unless asked: whether a series is named, the agency, the number of submissions.
The names of series and investigations are never kept.

The key is the strongest hash: whether an Image ID stays the same from one file to the next is not
known. The format has no retractions.

Options, all `yes` or `no` (default) but the last:
    key_by_image_id: take the Image ID as the key.
    series: set the flag where a series is named.
    agency: keep the agency as the originator of the handling.
    submissions: take the number of submissions for that of reviewers who verified the entry.
    encoding: as for `csv`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.advice import INSPECT
from hashlists.formats.base import BatchReader, FileHeader, Format, Likeness
from hashlists.formats.csv import codec, with_block
from hashlists.formats.csv_likeness import header_cells
from hashlists.formats.csv_table import Block, CsvTable
from hashlists.formats.field_mapping import FieldMapping, refuse_unknown, yes_or_no
from hashlists.formats.icse_columns import (
    AGENCY,
    BASELINE,
    BASELINE_CLASS,
    DELIMITER,
    FLAG_COLUMNS,
    HASH_COLUMNS,
    IMAGE_ID,
    LEFT_HASHES,
    SERIES,
    SUBMISSIONS,
    TELLING,
)
from hashlists.formats.icse_writer import IcseWriter
from hashlists.formats.mapped_batch import mapped_batch
from hashlists.model import Harm, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.formats.base import RawBatch, Sample
    from hashlists.limits import ImportLimits

_CHOICES: Final[Mapping[str, tuple[str, str]]] = {
    "key_by_image_id": ("key", IMAGE_ID),
    "series": ("series", SERIES),
    "agency": ("originator", AGENCY),
    "submissions": ("verified_count", SUBMISSIONS),
}
#: Columns that a file may lack and still be told for what it should be.
_NEARLY: Final = 3
_YES: Final = frozenset({"1", "t", "true", "y", "yes"})


class IcseReader(BatchReader):
    """Iterates over an ICSE hash CSV (see `base.ListReader`); the module names the options.

    Raises:
        OptionsError: an option is unknown or wrong, or asks for a column that the file lacks.
        FormatError: the file lacks columns by which the format is told, or is no text.
    """

    format: Final = "icse"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown(options, (*_CHOICES, "encoding"))
        self._stream = stream
        self._table = CsvTable(
            stream,
            limits,
            delimiter=DELIMITER,
            encoding=codec(options.get("encoding", "utf-8")),
        )
        names = {name.lower(): name for name in self._table.columns}
        missing = [name for name in TELLING if name.lower() not in names]
        if len(names) == 1:
            raise FormatError(
                "not an ICSE hash CSV: its first line has no semicolons, between which its columns "
                f"stand; {INSPECT}",
                place=Place("line", 1),
            )
        if missing:
            raise FormatError(
                f"not an ICSE hash CSV: the first line does not name {', '.join(missing)}, between "
                f"semicolons; {INSPECT}",
                place=Place("line", 1),
            )
        asked = [_CHOICES[name] for name in _CHOICES if yes_or_no(name, options.get(name, "no"))]
        wanted = {**HASH_COLUMNS, "source_id": IMAGE_ID, **FLAG_COLUMNS, **dict(asked)}
        columns = {field: names.get(name.lower(), name) for field, name in wanted.items()}
        self._mapping = FieldMapping(columns=columns, scheme=BASELINE_CLASS.scheme)
        self._header = FileHeader("icse", "", BASELINE_CLASS.scheme, BASELINE_CLASS.profile)
        self._positions = self._table.positions(columns)
        left = {name: names[name.lower()] for name in LEFT_HASHES if name.lower() in names}
        self._left = self._table.positions(left)
        self._batches = map(self._to_batch, self._table.blocks())

    @property
    def header(self) -> FileHeader:
        """Scheme of the one classification there is."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the stream; a little ahead of the lines handed on."""
        return self._stream.tell()

    def _to_batch(self, block: Block) -> RawBatch:
        cells: dict[str, Sequence[str]] = {
            field: block.columns[position] for field, position in self._positions.items()
        }
        cells["category"] = [
            BASELINE_CLASS.code if cell.strip().lower() in _YES else "" for cell in cells[BASELINE]
        ]
        batch = mapped_batch(
            self._mapping,
            self._header,
            cells,
            rows=len(block.lines),
            place_at=block.place_at,
        )
        notes = {
            f"hash of unknown kind left aside: {name}": found
            for name, position in self._left.items()
            if (found := sum(map(bool, block.columns[position])))
        }
        return with_block(replace(batch, notes=notes), block)


def looks_like(sample: Sample) -> Likeness | None:
    """Whether the first line names the columns by which the format is told."""
    found = header_cells(sample)
    if found is None:
        return None
    cells, delimiter, encoding = found
    names = {cell.lower() for cell in cells}
    missing = [name for name in TELLING if name.lower() not in names]
    options = {} if encoding == "utf-8" else {"encoding": encoding}
    if not missing and delimiter == DELIMITER:
        why = f"its first line names the {len(TELLING)} columns by which the ICSE hash CSV is told"
        return Likeness(92, why, options)
    if len(missing) > _NEARLY:
        return None
    why = f"its first line names {len(TELLING) - len(missing)} of the {len(TELLING)} columns by"
    why += " which the ICSE hash CSV is told"
    if missing:
        why += f", but not {' nor '.join(missing)}"
    if delimiter != DELIMITER:
        why += ", but not between semicolons"
    return Likeness(60, f"{why}; its columns can be declared as those of a table (csv)", options)


FORMAT = Format(
    "icse",
    "INTERPOL ICSE hash CSV",
    open_reader=IcseReader,
    open_writer=IcseWriter,
    looks_like=looks_like,
    harm=Harm.CSAM,
    written_for=Harm.CSAM,
    ending=".csv",
    media_type="text/csv",
)
