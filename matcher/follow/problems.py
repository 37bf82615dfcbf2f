"""What goes wrong while following: told by state, and logged once."""

from __future__ import annotations

import enum
import logging
from typing import TYPE_CHECKING

from hashlists.errors import HashlistsError, OtherCatalogError
from matcher.errors import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)
_LONGEST_WAIT_SECONDS = 60.0


class Concern(enum.Enum):
    """What a problem concerns, and what the log says that it means."""

    CATALOG = "catalog", "the catalog cannot be followed"
    CHANGES = "changes", "what changed cannot be served from memory"
    FOLLOWING = "following", "a look at what is new failed"
    BUILD = "snapshot build", "no newer snapshot is built or published"
    PULL = "snapshot pull", "no newer snapshot is pulled"
    OPENING = "published snapshot", "what is published last cannot be opened"
    WITHDRAWN = (
        "entries withdrawn since the snapshot, which may match after a start without catalog",
        "which entries were withdrawn is not kept beside the snapshot, or cannot be read",
    )
    LOCKING = (
        "locking the index in memory",
        "the index may be paged out, and answers may then wait for the disk",
    )
    SWEEPING = (
        "old snapshots, which may hold purged data, stay on disk",
        "old snapshots cannot be removed",
    )

    def __init__(self, title: str, meaning: str) -> None:
        self.title = title
        self.meaning = meaning


class Problems:
    """Present problems by what they concern; the same one is logged only when it comes up.

    One thread notes and solves; any thread may read `text`.
    """

    def __init__(self) -> None:
        self._texts: dict[Concern, str] = {}

    @property
    def text(self) -> str:
        """All present problems in one line; empty when there is none."""
        return "; ".join(self._texts.copy().values())

    def note(self, concern: Concern, error: BaseException) -> None:
        """Notes a problem with `concern`, and logs it unless it stands already."""
        text = f"{concern.title}: {in_words(error)}"
        if self._texts.get(concern) != text:
            trace = None if isinstance(error, HashlistsError | OSError) else error
            level = logging.ERROR if isinstance(error, OtherCatalogError) else logging.WARNING
            _log.log(level, "%s: %s", concern.meaning, text, exc_info=trace)
        self._texts[concern] = text

    def solved(self, concern: Concern) -> None:
        """Takes back what was noted of `concern`."""
        self._texts.pop(concern, None)


class BackOff:
    """Says when to try again: 2 s, 4 s and so on up to a minute after each failure in a row.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._retry_at = 0.0

    @property
    def due(self) -> bool:
        """Whether it may be tried now."""
        return not self._failures or self._clock() >= self._retry_at

    def failed(self) -> None:
        """One more failure in a row."""
        self._failures += 1
        wait = min(2.0 ** min(self._failures, 10), _LONGEST_WAIT_SECONDS)
        self._retry_at = self._clock() + wait

    def succeeded(self) -> None:
        """The row of failures has ended."""
        self._failures = 0


__all__ = ["BackOff", "Concern", "Problems"]
