"""Writes entries as a STIX 2.1 bundle.

An entry in force is a `file` with its digests and our extension (`stix_extension`); one that was
withdrawn is a revoked `indicator` with the same `entry_id`, since a file cannot be revoked. Its
pattern is a file of that `entry_id`, so that it shows nothing of what it withdraws. A file must
have a hash in `hashes`: an entry without a digest shows its first code there, too, under a custom
name such as `x_pdq`. The bundle brings along who made it, the definition of the extension and the
marking that says who may receive what, and a `note` that says which revision of its lists it shows,
and of a delta from which it starts.
`payload_bin` is never written, nor any name.

Ids: a file's is the UUIDv5 that the standard prescribes for observables, made of one digest and the
extension, so it changes with them; `entry_id` does not: it is made of the entry's key, its list and
its catalog, so that lists of one name, and keys that are one hash, never meet where bundles of
several catalogs go into one list. All other ids have the shape of version 4, which the standard
asks for, and are cut from digests of what they name, so that the same entries give the same bytes.
The bundle's own id stands at its end, made of all that stands before it.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from uuid import UUID, uuid5

import msgspec

from hashlists.errors import OptionsError
from hashlists.formats.base import NO_ORIGIN, FileOrigin
from hashlists.formats.delta_mark import SENDER, SINCE, UPTO
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.stix_extension import (
    DEFINITION,
    DIGEST_NAMES,
    EXTENSION_ID,
    FLAG_NAMES,
    HANDLING_MARKING,
    HANDLING_MARKING_ID,
    HASHWARDEN,
    HASHWARDEN_ID,
    PUBLISHED,
)
from hashlists.model import EntryFlag, HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.model import EntryBatch, ExportBatch, ExtraHash

#: Of identifiers of observables, as section 2.9 of STIX 2.1 fixes it.
_OBSERVABLES: Final = UUID("00abedb4-aa42-466c-9c01-fed23315a9b7")
#: Of all other identifiers made here.
_OURS: Final = b"hashwarden stix 2.1"
_OPTIONS: Final = ("created", "producer")
#: A whole number above this is not exact in JSON's canonical form.
_EXACT: Final = 2**53
_PROPERTIES: Final = {"extension_type": "property-extension"}
_encode = msgspec.json.encode


class StixWriter:
    """Writes one bundle (see `base.ListWriter`); nothing that an entry says is lost.

    Options:
        producer: who makes the bundle; `Hashwarden` where nobody is named.
        created: when, in RFC 3339; it stands on what is withdrawn, and a consumer that has an
            object already takes a later one only. The day of the extension where nothing is said.

    Raises:
        OptionsError: an option is unknown, or is no such value.
    """

    def __init__(
        self, stream: BinaryIO, options: Mapping[str, str], origin: FileOrigin = NO_ORIGIN
    ) -> None:
        refuse_unknown_options(options, _OPTIONS, "stix")
        self._stream = stream
        self._origin = origin
        self._created = _time(options["created"]) if "created" in options else PUBLISHED
        self._digest = hashlib.sha256()
        self._put(b'{"type":"bundle","objects":[\n')
        self._put(_encode(HASHWARDEN))
        self._producer_id = self._put_producer(options.get("producer", ""))
        self._put_object(DEFINITION)
        self._put_object(HANDLING_MARKING)
        if origin.since or origin.sender:
            self._put_object(self._mark())

    @property
    def losses(self) -> Mapping[str, int]:
        """Always empty: the extension carries what STIX has no word for."""
        return {}

    @property
    def left_out(self) -> int:
        """Every entry can be written."""
        return 0

    def write(self, batch: ExportBatch) -> None:
        """Writes one object for each entry."""
        extra = _by_row(batch.entries.extra_hashes)
        for row, gone in enumerate(batch.retracted):
            entry_id = self._entry_id(batch.list_names[row], batch.entries.keys[row])
            if gone:
                self._put_object(self._withdrawal(batch, row, entry_id))
            else:
                identity = self._identity(entry_id)
                self._put_object(_file(batch.entries, row, identity, extra.get(row, ())))

    def finish(self) -> None:
        """Writes the end of the array, and the bundle's id."""
        self._put(b"\n]")
        bundle_id = f"bundle--{_shaped(self._digest.digest())}"
        self._stream.write(b',"id":' + _encode(bundle_id) + b"}\n")

    def _put(self, data: bytes) -> None:
        self._digest.update(data)
        self._stream.write(data)

    def _put_object(self, item: Mapping[str, Any]) -> None:
        self._put(b",\n" + _encode(item))

    def _put_producer(self, name: str) -> str:
        if not name or name == HASHWARDEN["name"]:
            return HASHWARDEN_ID
        producer_id = f"identity--{_made_id('producer', name.encode())}"
        self._put_object(
            {**HASHWARDEN, "id": producer_id, "name": name, "identity_class": "organization"}
        )
        return producer_id

    def _withdrawal(self, batch: ExportBatch, row: int, entry_id: str) -> dict[str, Any]:
        """A revoked indicator; what the entry said of its file has no force any longer."""
        extension = self._identity(entry_id)
        reason = batch.reasons[row]
        if reason:
            extension["reason"] = reason
        indicator_id = f"indicator--{_made_id('withdrawal', self._producer_id, entry_id)}"
        return {
            "type": "indicator",
            "spec_version": "2.1",
            "id": indicator_id,
            "created_by_ref": self._producer_id,
            "created": self._created,
            "modified": self._created,
            "revoked": True,
            "name": "Withdrawn entry",
            "description": "An entry of a hash list that must no longer be used.",
            "indicator_types": ["unknown"],
            "pattern": f"[file:extensions.'{EXTENSION_ID}'.entry_id = '{entry_id}']",
            "pattern_type": "stix",
            "pattern_version": "2.1",
            "valid_from": self._created,
            "object_marking_refs": [HANDLING_MARKING_ID],
            "extensions": {EXTENSION_ID: extension},
        }

    def _mark(self) -> dict[str, Any]:
        """A note on the bundle's producer, since a bundle has no properties to add to."""
        origin = self._origin
        said: dict[str, Any] = {}
        told = []
        if origin.sender:
            said |= {SENDER: origin.sender, UPTO: origin.upto}
            told.append(f"shows revision {origin.upto} of its lists")
        if origin.since:
            said[SINCE] = origin.since
            told.append(f"holds only what changed after revision {origin.since}")
        parts = (origin.catalog_id, origin.sender, str(origin.upto), str(origin.since))
        return {
            "type": "note",
            "spec_version": "2.1",
            "id": f"note--{_made_id('mark', *parts)}",
            "created_by_ref": self._producer_id,
            "created": self._created,
            "modified": self._created,
            "abstract": "Not a whole list" if origin.since else "Which revision this is",
            "content": f"This bundle {' and '.join(told)}.",
            "object_refs": [self._producer_id],
            "extensions": {EXTENSION_ID: {**_PROPERTIES, **said}},
        }

    def _entry_id(self, list_name: str, key: bytes) -> str:
        """Stays the same as long as the entry keeps its key, its list and its catalog.

        Whoever makes the bundle may be named otherwise in the next one, so that does not count.
        """
        return _made_id("entry", self._origin.catalog_id, list_name, key)

    def _identity(self, entry_id: str) -> dict[str, Any]:
        """What an entry's extension begins with: which it is, and what its list is about."""
        harm = {"harm": self._origin.harm.value} if self._origin.harm else {}
        return {**_PROPERTIES, "entry_id": entry_id, **harm}


