"""Names of views as policies and callers write them, and how many lookups they cost.

`upright` is always hashed; the other names add to it.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from matcher.errors import UnknownViewError
from matcher.model import ALL_VIEWS, DEFAULT_VIEWS, View, ViewSelection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT = "default"
ALL = "all"

#: Families of views, as rules name them.
VIEW_FAMILIES: tuple[str, ...] = ("upright", "stored", "composited", "frame", "trimmed", "mirrored")

_UPRIGHT_ONLY = ViewSelection(stored=False, composited=False)
_SELECTIONS: Mapping[str, ViewSelection] = {
    DEFAULT: DEFAULT_VIEWS,
    ALL: ALL_VIEWS,
    View.UPRIGHT: _UPRIGHT_ONLY,
    View.STORED: replace(_UPRIGHT_ONLY, stored=True),
    View.COMPOSITED_WHITE: replace(_UPRIGHT_ONLY, composited=True),
    View.COMPOSITED_BLACK: replace(_UPRIGHT_ONLY, composited_black=True),
    "frame": replace(_UPRIGHT_ONLY, frames=ALL_VIEWS.frames),
    View.TRIMMED: replace(_UPRIGHT_ONLY, trimmed=True),
    "mirrored": replace(_UPRIGHT_ONLY, mirrored=True),
}
#: Every name that `view_selection` knows.
VIEW_NAMES: tuple[str, ...] = tuple(_SELECTIONS)


def view_selection(names: Sequence[str]) -> ViewSelection:
    """What a list of names asks for, together.

    Args:
        names: any of `VIEW_NAMES`; none stands for `"default"`.

    Raises:
        UnknownViewError: a name is unknown.
    """
    unknown = sorted(set(names) - set(VIEW_NAMES))
    if unknown:
        raise UnknownViewError(f"unknown view {unknown[0]!r}; there are: {', '.join(VIEW_NAMES)}")
    chosen = [_SELECTIONS[name] for name in names or (DEFAULT,)]
    return ViewSelection(
        **{
            each.name: max(getattr(view, each.name) for view in chosen)
            for each in fields(ViewSelection)
        }
    )


def view_names(selection: ViewSelection) -> tuple[str, ...]:
    """The shortest list of names whose `view_selection` is `selection`."""
    for name in (DEFAULT, ALL):
        if selection == _SELECTIONS[name]:
            return (name,)
    single = VIEW_NAMES[2:]
    return tuple(name for name in single if _includes(selection, _SELECTIONS[name]))


def _includes(selection: ViewSelection, part: ViewSelection) -> bool:
    return all(getattr(selection, each.name) >= getattr(part, each.name) for each in fields(part))


def views_by_family(selection: ViewSelection) -> Mapping[str, int]:
    """The most views of each family that one upload can have; families without any left out."""
    counts = {
        "upright": 1,
        "stored": int(selection.stored),
        "composited": int(selection.composited) + int(selection.composited_black),
        "frame": selection.frames,
        "trimmed": int(selection.trimmed),
        "mirrored": len(View.MIRRORED) if selection.mirrored else 0,
    }
    return {family: count for family, count in counts.items() if count}


__all__ = [
    "ALL",
    "DEFAULT",
    "VIEW_FAMILIES",
    "VIEW_NAMES",
    "view_names",
    "view_selection",
    "views_by_family",
]
