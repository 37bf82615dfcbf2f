"""An act is recorded before it takes place, and again when it has ended.

What cannot be recorded does not take place. Once it has taken place, that its end cannot be
recorded changes nothing: the log tells, and in the record it stays begun.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hashlists.access.audit import Outcome
from hashlists.errors import AccessDatabaseError, AuditError, HashlistsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashlists.access.audit import Event
    from hashlists.access.database import AccessDatabase

_log = logging.getLogger(__name__)


@contextmanager
def recorded(database: AccessDatabase, event: Event) -> Iterator[dict[str, Any]]:
    """Around an act; what is put into the dictionary stands in the record of its end.

    Raises:
        AuditError: nothing was done, as it cannot be recorded.
    """
    begun = database.record(replace(event, outcome=Outcome.BEGUN))
    told: dict[str, Any] = {}
    try:
        yield told
    except BaseException as error:
        why = error.reason if isinstance(error, HashlistsError) else type(error).__name__
        record_end(database, event, begun, Outcome.FAILED, {**told, "reason_code": why})
        raise
    record_end(database, event, begun, Outcome.DONE, told)


def record_end(
    database: AccessDatabase, event: Event, begun: int, outcome: Outcome, told: dict[str, Any]
) -> None:
    """Records how an act ended whose beginning has that number; never fails."""
    details = {**event.details, **told, "begun": begun}
    try:
        database.record(replace(event, outcome=outcome, details=details))
    except (AuditError, AccessDatabaseError) as error:
        _log.error("%s of %s is %s: %s", event.act, event.subject, outcome.value, error)


def revision_of(result: object) -> int | None:
    """The revision that an act made, as its report or record tells it."""
    revision = getattr(result, "revision", None)
    number = getattr(revision, "number", revision)
    return number if isinstance(number, int) else None


__all__ = ["record_end", "recorded", "revision_of"]
