"""Streams records two arrays deep: `{"value": [{..., "Media": [record, ...], ...}, ...], ...}`.

Only the inner arrays are decoded. What stands beside them in the outer objects is skipped by its
structure alone: never decoded, never kept, however long; that a member stands there twice is not
looked for. Records are counted through.

`json_tree` reads arrays anywhere, but checks the syntax of what it skips, and passes over elements
that are no objects. In a case file both would be wrong: what belongs to a case is not looked at,
and an element that is no object is no case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from hashlists.formats.chunk import Chunk, RecordT
from hashlists.formats.json_stream import JsonArrayStream
from hashlists.formats.json_text import (
    CLOSE_BRACE,
    CLOSE_BRACKET,
    COLON,
    COMMA,
    OPEN_BRACE,
    OPEN_BRACKET,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from hashlists.formats.json_stream import OddNames
    from hashlists.limits import ImportLimits


class NestedArrayStream(JsonArrayStream[RecordT]):
    """As `JsonArrayStream`, but that each element of the array holds records in an array itself.

    Attributes:
        outer_read: elements of the outer array so far.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        array_key: str,
        inner_key: str,
        record_type: type[RecordT],
        wanted: Collection[str],
        limits: ImportLimits,
        count_objects: Callable[[Sequence[RecordT]], int] | None = None,
        find_odd_names: OddNames | None = None,
    ) -> None:
        super().__init__(
            stream,
            array_key=array_key,
            record_type=record_type,
            wanted=wanted,
            limits=limits,
            count_objects=count_objects,
            find_odd_names=find_odd_names,
        )
        self.outer_read = 0
        self._inner_key = inner_key
        self._has_inner = False  # of the outer object that was entered last

    def chunks(self) -> Iterator[Chunk[RecordT]]:
        """Yields the records of all inner arrays, then reads the rest of the file.

        Raises:
            FormatError: the file is cut off, not JSON, or not nested so.
        """
        while self._open_outer():
            if self._skip_to_inner():
                yield from self._array_chunks()
                if self._text.peek() == COMMA:
                    self._text.pos += 1
                    self._skip_members()
                else:
                    self._expect(CLOSE_BRACE, "a comma or the closing } behind the inner records")
        self._read_behind_array()

    def _open_outer(self) -> bool:
        """Enters the next element of the outer array; False at the array's end."""
        if self.outer_read:
            if self._text.peek() == COMMA:
                self._text.pos += 1
            else:
                self._expect(CLOSE_BRACKET, "a comma or ] behind an object")
                return False
        elif self._text.peek() == CLOSE_BRACKET:
            self._text.pos += 1
            return False
        self._expect(OPEN_BRACE, f'an object that holds the records as "{self._inner_key}"')
        self.outer_read += 1
        self._has_inner = False
        return True

    def _skip_to_inner(self) -> bool:
        """Moves into the inner array; False where the object ends without one."""
        if self._text.peek() == CLOSE_BRACE:
            self._text.pos += 1
            return False
        return self._skip_members()

    def _skip_members(self) -> bool:
        """Skips members from a key on, up to the inner array (True) or past the object (False)."""
        while True:
            key = self._take_key()
            self._expect(COLON, 'a colon behind the key: "key": value')
            if key == self._inner_key:
                if self._has_inner:
                    self._fail_second(key)
                self._has_inner = True
                if self._text.peek() == OPEN_BRACKET:
                    self._text.pos += 1
                    self._begin_array()
                    return True
            self._skip_value()
            if self._text.peek() != COMMA:
                self._expect(CLOSE_BRACE, "a comma or the closing } of an object")
                return False
            self._text.pos += 1


__all__ = ["NestedArrayStream"]
