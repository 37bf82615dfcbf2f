"""Several server processes on one port, and one answer to how they are.

The supervisor holds the port and accepts nothing on it: each process listens there itself
(SO_REUSEPORT), and the kernel spreads connections over them. A process that ends is started again
while the others serve on; a signal to end drains all. SIGHUP reads the settings again, has another
process try them out, and only then replaces one process after the other, the next only when the one
before serves. The kernel ends the processes of a supervisor that was killed. Where snapshots are
encrypted, it decrypts them once for all processes (`matcher.service.shared_memory`). What a process
notices of uploads and clients it passes on to the others (`matcher.service.peers`).

No library does this for gRPC: gunicorn, uvicorn and hypercorn hand accepted sockets to workers of
their own, which gRPC cannot take, by fork or pickle; supervisord, circus and honcho start programs,
but know neither when one is ready nor which port is to be held, and bring control sockets or
daemons of their own; cotyledon forks, which gRPC does not survive. So asyncio starts the processes
and waits for them, and what is here is policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from matcher.errors import MatcherError
from matcher.service.admin import AdminServer, admin_listener
from matcher.service.health import Pulse
from matcher.service.listening import check_listen, choose_lists, reserved
from matcher.service.metrics import SupervisorMetrics
from matcher.service.peers import Switchboard
from matcher.service.processes import Backoff, ServerProcess, shares, try_out
from matcher.service.shared_memory import Broker
from matcher.settings import SAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from matcher.settings import Settings

#: For a process to say how it is; orchestrators give a probe about a second.
ASK_SECONDS = 0.8
_MAX_ANSWER_BYTES = 64 * 1024
#: What a replaced process takes over from the running ones: sockets are bound once.
_KEPT = ("listen", "lists_listen", "admin_listen", "processes")
_log = logging.getLogger(__name__)


async def supervise(
    settings: Settings,
    *,
    reload: Callable[[], Settings],
    on_ready: Callable[[str, str], None] | None = None,
    backoff: Backoff | None = None,
) -> None:
    """Runs `settings.process_count` server processes until SIGTERM or SIGINT, then drains them.

    Args:
        settings: everything that can be set.
        reload: reads the settings again, for SIGHUP.
        on_ready: called once, when all processes serve, with the address of matching and that of
            list management, which is empty for a replica.
        backoff: the pauses between starts of a process that ends.

    Raises:
        SettingsError: an address is not loopback and nothing protects it, or it is taken.
        NotReadyError: a process cannot serve.
    """
    check_listen(settings)
    lists = choose_lists(settings) if settings.keeps_lists else SAME
    with reserved(settings.listen) as address, reserved(lists) as lists_address:
        fleet = Fleet(
            replace(settings, listen=address, lists_listen=lists_address), backoff=backoff
        )
        stop, renew = asyncio.Event(), asyncio.Event()
        with (
            _signals({signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: renew}),
            _admin(settings, fleet),
        ):
            beating = asyncio.create_task(fleet.pulse.run())
            try:
                if await _unless(stop, fleet.start()):
                    if on_ready is not None:
                        together = address if settings.keeps_lists else ""
                        on_ready(address, together if lists_address == SAME else lists_address)
                    await _unless(stop, fleet.attend(renew, reload))
            finally:
                await fleet.stop()
                beating.cancel()


class Fleet:
    """The server processes of one port.

    Args:
        settings: with the port that they share.
        backoff: the pauses between starts of a process that ends.
    """

    def __init__(self, settings: Settings, *, backoff: Backoff | None = None) -> None:
        self._settings = settings
        count = settings.process_count
        self.metrics = SupervisorMetrics(count)
        self.pulse = Pulse()
        self.broker = Broker(settings)
        self.switchboard = Switchboard()
        self.processes = [
            ServerProcess(
                number,
                share,
                on_restart=self.metrics.restarts.labels(str(number)).inc,
                backoff=backoff,
                broker=self.broker,
                switchboard=self.switchboard,
            )
            for number, share in enumerate(shares(settings, count))
        ]
        self.metrics.up.set_function(lambda: sum(each.is_up for each in self.processes))
        self._keeping: list[asyncio.Task[None]] = []
        self._stopping = False

    async def start(self) -> None:
        """Starts the first process, then all others: what it builds they need only open.

        Raises:
            NotReadyError: one of them cannot serve.
        """
        first, *others = self.processes
        await self._started([first])
        await self._started(others)

    async def _started(self, processes: list[ServerProcess]) -> None:
        for each in processes:
            self._keeping.append(asyncio.create_task(each.keep()))

        async def all_serve() -> None:
            for each in processes:
                await each.begun()

        await self._or_failure(all_serve())

    async def attend(self, renew: asyncio.Event, reload: Callable[[], Settings]) -> None:
        """Replaces the processes whenever `renew` is set; returns never."""
        while True:
            await self._or_failure(renew.wait())
            renew.clear()
            await self._or_failure(self._renew(reload))

    async def _or_failure(self, step: Awaitable[Any]) -> None:
        """Waits for `step`, or raises what ended the keeping of a process."""
        task = asyncio.ensure_future(step)
        try:
            done, _ = await asyncio.wait(
                (task, *self._keeping), return_when=asyncio.FIRST_COMPLETED
            )
            for each in done:
                each.result()
        finally:
            task.cancel()

    async def _renew(self, reload: Callable[[], Settings]) -> None:
        try:
            read = await asyncio.to_thread(reload)
            kept = {name: getattr(self._settings, name) for name in _KEPT}
            new = replace(read, **kept)
            parts = shares(new, len(self.processes))
        except MatcherError as error:
            _refuse(str(error))
            return
        if problem := await try_out(parts[0]):
            _refuse(problem)
            return
        self.broker.use(new)
        for each, share in zip(self.processes, parts, strict=True):
            if not await each.replace(share):
                _log.error(
                    "server process %d does not serve with the new settings; "
                    "it gets back the old ones, and the rest keep them",
                    each.number,
                )
                return
            _log.info("server process %d was replaced", each.number)
        self._settings = new

    async def stop(self) -> None:
        """Drains all processes and waits for their end."""
        self._stopping = True
        for each in self.processes:
            each.stop()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        self.broker.close()
        self.switchboard.close()

    def live(self) -> tuple[bool, Mapping[str, object]]:
        """Whether the supervisor itself runs; from any thread."""
        return self.pulse.beats, {"live": self.pulse.beats}

    def ready(self) -> tuple[bool, Mapping[str, object]]:
        """Asks every process; from any thread. All must be ready."""
        with ThreadPoolExecutor(len(self.processes)) as threads:
            told = list(threads.map(_ask, self.processes))
        well = not self._stopping and self.pulse.beats and all(each["ready"] for each in told)
        return well, {"ready": well, "processes": told}


def _refuse(problem: str) -> None:
    _log.error("the new settings cannot be used; all goes on as before: %s", problem)


def _ask(process: ServerProcess) -> dict[str, object]:
    """What a process says of itself, under its number."""
    about: dict[str, object] = {"process": process.number, "pid": process.pid}
    if not process.is_up:
        return about | {"ready": False, "problem": "it does not serve"}
    if not process.admin:
        return about | {"ready": True, "problem": ""}
    connection = http.client.HTTPConnection(process.admin, timeout=ASK_SECONDS)
    try:
        connection.request("GET", "/readyz")
        answer: dict[str, object] = json.loads(connection.getresponse().read(_MAX_ANSWER_BYTES))
        return about | {"admin": process.admin} | answer | {"ready": answer["ready"] is True}
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        problem = f"its health cannot be asked: {type(error).__name__}"
        return about | {"ready": False, "problem": problem}
    finally:
        connection.close()


@contextlib.contextmanager
def _admin(settings: Settings, fleet: Fleet) -> Iterator[None]:
    listener = admin_listener(settings)
    if listener is None:
        yield
        return
    server = AdminServer(
        listener, live=fleet.live, ready=fleet.ready, registry=fleet.metrics.registry
    )
    _log.info("health and metrics of the supervisor: http://%s", server.address)
    try:
        yield
    finally:
        server.close()


@contextlib.contextmanager
def _signals(events: Mapping[signal.Signals, asyncio.Event]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, event in events.items():
        loop.add_signal_handler(number, event.set)
    try:
        yield
    finally:
        for number in events:
            loop.remove_signal_handler(number)


async def _unless(stop: asyncio.Event, step: Awaitable[None]) -> bool:
    """Waits for `step` and returns True, or False once `stop` is set; what it raises is raised."""
    working = asyncio.ensure_future(step)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        return not stop.is_set()
    finally:
        for task in (working, stopping):
            task.cancel()
