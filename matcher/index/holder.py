"""One reference to an immutable object, swapped whole: a reader never sees half a revision."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

from matcher.errors import NotReadyError

T = TypeVar("T")


class Holder(Generic[T]):
    """Holds the object that is current; any thread may read or swap.

    A reader takes `current` once and works on what it got: a later swap does not touch it, and the
    old object lives until its last reader lets go.
    """

    def __init__(self) -> None:
        self._held: T | None = None
        self._swapping = threading.Lock()

    @property
    def current(self) -> T:
        """What the last swap put in; reading takes no lock.

        Raises:
            NotReadyError: nothing was put in yet.
        """
        held = self._held
        if held is None:
            raise NotReadyError("no hash lists are loaded yet; try again in a moment")
        return held

    def swap(self, new: T) -> T | None:
        """Makes `new` current.

        Returns:
            What was current before; None at the first swap. Among threads that swap at once, each
            gets another one back.
        """
        with self._swapping:
            old, self._held = self._held, new
        return old


__all__ = ["Holder"]