def _file(
    entries: EntryBatch, row: int, identity: Mapping[str, Any], extra: tuple[ExtraHash, ...]
) -> dict[str, Any]:
    hashes = _hashes(entries, row)
    extension = {**identity, **_facts(entries, row, extra)}
    item: dict[str, Any] = {
        "type": "file",
        "spec_version": "2.1",
        "id": _file_id(hashes, extension),
        "hashes": hashes,
        "object_marking_refs": [HANDLING_MARKING_ID],
        "extensions": {EXTENSION_ID: extension},
    }
    if entries.sizes[row] is not None:
        item["size"] = entries.sizes[row]
    if entries.media_types[row] is not None:
        item["mime_type"] = entries.media_types[row]
    return item


def _hashes(entries: EntryBatch, row: int) -> dict[str, str]:
    """The digests by their standard names, or one perceptual hash where there is none."""
    digests = {
        name: value.hex()
        for kind, name in DIGEST_NAMES.items()
        if (value := _value(entries, kind, row)) is not None
    }
    if digests:
        return digests
    kind = next(kind for kind in HashKind if _value(entries, kind, row) is not None)
    value = _value(entries, kind, row)
    assert value is not None
    return {f"x_{kind}": _text(kind, value)}


def _value(entries: EntryBatch, kind: HashKind, row: int) -> bytes | None:
    column = entries.hashes.get(kind)
    return None if column is None else column[row]


