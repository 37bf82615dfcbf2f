"""The typed Python client, sync (`Client`) and async (`AsyncClient`).

Results are the types of `matcher.model`; what a server does not tell is None there. Errors are
`ServerError`, with the server's own reason and whether trying again may help. Calls that are safe
to repeat are tried again by gRPC itself where the server was briefly away or full.

    with Client("127.0.0.1:50051") as client:
        answer = client.match_image(path.read_bytes())
        if answer.result.decision is Decision.MATCH: ...
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import grpc
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashlists.model import Classification, HashKind
from matcher import wire
from matcher._proto.hashwarden.lists.v1 import lists_pb2, lists_pb2_grpc
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.errors import ServerError
from matcher.model import (
    Decision,
    ImageHashes,
    Match,
    MatchResult,
    Undecodable,
    ViewHashes,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

MAX_MESSAGE_BYTES = 32 << 20
CHUNK_BYTES = 1 << 20
DEFAULT_TIMEOUT_SECONDS = 30.0
_RETRIES = {
    "methodConfig": [
        {
            "name": [
                {"service": "hashwarden.match.v1.MatchService", "method": name}
                for name in ("MatchImage", "LookupHashes", "HashImage")
            ],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "3s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.service_config", json.dumps(_RETRIES)),
)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the server's decoder saw of a file."""

    width: int
    height: int
    format: str
    frames: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class MatchAnswer:
    """A server's answer for one image or lookup.

    Attributes:
        result: the decision; `shadow_matches` is always 0, a server does not tell them.
        image: what the decoder saw; None for lookups and for what could not be decoded.
        stale: the server knows that its lists are not the newest.
        hasher_version, decoder_version: what computed the codes.
    """

    result: MatchResult
    image: ImageInfo | None
    stale: bool
    hasher_version: str
    decoder_version: str


@dataclass(frozen=True, slots=True)
class HashAnswer:
    """A server's hashes of one image."""

    hashes: ImageHashes
    image: ImageInfo | None


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """The answer for one item of a stream: an answer, or an error of its own."""

    request_id: str
    answer: MatchAnswer | None
    error: ServerError | None


@dataclass(frozen=True, slots=True)
class HashQuery:
    """Hashes of one file, computed by the caller.

    Attributes:
        hashes: raw bytes by kind.
        size: bytes of the file; an MD5 decides only with an equal size.
        quality: PDQ quality 0..100; None counts as good.
    """

    hashes: Mapping[HashKind, bytes]
    size: int | None = None
    quality: int | None = None


