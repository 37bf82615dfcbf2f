"""What kind of hash a source means by a name, in whatever spelling.

Invariants: a kind that a list can hold is known by its name in any case, with or without `-`, `_`
and spaces. A source stands by a hash no longer only where it names another kind that is known and
that no list can hold. Any other name says nothing of what the record stands for: it may be one of
ours that is merely spelled in another way, so such a record is rejected, and nothing is withdrawn.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from hashlists.formats.notes import is_printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hashlists.model import HashKind

#: Hashes of files, in their plain spelling, that several sources know and no list can hold.
OTHER_HASHES: Final = (
    "md2 md4 md6 sha224 sha384 sha512 sha512/224 sha512/256 sha3224 sha3256 sha3384 sha3512"
    " ripemd160 whirlpool crc32 blake2b blake2s blake3 ssdeep tlsh sdhash imphash vhash"
    " tmk tmkpdqf tmk+pdqf vpdq videntifier netclean ssvh ssvhpdna ssvhsaferhash tmksaferhash"
    " imagemark lace zz40"
)
_NOISE = str.maketrans("", "", "-_ ")


@lru_cache(maxsize=512)
def plain(name: str) -> str:
    """A name without what spellings differ in."""
    return name.strip().lower().translate(_NOISE)


class KindNames:
    """The names by which one format calls kinds of hashes.

    Args:
        own: kinds that are taken over, by any spelling of their names.
        others: what else it names that no list can hold, beside `OTHER_HASHES`.
    """

    def __init__(self, own: Mapping[str, HashKind], others: Iterable[str] = ()) -> None:
        self._own = {plain(name): kind for name, kind in own.items()}
        names = map(plain, [*OTHER_HASHES.split(), *others])
        self._others = frozenset(names).difference(self._own)

    def kind(self, name: str | None) -> HashKind | None:
        """The kind that is taken over; None for any other name."""
        return self._own.get(plain(name or ""))

    def is_other(self, name: str | None) -> bool:
        """Whether it is known to name something that no list can hold."""
        return plain(name or "") in self._others


def unknown_kind(name: str | None) -> str:
    """Why a record is rejected whose kind of hash has no known name."""
    shown = f" {name}" if is_printable(name) else ""
    return (
        f"the kind{shown} is not known here, so of its entry nothing is taken over and nothing is"
        " withdrawn"
    )


__all__ = ["OTHER_HASHES", "KindNames", "plain", "unknown_kind"]
