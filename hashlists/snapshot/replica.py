"""A machine that serves what a store shows as published: when it looks, and what it knows.

Looks are spread by chance, so that a fleet that was started together does not pull together. While
the store is away, or shows what cannot be believed, nothing changes here, and `problem` says why.
"""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.errors import HashlistsError, SnapshotError
from hashlists.snapshot.accepted import Accepted
from hashlists.snapshot.pointer import current_name
from hashlists.snapshot.receive import PullResult, try_pull
from hashlists.snapshot.transfers import Stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashlists.snapshot.objects import StoreOptions
    from hashlists.snapshot.receive import Check

_SPREAD = 0.25  # of the time between looks, either way


class Replica:
    """Keeps the local snapshots at what a store shows as published.

    Several processes of a machine may each have one for the same folder: one of them pulls at a
    time, the others find what it has pulled. One thread at a time may call `refresh`.

    Args:
        url: the store, see `hashlists.snapshot.objects`.
        root: the folder that holds snapshots.
        verify_key: file of the Ed25519 public keys (PEM); read at each look, so that a key may be
            changed without a restart.
        pull_seconds: time between looks, give or take a quarter.
        options: patience with the store.
        check: raises where a snapshot could not be opened here, as of `try_pull`: so what can be
            is never given up for it, and the look has failed.
        clock: seconds, monotonic.
        chance: a number in [0, 1) at each call.

    Attributes:
        problem: why the last look failed; empty when it did not.
        erase_previous: snapshots beside the current one hold what was purged since: after opening
            the current one `sweep(root, keep_previous=False)` is to be called.
        last_pull: the result of the last look that succeeded; None before the first.
        looks: how often it looked at the store, well or not.
    """

    def __init__(
        self,
        url: str,
        root: Path,
        *,
        verify_key: Path,
        pull_seconds: float = 30.0,
        options: StoreOptions | None = None,
        check: Check | None = None,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._url = url
        self._root = Path(root)
        self._verify_key = verify_key
        self._pull_seconds = pull_seconds
        self._options = options
        self._check = check
        self._clock = clock
        self._chance = chance
        self._due: float | None = None
        self._shown: str | None = None
        self._contact: float | None = None
        self._stop = Stop()
        self.problem = ""
        self.last_pull: PullResult | None = None
        self.looks = 0

    @property
    def seconds_since_contact(self) -> float:
        """Since the store last showed something that was accepted; infinite before it ever did."""
        return float("inf") if self._contact is None else self._clock() - self._contact

    @property
    def erase_previous(self) -> bool:
        """See the class; read from disk, so that it holds until it is done, across restarts too.

        Raises:
            SnapshotError: what tells is damaged.
        """
        if not self._root.is_dir():
            return False
        return Accepted.load(self._root, self._url).must_erase(self._root)

    def refresh(self, *, repair: bool = False, refused: bool = False) -> bool:
        """Looks at the store where a look is due.

        Args:
            repair: look now, and fetch anew even what is current here: for when it could not be
                opened.
            refused: what is current here cannot be opened: what stood before it stays, though
                something newer takes its place.

        Returns:
            True where another local snapshot is current than at the last call (at the first call:
            where there is any).

        Raises:
            HashlistsError: the look failed in a way that the one before did not. What is current
                here still is, and may be opened.
        """
        if not self._stop.is_set() and (repair or self._is_due()):
            self._look(repair=repair, refused=refused)
        name = self._current()
        moved = name != self._shown
        self._shown = name
        return moved

    def stop(self) -> None:
        """Ends a pull that is under way, from another thread, so that the process can end.

        It ends before its next part. The replica looks at the store no more.
        """
        self._stop.set()

    def _is_due(self) -> bool:
        now = self._clock()
        if self._due is None:  # the first look: at once, unless there is something to serve
            held = self._current() is not None
            self._due = now + (self._pull_seconds * self._chance() if held else 0.0)
        return now >= self._due

    def _current(self) -> str | None:
        """What is current here; None also where the pointer is damaged: the next look mends it."""
        try:
            return current_name(self._root)
        except SnapshotError:
            return None

    def _look(self, *, repair: bool, refused: bool) -> None:
        told = self.problem
        try:
            result = try_pull(
                self._url,
                self._root,
                verify_key=self._verify_key,
                options=self._options,
                repair=repair,
                refused=refused,
                stop=self._stop,
                check=self._check,
            )
        except HashlistsError as error:
            self.looks += 1
            self.problem = str(error)
            if self.problem != told:
                raise
        else:
            if result is not None:  # another process pulls otherwise, and will tell
                self.looks += 1
                self.last_pull = result
                self.problem = ""
                self._contact = self._clock()
        finally:
            spread = 1 + _SPREAD * (2 * self._chance() - 1)
            self._due = self._clock() + self._pull_seconds * spread


__all__ = ["Replica"]
