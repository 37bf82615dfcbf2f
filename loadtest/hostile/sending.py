"""Sends hostile files over streams, and keeps account of every answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Final

from loadtest.hostile.mutations import mutated
from matcher.client import AsyncClient
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.model import Decision, NotHashableReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from matcher.client import MatchAnswer

_STREAMS: Final = 3
_FILES_A_STREAM: Final = 2_000
#: So often a picture that is listed comes between, which has to match.
_KNOWN_EVERY: Final = 200
_KNOWN: Final = "known-"
#: Without a single answer for so long, the files of a stream count as lost.
_SILENCE_SECONDS: Final = 120.0


@dataclass(slots=True)
class Tally:
    """What came of the files.

    Attributes:
        answered: files with an answer.
        outcomes: how many, by decision, or by the reason why they could not be hashed.
        failed: numbers of files that ended their decoder, or made it fail in a way nobody foresaw.
        findings: what must not be: a file by its number, and what was wrong.
    """

    answered: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    failed: list[int] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def take(self, request_id: str, answer: MatchAnswer | None, error: ServerError | None) -> None:
        """Judges one answer."""
        if answer is None:
            told = error.reason if error is not None else "nothing"
            self.findings.append(f"{request_id}: answered with {told}")
        elif request_id.startswith(_KNOWN):
            if answer.result.decision is not Decision.MATCH:
                self.findings.append(f"{request_id}: {answer.result.decision} for a listed picture")
            return
        else:
            self._take_result(int(request_id), answer)
        self.answered += 1

    def _take_result(self, number: int, answer: MatchAnswer) -> None:
        result = answer.result
        if (result.decision is Decision.NOT_HASHABLE) != (result.reason is not None):
            self.findings.append(f"{number}: {result.decision}, reason {result.reason}")
        truncated = answer.image is not None and answer.image.truncated
        outcome = result.reason or ("cut off, " if truncated else "") + result.decision
        self.outcomes[str(outcome)] += 1
        if result.reason is NotHashableReason.DECODER_FAILED:
            self.failed.append(number)

    def lose(self, pending: set[str], why: object) -> None:
        """Notes files that got no answer."""
        self.answered += sum(not each.startswith(_KNOWN) for each in pending)
        self.findings += [f"{each}: no answer ({why})" for each in sorted(pending)]


async def send(
    address: str, corpus: Sequence[bytes], *, seed: int, numbers: Sequence[int], tally: Tally
) -> None:
    """Sends mutated files, some streams at a time.

    Args:
        address: of the service.
        corpus: whole files.
        seed: which run.
        numbers: of the files; each number names one file of that seed.
        tally: takes the answers.

    Raises:
        OSError: the service is gone.
    """
    coming = iter(numbers)
    async with AsyncClient(address) as client:

        async def streams() -> None:
            while await _stream(client, corpus, seed, coming, tally):
                pass

        async with asyncio.TaskGroup() as group:
            for _ in range(_STREAMS):
                group.create_task(streams())


async def _stream(
    client: AsyncClient, corpus: Sequence[bytes], seed: int, coming: Iterator[int], tally: Tally
) -> bool:
    """Sends one stream's share; False where nothing was left."""
    pending: set[str] = set()
    drew = False

    async def drawn() -> AsyncIterator[tuple[str, bytes]]:
        nonlocal drew
        for number in islice(coming, _FILES_A_STREAM):
            drew = True
            if number % _KNOWN_EVERY == 0:
                pending.add(f"{_KNOWN}{number}")
                yield f"{_KNOWN}{number}", published_test_image().data
            pending.add(str(number))
            yield str(number), mutated(corpus, seed, number)

    try:
        async with asyncio.timeout(_SILENCE_SECONDS) as alarm:
            async for each in client.match_images(drawn()):
                alarm.reschedule(asyncio.get_running_loop().time() + _SILENCE_SECONDS)
                if each.request_id in pending:
                    pending.remove(each.request_id)
                    tally.take(each.request_id, each.answer, each.error)
                else:
                    tally.findings.append(f"{each.request_id}: answered twice, or never asked")
    except (ServerError, TimeoutError) as problem:
        tally.lose(pending, problem)
        if await client.health() != "SERVING":
            raise ConnectionError("the service does not serve any more") from problem
        return True
    tally.lose(pending, "the stream ended without")
    return drew
