"""The documents that stand beside an index's arrays in a snapshot, to JSON and back.

`lists` and `classifications` are the tables that entry rows point into; `index` states the layout
and, for each segment, its counts and for each kind the metric and the method of search, so that
arrays of another build are noticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashlists.model import Classification, Harm, HashKind, ListState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LISTS = "lists"
CLASSIFICATIONS = "classifications"
INDEX = "index"
#: Raised whenever an older build could misread the arrays.
LAYOUT = 4
#: An earlier one, which is read as well: it does not say which codes were derived.
LAYOUT_WITHOUT_DERIVATIONS = 3
#: The sealed segments of a snapshot: entries at one revision, and those changed after it.
BASE, RECENT = SEGMENTS = ("base", "recent")


@dataclass(frozen=True, slots=True)
class IndexedList:
    """A hash list as the index knows it.

    Attributes:
        entries: how many entries it has.
        counts: for each kind, how many distinct codes they carry; an entry may carry several.
    """

    name: str
    harm: Harm
    state: ListState
    entries: int
    counts: Mapping[HashKind, int]


def lists_to_json(lists: Sequence[IndexedList]) -> list[dict[str, Any]]:
    """The document `lists`."""
    return [
        {
            "name": each.name,
            "harm": each.harm.value,
            "state": each.state.value,
            "entries": int(each.entries),
            "counts": {kind.value: int(count) for kind, count in each.counts.items()},
        }
        for each in lists
    ]


def lists_from_json(document: Any) -> tuple[IndexedList, ...]:
    """Reads the document `lists`.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is not of that form.
    """
    return tuple(
        IndexedList(
            name=_text(each["name"]),
            harm=Harm(each["harm"]),
            state=ListState(each["state"]),
            entries=_count(each["entries"]),
            counts={HashKind(kind): _count(count) for kind, count in each["counts"].items()},
        )
        for each in _rows(document)
    )


def classifications_to_json(rows: Sequence[Classification | None]) -> list[list[str] | None]:
    """The document `classifications`; row 0 is written as null whatever it holds."""
    return [
        None,
        *(None if row is None else [row.scheme, row.profile, row.code] for row in rows[1:]),
    ]


def classifications_from_json(document: Any) -> tuple[Classification | None, ...]:
    """Reads the document `classifications`.

    Raises:
        ValueError, TypeError: it is not of that form.
    """
    rows = _rows(document)
    if not rows or rows[0] is not None:
        raise ValueError("row 0 of the classifications is not none")
    return tuple(None if row is None else _classification(row) for row in rows)


@dataclass(frozen=True, slots=True)
class KindInfo:
    """What the document says of a segment's codes of one kind.

    Attributes:
        codes: how many distinct ones there are.
        search: how they are found: the method and its parameters, as `sealed` chose them.
    """

    codes: int
    search: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What the document says of a segment.

    Attributes:
        entries: how many it has.
        dead: how many of them were superseded or retracted after it was built.
        kinds: by kind; a kind that no entry carries is absent.
        derivations: how codes were made that are not their source's own, row 1 first; None where
            an earlier build did not keep it.
    """

    entries: int
    dead: int
    kinds: Mapping[HashKind, KindInfo]
    derivations: tuple[str, ...] | None


def index_to_json(segments: Mapping[str, SegmentInfo]) -> dict[str, Any]:
    """The document `index`."""
    return {
        "layout": LAYOUT,
        "segments": {
            name: {
                **_plain_segment_to_json(segment),
                "derivations": None if segment.derivations is None else list(segment.derivations),
            }
            for name, segment in segments.items()
        },
    }


def _plain_segment_to_json(segment: SegmentInfo) -> dict[str, Any]:
    """A segment without its derivations, as in the earlier layout."""
    return {
        "entries": int(segment.entries),
        "dead": int(segment.dead),
        "kinds": {
            kind.value: {
                "codes": int(info.codes),
                "distance": _distance(kind),
                "search": dict(info.search),
            }
            for kind, info in segment.kinds.items()
        },
    }


def index_from_json(document: Any) -> dict[str, SegmentInfo]:
    """Reads the document `index`: its segments by name, in the order of `SEGMENTS`.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: it is not of that form, or of the layout of
            another build.
    """
    if document["layout"] not in (LAYOUT, LAYOUT_WITHOUT_DERIVATIONS):
        raise ValueError(
            f"its layout is {document['layout']}, this build reads {LAYOUT} and"
            f" {LAYOUT_WITHOUT_DERIVATIONS}"
        )
    named = document["segments"]
    if document["layout"] == LAYOUT_WITHOUT_DERIVATIONS:
        segments = {name: _segment(named[name], None) for name in SEGMENTS if name in named}
        plain = {name: _plain_segment_to_json(each) for name, each in segments.items()}
        same = document == {"layout": LAYOUT_WITHOUT_DERIVATIONS, "segments": plain}
    else:
        segments = {
            name: _segment(named[name], _derivations(named[name]["derivations"]))
            for name in SEGMENTS
            if name in named
        }
        same = document == index_to_json(segments)
    if BASE not in segments or not same:
        raise ValueError(f"its document {INDEX!r} does not describe segments of this build")
    return segments


def _derivations(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = tuple(_text(each) for each in _rows(value))
    if list(names) != sorted(set(names)) or not all(names):
        raise ValueError("how codes were derived is not told in texts that ascend")
    return names


def _segment(value: Any, derivations: tuple[str, ...] | None) -> SegmentInfo:
    kinds = {
        HashKind(kind): KindInfo(codes=_count(info["codes"]), search=dict(info["search"]))
        for kind, info in value["kinds"].items()
    }
    return SegmentInfo(_count(value["entries"]), _count(value["dead"]), kinds, derivations)


def _distance(kind: HashKind) -> str:
    if kind.is_digest:
        return "equality"
    return "hamming" if kind.is_perceptual_code else "squared_l2"


def _classification(row: Any) -> Classification:
    scheme, profile, code = _rows(row)
    return Classification(_text(scheme), _text(profile), _text(code))


def _rows(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is needed")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is needed")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a count is needed")
    return value


__all__ = [
    "BASE",
    "CLASSIFICATIONS",
    "INDEX",
    "LAYOUT",
    "LISTS",
    "RECENT",
    "SEGMENTS",
    "IndexedList",
    "KindInfo",
    "SegmentInfo",
    "classifications_from_json",
    "classifications_to_json",
    "index_from_json",
    "index_to_json",
    "lists_from_json",
    "lists_to_json",
]
