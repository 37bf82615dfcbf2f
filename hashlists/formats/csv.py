"""Reads generic CSV files whose columns the importer declares.

Nothing is guessed: every column that is taken over is named in the options, by the header line of
the file, and every other column is never looked at. A line that does not fit is rejected alone,
with its line number; the file as a whole is refused where its lines cannot be told apart any more.

A file that was cut off inside a record is refused: its last line has no line end, and its cells do
not fit. A last line without line end that fits is taken, with a note. A file cut off exactly at a
line end cannot be told from a whole one, nor one cut off inside a cell that reads well when
shortened; only the length and SHA-256 that the sender announces show that (gRPC imports take both,
and `importer.import_file` takes the digest).

A stray pair of quotes makes one record of several without breaking any rule of CSV. So a record
over several lines is refused where one of its inner lines, or both its first and its last, have as
many cells as the header once quotes are disregarded. Honest prose may look like that, too: the
option `multiline` allows it.

Options, all texts:
    columns.KIND: column that holds a hash, for each `HashKind`, e.g. `columns.md5`; at least one.
    columns.key: column that is an entry's identity; without it its strongest hash is.
    columns.source_id, columns.category, columns.size, columns.media_type, columns.updated_at,
    columns.verified_count: columns for these fields.
    columns.FLAG: column of yes or no for each `EntryFlag` in lower case, e.g. `columns.baseline`;
        in `columns.series` any other text means yes, and is not kept.
    scheme, profile: of the classifications in the category column, which needs a scheme.
    delimiter: one character, or `tab`; a comma by default.
    encoding: `utf-8` (default; a byte-order mark is skipped), `utf-16`, `latin-1` or `cp1252`.
    multiline: `yes` takes over records of several lines whatever their lines look like; `no` is
        the default.
    hash_encoding.KIND: `hex`, `base64`, `base32`, `decimal` or `detect` (default).
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.base import (
    DEFAULT_KEY_KINDS,
    Encoding,
    FieldNames,
    FileHeader,
    FlagColumn,
    Format,
    HashColumn,
    RawBatch,
)
from hashlists.model import EntryFlag, HashKind, Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Buffer

    from hashlists.limits import ImportLimits

_ENCODINGS: Mapping[str, str] = {
    "utf-8": "utf-8-sig",
    "utf-16": "utf-16",
    "latin-1": "latin-1",
    "cp1252": "cp1252",
}
_FIELDS: Final = (
    "key",
    "source_id",
    "category",
    "size",
    "media_type",
    "updated_at",
    "verified_count",
)
_PLAIN_OPTIONS: Final = ("delimiter", "encoding", "multiline", "profile", "scheme")
_FLAGS: Mapping[str, EntryFlag] = {(flag.name or "").lower(): flag for flag in EntryFlag}
_SERIES_WORDS: Final = frozenset({"", "0", "1", "f", "false", "n", "no", "t", "true", "y", "yes"})
#: A header cell that may be a hash, since the file has no header line: never shown.
_HASH_LIKE = re.compile(r"[0-9A-Za-z+/=,\s]{24,}|[0-9A-Fa-f]{12,}")
_LINE_END = re.compile(r"\r\n|\r|\n")
_UNENDED_NOTE: Final = "last line without line end taken as whole"
_READ_BYTES = 256 * 1024
_SHOWN_COLUMNS = 50
_SHOWN_CHARS = 40
_Row = list[str]


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """The options of one import, checked for themselves; the file may still lack a column.

    Attributes:
        columns: from a kind, field or flag to the name of its column.
        encodings: how the kinds that are named here are written.
        delimiter: between cells.
        encoding: name of Python's codec.
        scheme, profile: of the classifications.
        multiline: whether records of several lines are taken whatever their lines look like.
    """

    columns: Mapping[str, str]
    encodings: Mapping[HashKind, Encoding]
    delimiter: str
    encoding: str
    scheme: str
    profile: str
    multiline: bool

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> CsvOptions:
        """Reads the options.

        Raises:
            OptionsError: one is unknown, or has a value that is not allowed.
        """
        columns = _section(options, "columns.", (*HashKind, *_FIELDS, *_FLAGS))
        written = _section(options, "hash_encoding.", tuple(HashKind))
        prefixes = ("columns.", "hash_encoding.")
        plain = [name for name in options if not name.startswith(prefixes)]
        _refuse_unknown(plain, _PLAIN_OPTIONS, "")
        if not any(kind in columns for kind in HashKind):
            kinds = ", ".join(f"columns.{kind}" for kind in HashKind)
            raise OptionsError(
                "no column is mapped to a hash: say which column holds one, e.g. --column md5=NAME;"
                f" as options: {kinds}"
            )
        if "category" in columns and not options.get("scheme"):
            raise OptionsError(
                "columns.category needs the option scheme, which says whose categories they are: "
                "--option scheme=NAME; vics, uk, iwf, ncmec and interpol mean something as built "
                "in, others need [[severity]] rows in the policy file (docs/policy.md)"
            )
        encoding = options.get("encoding", "utf-8").lower()
        if encoding not in _ENCODINGS:
            known = ", ".join(_ENCODINGS)
            raise OptionsError(f"unknown encoding {encoding!r}; known encodings: {known}")
        return cls(
            columns=columns,
            encodings={HashKind(kind): _hash_encoding(text) for kind, text in written.items()},
            delimiter=_delimiter(options.get("delimiter", ",")),
            encoding=_ENCODINGS[encoding],
            scheme=options.get("scheme", ""),
            profile=options.get("profile", ""),
            multiline=_yes_or_no("multiline", options.get("multiline", "no")),
        )


class CsvReader:
    """Iterates over a CSV file (see `base.ListReader`); the module names the options.

    Raises:
        OptionsError: the options are wrong, or name a column that the file does not have.
        FormatError: the file has no header line, or is not text of that encoding.
    """

    format: Final = "csv"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        self._options = CsvOptions.parse(options)
        _refuse_utf16(stream, self._options.encoding)
        self._stream = stream
        self._lines = _Lines(stream, self._options.encoding, limits)
        self._rows = csv.reader(self._lines, delimiter=self._options.delimiter, strict=True)
        self._limits = limits
        self._header = FileHeader("csv", "", self._options.scheme, self._options.profile)
        self._columns = self._read_header()
        self._positions = self._find_columns()
        self._records = 0
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """Scheme and profile as the options give them."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the stream; a little ahead of the lines handed on."""
        return self._stream.tell()

    def __iter__(self) -> Iterator[RawBatch]:
        return self

    def __next__(self) -> RawBatch:
        return next(self._batches)

    def _read_header(self) -> _Row:
        try:
            header = next(self._rows, None)
        except csv.Error as error:
            raise FormatError(f"no header: {error}", place=Place("line", 1)) from None
        if not header:
            raise FormatError("the first line must name the columns", place=Place("line", 1))
        if len(header) > self._limits.max_columns:
            raise FormatError(
                f"the file has {len(header)} columns; at most {self._limits.max_columns} are read",
                place=Place("line", 1),
            )
        return [name.strip() for name in header]

    def _find_columns(self) -> Mapping[str, int]:
        """From what is wanted to the position of its column."""
        positions = {}
        for wanted, name in self._options.columns.items():
            found = self._columns.count(name)
            if found != 1:
                problem = "has more than once" if found else "does not have"
                raise OptionsError(
                    f"columns.{wanted} (--column {wanted}=NAME) names the column {name!r}, which "
                    f"the file {problem}; its columns are: {_show(self._columns)}"
                )
            positions[wanted] = self._columns.index(name)
        return positions

    def _read(self) -> Iterator[RawBatch]:
        ended = False
        while not ended:
            rows: list[_Row] = []
            lines: list[int] = []
            rejections: list[Rejection] = []
            stop = self._lines.chars + self._limits.block_bytes
            while (
                len(rows) + len(rejections) < self._limits.max_batch_rows
                and self._lines.chars < stop
            ):
                line = self._rows.line_num + 1
                outcome = self._next_row(line)
                if outcome is None:
                    ended = True
                    break
                if isinstance(outcome, Rejection):
                    rejections.append(outcome)
                elif outcome:
                    rows.append(outcome)
                    lines.append(line)
            if rows or rejections:
                yield self._to_batch(rows, lines, rejections)

    @property
    def _open_ended(self) -> bool:
        """Whether the last line handed on has no line end, and so is the file's last."""
        return not self._lines.last.endswith(("\n", "\r"))

    def _next_row(self, line: int) -> _Row | Rejection | None:
        """The next row, [] for an empty line, None at the end."""
        self._lines.start_row()
        try:
            row = next(self._rows, None)
        except csv.Error as error:
            return self._reject(line, str(error))
        if row and len(row) != len(self._columns):
            found, expected = len(row), len(self._columns)
            return self._reject(line, f"{found} cells where the header has {expected}")
        if row and self._rows.line_num > line and not self._options.multiline:
            self._refuse_swallowed(row, line)
        return row

    def _refuse_swallowed(self, row: _Row, line: int) -> None:
        """Refuses a record of several lines that look like records themselves."""
        # Cells joined without their quotes are the physical lines again, quotes disregarded;
        # delimiters within a cell of one line are certainly none.
        delimiter, between = self._options.delimiter, len(self._columns) - 1
        text = delimiter.join(cell if _LINE_END.search(cell) else "" for cell in row)
        alike = [part.count(delimiter) == between for part in _LINE_END.split(text)]
        inner = next((at for at, found in enumerate(alike[1:-1], start=1) if found), None)
        if inner is None and not (alike[0] and alike[-1]):
            return
        raise FormatError(
            f"quotes make one record of the lines up to {self._rows.line_num}, but line "
            f"{line + (inner or 0)} looks like a record of its own; mend the quotes, or set the "
            "option multiline=yes if cells really hold such text",
            place=Place("line", line),
        )

    def _reject(self, line: int, problem: str) -> Rejection:
        """One bad line is rejected, but not good ones with it.

        Raises:
            FormatError: a quote without its end may have swallowed the lines behind it, or the file
            ends in this line.
        """
        place = Place("line", line)
        if "unexpected end of data" in problem or "field larger than field limit" in problem:
            raise FormatError(
                "a quoted cell that starts here is never closed; the file is cut off or damaged",
                place=place,
            ) from None
        last = self._rows.line_num
        if last > line:
            raise FormatError(
                f"quotes make one record of the lines up to {last}, which does not fit: {problem}; "
                "a quote that is never closed may have swallowed other records",
                place=place,
            ) from None
        if self._open_ended:
            raise FormatError(
                "the file ends inside a record: it was cut off, for its last line has no line end "
                f"and does not hold a whole record ({problem})",
                place=place,
            ) from None
        return Rejection(place, "", f"not a row of this table: {problem}")

    def _to_batch(
        self, rows: Sequence[_Row], lines: Sequence[int], rejections: Sequence[Rejection]
    ) -> RawBatch:
        """Turns rows into the columns that were asked for."""
        at = self._positions
        cells = {wanted: [row[position] for row in rows] for wanted, position in at.items()}
        key_texts, key_kinds = self._key(cells)
        open_ended = bool(rows) and self._open_ended
        return RawBatch(
            rows=len(rows),
            header=self._header,
            hashes=[
                HashColumn(kind, cells[kind], self._encoding(kind), self._name(kind))
                for kind in HashKind
                if kind in cells
            ],
            place_at=_LinePlaces(lines),
            key_kinds=key_kinds,
            key_texts=key_texts,
            codes=cells.get("category"),
            sizes=cells.get("size"),
            flags=[
                FlagColumn(flag, _flag_cells(flag, cells[name]), self._name(name))
                for name, flag in _FLAGS.items()
                if name in cells
            ],
            source_ids=cells.get("source_id"),
            media_types=cells.get("media_type"),
            updated_at=cells.get("updated_at"),
            verified_counts=cells.get("verified_count"),
            names=FieldNames(**{name: self._name(name) for name in _FIELDS}),
            rejections=rejections,
            notes={_UNENDED_NOTE: 1} if open_ended else {},
            open_ended=open_ended,
        )

    def _key(
        self, cells: Mapping[str, Sequence[str]]
    ) -> tuple[Sequence[str] | None, Sequence[HashKind]]:
        """The key column as text, or as a hash where the same column holds one."""
        if "key" not in cells:
            return None, DEFAULT_KEY_KINDS
        same = [kind for kind in HashKind if self._positions.get(kind) == self._positions["key"]]
        return (None, same) if same else (cells["key"], ())

    def _encoding(self, kind: HashKind) -> Encoding:
        return self._options.encodings.get(kind, Encoding.DETECT)

    def _name(self, wanted: str) -> str:
        return self._options.columns.get(wanted, wanted)


