"""Has newer snapshots made while serving goes on: what is asked for, and who does it.

Invariants: at most one piece of work is under way in this process; how it ended is told once, and
an error is of that work and of nothing else. What the work is (a child process that builds, a
store that is pulled from) is the caller's.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hashlists.errors import HashlistsError, SnapshotError

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """What a builder is asked for.

    Attributes:
        seen: name of the snapshot that was published when this was asked for, empty for none. If
            another one is by the time the builder's turn comes, that one will do.
        full: build everything, although what changed would do; or fetch everything anew.
        refused: what is current cannot be opened here.
    """

    seen: str
    full: bool = False
    refused: bool = False


class SnapshotSource(Protocol):
    """Where a replica gets its snapshots from, e.g. `hashlists.snapshot.replica.Replica`."""

    @property
    def problem(self) -> str:
        """Why the last look failed; empty when it did not."""
        ...

    @property
    def seconds_since_contact(self) -> float:
        """Since it last answered; infinite before it ever did."""
        ...

    @property
    def erase_previous(self) -> bool:
        """Whether older snapshots hold what was purged since, and must go."""
        ...

    @property
    def looks(self) -> int:
        """How often it was looked at until now, well or not."""
        ...

    def refresh(self, *, repair: bool = False, refused: bool = False) -> bool:
        """Makes a newer snapshot the current one, where there is one and a look is due.

        Args:
            repair: fetch anew what is current, since it cannot be opened.
            refused: what is current cannot be opened, so what was before it is to stay.
        """
        ...


class Builder(Protocol):
    """Brings a newer snapshot about."""

    def start(self, order: BuildOrder) -> bool:
        """Starts on it; False where a build is under way here or in another process."""
        ...

    def outcome(self) -> Exception | bool | None:
        """How the last one ended, told once: True for well, its error, or None for not yet."""
        ...

    @property
    def running(self) -> bool:
        """Whether something is under way in this process."""
        ...

    @property
    def seconds(self) -> float:
        """How long the last one took, well or not."""
        ...

    @property
    def tried(self) -> bool:
        """Whether the last one was an attempt, and not the outcome of an earlier one again."""
        ...

    def wait(self) -> None:
        """Waits until nothing is under way."""
        ...

    def close(self) -> None:
        """Ends what is under way."""
        ...


class _Work:
    """Runs one piece of work, and keeps how it ended and how long it took.

    Args:
        build: does it; any exception is its outcome.
    """

    def __init__(self, build: Callable[[BuildOrder], object]) -> None:
        self._build = build
        self._outcome: Exception | bool | None = None
        self.seconds = 0.0
        self.tried = True

    def outcome(self) -> Exception | bool | None:
        """See `Builder`."""
        outcome, self._outcome = self._outcome, None
        return outcome

    def _run(self, order: BuildOrder) -> None:
        began = time.monotonic()
        try:
            self._build(order)
            self._outcome = True
        except Exception as error:  # noqa: BLE001 - it is the outcome
            self._outcome = error
        self.seconds = time.monotonic() - began


class InlineBuilder(_Work):
    """Builds in the calling thread, and is done when `start` returns: for one-shot use."""

    def start(self, order: BuildOrder) -> bool:
        """See `Builder`."""
        self._run(order)
        return True

    @property
    def running(self) -> bool:
        """See `Builder`."""
        return False

    def wait(self) -> None:
        """See `Builder`."""

    def close(self) -> None:
        """See `Builder`."""


class BackgroundBuilder(_Work):
    """Runs one piece of work at a time in a thread of its own.

    Args:
        build: does it; any exception is its outcome.
        is_busy: whether another process is at it already.
        stop: ends what `build` waits for.
    """

    def __init__(
        self,
        build: Callable[[BuildOrder], object],
        *,
        is_busy: Callable[[], bool] = lambda: False,
        stop: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(build)
        self._is_busy = is_busy
        self._stop = stop
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()  # who closes may meet a thread that is not running yet

    def start(self, order: BuildOrder) -> bool:
        """See `Builder`."""
        if self.running or self._is_busy():
            return False
        self._outcome = None
        thread = threading.Thread(
            target=self._run, args=(order,), name="snapshot-build", daemon=True
        )
        with self._starting:
            thread.start()
            self._thread = thread
        return True

    def outcome(self) -> Exception | bool | None:
        """See `Builder`."""
        return None if self.running else super().outcome()

    def wait(self) -> None:
        """See `Builder`."""
        with self._starting:
            thread = self._thread
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """See `Builder`."""
        self._stop()
        self.wait()

    @property
    def running(self) -> bool:
        """See `Builder`."""
        return self._thread is not None and self._thread.is_alive()


class Puller(BackgroundBuilder):
    """Looks at a source in a thread of its own, so that following does not wait for a network.

    Args:
        source: settles itself when a look is due.
    """

    def __init__(self, source: SnapshotSource) -> None:
        super().__init__(self._pull)
        self._source = source
        self._failure: HashlistsError | None = None

    def _pull(self, order: BuildOrder) -> None:
        looks = self._source.looks
        try:
            self._source.refresh(repair=order.full, refused=order.refused)
        except HashlistsError as error:
            self._failure = error  # raised once; `problem` tells for how long it lasts
        self.tried = self._source.looks != looks
        if self._source.problem:
            raise self._failure or SnapshotError(self._source.problem)
        self._failure = None


__all__ = [
    "BackgroundBuilder",
    "BuildOrder",
    "Builder",
    "InlineBuilder",
    "Puller",
    "SnapshotSource",
]
