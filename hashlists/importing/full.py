"""Imports that are to be a whole list: what their files do not name is retracted, within bounds.

Formats without retractions say what a list has, never what it has no longer. So an entry that is
absent from the newest file may be gone at its source, or the file may be a part only. Invariants:
nothing is retracted for being absent unless that was asked for; a file that looks like a part, or
whose records mean other entries than before, is refused unless that is forced; what is retracted
comes back with the next file that lists it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.errors import FullListRefusedError, ImportDeclinedError, OptionsError
from hashlists.formats.pages import why_not_whole
from hashlists.words import counted, one_or_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hashlists.catalog import StagedImport
    from hashlists.importing.run import Run

#: Share of a list that a file may leave out before it is taken for a part of it.
MAX_ABSENT_SHARE = 0.2

_REASON = "not in the whole list that was imported"


@dataclass(frozen=True, slots=True)
class Absent:
    """What would be retracted.

    Attributes:
        entries: those in force that the files do not name.
        before: all that were in force until now.
    """

    entries: int
    before: int

    @property
    def share(self) -> float:
        """0..1."""
        return self.entries / self.before if self.before else 0.0


@dataclass(frozen=True, slots=True)
class FullList:
    """The files of an import are the whole list.

    Attributes:
        max_share: share of the entries in force, 0..1, above which nothing is retracted.
        force: retract whatever speaks against it.
        confirm: asked before anything is retracted; False ends the import. None: not asked. It may
            take its time: other writers are not kept waiting, but for imports of the same list.
        confirmed: the number that was agreed to beforehand, after a dry run; more are refused.
    """

    max_share: float = MAX_ABSENT_SHARE
    force: bool = False
    confirm: Callable[[Absent], bool] | None = None
    confirmed: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.max_share <= 1:
            raise OptionsError(
                f"the largest share of absent entries is from 0 to 1, not {self.max_share}"
            )


def retract_absent(
    run: Run,
    staged: StagedImport,
    full: FullList,
    *,
    ask: bool,
    refuse: Callable[[FullListRefusedError], None],
) -> None:
    """Stages the retraction of everything that the files, all staged by now, do not name.

    Args:
        run: what was read.
        staged: the import.
        full: what was ordered.
        ask: whether `confirm` and `confirmed` count; not in a dry run.
        refuse: told why where something speaks against it and it was not forced; or where the files
            are pages of an exchange and show that they are not all of them, or a delta of ours,
            forced or not. It raises the error, unless nothing will be committed.

    Raises:
        ImportDeclinedError: it was not confirmed.
    """
    if problem := _why_no_whole_list(run):
        refuse(FullListRefusedError(problem))
        return
    found = staged.absent()
    absent = Absent(len(found), staged.before.entries)
    if not absent.entries:
        return
    against = list(_against(run, staged, full, absent))
    if against and not full.force:
        refuse(
            FullListRefusedError(
                f"{absent.entries:,} of {counted(absent.before, 'entry', 'entries')} in force"
                f" {one_or_many(absent.entries, 'is', 'are')} not in the file, but"
                f" {'; '.join(against)}; nothing was imported. Where they are gone at the source,"
                " do it again with --force"
            )
        )
    if ask:
        _require_consent(full, absent)
    run.take(staged.stage_absent(found, reason=_REASON))
    run.absent = absent.entries


def _why_no_whole_list(run: Run) -> str:
    """Why the files can be no whole list, whatever is forced; empty where they can."""
    if why := why_not_whole(run.records.pages):
        return (
            f"the files are pages of an exchange and {why}, so they are no whole list; fetch all "
            "pages from the beginning and import them together, or import these without saying "
            "that they are the whole list; nothing was imported"
        )
    if run.delta:
        return (
            "the files are a delta: they hold what changed since a revision, so they are no whole "
            "list; import them without --full, or ask for an export of all; nothing was imported"
        )
    return ""


def _against(run: Run, staged: StagedImport, full: FullList, absent: Absent) -> Iterator[str]:
    """What makes it doubtful that they are gone at their source."""
    earlier = staged.before.format
    if run.rejected:
        yield (
            counted(run.rejected, "record was", "records were")
            + " rejected, of which entries is not known"
        )
    if older := run.total.older + run.total.older_withdrawals:
        yield (
            counted(older, "record is", "records are")
            + " older than what the list has of their entries, so the file may be an older one"
        )
    if earlier not in (None, run.records.format):
        yield (
            f"the last import was of the format {earlier}, and one record may be known by another"
            f" key in {run.records.format}"
        )
    if absent.share > full.max_share:
        yield f"that is {absent.share:.1%} of them, above the limit of {full.max_share:.1%}"


def _require_consent(full: FullList, absent: Absent) -> None:
    if full.confirmed is not None and absent.entries > full.confirmed:
        raise ImportDeclinedError(
            f"{counted(absent.entries, 'entry', 'entries')} would be retracted, more than the"
            f" {full.confirmed:,} agreed to: the list has changed; nothing was imported"
        )
    if full.confirm is not None and not full.confirm(absent):
        raise ImportDeclinedError("it was not agreed to; nothing was imported")


__all__ = ["MAX_ABSENT_SHARE", "Absent", "FullList", "retract_absent"]