class _Lines:
    """Lines of the file with their ends; neither they nor the rows they make exceed the limits.

    Attributes:
        chars: characters handed on so far.
        last: the line handed on last.
    """

    def __init__(self, stream: BinaryIO, encoding: str, limits: ImportLimits) -> None:
        # Bytes that are not of the encoding become surrogates, which validation rejects by line.
        errors = "strict" if encoding == "utf-16" else "surrogateescape"
        buffer = io.BufferedReader(_View(stream), _READ_BYTES)
        self.chars = 0
        self.last = ""
        self._text = io.TextIOWrapper(buffer, encoding=encoding, errors=errors, newline="")
        self._max_line = limits.max_line_chars
        self._max_row = limits.max_record_bytes
        self._row_stop = self._max_row
        self._number = 0

    def start_row(self) -> None:
        """Says that the next line starts a row."""
        self._row_stop = self.chars + self._max_row

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._number += 1
        try:
            line = self._text.readline(self._max_line + 1)
        except UnicodeError:
            self._fail("the file is not text of its encoding")
        if len(line) > self._max_line:
            self._fail(f"the line exceeds {self._max_line} characters")
        self.chars += len(line)
        if self.chars > self._row_stop:
            self._fail(f"the record that ends here or later exceeds {self._max_row} characters")
        if not line:
            raise StopIteration
        self.last = line
        return line

    def _fail(self, problem: str) -> NoReturn:
        raise FormatError(problem, place=Place("line", self._number)) from None


