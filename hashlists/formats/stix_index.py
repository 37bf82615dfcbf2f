"""What must be known of a STIX bundle before its first object can be understood.

Objects refer to identities and marking definitions that may stand anywhere in the bundle, and an
object may stand in it in several versions, of which the newest counts. So a bundle is read twice,
and this is the first reading: it keeps names of identities, words of markings and the record
numbers of superseded versions.

Memory: 8 bytes for each object with versions (a hash of its id), whose count is limited. Only where
two of these are equal is the bundle read once more, for the ids in question, now whole, so that
two objects are never taken for versions of one.

Of two versions the one with the later `modified` counts, and of equal ones the later in the file.
One without a readable time is older than any other.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hashlists.errors import FormatError
from hashlists.formats.sharing import intersection
from hashlists.formats.stix_extension import HANDLING_MARKING_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hashlists.formats.chunk import Chunk
    from hashlists.formats.json_stream import JsonArrayStream
    from hashlists.formats.sharing import Recipients, Sharing
    from hashlists.limits import ImportLimits

#: Types whose versions matter here.
_VERSIONED: Final = frozenset({"artifact", "file", "indicator"})
#: Classes of identities that are no persons; where none is told, it may be one.
_ORGANISATIONS: Final = frozenset({"class", "group", "organization", "system"})
_TLP_2: Final = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"
#: Markings that the standard and its common objects fix; a bundle cannot give them another meaning.
_TLP_IDS: Final = {
    "marking-definition--613f2e26-407d-48c7-9eca-b8e91df99dc9": "white",
    "marking-definition--34098fce-860f-48ae-8e50-ebd3cc5e41da": "green",
    "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82": "amber",
    "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed": "red",
    "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487": "clear",
    "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb": "green",
    "marking-definition--55d920b0-5e8b-4f79-9ee9-91f868d9b421": "amber",
    "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003": "amber+strict",
    "marking-definition--e828b379-4e03-4974-9ac4-e53a884c97c1": "red",
}


class Head(msgspec.Struct, gc=False):
    """The members that the first reading needs; what may have any type is decoded where used."""

    type: str | None = None
    id: str | None = None
    modified: str | None = None
    name: msgspec.Raw = msgspec.Raw(b"null")
    identity_class: msgspec.Raw = msgspec.Raw(b"null")
    definition: msgspec.Raw = msgspec.Raw(b"null")
    extensions: msgspec.Raw = msgspec.Raw(b"null")


class _Tlp1(msgspec.Struct):
    tlp: str | None = None


class _Tlp2(msgspec.Struct):
    tlp_2_0: str | None = None


class _MarkingExtensions(msgspec.Struct, rename={"tlp": _TLP_2}):
    tlp: _Tlp2 | None = None


_decode_text = msgspec.json.Decoder(str | None).decode
_decode_tlp_1 = msgspec.json.Decoder(_Tlp1 | None).decode
_decode_tlp_2 = msgspec.json.Decoder(_MarkingExtensions | None).decode


@dataclass(slots=True)
class BundleIndex:
    """What the first reading found.

    Attributes:
        identities: names of organisations and the like by id; whoever may be a person is left out.
        markings: whom each marking allows; None where it sets no limit.
        superseded: numbers of the records that are older versions of others, ascending.
    """

    identities: dict[str, str] = field(default_factory=dict, repr=False)
    markings: dict[str, Recipients] = field(default_factory=dict)
    superseded: np.ndarray[tuple[int], np.dtype[np.int64]] = field(
        default_factory=lambda: np.empty(0, np.int64)
    )

    def allowed(self, marking_ids: Iterator[str]) -> Recipients:
        """Whom all of the markings allow; one that is not known allows nobody."""
        return intersection(self.markings.get(each, ()) for each in marking_ids)

    def is_superseded(self, number: int) -> bool:
        """Whether a record is an older version of another."""
        at = int(np.searchsorted(self.superseded, number))
        return at < len(self.superseded) and int(self.superseded[at]) == number


def read_index(
    open_heads: Callable[[], JsonArrayStream[Head]], sharing: Sharing, limits: ImportLimits
) -> tuple[BundleIndex, Mapping[str, object]]:
    """Reads a bundle through, and where versions may be among its objects once more.

    Args:
        open_heads: opens the bundle from its start.
        sharing: whom the words of markings allow.
        limits: ceilings of the import.

    Returns:
        The index, and the members beside the array of objects.

    Raises:
        FormatError: the bundle is not whole, or has more versions than the limits allow.
    """
    index = BundleIndex(markings={each: sharing.allowed(word) for each, word in _TLP_IDS.items()})
    index.markings[HANDLING_MARKING_ID] = None  # the object's own extension says it
    fixed = frozenset(index.markings)
    hashes = array("q")
    heads = open_heads()
    for chunk in heads.chunks():
        for head in chunk.records:
            if head.type in _VERSIONED:
                if head.modified is not None and head.id is not None:
                    hashes.append(hash(head.id))
            elif head.type == "identity":
                _take_identity(head, index, limits)
            elif head.type == "marking-definition" and head.id not in fixed:
                _take_marking(head, index, sharing, limits)
        if len(hashes) > limits.max_versioned_objects:
            raise FormatError(
                f"the bundle has more than {limits.max_versioned_objects} objects with versions"
                " (max_versioned_objects); split it, so that versions of one object stay together"
            )
    repeated = _repeated(hashes, limits)
    if repeated:
        index.superseded = _find_superseded(open_heads().chunks(), repeated)
    return index, heads.members


def _take_identity(head: Head, index: BundleIndex, limits: ImportLimits) -> None:
    """Remembers a name that is no person's, as far as the class of the identity tells."""
    name, kind = _text(head.name), _text(head.identity_class)
    known = head.id in index.identities
    if (
        head.id
        and name
        and kind in _ORGANISATIONS
        and (known or len(index.identities) < limits.max_references)
    ):
        index.identities[head.id] = name


