"""The bounds of following: what is taken into memory, and when a newer snapshot is needed."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from hashlists.catalog.entry_columns import EXPIRED_KEPT_SECONDS

if TYPE_CHECKING:
    from hashlists.catalog import CatalogReader
    from matcher.follow.view import View

#: The live part may grow to so many times `live_entries`,
LIVE_GROWTH = 32
#: or to this share of the snapshot, where that is more: a full build takes the longer the more
#: there is, and all that comes meanwhile is to count all the same.
LIVE_SHARE = 4
#: So many times `live_entries` may be read to catch up with a snapshot that nobody serves yet.
READ_GROWTH = 8
#: So many revisions may be caught up with in one look, of `live_entries` each.
REVISIONS_AT_ONCE = 4
#: Hidden rows of a snapshot are dead weight: past this share of it, everything is built anew,
HIDDEN_SHARE = 4
#: or past so many, where that is more.
HIDDEN_ROWS = 100_000
#: So with what changed since base, but only while few changes come: a full build takes longest, and
#: what comes meanwhile is held in memory. `matcher.follow.snapshots` has the bound for busy times.
RECENT_SHARE = 4
RECENT_ROWS = 100_000


class Need(enum.IntEnum):
    """How much a newer snapshot is needed."""

    NONE = 0
    SOON = 1  # what is served is right, but gets costly, or holds what was purged
    NOW = 2  # the newest revision cannot be served without


def fits_in_memory(
    start: View, reader: CatalogReader, *, live_entries: int, served: View | None
) -> bool:
    """Whether what changed after `start` may be read and held beside it, by a cheap bound.

    Args:
        start: a view that stands in the reader's history.
        reader: the catalog now.
        live_entries: what one revision may bring.
        served: the view that is served.
    """
    behind = reader.revision - start.revision
    if not behind:
        return True
    changed = reader.changed_count(start.revision)
    is_served = served is not None and start.revision == served.revision
    # Nothing newer is served while this is read.
    at_once = min(behind, REVISIONS_AT_ONCE) if is_served else READ_GROWTH
    most = max(LIVE_GROWTH * live_entries, len(start.sealed.index.entries) // LIVE_SHARE)
    return changed <= at_once * live_entries and len(start.delta) + changed <= most


def wants_full_build(view: View, now: int, *, calm: bool) -> bool:
    """Whether everything should be built anew, although what changed would do.

    Args:
        view: what is served.
        now: seconds since 1970 UTC.
        calm: few changes are live, and none are waiting.
    """
    return _is_worn(view, now) or (calm and (_has_outgrown_base(view) or _is_of_old(view)))


def _is_of_old(view: View) -> bool:
    """Whether an earlier build made base, which does not tell which codes were derived."""
    return view.sealed.index.segments[0].derivations is None


def _has_outgrown_base(view: View) -> bool:
    """Whether much of the snapshot changed since base, so that each build of it takes long."""
    base, *recent = (len(each.entries) for each in view.sealed.index.segments)
    return sum(recent) > max(RECENT_ROWS, base // RECENT_SHARE)


def _is_worn(view: View, now: int) -> bool:
    """Whether so much of the snapshot has long expired or is superseded that it should go."""
    sealed = view.sealed.index
    expired = sealed.expired_rows(now - EXPIRED_KEPT_SECONDS)  # what a build would leave out
    hidden = len(sealed.hidden) + len(view.superseded) + len(expired)
    return hidden > max(HIDDEN_ROWS, len(sealed.entries) // HIDDEN_SHARE)


def withdraws(view: View) -> bool:
    """Whether the view no longer has in force what its snapshot has."""
    return len(view.sealed.index.rows_of(view.delta.gone())) > 0


__all__ = ["Need", "fits_in_memory", "wants_full_build", "withdraws"]
