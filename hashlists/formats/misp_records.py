"""Turns attributes and objects of MISP events into the columns of a batch.

`misp` says what is taken over and what never is. Nothing here judges a hash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from hashlists.formats.base import FieldNames, FileHeader, RawBatch
from hashlists.formats.hash_rows import HashRows
from hashlists.formats.kind_names import KindNames, unknown_kind
from hashlists.formats.notes import Notes
from hashlists.formats.sharing import Recipients, Sharing, intersection
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from hashlists.formats.chunk import Chunk

#: Our template of an object, published in docs/misp.
TEMPLATE: Final = "hashwarden-image"
#: Relations of our template beside the digests, which are typed as in every other.
PERCEPTUAL_RELATIONS: Final = {kind.value: kind for kind in HashKind if not kind.is_digest}
CLASS_RELATIONS: Final = (
    "classification-scheme",
    "classification-profile",
    "classification-code",
)
_DIGEST_TYPES: Final = {kind.value: kind for kind in HashKind if kind.is_digest}
#: Types by which an attribute is known to be no hash that a list can hold; new ones come up yearly.
_OTHER_TYPES: Final = (
    "sha3-224 sha3-256 sha3-384 sha3-512 authentihash cdhash git-commit-id hassh-md5"
    " hasshserver-md5 impfuzzy ja3-fingerprint-md5 jarm-fingerprint pehash telfhash"
    " x509-fingerprint-md5 x509-fingerprint-sha1 x509-fingerprint-sha256 attachment boolean bytes"
    " campaign-name comment counter datetime domain domain|ip email email-attachment email-body"
    " email-dst email-src email-subject filename filename-pattern float hex hostname hostname|port"
    " ip-dst ip-dst|port ip-src ip-src|port link malware-sample malware-type mime-type mutex"
    " named-pipe other pattern-in-file pattern-in-memory phone-number port regkey regkey|value"
    " sigma size-in-bytes snort target-user text threat-actor uri url user-agent vulnerability"
    " yara"
)
_TYPES: Final = KindNames(_DIGEST_TYPES, _OTHER_TYPES.split())
_RELATIONS: Final = KindNames(PERCEPTUAL_RELATIONS)
#: As long as a digest of ours.
_DIGEST_LIKE = re.compile(r"(?:[0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})", re.ASCII)
_FIELDS: Final = {kind: kind.value for kind in HashKind}
_NAMES = FieldNames(
    key="uuid",
    source_id="uuid",
    category="Tag",
    size="size-in-bytes",
    media_type="mimetype",
    updated_at="timestamp",
    handling="distribution",
)
#: A machine tag: namespace, predicate, and a value where the taxonomy has any.
_MACHINE_TAG = re.compile(r'([^:="]+):([^:="]+)(?:="([^"]*)")?')
_NO_WORDS: Final = frozenset({"0", "false", "no", ""})
#: Distributions without a limit of their own: all communities, and that of the event if it has one.
_ALL_COMMUNITIES: Final = "3"
_AS_THE_EVENT: Final = "5"

_DELETED: Final = "deleted by its source"
_NOT_FOR_DETECTION: Final = "its source no longer means it for detection (to_ids)"
_HARMLESS: Final = "its source calls it harmless (state)"
#: What the relation `state` says of a file that is none to be found, unless it says the other, too.
_HARMLESS_STATES: Final = frozenset({"harmless", "trusted"})
_HARMFUL_STATE: Final = "malicious"


class Tag(msgspec.Struct, gc=False):
    """A tag of an attribute."""

    name: str | None = None


class Organisation(msgspec.Struct, gc=False):
    """Who made an event."""

    name: str | None = None


class Around(msgspec.Struct, gc=False):
    """The event or object that an attribute is of, where it names it: in an answer to a search."""

    distribution: int | str | None = None
    Tag: list[Tag] | None = None
    Orgc: Organisation | None = None


class Attribute(msgspec.Struct, gc=False):
    """The members that are taken over; the decoder skips all others, `comment` among them."""

    uuid: str | None = None
    type: str | None = None
    value: str | int | float | None = None
    object_relation: str | None = None
    to_ids: bool | int | str | None = None
    deleted: bool | int | str | None = None
    distribution: int | str | None = None
    timestamp: int | str | None = None
    Tag: list[Tag] | None = None
    Event: Around | None = None
    Object: Around | None = None


class MispObject(msgspec.Struct, gc=False):
    """An object: attributes that belong together by a template."""

    uuid: str | None = None
    name: str | None = None
    deleted: bool | int | str | None = None
    distribution: int | str | None = None
    timestamp: int | str | None = None
    Attribute: list[Attribute] | None = None
    Event: Around | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """What the options say.

    Attributes:
        any_purpose: whether hashes count that are not meant for detection.
        templates: names of objects that describe one file.
        taxonomies: namespaces of tags that are a class.
        distributions: whom each number of a distribution allows.
    """

    any_purpose: bool
    templates: frozenset[str]
    taxonomies: tuple[str, ...]
    sharing: Sharing
    distributions: Mapping[str, Recipients]


@dataclass(frozen=True, slots=True)
class Context:
    """What an event says of all that it holds.

    Attributes:
        originator: the organisation that made it; None where it does not say.
        scheme, code: of the class; None where it has none.
        allowed: to whom its tags and its distribution allow release.
        has_distribution: whether it says one, so that others may be the same as that.
    """

    originator: str | None = None
    scheme: str | None = None
    code: str | None = None
    allowed: Recipients = None
    has_distribution: bool = False

    def within(self, outer: Context) -> Context:
        """This, where something else says of it what that does."""
        own_class = self.code is not None
        return Context(
            self.originator or outer.originator,
            self.scheme if own_class else outer.scheme,
            self.code if own_class else outer.code,
            intersection((self.allowed, outer.allowed)),
            self.has_distribution or outer.has_distribution,
        )


def read_context(organisation: object, tags: object, distribution: object, rules: Rules) -> Context:
    """The context of an event, by members of it that may be anything."""
    name = organisation.get("name") if isinstance(organisation, dict) else None
    listed = tags if isinstance(tags, list) else []
    names = [each.get("name") for each in listed if isinstance(each, dict)]
    return _context(
        name if isinstance(name, str) else None,
        [each for each in names if isinstance(each, str)],
        distribution if isinstance(distribution, int | str) else None,
        rules,
    )


def _context(
    name: str | None, tags: Sequence[str], distribution: int | str | None, rules: Rules
) -> Context:
    scheme, code = _class_of(tags, rules)
    return Context(
        name or None,
        scheme,
        code,
        _allowed(tags, [distribution], rules, inherits=False),
        _word(distribution) not in ("", _AS_THE_EVENT),
    )


@dataclass(frozen=True, slots=True)
class _Row:
    """An attribute or object that says something of an entry."""

    at: int
    item: Attribute | MispObject
    withdrawal: str | None = None
    scheme: str | None = None
    profile: str | None = None
    code: str | None = None
    allowed: Recipients = None
    originator: str | None = None
    size: str | None = None
    media_type: str | None = None


class BatchMaker:
    """Makes one batch of a chunk of attributes or objects.

    Args:
        chunk: of one event.
        context: what the event says of it.
        rules: what the options say.
    """

    def __init__(self, chunk: Chunk[object], context: Context, rules: Rules) -> None:
        self._chunk = chunk
        self._context = context
        self._rules = rules
        self._notes = Notes()
        self._hashes = HashRows(_FIELDS)
        self._rows: list[_Row] = []
        self._unmatchable: set[int] = set()
        self._faults: dict[int, tuple[str, str]] = {}

    def make(self, header: FileHeader) -> RawBatch:
        """The batch."""
        for at, item in enumerate(self._chunk.records):
            if isinstance(item, Attribute):
                self._read_attribute(at, item)
            elif isinstance(item, MispObject):
                self._read_object(at, item)
        rows = self._rows
        stamps = [row.item.timestamp for row in rows]
        places, at_row = self._chunk.place_at, [row.at for row in rows]  # and none of the records
        return RawBatch(
            rows=len(rows),
            header=header,
            hashes=self._hashes.columns(len(rows)),
            place_at=lambda row: places(at_row[row]),
            extra_hashes=self._hashes.extra,
            key_texts=[row.item.uuid for row in rows],
            codes=[row.code for row in rows],
            schemes=[row.scheme for row in rows],
            profiles=[row.profile for row in rows],
            sizes=[row.size for row in rows],
            source_ids=[row.item.uuid for row in rows],
            media_types=[row.media_type for row in rows],
            updated_at=[None if stamp is None else str(stamp) for stamp in stamps],
            originators=[row.originator for row in rows],
            releasable_to=[row.allowed for row in rows],
            retracted=[row.withdrawal is not None for row in rows],
            retraction_reasons=[row.withdrawal for row in rows],
            unmatchable=self._unmatchable,
            faults=self._faults,
            names=_NAMES,
            rejections=self._chunk.rejections,
            notes=self._notes,
        )

    def _read_attribute(self, at: int, item: Attribute) -> None:
        found = _digest(item)
        if found is None and not _is_yes(item.deleted):
            self._notes.add_named("attribute of another type left aside", item.type)
            if _TYPES.is_other(_bare_type(item)):
                self._leave_aside(at, item)
            elif _is_doubtful(item):
                self._reject(at, item, item.type)
            return
        withdrawal = self._withdrawal(item)
        if withdrawal is None and found is not None:
            self._hashes.add(len(self._rows), *found)
        tags = _tag_names([item])
        context = self._context_of(item)
        scheme, code = self._class_of(tags, context)
        numbers = [item.distribution, item.Object.distribution if item.Object else None]
        allowed = self._allowed(tags, numbers, context)
        self._rows.append(_Row(at, item, withdrawal, scheme, "", code, allowed, context.originator))

    def _read_object(self, at: int, item: MispObject) -> None:
        withdrawal = _DELETED if _is_yes(item.deleted) else None
        if withdrawal is None and _is_harmless(item):
            self._notes["file that its source calls harmless left aside"] += 1
            withdrawal = _HARMLESS
        self._read_file(at, item, withdrawal)
        self._withdraw_hashes(at, item, withdrawal)

    def _read_file(self, at: int, item: MispObject, withdrawal: str | None) -> None:
        """The entry that an object is."""
        if item.name not in self._rules.templates and withdrawal is None:
            self._notes.add_named("object of another template left aside", item.name)
            return
        attributes = item.Attribute or []
        usable, reasons = [], []
        for attribute, kind, value in self._object_hashes(item.name, attributes):
            reason = self._withdrawal(attribute, is_text=not kind.is_digest)
            if reason is None:
                usable.append((kind, value))
            else:
                reasons.append(reason)
        if withdrawal is None and not usable:
            doubtful = [each for each in attributes if _is_doubtful(each)]
            if not reasons and doubtful:
                self._reject(at, item, doubtful[0].type)
                return
            if not reasons:
                self._notes["file without a hash of a known kind left aside"] += 1
                self._leave_aside(at, item)
                return
            withdrawal = reasons[0]
        if withdrawal is None:
            for kind, value in usable:
                self._hashes.add(len(self._rows), kind, value)
        self._rows.append(self._object_row(at, item, withdrawal))

    def _withdraw_hashes(self, at: int, item: MispObject, withdrawal: str | None) -> None:
        """Withdraws what the list holds by the uuid of a hash, as a search tells it."""
        for each in item.Attribute or ():
            if each.uuid and _digest(each) is not None:
                reason = withdrawal or self._withdrawal(each)
                if reason is not None:
                    self._rows.append(_Row(at, each, reason))

    def _leave_aside(self, at: int, item: Attribute | MispObject) -> None:
        """Says that the list may hold nothing by this uuid, whatever it stood for before."""
        if item.uuid:
            self._unmatchable.add(len(self._rows))
            self._rows.append(_Row(at, item))

    def _reject(self, at: int, item: Attribute | MispObject, name: str | None) -> None:
        """Says that what looks like a hash is of a type that is not known."""
        self._faults[len(self._rows)] = ("type", unknown_kind(name))
        self._rows.append(_Row(at, item))

    def _object_row(self, at: int, item: MispObject, withdrawal: str | None) -> _Row:
        living = [each for each in item.Attribute or () if not _is_yes(each.deleted)]
        tags = _tag_names(living)
        said = {each.object_relation: _text(each) for each in living}
        scheme, profile, code = (said.get(name) for name in CLASS_RELATIONS)
        context = self._context_of(item)
        if item.name != TEMPLATE or not code:
            profile = ""
            scheme, code = self._class_of(tags, context)
        numbers = [item.distribution, *(each.distribution for each in living)]
        return _Row(
            at,
            item,
            withdrawal,
            scheme or "",
            profile or "",
            code,
            self._allowed(tags, numbers, context),
            context.originator,
            said.get("size-in-bytes"),
            said.get("mimetype"),
        )

    def _object_hashes(
        self, template: str | None, attributes: Sequence[Attribute]
    ) -> Iterator[tuple[Attribute, HashKind, str]]:
        """Attributes that are hashes of the file that an object describes."""
        for each in attributes:
            found = _digest(each)
            if found is None and template == TEMPLATE:
                kind = _RELATIONS.kind(each.object_relation)
                text = _text(each)
                found = (kind, text) if kind is not None and text else None
            if found is not None:
                yield each, *found

    def _withdrawal(self, item: Attribute, *, is_text: bool = False) -> str | None:
        """Why a hash is no longer to be used; None where it is.

        MISP does not mean any text for detection unless told so, hence nothing follows from that.
        """
        if _is_yes(item.deleted):
            return _DELETED
        said = not (self._rules.any_purpose or is_text or item.to_ids is None)
        return _NOT_FOR_DETECTION if said and not _is_yes(item.to_ids) else None

    def _context_of(self, item: Attribute | MispObject) -> Context:
        """What is said of all that its event holds, by whoever says it."""
        event = item.Event
        if event is None:
            return self._context
        name = event.Orgc.name if event.Orgc else None
        own = _context(name, _tag_names([event]), event.distribution, self._rules)
        return own.within(self._context)

    def _class_of(self, tags: Sequence[str], context: Context) -> tuple[str | None, str | None]:
        scheme, code = _class_of(tags, self._rules)
        return (scheme, code) if code else (context.scheme, context.code)

    def _allowed(
        self, tags: Sequence[str], numbers: Iterable[int | str | None], context: Context
    ) -> Recipients:
        own = _allowed(tags, numbers, self._rules, inherits=context.has_distribution)
        return intersection((own, context.allowed))


def _digest(item: Attribute) -> tuple[HashKind, str] | None:
    """The digest that an attribute is, without the file's name that may stand before it."""
    kind, text = _TYPES.kind(_bare_type(item)), _text(item)
    if kind is None or text is None:
        return None
    return kind, text.rpartition("|")[2] if "|" in (item.type or "") else text


