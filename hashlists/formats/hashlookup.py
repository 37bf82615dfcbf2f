"""Reads exports in the hashlookup format (CIRCL): JSON Lines of what is known of files.

Each line is one object with upper-case hex under `MD5`, `SHA-1` and `SHA-256`; lower case is taken
as well. Taken over: these and `FileSize`. Never taken over: names, packages, products, parents and
children, whose digests belong to other files. The key is the SHA-1, as for NSRL.

"Known" is not "good": a record with `KnownMalicious` is left aside and counted, whatever stands
there, and its entry is withdrawn where the list has it of an earlier file. One below the option
`min_trust` is left aside and counted. The entries go into lists of known-good files, never count as
matches, and never cancel one. The format has no other retractions. A line in which an object has a
member twice is rejected alone.

Options:
    min_trust: 0 to 100. A record whose `hashlookup:trust` is lower, or that has none, is left
        aside. Without the option trust is not looked at: what it means is the service's to say.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from itertools import compress
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.errors import FormatError, OptionsError
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
from hashlists.formats.json_members import fault_of_members, may_repeat, names_in
from hashlists.formats.nsrl_csv import KEY_KINDS
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.text_lines import LinePlaces, TextLines, first_lines
from hashlists.formats.unreadable import refuse_unreadable, take_sample
from hashlists.model import HashKind, Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.base import Sample
    from hashlists.formats.text_lines import LineBlock
    from hashlists.limits import ImportLimits

_OPTION: Final = "min_trust"
_TRUST_TEXT = re.compile(r"[0-9]{1,3}", re.ASCII)
_MALICIOUS_NOTE: Final = "record of a known malicious file left aside"
_TRUST_NOTE: Final = "record of too little trust left aside"
_UNENDED_NOTE: Final = "last line without line end taken as whole"
_MAX_TRUST: Final = 100


class _Record(msgspec.Struct, gc=False):
    """The members that are looked at; the decoder skips all others."""

    md5: str | None = msgspec.field(name="MD5", default=None)
    sha1: str | None = msgspec.field(name="SHA-1", default=None)
    sha256: str | None = msgspec.field(name="SHA-256", default=None)
    size: int | float | str | None = msgspec.field(name="FileSize", default=None)
    malicious: msgspec.Raw | msgspec.UnsetType = msgspec.field(
        name="KnownMalicious", default=msgspec.UNSET
    )
    trust: int | float | str | None = msgspec.field(name="hashlookup:trust", default=None)


_DECODER = msgspec.json.Decoder(_Record)
_NAMES: Final = names_in(_Record)


class HashlookupReader(BatchReader):
    """Iterates over an export (see `base.ListReader`); the module names the option.

    Raises:
        OptionsError: an option is unknown, or min_trust is no number of 0 to 100.
        FormatError: the first line is no object of this format.
    """

    format: Final = "hashlookup"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown_options(options, (_OPTION,), self.format)
        self._min_trust = _min_trust(options.get(_OPTION))
        sample = take_sample(stream)
        refuse_unreadable(sample)
        _require_objects(sample.head)
        self._header = FileHeader(self.format, "", "", "")
        self._lines = TextLines(stream, limits, max_line=limits.max_record_bytes)
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """The name of the format; such files say nothing of themselves."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes consumed so far."""
        return self._lines.bytes_read

    def _read(self) -> Iterator[RawBatch]:
        for block in self._lines.blocks():
            records: list[_Record] = []
            numbers: list[int] = []
            rejections: list[Rejection] = []
            lines = [self._bytes(line) for line in block.lines]
            searched = may_repeat(b"[%b]" % b",".join(line for line in lines if line.strip()))
            for number, line in enumerate(lines, start=block.first):
                if not line.strip():
                    continue
                found = _decode(line)
                fault = fault_of_members(line, _NAMES) if searched else None
                if isinstance(found, str):
                    rejections.append(_reject(block, number, found))
                elif fault is not None:
                    rejections.append(Rejection(Place("line", number), *fault))
                else:
                    records.append(found)
                    numbers.append(number)
            yield self._to_batch(records, numbers, rejections, open_ended=block.open_ended)

    def _bytes(self, line: str) -> bytes:
        """A line as the decoder takes it: the file's own UTF-8 where characters stand for bytes."""
        bytewise = self._lines.encoding == "latin-1"
        return line.encode("latin-1") if bytewise else line.encode()

    def _to_batch(
        self,
        records: Sequence[_Record],
        numbers: Sequence[int],
        rejections: Sequence[Rejection],
        *,
        open_ended: bool,
    ) -> RawBatch:
        notes: Counter[str] = Counter()
        kept = [self._is_kept(record) for record in records]
        ends_kept = bool(kept) and kept[-1]
        if not all(kept):
            records = list(compress(records, kept))
            numbers = list(compress(numbers, kept))
            notes[_TRUST_NOTE] = kept.count(False)
        malicious = frozenset(row for row, record in enumerate(records) if _is_malicious(record))
        if malicious:
            notes[_MALICIOUS_NOTE] = len(malicious)
        if open_ended and ends_kept:
            notes[_UNENDED_NOTE] += 1
        return RawBatch(
            rows=len(records),
            header=self._header,
            hashes=[
                HashColumn(HashKind.MD5, [r.md5 for r in records], Encoding.HEX, "MD5"),
                HashColumn(HashKind.SHA1, [r.sha1 for r in records], Encoding.HEX, "SHA-1"),
                HashColumn(HashKind.SHA256, [r.sha256 for r in records], Encoding.HEX, "SHA-256"),
            ],
            place_at=LinePlaces(numbers),
            key_kinds=KEY_KINDS,
            sizes=[record.size for record in records],
            unmatchable=malicious,
            names=FieldNames(key="SHA-1", size="FileSize"),
            rejections=rejections,
            notes=notes,
            open_ended=open_ended and ends_kept,
        )

    def _is_kept(self, record: _Record) -> bool:
        """Whether a record says anything of an entry: little trust says nothing."""
        if self._min_trust is None or _is_malicious(record):
            return True
        return _is_trusted(record.trust, self._min_trust)


