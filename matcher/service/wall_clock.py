"""The present, by which credentials expire, where somebody sets the clock of the machine.

It is the clock of the machine, but never earlier than when it was made plus the time that has
passed since, as told by a clock that nobody sets. So what has expired does not come to count again
when the clock goes back, and what seemed expired while the clock was ahead counts again once it is
right. Only where the clock was ahead already when this was made does the present stay ahead when
that is mended: until the process is started again, credentials end too early. That is said once in
the log.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
#: Behind by more than what is put right every day without anybody noticing.
_BACK = timedelta(minutes=1)


class WallClock:
    """Gives the present in UTC; for any thread.

    Args:
        wall: the clock of the machine.
        steady: seconds that never go back.
    """

    def __init__(
        self,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._began = wall() - timedelta(seconds=steady())
        self._told = False

    def __call__(self) -> datetime:
        """The present; never earlier than it was said to be at the beginning, and time since."""
        wall, least = self._wall(), self._began + timedelta(seconds=self._steady())
        if wall >= least:
            return wall
        if not self._told and least - wall > _BACK:
            self._told = True
            _log.warning(
                "the clock of this machine went back; credentials expire by the time that has "
                "passed since the start. Where the clock was wrong then, and is right now, start "
                "the server again"
            )
        return least


__all__ = ["WallClock"]
