"""`hashwarden.match.v1.MatchService`: check the request, call the core, convert the answer."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashlists.access.model import Role
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher._proto.hashwarden.match.v1 import match_pb2_grpc
from matcher.errors import ClimbingError, InvalidRequestError
from matcher.policy.rules import view_selection
from matcher.service import convert, validation
from matcher.service.errors import abort, status_of
from matcher.service.gate import current_caller
from matcher.service.stream import Drain, Window
from matcher.service.uploads import whose_share
from matcher.tokens import MAX_TOKEN_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence

    from google.rpc import status_pb2

    from matcher.model import ImageHashes, MatchResult
    from matcher.pipeline import MatchOptions
    from matcher.service.noticing import Noticing
    from matcher.service.remembering import Remembering
    from matcher.service.token_lookup import TokenLookup, TokenStream
    from matcher.service.uploads import Decoded, Uploads

Context = Any  # grpc.aio.ServicerContext is generic over what mypy cannot see here


@dataclass(frozen=True, slots=True)
class MatchLimits:
    """What the service accepts and tells.

    Attributes:
        image_bytes: largest encoded image.
        stream_window: unanswered items of one stream, past which the server stops reading.
        default_max_matches: matches listed where the caller does not say.
        exact_distances: whether answers hold exact distances for everybody; clients with the role
            are told them all the same.
    """

    image_bytes: int
    stream_window: int
    default_max_matches: int
    exact_distances: bool


@dataclass(frozen=True, slots=True)
class _Upload:
    """What is asked of one image: all of a message that its answer needs."""

    image: bytes
    reference: str
    options: MatchOptions
    seals_token: bool


@dataclass(frozen=True, slots=True)
class _Query:
    """What is asked of one file's hashes."""

    hashes: ImageHashes
    reference: str


@dataclass(frozen=True, slots=True)
class _TokenQuery:
    """What is asked of one token."""

    request_id: str
    token: bytes
    reference: str


