"""Fetches an exchange into its list, page after page, each page one revision.

Invariants: a page counts whole, together with the checkpoint behind it, in one transaction; so
after a crash or a kill at any moment the next fetch asks for that page again and nothing is lost or
counted twice. Of two fetches at once the second fails at its first page. A malformed record is set
aside and never holds up the feed. Whatever ends a fetch early is kept for `exchanges status`;
nothing of the exchange's credentials or tokens is.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from hashlists.catalog import Checkpoint, ExchangeState, ImportSource
from hashlists.errors import (
    ExchangeConflictError,
    ExchangeCredentialsError,
    ExchangeNotFoundError,
    ExchangePausedError,
    HashlistsError,
)
from hashlists.exchanges.asking import Asker
from hashlists.exchanges.clock import Clock
from hashlists.exchanges.full import fetch_full
from hashlists.exchanges.http import Http, HttpLimits
from hashlists.exchanges.identity import of_entry
from hashlists.exchanges.progress import Progress, full_is_due
from hashlists.exchanges.reading import require_few_unmatchable
from hashlists.exchanges.registry import ExchangeSettings, make_client
from hashlists.exchanges.report import FetchReport
from hashlists.exchanges.retrying import RetryLimits
from hashlists.exchanges.staging import aside_of, stage_page
from hashlists.exchanges.walk import WalkLimits
from hashlists.formats.harm import require_harm
from hashlists.formats.registry import find_format
from hashlists.limits import DEFAULT_LIMITS, ImportLimits

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from hashlists.catalog import Catalog, ExchangeRecord, SetAside
    from hashlists.exchanges.asking import Page
    from hashlists.exchanges.base import Client
    from hashlists.exchanges.credentials import Credentials


def _straight(_url: str) -> None:
    """No proxy."""


@dataclass(frozen=True, slots=True)
class FetchOrder:
    """How to fetch.

    Attributes:
        author: who fetches, kept with every revision.
        full: fetch everything anew, and withdraw what is no longer there.
        force: withdraw it whatever speaks against it.
        http, retries, records, walk: ceilings.
        clock: what time it is.
        watch: called after each page.
        proxy_for: the address of the proxy that leads to an address; None for the straight way.
    """

    author: str
    full: bool = False
    force: bool = False
    http: HttpLimits = field(default_factory=HttpLimits)
    retries: RetryLimits = field(default_factory=RetryLimits)
    records: ImportLimits = DEFAULT_LIMITS
    walk: WalkLimits = field(default_factory=WalkLimits)
    clock: Clock = field(default_factory=Clock)
    watch: Callable[[FetchReport], None] | None = None
    proxy_for: Callable[[str], str | None] = _straight


def fetch(
    catalog: Catalog,
    name: str,
    order: FetchOrder,
    credentials: Callable[[Client, ExchangeSettings], Credentials],
) -> FetchReport:
    """Fetches all that an exchange has to tell.

    Args:
        catalog: holds the exchange and its list.
        name: of the exchange.
        order: how.
        credentials: finds what the client needs.

    Raises:
        ExchangeNotFoundError, ExchangePausedError: nothing was fetched.
        ExchangeError: it could not be fetched to its end; pages before that count.
        ExchangeConflictError, ImportInProgressError: another fetch, or an import into its list, is
            under way.
        FullListRefusedError: see `full.fetch_full`.
        HarmMismatchError: its entries do not belong into the list.
        CatalogError: the catalog failed.
    """
    record = catalog.get_exchange(name)
    if record.state is ExchangeState.PAUSED:
        raise ExchangePausedError(
            f"the exchange {name} is paused; see: hashwarden exchanges resume"
        )
    started = order.clock.monotonic()
    run = _Fetch(catalog, record, order, FetchReport(name, record.list_name))
    try:
        run.run(credentials)
    except (ExchangeConflictError, ExchangeNotFoundError):
        raise  # the checkpoint is another fetch's
    except HashlistsError as error:
        run.note_failure(error)
        raise
    finally:
        run.report.seconds = order.clock.monotonic() - started
    return run.report


class _Fetch:
    """One fetch under way."""

    def __init__(
        self, catalog: Catalog, record: ExchangeRecord, order: FetchOrder, report: FetchReport
    ) -> None:
        self._catalog = catalog
        self._record = record
        self._order = order
        self.report = report
        self._number = record.number
        self._progress = Progress.from_document(record.checkpoint)

    def run(self, find: Callable[[Client, ExchangeSettings], Credentials]) -> None:
        settings = ExchangeSettings.from_document(self._record.settings)
        client = make_client(self._record.kind, settings.options)
        record = self._catalog.get_list(self._record.list_name)
        held = record.hash_list
        require_harm(find_format(client.format), held.name, held.harm)
        credentials = find(client, settings)
        order = self._order
        with Http(
            settings.url,
            limits=order.http,
            clock=order.clock,
            ca_file=settings.ca_file,
            proxy=order.proxy_for(settings.url),
        ) as http:
            asker = Asker(
                client,
                http,
                credentials,
                handling=record.first_handling,
                retries=order.retries,
                limits=order.records,
                clock=order.clock,
                walk=order.walk,
            )
            try:
                if order.full or full_is_due(self._record, client, self._now()):
                    self._fetch_full(client, asker)
                self._fetch_pages(client, asker)
            except ExchangeCredentialsError as error:
                if not credentials.origin:
                    raise
                raise ExchangeCredentialsError(
                    f"{error}, which came from {credentials.origin}"
                ) from error

    def note_failure(self, error: HashlistsError) -> None:
        """Keeps what went wrong; where that fails, too, the first error is the one to tell."""
        failed = self._progress.failed(self._now(), str(error), error.reason)
        with suppress(HashlistsError):
            self._catalog.save_progress(self._checkpoint(failed))

    def _fetch_full(self, client: Client, asker: Asker) -> None:
        done = fetch_full(
            self._catalog,
            client,
            asker,
            self._record,
            self.report,
            source=self._source(None),
            started=self._now(),
            force=self._order.force,
            watch=self._watch,
        )
        progress = replace(self._progress.moved(done.position, self._now()), first_at=None)
        refused_at = self._now() if done.refusal is not None else None
        self._progress = replace(progress, full_refused_at=refused_at)
        full_at = done.started if done.refusal is None else None
        with done.staged as staged:
            checkpoint = self._checkpoint(self._progress, full_at=full_at)
            document = self.report.to_document()
            revision = staged.commit(
                lambda _: document,
                checkpoint=checkpoint,
                set_aside=done.set_aside,
                mended=None,
            )
        self._number += 1
        self.report.revision = revision.number if revision else 0
        if done.refusal is not None:
            raise done.refusal

    def _fetch_pages(self, client: Client, asker: Asker) -> None:
        now = self._now()
        position = self._progress.position
        if position is None:
            self._progress = replace(self._progress, first_at=now)
            position = client.start(now)
        else:
            position = client.resume(position, now)
        is_rest = client.without_next(position) is not None
        for page in asker.pages(position):
            self._take(page)
        if is_rest:  # of an earlier fetch; what changed behind it meanwhile comes with a new range
            self._fetch_pages(client, asker)

    def _take(self, page: Page) -> None:
        """Makes a page and the checkpoint behind it one revision."""
        now, done = self._now(), page.step.done
        progress = self._progress.moved(page.step.position, now)
        full_at = progress.first_at if done else None
        if done:
            progress = progress.ended(now)
        checkpoint = self._checkpoint(progress, full_at=full_at)
        aside = aside_of(page)
        if page.read.is_empty:
            self._catalog.save_progress(checkpoint, aside)
        else:
            self._stage(page, checkpoint, aside)
            self.report.take_aside(aside)
        self._number += 1
        self._progress = progress
        self.report.take_page(page.read, again=self.report.full)
        self._watch()

    def _stage(self, page: Page, checkpoint: Checkpoint, aside: list[SetAside]) -> None:
        with self._catalog.begin_import(self._record.list_name, self._source(page)) as staged:
            result = stage_page(staged, page, aside)
            require_few_unmatchable(result.unmatchable, page.read.records, staged.before.entries)
            kept = {"exchange": self._record.name, "page": page.words, "records": page.read.records}
            revision = staged.commit(
                lambda _: kept,
                checkpoint=checkpoint,
                set_aside=aside,
                mended=map(of_entry, page.read.keys()),
            )
        self.report.take_result(result)
        if revision is not None:
            self.report.revision = revision.number

    def _checkpoint(self, progress: Progress, full_at: datetime | None = None) -> Checkpoint:
        return Checkpoint(self._record.exchange_id, progress.to_document(), self._number, full_at)

    def _source(self, page: Page | None) -> ImportSource:
        what = page.words if page is not None else "all of it anew"
        return ImportSource(
            format=self._record.kind,
            sha256=page.read.sha256 if page is not None else bytes(32),
            length=page.read.length if page is not None else 0,
            importer=self._order.author,
            reason=f"exchange {self._record.name}: {what}",
            exchange_id=self._record.exchange_id,
        )

    def _watch(self) -> None:
        if self._order.watch is not None:
            self._order.watch(self.report)

    def _now(self) -> datetime:
        return self._order.clock.now()


__all__ = ["FetchOrder", "fetch"]