class _View(io.RawIOBase):
    """Reads from the stream; closing it, as wrappers do when collected, leaves the stream open."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = self._stream.read(len(view))
        view[: len(data)] = data
        return len(data)


class _LinePlaces:
    """Places by line number."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Sequence[int]) -> None:
        self._lines = lines

    def __call__(self, row: int, /) -> Place:
        return Place("line", self._lines[row])


def _refuse_utf16(stream: BinaryIO, encoding: str) -> None:
    """Tells a file that is plainly UTF-16 from its byte-order mark, and leaves the stream there.

    Raises:
        OptionsError: it is, and the options say otherwise.
    """
    start = stream.tell()
    mark = stream.read(len(codecs.BOM_UTF16_LE))
    stream.seek(start)
    if encoding != "utf-16" and mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise OptionsError("the file is UTF-16 text: say --option encoding=utf-16")


def _section(options: Mapping[str, str], prefix: str, known: Sequence[str]) -> dict[str, str]:
    """The options under a prefix, without it."""
    section = {
        name.removeprefix(prefix): value
        for name, value in options.items()
        if name.startswith(prefix)
    }
    _refuse_unknown(section, known, prefix)
    return section


def _refuse_unknown(options: Iterable[str], known: Sequence[str], prefix: str) -> None:
    for name in options:
        if name not in known:
            allowed = ", ".join(f"{prefix}{word}" for word in known)
            raise OptionsError(f"unknown option {prefix + name!r}; allowed: {allowed}")


