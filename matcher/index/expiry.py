"""When the entries of a segment expire, asked often and answered without touching every entry.

Lists mostly expire whole, at few different moments, or never. The distinct moments are gathered
once; entries are passed over again only when one of those moments has come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matcher.index.base import Int64Array, UInt32Array

#: Stands for "never" in `EntryArrays.expires`.
NEVER = 0


class Expiry:
    """The moments at which entries expire; immutable to its users.

    Args:
        expires: `(N,) uint32`, seconds since 1970 UTC; 0 is never. Not copied.
    """

    def __init__(self, expires: UInt32Array) -> None:
        self._expires = expires
        self._moments: UInt32Array = np.unique(expires[expires != NEVER])
        #: How many of the moments have come, and the rows that this means. Replaced whole.
        self._expired: tuple[int, Int64Array] = (0, np.empty(0, np.int64))

    def expired_rows(self, now: int) -> Int64Array:
        """Rows `(K,)`, ascending, of the entries that have expired at `now`; not to be changed."""
        come = int(np.searchsorted(self._moments, now, side="right"))
        known, rows = self._expired
        if come != known:
            expired = (self._expires != NEVER) & (self._expires <= now)
            rows = np.flatnonzero(expired).astype(np.int64)
            rows.flags.writeable = False
            self._expired = come, rows
        return rows

    def next_after(self, now: int) -> int | None:
        """The first moment after `now` at which an entry expires; None where none does."""
        come = int(np.searchsorted(self._moments, now, side="right"))
        return int(self._moments[come]) if come < len(self._moments) else None


__all__ = ["NEVER", "Expiry"]
