"""Streams arrays that stand anywhere in a JSON document, e.g. those of each of many events.

`JsonArrayStream` reads one array in one object. Here a caller names the paths of all arrays whose
records it wants, and of members beside them (`json_nested` knows one such shape, and skips all else
unread); the document is walked once, in file order, and may be larger than memory in every array.
What is not named is skipped: its syntax is checked where it is no longer than a member may be, and
else only its strings and nesting are followed.

A single object where a wanted array might be is its one record, as some servers answer.

Invariants: as `json_stream`, whose records, places and errors these are. An array, a wanted member
or an object on the way to one may stand only once in its object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from hashlists.formats.advice import GET_OR_INSPECT
from hashlists.formats.chunk import Chunk
from hashlists.formats.json_members import names_in
from hashlists.formats.json_stream import JsonArrayStream
from hashlists.formats.json_text import (
    CLOSE_BRACE,
    CLOSE_BRACKET,
    COLON,
    COMMA,
    END,
    OPEN_BRACE,
    OPEN_BRACKET,
)
from hashlists.model import Rejection

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from hashlists.limits import ImportLimits

#: Keys from the outermost object inwards; `EACH` stands for every element of an array.
Path = tuple[str, ...]
EACH: Final = "*"
_FIRST_REACH: Final = 2048
_WIDENING: Final = 4


@dataclass(frozen=True, slots=True)
class Entered:
    """An object begins, within which something wanted may stand."""

    path: Path


@dataclass(frozen=True, slots=True)
class Member:
    """A wanted member, decoded."""

    path: Path
    value: object = field(repr=False)


@dataclass(frozen=True, slots=True)
class Records:
    """Consecutive records of a wanted array."""

    path: Path
    chunk: Chunk[Any]


class JsonTreeStream(JsonArrayStream[Any]):
    """Walks one document.

    Args:
        stream: read from where it stands.
        arrays: the type of the records of each wanted array.
        members: paths of wanted values; each is held in memory as a whole.
        limits: ceilings of the import.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        arrays: Mapping[Path, type[Any]],
        members: Collection[Path],
        limits: ImportLimits,
    ) -> None:
        super().__init__(stream, array_key="", record_type=msgspec.Raw, wanted=(), limits=limits)
        decoders = {
            each: (msgspec.json.Decoder(list[each]), msgspec.json.Decoder(each), names_in(each))  # type: ignore[valid-type]
            for each in set(arrays.values())
        }
        self._arrays = {path: decoders[each] for path, each in arrays.items()}
        self._wanted_members = frozenset(members)
        paths = [*arrays, *members]
        self._on_the_way = frozenset(path[:size] for path in paths for size in range(len(path)))

    def walk(self) -> Iterator[Entered | Member | Records]:
        """Yields all that is wanted, in file order, and reads the file to its end.

        Raises:
            FormatError: the file is cut off, not JSON, or goes on behind its end.
        """
        self._refuse_foreign()
        yield from self._value(())
        if self._text.peek() != END:
            self._fail(f"the JSON document ends here, but the file goes on; {GET_OR_INSPECT}")

    def _value(self, path: Path) -> Iterator[Entered | Member | Records]:
        byte = self._text.peek()
        if path in self._arrays and byte == OPEN_BRACKET:
            yield from self._records(path)
        elif path in self._arrays and byte == OPEN_BRACE:
            yield self._lone_record(path)
        elif path in self._on_the_way and byte == OPEN_BRACE:
            yield from self._object(path)
        elif path in self._on_the_way and byte == OPEN_BRACKET:
            yield from self._elements(path)
        elif path in self._wanted_members:
            yield Member(path, self._take_wanted(path[-1] if path else ""))
        else:
            self._skip()

    def _object(self, path: Path) -> Iterator[Entered | Member | Records]:
        self._expect(OPEN_BRACE, "an object: {")
        yield Entered(path)
        seen: set[Path] = set()
        if self._text.peek() == CLOSE_BRACE:
            self._text.pos += 1
            return
        while True:
            inner = (*path, self._take_key())
            self._expect(COLON, 'a colon behind the key: "key": value')
            if inner in self._arrays or inner in self._on_the_way or inner in self._wanted_members:
                if inner in seen:
                    self._fail_second(inner[-1])
                seen.add(inner)
            yield from self._value(inner)
            if self._ends(CLOSE_BRACE, "a comma or the closing } of an object"):
                return

    def _elements(self, path: Path) -> Iterator[Entered | Member | Records]:
        self._expect(OPEN_BRACKET, "an array: [")
        if self._text.peek() == CLOSE_BRACKET:
            self._text.pos += 1
            return
        while True:
            yield from self._value((*path, EACH))
            if self._ends(CLOSE_BRACKET, "a comma or the closing ] of an array"):
                return

    def _ends(self, closing: int, what: str) -> bool:
        """Takes the comma, or else the closing byte, behind a member or element."""
        if self._text.peek() == COMMA:
            self._text.pos += 1
            return False
        self._expect(closing, what)
        return True

    def _whole_chunk(self) -> Chunk[Any] | None:
        """As for one array, but beginning with few bytes: most arrays may be short.

        To look at a whole block for each of them would make many short ones slow.
        """
        assert self._reach is not None
        while True:
            chunk = super()._whole_chunk()
            if self._done:
                return chunk
            all_at_hand = self._reach >= len(self._text.data) - self._text.pos
            if not all_at_hand:
                self._reach *= _WIDENING
            if chunk is not None or all_at_hand:
                return chunk

    def _records(self, path: Path) -> Iterator[Records]:
        self._expect(OPEN_BRACKET, "an array: [")
        self._records_decoder, self._record_decoder, self._names = self._arrays[path]
        self._begin_array()
        self._reach = _FIRST_REACH
        for chunk in self._array_chunks():
            if chunk.records or chunk.rejections:
                yield Records(path, chunk)

    def _lone_record(self, path: Path) -> Records:
        _, self._record_decoder, self._names = self._arrays[path]
        place = self._here()
        self._number += 1
        outcome, _ = self._next_record(place)
        if isinstance(outcome, Rejection):
            return Records(path, Chunk([], [].__getitem__, [outcome]))
        return Records(path, Chunk([outcome], [place].__getitem__))

    def _skip(self) -> None:
        """One value that nobody wants."""
        place = self._here()
        data = self._take_text("value")
        if data is not None:
            self._check_syntax(data, place, "value")


__all__ = ["EACH", "Entered", "JsonTreeStream", "Member", "Path", "Records"]
