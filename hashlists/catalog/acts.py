"""The operator's acts on entries as the command line and the service offer them.

Each finds what is named, makes at most one revision, and reports; or, with `dry_run`, changes
nothing and reports what it would do. A selection that names anything unknown changes nothing. What
is found and what is changed are two transactions: entry ids are never given twice, so nothing else
than what was found can be hit meanwhile.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hashlists.model import EntryActReport, PurgeReport

if TYPE_CHECKING:
    from hashlists.catalog.catalog import Catalog
    from hashlists.model import EntrySelection, RollbackReport


def retract(
    catalog: Catalog,
    list_name: str,
    selection: EntrySelection,
    *,
    author: str,
    reason: str,
    dry_run: bool = False,
) -> EntryActReport:
    """Takes the named entries out of force; only `restore` or a rollback brings them back.

    Raises:
        ListNotFoundError, EntryNotFoundError: nothing was changed.
    """
    found = catalog.find_entries(list_name, selection)
    if dry_run:
        standing = catalog.standing(found)
        return EntryActReport(None, len(found), len(found) - standing.retracted_here)
    revision = catalog.retract(list_name, found, author=author, reason=reason)
    return EntryActReport(revision, len(found), revision.retracted if revision else 0)


def restore(
    catalog: Catalog,
    list_name: str,
    selection: EntrySelection,
    *,
    author: str,
    reason: str,
    dry_run: bool = False,
) -> EntryActReport:
    """Puts the named entries back in force, whoever had retracted them.

    Raises:
        ListNotFoundError, EntryNotFoundError: nothing was changed.
    """
    found = catalog.find_entries(list_name, selection)
    if dry_run:
        standing = catalog.standing(found)
        return EntryActReport(None, len(found), len(found) - standing.in_force)
    revision = catalog.restore(list_name, found, author=author, reason=reason)
    return EntryActReport(revision, len(found), revision.restored if revision else 0)


def roll_back(
    catalog: Catalog,
    list_name: str,
    to_revision: int,
    *,
    author: str,
    reason: str,
    dry_run: bool = False,
) -> RollbackReport:
    """Makes the list's entries those of an earlier revision; appends, and deletes nothing.

    Raises:
        ListNotFoundError, RevisionNotFoundError, ImportInProgressError: nothing was changed.
    """
    would = catalog.preview_rollback(list_name, to_revision)
    if dry_run or not would.changes:
        return would
    revision = catalog.rollback(list_name, to_revision, author=author, reason=reason)
    return replace(would, revision=revision)


def purge(
    catalog: Catalog,
    list_name: str,
    selection: EntrySelection,
    *,
    author: str,
    reason: str,
    dry_run: bool = False,
) -> PurgeReport:
    """Erases the named entries for good; see `purge.purge`.

    Raises:
        ListNotFoundError, EntryNotFoundError, ImportInProgressError: nothing was purged.
    """
    found = catalog.find_entries(list_name, selection)
    if not dry_run:
        return catalog.purge(list_name, found, author=author, reason=reason)
    standing = catalog.standing(found)
    return PurgeReport(
        revision=None,
        entries=standing.entries,
        versions=standing.versions,
        values=0,
        tombstones=0,
        traces_wiped=False,
        in_force=standing.in_force,
    )
