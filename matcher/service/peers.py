"""What the server processes of a machine tell each other of what they notice.

Each process has one end of a pair of sockets, which it got when it was started and which nobody
else can open; what it sends, the supervisor hands on to all others as it is. Nobody waits: what
finds no room is dropped, and a process that starts knows nothing of what was told before. So this
is for what may be missed, never for what must be known. Nothing of it is kept by the supervisor.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MAX_MESSAGE_BYTES = 32 * 1024
_log = logging.getLogger(__name__)
#: A message may be of another version, and a process that was taken over may tell anything: numbers
#: that are none, lists within lists without end.
_NOT_UNDERSTOOD = (KeyError, OverflowError, RecursionError, TypeError, ValueError)


class Switchboard:
    """The supervisor's side. Single event loop only."""

    def __init__(self) -> None:
        self._ends: set[socket.socket] = set()

    def connect(self) -> socket.socket:
        """A process's end of a new connection; the caller closes it once the process has it.

        Raises:
            OSError: there are too many descriptors.
        """
        own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own.settimeout(0)
        self._ends.add(own)
        asyncio.get_running_loop().add_reader(own, self._pass_on, own)
        return theirs

    def close(self) -> None:
        """Hangs up on all."""
        for each in tuple(self._ends):
            self._hang_up(each)

    def _pass_on(self, own: socket.socket) -> None:
        try:
            message = own.recv(_MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:  # the process has ended
            self._hang_up(own)
            return
        for each in self._ends - {own}:
            with contextlib.suppress(OSError):  # it is gone, or has no room: it does without
                each.send(message)

    def _hang_up(self, own: socket.socket) -> None:
        asyncio.get_running_loop().remove_reader(own)
        self._ends.discard(own)
        own.close()


class Peers:
    """A server process's side. Single event loop only, but for its making.

    Args:
        descriptor: of the socket that the process was started with; belongs to this from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.settimeout(0)
        self._socket.set_inheritable(False)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._complained = False

    def hear(self, take: Callable[[Mapping[str, Any]], None]) -> None:
        """Has what others tell taken, from now on.

        Args:
            take: is called with each message; KeyError, TypeError, ValueError and OverflowError
                mean that it is none of this version's, and it is left aside.
        """
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._heard, take)

    def tell(self, message: Mapping[str, Any]) -> None:
        """Tells all others, unless there is no room for it."""
        data = json.dumps(message).encode()
        if len(data) <= _MAX_MESSAGE_BYTES:
            with contextlib.suppress(OSError):
                self._socket.send(data)

    def close(self) -> None:
        """Tells and hears nothing any more."""
        self._stop_hearing()
        self._socket.close()

    def _heard(self, take: Callable[[Mapping[str, Any]], None]) -> None:
        try:
            data = self._socket.recv(_MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # the supervisor is gone
            self._stop_hearing()
            return
        try:
            take(json.loads(data))
        except _NOT_UNDERSTOOD:
            if not self._complained:  # once: who tells such things may tell many
                _log.warning("another server process told what is not understood here")
            self._complained = True

    def _stop_hearing(self) -> None:
        if self._loop is not None:
            self._loop.remove_reader(self._socket)
            self._loop = None


__all__ = ["Peers", "Switchboard"]
