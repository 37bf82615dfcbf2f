"""Words for people that go with a number: "1 entry is", "2,000 entries are"."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """The number, in groups of three digits, and what it counts, e.g. "1 entry", "2,000 files".

    Args:
        number: how many.
        one: a noun, with the verb behind it where there is one: "file", "entry is".
        many: the same of several; with an "s" behind it where none is given.
    """
    return f"{number:,} {one_or_many(number, one, many or f'{one}s')}"


def one_or_many(number: int, one: str, many: str) -> str:
    """The word that goes with the number, e.g. "was" or "were"."""
    return one if number == 1 else many


__all__ = ["counted", "one_or_many"]
