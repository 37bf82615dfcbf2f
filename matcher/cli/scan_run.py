"""Begins a scan, or goes on with one: looks ahead, asks, and has it carried out."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matcher.cli import scan_estimate, scan_folders
from matcher.cli.output import note, waiting
from matcher.cli.refusal import RefusalError
from matcher.cli.root import EXIT_ERROR
from matcher.cli.scan_asked import formats_for, is_afar, new_document, parsed_tags, require_same
from matcher.cli.scan_engines import opened_engine
from matcher.cli.scan_keys import sealer_of
from matcher.cli.scan_means import opened_means
from matcher.cli.scan_meter import Meter
from matcher.cli.scan_order import Order, carry_out
from matcher.cli.scan_progress import choose_display
from matcher.cli.scan_tag import require_taggable
from matcher.scan import estimate as estimating
from matcher.scan.run import GRACE_SECONDS, run_scan
from matcher.scan.sources import SourceOptions, open_source
from matcher.scan.sources.selection import Selector
from matcher.scan.state import ScanState, require_free
from matcher.scan.unchanged import Earlier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from contextlib import AbstractContextManager

    from matcher.cli.context import Session
    from matcher.cli.scan_asked import Asked
    from matcher.cli.scan_means import Means
    from matcher.cli.scan_progress import Display
    from matcher.scan.document import ScanDocument
    from matcher.scan.estimate import Estimate
    from matcher.scan.events import Event
    from matcher.scan.sources.base import Source
    from matcher.sealing import Sealer

_TICK_SECONDS: Final = 1.0
#: Options that the scan's folder does not remember, by their names.
_OF_THE_RUN: Final = {
    "engine": "--engine",
    "address": "--address",
    "workers": "--workers",
    "fetches": "--fetches",
    "formats": "--report",
    "tags": "--tag",
    "anonymous": "--anonymous",
    "allow_http": "--allow-http",
    "yes": "--yes",
    "events": "--events",
}


def scan(session: Session, asked: Asked, given: frozenset[str]) -> int:
    """Begins a scan, or goes on with one.

    Args:
        session: of this command.
        asked: the options.
        given: the names of those that stood on the command line.

    Returns:
        The exit status.
    """
    if asked.resume is not None:
        return _resumed(session, asked, given)
    document = new_document(asked, author=session.author, beginning_of=scan_folders.beginning_of)
    order = _order(session, asked, given, document)
    Selector(document.selection)  # refuses globs that are none
    folder = asked.output or Path(f"scan-{document.id}")
    _require_apart(folder, document)
    require_free(folder)
    with _means(session, asked, document) as means:
        estimate = _told_ahead(order, asked, document, means)
        if not scan_estimate.may_begin(estimate, yes=asked.yes):
            note("Nothing was scanned.")
            return EXIT_ERROR
        expected = None if estimate.at_least else estimate.objects
        with ScanState.create(folder, document) as state:
            return _carried_out(order, asked, state, means, expected=expected)


def _require_apart(folder: Path, document: ScanDocument) -> None:
    """Sees to it that a scan does not come upon its own state and reports.

    Raises:
        RefusalError: its folder would lie in what is scanned.
    """
    for place in document.places:
        if not is_afar(place.url) and folder.resolve().is_relative_to(Path(place.url).resolve()):
            raise RefusalError(
                f"the scan's own folder {folder} would lie in {place.url}, which is scanned: name "
                "one elsewhere with --output"
            )


def _resumed(session: Session, asked: Asked, given: frozenset[str]) -> int:
    assert asked.resume is not None
    with scan_folders.opened(asked.resume, writing=True) as state:
        require_same(asked, given, state.document, beginning_of=scan_folders.beginning_of)
        order = _order(session, asked, given, state.document)
        if state.document.rematch_of:
            from matcher.cli.scan_rematch import go_on  # noqa: PLC0415  the rarer case

            return go_on(order, state, resumed=True)
        with _means(session, asked, state.document) as means:
            return _carried_out(order, asked, state, means)


def _means(session: Session, asked: Asked, document: ScanDocument) -> AbstractContextManager[Means]:
    """What the scan matches by; decoders are only opened for as long as they serve it."""
    return opened_means(session, document, workers=asked.workers, afar=asked.engine == "ray")


def _order(session: Session, asked: Asked, given: frozenset[str], document: ScanDocument) -> Order:
    """How the scan is carried out; refuses what would only fail in the end."""
    tags = parsed_tags(asked.tags)
    if tags:
        require_taggable(tags, document.places)
    return Order(
        session,
        choose_display(events=asked.events),
        formats=formats_for(document, asked.formats),
        tags=tags,
        yes=asked.yes,
        again=_again(asked, given),
    )


def _again(asked: Asked, given: frozenset[str]) -> list[str]:
    """The options that have to be given once more to go on in the same way."""
    told: list[str] = []
    for name, option in _OF_THE_RUN.items():
        value = getattr(asked, name)
        if name not in given:
            continue
        if value is True:
            told.append(option)
        elif name == "formats":
            told += [option, ",".join(value)]
        elif name == "tags":
            told += [part for each in value for part in (option, each)]
        else:
            told += [option, str(value)]
    return told


# Before it begins


def _told_ahead(order: Order, asked: Asked, document: ScanDocument, means: Means) -> Estimate:
    """What the scan will take, which is told."""
    with waiting("Looking ahead"):
        estimate = asyncio.run(_estimated(order, asked, document, means))
    told = scan_estimate.words(estimate)
    order.display.tell("estimate", told, scan_estimate.record(estimate))
    return estimate


async def _estimated(order: Order, asked: Asked, document: ScanDocument, means: Means) -> Estimate:
    async with _sources(asked, document) as sources:
        selection, rate = document.selection, None
        here = replace(asked, engine="local")  # a cluster is not started to learn a rate
        ahead = await estimating.look_ahead(sources, Selector(selection), limit=selection.limit)
        # At a server each match leaves a record, so nothing is tried there.
        if not document.server and scan_estimate.is_worth_measuring(ahead):
            async with opened_engine(order.session, here, document, sources, means) as engine:
                rate = await estimating.measured_rate(ahead, engine)
        return estimating.estimate(
            ahead,
            stores=any("://" in place.url for place in document.places),
            inventory=any(place.inventory for place in document.places),
            rate=rate,
            prices=scan_estimate.prices(
                order.session.settings, asked.price_get, asked.price_list, asked.price_gb
            ),
        )


@asynccontextmanager
async def _sources(asked: Asked, document: ScanDocument) -> AsyncIterator[list[Source]]:
    """The places, open."""
    options = SourceOptions(anonymous=asked.anonymous, allow_http=asked.allow_http)
    async with AsyncExitStack() as stack:
        sources = []
        for place in document.places:
            source = open_source(place, prefix=document.selection.prefix, options=options)
            stack.push_async_callback(source.close)
            sources.append(source)
        yield sources


# While it goes on


def _carried_out(
    order: Order, asked: Asked, state: ScanState, means: Means, *, expected: int | None = None
) -> int:
    """Has the scan carried out; `expected` is how many objects were seen ahead, if all were."""
    meter = _meter(state, expected)
    keeps = state.document.hashes_until > 0
    sealer = sealer_of(order.session, make=True) if keeps else None
    return carry_out(
        order,
        state,
        means.looked_up,
        lambda: asyncio.run(_run(order, asked, state, means, sealer, meter)),
        resumed=asked.resume is not None,
    )


async def _run(  # noqa: PLR0917  each is another thing
    order: Order,
    asked: Asked,
    state: ScanState,
    means: Means,
    sealer: Sealer | None,
    meter: Meter,
) -> bool:
    """Scans; whether the scan is complete."""
    document, display, stop = state.document, order.display, asyncio.Event()
    grace = f"what is under way has {GRACE_SECONDS:.0f} s to finish"
    stopping = order.stopping(state.folder, grace=grace)

    def take(event: Event) -> None:
        meter.take(event, at=time.monotonic())

    async with AsyncExitStack() as stack:
        stack.enter_context(stopping.of_loop(asyncio.get_running_loop(), stop.set))
        sources = await stack.enter_async_context(_sources(asked, document))
        engine = await stack.enter_async_context(
            opened_engine(
                order.session,
                asked,
                document,
                sources,
                means,
                earlier=_earlier(stack, order, document, sources, means),
                events=take,
            )
        )
        display.begin(f"Scanning {', '.join(each.url for each in document.places)}", meter)
        ticking = asyncio.create_task(_tick(display))
        stack.callback(ticking.cancel)
        return await run_scan(
            state,
            sources,
            Selector(document.selection),
            engine,
            sealer=sealer,
            events=take,
            stop=stop,
        )


def _earlier(
    stack: AsyncExitStack,
    order: Order,
    document: ScanDocument,
    sources: Sequence[Source],
    means: Means,
) -> Earlier | None:
    """What stands of an earlier scan, open as long as the stack; tells where nothing does."""
    if not document.unchanged_from:
        return None
    state = stack.enter_context(scan_folders.opened(Path(document.unchanged_from)))
    goes_by = means.looked_up
    earlier = Earlier(
        state,
        sealer_of(order.session, make=True),
        document.places,
        [each.order for each in sources],
        archives=document.archives,
        hashed=goes_by["hashed"],
        decoders=goes_by["decoders"],
    )
    if earlier.problem:
        told = f"warning: all objects are fetched, for nothing of {document.unchanged_from} stands"
        note(f"{told}: {earlier.problem}", style="yellow")
    return earlier


def _meter(state: ScanState, expected: int | None) -> Meter:
    summary = state.summary()
    places = range(len(state.document.places))
    return Meter.resumed(
        time.monotonic(),
        summary.tally,
        sources=[each for each in places if not state.position(each).done],
        listed=summary.listed,
        expected=expected,
    )


async def _tick(display: Display) -> None:
    while True:
        display.tick(time.monotonic())
        await asyncio.sleep(_TICK_SECONDS)


__all__ = ["scan"]
