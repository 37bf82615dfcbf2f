"""Moves several files at the same time; the first failure ends all of them, and so does a stop."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, TypeVar

from hashlists.errors import SnapshotStoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")


def run_together(
    items: Iterable[T], move: Callable[[T, Stop], int], *, workers: int, stop: Stop | None = None
) -> int:
    """Calls `move` for every item in a few threads.

    Args:
        items: what to move.
        move: moves one item and returns how many bytes that were; passes its pieces through
            `Stop.checked`.
        workers: threads.
        stop: by which another thread may end it; the first failure sets it too.

    Returns:
        The sum of the bytes.

    Raises:
        SnapshotStoreError: it was stopped.
        Exception: the first error that a `move` raised. No thread is left behind.
    """
    stop = stop or Stop()
    total = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="snapshot-transfer") as pool:
        try:
            for done in as_completed([pool.submit(move, item, stop) for item in items]):
                total += done.result()
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return total


class Stop:
    """Tells running transfers to end: another one failed, or the process is to."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on `checked` ends with an error."""
        self._event.set()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._event.is_set()

    def checked(self, pieces: Iterable[T]) -> Iterator[T]:
        """The same pieces, until it is set."""
        for piece in pieces:
            if self.is_set():
                raise SnapshotStoreError("moving a snapshot was stopped before its end")
            yield piece


__all__ = ["Stop", "run_together"]
