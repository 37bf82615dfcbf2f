"""Scans on a Ray cluster: the only home of Ray, which nothing else needs.

Each worker is an actor with a `LocalEngine` of its own. Ray starts a worker anew that is lost, on
whatever node has room, and asks it again for the batches that it had; a batch is planned here until
its result is here, so nothing is lost with a worker, a node or this process. The lists are carried
to each node once (`matcher.scan.engines.placing`).

Only bytes and numbers are passed to workers and back, as MessagePack of known types. Ray has its
own way of moving them, for which all its processes trust one another; files are decoded in the
sandbox of each worker, which is no part of the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashlists.errors import HashlistsError
from matcher.errors import MatcherError
from matcher.scan.engines.orders import Orders, engine_of
from matcher.scan.engines.placing import PackedSnapshot, pack, placed, usual_node_folder
from matcher.scan.errors import EngineError
from matcher.scan.model import Batch, BatchResult
from matcher.settings import silence_ray

if TYPE_CHECKING:
    from pathlib import Path

    from matcher.scan.engines.local import LocalEngine

#: How often a batch is given to a worker again whose process was lost.
_TRIES: Final = 4
#: Waited for workers to end on their own.
_CLOSE_SECONDS: Final = 20.0
_CONNECT_SECONDS: Final = 10.0
#: Shared memory of a cluster that is started here, beside twice the lists.
_STORE_BYTES: Final = 256 << 20
_INSTALL: Final = "--engine ray needs Ray: install it with: pip install 'hashwarden[ray]'"


class _Failure(msgspec.Struct, frozen=True, tag=True):
    """Why a worker cannot scan, in words for the operator."""

    words: str


class _Done(msgspec.Struct, frozen=True, tag=True):
    """The result of a batch."""

    result: BatchResult


_Said = _Failure | _Done


class _Worker:
    """What runs in an actor. Everything is opened by the first batch, once."""

    def __init__(self, orders: bytes, packed: PackedSnapshot[Any]) -> None:
        self._orders = msgspec.msgpack.decode(orders, type=Orders)
        self._packed = packed
        self._open = asyncio.Lock()
        self._engine: LocalEngine | None = None
        self._held = contextlib.AsyncExitStack()

    async def scan(self, batch: bytes) -> bytes:
        """Scans a batch; what keeps it from scanning at all is told as a value."""
        said: _Said
        try:
            engine = await self._opened()
            said = _Done(await engine.scan(msgspec.msgpack.decode(batch, type=Batch)))
        except (MatcherError, HashlistsError, OSError) as error:
            said = _Failure(str(error))
        return msgspec.msgpack.encode(said)

    async def process(self) -> int:
        """The id of its process."""
        return os.getpid()

    async def close(self) -> None:
        """Ends decoders, and lets go of the lists."""
        async with self._open:
            self._engine = None
            await self._held.aclose()

    async def _opened(self) -> LocalEngine:
        async with self._open:
            if self._engine is None:
                root = await asyncio.to_thread(self._placed)
                self._engine = await self._held.enter_async_context(engine_of(self._orders, root))
            return self._engine

    def _placed(self) -> Path:
        ray = _library()
        return self._held.enter_context(placed(self._packed, usual_node_folder(), ray.get))


class RayEngine:
    """An `Engine` on a cluster; made by `start_ray_engine`.

    Args:
        workers: handles of the actors.
        packed: what they were given, held here for those that Ray starts anew.
        batches: that each is given at a time.
        ends: Ray was started here, and ends with this engine.
    """

    def __init__(
        self, workers: list[Any], packed: PackedSnapshot[Any], *, batches: int, ends: bool
    ) -> None:
        self._workers = workers
        self._packed = packed
        self._batches = batches
        self._ends = ends
        self._busy = [0] * len(workers)
        self._closed = False

    @property
    def capacity(self) -> int:
        """As `Engine.capacity`."""
        return len(self._workers) * self._batches

    async def scan(self, batch: Batch) -> BatchResult:
        """As `Engine.scan`."""
        row = min(range(len(self._workers)), key=self._busy.__getitem__)
        self._busy[row] += 1
        try:
            answer = await self._workers[row].scan.remote(msgspec.msgpack.encode(batch))
        except _library().exceptions.RayError as error:
            raise EngineError(_told(error)) from error
        finally:
            self._busy[row] -= 1
        said = msgspec.msgpack.decode(answer, type=_Said)
        if isinstance(said, _Failure):
            raise EngineError(f"a worker of the cluster cannot scan: {said.words}")
        result: BatchResult = said.result
        return result

    async def processes(self) -> list[int]:
        """The process id of each worker, on its own node."""
        return list(await asyncio.gather(*(each.process.remote() for each in self._workers)))

    async def close(self) -> None:
        """As `Engine.close`."""
        if self._closed:
            return
        self._closed = True
        ray = _library()
        ending = [asyncio.ensure_future(_ended(each)) for each in self._workers]
        if ending:
            await asyncio.wait(ending, timeout=_CLOSE_SECONDS)
        for each in ending:
            each.cancel()
        for each in self._workers:
            ray.kill(each)
        if self._ends:
            await asyncio.to_thread(ray.shutdown)


async def _ended(worker: Any) -> None:
    with contextlib.suppress(_library().exceptions.RayError):
        await worker.close.remote()


async def start_ray_engine(
    orders: Orders,
    snapshots: Path,
    name: str,
    *,
    address: str = "",
    workers: int = 0,
) -> RayEngine:
    """Starts workers on a cluster.

    Args:
        orders: what each worker is to know.
        snapshots: root of snapshots here, in which `name` is published.
        name: the snapshot that is searched.
        address: of the cluster, as `ray.init` takes it; empty: one is started on this machine.
        workers: how many; 0: as many as the cluster has CPUs.

    Raises:
        EngineError: Ray is not installed, the cluster cannot be reached or has no room.
    """
    ray = _library()
    try:
        ends = await asyncio.to_thread(_connect, address, snapshots / name, workers)
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        packed = await asyncio.to_thread(pack, snapshots, name, ray.put)
    except (ray.exceptions.RayError, OSError, RuntimeError, ValueError) as error:
        where = f"at {address}" if address else "on this machine"
        raise EngineError(f"no cluster of Ray could be had {where}: {error}") from error
    actor = ray.remote(_Worker).options(
        num_cpus=1,
        max_restarts=-1,
        max_task_retries=_TRIES,
        max_concurrency=orders.batches + 2,  # to be closed, and asked for its process, meanwhile
    )
    said = msgspec.msgpack.encode(orders)
    handles = [actor.remote(said, packed) for _ in range(count)]
    return RayEngine(handles, packed, batches=orders.batches, ends=ends)


def _connect(address: str, snapshot: Path, workers: int) -> bool:
    """Whether a cluster was started for this."""
    ray = _library()
    if ray.is_initialized():
        return False
    usual: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address:
        _look_for(address)
        _init(address=address, **usual)
        return True
    lists = sum(each.stat().st_size for each in snapshot.iterdir())
    _init(
        address="local",
        num_cpus=workers or None,
        include_dashboard=False,
        object_store_memory=_STORE_BYTES + 2 * lists,
        **usual,
    )
    return True


def _init(**options: Any) -> None:
    try:
        _library().init(**options)
    except Exception as error:  # a node that does not come up is a plain one
        raise OSError(str(error)) from error


def _look_for(address: str) -> None:
    """Ray itself waits for minutes where nobody is at an address.

    Raises:
        OSError: nobody is.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _told(error: Exception) -> str:
    """What became of a worker; Ray's own text has paths and addresses of its nodes."""
    exceptions = _library().exceptions
    if isinstance(error, exceptions.ActorUnschedulableError | exceptions.ActorUnavailableError):
        return "the cluster has no room for a worker any more; --resume goes on once it has"
    if isinstance(error, exceptions.RayActorError):
        return (
            f"a worker of the cluster was lost {_TRIES + 1} times over one batch; look at its "
            "node's memory, then go on with --resume"
        )
    return f"the cluster failed ({type(error).__name__}); go on with --resume"


def _library() -> Any:
    silence_ray()
    try:
        import ray  # noqa: PLC0415  an extra
    except ImportError as error:
        raise EngineError(_INSTALL) from error
    return ray


__all__ = ["RayEngine", "start_ray_engine"]
