r"""Reads NIST's Reference Data Set (RDS) as published up to 2.x: `NSRLFile.txt`, quoted CSV.

The first line names the columns. Both published orders are taken, and any other that holds the
same names: 2.x puts the digests first, version 1 has an MD4 column and the name second.

Taken over: SHA-1, MD5, SHA-256 where a file has it, and the size. Never taken over: names of files,
product and system codes, MD4 and CRC-32. A file of the special code `M`, which NIST gives to
malicious ones, is no known-good: it is left aside and counted, and withdrawn where the list has it
of an earlier file; where another line of the same file has it without that code, it stays. The key
is the SHA-1, which every RDS has, so that lists of 2.x and 3.x agree on what an entry is.

A line is matched by one pattern that is made of the header: the name stands between columns that
hold neither quotes nor commas, so a name with quotes or commas in it, which NIST does not always
escape, costs nothing. A line that does not match is rejected alone.

Its entries are known-good files: they go into lists of that harm, never count as matches, and
never cancel one. The file has no other retractions. It is not told from a file that was cut off at
a line end; only the publisher's digest of the file shows that.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.advice import cut_line
from hashlists.formats.base import (
    BatchReader,
    Encoding,
    FieldNames,
    FileHeader,
    Format,
    HashColumn,
    Likeness,
    RawBatch,
)
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.text_lines import LineBlock, LinePlaces, TextLines, first_lines
from hashlists.formats.unreadable import refuse_unreadable, take_sample
from hashlists.model import HashKind, Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.base import Sample
    from hashlists.limits import ImportLimits

#: The order in which a value serves as key; the same for every publication of known-good files.
KEY_KINDS: Final = (HashKind.SHA1, HashKind.SHA256, HashKind.MD5)
_DIGESTS: Mapping[str, HashKind] = {
    "SHA-256": HashKind.SHA256,
    "SHA-1": HashKind.SHA1,
    "MD5": HashKind.MD5,
}
_NAME: Final = "FileName"
_SIZE: Final = "FileSize"
_SPECIAL: Final = "SpecialCode"
_MALICIOUS: Final = "M"
_HEADER = re.compile(r'"[A-Za-z0-9 -]{1,32}"(?:,"[A-Za-z0-9 -]{1,32}"){2,31}')
_MALICIOUS_NOTE: Final = "record of a known malicious file left aside"
_UNENDED_NOTE: Final = "last line without line end taken as whole"
_NO_HEADER: Final = (
    "the first line does not name the columns of an NSRLFile.txt, such as "
    '"SHA-1","MD5","CRC32","FileName","FileSize"; of an RDS, import NSRLFile.txt alone'
)


class NsrlCsvReader(BatchReader):
    """Iterates over an `NSRLFile.txt` (see `base.ListReader`). It has no options.

    Raises:
        OptionsError: an option was given.
        FormatError: the first line is not the header of such a file.
    """

    format: Final = "nsrl-csv"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown_options(options, (), self.format)
        refuse_unreadable(take_sample(stream))
        self._lines = TextLines(stream, limits)
        self._blocks = self._lines.blocks()
        self._first = next(self._blocks, None) or LineBlock(1, [""])
        columns = _columns(self._first.lines[0])
        if columns is None:
            raise FormatError(_NO_HEADER, place=Place("line", 1))
        self._match = _pattern(columns).fullmatch
        self._taken = [name for name in columns if name in (*_DIGESTS, _SIZE, _SPECIAL)]
        self._header = FileHeader(self.format, _version(columns), "", "")
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """The version as the header line shows it: 1 or 2."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes consumed so far."""
        return self._lines.bytes_read

    def _read(self) -> Iterator[RawBatch]:
        yield from self._batch(2, self._first.lines[1:], open_ended=self._first.open_ended)
        for block in self._blocks:
            yield from self._batch(block.first, block.lines, open_ended=block.open_ended)

    def _batch(self, first: int, lines: Sequence[str], *, open_ended: bool) -> Iterator[RawBatch]:
        matches = list(map(self._match, lines))
        rejections: list[Rejection] = []
        numbers: Sequence[int] = range(first, first + len(lines))
        if not all(matches):
            rejections = [
                _reject(number, open_ended=open_ended and number == numbers[-1])
                for number, line, match in zip(numbers, lines, matches, strict=True)
                if match is None and line
            ]
            numbers = [n for n, match in zip(numbers, matches, strict=True) if match is not None]
        rows = [match.groups() for match in matches if match is not None]
        if rows or rejections:
            yield self._to_batch(rows, numbers, rejections, open_ended=open_ended)

    def _malicious(self, rows: Sequence[tuple[str, ...]]) -> frozenset[int]:
        """Rows of files that NIST calls malicious."""
        if _SPECIAL not in self._taken:
            return frozenset()
        at = self._taken.index(_SPECIAL)
        codes = enumerate(row[at] for row in rows)
        return frozenset(row for row, code in codes if code and code.strip().upper() == _MALICIOUS)

    def _to_batch(
        self,
        rows: Sequence[tuple[str, ...]],
        numbers: Sequence[int],
        rejections: Sequence[Rejection],
        *,
        open_ended: bool,
    ) -> RawBatch:
        notes = {_UNENDED_NOTE: 1} if open_ended else {}
        malicious = self._malicious(rows)
        if malicious:
            notes[_MALICIOUS_NOTE] = len(malicious)
        values = zip(*rows, strict=True) if rows else [()] * len(self._taken)
        cells: dict[str, Sequence[str]] = dict(zip(self._taken, values, strict=True))
        return RawBatch(
            rows=len(rows),
            header=self._header,
            hashes=[
                HashColumn(kind, cells[name], Encoding.HEX, name)
                for name, kind in _DIGESTS.items()
                if name in cells
            ],
            place_at=LinePlaces(numbers),
            key_kinds=KEY_KINDS,
            sizes=cells.get(_SIZE),
            unmatchable=malicious,
            names=FieldNames(key="SHA-1", size=_SIZE),
            rejections=rejections,
            notes=notes,
            open_ended=open_ended and bool(rows),
        )


