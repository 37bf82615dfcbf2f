"""Streams the records of one big array in a JSON object: `{..., "value": [record, ...], ...}`.

The array may be larger than memory, so the file is read in blocks. A block is cut after a record
and decoded in one go as `[` + records + `]`. That the cut is right is not assumed but proved by
the decoder: it accepts the `]` only where the file's own array is behind a record, since both
texts are equal up to there and JSON has one reading. Counting braces merely picks a cut that
is likely to pass. Where no cut passes, or a record has a wrong type, a structural scan that knows
strings and nesting finds the records one by one.

An object that has a member twice means one thing here and another elsewhere (`json_members`). Such
a record is rejected alone, wherever in it the object stands and whether anybody reads the member;
around the array it refuses the file where the member is a wanted one or stands within one.

Invariants: memory is bounded by a few blocks and the longest record allowed; every byte up to the
end of the file is accounted for, so a file that was cut off or has something behind its end raises
`FormatError`. Knows nothing of hash lists: what a record is, its caller's decoder says.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, BinaryIO, Generic, NoReturn

import msgspec

from hashlists.errors import FormatError
from hashlists.formats.advice import GET_AGAIN, GET_OR_INSPECT, INSPECT
from hashlists.formats.chunk import Chunk, RecordT
from hashlists.formats.json_document import SYNTAX, JsonDocument, not_json
from hashlists.formats.json_members import all_counted, fault_of_members, may_repeat, names_in
from hashlists.formats.json_text import (
    CLOSE_BRACE,
    CLOSE_BRACKET,
    COLON,
    COMMA,
    END,
    OPEN_BRACE,
    OPEN_BRACKET,
    CutOffError,
    NoValueError,
    RecordPlaces,
    likely_cut,
)
from hashlists.model import Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hashlists.formats.json_members import Buffer
    from hashlists.limits import ImportLimits

    #: From the text of an array of records to odd names of those that have some, by their row.
    OddNames = Callable[[Buffer], Mapping[int, Sequence[str]]]

_CLOSED_EARLY = re.compile(r"trailing characters \(byte (\d+)\)$")
_FAULT_PATH = re.compile(r" - at `\$\.?([^`]*)`$")
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class JsonArrayStream(JsonDocument, Generic[RecordT]):
    """Reads `members` before the array, then the array by `chunks()`, then the members behind it.

    Args:
        stream: read from where it stands.
        array_key: member that is the array.
        record_type: of its records.
        wanted: further members that are read.
        limits: ceilings of the import.
        count_objects: how many objects the given records were made of, where all that stood in them
            can be encoded again (see `json_members.all_counted`): this saves decoding them twice.
        find_odd_names: what to tell of records, by their row in a text, that hold more than what
            they were made into.

    Attributes:
        members: the wanted members found so far; complete once `chunks()` is exhausted.
        has_array: whether the array was reached; False only before `open_array()`.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        array_key: str,
        record_type: type[RecordT],
        wanted: Collection[str],
        limits: ImportLimits,
        count_objects: Callable[[Sequence[RecordT]], int] | None = None,
        find_odd_names: OddNames | None = None,
    ) -> None:
        super().__init__(stream, limits)
        self.members: dict[str, object] = {}
        self.has_array = False
        self._array_key = array_key
        self._wanted = frozenset(wanted)
        self._count_objects = count_objects
        self._find_odd_names = find_odd_names
        self._scratch = bytearray()
        self._records_decoder = msgspec.json.Decoder(list[record_type])  # type: ignore[valid-type]
        self._record_decoder = msgspec.json.Decoder(record_type)
        self._names = names_in(record_type)
        self._first = 0
        self._reach: int | None = None  # bytes that records decoded in one go may take
        self._done = False

    @property
    def records_read(self) -> int:
        """Records of the array so far, rejected ones included."""
        return self._number

    def open_array(self) -> None:
        """Reads up to the first record.

        Raises:
            FormatError: not a JSON object, or it has no such array.
        """
        self._refuse_foreign()
        if self._text.peek() not in (OPEN_BRACE, END):  # of another format, most likely
            if self._text.peek() == OPEN_BRACKET:
                self._fail(
                    "the file begins with [; expected a JSON object: its records stand in a bare"
                    " array, without the object around them that has them as its"
                    f' "{self._array_key}"; ask its source for the whole file; {INSPECT}'
                )
            self._fail(f"the file does not begin with {{; expected a JSON object; {INSPECT}")
        self._expect(OPEN_BRACE, "a JSON object: {")
        if self._text.peek() != CLOSE_BRACE:
            self._read_members()
        if not self.has_array:
            raise FormatError(
                f'the JSON object has no array "{self._array_key}", where the records should be; '
                + INSPECT,
                place=Place("record", 1, self._text.offset),
            )

    def chunks(self) -> Iterator[Chunk[RecordT]]:
        """Yields all records, then reads the rest of the file.

        Raises:
            FormatError: the file is cut off, not JSON, or goes on behind its end.
        """
        yield from self._array_chunks()
        self._read_behind_array()

    def _array_chunks(self) -> Iterator[Chunk[RecordT]]:
        """The records of the array that was entered, up to its end."""
        while not self._done:
            self._text.top_up()
            yield self._whole_chunk() or self._single_chunk()

    def _begin_array(self) -> None:
        """Says that the first record of an array comes next."""
        self._done = False
        self._first = self._number

    def _read_behind_array(self) -> None:
        """Reads the rest of the file."""
        if self._text.peek() == COMMA:
            self._text.pos += 1
            self._read_members()
        else:
            self._close_object()

    def _whole_chunk(self) -> Chunk[RecordT] | None:
        """As many records as the block holds in one go, or None if they must be read singly."""
        text = self._text
        reach = len(text.data) if self._reach is None else text.pos + self._reach
        cut = likely_cut(text.data, text.pos, reach, self._limits.max_batch_objects)
        if cut is None:
            return None
        end, after = cut
        try:
            return self._decode_whole(end, after)
        except _DECODE_ERRORS as error:
            return self._rest_of_array(error)

    def _rest_of_array(self, error: Exception) -> Chunk[RecordT] | None:
        """The records up to the array's own end, where the decoder met it before the cut."""
        text = self._text
        closed = _CLOSED_EARLY.search(str(error))
        if closed is None:
            return None
        behind = text.pos - 2 + int(closed.group(1))  # the decoder's text starts one byte before
        end = text.data.rfind(b"]", text.pos, behind)
        if end < 0:
            return None
        try:
            return self._decode_whole(end, end + 1)
        except _DECODE_ERRORS:
            return None

    def _decode_whole(self, end: int, after: int) -> Chunk[RecordT] | None:
        """The records up to `end`; None where one of them may have a member twice.

        Moves behind them, and the comma or bracket there.
        """
        text = self._text
        with text.bracketed(end) as data:
            records: list[RecordT] = self._records_decoder.decode(data)
            plain = self._all_counted(data, records)
            if not plain and may_repeat(bytes(data)):
                return None
            odd_names = {} if plain else self._odd_names(data)
        places = RecordPlaces(text.data, text.pos, end, text.offset, self._number + 1)
        text.pos = after
        self._done = text.data[after - 1] == CLOSE_BRACKET
        self._number += len(records)
        return Chunk(records, places, odd_names=odd_names)

    def _all_counted(self, text: memoryview, records: Sequence[RecordT]) -> bool:
        """Whether no record has a member twice, or one that the caller does not know."""
        if not self._names:  # nothing is read of these records
            return True
        count = self._count_objects
        return count is not None and all_counted(text, records, count(records), self._scratch)

    def _odd_names(self, text: Buffer) -> Mapping[int, Sequence[str]]:
        return {} if self._find_odd_names is None else self._find_odd_names(text)

    def _single_chunk(self) -> Chunk[RecordT]:
        """Records one by one, up to the end of the block in hand or of the array."""
        records: list[RecordT] = []
        places: list[Place] = []
        rejections: list[Rejection] = []
        odd_names: dict[int, Sequence[str]] = {}
        stop = self._text.bytes_read
        while not self._at_empty_end():
            self._number += 1
            place = Place("record", self._number, self._text.skip_space())
            outcome, odd = self._next_record(place)
            if isinstance(outcome, Rejection):
                rejections.append(outcome)
            else:
                if odd:
                    odd_names[len(records)] = odd
                records.append(outcome)
                places.append(place)
            self._take_separator(place)
            full = len(records) + len(rejections) >= self._limits.max_batch_rows
            if self._done or full or self._text.offset >= stop:
                break
        return Chunk(records, places.__getitem__, rejections, odd_names)

    def _at_empty_end(self) -> bool:
        """True at the `]` of an array without records; a `]` behind a comma is an error."""
        if self._text.peek() != CLOSE_BRACKET:
            return False
        if self._number > self._first:
            self._fail("a comma with no record behind it")
        self._text.pos += 1
        self._done = True
        return True

    def _next_record(self, place: Place) -> tuple[RecordT | Rejection, Sequence[str]]:
        """The next record or what is wrong with it, and its odd names."""
        limit = self._limits.max_record_bytes
        try:
            data = self._text.take_value(limit)
        except CutOffError:
            self._fail_cut_off(place)
        except NoValueError:
            self._fail("not JSON: no value where a record should be")
        if data is None:
            return Rejection(place, "", f"the record is longer than {limit} bytes"), ()
        try:
            record = self._record_decoder.decode(data)
        except _DECODE_ERRORS as error:
            return self._reject(data, place, error), ()
        fault = fault_of_members(data, self._names)
        if fault is not None:
            return Rejection(place, *fault), ()
        return record, self._odd_names(b"[%b]" % data).get(0, ())

    def _reject(self, data: bytes, place: Place, error: Exception) -> Rejection:
        """A record that is JSON is rejected alone; one that is not breaks the file."""
        if isinstance(error, RecursionError):
            return Rejection(place, "", "the record is nested too deeply")
        try:
            SYNTAX.decode(data)
        except msgspec.DecodeError as syntax_error:
            small = len(data) <= self._limits.max_member_bytes  # a tree takes far more memory
            if not (small and _is_nearly_json(data)):
                raise not_json(place, syntax_error) from None
        if isinstance(error, msgspec.ValidationError):
            path = _FAULT_PATH.search(str(error))
            message = str(error)[: path.start()] if path else str(error)
            name = path.group(1) if path else ""
            return Rejection(place, name, f"wrong type: {message.replace('`', '')}")
        return Rejection(place, "", "the record has text that is not Unicode, or a number like NaN")

    def _take_separator(self, place: Place) -> None:
        """Takes the comma or bracket behind a record."""
        byte = self._text.peek()
        if byte == END:
            self._fail_cut_off(place)
        if byte not in (COMMA, CLOSE_BRACKET):
            self._fail("something other than a comma or ] behind a record")
        self._text.pos += 1
        self._done = byte == CLOSE_BRACKET

    def _read_members(self) -> None:
        """Reads members from a key on, up to the array or to the end of the file."""
        while True:
            key = self._take_key()
            self._expect(COLON, 'a colon behind the key: "key": value')
            if key == self._array_key:
                self._enter_array()
                return
            self._take_member(key)
            if self._text.peek() != COMMA:
                self._close_object()
                return
            self._text.pos += 1

    def _take_member(self, key: str) -> None:
        if key not in self._wanted:
            self._take_decoded("member")
            return
        if key in self.members:
            self._fail_second(key)
        self.members[key] = self._take_wanted(key)

    def _enter_array(self) -> None:
        if self.has_array:
            self._fail_second(self._array_key)
        self._expect(OPEN_BRACKET, f'an array: "{self._array_key}" must hold the records as [...]')
        self.has_array = True

    def _close_object(self) -> None:
        """Takes the last brace and makes sure that nothing follows."""
        self._expect(CLOSE_BRACE, "a comma or the closing } of the JSON object")
        if self._text.peek() != END:
            self._fail(f"the JSON object is closed, but the file goes on; {GET_OR_INSPECT}")
        self._done = True

    def _fail_cut_off(self, place: Place) -> NoReturn:
        """Says that the file was cut off, unless a fault before its end made it look so."""
        data = bytes(self._text.data[self._text.pos :])
        if data and self._text.offset == place.offset:
            try:
                SYNTAX.decode(data)
            except msgspec.DecodeError as error:
                if "truncated" not in str(error):
                    raise not_json(place, error) from None
            except RecursionError:
                pass
        raise FormatError(
            f"the file ends inside or behind this record; it was cut off: {GET_AGAIN}", place=place
        )


def _is_nearly_json(data: bytes) -> bool:
    """Whether the only trouble is a number like NaN or half a surrogate pair, as some write them.

    The standard library's parser takes both; where the record ends is certain then.
    """
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


__all__ = ["JsonArrayStream"]
