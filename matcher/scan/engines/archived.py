"""Scans the members of archives: each is judged as an object is, and has a record of its own.

Members are taken out one by one, in a thread, and only while few of them wait; so memory does not
grow with the archive. What could not be taken out has a record, too.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from matcher.model import NotHashableReason
from matcher.scan.model import FOUND, FailureReason, Outcome
from matcher.scan.pace import Room
from matcher.scan.records import failed_record
from matcher.scan.sources.archives import ArchiveProblem, Member, members

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from concurrent.futures import Executor

    from matcher.scan.engines.done import Done
    from matcher.scan.model import Batch, Content, Record
    from matcher.scan.sources.archives import ArchiveLimits

#: Members that are judged at a time, of one archive, and their bytes, of all archives.
_MEMBERS: Final = 16
_BYTES: Final = 64 * 1024 * 1024
_Found = Member | ArchiveProblem
#: Stands for what of an archive could not be taken out.
REST: Final = "*"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a member is: row of its archive in the batch, and its number there, from 1."""

    batch: Batch
    row: int
    number: int
    path: str


class Opener:
    """Opens archives. Of one event loop.

    Args:
        limits: what of an archive is taken.
        threads: take members out.
        judged: judges a member, and gives what became of it alone.
    """

    def __init__(
        self,
        limits: ArchiveLimits,
        threads: Executor,
        judged: Callable[[Member, Place], Awaitable[Done]],
    ) -> None:
        self.limits = limits
        self._threads = threads
        self._judged = judged
        self._room = Room(_BYTES)

    async def open(self, batch: Batch, row: int, content: Content, done: Done) -> None:
        """Scans what an archive holds.

        Args:
            batch: in which the archive is.
            row: of the archive.
            content: the archive.
            done: holds its own record, and takes those of its members.
        """
        turns = asyncio.Semaphore(_MEMBERS)
        tasks: list[asyncio.Task[Done]] = []
        problems: dict[int, ArchiveProblem] = {}
        found = members(content, self.limits)
        async with asyncio.TaskGroup() as group:
            while (each := await self._next(found)) is not None:
                if isinstance(each, ArchiveProblem):
                    problems[len(tasks) + len(problems)] = each
                    continue
                await turns.acquire()
                await self._room.take(each.size if each.data is not None else 0)
                place = Place(batch, row, len(tasks) + len(problems) + 1, each.path)
                tasks.append(group.create_task(self._member(each, place, turns)))
        judged = iter(tasks)
        for number in range(len(tasks) + len(problems)):
            if number in problems:
                _tell(problems[number], Place(batch, row, number + 1, problems[number].path), done)
            else:
                its = next(judged).result()
                done.records += its.records
                done.kept += its.kept

    async def _next(
        self, found: Iterator[Member | ArchiveProblem]
    ) -> Member | ArchiveProblem | None:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, next, found, None)

    async def _member(self, member: Member, place: Place, turns: asyncio.Semaphore) -> Done:
        try:
            return await self._judged(member, place)
        finally:
            self._room.give(member.size if member.data is not None else 0)
            turns.release()


def _tell(problem: ArchiveProblem, place: Place, done: Done) -> None:
    """Writes down what could not be taken out: by the archive's own record, where it tells less."""
    own = done.records[0]
    if not problem.path and own.outcome not in FOUND:
        done.records[0] = _with(own, problem)
        return
    blank = failed_record(
        place.batch,
        place.row,
        FailureReason.ARCHIVE_DAMAGED,
        problem.detail,
        attempts=own.attempts,
        member=place.path or REST,
        member_number=place.number,
    )
    done.take(_with(blank, problem))


def _with(record: Record, problem: ArchiveProblem) -> Record:
    whole = isinstance(problem.reason, NotHashableReason)
    return msgspec.structs.replace(
        record,
        outcome=Outcome.NOT_HASHABLE if whole else Outcome.FAILED,
        reason=str(problem.reason),
        detail=problem.detail,
    )


__all__ = ["REST", "Opener", "Place"]
