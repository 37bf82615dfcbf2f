"""Sizes, times and outcomes of a scan in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matcher.scan.model import FOUND, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

_STEP: Final = 1024
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
EXIT_FOUND: Final = 1
EXIT_UNDECIDED: Final = 2


def size_words(nbytes: float) -> str:
    """E.g. "512 bytes", "45.1 MiB"."""
    if nbytes < _STEP:
        return f"{nbytes:.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        nbytes /= _STEP
        if nbytes < _STEP:
            return f"{nbytes:,.1f} {unit}"
    return f"{nbytes / _STEP:,.1f} TiB"


def time_words(seconds: float) -> str:
    """E.g. "40 s", "12 min", "3 h 20 min", "5 days 2 h"."""
    whole = round(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{round(whole / _MINUTE)} min"
    if whole < _DAY:
        return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"
    days = whole // _DAY
    return f"{days:,} {'day' if days == 1 else 'days'} {whole % _DAY // _HOUR} h"


def outcome_words(outcome: str) -> str:
    """E.g. "not hashable"."""
    return outcome.replace("_", " ")


def counts_words(outcomes: Mapping[str, int]) -> str:
    """E.g. "3 matched, 1 review, 12,000 no known match"; what is none is left out."""
    told = [
        f"{outcomes[each.value]:,} {outcome_words(each)}"
        for each in Outcome
        if outcomes.get(each.value)
    ]
    return ", ".join(told) or "nothing yet"


def exit_status(*outcomes: Mapping[str, int]) -> int:
    """As of `match`: 1 where anything matched or needs review, else 2 where anything is not known.

    Args:
        outcomes: how many objects, and members of archives, have each.
    """

    def any_of(wanted: tuple[Outcome, ...]) -> bool:
        return any(counts.get(each.value) for counts in outcomes for each in wanted)

    if any_of(FOUND):
        return EXIT_FOUND
    return EXIT_UNDECIDED if any_of((Outcome.NOT_HASHABLE, Outcome.FAILED)) else 0


__all__ = [
    "EXIT_FOUND",
    "EXIT_UNDECIDED",
    "counts_words",
    "exit_status",
    "outcome_words",
    "size_words",
    "time_words",
]
