"""To whom an entry may be released by the words of the Traffic Light Protocol (TLP 1.0 and 2.0).

TLP names circles of readers, an entry's handling names recipients; only the operator knows who
belongs to which circle. So a word allows nobody unless an option says who is meant, and `clear`
alone sets no limit of its own: the list's handling holds. `red` and `amber+strict` allow nobody
whatever the options say, and so does any word that is not known here. Where several words mark
one entry, only those are left whom all of them allow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Options of the readers that use this; each takes names between commas.
SHARING_OPTIONS: Final = ("tlp.amber", "tlp.clear", "tlp.green")
_SYNONYMS: Final = {"white": "clear"}

#: Recipients, or None where nothing limits them.
Recipients = tuple[str, ...] | None


class Sharing:
    """What the words allow.

    Args:
        options: of the reader; those of `SHARING_OPTIONS` are looked at.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        self._allowed: dict[str, Recipients] = {"clear": None}
        for name in SHARING_OPTIONS:
            if name in options:
                word = name.removeprefix("tlp.")
                self._allowed[word] = split_names(options[name])

    def allowed(self, word: str) -> Recipients:
        """Whom one word allows, in either case, with or without `tlp:` before it."""
        plain = word.strip().lower().removeprefix("tlp:")
        return self._allowed.get(_SYNONYMS.get(plain, plain), ())


def split_names(text: str) -> tuple[str, ...]:
    """Names between commas; spaces around them do not count, and empty ones are none."""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def intersection(limits: Iterable[Recipients]) -> Recipients:
    """Whom all of the limits allow; None where none of them limits anything."""
    left: Recipients = None
    for limit in limits:
        if limit is not None:
            left = limit if left is None else tuple(name for name in left if name in limit)
    return left


__all__ = ["SHARING_OPTIONS", "Recipients", "Sharing", "intersection", "split_names"]