def _columns(line: str) -> list[str] | None:
    """The names in a header line; None where it is no header of such a file."""
    line = line.rstrip(" ")
    if not _HEADER.fullmatch(line):
        return None
    names = line[1:-1].split('","')
    repeated = len(set(names)) < len(names)
    return None if repeated or _NAME not in names or not set(names) & set(_DIGESTS) else names


def _pattern(columns: Sequence[str]) -> re.Pattern[str]:
    """One group for each column that is taken; the name is what lies between all the others."""
    parts = []
    for name in columns:
        if name == _NAME:
            parts.append('"?.*"?')
        elif name in _DIGESTS:
            parts.append('"([^",]*)"')
        elif name in (_SIZE, _SPECIAL):
            parts.append('"?([^",]*)"?')
        else:
            parts.append('"?[^",]*"?')
    return re.compile(",".join(parts) + " *")


def _version(columns: Sequence[str]) -> str:
    return "1" if columns.index(_NAME) == 1 else "2"


def _reject(number: int, *, open_ended: bool) -> Rejection:
    """A line that does not fit.

    Raises:
        FormatError: it is the last one and has no line end.
    """
    place = Place("line", number)
    if open_ended:
        raise cut_line("does not hold all columns", place)
    return Rejection(place, "", "the line does not hold the columns that the first line names")


def looks_like(sample: Sample) -> Likeness | None:
    """Tells the file by its first line."""
    columns = _columns(first_lines(sample.head)[0])
    if columns is None:
        return None
    return Likeness(95, f"the first line names the columns of NSRLFile.txt ({', '.join(columns)})")


FORMAT = Format(
    "nsrl-csv",
    "NSRL RDS 2.x (NSRLFile.txt)",
    open_reader=NsrlCsvReader,
    looks_like=looks_like,
    known_good=True,
)

__all__ = ["FORMAT", "KEY_KINDS", "NsrlCsvReader", "looks_like"]
