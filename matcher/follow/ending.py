"""What ends earlier than a view says: hidden at its end, though the view cannot be advanced yet.

Where a list comes to say another end of use, that counts for all of its entries at once, which may
be more than is taken into memory: then a snapshot is built, and the view stays what it is. An end
that comes before the build is done must hold all the same. So those that come soon are looked for,
which costs next to nothing where there are none, and again before that time is over.

Nothing here is shown for longer than the view says: what was put off waits for the build.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from matcher.index.expiry import NEVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hashlists.catalog import CatalogReader
    from matcher.follow.view import View

#: Ends are looked for so far ahead,
SECONDS_AHEAD = 3_600
#: and again after half of that.
SECONDS_KNOWN = SECONDS_AHEAD // 2
#: Stands for "not in force" among ends of use: a moment that has passed.
OVER = 1


def with_ends_ahead(
    view: View, reader: CatalogReader, now: int, *, pause: Callable[[], None] = lambda: None
) -> View:
    """The view with the ends of use by the reader's revision, as far as they come soon.

    Args:
        view: of the reader's history.
        reader: of a later revision.
        now: seconds since 1970 UTC.
        pause: called now and then while much is read.

    Raises:
        CatalogError: the catalog cannot be read.
    """
    ids = reader.ids_with_new_ends(view.revision, by=now + SECONDS_AHEAD)
    ends = ends_of_use(reader, ids, pause=pause)
    known = ends != NEVER
    return view.with_ends(ids[known], ends[known], by=reader.revision)


def ends_of_use(
    reader: CatalogReader,
    entry_ids: NDArray[np.int64],
    *,
    pause: Callable[[], None] = lambda: None,
) -> NDArray[np.uint32]:
    """From when on entries are not to match, by the reader's revision.

    Args:
        reader: of the catalog.
        entry_ids: `(K,) int64`, strictly ascending.
        pause: called now and then while much is read.

    Returns:
        `(K,) uint32`, seconds since 1970 UTC; `NEVER` for no end, `OVER` for what is not in force.
    """
    ends = np.full(len(entry_ids), OVER, np.uint32)
    for in_force, theirs in reader.ends_of_use(entry_ids):
        ends[np.searchsorted(entry_ids, in_force)] = theirs
        pause()
    return ends


__all__ = ["OVER", "SECONDS_AHEAD", "SECONDS_KNOWN", "ends_of_use", "with_ends_ahead"]
