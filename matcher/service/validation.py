"""Checks of requests, before any work is spent on them. Pure; fuzzed by the tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.model import CODE64_KINDS, CODE_KINDS, HashKind
from matcher.errors import InvalidRequestError, TooLargeError
from matcher.model import ImageHashes, View, ViewHashes
from matcher.pipeline import MatchOptions
from matcher.service import convert

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher._proto.hashwarden.match.v1 import match_pb2 as pb

MAX_REQUEST_ID_BYTES = 128
MAX_QUERIES = 1000
MAX_HASHES_A_QUERY = 16
_MAX_NAME_CHARS = 100
_MAX_VIEW_NAMES = 16


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


def check_options(options: pb.MatchOptions, *, default_max_matches: int) -> MatchOptions:
    """What the caller chose. Whether the policy exists is for the pipeline to say.

    Raises:
        InvalidRequestError: a value is out of range.
    """
    if len(options.policy) > _MAX_NAME_CHARS:
        raise InvalidRequestError("is too long for a policy's name", field="options.policy")
    return MatchOptions(
        policy=options.policy,
        views=check_views(options.views, field="options.views"),
        max_matches=options.max_matches or default_max_matches,
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
            f"has {len(each.value)} bytes; {kind.value} has {kind.nbytes}", field="hashes.value"
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
