"""Exports over gRPC, each written by a child process and handed on as it comes.

Nothing lies on a disk: what the child writes goes to the caller piece by piece, and waits where the
caller does. So a slow caller holds one read transaction of the catalog open, for as long as it goes
on taking; one that takes nothing, goes away or runs out of its deadline ends the child. Reading
and writing run in a process of their own, which gives way to matching and shares no memory with it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from hashlists.errors import ExportProcessError
from hashlists.exporting.frames import HEADER, PIECE_BYTES, FrameKind, read_header
from hashlists.exporting.request import request_to_dict
from matcher.admission import Places
from matcher.errors import ExportNotAllowedError, InvalidRequestError
from matcher.service.child_errors import error_of
from matcher.service.gate import current_caller
from matcher.service.uploads import whose_share

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping

    from hashlists.exporting.request import ExportRequest
    from matcher.admission import Place

_COMMAND: Final = (sys.executable, "-m", "hashlists.export_process")
#: For a child to end by itself.
_GRACE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """How exports over gRPC run.

    Attributes:
        catalog_url: what the child process opens.
        allowed: whether anything is exported at all.
        parallel: exports at once, one less of one caller; further ones are refused.
        idle_seconds: longest that a caller may take over a piece before the export is given up.
    """

    catalog_url: str
    allowed: bool
    parallel: int = 3
    idle_seconds: float = 60.0


class Exports:
    """Runs exports, a few at once."""

    def __init__(self, settings: ExportSettings) -> None:
        self._settings = settings
        self._places = Places(settings.parallel)

    def check_allowed(self) -> None:
        """Lists go to known clients; to others only on this machine, or where that is insisted on.

        Raises:
            ExportNotAllowedError: nothing is exported to this caller.
        """
        if not (self._settings.allowed or current_caller().is_client):
            raise ExportNotAllowedError(
                "nobody knows who calls here, on another address than loopback, so no list goes "
                "out: export on the machine of the catalog, or set danger_export_without_tls there"
            )

    async def run(self, request: ExportRequest) -> AsyncGenerator[bytes | Mapping[str, Any], None]:
        """Runs an export; closing this before its end ends the child.

        Yields:
            The pieces of the file, then the report, as `report_to_dict` gives it.

        Raises:
            ExportNotAllowedError: nothing is exported here.
            OverloadedError: too many exports are under way.
            InvalidRequestError: the caller took nothing for too long.
            HashlistsError: what the child says is wrong, or that it ended early. What came is no
                whole file.
        """
        self.check_allowed()
        place = self._places.take(whose_share())
        try:
            async with _child(self._settings.catalog_url, request) as child:
                while isinstance(content := await _next_frame(child), bytes):
                    with _Alarm(self._settings.idle_seconds, child, place) as alarm:
                        yield content
                    alarm.check()
        finally:
            place.release()
        yield content


class _Alarm:
    """Ends the child and gives its place back where a piece is not taken in time.

    The caller's own call stays open; it ends with an error once the caller goes on.
    """

    def __init__(self, seconds: float, child: Process, place: Place) -> None:
        self._seconds = seconds
        self._child = child
        self._place = place
        self._rang = False

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._ring)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def _ring(self) -> None:
        self._rang = True
        _kill(self._child)
        self._place.release()

    def check(self) -> None:
        """Called when the piece was taken.

        Raises:
            InvalidRequestError: it took too long.
        """
        if self._rang:
            raise InvalidRequestError(
                f"nothing was taken for {self._seconds:g} seconds; the export was given up"
            )


@asynccontextmanager
async def _child(catalog_url: str, request: ExportRequest) -> AsyncIterator[Process]:
    """A child that exports; it has ended when the block has, however that ends."""
    child = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=PIECE_BYTES,
    )
    assert child.stdin is not None
    try:
        order = {"catalog": catalog_url, "request": request_to_dict(request)}
        child.stdin.write(json.dumps(order).encode() + b"\n")
        yield child
    finally:
        child.stdin.close()  # by which it ends, if it has not
        try:
            async with asyncio.timeout(_GRACE_SECONDS):
                await child.communicate()  # drops what is left in the pipe
        except TimeoutError:
            _kill(child)
            await child.communicate()


def _kill(child: Process) -> None:
    with suppress(ProcessLookupError):
        child.kill()


async def _next_frame(child: Process) -> bytes | Mapping[str, Any]:
    """The next piece of the file, or the report.

    Raises:
        HashlistsError: what the child says is wrong, or that it ended early.
    """
    assert child.stdout is not None
    try:
        kind, length = read_header(await child.stdout.readexactly(HEADER.size))
        content = await child.stdout.readexactly(length)
        if kind is FrameKind.PIECE:
            return content
        message: Mapping[str, Any] = json.loads(content)
    except (asyncio.IncompleteReadError, ValueError):
        raise ExportProcessError(
            "the export process ended early; what came is no whole file"
        ) from None
    if kind is FrameKind.ERROR:
        raise error_of(message)
    return message