class MatchServicer(match_pb2_grpc.MatchServiceServicer):
    """Answers uploads and lookups.

    Args:
        uploads: the core.
        provenance: gives a fresh message with versions and staleness for every answer.
        limits: what is accepted and told.
        drain: told when the server is to end.
        remembering: what answers leave behind.
        token_lookup: checks uploads again.
        noticing: looks at every result before it is told.
        count: told every result; None where nobody counts.
    """

    def __init__(
        self,
        uploads: Uploads,
        provenance: Callable[[], pb.Provenance],
        limits: MatchLimits,
        drain: Drain,
        *,
        remembering: Remembering,
        token_lookup: TokenLookup,
        noticing: Noticing,
        count: Callable[[MatchResult], None] | None = None,
    ) -> None:
        self._count = count or (lambda _: None)
        self._uploads = uploads
        self._provenance = provenance
        self._limits = limits
        self._drain = drain
        self._remembering = remembering
        self._token_lookup = token_lookup
        self._noticing = noticing

    async def MatchImage(  # noqa: N802 - named by the proto
        self, request: pb.MatchImageRequest, context: Context
    ) -> pb.MatchImageResponse:
        """Decodes, hashes and matches one image."""
        try:
            upload = self._upload(request)
            del request  # what it may hold besides is in no bound
            return pb.MatchImageResponse(result=await self._match(upload))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def MatchImages(  # noqa: N802 - named by the proto
        self, requests: AsyncIterator[pb.MatchImagesRequest], context: Context
    ) -> AsyncIterator[pb.MatchImagesResponse]:
        """Matches many images over one stream."""
        window = Window(requests, self._answer, size=self._limits.stream_window, drain=self._drain)
        try:
            async for response in window.answers():
                yield response
            if window.drained:
                await abort(context, self._drain.error())
        finally:
            await window.close()

    async def LookupHashes(  # noqa: N802 - named by the proto
        self, request: pb.LookupHashesRequest, context: Context
    ) -> pb.LookupHashesResponse:
        """Matches hashes that the caller computed."""
        try:
            lookup = self._lookup(request)
            del request
            return await lookup
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def HashImage(  # noqa: N802 - named by the proto
        self, request: pb.HashImageRequest, context: Context
    ) -> pb.HashImageResponse:
        """Hashes one image and matches nothing."""
        try:
            image = validation.check_image(request.image, max_bytes=self._limits.image_bytes)
            views = view_selection(validation.check_views(request.views, field="views"))
            kinds = validation.check_kinds64(request.kinds)
            del request
            return convert.hashes_to_proto(*await self._uploads.hash(image, views, kinds))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def LookupTokens(  # noqa: N802 - named by the proto
        self, requests: AsyncIterator[pb.LookupTokensRequest], context: Context
    ) -> AsyncIterator[pb.LookupTokensResponse]:
        """Checks uploads of the past again."""
        stream: TokenStream | None = None
        options: MatchOptions | None = None
        try:
            with ExitStack() as closing:
                async for request in self._drain.unless_started(requests):
                    queries = _token_queries(request.queries)
                    if stream is None or options is None:
                        options = self._options(request.options)
                        begun = self._token_lookup.stream(
                            request.since_revision,
                            client=current_caller().name,
                            who=whose_share(),
                        )
                        stream = closing.enter_context(begun)
                    del request  # else it would be held until the next one has come
                    yield await self._lookup_tokens(stream, queries, options)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    def _upload(self, request: pb.MatchImageRequest | pb.MatchImagesRequest) -> _Upload:
        """What is asked, once it is checked.

        Raises:
            TooLargeError, InvalidRequestError: it cannot be answered.
        """
        return _Upload(
            image=validation.check_image(request.image, max_bytes=self._limits.image_bytes),
            reference=validation.check_reference(request.reference),
            options=self._options(request.options),
            seals_token=request.options.seal_token,
        )

    async def _match(self, upload: _Upload) -> pb.MatchResult:
        options = upload.options
        result, decoded, hashes = await self._uploads.match(upload.image, options)
        result = self._noticing.look(result, hashes)
        answer = self._answered(result, hashes, options, upload.reference, decoded)
        if upload.seals_token:
            answer.token = self._remembering.seal(hashes, current_caller().name)
        return answer

    def _answered(
        self,
        result: MatchResult,
        hashes: ImageHashes,
        options: MatchOptions,
        reference: str,
        decoded: Decoded | None = None,
    ) -> pb.MatchResult:
        """Counts a result, keeps its record, and gives its message."""
        self._count(result)
        client = current_caller().name
        self._remembering.keep(result, hashes, options=options, client=client, reference=reference)
        return convert.result_to_proto(
            result,
            provenance=self._provenance(),
            decoded=decoded,
            exact_distances=self.exact_distances(),
        )

    def _options(self, options: pb.MatchOptions) -> MatchOptions:
        """What the caller chose, bound by the policy of the client that it is."""
        return validation.check_options(
            options,
            default_max_matches=self._limits.default_max_matches,
            within=current_caller().policy,
        )

    def exact_distances(self) -> bool:
        """Whether the caller may see exact distances."""
        if self._limits.exact_distances:
            return True
        caller = current_caller()
        return caller.is_client and Role.MATCH_EXACT_DISTANCE in caller.roles

    def _answer(
        self, request: pb.MatchImagesRequest
    ) -> Coroutine[Any, Any, pb.MatchImagesResponse]:
        """Gives the answer for one item of a stream, which holds no more of it than it needs."""
        try:
            upload = self._upload(request)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            return _refused(request.request_id, status_of(error))
        return self._item(request.request_id, upload)

    async def _item(self, request_id: str, upload: _Upload) -> pb.MatchImagesResponse:
        """The answer for one item of a stream: a result, or a status of its own."""
        response = pb.MatchImagesResponse(request_id=request_id)
        try:
            response.result.CopyFrom(await self._match(upload))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            response.status.CopyFrom(status_of(error))
        return response

    def _lookup(
        self, request: pb.LookupHashesRequest
    ) -> Coroutine[Any, Any, pb.LookupHashesResponse]:
        """Gives the answer for hashes, which holds no more of a request than it needs.

        Raises:
            InvalidRequestError: it cannot be answered.
        """
        if not 1 <= len(request.queries) <= validation.MAX_QUERIES:
            raise InvalidRequestError(
                f"holds 1 to {validation.MAX_QUERIES} queries", field="queries"
            )
        options = self._options(request.options)
        answers = [pb.LookupResult() for _ in request.queries]
        checked: dict[int, _Query] = {}
        seen: set[str] = set()
        for row, query in enumerate(request.queries):
            try:
                answers[row].request_id = validation.check_request_id(query.request_id)
                _check_new(query.request_id, seen)
                reference = validation.check_reference(query.reference)
                checked[row] = _Query(validation.check_query(query), reference)
            except InvalidRequestError as error:
                answers[row].status.CopyFrom(status_of(error))
        seals_token = request.options.seal_token
        return self._looked_up(answers, checked, options, seals_token=seals_token)

    async def _looked_up(
        self,
        answers: Sequence[pb.LookupResult],
        checked: Mapping[int, _Query],
        options: MatchOptions,
        *,
        seals_token: bool,
    ) -> pb.LookupHashesResponse:
        results = await self._uploads.lookup([each.hashes for each in checked.values()], options)
        for (row, query), result in zip(checked.items(), results, strict=True):
            try:
                told = self._noticing.look(result, query.hashes)
            except ClimbingError as error:
                answers[row].status.CopyFrom(status_of(error))
                continue
            answer = self._answered(told, query.hashes, options, query.reference)
            if seals_token:
                answer.token = self._remembering.seal(query.hashes, current_caller().name)
            answers[row].result.CopyFrom(answer)
        return pb.LookupHashesResponse(results=answers)

    async def _lookup_tokens(
        self, stream: TokenStream, queries: Sequence[_TokenQuery], options: MatchOptions
    ) -> pb.LookupTokensResponse:
        checked = await stream.check([query.token for query in queries], options)
        response = pb.LookupTokensResponse(checked_tokens=len(queries), revision=stream.revision)
        for each in checked:
            query = queries[each.row]
            answer = response.results.add(request_id=query.request_id)
            if each.result is not None and each.hashes is not None:
                # Uploads of the past make no entry hot, and nobody climbs by them.
                told = self._noticing.judged(each.result)
                message = self._answered(told, each.hashes, options, query.reference)
                answer.result.CopyFrom(message)
            elif each.error is not None:
                answer.status.CopyFrom(status_of(each.error))
        return response


def _token_queries(queries: Sequence[pb.TokenQuery]) -> list[_TokenQuery]:
    """What is asked of the tokens of one message, in their order.

    Raises:
        InvalidRequestError: there are too many, or an id or a reference is not fit.
    """
    if len(queries) > validation.MAX_QUERIES:
        raise InvalidRequestError(
            f"holds at most {validation.MAX_QUERIES} queries", field="queries"
        )
    seen: set[str] = set()
    checked = []
    for each in queries:
        request_id = validation.check_request_id(each.request_id)
        _check_new(request_id, seen)
        reference = validation.check_reference(each.reference)
        token = each.token[: MAX_TOKEN_BYTES + 1]  # what is longer is none, however much longer
        checked.append(_TokenQuery(request_id, token, reference))
    return checked


async def _refused(request_id: str, status: status_pb2.Status) -> pb.MatchImagesResponse:
    return pb.MatchImagesResponse(request_id=request_id, status=status)


def _check_new(request_id: str, seen: set[str]) -> None:
    if request_id in seen:
        raise InvalidRequestError("occurs twice in the request", field="request_id")
    seen.add(request_id)
