"""A bound on work in flight, by count and by bytes, taken before any work is spent.

More load than capacity is refused at once with `OverloadedError`; nothing queues without bound.
Single event loop only: no lock is needed.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from hashlists.words import counted
from matcher.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Admission:
    """Counts accepted items and their bytes until they are answered.

    Args:
        max_items: items in flight.
        max_bytes: their encoded bytes together.
    """

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items = 0
        self._bytes = 0

    @property
    def items(self) -> int:
        """Items in flight now."""
        return self._items

    def take(self, nbytes: int) -> Place:
        """A place for one item of `nbytes`, held until it is released.

        Raises:
            OverloadedError: no place is free; an idle service accepts any single item.
        """
        full = self._items >= self._max_items or self._bytes + nbytes > self._max_bytes
        if self._items and full:
            in_flight = counted(self._items, "item is", "items are")
            raise OverloadedError(f"{in_flight} in flight; try again, with back-off")
        self._items += 1
        self._bytes += nbytes
        return Place(self, nbytes)

    @contextmanager
    def admit(self, nbytes: int) -> Iterator[None]:
        """Holds a place for one item of `nbytes` while the block runs.

        Raises:
            OverloadedError: as `take`.
        """
        place = self.take(nbytes)
        try:
            yield
        finally:
            place.release()

    def _give_back(self, nbytes: int) -> None:
        self._items -= 1
        self._bytes -= nbytes


class Place:
    """One item's place; see `Admission.take`."""

    def __init__(self, admission: Admission, nbytes: int) -> None:
        self._admission = admission
        self._nbytes = nbytes
        self._held = True

    def release(self) -> None:
        """Gives the place back; a second call does nothing."""
        if self._held:
            self._held = False
            self._admission._give_back(self._nbytes)  # noqa: SLF001 - its other half
