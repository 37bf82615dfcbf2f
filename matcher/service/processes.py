"""One server process of a supervisor, and its successors.

A process that ends unasked is started again: after half a second the first time, then after twice
as long each time, up to half a minute, and from the beginning once it has served for a minute.
Only one that never served is not tried again, since its fault is in the settings.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from matcher.errors import NotReadyError, SettingsError
from matcher.service.handover import Order, Report, order_to_json, report_from_json

if TYPE_CHECKING:
    import socket
    from asyncio.subprocess import Process
    from collections.abc import Callable, Mapping, Sequence

    from matcher.service.peers import Switchboard
    from matcher.service.shared_memory import Broker
    from matcher.settings import Settings

#: Beyond `drain_seconds`, before a process that was told to end is killed.
KILL_SECONDS = 10.0
_MAX_PORT = 65_535
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a process is started again.

    Attributes:
        first, longest: seconds.
        steady: seconds of serving after which a failure counts as the first.
    """

    first: float = 0.5
    longest: float = 30.0
    steady: float = 60.0


class ServerProcess:
    """Keeps one server process running. Single event loop only.

    Args:
        number: from 0; stable over restarts.
        settings: this process's own.
        on_restart: called before an ended process is started again.
        backoff: the pauses between starts.
        broker: decrypts snapshots for it; None where it does so itself.
        switchboard: connects it with its siblings; None where it has none.
    """

    def __init__(
        self,
        number: int,
        settings: Settings,
        *,
        on_restart: Callable[[], None],
        backoff: Backoff | None = None,
        broker: Broker | None = None,
        switchboard: Switchboard | None = None,
    ) -> None:
        self._broker = broker
        self._switchboard = switchboard
        self.number = number
        self.settings = settings
        self.admin = ""
        self.is_up = False
        self._on_restart = on_restart
        self._backoff = backoff or Backoff()
        self._process: Process | None = None
        self._begun: asyncio.Future[bool] = _future()
        self._served = False
        self._ending = asyncio.Event()
        self._replacing = False
        self._wake = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """Of the running process; None between two."""
        process = self._process
        return None if process is None or process.returncode is not None else process.pid

    async def begun(self) -> bool:
        """Whether the newest start came to serve, once that is known."""
        return await asyncio.shield(self._begun)

    async def keep(self) -> None:
        """Starts the process again whenever it ends, until `stop`.

        Raises:
            NotReadyError: the first start came to nothing, and why.
        """
        pause = self._backoff.first
        while True:
            started = time.monotonic()
            why = await self._run()
            if self._ending.is_set():
                break
            if self._replacing:
                self._replacing = False
                continue
            if not self._served:
                raise NotReadyError(why)
            if time.monotonic() - started >= self._backoff.steady:
                pause = self._backoff.first
            _log.warning(
                "server process %d: %s; it is started again in %.1f s", self.number, why, pause
            )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            pause = min(2 * pause, self._backoff.longest)
            if self._ending.is_set():
                break
            self._on_restart()
        if not self._begun.done():  # nobody waits for a start that will not come
            self._begun.set_result(False)

    async def replace(self, settings: Settings) -> bool:
        """Drains the running process and starts another with these settings.

        Returns:
            Whether it serves. Where not, it is tried again with the settings from before.
        """
        before, self.settings = self.settings, settings
        self._begun = _future()
        self._replacing = self.pid is not None
        self._wake.set()
        self._end()
        served = await self.begun()
        if not served:
            self.settings = before
        return served

    def stop(self) -> None:
        """Drains the process; `keep` returns once it has ended."""
        self._ending.set()
        self._wake.set()
        self._end()

    async def _run(self) -> str:
        """Runs one process from start to end; says how it ended."""
        self._wake.clear()
        if self._begun.done():
            self._begun = _future()
        ends: dict[str, socket.socket] = {}
        try:
            self._connect(ends)
            process = self._process = await _spawn([*ends.values()])
        except OSError as error:
            _close(ends)
            begun = self._begun
            why = f"it cannot be started: {error.strerror or error}"
        else:
            # Taken together with the settings, now that the process can be told to end: what
            # `replace` brought until here is of this start, what it brings later of the next.
            begun = self._begun
            if self._ending.is_set():
                self._end()
            complaint = await self._attend(process, begun, ends)
            status = await process.wait()
            self.is_up = False
            why = complaint or f"it ended with {_described(status)}"
        if self._served and not begun.done():
            begun.set_result(False)
        return why

    def _connect(self, ends: dict[str, socket.socket]) -> None:
        """Adds the process's ends of the connections that it is to have, named as in an order."""
        if self._broker is not None and self.settings.encryption_keys:
            ends["memory"] = self._broker.connect()
        if self._switchboard is not None:
            ends["peers"] = self._switchboard.connect()

    async def _attend(
        self, process: Process, begun: asyncio.Future[bool], ends: Mapping[str, socket.socket]
    ) -> str:
        """Gives the process its order and hears it out; returns its complaint, if any."""
        assert process.stdout is not None
        descriptors = {name: end.fileno() for name, end in ends.items()}
        order = Order(
            self.number,
            os.getpid(),
            self.settings,
            memory=descriptors.get("memory"),
            peers=descriptors.get("peers"),
        )
        _close(ends)  # the process has its own by now
        await _hand_over(process, order)
        error = ""
        while line := await process.stdout.readline():
            report = _report(line)
            error = report.error
            if not error:
                self.admin, self.is_up, self._served = report.admin, True, True
                if not begun.done():
                    begun.set_result(True)
        return error

    def _end(self) -> None:
        """Tells the process to drain, and kills it where that takes too long."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.is_up = False
        process.terminate()
        limit = self.settings.drain_seconds + KILL_SECONDS
        asyncio.get_running_loop().call_later(limit, self._kill, process)

    def _kill(self, process: Process) -> None:
        if process.returncode is None:
            _log.error("server process %d does not end and is killed", self.number)
            process.kill()


async def try_out(settings: Settings) -> str:
    """Has a process load everything by these settings, answer nobody, and end.

    Returns:
        Why a process cannot serve with them; empty where one can.
    """
    try:
        process = await _spawn()
    except OSError as error:
        return f"no process can be started: {error.strerror or error}"
    try:
        assert process.stdout is not None
        await _hand_over(process, Order(0, os.getpid(), settings, trial=True))
        line = await process.stdout.readline()
        if not line:
            return f"the process that tried them ended with {_described(await process.wait())}"
        return _report(line).error
    finally:
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            process.kill()
        await process.wait()


async def _hand_over(process: Process, order: Order) -> None:
    """Gives a new process its order."""
    assert process.stdin is not None
    with contextlib.suppress(ConnectionError):  # it ended at once
        process.stdin.write(order_to_json(order))
        await process.stdin.drain()
    process.stdin.close()


def shares(settings: Settings, count: int) -> list[Settings]:
    """The settings of each of `count` processes: decoders and work in flight are shared out.

    Every process gets at least one decoder, and room for one image. Its admin port is the
    supervisor's plus its number plus one; port 0 stays 0.

    Raises:
        SettingsError: there are not so many ports.
    """
    decoders, more = divmod(settings.decode_workers, count)
    return [
        replace(
            settings,
            processes=1,
            decode_workers=max(1, decoders + (number < more)),
            max_in_flight=-(-settings.max_in_flight // count),
            max_unary_rpcs=-(-settings.max_unary_rpcs // count),
            max_in_flight_bytes=max(settings.image_bytes, settings.max_in_flight_bytes // count),
            admin_listen=_admin_of(settings.admin_listen, number),
        )
        for number in range(count)
    ]


def _admin_of(address: str, number: int) -> str:
    host, _, port = address.rpartition(":")
    if not address or int(port) == 0:
        return address
    mine = int(port) + 1 + number
    if mine > _MAX_PORT:
        raise SettingsError(
            f"admin_listen: server process {number} would need port {mine}; choose a lower one"
        )
    return f"{host}:{mine}"


async def _spawn(ends: Sequence[socket.socket] = ()) -> Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "matcher.service.worker",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        pass_fds=[each.fileno() for each in ends],
        start_new_session=True,  # a terminal's signals reach the supervisor alone
    )


def _close(ends: Mapping[str, socket.socket]) -> None:
    for each in ends.values():
        each.close()


def _report(line: bytes) -> Report:
    try:
        return report_from_json(line)
    except (ValueError, KeyError, TypeError):
        return Report(error="it said what a server process does not say")


def _described(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"


def _future() -> asyncio.Future[bool]:
    return asyncio.get_running_loop().create_future()
