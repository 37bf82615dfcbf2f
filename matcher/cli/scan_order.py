"""Carries a scan out, whatever its work is: from the first word to the reports and the exit status.

Whenever it ends early, what is finished is kept, and the command that goes on is told.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashlists.words import counted
from matcher.cli import scan_folders
from matcher.cli.output import note
from matcher.cli.root import EXIT_INTERRUPTED
from matcher.cli.scan_results import tell_changes, tell_results, write_all
from matcher.cli.scan_stopping import Stopping
from matcher.cli.scan_tag import tag_found
from matcher.scan.errors import ScanError
from matcher.scan.state import RunEnd

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from matcher.cli.context import Session
    from matcher.cli.scan_progress import Display
    from matcher.scan.state import ScanState


@dataclass(frozen=True, slots=True)
class Order:
    """How a scan is carried out.

    Attributes:
        session: of this command.
        display: shows how it goes.
        formats: the reports to write in the end.
        tags: for what is found; empty for none.
        yes: tag without asking.
        again: the options with which to go on that the scan's folder does not remember.
    """

    session: Session
    display: Display
    formats: Sequence[str]
    tags: Mapping[str, str]
    yes: bool
    again: Sequence[str]

    def resume_command(self, folder: Path) -> str:
        """What to type to go on."""
        return scan_folders.resume_command(self.session.words, folder, self.again)

    def stopping(self, folder: Path, *, grace: str) -> Stopping:
        """What signals do."""
        return Stopping(self.display, self.resume_command(folder), grace=grace)


def carry_out(
    order: Order,
    state: ScanState,
    looked_up: Mapping[str, Any],
    work: Callable[[], bool],
    *,
    resumed: bool,
) -> int:
    """Runs a scan to its end, or until it is stopped; gives the exit status.

    Args:
        order: how.
        state: of the scan.
        looked_up: what this run goes by, as `ScanState.begin_run` takes it.
        work: scans; whether the scan is complete then.
        resumed: there were runs before.
    """
    display, document = order.display, state.document
    run = state.begin_run(**looked_up)
    display.tell(
        "begun",
        f"Scan {document.id}, {'resumed' if resumed else 'begun'} in {state.folder}",
        {
            "scan": document.id,
            "folder": str(state.folder),
            "resumed": resumed,
            "revision": run.revision or None,
            "policy": run.policy or None,
        },
    )
    tell_changes(display, run)
    try:
        complete = work()
    except BaseException:
        display.end()
        with suppress(ScanError):  # what went wrong first is told
            state.end_run(RunEnd.FAILED)
        note(f"What is finished is kept. Go on with: {order.resume_command(state.folder)}")
        raise
    display.end()
    if not complete:
        state.end_run(RunEnd.INTERRUPTED)
        return _told_interrupted(order, state)
    state.end_run(RunEnd.DONE)
    written = write_all(state, state.folder, order.formats)
    status = tell_results(display, state, written)
    if order.tags:
        tag_found(order.session, state, order.tags, yes=order.yes)
    return status


def _told_interrupted(order: Order, state: ScanState) -> int:
    command = order.resume_command(state.folder)
    summary = state.summary()
    order.display.tell(
        "interrupted",
        f"Interrupted: {summary.finished:,} of {counted(summary.listed, 'object')} listed so far "
        f"are finished. Go on with: {command}",
        {"finished": summary.finished, "listed": summary.listed, "resume": command},
    )
    return EXIT_INTERRUPTED


__all__ = ["Order", "carry_out"]
