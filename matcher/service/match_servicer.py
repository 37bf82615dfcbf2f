"""`hashwarden.match.v1.MatchService`: check the request, call the core, convert the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashlists.access.model import Role
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher._proto.hashwarden.match.v1 import match_pb2_grpc
from matcher.errors import InvalidRequestError
from matcher.policy.rules import view_selection
from matcher.service import convert, validation
from matcher.service.errors import abort, status_of
from matcher.service.gate import current_caller
from matcher.service.stream import Drain, Window

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from matcher.model import ImageHashes, MatchResult
    from matcher.pipeline import Generation, MatchOptions
    from matcher.service.remembering import Remembering
    from matcher.service.token_lookup import TokenLookup
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


class MatchServicer(match_pb2_grpc.MatchServiceServicer):
    """Answers uploads and lookups.

    Args:
        uploads: the core.
        provenance: gives a fresh message with versions and staleness for every answer.
        limits: what is accepted and told.
        drain: told when the server is to end.
        remembering: what answers leave behind.
        token_lookup: checks uploads again.
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
        count: Callable[[MatchResult], None] | None = None,
    ) -> None:
        self._count = count or (lambda _: None)
        self._uploads = uploads
        self._provenance = provenance
        self._limits = limits
        self._drain = drain
        self._remembering = remembering
        self._token_lookup = token_lookup

    async def MatchImage(  # noqa: N802 - named by the proto
        self, request: pb.MatchImageRequest, context: Context
    ) -> pb.MatchImageResponse:
        """Decodes, hashes and matches one image."""
        try:
            return pb.MatchImageResponse(result=await self._match(request))
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
            return await self._lookup(request)
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
            return convert.hashes_to_proto(*await self._uploads.hash(image, views, kinds))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def LookupTokens(  # noqa: N802 - named by the proto
        self, requests: AsyncIterator[pb.LookupTokensRequest], context: Context
    ) -> AsyncIterator[pb.LookupTokensResponse]:
        """Checks uploads of the past again."""
        try:
            with self._token_lookup.stream():
                new: Generation | None = None
                options = pb.MatchOptions()
                async for request in requests:
                    if new is None:
                        options = request.options
                        new = await self._token_lookup.since(request.since_revision)
                    yield await self._lookup_tokens(request, new, options)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def _match(self, request: pb.MatchImageRequest | pb.MatchImagesRequest) -> pb.MatchResult:
        checked = validation.check_image(request.image, max_bytes=self._limits.image_bytes)
        reference = validation.check_reference(request.reference)
        chosen = self._options(request.options)
        result, decoded, hashes = await self._uploads.match(checked, chosen)
        answer = self._answered(result, hashes, chosen, reference, decoded)
        if request.options.seal_token:
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

    async def _answer(self, request: pb.MatchImagesRequest) -> pb.MatchImagesResponse:
        """The answer for one item of a stream: a result, or a status of its own."""
        response = pb.MatchImagesResponse(request_id=request.request_id)
        try:
            response.result.CopyFrom(await self._match(request))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            response.status.CopyFrom(status_of(error))
        return response

    async def _lookup(self, request: pb.LookupHashesRequest) -> pb.LookupHashesResponse:
        if not 1 <= len(request.queries) <= validation.MAX_QUERIES:
            raise InvalidRequestError(
                f"holds 1 to {validation.MAX_QUERIES} queries", field="queries"
            )
        options = self._options(request.options)
        answers = [pb.LookupResult(request_id=each.request_id) for each in request.queries]
        checked, references = {}, {}
        seen: set[str] = set()
        for row, query in enumerate(request.queries):
            try:
                _check_new(validation.check_request_id(query.request_id), seen)
                references[row] = validation.check_reference(query.reference)
                checked[row] = validation.check_query(query)
            except InvalidRequestError as error:
                answers[row].status.CopyFrom(status_of(error))
        results = await self._uploads.lookup(list(checked.values()), options)
        for (row, hashes), result in zip(checked.items(), results, strict=True):
            answer = self._answered(result, hashes, options, references[row])
            if request.options.seal_token:
                answer.token = self._remembering.seal(hashes, current_caller().name)
            answers[row].result.CopyFrom(answer)
        return pb.LookupHashesResponse(results=answers)

    async def _lookup_tokens(
        self, request: pb.LookupTokensRequest, new: Generation, options: pb.MatchOptions
    ) -> pb.LookupTokensResponse:
        queries = request.queries
        if len(queries) > validation.MAX_QUERIES:
            raise InvalidRequestError(
                f"holds at most {validation.MAX_QUERIES} queries", field="queries"
            )
        seen: set[str] = set()
        for query in queries:
            _check_new(validation.check_request_id(query.request_id), seen)
            validation.check_reference(query.reference)
        chosen = self._options(options)
        new.policy_for(chosen)
        tokens = [query.token for query in queries]
        client = current_caller().name
        response = pb.LookupTokensResponse(checked_tokens=len(queries), revision=new.revision)
        for each in await self._token_lookup.check(new, tokens, chosen, client=client):
            query = queries[each.row]
            answer = response.results.add(request_id=query.request_id)
            if each.result is not None and each.hashes is not None:
                message = self._answered(each.result, each.hashes, chosen, query.reference)
                answer.result.CopyFrom(message)
            elif each.error is not None:
                answer.status.CopyFrom(status_of(each.error))
        return response


def _check_new(request_id: str, seen: set[str]) -> None:
    if request_id in seen:
        raise InvalidRequestError("occurs twice in the request", field="request_id")
    seen.add(request_id)
