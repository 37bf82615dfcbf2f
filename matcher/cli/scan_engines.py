"""Opens what carries a scan out: this process, or a cluster."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from matcher.cli.scan_means import options_of
from matcher.scan.events import unheard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from matcher.cli.context import Session
    from matcher.cli.scan_asked import Asked
    from matcher.cli.scan_means import Means
    from matcher.scan.document import ScanDocument
    from matcher.scan.engines.base import Engine
    from matcher.scan.events import Event
    from matcher.scan.judging.base import Judge
    from matcher.scan.sources.base import Source
    from matcher.scan.unchanged import Earlier


@asynccontextmanager
async def opened_engine(
    session: Session,
    asked: Asked,
    document: ScanDocument,
    sources: Sequence[Source],
    means: Means,
    *,
    earlier: Earlier | None = None,
    events: Callable[[Event], None] = unheard,
) -> AsyncIterator[Engine]:
    """The engine that was asked for.

    Args:
        session: of this command.
        asked: the options.
        document: of the scan.
        sources: in the order of its places.
        means: what it matches by.
        earlier: of an earlier scan, whose hashes stand for unchanged objects.
        events: told of tries in vain, and when a store asks for less.

    Raises:
        EngineError: there is no cluster.
    """
    async with AsyncExitStack() as stack:
        if asked.engine == "ray":
            revision = means.looked_up["revision"]
            opened = await _on_a_cluster(session, asked, document, revision)
        else:
            judge = await stack.enter_async_context(means.judge())
            opened = _here(asked, document, sources, judge, earlier=earlier, events=events)
        stack.push_async_callback(opened.close)
        yield opened


def _here(
    asked: Asked,
    document: ScanDocument,
    sources: Sequence[Source],
    judge: Judge,
    *,
    earlier: Earlier | None,
    events: Callable[[Event], None],
) -> Engine:
    from matcher.scan.engines.local import LocalEngine, LocalOptions  # noqa: PLC0415  brings numpy
    from matcher.scan.pace import FIRST, MOST  # noqa: PLC0415
    from matcher.scan.sources.archives import ArchiveLimits  # noqa: PLC0415

    most = asked.fetches or MOST
    options = LocalOptions(
        first_fetches=min(FIRST, most),
        most_fetches=most,
        keep_hashes=document.hashes_until > 0,
    )
    return LocalEngine(
        sources,
        judge,
        options,
        archives=ArchiveLimits() if document.archives else None,
        earlier=earlier,
        events=events,
    )


async def _on_a_cluster(
    session: Session, asked: Asked, document: ScanDocument, revision: int
) -> Engine:
    from matcher.cli.building import build_snapshot  # noqa: PLC0415  brings numpy and faiss
    from matcher.scan.engines.orders import Orders, carried  # noqa: PLC0415
    from matcher.scan.engines.ray import start_ray_engine  # noqa: PLC0415

    settings = session.settings
    options = options_of(document)
    orders = Orders(
        places=document.places,
        prefix=document.selection.prefix,
        policies=carried(settings.policy_document),
        policy_origin=settings.policy_origin,
        default_policy=settings.default_policy,
        policy=options.policy,
        views=options.views,
        max_matches=options.max_matches,
        image_bytes=settings.image_bytes,
        decode_limits=dict(settings.decode_limits),
        worker_limits=dict(settings.worker_limits),
        decode_sandbox=settings.decode_sandbox,
        fetches=asked.fetches or 0,
        anonymous=asked.anonymous,
        allow_http=asked.allow_http,
        archives=document.archives,
        keep_hashes=document.hashes_until > 0,
        encryption_keys=settings.encryption_keys,
        revision=revision,
    )
    name = await asyncio.to_thread(build_snapshot, session)
    return await start_ray_engine(
        orders,
        settings.snapshots_dir,
        name,
        address=asked.address or "",
        workers=asked.workers or 0,
    )


__all__ = ["opened_engine"]