def _bare_type(item: Attribute) -> str:
    """An attribute's type, without the file's name that may stand before it."""
    return (item.type or "").lower().removeprefix("filename|")


def _is_doubtful(item: Attribute) -> bool:
    """Whether it looks like a digest of ours, of a type that is not known."""
    if _is_yes(item.deleted) or _TYPES.is_other(_bare_type(item)):
        return False
    value = (_text(item) or "").rpartition("|")[2].strip()
    return _TYPES.kind(_bare_type(item)) is None and _DIGEST_LIKE.fullmatch(value) is not None


def _is_harmless(item: MispObject) -> bool:
    states = {
        (_text(each) or "").strip().lower()
        for each in item.Attribute or ()
        if each.object_relation == "state" and not _is_yes(each.deleted)
    }
    return _HARMFUL_STATE not in states and not _HARMLESS_STATES.isdisjoint(states)


def _text(item: Attribute) -> str | None:
    return None if item.value is None else str(item.value)


def _tag_names(items: Iterable[Attribute | Around]) -> list[str]:
    return [tag.name for item in items for tag in item.Tag or () if tag.name]


def _class_of(tags: Iterable[str], rules: Rules) -> tuple[str | None, str | None]:
    """Scheme and code by the first taxonomy that any tag is of.

    Several different codes become one that no table knows, so that it means review.
    """
    found: dict[str, dict[str, None]] = {}
    for name in tags:
        tag = _MACHINE_TAG.fullmatch(name.strip())
        if tag is not None:
            found.setdefault(tag[1].lower(), {})[tag[3] or tag[2]] = None
    for taxonomy in rules.taxonomies:
        if taxonomy in found:
            return taxonomy, ";".join(found[taxonomy])
    return None, None


def _allowed(
    tags: Iterable[str],
    distributions: Iterable[int | str | None],
    rules: Rules,
    *,
    inherits: bool,
) -> Recipients:
    """Whom all TLP tags and all distributions allow; nobody by that of an event that has none."""
    limits = [rules.sharing.allowed(tag) for tag in tags if tag.strip().lower().startswith("tlp:")]
    for number in distributions:
        word = _word(number)
        if word == _AS_THE_EVENT and not inherits:
            limits.append(())
        elif word not in ("", _ALL_COMMUNITIES, _AS_THE_EVENT):
            limits.append(rules.distributions.get(word, ()))
    return intersection(limits)


def _word(distribution: int | str | None) -> str:
    return "" if distribution is None else str(distribution).strip()


def _is_yes(value: bool | int | str | None) -> bool:  # noqa: FBT001  # as the file has it
    if isinstance(value, str):
        return value.strip().lower() not in _NO_WORDS
    return bool(value)


__all__ = [
    "CLASS_RELATIONS",
    "PERCEPTUAL_RELATIONS",
    "TEMPLATE",
    "Attribute",
    "BatchMaker",
    "Context",
    "MispObject",
    "Rules",
    "read_context",
]
