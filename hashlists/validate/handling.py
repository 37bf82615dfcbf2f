"""Handling: to whom an entry may go on, and until when it may be used.

What a record does not say, its list says; and what the record said is told apart from that, since a
list may come to say something else. A record that names recipients replaces the list's, and one
that names none at all (an empty sequence, not None) may be released to nobody. An own copy of a
list says by `AS_ITS_LIST` alone that a record named none.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hashlists.model import AS_ITS_LIST, NOTHING_SAID, Handling, SaidHandling
from hashlists.validate.check import text_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.formats.base import RawBatch
    from hashlists.validate.check import Check

_Said = tuple[str | None, tuple[str, ...] | None, str | None]


def read_handlings(
    batch: RawBatch, default: Handling, check: Check
) -> tuple[Sequence[Handling], Sequence[SaidHandling]]:
    """The handling of each row, and what it says itself; interned: equal ones are one object."""
    originators, recipients, ends = batch.originators, batch.releasable_to, batch.expires_at
    if originators is None and recipients is None and ends is None:
        return [default] * batch.rows, [NOTHING_SAID] * batch.rows
    known: dict[_Said, tuple[Handling, SaidHandling] | str] = {}
    handlings: list[Handling] = []
    sayings: list[SaidHandling] = []
    rows = zip(
        originators or check.nones(),
        map(_frozen, recipients or check.nones()),
        ends or check.nones(),
        strict=True,
    )
    for row, said in enumerate(rows):
        if said not in known:
            known[said] = _handling(said, default, check)
        found = known[said]
        if isinstance(found, str):
            check.reject(row, batch.names.handling, found)
            found = default, NOTHING_SAID
        handlings.append(found[0])
        sayings.append(found[1])
    return handlings, sayings


def _frozen(recipients: Sequence[str] | None) -> tuple[str, ...] | None:
    """Each once; an empty name is nobody's. None where the record left them to its list."""
    said = None if recipients is None else tuple(dict.fromkeys(filter(None, recipients)))
    return None if said == AS_ITS_LIST else said


def _handling(said: _Said, default: Handling, check: Check) -> tuple[Handling, SaidHandling] | str:
    """The handling and what was said of it, or what is wrong with that."""
    originator, recipients, end = said
    limit = check.limits.max_id_chars
    texts = (originator or "", *(recipients or ()))
    fault = next(filter(None, (text_fault(text, limit) for text in texts)), None)
    if fault is not None:
        return f"a name {fault}"
    if recipients is not None and len(recipients) > check.limits.max_recipients:
        return f"more than {check.limits.max_recipients} recipients"
    expires_at = None
    if end:
        try:
            time = datetime.fromisoformat(end)
            expires_at = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):  # the latter for a year that UTC does not have
            return "the end of use is no date and time of RFC 3339, e.g. 2026-11-21T12:00:00Z"
    own = SaidHandling(originator, recipients, expires_at)
    made = own.over(default)
    return (default if made == default else made), (NOTHING_SAID if own == NOTHING_SAID else own)


__all__ = ["read_handlings"]
