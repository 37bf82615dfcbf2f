"""Who changed what through the service, in the audit; matching never waits for it.

Acts that run in a thread are recorded there, so that a caller who goes away meanwhile changes
nothing about that. Those that run in a child process end with their caller, and so does the record.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from hashlists.access.audit import Event, Outcome
from hashlists.access.recording import record_end, recorded, revision_of
from hashlists.errors import HashlistsError
from matcher.errors import MatcherError
from matcher.service.gate import current_caller
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from hashlists.access.database import AccessDatabase

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Context = Any
_log = logging.getLogger(__name__)
_MOST_PENDING = 64
_CLOSE_SECONDS = 5.0
POLICIES = "policies.load"


class Auditing:
    """Records acts.

    Args:
        database: gives the open database; for threads.
    """

    def __init__(self, database: Callable[[], AccessDatabase]) -> None:
        self._database = database
        self._threads = Threads("audit", workers=1, max_pending=_MOST_PENDING)

    async def close(self) -> None:
        """Writes what is still to be written, unless the database takes too long."""
        await self._threads.finish(seconds=_CLOSE_SECONDS)

    def around(
        self,
        event: Event,
        act: Callable[Arguments, Result],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Calls `act` and records it; for threads.

        Raises:
            AuditError, AccessDatabaseError: nothing was done, as it cannot be recorded.
        """
        with recorded(self._database(), event) as told:
            result = act(*arguments, **named)
            told["revision"] = revision_of(result)
        return result

    @asynccontextmanager
    async def act(self, event: Event) -> AsyncIterator[dict[str, Any]]:
        """Around an act on the loop; what is put into the dictionary stands in its record.

        Raises:
            AuditError, AccessDatabaseError: nothing was done, as it cannot be recorded.
        """
        begun = await self._threads.run(self._begin, event)
        told: dict[str, Any] = {}
        try:
            yield told
        except (HashlistsError, MatcherError) as error:
            failed = {"reason_code": error.reason}
            await self._threads.run(self._end, event, begun, Outcome.FAILED, failed)
            raise
        except BaseException:  # the caller went away, or a bug: nobody waits for it
            self._threads.begin(self._end, event, begun, Outcome.FAILED, {"reason_code": "ENDED"})
            raise
        await self._threads.run(self._end, event, begun, Outcome.DONE, told)

    async def note_policies(self, versions: Mapping[str, str], actor: str) -> None:
        """Records the policies that are served, where they are not those of before."""
        try:
            await self._threads.run(self._note_policies, versions, actor)
        except HashlistsError as error:
            _log.error("the policies that are served are not recorded: %s", error)

    def _note_policies(self, versions: Mapping[str, str], actor: str) -> None:
        database = self._database()
        before = database.newest_record(POLICIES)
        details = {"versions": dict(versions)}
        if before is None or before.event.details != details:
            database.record(Event(actor, POLICIES, "policies", details=details))

    def _begin(self, event: Event) -> int:
        return self._database().record(replace(event, outcome=Outcome.BEGUN))

    def _end(self, event: Event, begun: int, outcome: Outcome, told: dict[str, Any]) -> None:
        record_end(self._database(), event, begun, outcome, told)


def event_of(act: str, subject: str, context: Context, author: str, **details: Any) -> Event:
    """What is recorded of a call: by the client where one is known, else by an address.

    Args:
        act: what is done.
        subject: to which list.
        context: of the call.
        author: who the caller says it is.
        details: of the act.
    """
    caller = current_caller()
    address = context.peer().rpartition(":")[0]
    actor = f"client:{caller.name}" if caller.is_client else f"unknown:{address}"
    where = {"address": address, "author": author}
    return Event(actor, act, subject, details={**details, **where})


__all__ = ["Auditing", "event_of"]
