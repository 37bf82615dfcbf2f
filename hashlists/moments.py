"""Moments as sources write them: seconds since 1970, or ISO 8601; always UTC.

A text without a time zone counts as UTC, never as local time.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: 9999-12-31; later numbers are no seconds.
_LAST_SECOND = 253_402_300_799

_MICROSECOND = timedelta(microseconds=1)
#: No exchange of hashes is older: what is, is a field that nobody set, or no time at all.
_FIRST_CHANGE = datetime(2000, 1, 1, tzinfo=UTC)
#: By how much a source's clock may be ahead of ours.
_AHEAD = timedelta(days=1)


def utc_text(moment: datetime) -> str:
    """E.g. `2017-10-24T15:00:00Z`: whole seconds, rounded down."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_moment(text: object) -> datetime | None:
    """The moment that a text or a number names; None where it is none."""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        return None
    try:
        seconds = float(text)
    except ValueError:
        return _read_iso(str(text))
    except OverflowError:
        return None
    if not math.isfinite(seconds) or not 0 <= seconds <= _LAST_SECOND:
        return None
    return _EPOCH + timedelta(seconds=seconds)


def change_moment(text: object) -> int | None:
    """When a source says that it changed a record, in microseconds since 1970.

    None where that cannot be: before 2000, as fields show that nobody set, or in the future, as a
    clock shows that is wrong. Such a time says nothing of which of two records is the later one.
    """
    moment = read_moment(text)
    if moment is None or not _FIRST_CHANGE <= moment <= datetime.now(UTC) + _AHEAD:
        return None
    return (moment - _EPOCH) // _MICROSECOND


def _read_iso(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


__all__ = ["change_moment", "read_moment", "utc_text"]
