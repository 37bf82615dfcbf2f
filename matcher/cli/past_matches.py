"""Who keeps the records of matches that a command is about: the store here, or a server.

Both answer in the same types: what is read here goes the way of a server's answer.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from matcher.client import records as answers
from matcher.errors import MatchRecordsError, NoMatchRecordsError
from matcher.records import RecordFilter, RecordStore, Reported
from matcher.records.model import micros_of
from matcher.records.standing import replay, undone
from matcher.sealing import KeySource
from matcher.service import convert_records

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from matcher.cli.context import Session
    from matcher.client import RecordAnswer, ReplayedMatch, ReportedOutcome, UndoneMatch
    from matcher.model import Outcome
    from matcher.pipeline import Generation
    from matcher.records import StoredRecord


class PastMatches(Protocol):
    """What commands ask about past matches; as `matcher.client.records.RecordCalls`."""

    def get(self, match_id: str) -> RecordAnswer:
        """One record."""
        ...

    def list(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        entries: Sequence[int] = (),
        client: str = "",
        reference: str = "",
    ) -> Iterator[RecordAnswer]:
        """Records, the newest first."""
        ...

    def replay(self, match_id: str) -> ReplayedMatch:
        """Judges a recorded match anew."""
        ...

    def report(self, match_id: str, outcome: Outcome, *, reason: str = "") -> ReportedOutcome:
        """Says whether a match was right."""
        ...

    def undone(self, *, since: datetime | None = None) -> Iterator[UndoneMatch]:
        """Matches that rest on entries which are no longer what they were."""
        ...


class LocalMatches:
    """The store of this machine, which sees all.

    Args:
        store: of the records.
        generation: gives the lists and policies of this machine.
        who: reports outcomes.
    """

    def __init__(self, store: RecordStore, generation: Callable[[], Generation], who: str) -> None:
        self._store = store
        self._generation = generation
        self._who = who

    def get(self, match_id: str) -> RecordAnswer:
        """See `PastMatches`."""
        return self._answer(self._store.get(match_id))

    def list(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        entries: Sequence[int] = (),
        client: str = "",
        reference: str = "",
    ) -> Iterator[RecordAnswer]:
        """See `PastMatches`."""
        wanted = RecordFilter(client or None, since, until, frozenset(entries) or None)
        for page in self._store.pages(wanted):
            found = (each for each in page if reference in {"", each.record.reference})
            yield from map(self._answer, found)

    def replay(self, match_id: str) -> ReplayedMatch:
        """See `PastMatches`."""
        stored = self._store.get(match_id)
        document = self._store.policy(stored.record.policy_version)
        anew = replay(stored.record, self._generation(), document, now=datetime.now(UTC))
        message = convert_records.replayed_to_proto(anew, self._message(stored))
        return answers.replay_answer(message)

    def report(self, match_id: str, outcome: Outcome, *, reason: str = "") -> ReportedOutcome:
        """See `PastMatches`."""
        said = Reported(outcome, reason, micros_of(datetime.now(UTC)), self._who)
        kept = self._store.report(match_id, said)
        return answers.reported_answer(convert_records.reported_to_proto(kept))

    def undone(self, *, since: datetime | None = None) -> Iterator[UndoneMatch]:
        """See `PastMatches`."""
        for page in undone(self._store, self._generation().index, RecordFilter(since=since)):
            for each in page:
                message = convert_records.undone_to_proto(each, self._message(each.stored))
                yield answers.undone_answer(message)

    def _answer(self, stored: StoredRecord) -> RecordAnswer:
        return answers.record_answer(self._message(stored))

    def _message(self, stored: StoredRecord) -> Any:
        expires = self._store.expires(stored)
        return convert_records.record_to_proto(stored, expires=expires, exact_distances=True)


@contextmanager
def past_matches(session: Session, server: str | None) -> Iterator[PastMatches]:
    """The records of this machine, or those that a server shows.

    Raises:
        NoMatchRecordsError: none is kept here.
        MatchRecordsError, SealingKeyError: they cannot be opened.
        CredentialsError: as `Session.client`.
    """
    if server is not None:
        with session.client(server) as client:
            yield client.records
        return
    with open_store(session) as store:
        yield LocalMatches(store, session.generation, session.actor)


@contextmanager
def open_store(session: Session) -> Iterator[RecordStore]:
    """The store of this machine.

    Raises:
        NoMatchRecordsError: none is kept here.
        MatchRecordsError, SealingKeyError: it is not there, or cannot be opened.
    """
    settings = session.settings
    if not settings.match_record_days:
        raise NoMatchRecordsError("no records of matches are kept (match_record_days)")
    file = settings.match_records_file
    if file is not None and not file.exists():
        raise MatchRecordsError(
            f"there are no records of matches in {file.parent}: no server has kept any yet; name "
            "the right folder with --data or HASHWARDEN_DATA"
        )
    keep = timedelta(days=settings.match_record_days)
    keys = KeySource(settings.match_keys)
    with RecordStore.open(settings.match_records_url, keys, keep=keep) as store:
        yield store


__all__ = ["LocalMatches", "PastMatches", "open_store", "past_matches"]
