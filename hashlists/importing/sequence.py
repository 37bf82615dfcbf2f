"""Files that Hashwarden wrote are taken in the order in which they were written.

Such a file says whose it is (`sender`, of a catalog and its list) and which revision it shows
(`upto`), and a delta from which it starts (`since`). Every import keeps the first two. Invariants,
unless it is forced, and then it is noted: what is older than what the list had of its sender is
refused; a delta is refused unless the list had all before it, of that sender alone, since it
withdraws by keys that another sender's entries may have, too, unless the format keeps senders
apart. A whole list of a second sender is noted.

Files of earlier versions do not say whose they are: a delta of those is noted where the list never
held an entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hashlists.errors import FileOrderError
from hashlists.formats.registry import find_format

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hashlists.catalog import StagedImport
    from hashlists.importing.run import Run

#: Noted where a whole list is imported beside another's.
SECOND_SENDER: Final = (
    "a list beside that of another sender: no delta of either is taken from now on; keep a list of"
    " its own for each, or import the one that stays with --full"
)
#: Noted where a delta that does not say whose it is comes first.
WITHOUT_BASE: Final = (
    "only what changed since an earlier revision of its sender: this list never had the rest"
)
_FORCED: Final = "taken by --force though it does not follow"
_HOW: Final = "nothing was imported; where it is right all the same, do it again with --force"


def require_sequence(
    run: Run,
    staged: StagedImport,
    *,
    full: bool,
    force: bool,
    refuse: Callable[[FileOrderError], None],
) -> None:
    """Sees to it that the files follow what the list had of their sender.

    Args:
        run: what was read.
        staged: the import.
        full: the files are the whole list, and what they do not name goes.
        force: take them whatever speaks against it; a note tells that.
        refuse: told why they do not follow. It raises the error, unless nothing will be committed.
    """
    mark = run.mark
    if not mark.sender:
        if run.delta and staged.before.fresh:
            run.notes.take({WITHOUT_BASE: 1})
        return
    seen = staged.senders()
    if find_format(run.records.format).keeps_senders_apart:
        seen = {sender: upto for sender, upto in seen.items() if sender == mark.sender}
    problem = _why_not(seen, mark.sender, upto=mark.upto, since=mark.since)
    if problem and not force:
        refuse(FileOrderError(f"{problem}; {_HOW}"))
    elif problem:
        run.notes.take({f"{_FORCED}: {problem}": 1})
    if mark.since is None and not full and seen.keys() - {mark.sender}:
        run.notes.take({SECOND_SENDER: 1})


def _why_not(seen: Mapping[str, int], sender: str, *, upto: int, since: int | None) -> str:
    """Why a file does not follow; empty where it does.

    Args:
        seen: the revision that the list had of each sender.
        sender: whose file it is.
        upto: the revision that it shows.
        since: the revision that it starts from; None for a whole list.
    """
    had = seen.get(sender)
    if had is not None and upto < had:
        return (
            f"the file shows revision {upto} of its sender, and the list had revision {had}: it"
            " would undo what was withdrawn or changed meanwhile"
        )
    if since is None:
        return ""
    if had is None:
        return (
            f"the file is a delta: it holds only what changed since revision {since} of its sender,"
            " of whom this list never had the whole list; import that first"
        )
    if since > had:
        return (
            f"the file is a delta since revision {since} of its sender, and the list had revision"
            f" {had}: what changed in between is not in it; import the deltas before it first, or"
            f" ask for one since {had}"
        )
    if len(seen) > 1:
        return (
            "the file is a delta, and the list had files of another sender: what the one withdraws"
            " the other may hold; import the whole list of each into a list of its own"
        )
    return ""


__all__ = ["SECOND_SENDER", "WITHOUT_BASE", "require_sequence"]
