r"""Finds objects that have a member twice, which JSON decoders pass over in silence.

RFC 8259 (section 4) leaves open what such an object means, and I-JSON (RFC 7493, section 2.3)
forbids it. Decoders let the last one win: a record with `"Category":1,"Category":0` would count as
0 here and as 1 elsewhere. Which one its source meant nobody can tell, so readers refuse it, and
where both say the same, too: one rule, without a look at values.

Names are compared by what they mean, not by how they are written: `"\u0043ategory"` is `Category`.

`repeated_member` parses a text once more, whole, and is exact. `may_repeat` and `all_counted` are
quicker and answer for many records at once. They count members: a decoder keeps one of those that
have the same name, so what it made of the text has fewer of them once it is encoded again. Inside
of strings they may count what only looks like a member, but in both texts alike, unless a quotation
mark or a colon is written by its number: such texts are parsed.

Nothing here judges whether a text is JSON: it is the text of a value that a decoder has taken.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    Buffer = bytes | bytearray | memoryview

_QUOTE, _COLON, _SPACE, _OPEN_BRACE, _BACKSLASH = b'": {\\'
_BY_NUMBER = re.compile(rb"\\u00")
_SPACED_MEMBER = re.compile(rb'"[ \t\n\r]+:')
_TWICE: Final = "the member stands twice in one object; which one counts is not clear"
_SOME_TWICE: Final = "a member stands twice in one object; which one counts is not clear"

_decode = msgspec.json.Decoder().decode
_encoder = msgspec.json.Encoder()


class _RepeatedError(Exception):
    """Some object has a member twice."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def repeated_member(text: bytes) -> str | None:
    """The name of a member that an object in a text has twice; None where there is none.

    Nothing of the text is kept while it is parsed but its longest array of plain values.

    Raises:
        RecursionError: the text nests too deeply to be parsed once more.
        ValueError: it is not JSON as the standard library has it.
    """
    try:
        _SEARCH.decode(text.decode("utf-8", "surrogateescape"))
    except _RepeatedError as found:
        return found.name
    return None


def fault_of_members(text: bytes, names: Collection[str]) -> tuple[str, str] | None:
    """Field and reason where an object in a text has a member twice; None where none has.

    Args:
        text: JSON.
        names: those that may be shown. Others are not: a name may be a case's number, or a hash.
    """
    try:
        name = repeated_member(text)
    except RecursionError:
        return "", "nested too deeply"
    except ValueError:
        return "", "it cannot be searched for members that stand twice"
    if name is None:
        return None
    return (name, _TWICE) if name in names else ("", _SOME_TWICE)


def names_in(record_type: type[Any]) -> frozenset[str]:
    """The names of all members that structs of this type read, and those within them."""
    return frozenset(_names_in(msgspec.inspect.type_info(record_type)))


def may_repeat(text: bytes, decoded: Any = None) -> bool:
    """Whether some object in a text may have a member twice; False means that surely none has.

    Args:
        text: JSON.
        decoded: what the standard types make of it; None to work it out.
    """
    try:
        whole = _decode(text) if decoded is None else decoded
        return not _has_as_many(text, whole, bytearray()) and repeated_member(text) is not None
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return True


def all_counted(text: Buffer, decoded: Any, objects: int, scratch: bytearray) -> bool:
    """Whether what a decoder made of a text shows that no object in it has a member twice.

    Args:
        text: what was decoded.
        decoded: structs that encode no member that was absent from the text; those of type `Raw`
            may be among their members.
        objects: how many structs there are. Where the text has no other objects, none hides in
            what is raw, where a member could stand twice unseen.
        scratch: written over; memory that is used again is quicker than new one.
    """
    braces = int(np.count_nonzero(np.frombuffer(text, np.uint8) == _OPEN_BRACE))
    return braces == objects and _has_as_many(text, decoded, scratch)


def _has_as_many(text: Buffer, decoded: Any, scratch: bytearray) -> bool:
    escapes = (np.frombuffer(text, np.uint8) == _BACKSLASH).any()
    if escapes and _BY_NUMBER.search(text):
        return False
    _encoder.encode_into(decoded, scratch)
    return _count(text) == _count(scratch)


def _count(text: Buffer) -> int:
    """How many members the objects of a text have, and how often a string looks like one.

    The colon of a member stands behind a quotation mark, with nothing but white space between.
    """
    data = np.frombuffer(text, np.uint8)
    before = data[np.flatnonzero(data[1:] == _COLON)]
    found = int(np.count_nonzero(before == _QUOTE))
    if (before <= _SPACE).any():
        found += len(_SPACED_MEMBER.findall(text))
    return found


def _names_in(info: msgspec.inspect.Type) -> Iterator[str]:
    if isinstance(info, msgspec.inspect.StructType):
        for each in info.fields:
            yield each.encode_name
            yield from _names_in(each.type)
    elif isinstance(info, msgspec.inspect.UnionType):
        for one in info.types:
            yield from _names_in(one)
    elif isinstance(info, msgspec.inspect.ListType):
        yield from _names_in(info.item_type)


def _refuse_repeated(members: list[tuple[str, Any]]) -> None:
    if len(dict(members)) == len(members):
        return
    seen: set[str] = set()
    for name, _ in members:
        if name in seen:
            raise _RepeatedError(name)
        seen.add(name)


# What numbers are does not matter, and they may be longer than Python makes integers of.
_SEARCH: Final = json.JSONDecoder(
    object_pairs_hook=_refuse_repeated, parse_int=len, parse_float=len, strict=False
)

__all__ = ["all_counted", "fault_of_members", "may_repeat", "names_in", "repeated_member"]
