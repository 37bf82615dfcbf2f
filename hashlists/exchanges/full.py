"""Fetches all of an exchange anew, as one revision, and withdraws what is no longer there.

An exchange that forgets what it withdrew cannot tell a copy that was away for too long; nor can any
exchange a copy that went wrong. Invariants: all pages are one change, so the list never stands half
fetched; a fetch that ends early has changed nothing. What changed while it ran is fetched again
afterwards, from the moment at which it began: only then do records count that a later page of it
contradicted. Nothing is withdrawn when too much speaks against it, but what was found is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hashlists.errors import FullListRefusedError
from hashlists.exchanges.reading import require_few_unmatchable
from hashlists.exchanges.staging import aside_of, stage_page
from hashlists.importing.full import MAX_ABSENT_SHARE
from hashlists.words import counted, one_or_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from hashlists.catalog import (
        Catalog,
        ExchangeRecord,
        ImportSource,
        SetAside,
        StagedImport,
    )
    from hashlists.exchanges.asking import Asker
    from hashlists.exchanges.base import Client, Position
    from hashlists.exchanges.report import FetchReport

_REASON: Final = "not found when all of the exchange was fetched anew"


@dataclass(frozen=True, slots=True)
class FullFetch:
    """Everything, staged and not yet committed.

    Attributes:
        staged: the import, to be committed or aborted by whoever gets it.
        position: where to go on after it.
        started: when it began, by the earlier of both clocks.
        set_aside: malformed records.
        refusal: why nothing was withdrawn although something is absent; None where it was.
    """

    staged: StagedImport
    position: Position
    started: datetime
    set_aside: list[SetAside]
    refusal: FullListRefusedError | None


def fetch_full(
    catalog: Catalog,
    client: Client,
    asker: Asker,
    record: ExchangeRecord,
    report: FetchReport,
    *,
    source: ImportSource,
    started: datetime,
    force: bool,
    watch: Callable[[], None],
) -> FullFetch:
    """Stages everything that an exchange has, and the withdrawal of what it has no longer.

    Raises:
        ExchangeError: it could not be fetched to its end; nothing of it counts.
        ImportInProgressError: an import into the list is under way.
        CatalogError: the catalog failed.
    """
    report.full = True
    aside: list[SetAside] = []
    position = client.start(started)
    staged = catalog.begin_import(record.list_name, source)
    try:
        for page in asker.pages(position):
            if page.server_time is not None:
                started = min(started, page.server_time)
            malformed = aside_of(page)
            # What two pages tell differently has changed meanwhile, and is fetched again.
            result = stage_page(staged, page, [])
            if not force:
                require_few_unmatchable(
                    result.unmatchable, page.read.records, staged.before.entries
                )
            report.take_result(result)
            aside += malformed
            report.take_page(page.read)
            watch()
            position = page.step.position
        absent = staged.absent()
        report.absent = len(absent)
        against = list(_against(staged, client, aside, report.absent)) if not force else []
        refusal = None
        if report.absent and against:
            refusal = FullListRefusedError(
                f"{report.absent:,} of {counted(staged.before.entries, 'entry', 'entries')} in "
                f"force {one_or_many(report.absent, 'was', 'were')} not found when all was fetched "
                f"anew, but {'; '.join(against)}; what was found was taken, and nothing withdrawn: "
                "look at it, then: hashwarden exchanges fetch NAME --full --force"
            )
        elif report.absent:
            report.take_result(staged.stage_absent(absent, reason=_REASON))
    except BaseException:
        staged.abort()
        raise
    return FullFetch(staged, client.back_to(position, started), started, aside, refusal)


def _against(
    staged: StagedImport, client: Client, aside: list[SetAside], absent: int
) -> Iterator[str]:
    """What makes it doubtful that they are gone at the exchange."""
    before = staged.before
    if aside:
        yield (
            counted(len(aside), "record was", "records were")
            + " set aside, of which entries is not known"
        )
    if before.format not in (None, client.format):
        yield f"the last import was of the format {before.format}, whose keys may be others"
    if before.entries and absent / before.entries > MAX_ABSENT_SHARE:
        share = absent / before.entries
        yield f"that is {share:.1%} of them, above the limit of {MAX_ABSENT_SHARE:.1%}"


__all__ = ["FullFetch", "fetch_full"]
