"""Moves through a JSON document by its structure: punctuation, keys and values, one by one.

What stands around the records of a list is read so: few values, each held as a whole and decoded
when it is at hand, or skipped however long it is. An object that has a member twice means one thing
here and another elsewhere (`json_members`): where the value is read, the document is refused.

Invariants: nothing is passed over unseen, and whatever is not as it should be raises `FormatError`
with its place; a file that was cut off is said to be. Knows neither arrays of records nor lists.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO, NoReturn, TypeVar

import msgspec

from hashlists.errors import FormatError
from hashlists.formats.advice import (
    EMPTY,
    FROM_ENCODING,
    GET_AGAIN,
    GET_OR_INSPECT,
    INSPECT,
    TO_UTF8,
)
from hashlists.formats.json_members import fault_of_members
from hashlists.formats.json_text import END, QUOTE, CutOffError, JsonText, NoValueError
from hashlists.model import Place

if TYPE_CHECKING:
    from hashlists.limits import ImportLimits

T = TypeVar("T")

_FAULT_BYTE = re.compile(r" \(byte (\d+)\)$")
_BOM = b"\xef\xbb\xbf"
_UTF16 = f"is UTF-16, and JSON is UTF-8; {TO_UTF8}"
_FOREIGN = (
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"PK\x03\x04", "is a ZIP archive; unpack it first"),
    (b"\xff\xfe", _UTF16),
    (b"\xfe\xff", _UTF16),
    (b"{\x00", _UTF16),
    (b"<", f"is XML or HTML, not JSON; {INSPECT}"),
)
_ANY = msgspec.json.Decoder()
#: Makes sure that a value is JSON, without making anything of it.
SYNTAX = msgspec.json.Decoder(msgspec.Raw)


class JsonDocument:
    """What the readers of JSON documents have in common.

    Args:
        stream: read from where it stands.
        limits: ceilings of the import.
    """

    def __init__(self, stream: BinaryIO, limits: ImportLimits) -> None:
        self._text = JsonText(stream, limits.block_bytes)
        self._limits = limits
        self._number = 0  # records so far, by which places count

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the stream so far."""
        return self._text.bytes_read

    def _take_key(self) -> str:
        if self._text.peek() != QUOTE:
            self._fail('no key where the next member should start: "key": value')
        key = self._take_decoded("key")
        assert isinstance(key, str)
        return key

    def _take_wanted(self, key: str) -> object:
        """The value of a member that is read, in which no object may have a member twice."""
        place = self._here()
        data = self._take_short("member")
        value = self._decode(_ANY, data, place, "member")
        fault = fault_of_members(data, ())
        if fault is not None:
            raise FormatError(f'in "{key}": {fault[1]}', place=place)
        return value

    def _fail_second(self, key: str) -> NoReturn:
        self._fail(f'a second "{key}"; which one counts is not clear')

    def _skip_value(self) -> None:
        """Skips one value unread, whatever its length."""
        try:
            self._text.take_value(0)
        except CutOffError:
            self._fail(f"the file ends here; it was cut off: {GET_AGAIN}")
        except NoValueError:
            self._fail("not JSON: no value where a member should be")

    def _take_decoded(self, what: str) -> object:
        """One value of the object around the array, decoded."""
        place = self._here()
        return self._decode(_ANY, self._take_short(what), place, what)

    def _take_short(self, what: str) -> bytes:
        """The text of one value of the object around the array."""
        place = self._here()
        data = self._take_text(what)
        if data is None:
            limit = self._limits.max_member_bytes
            raise FormatError(f"a {what} beside the records exceeds {limit} bytes", place=place)
        return data

    def _here(self) -> Place:
        return Place("record", self._number + 1, self._text.skip_space())

    def _take_text(self, what: str) -> bytes | None:
        """The text of one value; None for one longer than a member may be, which is skipped."""
        try:
            return self._text.take_value(self._limits.max_member_bytes)
        except CutOffError:
            self._fail(f"the file ends here; it was cut off: {GET_AGAIN}")
        except NoValueError:
            self._fail(f"not JSON: no value where a {what} should be")

    def _check_syntax(self, data: bytes, place: Place, what: str) -> None:
        """Makes sure that a value is JSON, without making anything of it."""
        self._decode(SYNTAX, data, place, what)

    @staticmethod
    def _decode(decoder: msgspec.json.Decoder[T], data: bytes, place: Place, what: str) -> T:
        try:
            return decoder.decode(data)
        except RecursionError:
            raise FormatError(f"a {what} is nested too deeply", place=place) from None
        except UnicodeDecodeError:
            raise FormatError(
                f"a {what} is not valid UTF-8; {FROM_ENCODING}", place=place
            ) from None
        except msgspec.DecodeError as error:
            raise not_json(place, error) from None

    def _refuse_foreign(self) -> None:
        """Names the usual files that are not JSON; skips a UTF-8 byte-order mark."""
        self._text.need(len(_BOM) + 1)
        start = bytes(self._text.data[1 : len(_BOM) + 2])
        if not start:
            raise FormatError(f"the file is {EMPTY}")
        for magic, problem in _FOREIGN:
            if start.startswith(magic):
                raise FormatError(f"the file {problem}")
        if start.startswith(_BOM):
            self._text.pos += len(_BOM)

    def _expect(self, byte: int, what: str) -> None:
        """Takes `byte`, which must be next."""
        found = self._text.peek()
        if found != byte:
            problem = "the file ends here; it was cut off" if found == END else "not JSON"
            self._fail(f"{problem}; expected {what}; {GET_OR_INSPECT}")
        self._text.pos += 1

    def _fail(self, problem: str) -> NoReturn:
        raise FormatError(problem, place=Place("record", self._number + 1, self._text.offset))


def not_json(place: Place, error: msgspec.DecodeError) -> FormatError:
    """Names the byte at fault, give or take one; the decoder counts from the record's start."""
    message = str(error).removeprefix("JSON is malformed: ")
    byte = _FAULT_BYTE.search(message)
    offset = place.offset or 0
    if byte:
        message = message[: byte.start()]
        offset += int(byte.group(1))
    return FormatError(
        f"not JSON: {message}; {GET_OR_INSPECT}", place=Place(place.unit, place.number, offset)
    )


__all__ = ["SYNTAX", "JsonDocument", "not_json"]
