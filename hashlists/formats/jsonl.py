"""Reads JSON Lines: one JSON object a line, of Hashwarden's own layout or of a foreign one.

The own layout (`jsonl_writer`) begins with a line `{"format":"hashwarden","version":1}`, which says
whose the file is, and has `since` where it is a delta, and ends with `{"records":N}`: a file
without that end, with other than N records, or with anything behind it was cut off or put together
of several, and is refused.

A foreign file has one record a line, and says nothing of its end: a last line that has no line end
and is no whole object is refused as cut off, and one that was cut off between two lines cannot be
told. Which member is which field the importer declares, as for CSV; a member of a nested object is
named with dots between, `hashes.md5`, and a list of texts holds several hashes of a kind, or
several recipients. Members that no option names are not taken over.

A line that is no JSON object, that is too long, whose members have wrong types, or in which an
object has a member twice, be it one that no option names, is rejected alone.

Options: those of `hashlists.formats.field_mapping`, or `columns=hashwarden`, which is also assumed
where there are no options at all.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import own_layout
from hashlists.formats.advice import EMPTY, GET_AGAIN, INSPECT, cut_line
from hashlists.formats.base import BatchReader, FileHeader, Format, Likeness, RawBatch
from hashlists.formats.byte_lines import ByteLine, ByteLines
from hashlists.formats.csv_likeness import kinds_named
from hashlists.formats.delta_mark import FileMark
from hashlists.formats.field_mapping import LAYOUT_OPTION, OWN_LAYOUT, FieldMapping
from hashlists.formats.json_members import fault_of_members, may_repeat
from hashlists.formats.jsonl_writer import HEADER, VERSION, JsonLinesWriter
from hashlists.formats.mapped_batch import with_status_told
from hashlists.formats.shown_columns import is_shown
from hashlists.formats.table_columns import jsonl_columns
from hashlists.formats.typed_batch import typed_batch
from hashlists.model import Place, Rejection
from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.base import Sample
    from hashlists.limits import ImportLimits

_DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_UNENDED_NOTE: Final = "last line without line end taken as whole"
_END_MEMBER: Final = "records"
_decode = msgspec.json.Decoder().decode


def _own_header(first: ByteLine | None) -> dict[str, Any] | None:
    """What the first line says where the file is of the own layout; else None."""
    try:
        said = _decode(first.text) if first and first.text else None
    except _DECODE_ERRORS:
        return None
    return said if isinstance(said, dict) and said.get("format") == HEADER["format"] else None


class JsonLinesReader(BatchReader):
    """Iterates over a JSON Lines file (see `base.ListReader`); the module names the options.

    Raises:
        OptionsError: the options are wrong.
        FormatError: the file is not JSON Lines, or not of the layout that the options name.
    """

    format: Final = "jsonl"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        self._own = not options or own_layout.is_asked_for(options)
        self._mapping = own_layout.MAPPING if self._own else FieldMapping.parse(options)
        self._lines = ByteLines(stream, limits)
        self._limits = limits
        self._mark = FileMark()
        self._wanted = self._mapping.all_columns()
        if self._own:
            self._wanted |= own_layout.further_columns(own_layout.COLUMNS)
            self._require_header()
        else:
            self._require_object()
        self._names = {step for path in self._wanted.values() for step in (path, *path.split("."))}
        version = str(VERSION) if self._own else ""
        self._header = FileHeader("jsonl", version, self._mapping.scheme, self._mapping.profile)
        self._records = 0
        self._announced: int | None = None
        self._batches = with_status_told(self._mapping, self._header, self._read())

    @property
    def header(self) -> FileHeader:
        """Scheme and profile as the options give them; the version of the own layout."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the stream; a little ahead of the lines handed on."""
        return self._lines.bytes_read

    def _require_header(self) -> None:
        first = self._lines.take_first()
        if first is None:
            raise FormatError(f"the file is {EMPTY}")
        said = _own_header(first)
        if said is None:
            raise OptionsError(
                "the file does not begin as Hashwarden's own JSON Lines do; for another layout say "
                "which member holds what, e.g. --column md5=NAME (as option: columns.md5)"
            )

        fault = fault_of_members(first.text or b"", ())
        if fault is not None:
            raise FormatError(f"in the line that begins the list: {fault[1]}", place=_place(first))
        if said.get("version") != VERSION:
            raise FormatError(
                f"the file is of another version of the layout than {VERSION}, the one known here",
                place=_place(first),
            )
        self._mark = FileMark.of(said)

    def _require_object(self) -> None:
        """Refuses a file that surely is another, before each of its lines is rejected.

        Raises:
            FormatError: it is empty, or its first line does not begin as an object does.
        """
        first = self._lines.see_first()
        if first is None:
            raise FormatError(f"the file is {EMPTY}")
        if first.text is None or first.text.startswith(b"{"):
            self._mark = FileMark.of(_own_header(first) or {})
            return
        array = first.text.startswith(b"[")
        raise FormatError(
            "the file is a JSON array; write its objects one on a line (jq -c '.[]')"
            if array
            else f"the first line is no JSON object; expected one on each line; {INSPECT}",
            place=_place(first),
        )

    def _read(self) -> Iterator[RawBatch]:
        if self._mark.says_anything:
            yield RawBatch.of_mark(self._header, self._mark)
        while lines := self._lines.take():
            records: list[Mapping[str, Any]] = []
            places: list[ByteLine] = []
            rejections: list[Rejection] = []
            for line, record in zip(lines, self._objects(lines), strict=True):
                if isinstance(record, Rejection):
                    rejections.append(record)
                elif not self._is_end(record, line):
                    records.append(record)
                    places.append(line)
            self._records += len(records) + len(rejections)
            if records or rejections:
                yield self._to_batch(records, places, rejections)
        if self._own:
            self._require_end()

    def _objects(self, lines: Sequence[ByteLine]) -> list[Mapping[str, Any] | Rejection]:
        """What each line holds; no object in it has a member twice."""
        found = [self._record(line) for line in lines]
        whole = [(line.text, each) for line, each in zip(lines, found, strict=True) if line.text]
        objects = [(text, each) for text, each in whole if not isinstance(each, Rejection)]
        together = b"[%b]" % b",".join(text for text, _ in objects)
        if not may_repeat(together, [each for _, each in objects]):
            return found
        return [
            each if isinstance(each, Rejection) else self._unless_repeated(each, line)
            for line, each in zip(lines, found, strict=True)
        ]

    def _unless_repeated(
        self, record: Mapping[str, Any], line: ByteLine
    ) -> Mapping[str, Any] | Rejection:
        fault = fault_of_members(line.text or b"", self._names)
        return record if fault is None else Rejection(_place(line), *fault)

    def _record(self, line: ByteLine) -> Mapping[str, Any] | Rejection:
        """The object of a line, or why there is none.

        Raises:
            FormatError: the line is the file's last, and cut off.
        """
        place = _place(line)
        if line.text is None:
            limit = self._limits.max_record_bytes
            return Rejection(place, "", f"the line exceeds {limit} bytes")
        try:
            record = _decode(line.text)
        except _DECODE_ERRORS as error:
            problem = _in_words(error)
            if not line.is_ended:
                raise cut_line(f"is no whole JSON object ({problem})", place) from None
            return Rejection(place, "", problem)
        if isinstance(record, dict):
            return record
        return Rejection(place, "", "not a JSON object")

    def _is_end(self, record: Mapping[str, Any], line: ByteLine) -> bool:
        """Whether the record is the own layout's last line.

        Raises:
            FormatError: something stands behind that.
        """
        if not self._own:
            return False
        if self._announced is not None:
            raise FormatError(
                "something stands behind the line that ends the list",
                place=_place(line),
            )
        count = record.get(_END_MEMBER)
        if len(record) != 1 or type(count) is not int:
            return False
        self._announced = count
        return True

    def _require_end(self) -> None:
        if self._announced is None:
            raise FormatError(
                f"the file was cut off: it holds {counted(self._records, 'record')} and does not "
                f"end with the line that says how many there are; {GET_AGAIN}"
            )
        if self._announced != self._records:
            raise FormatError(
                f"the file says that it holds {counted(self._announced, 'record')}, and holds "
                f"{self._records:,}; {GET_AGAIN}"
            )

    def _to_batch(
        self,
        records: Sequence[Mapping[str, Any]],
        places: Sequence[ByteLine],
        rejections: Sequence[Rejection],
    ) -> RawBatch:
        cells = {wanted: _members(records, path) for wanted, path in self._wanted.items()}
        batch = typed_batch(
            self._mapping,
            self._header,
            {
                wanted: values
                for wanted, values in cells.items()
                if not self._own or wanted == "releasable_to" or any(v is not None for v in values)
            },
            rows=len(records),
            place_at=lambda row: _place(places[row]),
        )
        batch = replace(batch, rejections=rejections)
        if places and not places[-1].is_ended and not self._own:
            batch = replace(batch, notes={_UNENDED_NOTE: 1, **batch.notes}, open_ended=True)
        return batch


