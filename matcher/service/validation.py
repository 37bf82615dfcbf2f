"""Checks of requests, before any work is spent on them. Pure; fuzzed by the tests."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hashlists.limits import MAX_ENTRY_ID_DIGITS, MAX_ID_CHARS
from hashlists.model import (
    CODE64_KINDS,
    CODE_KINDS,
    DIGEST_KIND_OF_LENGTH,
    NO_ONWARD_SHARING,
    EntrySelection,
    Handling,
    HashKind,
    HashList,
    ListState,
    SaidHandling,
)
from hashlists.words import counted
from matcher import wire
from matcher.errors import InvalidRequestError, TooLargeError
from matcher.model import ImageHashes, View, ViewHashes
from matcher.pipeline import MatchOptions
from matcher.service import convert

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from google.protobuf import timestamp_pb2

    from matcher._proto.hashwarden.lists.v1 import lists_pb2 as lists_pb
    from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
    from matcher._proto.hashwarden.match.v1 import match_records_pb2 as records_pb
    from matcher.model import Outcome

MAX_REQUEST_ID_BYTES = 128
MAX_REFERENCE_BYTES = 256
MAX_QUERIES = 1000
MAX_HASHES_A_QUERY = 16
MAX_MATCH_ID_CHARS = 64
MAX_TEXT_CHARS = 2000
MAX_TEXTS = 64
#: Entries that one act may name; 32 MiB hold more of them.
MAX_SELECTED = 200_000
#: As the command line has them.
MAX_STATS_DAYS = 3_660
_DEFAULT_STATS_DAYS = 30
_MAX_NAME_CHARS = 100
_MAX_AUTHOR_CHARS = 200
#: Unicode's control, surrogate and unassigned characters.
_NOT_TEXT = frozenset({"Cc", "Cs", "Cn"})
_MAX_VIEW_NAMES = 16
_HANDLING_FIELDS = frozenset({"originator", "releasable_to", "expire_time"})


def check_text(text: str, *, field: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """A text of the caller's own words.

    Raises:
        InvalidRequestError: it is too long, or holds control characters.
    """
    if len(text) > max_chars:
        raise InvalidRequestError(f"is longer than {max_chars} characters", field=field)
    if any(unicodedata.category(each) in _NOT_TEXT and each not in "\n\t" for each in text):
        raise InvalidRequestError("holds control characters", field=field)
    return text


def check_author(author: str, *, field: str) -> str:
    """A caller's name for itself on one line, without space around it; may be empty.

    Raises:
        InvalidRequestError: it is too long, or holds control characters or several lines.
    """
    name = check_text(author, field=field, max_chars=_MAX_AUTHOR_CHARS).strip()
    if len(name.splitlines()) > 1 or "\t" in name:
        raise InvalidRequestError("is a name, on one line", field=field)
    return name


def check_line(text: str, *, field: str) -> str:
    """A text on one line.

    Raises:
        InvalidRequestError: it is too long, or holds control characters or several lines.
    """
    if len(check_text(text, field=field).splitlines()) > 1 or "\t" in text:
        raise InvalidRequestError("is on one line", field=field)
    return text


def check_texts(texts: Mapping[str, str], *, field: str) -> dict[str, str]:
    """Texts by name.

    Raises:
        InvalidRequestError: there are too many, or one is not a text.
    """
    if len(texts) > MAX_TEXTS:
        raise InvalidRequestError(f"holds more than {MAX_TEXTS} entries", field=field)
    return {
        check_text(name, field=field): check_text(text, field=field) for name, text in texts.items()
    }


def check_image(image: bytes, *, max_bytes: int) -> bytes:
    """The image's bytes.

    Raises:
        InvalidRequestError: it is empty.
        TooLargeError: it passes the limit.
    """
    if not image:
        raise InvalidRequestError("is empty; send the file's bytes", field="image")
    if len(image) > max_bytes:
        raise TooLargeError(f"has {len(image)} bytes; the limit is {max_bytes}", field="image")
    return image


def check_request_id(request_id: str) -> str:
    """The id of an item of a stream or of a lookup.

    Raises:
        InvalidRequestError: it is missing or too long.
    """
    if not request_id:
        raise InvalidRequestError("is required", field="request_id")
    if len(request_id.encode()) > MAX_REQUEST_ID_BYTES:
        raise InvalidRequestError(
            f"is longer than {MAX_REQUEST_ID_BYTES} bytes", field="request_id"
        )
    return request_id


def check_reference(reference: str) -> str:
    """A caller's own name for an upload; may be empty.

    Raises:
        InvalidRequestError: it is too long, or holds control characters or several lines.
    """
    if len(reference.encode()) > MAX_REFERENCE_BYTES:
        raise InvalidRequestError(f"is longer than {MAX_REFERENCE_BYTES} bytes", field="reference")
    return check_line(reference, field="reference")


def check_match_id(match_id: str) -> str:
    """The id of a match; whether there is one is for the store to say.

    Raises:
        InvalidRequestError: it is missing or too long.
    """
    if not 0 < len(match_id) <= MAX_MATCH_ID_CHARS:
        raise InvalidRequestError("is an id that an answer told", field="match_id")
    return match_id


def check_entries(entries: Sequence[str]) -> frozenset[int] | None:
    """Ids of entries as answers tell them; None where none is named.

    Raises:
        InvalidRequestError: there are too many, or one is no such id.
    """
    if len(entries) > MAX_QUERIES:
        raise InvalidRequestError(f"names more than {MAX_QUERIES} entries", field="entries")
    if not all(each.isdecimal() and len(each) <= MAX_ENTRY_ID_DIGITS for each in entries):
        raise InvalidRequestError("holds what is no id of an entry", field="entries")
    return frozenset(map(int, entries)) or None


def check_outcome(outcome: records_pb.Outcome.ValueType) -> Outcome:
    """Whether a match was right.

    Raises:
        InvalidRequestError: it is not said.
    """
    known = wire.OUTCOME_OF.get(outcome)
    if known is None:
        raise InvalidRequestError("is required: confirmed or wrong", field="outcome")
    return known


def check_moment(message: timestamp_pb2.Timestamp, *, field: str) -> datetime:
    """A moment.

    Raises:
        InvalidRequestError: it is none between the years 1 and 9999.
    """
    try:
        return message.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise InvalidRequestError(
            "is no moment between the years 1 and 9999", field=field
        ) from None


def check_options(
    options: pb.MatchOptions, *, default_max_matches: int, within: str | None = None
) -> MatchOptions:
    """What the caller chose. Whether the policy exists is for the pipeline to say.

    Args:
        options: what they sent.
        default_max_matches: where they do not say.
        within: the policy that binds them, as `MatchOptions` has it.

    Raises:
        InvalidRequestError: a value is out of range.
    """
    if len(options.policy) > _MAX_NAME_CHARS:
        raise InvalidRequestError("is too long for a policy's name", field="options.policy")
    return MatchOptions(
        policy=options.policy,
        views=check_views(options.views, field="options.views"),
        max_matches=options.max_matches or default_max_matches,
        within=within,
    )


def check_views(views: Sequence[str], *, field: str) -> tuple[str, ...]:
    """Names of views, sorted and each once; whether they exist is for the policy to say.

    Raises:
        InvalidRequestError: there are too many, or one is too long to be a view's name.
    """
    if len(views) > _MAX_VIEW_NAMES or any(len(name) > _MAX_NAME_CHARS for name in views):
        raise InvalidRequestError("names more views than there are", field=field)
    return tuple(sorted(set(views)))


def check_kinds64(kinds: Sequence[pb.HashKind.ValueType]) -> frozenset[HashKind]:
    """The 64-bit kinds that a caller wants computed; PDQ and digests always are.

    Raises:
        InvalidRequestError: a kind is one that Hashwarden does not compute.
    """
    wanted = {convert.kind_from_proto(kind) for kind in kinds}
    if None in wanted or HashKind.PHOTODNA in wanted:
        raise InvalidRequestError("names a kind that is not computed here", field="kinds")
    return frozenset(kind for kind in CODE64_KINDS if kind in wanted)


def check_query(query: pb.HashQuery) -> ImageHashes:
    """One file's hashes as its caller computed them.

    Raises:
        InvalidRequestError: no hash, a wrong length, or one kind twice with different values.
    """
    if not query.hashes or len(query.hashes) > MAX_HASHES_A_QUERY:
        raise InvalidRequestError(f"holds 1 to {MAX_HASHES_A_QUERY} hashes", field="hashes")
    values: dict[HashKind, bytes] = {}
    for each in query.hashes:
        kind = _check_hash(each)
        if values.setdefault(kind, each.value) != each.value:
            raise InvalidRequestError(f"holds two values of {kind.value}", field="hashes")
    codes = {kind: value for kind, value in values.items() if kind in CODE_KINDS}
    quality = _check_quality(query)
    return ImageHashes(
        digests={kind: value for kind, value in values.items() if kind.is_digest},
        size=_check_size(query),
        views=(ViewHashes(View.UPRIGHT, quality, codes),) if codes else (),
        photodna=values.get(HashKind.PHOTODNA),
    )


def _check_hash(each: pb.Hash) -> HashKind:
    kind = convert.kind_from_proto(each.kind)
    if kind is None:
        raise InvalidRequestError("has no known kind", field="hashes.kind")
    if len(each.value) != kind.nbytes:
        raise InvalidRequestError(
            f"has {counted(len(each.value), 'byte')}; {kind.value} has {kind.nbytes}",
            field="hashes.value",
        )
    return kind


def _check_quality(query: pb.HashQuery) -> int:
    if not query.HasField("quality"):
        return 100
    if not 0 <= query.quality <= 100:  # noqa: PLR2004 - the scale of PDQ quality
        raise InvalidRequestError("is from 0 to 100", field="quality")
    return query.quality


def _check_size(query: pb.HashQuery) -> int | None:
    if not query.HasField("size_bytes"):
        return None
    if query.size_bytes < 0:
        raise InvalidRequestError("is negative", field="size_bytes")
    return query.size_bytes


def check_list(list_id: str, message: lists_pb.HashList) -> HashList:
    """A list to create; whether its name is of the right form is for the catalog to say.

    Raises:
        InvalidRequestError: harm or source is missing, or a value is out of range.
    """
    harm = wire.HARM_OF.get(message.harm)
    if harm is None:
        raise InvalidRequestError("is required", field="hash_list.harm")
    if not message.source.strip():
        raise InvalidRequestError("is required: who issues the list", field="hash_list.source")
    return HashList(
        name=check_text(list_id, field="hash_list_id"),
        harm=harm,
        source=check_text(message.source, field="hash_list.source"),
        title=check_text(message.title, field="hash_list.title"),
        legal_basis=check_text(message.legal_basis, field="hash_list.legal_basis"),
        # Whoever fills it from afar does not decide alone: see docs/policy.md.
        state=wire.STATE_OF.get(message.state, ListState.SHADOW),
        handling=_check_handling(message.handling, within="hash_list.handling")
        if message.HasField("handling")
        else NO_ONWARD_SHARING,
    )


def _check_handling(message: lists_pb.Handling, *, within: str) -> Handling:
    if len(message.releasable_to) > MAX_TEXTS:
        raise InvalidRequestError(
            f"names more than {MAX_TEXTS} recipients", field=f"{within}.releasable_to"
        )
    return Handling(
        originator=check_text(message.originator, field=f"{within}.originator"),
        releasable_to=tuple(
            check_text(each, field=f"{within}.releasable_to") for each in message.releasable_to
        ),
        expires_at=(
            _check_time(message.expire_time, field=f"{within}.expire_time")
            if message.HasField("expire_time")
            else None
        ),
    )


def _check_time(message: timestamp_pb2.Timestamp, *, field: str) -> datetime:
    try:
        end = message.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise InvalidRequestError("is not a time", field=field) from None
    if end <= datetime.now(UTC):
        raise InvalidRequestError("is over: no entry of the list would match", field=field)
    return end


def check_handling_change(message: lists_pb.ChangeHandlingRequest) -> tuple[SaidHandling, bool]:
    """What a list is to say of handling, and whether its entries' use is to have no end.

    Raises:
        InvalidRequestError: nothing is to change, or something that is no part of handling; or a
            value is out of range.
    """
    named = frozenset(message.update_mask.paths)
    if not named or not named <= _HANDLING_FIELDS:
        raise InvalidRequestError(
            f"names one or more of {', '.join(sorted(_HANDLING_FIELDS))}", field="update_mask"
        )
    given = _check_handling(message.handling, within="handling")
    end = given.expires_at if "expire_time" in named else None
    said = SaidHandling(
        originator=given.originator if "originator" in named else None,
        releasable_to=given.releasable_to if "releasable_to" in named else None,
        expires_at=end,
    )
    return said, "expire_time" in named and end is None


def check_selection(message: lists_pb.EntrySelection) -> EntrySelection:
    """The entries that an act names; whether they exist is for the catalog to say.

    Raises:
        InvalidRequestError: there are none or too many, or one cannot be an id or a digest.
    """
    named = len(message.entries) + len(message.source_ids) + len(message.digests)
    if not 0 < named <= MAX_SELECTED:
        raise InvalidRequestError(
            f"names {counted(named, 'entry', 'entries')}; 1 to {MAX_SELECTED:,} are allowed",
            field="selection",
        )
    for place, each in enumerate(message.entries):
        if not (each.isascii() and each.isdecimal() and len(each) <= MAX_ENTRY_ID_DIGITS):
            raise InvalidRequestError("is no id of an entry", field=f"selection.entries[{place}]")
    for place, each in enumerate(message.source_ids):
        field = f"selection.source_ids[{place}]"
        if not check_text(each, field=field, max_chars=MAX_ID_CHARS):
            raise InvalidRequestError("is empty", field=field)
    for place, value in enumerate(message.digests):
        if len(value) not in DIGEST_KIND_OF_LENGTH:
            raise InvalidRequestError(
                f"has {counted(len(value), 'byte')}; MD5 has 16, SHA-1 20 and SHA-256 32",
                field=f"selection.digests[{place}]",
            )
    return EntrySelection(
        tuple(map(int, message.entries)), tuple(message.source_ids), tuple(message.digests)
    )


def check_reason(reason: str) -> str:
    """Why something is done to entries.

    Raises:
        InvalidRequestError: it is missing, too long, or holds control characters.
    """
    if not reason.strip():
        raise InvalidRequestError("is required: why this is done", field="reason")
    return check_text(reason, field="reason")


def check_days(days: int) -> int:
    """How many days of a list are asked for.

    Raises:
        InvalidRequestError: they are negative, or too many.
    """
    if not 0 <= days <= MAX_STATS_DAYS:
        raise InvalidRequestError(f"is from 1 to {MAX_STATS_DAYS}", field="days")
    return days or _DEFAULT_STATS_DAYS


def check_newest_revision(number: int) -> int | None:
    """The revision that a caller has seen last; None where any will do.

    Raises:
        InvalidRequestError: it is negative.
    """
    if number < 0:
        raise InvalidRequestError("is negative", field="if_revision")
    return number or None


def check_revision_number(number: int) -> int:
    """A revision to go back to; whether the list has it is for the catalog to say.

    Raises:
        InvalidRequestError: it is not above 0.
    """
    if number <= 0:
        raise InvalidRequestError("is the number of a revision, from 1", field="to_revision")
    return number
