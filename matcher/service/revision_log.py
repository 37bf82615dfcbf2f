"""Tells in the log which revision is served: a line for each, or one for many that come fast.

A line says numbers and the name of a snapshot; nothing of what lists or entries hold. The newest
state is always told in the end, since it is looked at again and again.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

    from matcher.follow.follower import FollowerState

_log = logging.getLogger(__name__)
#: Between two lines.
_SECONDS = 5.0


class RevisionLog:
    """Remembers what was told. Not for several threads.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: tuple[int, str] | None = None
        self._quiet_until = float("-inf")

    def look(self, state: FollowerState, entries: int) -> None:
        """Tells what is served where it is another revision or snapshot than was told last.

        Args:
            state: of the follower.
            entries: entries that can be found.
        """
        served = state.revision, state.snapshot
        if state.revision < 0 or served == self._told or self._clock() < self._quiet_until:
            return
        _log.info(
            "serving revision %d%s: %s, %s of them changed after the snapshot %s",
            state.revision,
            self._passed_over(state.revision),
            counted(entries, "entry", "entries"),
            f"{state.live_entries:,}",
            state.snapshot,
        )
        self._told = served
        self._quiet_until = self._clock() + _SECONDS

    def _passed_over(self, revision: int) -> str:
        before = revision if self._told is None else self._told[0]
        return f" ({revision - before:,} after the one told last)" if revision > before + 1 else ""
