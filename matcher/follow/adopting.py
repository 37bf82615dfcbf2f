"""What a newly opened snapshot is served with: what changed after it, from memory or read once.

Invariants: what is in memory is not read again; whatever the snapshot lacks beyond that is read by
the thread that opened it, so that neither a retraction nor a small change waits for it. A snapshot
counts only where its marks, and those of what came after it, still stand.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from matcher.follow.choosing import fits_in_memory
from matcher.follow.view import View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.catalog import CatalogReader
    from matcher.follow.readable import Readable
    from matcher.follow.view import Sealed


def caught_up(
    sealed: Sealed, catalog: Readable | None, *, live_entries: int, served: View | None
) -> View:
    """A newly opened snapshot with what changed since, where that is not in memory.

    What fails here is left to the next look, which tells it.

    Args:
        sealed: the snapshot.
        catalog: read in a transaction of its own; None where there is none.
        live_entries: what one revision may bring.
        served: the view that is served.
    """
    view = View.of(sealed)
    if catalog is None or served is None or served.covers(sealed):
        return view
    with suppress(Exception), catalog.read() as reader:
        fits = fits_in_memory(view, reader, live_entries=live_entries, served=served)
        if view.stands(reader) and fits:
            return view.advanced(reader)
    return view


def standing(views: Sequence[View | None], reader: CatalogReader) -> list[View]:
    """Those of the views that are of the reader's history, or their snapshots alone."""
    found = []
    for each in views:
        if each is None:
            continue
        if each.stands(reader):
            found.append(each)
        elif (alone := View.of(each.sealed)).stands(reader):
            found.append(alone)  # restored to between the snapshot and what came after
    return found


def carried(fresh: View, served: View, reader: CatalogReader) -> View:
    """A newly opened snapshot with what is in memory already, where that is more than it has."""
    if not served.covers(fresh.sealed) or fresh.revision > served.revision:
        return fresh
    return served.onto(fresh.sealed, purged=reader.purged_since(fresh.sealed.snapshot.revision))


__all__ = ["carried", "caught_up", "standing"]