class Client:
    """Talks to one server over one channel; threads may share it.

    Args:
        target: `host:port`.
        credentials: None for a server on this machine without TLS.
        timeout: seconds for one call; streams and imports have none.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._channel = (
            grpc.insecure_channel(target, options=_OPTIONS)
            if credentials is None
            else grpc.secure_channel(target, credentials, options=_OPTIONS)
        )
        self._timeout = timeout
        self._own_errors = _OwnErrors(target)
        self._match = match_pb2_grpc.MatchServiceStub(self._channel)
        self._lists = lists_pb2_grpc.HashListServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def match_image(
        self, image: bytes, *, policy: str = "", views: Sequence[str] = (), max_matches: int = 0
    ) -> MatchAnswer:
        """Matches one image.

        Raises:
            ServerError: the server refuses, fails or cannot be reached.
        """
        request = match_pb2.MatchImageRequest(
            image=image, options=_options(policy, views, max_matches)
        )
        with self._own_errors:
            response = self._match.MatchImage(request, timeout=self._timeout)
        return _match_answer(response.result)

    def match_images(
        self,
        images: Iterable[tuple[str, bytes]],
        *,
        policy: str = "",
        views: Sequence[str] = (),
        max_matches: int = 0,
    ) -> Iterator[StreamAnswer]:
        """Matches many images over one stream.

        Args:
            images: `(request_id, bytes)`; ids are unique. Drawn only as fast as the server reads.
            policy: for every image; empty for the server's default.
            views: for every image; empty for the policy's own.
            max_matches: for every image; 0 for the server's default.

        Yields:
            One answer for each image, in the order in which they are ready.

        Raises:
            ServerError: the stream as a whole ended early; answers given until then hold.
            TypeError: an item is no `(request_id, bytes)`.
            Exception: whatever drawing from `images` raised.
        """
        options = _options(policy, views, max_matches)
        failed: list[Exception] = []
        try:
            with self._own_errors:
                for response in self._match.MatchImages(_drawn(images, options, failed)):
                    yield _stream_answer(response)
        except ServerError as problem:
            if failed:
                raise failed[0] from problem
            raise

    def lookup_hashes(
        self,
        queries: Sequence[HashQuery],
        *,
        policy: str = "",
        max_matches: int = 0,
    ) -> list[MatchAnswer | ServerError]:
        """Matches hashes that the caller computed; gives one answer for each, in their order.

        Raises:
            ServerError: the call as a whole failed.
        """
        request = _lookup_request(queries, _options(policy, (), max_matches))
        with self._own_errors:
            response = self._match.LookupHashes(request, timeout=self._timeout)
        return [_lookup_answer(each) for each in response.results]

    def hash_image(
        self, image: bytes, *, views: Sequence[str] = (), kinds: Sequence[HashKind] = ()
    ) -> HashAnswer:
        """Hashes one image and matches nothing.

        Raises:
            ServerError: the server refuses, fails or cannot be reached.
        """
        request = _hash_request(image, views, kinds)
        with self._own_errors:
            response = self._match.HashImage(request, timeout=self._timeout)
        return _hash_answer(response)

    def create_list(self, list_id: str, hash_list: lists_pb2.HashList) -> lists_pb2.HashList:
        """Makes an empty list; `hash_list` needs `harm` and `source`.

        Raises:
            ServerError: the server refuses, fails or cannot be reached.
        """
        request = lists_pb2.CreateHashListRequest(hash_list_id=list_id, hash_list=hash_list)
        with self._own_errors:
            return self._lists.CreateHashList(request, timeout=self._timeout).hash_list

    def get_list(self, name: str) -> lists_pb2.HashList:
        """One list with what it covers.

        Raises:
            ServerError: `LIST_NOT_FOUND`, or the server fails or cannot be reached.
        """
        request = lists_pb2.GetHashListRequest(name=wire.LIST_COLLECTION + name)
        with self._own_errors:
            return self._lists.GetHashList(request, timeout=self._timeout).hash_list

    def list_lists(self) -> Iterator[lists_pb2.HashList]:
        """All lists, by name.

        Raises:
            ServerError: the server fails or cannot be reached.
        """
        token = ""
        while True:
            request = lists_pb2.ListHashListsRequest(page_token=token)
            with self._own_errors:
                page = self._lists.ListHashLists(request, timeout=self._timeout)
            yield from page.hash_lists
            token = page.next_page_token
            if not token:
                return

    def list_revisions(self, name: str = "-") -> Iterator[lists_pb2.Revision]:
        """All revisions of a list, or of all lists, newest first.

        Raises:
            ServerError: the server fails or cannot be reached.
        """
        token = ""
        while True:
            request = lists_pb2.ListRevisionsRequest(
                parent=wire.LIST_COLLECTION + name, page_token=token
            )
            with self._own_errors:
                page = self._lists.ListRevisions(request, timeout=self._timeout)
            yield from page.revisions
            token = page.next_page_token
            if not token:
                return

    def import_list(
        self,
        path: Path,
        *,
        list_name: str,
        list_format: str,
        options: Mapping[str, str] | None = None,
        reason: str = "",
        idempotency_key: str | None = None,
        max_rejected_share: float | None = None,
    ) -> Iterator[lists_pb2.ImportProgress | lists_pb2.ImportReport]:
        """Imports a file as one revision; gives progress, and the report last.

        Raises:
            ServerError: nothing was imported, and why.
            OSError: the file cannot be read.
        """
        start = lists_pb2.ImportStart(
            hash_list=wire.LIST_COLLECTION + list_name,
            format=list_format,
            sha256=_sha256(path),
            length=path.stat().st_size,
            idempotency_key=idempotency_key or str(uuid.uuid4()),
            format_options=options or {},
            max_rejected_share=max_rejected_share,
            reason=reason,
        )
        with path.open("rb") as file, self._own_errors:
            for response in self._lists.ImportHashList(_import_requests(start, file)):
                yield (
                    response.report
                    if response.WhichOneof("payload") == "report"
                    else response.progress
                )

    def health(self, service: str = "") -> str:
        """What the standard health service says, e.g. `SERVING`.

        Raises:
            ServerError: the server cannot be reached.
        """
        request = health_pb2.HealthCheckRequest(service=service)
        with self._own_errors:
            response = self._health.Check(request, timeout=self._timeout)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


class AsyncClient:
    """The calls of an upload path, for asyncio. List keeping is for `Client`.

    Args:
        target, credentials, timeout: as for `Client`.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._channel = (
            grpc.aio.insecure_channel(target, options=_OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=_OPTIONS)
        )
        self._timeout = timeout
        self._own_errors = _OwnErrors(target)
        self._match: Any = match_pb2_grpc.MatchServiceStub(self._channel)
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def match_image(
        self, image: bytes, *, policy: str = "", views: Sequence[str] = (), max_matches: int = 0
    ) -> MatchAnswer:
        """As `Client.match_image`."""
        request = match_pb2.MatchImageRequest(
            image=image, options=_options(policy, views, max_matches)
        )
        with self._own_errors:
            response = await self._match.MatchImage(request, timeout=self._timeout)
        return _match_answer(response.result)

    async def match_images(
        self,
        images: AsyncIterable[tuple[str, bytes]],
        *,
        policy: str = "",
        views: Sequence[str] = (),
        max_matches: int = 0,
    ) -> AsyncIterator[StreamAnswer]:
        """As `Client.match_images`."""
        options = _options(policy, views, max_matches)

        failed: list[Exception] = []

        async def drawn() -> AsyncIterator[match_pb2.MatchImagesRequest]:
            try:
                async for item in images:
                    yield _stream_request(item, options)
            except Exception as error:
                failed.append(error)
                raise

        try:
            with self._own_errors:
                async for response in self._match.MatchImages(drawn()):
                    yield _stream_answer(response)
        except (ServerError, asyncio.CancelledError) as problem:  # gRPC cancels where drawing fails
            if failed:
                raise failed[0] from problem
            raise

    async def lookup_hashes(
        self, queries: Sequence[HashQuery], *, policy: str = "", max_matches: int = 0
    ) -> list[MatchAnswer | ServerError]:
        """As `Client.lookup_hashes`."""
        request = _lookup_request(queries, _options(policy, (), max_matches))
        with self._own_errors:
            response = await self._match.LookupHashes(request, timeout=self._timeout)
        return [_lookup_answer(each) for each in response.results]

    async def hash_image(
        self, image: bytes, *, views: Sequence[str] = (), kinds: Sequence[HashKind] = ()
    ) -> HashAnswer:
        """As `Client.hash_image`."""
        with self._own_errors:
            response = await self._match.HashImage(
                _hash_request(image, views, kinds), timeout=self._timeout
            )
        return _hash_answer(response)

    async def health(self, service: str = "") -> str:
        """As `Client.health`."""
        request = health_pb2.HealthCheckRequest(service=service)
        with self._own_errors:
            response = await self._health.Check(request, timeout=self._timeout)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))


