"""What a scan matches by: the lists of this machine, or a server."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from matcher import __version__
from matcher.cli.context import warn_of_no_entries
from matcher.cli.output import note
from matcher.errors import DecodersAwayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from matcher.cli.context import Session
    from matcher.decode.pool import DecodePool
    from matcher.model import DecodeRequest
    from matcher.pipeline import Generation, MatchOptions
    from matcher.scan.document import ScanDocument
    from matcher.scan.judging.base import Judge

_STALE = "warning: the server knows that its lists are not the newest"
_MAX_MATCHES = 100  # that a record lists: reports go by lists, of which none should be missing


class Means(Protocol):
    """Opens judges, and tells what they go by."""

    @property
    def looked_up(self) -> Mapping[str, Any]:
        """What a run goes by, as `ScanState.begin_run` takes it."""
        ...

    def judge(self) -> Any:
        """A judge, as an asynchronous context; one at a time."""
        ...


@dataclass(frozen=True, slots=True)
class _Here:
    """The lists of this machine.

    Attributes:
        opened_pool: gives decoders, which are closed with the context.
        decoders: tells in a line what reads the objects; empty where nobody here knows.
    """

    generation: Generation
    options: MatchOptions
    max_bytes: int
    opened_pool: Callable[[], AbstractContextManager[DecodePool]]
    decoders: Callable[[], str]

    @property
    def looked_up(self) -> Mapping[str, Any]:
        return {**looked_up(self.generation, self.options), "decoders": self.decoders()}

    @asynccontextmanager
    async def judge(self) -> AsyncIterator[Judge]:
        from matcher.scan.judging.local import LocalJudge  # noqa: PLC0415  brings numpy and faiss

        with self.opened_pool() as pool:
            judge = LocalJudge(self.generation, pool, self.options, max_bytes=self.max_bytes)
            try:
                yield judge
            finally:
                await judge.close()


@dataclass(frozen=True, slots=True)
class _There:
    """A server."""

    server: str
    credentials: Mapping[str, Any]
    options: MatchOptions
    max_bytes: int

    @property
    def looked_up(self) -> Mapping[str, Any]:
        return {"revision": 0, "policy": self.options.policy, "policy_version": ""}

    @asynccontextmanager
    async def judge(self) -> AsyncIterator[Judge]:
        from matcher.client import AsyncClient  # noqa: PLC0415  brings grpc
        from matcher.scan.judging.server import ServerJudge  # noqa: PLC0415

        async with AsyncClient(self.server, **self.credentials) as client:
            judge = ServerJudge(client, self.options, max_bytes=self.max_bytes)
            try:
                yield judge
            finally:
                await judge.close()
                if judge.stale:
                    note(_STALE, style="yellow")


def looked_up(generation: Generation, options: MatchOptions) -> dict[str, Any]:
    """What a run here goes by, as `ScanState.begin_run` takes it."""
    bound = generation.policy_for(options)
    return {
        "revision": generation.revision,
        "policy": bound.name,
        "policy_version": bound.version,
        "hashed": hashed_names(bound.request),
    }


def options_of(document: ScanDocument) -> MatchOptions:
    """What a scan asks of lists."""
    from matcher.pipeline import MatchOptions  # noqa: PLC0415  brings numpy and faiss

    return MatchOptions(policy=document.policy, views=document.views, max_matches=_MAX_MATCHES)


def opened_lists(session: Session, options: MatchOptions) -> Generation:
    """The lists of this machine; tells where nothing can match.

    Raises:
        UnknownPolicyError, PolicyError: the policy is none, or a view is unknown.
        RefusalError, CatalogError: there are no lists here.
    """
    generation = session.generation()
    generation.policy_for(options)
    warn_of_no_entries(generation)
    return generation


def hashed_names(request: DecodeRequest) -> tuple[str, ...]:
    """What an object is hashed in: views, and kinds beside PDQ and digests; e.g. "frames 16"."""
    views = [
        name if chosen is True else f"{name} {chosen}"
        for name, chosen in asdict(request.views).items()
        if chosen
    ]
    return ("upright", *views, *sorted(kind.value for kind in request.kinds64))


def decoders_of(pool: DecodePool) -> str:
    """What reads objects here, in a line: build and decoders; empty where none can be started."""
    try:
        return f"hashwarden {__version__}; {pool.versions()}"
    except DecodersAwayError:
        return ""  # each object is told so, or a later try has better luck


@contextmanager
def opened_means(
    session: Session, document: ScanDocument, *, workers: int | None = None, afar: bool = False
) -> Iterator[Means]:
    """What a scan matches by.

    Args:
        session: of this command.
        document: what was asked for.
        workers: decoders at work at once; None for the setting.
        afar: a cluster scans, and has decoders of its own: here there are some only while a judge
            is open.

    Raises:
        UnknownPolicyError, PolicyError: the policy is none, or a view is unknown.
        RefusalError, CatalogError: there are no lists here.
        CredentialsError: those for the server cannot be read.
    """
    options, max_bytes = options_of(document), session.settings.image_bytes
    if document.server:
        yield _There(document.server, session.credentials(), options, max_bytes)
        return
    generation = opened_lists(session, options)
    if afar:
        yield _Here(generation, options, max_bytes, session.decode_pool, lambda: "")
        return
    with session.decode_pool(workers) as pool:
        opened, decoders = lambda: nullcontext(pool), partial(decoders_of, pool)
        yield _Here(generation, options, max_bytes, opened, decoders)


__all__ = [
    "Means",
    "decoders_of",
    "hashed_names",
    "looked_up",
    "opened_lists",
    "opened_means",
    "options_of",
]
