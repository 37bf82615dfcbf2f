"""Names of what the file of an export does not hold: the same in every format.

What is lost of entries is named as the table in docs/formats.md names the field, hashes by their
kind. Beside that there are the few names below that are about no field.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hashlists.model import AS_ITS_LIST, EntryFlag

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Mapping, Sequence

    from hashlists.model import ExtraHash, Handling

KEY: Final = "key"
FURTHER: Final = "further hashes"
DERIVED: Final = "derived hashes"
SIZE: Final = "size"
MEDIA_TYPE: Final = "media type"
CLASSIFICATION: Final = "classification"
VERIFIED_COUNT: Final = "verified count"
SOURCE_ID: Final = "source id"
UPDATED_AT: Final = "updated at"
ORIGINATOR: Final = "originator"
RELEASABLE_TO: Final = "releasable to"
EXPIRES_AT: Final = "expires at"
#: Of each flag.
FLAGS: Final[Mapping[EntryFlag, str]] = {
    flag: (flag.name or "").lower().replace("_", " ") for flag in EntryFlag
}
#: Told of nobody, since the format has no word for it.
WITHDRAWALS: Final = "withdrawals"

# About no field:

#: In force, and not in the file at all.
NO_HASH: Final = "entries without a hash that the format needs"
SHARED_KEY: Final = "another entry under the same key, of which a reader may keep but one"
REASONS: Final = "reasons of withdrawals"
NOT_ASKED_FOR: Final = "derived hashes, which were not asked for"
PRECATEGORIZED_ASSUMED: Final = "precategorized not said, written as false"


def count_flags(losses: Counter[str], known: int, written: int = 0) -> None:
    """Counts what is said of an entry in flags, as plain integers, that are not those written."""
    for name in _flag_names(known & ~written):
        losses[name] += 1


@lru_cache(maxsize=256)
def _flag_names(flags: int) -> tuple[str, ...]:
    return tuple(name for flag, name in FLAGS.items() if flags & flag)


def count_handling(losses: Counter[str], handling: Handling, *, originator: bool = False) -> None:
    """Counts what a handling says, but for the originator where that is written."""
    if handling.originator and not originator:
        losses[ORIGINATOR] += 1
    if handling.releasable_to and handling.releasable_to != AS_ITS_LIST:
        losses[RELEASABLE_TO] += 1
    if handling.expires_at is not None:
        losses[EXPIRES_AT] += 1


def count_further(losses: Counter[str], extra: Sequence[ExtraHash]) -> None:
    """Counts further hashes of one entry, none of which are written."""
    if extra:
        losses.update({FURTHER if each.derivation is None else DERIVED for each in extra})


__all__ = [
    "CLASSIFICATION",
    "DERIVED",
    "EXPIRES_AT",
    "FLAGS",
    "FURTHER",
    "KEY",
    "MEDIA_TYPE",
    "NOT_ASKED_FOR",
    "NO_HASH",
    "ORIGINATOR",
    "PRECATEGORIZED_ASSUMED",
    "REASONS",
    "RELEASABLE_TO",
    "SHARED_KEY",
    "SIZE",
    "SOURCE_ID",
    "UPDATED_AT",
    "VERIFIED_COUNT",
    "WITHDRAWALS",
    "count_flags",
    "count_further",
    "count_handling",
]