class _OwnErrors:
    """Turns gRPC's errors into `ServerError`; holds no state of a call, so calls may share it."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        if isinstance(error, grpc.RpcError):
            raise _server_error(_status_of(error), self._target) from error


def _status_of(error: Any) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0], message=error.details() or "")


def _server_error(status: status_pb2.Status, target: str = "") -> ServerError:
    """The error that a status stands for; `target` where it may be that nobody answered at all."""
    code = next(each for each in grpc.StatusCode if each.value[0] == status.code)
    reason = ""
    for detail in status.details:
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            reason = info.reason
    away = code is grpc.StatusCode.UNAVAILABLE
    message = f"{code.name}: {status.message}"
    if away and target and not status.details:  # a server of ours gives details
        message = f"no server answers at {target}; start one with: hashwarden serve"
    return ServerError(message, reason=reason or code.name, retryable=away)


def _options(policy: str, views: Sequence[str], max_matches: int) -> match_pb2.MatchOptions:
    return match_pb2.MatchOptions(policy=policy, views=views, max_matches=max_matches)


def _drawn(
    images: Iterable[tuple[str, bytes]], options: match_pb2.MatchOptions, failed: list[Exception]
) -> Iterator[match_pb2.MatchImagesRequest]:
    """The requests of a stream. gRPC hides what goes wrong in here, so `failed` takes it."""
    try:
        for item in images:
            yield _stream_request(item, options)
    except Exception as error:
        failed.append(error)
        raise


def _stream_request(
    item: tuple[str, bytes], options: match_pb2.MatchOptions
) -> match_pb2.MatchImagesRequest:
    match item:
        case (str(request_id), bytes(image)):
            pass
        case _:
            raise TypeError(
                "images: each is (request_id, image), a str and the bytes of the file, "
                f"not {type(item).__name__}"
            )
    return match_pb2.MatchImagesRequest(request_id=request_id, image=image, options=options)


def _hash_request(
    image: bytes, views: Sequence[str], kinds: Sequence[HashKind]
) -> match_pb2.HashImageRequest:
    return match_pb2.HashImageRequest(
        image=image, views=views, kinds=[wire.KINDS[kind] for kind in kinds]
    )


def _lookup_request(
    queries: Sequence[HashQuery], options: match_pb2.MatchOptions
) -> match_pb2.LookupHashesRequest:
    return match_pb2.LookupHashesRequest(
        queries=[
            match_pb2.HashQuery(
                request_id=str(row),
                hashes=[
                    match_pb2.Hash(kind=wire.KINDS[kind], value=value)
                    for kind, value in query.hashes.items()
                ],
                size_bytes=query.size,
                quality=query.quality,
            )
            for row, query in enumerate(queries)
        ],
        options=options,
    )


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _import_requests(
    start: lists_pb2.ImportStart, file: BinaryIO
) -> Iterator[lists_pb2.ImportHashListRequest]:
    yield lists_pb2.ImportHashListRequest(start=start)
    while chunk := file.read(CHUNK_BYTES):
        yield lists_pb2.ImportHashListRequest(chunk=chunk)


def _stream_answer(response: match_pb2.MatchImagesResponse) -> StreamAnswer:
    if response.status.code:
        return StreamAnswer(response.request_id, None, _server_error(response.status))
    return StreamAnswer(response.request_id, _match_answer(response.result), None)


def _lookup_answer(response: match_pb2.LookupResult) -> MatchAnswer | ServerError:
    if response.status.code:
        return _server_error(response.status)
    return _match_answer(response.result)


def _match_answer(message: match_pb2.MatchResult) -> MatchAnswer:
    provenance = message.provenance
    return MatchAnswer(
        result=_match_result(message),
        image=_image_info(message.image) if message.HasField("image") else None,
        stale=provenance.stale,
        hasher_version=provenance.hasher_version,
        decoder_version=provenance.decoder_version,
    )


def _match_result(message: match_pb2.MatchResult) -> MatchResult:
    refused = message.HasField("not_hashable")
    return MatchResult(
        decision=wire.DECISION_OF.get(message.decision, Decision.REVIEW),
        reason=wire.REASON_OF.get(message.not_hashable.reason) if refused else None,
        detail=message.explanation,
        match_id=message.match_id,
        matches=tuple(_match(each) for each in message.matches),
        total_matches=message.total_matches,
        shadow_matches=0,
        kinds_tried=tuple(wire.KIND_OF[k] for k in message.kinds_tried if k in wire.KIND_OF),
        views_tried=tuple(message.views_tried),
        views_left_out=tuple(message.views_left_out),
        revision=message.provenance.revision,
        policy=message.provenance.policy,
        policy_version=message.provenance.policy_version,
    )


def _match(message: match_pb2.Match) -> Match:
    issued = message.classification
    return Match(
        list_name=message.hash_list.removeprefix(wire.LIST_COLLECTION),
        harm=message.harm,
        entry_id=int(message.entry),
        kind=wire.KIND_OF[message.kind],
        basis=wire.BASIS_OF[message.basis],
        view=message.view,
        distance=message.distance if message.HasField("distance") else None,
        closeness=wire.CLOSENESS_OF[message.closeness],
        classification=Classification(issued.scheme, issued.profile, issued.code)
        if message.HasField("classification")
        else None,
        severity=message.severity,
    )


def _image_info(message: match_pb2.ImageInfo) -> ImageInfo:
    return ImageInfo(
        message.width, message.height, message.format, message.frames, message.truncated
    )


def _hash_answer(message: match_pb2.HashImageResponse) -> HashAnswer:
    refused = message.HasField("not_hashable")
    undecodable = (
        Undecodable(wire.REASON_OF[message.not_hashable.reason], message.not_hashable.detail)
        if refused
        else None
    )
    return HashAnswer(
        hashes=ImageHashes(
            digests=_hashes(message.digests),
            size=None,
            views=tuple(
                ViewHashes(view.view, view.quality, _hashes(view.hashes)) for view in message.views
            ),
            undecodable=undecodable,
            views_left_out=tuple(message.views_left_out),
        ),
        image=_image_info(message.image) if message.HasField("image") else None,
    )


def _hashes(messages: Iterable[match_pb2.Hash]) -> dict[HashKind, bytes]:
    return {wire.KIND_OF[each.kind]: each.value for each in messages}
