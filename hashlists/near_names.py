"""What was probably meant by a name that is unknown: an option, a format, a list, an exchange."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


def did_you_mean(name: str, known: Collection[str]) -> str:
    """What stands between an unknown name and the list of those there are: the nearest, if any."""
    nearest = nearest_name(name, known)
    return f"; did you mean {nearest}? " if nearest else "; "


def nearest_name(name: str, known: Collection[str]) -> str:
    """The known name that was probably meant; empty where none is near.

    Within a table, as in `columns.md5`, what it is called there counts. What stands in the wrong
    table, `columns.delimiter`, is meant by itself.
    """
    table, dot, own = name.partition(".")
    if dot and own in known:
        return own
    beside = {
        each.removeprefix(table + dot): each for each in known if each.startswith(table + dot)
    }
    if dot and beside:
        near = difflib.get_close_matches(own, beside, n=1)
        return beside[near[0]] if near else ""
    return next(iter(difflib.get_close_matches(name, known, n=1)), "")


__all__ = ["did_you_mean", "nearest_name"]