def _members(records: Sequence[Mapping[str, Any]], path: str) -> list[Any]:
    """One member of each record; its own name goes before one of a nested object."""
    values = [record.get(path) for record in records]
    if "." not in path:
        return values
    steps = path.split(".")
    return [
        _member(record, steps) if value is None else value
        for record, value in zip(records, values, strict=True)
    ]


def _place(line: ByteLine) -> Place:
    return Place("line", line.number, line.offset)


def _member(record: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        if not isinstance(record, dict):
            return None
        record = record.get(step)
    return record


def _in_words(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "not a JSON object: it nests too deep"
    if isinstance(error, UnicodeDecodeError):
        return "not a JSON object: a text is not UTF-8"
    return "not a JSON object"


def looks_like(sample: Sample) -> Likeness | None:
    """Whether the first line is a JSON object, and which of its members are named for hashes."""
    first, _, rest = sample.head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    try:
        record = _decode(first)
    except _DECODE_ERRORS:
        return None
    if not isinstance(record, dict):
        return None
    if record.get("format") == HEADER["format"]:
        why = "its first line says that it is Hashwarden's own layout"
        return Likeness(95, why, {LAYOUT_OPTION: OWN_LAYOUT})
    if not rest.lstrip().startswith(b"{"):
        return Likeness(5, "it is one JSON object, on one line")
    kinds = kinds_named([each.name for each in jsonl_columns(sample) if is_shown(each.name)])
    named = {f"columns.{kind}": name for kind, name in kinds.items()}
    if named:
        names = ", ".join(map(repr, named.values()))
        return Likeness(50, f"each line is a JSON object, with members named {names}", named)
    return Likeness(20, "each line is a JSON object")


FORMAT = Format(
    "jsonl",
    "JSON Lines with declared members",
    open_reader=JsonLinesReader,
    open_writer=JsonLinesWriter,
    looks_like=looks_like,
    tells_retractions=True,
    tells_delta=True,
    ending=".jsonl",
    media_type="application/jsonl",
)
