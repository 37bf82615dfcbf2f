"""Members of VICS records whose names are written in another case than the model's, e.g. `md5`.

JSON tells names apart by case, so such a member is another one, and is not read: a hash or a class
would be lost without a word. Which those are is told here; no value goes on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashlists.formats.vics_records import AlternativeHash, Media

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.json_members import Buffer

_ALTERNATIVES: Final = "AlternativeHashes"
_OF_RECORD: Final = {each.lower(): each for each in Media.__struct_fields__}
_OF_ALTERNATIVE: Final = {each.lower(): each for each in AlternativeHash.__struct_fields__}
_KNOWN: Final = frozenset((*_OF_RECORD.values(), *_OF_ALTERNATIVE.values()))
_LOWERED: Final = frozenset((*_OF_RECORD, *_OF_ALTERNATIVE))
_NAME = re.compile(rb'"([A-Za-z0-9]{3,17})"[ \t\n\r]*:')
_decode = msgspec.json.Decoder(list[Any]).decode


def names_in_other_case(text: Buffer) -> Mapping[int, Sequence[str]]:
    """The model's names of members that records have in another case, by the records' rows.

    A record that has the member under the model's name, too, has lost nothing.

    Args:
        text: a JSON array of records that a decoder has taken.
    """
    written = {name.decode() for name in set(_NAME.findall(text))} - _KNOWN
    if not any(name.lower() in _LOWERED for name in written):
        return {}
    try:
        records = _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    found = ((row, sorted(set(_odd_names(record)))) for row, record in enumerate(records))
    return {row: names for row, names in found if names}


def _odd_names(record: Any) -> Iterator[str]:
    if not isinstance(record, dict):
        return
    yield from _in_other_case(record, _OF_RECORD)
    for item in record.get(_ALTERNATIVES) or ():
        if isinstance(item, dict):
            yield from _in_other_case(item, _OF_ALTERNATIVE)


def _in_other_case(members: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[str]:
    for written, value in members.items():
        name = names.get(written.lower(), written)
        if name not in members and value not in (None, ""):
            yield name


__all__ = ["names_in_other_case"]
