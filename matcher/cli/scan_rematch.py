"""`hashwarden scan rematch`: looks up again what a scan has kept, in the newest lists."""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matcher.cli import scan_folders, scan_options
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note
from matcher.cli.refusal import RefusalError
from matcher.cli.scan_asked import formats_for, new_id, recipients
from matcher.cli.scan_group import OptionalValues
from matcher.cli.scan_keys import sealer_of
from matcher.cli.scan_options import DEFAULT_KEPT_DAYS
from matcher.cli.scan_words import EXIT_UNDECIDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.cli.scan_order import Order
    from matcher.pipeline import Generation, MatchOptions
    from matcher.scan.document import ScanDocument
    from matcher.scan.state import ScanState


@click.command(
    "rematch",
    cls=OptionalValues,
    optional={"--keep-hashes": DEFAULT_KEPT_DAYS},
    short_help="Look the hashes that a scan has kept up in newer lists.",
)
@scan_folders.folder
@scan_options.output
@scan_options.policy
@scan_options.formats
@scan_options.encrypt_to
@scan_options.encrypt_to_file
@scan_options.keep_hashes
@scan_options.events
@pass_session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    *,
    folder: Path,
    output: Path | None,
    policy: str,
    formats: tuple[str, ...] | None,
    encrypt_to: Sequence[str],
    key_files: Sequence[Path],
    keep_days: int | None,
    events: bool,
) -> None:
    """Look up again what the scan in DIR has kept with --keep-hashes; nothing is fetched.

    It makes a scan of its own, with a folder and reports like any other, and goes on with `scan
    --resume` when it was stopped. What the scan in DIR is encrypted to, this one is too, unless
    --encrypt-to says otherwise.

    Exit status: as of `hashwarden scan`.
    """
    from matcher.cli.scan_order import Order  # noqa: PLC0415  brings what scans
    from matcher.cli.scan_progress import choose_display  # noqa: PLC0415
    from matcher.scan.state import ScanState  # noqa: PLC0415

    with scan_folders.opened(folder) as earlier:
        before, kept, whole = earlier.document, earlier.summary().kept, earlier.summary().done
    if not whole:
        note(
            f"warning: the scan in {folder} has not ended, and what it has not finished is not "
            f"looked up: finish it first with hashwarden scan --resume {shlex.quote(str(folder))}",
            style="yellow",
        )
    if not kept:
        raise RefusalError(
            f"{folder}: no hashes are kept there, so there is nothing to look up again: only a "
            "scan with --keep-hashes keeps them, and only until they expire"
        )
    sealer_of(session)  # tells at once where the keys are not here
    document = _document(
        before,
        folder,
        author=session.author,
        policy=policy or before.policy,
        recipients=recipients(encrypt_to, key_files) or before.recipients,
        keep_days=keep_days,
    )
    order = Order(
        session,
        choose_display(events=events),
        formats=formats_for(document, formats),
        tags={},
        yes=False,
        again=["--events"] if events else [],
    )
    with ScanState.create(output or Path(f"scan-{document.id}"), document) as state:
        ctx.exit(go_on(order, state, resumed=False))


def _document(
    before: ScanDocument,
    folder: Path,
    *,
    author: str,
    policy: str,
    recipients: tuple[str, ...],
    keep_days: int | None,
) -> ScanDocument:
    """The document of a scan that looks another one up again."""
    from matcher.scan.document import ScanDocument  # noqa: PLC0415

    now = time.time()
    return ScanDocument(
        id=new_id(now),
        made_at=now,
        made_by=author,
        places=before.places,
        selection=before.selection,
        policy=policy,
        views=before.views,
        archives=before.archives,
        recipients=recipients,
        hashes_until=0.0 if keep_days is None else now + keep_days * 86_400,
        rematch_of=os.path.abspath(folder),  # noqa: PTH100  `..` too
    )


def go_on(order: Order, state: ScanState, *, resumed: bool) -> int:
    """Looks up what is left; gives the exit status, never 0 where the earlier scan has not ended.

    Raises:
        StateError: the earlier scan is gone, or its hashes cannot be opened.
    """
    from matcher.cli.scan_means import looked_up, opened_lists, options_of  # noqa: PLC0415
    from matcher.cli.scan_order import carry_out  # noqa: PLC0415
    from matcher.scan.rematch import NOT_FINISHED, NOT_LISTED  # noqa: PLC0415

    options = options_of(state.document)
    generation = opened_lists(order.session, options)
    goes_by = looked_up(generation, options)

    status = carry_out(
        order, state, goes_by, lambda: _work(order, state, generation, options), resumed=resumed
    )
    skipped = state.summary().skipped
    is_whole = not any(skipped.get(each) for each in (NOT_FINISHED, NOT_LISTED))
    return status if is_whole else status or EXIT_UNDECIDED


def _work(order: Order, state: ScanState, generation: Generation, options: MatchOptions) -> bool:
    """Looks up what is left; whether that is all."""
    from matcher.cli.scan_means import looked_up  # noqa: PLC0415
    from matcher.cli.scan_meter import Meter  # noqa: PLC0415
    from matcher.scan.events import Finished  # noqa: PLC0415
    from matcher.scan.rematch import rematch  # noqa: PLC0415
    from matcher.scan.tally import Tally  # noqa: PLC0415

    sealer = sealer_of(order.session)
    hashed = looked_up(generation, options)["hashed"]
    stopping = order.stopping(state.folder, grace="the batch at hand is finished")
    with (
        scan_folders.opened(Path(state.document.rematch_of)) as earlier,
        stopping.of_thread(),
    ):
        total = earlier.summary().kept
        meter = Meter.resumed(time.monotonic(), state.summary().tally, sources=(), listed=total)
        order.display.begin(f"Looking up again what is in {earlier.folder}", meter)
        for result in rematch(state, earlier, generation, options, sealer=sealer, hashed=hashed):
            at = time.monotonic()
            meter.take(Finished(0, Tally.of(result), result.seconds), at=at)
            order.display.tick(at)
            if stopping.requested:
                return state.summary().done
    return True


__all__ = ["command", "go_on"]
