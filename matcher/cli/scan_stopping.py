"""What Ctrl-C and SIGTERM do to a scan: the first one stops it in order, the second one at once."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from matcher.cli.output import note
from matcher.cli.root import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterator

    from matcher.cli.scan_progress import Display

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """Waits for signals.

    Args:
        display: tells that the scan stops.
        again: the command that goes on with it.
        grace: what is waited for, in words.
    """

    def __init__(self, display: Display, again: str, *, grace: str) -> None:
        self._display = display
        self._again = again
        self._grace = grace
        self._then: Callable[[], None] | None = None
        self.requested = False

    def stop(self) -> None:
        """A signal has come."""
        if self.requested:
            self._display.end()
            note(f"Ended at once. Go on with: {self._again}")
            sys.stdout.flush()
            os._exit(EXIT_INTERRUPTED)  # the state bears a kill: nothing needs to be put in order
        self.requested = True
        told = f"Stopping: {self._grace}. Once more to end at once."
        self._display.tell("stopping", told, {})
        if self._then is not None:
            self._then()

    @contextmanager
    def of_loop(self, loop: AbstractEventLoop, then: Callable[[], None]) -> Iterator[None]:
        """Takes signals in an event loop, on which `then` is called at the first one."""
        self._then = then
        for each in _SIGNALS:
            loop.add_signal_handler(each, self.stop)
        try:
            yield
        finally:
            for each in _SIGNALS:
                loop.remove_signal_handler(each)
            self._until_the_end()

    @contextmanager
    def of_thread(self) -> Iterator[None]:
        """Takes signals in the main thread, which looks at `requested` between two steps."""
        before = {each: signal.signal(each, lambda *_: self.stop()) for each in _SIGNALS}
        try:
            yield
        finally:
            for each, handler in before.items():
                signal.signal(each, handler)
            self._until_the_end()

    def _until_the_end(self) -> None:
        """A second SIGTERM ends what is left of the process as the first one would have."""
        if self.requested:
            signal.signal(signal.SIGTERM, lambda *_: self.stop())


__all__ = ["Stopping"]