def _take_marking(head: Head, index: BundleIndex, sharing: Sharing, limits: ImportLimits) -> None:
    """Remembers whom a marking allows; where it is defined twice, both must allow it."""
    if head.id is None or len(index.markings) >= limits.max_references:
        return
    word = _tlp_word(head)
    allowed = () if word is None else sharing.allowed(word)
    if head.id in index.markings:
        allowed = intersection((allowed, index.markings[head.id]))
    index.markings[head.id] = allowed


def _tlp_word(head: Head) -> str | None:
    try:
        extensions = _decode_tlp_2(head.extensions)
        if extensions is not None and extensions.tlp is not None:
            return str(extensions.tlp.tlp_2_0)
        definition = _decode_tlp_1(head.definition)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    word: str | None = None if definition is None else definition.tlp
    return word


def _text(raw: msgspec.Raw) -> str | None:
    try:
        text: str | None = _decode_text(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return text


def _repeated(hashes: array[int], limits: ImportLimits) -> frozenset[int]:
    """The values that stand in the array more than once; sorts it."""
    if len(hashes) < 2:  # noqa: PLR2004  # one alone cannot be equal to another
        return frozenset()
    values = np.frombuffer(hashes, np.int64)
    values.sort()
    found = np.unique(values[1:][values[1:] == values[:-1]])
    if len(found) > limits.max_repeated_objects:
        raise FormatError(
            f"more than {limits.max_repeated_objects} objects stand in the bundle in several"
            " versions (max_repeated_objects); let the source export the newest ones alone"
        )
    return frozenset(found.tolist())


def _find_superseded(
    chunks: Iterator[Chunk[Head]], repeated: frozenset[int]
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    newest: dict[str, tuple[float, int]] = {}
    superseded = array("q")
    for chunk in chunks:
        for row, head in enumerate(chunk.records):
            if head.id is None or head.type not in _VERSIONED or hash(head.id) not in repeated:
                continue
            version = (_seconds(head.modified), chunk.place_at(row).number)
            best = newest.get(head.id)
            if best is not None:
                superseded.append(min(best, version)[1])
            newest[head.id] = version if best is None else max(best, version)
    return np.sort(np.array(superseded, np.int64))


def _seconds(modified: str | None) -> float:
    """A time as seconds; minus infinity where there is none that can be read."""
    try:
        time = datetime.fromisoformat(modified or "")
    except ValueError:
        return float("-inf")
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


__all__ = ["BundleIndex", "Head", "read_index"]
