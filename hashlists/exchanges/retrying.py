"""When to ask an exchange again: after faults that may pass, later each time, and as it says.

Waits double and are drawn at random below their bound, so that many clients do not come back at
the same moment. `Retry-After` is kept to; where it asks for longer than a fetch will wait, the
fetch ends and says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from hashlists.errors import ExchangeAwayError, ExchangePageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashlists.exchanges.clock import Clock

    _Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """How patient a fetch is.

    Attributes:
        attempts: of one page, the first included.
        first_seconds: bound of the first wait; it doubles.
        longest_seconds: longest wait, also where the exchange asks for a longer one.
    """

    attempts: int = 5
    first_seconds: float = 2.0
    longest_seconds: float = 120.0


def retried(function: Callable[[], _Result], limits: RetryLimits, clock: Clock) -> _Result:
    """What the function returns, at last.

    Raises:
        ExchangeAwayError, ExchangePageError: at every attempt; the last one's.
        Whatever else the function raises: at once.
    """
    draw = wait_random_exponential(multiplier=limits.first_seconds, max=limits.longest_seconds)

    def wait(state: RetryCallState) -> float:
        return max(draw(state), _asked_for(_error_of(state)))

    def may_pass(error: BaseException) -> bool:
        passing = isinstance(error, ExchangeAwayError | ExchangePageError)
        return passing and _asked_for(error) <= limits.longest_seconds

    return Retrying(
        sleep=clock.sleep,
        stop=stop_after_attempt(limits.attempts),
        wait=wait,
        retry=retry_if_exception(may_pass),
        reraise=True,
    )(function)


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _asked_for(error: BaseException | None) -> float:
    """Seconds that the exchange asked to be left alone for."""
    return (error.retry_after or 0.0) if isinstance(error, ExchangeAwayError) else 0.0


__all__ = ["RetryLimits", "retried"]
