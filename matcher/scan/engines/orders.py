"""What a worker on another machine must know to scan as this one would, and how it begins.

Orders, batches and results cross as MessagePack: what a cluster's own transport makes of bytes is
bytes. They hold no credential: stores are opened with
what the worker's own machine has, and keys of encrypted lists are read where the orders say.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashlists.snapshot import open_current
from matcher.decode.choosing import Sandbox, decode_pool
from matcher.decode.limits import DecodeLimits, WorkerLimits
from matcher.follow.vaults import make_vault
from matcher.index.match_index import MatchIndex
from matcher.pipeline import Generation, MatchOptions
from matcher.policy.rules import policies_from_dict
from matcher.scan.document import Place  # noqa: TC001  msgspec reads it
from matcher.scan.engines.local import LocalEngine, LocalOptions
from matcher.scan.errors import EngineError
from matcher.scan.judging.local import LocalJudge
from matcher.scan.pace import FIRST, MOST
from matcher.scan.sources import SourceOptions, open_source
from matcher.scan.sources.archives import ArchiveLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

#: Holds the day of a date, which MessagePack has no type for; no key of TOML begins so unquoted.
_DATE: Final = "\0date"


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker scans.

    Attributes:
        places, prefix: what is scanned, as `ScanDocument` has them.
        policies: the policy document, as `carried` gives it; policy, views: which of it counts.
        policy_origin: where the document is from, for errors.
        default_policy: the name that an empty one stands for.
        max_matches: that a record lists.
        image_bytes: of an encoded file that is decoded.
        decode_limits, worker_limits: fields of `DecodeLimits` and `WorkerLimits`.
        decode_sandbox: a `Sandbox`.
        decoders: of each worker.
        batches: that each worker is given at a time.
        fetches: objects that a worker fetches at a time, at most; 0: as many as usual.
        anonymous, allow_http: as `SourceOptions` has them.
        archives, keep_hashes: as `ScanDocument` has them.
        encryption_keys: place of the keys of encrypted snapshots, on the worker's machine.
        revision: of the lists; a worker that has others does not begin.
    """

    places: tuple[Place, ...]
    prefix: str = ""
    policies: dict[str, Any] = {}
    policy_origin: str = "policies"
    default_policy: str = "default"
    policy: str = ""
    views: tuple[str, ...] = ()
    max_matches: int = 10
    image_bytes: int
    decode_limits: dict[str, Any] = {}
    worker_limits: dict[str, Any] = {}
    decode_sandbox: str = Sandbox.ON.value
    decoders: int = 1
    batches: int = 2
    fetches: int = 0
    anonymous: bool = False
    allow_http: bool = False
    archives: bool = False
    keep_hashes: bool = False
    encryption_keys: str = ""
    revision: int


def carried(document: Any) -> Any:
    """A policy document, or a part of one, without what MessagePack has no type for."""
    if isinstance(document, dict):
        return {key: carried(each) for key, each in document.items()}
    if isinstance(document, list | tuple):
        return [carried(each) for each in document]
    if isinstance(document, date) and not isinstance(document, datetime):
        return {_DATE: document.isoformat()}
    return document


def _brought(document: Any) -> Any:
    """What `carried` was given."""
    if isinstance(document, dict):
        if document.keys() == {_DATE}:
            return date.fromisoformat(document[_DATE])
        return {key: _brought(each) for key, each in document.items()}
    if isinstance(document, list):
        return [_brought(each) for each in document]
    return document


@contextlib.asynccontextmanager
async def engine_of(orders: Orders, snapshots: Path) -> AsyncIterator[LocalEngine]:
    """An engine in this process that does as the orders say.

    Args:
        orders: how.
        snapshots: root of the snapshot that is searched.

    Raises:
        SnapshotError, EngineError: the lists cannot be opened, or are others.
        PolicyError, SourceError, UnprotectedError: as whoever gave the orders would have seen.
    """
    async with contextlib.AsyncExitStack() as stack:
        generation = await asyncio.to_thread(_generation, orders, snapshots)
        pool = decode_pool(
            DecodeLimits(**orders.decode_limits),
            WorkerLimits(**orders.worker_limits),
            workers=orders.decoders,
            sandbox=Sandbox(orders.decode_sandbox),
        )
        stack.push_async_callback(asyncio.to_thread, pool.close)
        opening = SourceOptions(anonymous=orders.anonymous, allow_http=orders.allow_http)
        sources = [
            open_source(each, prefix=orders.prefix, options=opening) for each in orders.places
        ]
        for each in sources:
            stack.push_async_callback(each.close)
        options = MatchOptions(
            policy=orders.policy, views=orders.views, max_matches=orders.max_matches
        )
        judge = LocalJudge(generation, pool, options, max_bytes=orders.image_bytes)
        stack.push_async_callback(judge.close)
        most = orders.fetches or MOST
        engine = LocalEngine(
            sources,
            judge,
            LocalOptions(
                batches=orders.batches,
                first_fetches=min(FIRST, most),
                most_fetches=most,
                keep_hashes=orders.keep_hashes,
            ),
            archives=ArchiveLimits() if orders.archives else None,
        )
        stack.push_async_callback(engine.close)
        yield engine


def _generation(orders: Orders, snapshots: Path) -> Generation:
    snapshot = open_current(snapshots, vault=make_vault(orders.encryption_keys))
    if snapshot is None:
        raise EngineError("no snapshot of the lists was placed on this machine")
    policies = policies_from_dict(_brought(orders.policies), origin=orders.policy_origin)
    generation = Generation(MatchIndex.open(snapshot), policies, orders.default_policy)
    if generation.revision != orders.revision:
        raise EngineError(
            f"the lists that were placed on this machine are of revision {generation.revision}, "
            f"not of {orders.revision}"
        )
    return generation


__all__ = ["Orders", "carried", "engine_of"]
