"""One of several server processes: `python -m matcher.service.worker`, started by a supervisor.

It reads its order from standard input, says on standard output once whether it serves, and then
serves like a server alone, but for two things: it shares its port, and it never outlives its
supervisor. When that is gone, however it ended, this process drains and ends. On trial it only says
whether it would serve.
"""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from hashlists.errors import HashlistsError
from matcher.errors import MatcherError
from matcher.parent import end_with
from matcher.service.handover import Order, Report, order_from_json, report_to_json
from matcher.service.peers import Peers
from matcher.service.shared_memory import SupervisorMemory
from matcher.telemetry import configure_logging

if TYPE_CHECKING:
    from matcher.service.server import RunningServer
    from matcher.settings import Settings

EXIT_ERROR = 2
#: Beyond `drain_seconds`: for what ends after the last answer. The supervisor kills earlier.
SELF_KILL_SECONDS = 20.0
_MAX_ERROR_CHARS = 8192  # a line of the report, however escaped, stays below 64 KiB


def main() -> int:
    """Serves as ordered; returns the exit status."""
    order = order_from_json(sys.stdin.buffer.read())
    report = _reports()
    # The supervisor starts processes by its first thread only, which ends when it does.
    if not end_with(order.supervisor, signal.SIGTERM):
        return EXIT_ERROR
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # means something to the supervisor only
    configure_logging(level=order.settings.log_level, log_format=order.settings.log_format)
    _name_in_logs(order.number)
    try:
        if order.trial:
            asyncio.run(_try(order.settings))
            _tell(report, Report())
        else:
            asyncio.run(_serve(order, report))
    except (HashlistsError, MatcherError, OSError) as error:
        _tell(report, Report(error=str(error)[:_MAX_ERROR_CHARS]))
        return EXIT_ERROR
    return 0


async def _serve(order: Order, report: int) -> None:
    from matcher.service.server import serve  # noqa: PLC0415  takes a second: after `end_with`

    def ready(server: RunningServer) -> None:
        _tell(report, Report(admin=server.admin))

    def stop() -> None:
        # Where the supervisor is gone nobody else would end a drain that hangs.
        seconds = order.settings.drain_seconds + SELF_KILL_SECONDS
        faulthandler.dump_traceback_later(seconds, exit=True)

    shared = None if order.memory is None else SupervisorMemory(order.memory)
    peers = None if order.peers is None else Peers(order.peers)
    await serve(
        order.settings,
        share_port=True,
        shared=shared,
        peers=peers,
        on_ready=ready,
        on_stop=stop,
    )


async def _try(settings: Settings) -> None:
    """Does all that a start does, but for listening and waiting, and closes everything again.

    Raises:
        HashlistsError, MatcherError, OSError: a process with these settings cannot serve.
    """
    from matcher.service.listening import check_listen  # noqa: PLC0415  as above
    from matcher.service.parts import Parts  # noqa: PLC0415
    from matcher.service.tls import server_credentials  # noqa: PLC0415

    check_listen(settings)
    server_credentials(settings)
    parts = await asyncio.to_thread(Parts.open, settings)
    try:
        await asyncio.to_thread(parts.know_clients)
        await parts.load(wait=False)
    finally:
        await parts.close()


def _reports() -> int:
    """A descriptor of the pipe to the supervisor; what others print goes to the log instead."""
    report = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return report


def _tell(report: int, what: Report) -> None:
    try:
        os.write(report, report_to_json(what))
    except BrokenPipeError:  # the supervisor is gone; the kernel's signal is on its way
        return


def _name_in_logs(number: int) -> None:
    """Every record says which process it is from."""
    made = logging.getLogRecordFactory()

    def record(*arguments: Any, **named: Any) -> logging.LogRecord:
        new = made(*arguments, **named)
        new.process_number = number
        return new

    logging.setLogRecordFactory(record)


if __name__ == "__main__":
    sys.exit(main())
