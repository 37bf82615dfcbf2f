"""Matches at a server, over one stream, and keeps the order of the input.

A server answers items as they are ready, may refuse one for the moment, and may end the stream to
restart; whatever stays without an answer is sent again, a few times. What the server takes no
image of (empty, or too large) is looked up by its digests, which are taken here.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from hashlists.model import HashKind
from matcher.cli.files import LoadedFile, UnreadableFile, load_file, too_large
from matcher.cli.matching import FileOutcome
from matcher.cli.output import note
from matcher.cli.results import Failure, Outcome
from matcher.client import HashQuery
from matcher.errors import (
    PolicyError,
    PolicyWidenedError,
    ServerError,
    TooLargeError,
    UnknownPolicyError,
    UnknownViewError,
)
from matcher.gaps import NO_GAPS, Gaps
from matcher.model import Decision, ImageHashes, MatchResult, NotHashableReason, Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from matcher.client import Client, MatchAnswer, StreamAnswer
    from matcher.pipeline import MatchOptions

_PAUSES_SECONDS = (0.0, 0.5, 1.0, 2.0, 4.0)  # before each time that items are sent
_ROUNDS_IN_VAIN = 3  # after so many without any answer, the server is not there
#: Errors of an item that hold for every other item too.
_OF_ALL_ITEMS = frozenset(
    {
        PolicyError.reason,
        PolicyWidenedError.reason,
        UnknownPolicyError.reason,
        UnknownViewError.reason,
    }
)
_EMPTY = Undecodable(NotHashableReason.MALFORMED, "the file is empty")


class RemoteMatcher:
    """Matches at the server of `client`.

    Args:
        client: an open client.
        options: what the user chose.
        max_bytes: of one encoded file; a larger one is matched by its digests alone.
        pause: waits between rounds; replaced by tests.
    """

    def __init__(
        self,
        client: Client,
        options: MatchOptions,
        *,
        max_bytes: int,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._options = options
        self._max_bytes = max_bytes
        self._pause = pause
        self._told_stale = False

    def match_files(self, paths: Sequence[str]) -> Iterator[FileOutcome]:
        """The outcome for each file, in their order.

        Raises:
            ServerError: the server gave no answer to anything.
        """
        items = _InOrder(paths)
        problem: ServerError | None = None
        for number, pause in enumerate(_PAUSES_SECONDS, start=1):
            self._pause(pause)
            problem = yield from self._send_unanswered(items)
            if not items.unanswered():
                return
            if problem is not None and not problem.retryable:
                break
            if number == _ROUNDS_IN_VAIN and not items.answered_any:
                break
        if problem is not None and not items.answered_any:
            raise problem
        yield from items.give_up(_failure(problem))

    def _send_unanswered(self, items: _InOrder) -> Generator[FileOutcome, None, ServerError | None]:
        """One stream with all that is unanswered; returns why something stayed so."""
        aside: dict[int, LoadedFile | UnreadableFile] = {}
        problem: ServerError | None = None
        try:
            for answer in self._client.match_images(
                self._images(items, aside),
                policy=self._options.policy,
                views=self._options.views,
                max_matches=self._options.max_matches,
            ):
                problem = self._take(items, answer) or problem
                self._settle(items, aside)
                yield from items.ready()
            self._settle(items, aside)
        except ServerError as error:
            problem = error
        yield from items.ready()
        return problem

    def _images(
        self, items: _InOrder, aside: dict[int, LoadedFile | UnreadableFile]
    ) -> Iterator[tuple[str, bytes]]:
        """Reads files as the server takes them; runs in a thread of gRPC's."""
        for row in items.unanswered():
            file = load_file(items.path(row), max_bytes=self._max_bytes)
            if isinstance(file, LoadedFile) and file.data:
                yield str(row), file.data
            else:
                aside[row] = file

    def _take(self, items: _InOrder, answer: StreamAnswer) -> ServerError | None:
        row = int(answer.request_id)
        if answer.answer is not None:
            result = self._result(answer.answer)
            seen = Gaps.of(answer.answer.image, result.views_tried, result.views_left_out)
            items.put(row, result, seen)
            return None
        error = answer.error
        assert error is not None
        if error.reason in _OF_ALL_ITEMS:
            raise error
        if error.reason == TooLargeError.reason:
            items.put(row, self._without_pixels(load_file(items.path(row), max_bytes=0)))
        elif error.retryable:
            return error
        else:
            items.put(row, _failure(error))
        return None

    def _settle(self, items: _InOrder, aside: dict[int, LoadedFile | UnreadableFile]) -> None:
        """Answers what was not sent as an image."""
        for row in list(aside):
            items.put(row, self._without_pixels(aside[row]))
            del aside[row]

    def _without_pixels(self, file: LoadedFile | UnreadableFile) -> Outcome:
        if isinstance(file, UnreadableFile):
            return Failure("unreadable", file.detail)
        digests = file.digests
        known = {
            HashKind.MD5: digests.md5,
            HashKind.SHA1: digests.sha1,
            HashKind.SHA256: digests.sha256,
        }
        (outcome,) = self.lookup([ImageHashes(digests=known, size=digests.size)])
        if isinstance(outcome, Failure):
            return outcome
        why = too_large(digests.size, self._max_bytes) if digests.size else _EMPTY
        unknown = outcome.decision is Decision.NO_KNOWN_MATCH
        decision = Decision.NOT_HASHABLE if unknown else outcome.decision
        return replace(outcome, decision=decision, reason=why.reason, detail=why.detail)

    def lookup(self, items: Sequence[ImageHashes]) -> list[Outcome]:
        """The outcome for each item, in their order.

        Raises:
            ServerError: the call as a whole failed.
        """
        if not items:
            return []
        answers = self._client.lookup_hashes(
            [_query(item) for item in items],
            policy=self._options.policy,
            max_matches=self._options.max_matches,
        )
        return [
            _failure(each) if isinstance(each, ServerError) else self._result(each)
            for each in answers
        ]

    def _result(self, answer: MatchAnswer) -> MatchResult:
        if answer.stale and not self._told_stale:
            self._told_stale = True
            note("warning: the server knows that its lists are not the newest", style="yellow")
        return answer.result


class _InOrder:
    """Outcomes as they come, given on in the order of the input."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths
        self._waiting: dict[int, tuple[Outcome, Gaps]] = {}
        self._next = 0
        self.answered_any = False

    def path(self, row: int) -> str:
        return self._paths[row]

    def put(self, row: int, outcome: Outcome, gaps: Gaps = NO_GAPS) -> None:
        self._waiting[row] = (outcome, gaps)
        self.answered_any = True

    def ready(self) -> Iterator[FileOutcome]:
        while self._next in self._waiting:
            row, self._next = self._next, self._next + 1
            yield FileOutcome(self._paths[row], *self._waiting.pop(row))

    def unanswered(self) -> list[int]:
        return [row for row in range(self._next, len(self._paths)) if row not in self._waiting]

    def give_up(self, failure: Failure) -> Iterator[FileOutcome]:
        for row in self.unanswered():
            self._waiting[row] = (failure, NO_GAPS)
        yield from self.ready()


def _failure(error: ServerError | None) -> Failure:
    if error is None:
        return Failure("unanswered", "the server gave no answer")
    return Failure(error.reason.lower(), str(error))


def _query(item: ImageHashes) -> HashQuery:
    hashes = dict(item.digests)
    for view in item.views:
        hashes.update(view.codes)
    if item.photodna is not None:
        hashes[HashKind.PHOTODNA] = item.photodna
    quality = item.views[0].quality if item.views else None
    return HashQuery(hashes, size=item.size, quality=quality)
