"""Sees to it that newer snapshots come about: when one is asked for, and how that ended.

Invariants: what cannot be built is tried again after growing waits, and for as long as it is
needed; a failure is told until one ends well. What is served is nothing to these lines.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hashlists.errors import SnapshotError
from matcher.follow.building import BuildOrder
from matcher.follow.problems import BackOff, Concern
from matcher.follow.snapshots import published_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from matcher.follow.building import Builder
    from matcher.follow.child import Publication
    from matcher.follow.problems import Problems


_LOOK_SECONDS = 0.02


class Making:
    """Has snapshots built, or pulled, or neither. Not for several threads.

    Args:
        snapshots_dir: where snapshots lie.
        builder: who builds; None where nothing is built here.
        puller: who pulls; None where nothing is pulled.
        problems: where failures are told.
        clock: seconds that never go back.
        publication: where what is built goes besides, if anywhere.

    Attributes:
        builds, failures: how many ended well, and how many did not.
        seconds: how long all of them took together.
    """

    def __init__(
        self,
        snapshots_dir: Path,
        builder: Builder | None,
        puller: Builder | None,
        *,
        problems: Problems,
        clock: Callable[[], float],
        publication: Publication | None,
    ) -> None:
        self._snapshots_dir = snapshots_dir
        self.builder = builder
        self.puller = puller
        self._problems = problems
        self._back_off = BackOff(clock)
        self._repairs = BackOff(clock)
        self.builds = self.failures = 0
        self.seconds = 0.0
        self._publication = publication if builder is not None else None
        self._clock = clock
        self._published_at: float | None = None
        self._closing = threading.Event()
        # To be repeated though nothing newer is needed: what was built before this start, or by a
        # build that then failed, may not have reached the store.
        self._owed = self._publication is not None

    @property
    def publishes(self) -> bool:
        """Whether what is built goes to a store."""
        return self._publication is not None

    @property
    def may_publish(self) -> bool:
        """Whether enough time has passed since this process last published."""
        if self._publication is None:
            return False
        last = self._published_at
        return last is None or self._clock() - last >= self._publication.seconds

    def publish_again(self) -> None:
        """Has what is current published although nothing newer is needed."""
        self._owed = self.publishes

    @property
    def running(self) -> bool:
        """Whether anything is under way in this process."""
        return any(each.running for each in self._makers())

    def close(self) -> None:
        """Ends what is under way; nobody waits for it any more."""
        self._closing.set()
        for each in self._makers():
            each.close()

    def collect(self) -> bool:
        """Takes note of how the last build or pull ended; whether one ended well."""
        return any([self._note(each) is True for each in self._makers()])  # noqa: C419 - all of them

    def pull(self, *, repair: bool) -> bool:
        """Looks at the store, where there is one; whether that was begun.

        Args:
            repair: what was pulled last cannot be used, and is fetched anew.
        """
        if self.puller is None:
            return False
        anew = repair and self._repairs.due and self._back_off.due
        begun = self.puller.start(self._order(full=anew, refused=repair))
        if not repair:
            self._repairs.succeeded()
        elif begun and anew:
            self._repairs.failed()  # until what was fetched can be used
        return begun

    def build(self, *, needed: bool, full: bool) -> bool:
        """Has one built where it is needed or owed, and may be tried; whether that was begun.

        Args:
            needed: what is published will not do.
            full: build everything, although what changed would do.
        """
        if self.builder is None or not (needed or self._owed) or not self._back_off.due:
            return False
        try:
            return self.builder.start(self._order(full=full))
        except OSError as error:
            self._failed(error)
            return False

    def make_first(self) -> bool:
        """Has a first snapshot made, and waits for it; False where another process is at it.

        Raises:
            HashlistsError, OSError: there is none to be had.
        """
        maker = self.puller or self.builder
        assert maker is not None
        if not maker.start(self._order(full=False)):
            return False
        while maker.running:
            if self._closing.wait(_LOOK_SECONDS):
                raise SnapshotError("no snapshot is made any more: the process is ending")
        outcome = self._note(maker)
        if isinstance(outcome, Exception):
            raise outcome
        return True

    @property
    def is_possible(self) -> bool:
        """Whether anybody could make one."""
        return bool(self._makers())

    def _makers(self) -> tuple[Builder, ...]:
        return tuple(each for each in (self.builder, self.puller) if each is not None)

    def _order(self, *, full: bool, refused: bool = False) -> BuildOrder:
        return BuildOrder(published_name(self._snapshots_dir), full=full, refused=refused)

    def _note(self, maker: Builder) -> Exception | bool | None:
        outcome = maker.outcome()
        if outcome is None:
            return None
        if maker.tried:
            self.seconds += maker.seconds
        if isinstance(outcome, Exception):
            self._failed(outcome, tried=maker.tried)
        else:
            self._made(tried=maker.tried)
        return outcome

    def _made(self, *, tried: bool) -> None:
        self.builds += tried
        self._problems.solved(self._concern)
        self._back_off.succeeded()
        self._owed = False
        self._published_at = self._clock()

    def _failed(self, error: Exception, *, tried: bool = True) -> None:
        self._problems.note(self._concern, error)
        if tried:
            self.failures += 1
            self._back_off.failed()
        self._owed = self.publishes

    @property
    def _concern(self) -> Concern:
        return Concern.BUILD if self.puller is None else Concern.PULL


__all__ = ["Making"]
