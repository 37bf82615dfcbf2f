"""Handling: to whom an entry may go on, and until when it may be used.

What a record does not say, its list says. A record that names recipients replaces the list's, and
one that names none at all (an empty sequence, not None) may be released to nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hashlists.model import Handling
from hashlists.validate.check import text_fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.formats.base import RawBatch
    from hashlists.validate.check import Check

_Said = tuple[str | None, tuple[str, ...] | None, str | None]


def read_handlings(batch: RawBatch, default: Handling, check: Check) -> Sequence[Handling]:
    """The handling of each row, interned: equal handlings are one object."""
    originators, recipients, ends = batch.originators, batch.releasable_to, batch.expires_at
    if originators is None and recipients is None and ends is None:
        return [default] * batch.rows
    known: dict[_Said, Handling | str] = {}
    handlings = []
    rows = zip(
        originators or check.nones(),
        map(_frozen, recipients or check.nones()),
        ends or check.nones(),
        strict=True,
    )
    for row, said in enumerate(rows):
        if said not in known:
            known[said] = _handling(said, default, check)
        handling = known[said]
        if isinstance(handling, str):
            check.reject(row, batch.names.handling, handling)
            handling = default
        handlings.append(handling)
    return handlings


def _frozen(recipients: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if recipients is None else tuple(dict.fromkeys(recipients))


def _handling(said: _Said, default: Handling, check: Check) -> Handling | str:
    """The handling, or what is wrong with it."""
    originator, recipients, end = said
    limit = check.limits.max_id_chars
    texts = (originator or "", *(recipients or ()))
    fault = next(filter(None, (text_fault(text, limit) for text in texts)), None)
    if fault is not None:
        return f"a name {fault}"
    if recipients is not None and len(recipients) > check.limits.max_recipients:
        return f"more than {check.limits.max_recipients} recipients"
    expires_at = default.expires_at
    if end:
        try:
            time = datetime.fromisoformat(end)
            expires_at = (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):  # the latter for a year that UTC does not have
            return "the end of use is no date and time of RFC 3339, e.g. 2026-11-21T12:00:00Z"
    made = Handling(
        originator=default.originator if originator is None else originator,
        releasable_to=default.releasable_to if recipients is None else recipients,
        expires_at=expires_at,
    )
    return default if made == default else made


__all__ = ["read_handlings"]