def _text(kind: HashKind, value: bytes) -> str:
    return base64.b64encode(value).decode() if kind is HashKind.PHOTODNA else value.hex()


def _facts(entries: EntryBatch, row: int, extra: tuple[ExtraHash, ...]) -> dict[str, Any]:
    """All that an entry says and a file object has no member for; what is not said is absent."""
    perceptual = [
        {"algorithm": kind.value, "value": _text(kind, value)}
        for kind in HashKind
        if not kind.is_digest and (value := _value(entries, kind, row)) is not None
    ]
    perceptual += [_further(each) for each in extra if not each.kind.is_digest]
    classification = entries.classifications[row]
    handling = entries.handlings[row]
    flags, known = entries.flags[row], entries.flags_known[row]
    said: dict[str, Any] = {
        "perceptual_hashes": perceptual,
        "further_digests": [_further(each) for each in extra if each.kind.is_digest],
        "classification": classification
        and {
            "scheme": classification.scheme,
            "profile": classification.profile,
            "code": classification.code,
        },
        "flags": {FLAG_NAMES[flag]: bool(flags & flag) for flag in EntryFlag if known & flag},
        "source_id": entries.source_ids[row],
        "source_updated_at": entries.source_updated_at[row],
        "originator": handling.originator,
        "releasable_to": list(handling.releasable_to),
        "expires_at": handling.expires_at and _instant(handling.expires_at),
    }
    facts = {name: value for name, value in said.items() if value}
    if entries.verified_counts[row] is not None:
        facts["verified_count"] = entries.verified_counts[row]
    return facts


def _further(each: ExtraHash) -> dict[str, str]:
    item = {"algorithm": each.kind.value, "value": _text(each.kind, each.value)}
    return item if each.derivation is None else {**item, "derivation": each.derivation}


def _file_id(hashes: Mapping[str, str], extension: Mapping[str, Any]) -> str:
    """UUIDv5 over the canonical JSON (RFC 8785) of one hash and the extensions.

    Of the hashes the first of MD5, SHA-1 and SHA-256 counts, as the standard says. Member names are
    ASCII, so that sorting them by bytes is the canonical order.
    """
    name = next(iter(hashes))
    count = extension.get("verified_count", 0)
    if count > _EXACT:
        digits = format(Decimal(repr(float(count))), "f").removesuffix(".0")
        extension = {**extension, "verified_count": msgspec.Raw(digits.encode())}
    contributing = {"extensions": {EXTENSION_ID: extension}, "hashes": {name: hashes[name]}}
    canonical = _encode(contributing, order="sorted").decode()
    return f"file--{uuid5(_OBSERVABLES, canonical)}"


def _made_id(*parts: str | bytes) -> str:
    """An id that looks random, and is the same for the same parts."""
    return _shaped(hashlib.sha256(msgspec.msgpack.encode([_OURS, *parts])).digest())


def _shaped(digest: bytes) -> str:
    return str(UUID(bytes=digest[:16], version=4))


def _time(text: str) -> str:
    """The option as the standard writes times: UTC, milliseconds."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise OptionsError("created is no time of RFC 3339 with a zone, e.g. 2026-11-22T12:00:00Z")
    utc = time.astimezone(UTC)
    return utc.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _instant(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _by_row(extra: Sequence[ExtraHash]) -> dict[int, tuple[ExtraHash, ...]]:
    found: dict[int, tuple[ExtraHash, ...]] = {}
    for each in extra:
        found[each.row] = (*found.get(each.row, ()), each)
    return found


__all__ = ["StixWriter"]
