"""Opens what carries a scan out: this process, or a cluster."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from matcher.cli.refusal import RefusalError
from matcher.scan.events import unheard

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from matcher.cli.scan_asked import Asked
    from matcher.scan.document import ScanDocument
    from matcher.scan.engines.base import Engine
    from matcher.scan.events import Event
    from matcher.scan.judging.base import Judge
    from matcher.scan.sources.base import Source
    from matcher.scan.unchanged import Earlier


@asynccontextmanager
async def opened_engine(
    asked: Asked,
    document: ScanDocument,
    sources: Sequence[Source],
    judge: Judge,
    *,
    earlier: Earlier | None = None,
    events: Callable[[Event], None] = unheard,
) -> AsyncIterator[Engine]:
    """The engine that was asked for.

    Args:
        asked: the options.
        document: of the scan.
        sources: in the order of its places.
        judge: decides.
        earlier: of an earlier scan, whose hashes stand for unchanged objects.
        events: told of tries in vain, and when a store asks for less.

    Raises:
        RefusalError: it is not there.
    """
    from matcher.scan.engines.local import LocalEngine, LocalOptions  # noqa: PLC0415  brings numpy
    from matcher.scan.pace import FIRST, MOST  # noqa: PLC0415
    from matcher.scan.sources.archives import ArchiveLimits  # noqa: PLC0415

    if asked.engine != "local":
        raise RefusalError(f"no engine {asked.engine} is here; scan with --engine local")
    most = asked.fetches or MOST
    options = LocalOptions(
        first_fetches=min(FIRST, most),
        most_fetches=most,
        keep_hashes=document.hashes_until > 0,
    )
    engine = LocalEngine(
        sources,
        judge,
        options,
        archives=ArchiveLimits() if document.archives else None,
        earlier=earlier,
        events=events,
    )
    try:
        yield engine
    finally:
        await engine.close()


__all__ = ["opened_engine"]
