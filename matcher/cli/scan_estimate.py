"""Looks ahead of a big scan, tells what it will take, and asks where a person can be asked.

Where nobody can be asked it goes on: a scan that cron starts must not stand still because the
bucket has grown. What it will take is told there too, in a line of the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from matcher.cli.asking import agreed, can_ask
from matcher.cli.scan_words import size_words, time_words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.scan.estimate import Ahead, Estimate, Prices
    from matcher.settings import Settings

#: Beyond either a scan is a big one.
BIG_OBJECTS: Final = 100_000
BIG_SECONDS: Final = 3_600.0
#: Beyond either its rate is measured: at a few objects a second it may take more than an hour.
WORTH_MEASURING_OBJECTS: Final = 5_000
WORTH_MEASURING_BYTES: Final = 5 * 10**9


def is_worth_measuring(ahead: Ahead) -> bool:
    """Whether it may take so long that a few objects are tried beforehand."""
    return (
        not ahead.complete
        or ahead.objects > WORTH_MEASURING_OBJECTS
        or ahead.nbytes > WORTH_MEASURING_BYTES
    )


def prices(settings: Settings, get: float | None, list_: float | None, gb: float | None) -> Prices:
    """What a store charges: as it was said, else as it is set."""
    from matcher.scan.estimate import Prices  # noqa: PLC0415  for new scans alone

    return Prices(
        get=settings.scan_price_get if get is None else get,
        list_=settings.scan_price_list if list_ is None else list_,
        gb=settings.scan_price_gb if gb is None else gb,
    )


def words(estimate: Estimate) -> str:
    """The estimate in a sentence."""
    least = "at least " if estimate.at_least else ""
    told = [f"{least}{estimate.objects:,} objects", size_words(estimate.nbytes)]
    if estimate.seconds is not None:
        told.append(f"about {time_words(estimate.seconds)} at the rate of a few tried")
    if estimate.get_requests:
        told.append(f"{estimate.list_requests:,} LIST and {estimate.get_requests:,} GET requests")
    if estimate.cost is not None:
        told.append(f"{estimate.cost:,.2f} in the currency of the prices")
    why = " (the listing goes on behind what was looked at)" if estimate.at_least else ""
    return f"To scan: {', '.join(told)}{why}."


def record(estimate: Estimate) -> Mapping[str, Any]:
    """The estimate as an object of JSON."""
    return {
        "objects": estimate.objects,
        "bytes": estimate.nbytes,
        "at_least": estimate.at_least,
        "seconds": None if estimate.seconds is None else round(estimate.seconds),
        "list_requests": estimate.list_requests,
        "get_requests": estimate.get_requests,
        "cost": None if estimate.cost is None else round(estimate.cost, 4),
    }


def may_begin(estimate: Estimate, *, yes: bool) -> bool:
    """Whether to go on: a person is asked about a big scan, and nobody else."""
    if yes or not estimate.is_big(objects=BIG_OBJECTS, seconds=BIG_SECONDS):
        return True
    return agreed("Begin?") if can_ask() else True


__all__ = ["is_worth_measuring", "may_begin", "prices", "record", "words"]