def _hash_encoding(text: str) -> Encoding:
    try:
        return Encoding(text)
    except ValueError:
        allowed = ", ".join(Encoding)
        raise OptionsError(f"unknown encoding of a hash {text!r}; allowed: {allowed}") from None


def _yes_or_no(name: str, text: str) -> bool:
    if text not in ("yes", "no"):
        raise OptionsError(f"the option {name} must be yes or no, not {text!r}")
    return text == "yes"


def _delimiter(text: str) -> str:
    if text in ("tab", "\\t"):
        return "\t"
    if len(text) != 1 or text in '"\r\n ':
        raise OptionsError("the delimiter must be one character, such as a comma, or the word tab")
    return text


def _flag_cells(flag: EntryFlag, cells: Sequence[str]) -> Sequence[str]:
    if flag is not EntryFlag.SERIES:
        return cells
    return [cell if cell.strip().lower() in _SERIES_WORDS else "yes" for cell in cells]


def _show(columns: Sequence[str]) -> str:
    """The file's columns for a message; what may be a hash is not shown."""
    shown = [
        f"(column {number}, not shown: it looks like a hash, so the header line may be missing)"
        if _HASH_LIKE.fullmatch(name)
        else repr(name[:_SHOWN_CHARS])
        for number, name in enumerate(columns[:_SHOWN_COLUMNS], start=1)
    ]
    more = len(columns) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


FORMAT = Format("csv", "CSV with declared columns", open_reader=CsvReader)
