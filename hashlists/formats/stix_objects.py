"""Turns objects of a STIX bundle into the columns of a batch.

`stix` says what is taken over and what never is. Nothing here judges a hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

import msgspec

from hashlists.formats.base import FieldNames, FlagColumn, RawBatch
from hashlists.formats.delta_mark import FileMark
from hashlists.formats.hash_rows import HashRows
from hashlists.formats.kind_names import KindNames, unknown_kind
from hashlists.formats.notes import Notes
from hashlists.formats.sharing import intersection
from hashlists.formats.stix_extension import (
    DIGEST_NAMES,
    EXTENSION_ID,
    FLAG_NAMES,
    HANDLING_MARKING_ID,
)
from hashlists.formats.stix_pattern import parse_hash_pattern
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hashlists.formats.base import FileHeader
    from hashlists.formats.chunk import Chunk
    from hashlists.formats.sharing import Recipients
    from hashlists.formats.stix_index import BundleIndex
    from hashlists.model import Place

_FIELDS: Final = {
    kind: f"hashes ({DIGEST_NAMES[kind]})" if kind.is_digest else f"perceptual_hashes ({kind})"
    for kind in HashKind
}
_NAMES = FieldNames(
    key="id",
    source_id="id",
    category="classification",
    size="size",
    media_type="mime_type",
    updated_at="modified",
    verified_count="verified_count",
    handling="object_marking_refs",
)
_KINDS: Final = KindNames({kind.value: kind for kind in HashKind})
#: Of the names of custom algorithms.
_CUSTOM_PREFIXES: Final = ("x_", "x-")
#: Types that are understood without being a file.
_UNDERSTOOD: Final = frozenset({"identity", "marking-definition", "extension-definition"})
_BENIGN: Final = "its source calls it benign"


class ExtensionHash(msgspec.Struct, gc=False):
    """A hash in our extension."""

    algorithm: str | None = None
    value: str | None = None
    derivation: str | None = None


class ExtensionClass(msgspec.Struct, gc=False):
    """A classification in our extension."""

    scheme: str = ""
    profile: str = ""
    code: str | int | None = None


class Extension(msgspec.Struct, gc=False):
    """Our extension; any member may be absent, for later versions and other hands write it too."""

    entry_id: str | None = None
    harm: str | None = None
    perceptual_hashes: list[ExtensionHash] | None = None
    further_digests: list[ExtensionHash] | None = None
    classification: ExtensionClass | None = None
    flags: dict[str, bool | None] | None = None
    verified_count: int | str | None = None
    source_id: str | None = None
    source_updated_at: str | None = None
    originator: str | None = None
    releasable_to: list[str] | None = None
    expires_at: str | None = None
    reason: str | None = None
    since: int | str | None = None
    sender: str | None = None
    upto: int | str | None = None


class Extensions(msgspec.Struct, gc=False, rename={"ours": EXTENSION_ID}):
    """The extensions of an object; only ours is looked at."""

    ours: Extension | None = None


class GranularMarking(msgspec.Struct, gc=False):
    """A marking of a part of an object."""

    marking_ref: str | None = None


class StixObject(msgspec.Struct, gc=False):
    """The members that are taken over; the decoder skips all others, `payload_bin` among them."""

    type: str | None = None
    id: str | None = None
    hashes: dict[str, str | None] | None = None
    extensions: Extensions | None = None
    size: int | float | str | None = None
    mime_type: str | None = None
    pattern: str | None = None
    pattern_type: str | None = None
    revoked: bool | None = None
    valid_until: str | None = None
    modified: str | None = None
    created_by_ref: str | None = None
    object_marking_refs: list[str] | None = None
    granular_markings: list[GranularMarking] | None = None
    labels: list[str] | None = None
    indicator_types: list[str] | None = None


@dataclass(frozen=True, slots=True)
class ClassSource:
    """Where the class stands in objects without our extension.

    Attributes:
        member: `labels`, `indicator_types` or `none`.
        prefix: only what begins with it counts, and without it.
    """

    member: str
    prefix: str

    def code(self, item: StixObject) -> str | None:
        """The class; several are one code that no table knows, so that it means review."""
        words = {"labels": item.labels, "indicator_types": item.indicator_types}.get(self.member)
        found = [word[len(self.prefix) :] for word in words or () if word.startswith(self.prefix)]
        return ";".join(dict.fromkeys(found)) or None


@dataclass(frozen=True, slots=True)
class _Row:
    """An object that says something of an entry.

    Attributes:
        at: where it stands in its chunk.
        withdrawal: why the entry is withdrawn; None where it is listed.
        ours: its extension; None in a bundle from elsewhere.
    """

    at: int
    item: StixObject
    ours: Extension | None
    withdrawal: str | None

    @property
    def key(self) -> str | None:
        """By what the entry goes."""
        return (self.ours and self.ours.entry_id) or self.item.id


def to_batch(
    chunk: Chunk[StixObject], index: BundleIndex, header: FileHeader, classes: ClassSource
) -> RawBatch:
    """The objects of one chunk as a batch."""
    notes = Notes()
    hashes = HashRows(_FIELDS)
    rows: list[_Row] = []
    unmatchable: set[int] = set()
    faults: dict[int, tuple[str, str]] = {}
    for at, item in enumerate(chunk.records):
        if not _counts(item, at, chunk, index, notes):
            continue
        row = _Row(at, item, item.extensions.ours if item.extensions else None, _withdrawal(item))
        if row.withdrawal is None:
            known, unknown = _add_hashes(row, len(rows), hashes, notes)
            if not known and unknown is not None:
                faults[len(rows)] = ("hashes", unknown_kind(unknown))
            elif not known:
                if not row.key:
                    continue
                unmatchable.add(len(rows))
        rows.append(row)

    places, at_row = chunk.place_at, [row.at for row in rows]  # and none of the objects

    def place_at(row: int, /) -> Place:
        return places(at_row[row])

    codes, schemes, profiles = _classifications(rows, classes, header)

    return RawBatch(
        rows=len(rows),
        header=header,
        hashes=hashes.columns(len(rows)),
        place_at=place_at,
        extra_hashes=hashes.extra,
        key_texts=[row.key for row in rows],
        codes=codes,
        schemes=schemes,
        profiles=profiles,
        sizes=[row.item.size for row in rows],
        flags=_flags(rows, notes),
        source_ids=[row.ours.source_id if row.ours else row.item.id for row in rows],
        media_types=[row.item.mime_type for row in rows],
        updated_at=[row.ours.source_updated_at if row.ours else row.item.modified for row in rows],
        verified_counts=[row.ours.verified_count if row.ours else None for row in rows],
        originators=[_originator(row, index) for row in rows],
        releasable_to=[_recipients(row, index) for row in rows],
        expires_at=[(row.ours and row.ours.expires_at) or row.item.valid_until for row in rows],
        retracted=[row.withdrawal is not None for row in rows],
        retraction_reasons=[row.withdrawal for row in rows],
        unmatchable=unmatchable,
        stamped=True,
        unstamped={at for at, row in enumerate(rows) if row.ours},
        for_good={at for at, row in enumerate(rows) if row.item.revoked and not row.ours},
        faults=faults,
        names=_NAMES,
        rejections=chunk.rejections,
        notes=notes,
        harms={row.ours.harm for row in rows if row.ours and row.ours.harm},
    )


def find_marks(chunk: Chunk[StixObject]) -> list[FileMark]:
    """What notes of ours say of the bundle: whose it is, what it shows, whether it is a delta."""
    notes = [each.extensions for each in chunk.records if each.type == "note" and each.extensions]
    marks = [FileMark.of(msgspec.structs.asdict(each.ours)) for each in notes if each.ours]
    return [mark for mark in marks if mark.says_anything]


def _counts(
    item: StixObject, at: int, chunk: Chunk[StixObject], index: BundleIndex, notes: Notes
) -> bool:
    """Whether an object says anything of an entry; where it might seem so, a note says why not."""
    if item.type not in ("file", "artifact", "indicator"):
        is_mark = item.type == "note" and item.extensions and item.extensions.ours
        if item.type not in _UNDERSTOOD and not is_mark:
            notes.add_named("object of another type left aside", item.type)
        return False
    if len(index.superseded) and index.is_superseded(chunk.place_at(at).number):
        notes["older version of an object left aside"] += 1
        return False
    return True


def _withdrawal(item: StixObject) -> str | None:
    """Why an object withdraws the entry that goes by its key; None where it does not."""
    if item.revoked:
        ours = item.extensions.ours if item.extensions else None
        return (ours.reason if ours else None) or ""
    if item.type == "indicator" and "benign" in (item.indicator_types or ()):
        return _BENIGN
    return None


def _add_hashes(row: _Row, number: int, hashes: HashRows, notes: Notes) -> tuple[bool, str | None]:
    """Takes the hashes of a file or indicator.

    Returns:
        Whether it has any of a kind that is taken over, and a name that is not known.
    """
    known, unknown = False, None
    for name, value, derivation in _hashes(row, notes):
        bare = _bare(name)
        kind = _KINDS.kind(bare)
        if kind is None:
            notes.add_named("hash of unknown kind left aside", name)
            unknown = unknown if _KINDS.is_other(bare) else name
        else:
            hashes.add(number, kind, value, derivation)
            known = True
    if not known and unknown is None and row.item.type != "indicator":
        notes["file without a hash of a known kind left aside"] += 1
    return known, unknown


def _hashes(row: _Row, notes: Notes) -> Iterator[tuple[str, str, str | None]]:
    """Name, value and derivation of each hash of an object."""
    if row.item.type == "indicator":
        yield from _pattern_hashes(row.item, notes)
        return
    for name, text in (row.item.hashes or {}).items():
        if text:
            yield name, text, None
    if row.ours is not None:
        for each in chain(row.ours.further_digests or (), row.ours.perceptual_hashes or ()):
            if each.value:
                yield each.algorithm or "", each.value, each.derivation


def _pattern_hashes(item: StixObject, notes: Notes) -> Iterator[tuple[str, str, None]]:
    if item.pattern_type not in (None, "stix"):
        notes.add_named(
            "indicator with a pattern of another language left aside", item.pattern_type
        )
        return
    found = parse_hash_pattern(item.pattern or "")
    if found is None:
        notes["indicator left aside: its pattern is no choice between hashes of a file"] += 1
        return
    for name, text in found:
        yield name, text, None


def _bare(name: str) -> str:
    """A name without the prefix of custom names."""
    return name[2:] if name[:2].lower() in _CUSTOM_PREFIXES else name


def _classifications(
    rows: Sequence[_Row], classes: ClassSource, header: FileHeader
) -> tuple[list[str | int | None], list[str | None], list[str | None]]:
    """Codes, schemes and profiles."""
    codes: list[str | int | None] = []
    schemes: list[str | None] = []
    profiles: list[str | None] = []
    for row in rows:
        said = row.ours.classification if row.ours else None
        if said is not None:
            codes.append(said.code)
        else:
            codes.append(None if row.ours else classes.code(row.item))
        schemes.append(said.scheme if said else header.scheme)
        profiles.append(said.profile if said else header.profile)
    return codes, schemes, profiles


_FLAGS_BY_NAME: Final = {name: flag for flag, name in FLAG_NAMES.items()}


def _flags(rows: Sequence[_Row], notes: Notes) -> list[FlagColumn]:
    columns: dict[str, list[bool | int | str | None]] = {}
    for at, row in enumerate(rows):
        for name, said in ((row.ours and row.ours.flags) or {}).items():
            if name in _FLAGS_BY_NAME:
                columns.setdefault(name, [None] * len(rows))[at] = said
            else:
                notes.add_named("unknown flag left aside", name)
    return [FlagColumn(_FLAGS_BY_NAME[name], said, name) for name, said in columns.items()]


def _originator(row: _Row, index: BundleIndex) -> str | None:
    if row.ours is not None and row.ours.originator is not None:
        return row.ours.originator
    if row.ours is not None or row.item.created_by_ref is None:
        return None
    return index.identities.get(row.item.created_by_ref, row.item.created_by_ref)


def _recipients(row: _Row, index: BundleIndex) -> Recipients:
    """Whom all markings of an object and its extension allow; None where nothing limits them."""
    marks = list(_markings(row.item))
    limit = index.allowed(iter(marks))
    named = row.ours.releasable_to if row.ours else None
    if named is not None:
        return intersection((limit, tuple(named)))
    return () if HANDLING_MARKING_ID in marks else limit


def _markings(item: StixObject) -> Iterable[str]:
    yield from item.object_marking_refs or ()
    for each in item.granular_markings or ():
        if each.marking_ref is not None:
            yield each.marking_ref


__all__ = ["ClassSource", "StixObject", "find_marks", "to_batch"]
