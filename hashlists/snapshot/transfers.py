"""Moves several files at the same time; the first failure ends all of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")


class _StoppedError(Exception):
    """Another transfer failed, and its error is the one to tell."""


def run_together(items: Iterable[T], move: Callable[[T, Stop], int], *, workers: int) -> int:
    """Calls `move` for every item in a few threads.

    Args:
        items: what to move.
        move: moves one item and returns how many bytes that were; looks at `Stop` now and then.
        workers: threads.

    Returns:
        The sum of the bytes.

    Raises:
        Exception: the first error that a `move` raised. No thread is left behind.
    """
    stop = Stop()
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
    """Tells running transfers that another one failed."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        """From now on `checked` ends with an error."""
        self._event.set()

    def checked(self, pieces: Iterable[T]) -> Iterator[T]:
        """The same pieces, until another transfer fails."""
        for piece in pieces:
            if self._event.is_set():
                raise _StoppedError
            yield piece


__all__ = ["Stop", "run_together"]