def _is_malicious(record: _Record) -> bool:
    return record.malicious is not msgspec.UNSET


def _decode(line: bytes) -> _Record | str:
    """The record of a line, or what is wrong with it."""
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError:
        return "a member has another type than the format gives it"
    except RecursionError:
        return "the record is nested too deeply"
    except (msgspec.DecodeError, UnicodeError):
        return "no JSON object"


def _min_trust(text: str | None) -> int | None:
    if text is None:
        return None
    if not _TRUST_TEXT.fullmatch(text) or int(text) > _MAX_TRUST:
        raise OptionsError(f"the option min_trust must be a number of 0 to 100, not {text!r}")
    return int(text)


def _is_trusted(trust: float | str | None, least: int) -> bool:
    if isinstance(trust, str):
        return bool(_TRUST_TEXT.fullmatch(trust)) and int(trust) >= least
    return trust is not None and trust >= least


def _require_objects(head: bytes) -> None:
    lines = [line for line in first_lines(head) if line.strip()]
    if not lines or lines[0].lstrip()[:1] != "{":
        array = bool(lines) and lines[0].lstrip()[:1] == "["
        raise FormatError(
            "the file is a JSON array; write its objects one on a line (jq -c '.[]')"
            if array
            else "the first line is no JSON object; expected the hashlookup format, one on a line",
            place=Place("line", 1),
        )
    if len(lines) > 1 and lines[0].strip() == "{":
        raise FormatError(
            "the first object is spread over several lines; write each on one line (jq -c .)",
            place=Place("line", 1),
        )


def _reject(block: LineBlock, number: int, problem: str) -> Rejection:
    place = Place("line", number)
    if block.open_ended:
        raise cut_line(f"is {problem}", place)
    return Rejection(place, "", problem)


def looks_like(sample: Sample) -> Likeness | None:
    """Tells the format by the members of the first object."""
    lines = [line for line in first_lines(sample.head) if line.strip()]
    if not lines or not lines[0].lstrip().startswith("{"):
        return None
    try:
        first = json.loads(lines[0])
    except (ValueError, RecursionError):
        return None
    digests = [name for name in ("MD5", "SHA-1", "SHA-256") if name in first]
    own = [name for name in first if name.startswith("hashlookup:") or name == "KnownMalicious"]
    if own:
        return Likeness(90, f"JSON Lines with the member {own[0]} of the hashlookup format")
    if digests and {"FileName", "FileSize"} & first.keys():
        return Likeness(65, f"JSON Lines with {', '.join(digests)} and FileName or FileSize")
    return None


FORMAT = Format(
    "hashlookup",
    "hashlookup JSON Lines (CIRCL)",
    open_reader=HashlookupReader,
    looks_like=looks_like,
    known_good=True,
)

__all__ = ["FORMAT", "HashlookupReader", "looks_like"]
