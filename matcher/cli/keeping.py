"""Who keeps the lists that a command is about: the catalog of this machine, or a server.

Both take and give the same types, so that a command says what it does once.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from matcher.errors import MatchRecordsError, NoMatchRecordsError, SealingKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hashlists.catalog import Catalog
    from hashlists.model import (
        ApartFromList,
        EntryActReport,
        EntrySelection,
        HashList,
        MatchDay,
        PurgeReport,
        Revision,
        RollbackReport,
        SaidHandling,
    )
    from matcher.cli.context import Session
    from matcher.cli.list_output import ShownList
    from matcher.client import Client
    from matcher.model import Outcome

R = TypeVar("R")
PAGE = 100


class Keeper(Protocol):
    """What commands ask of whoever keeps the lists."""

    def create_list(self, hash_list: HashList) -> ShownList:
        """Makes an empty list."""
        ...

    def get_list(self, name: str) -> ShownList:
        """One list."""
        ...

    def promote(self, name: str, *, reason: str, if_revision: int | None) -> ShownList:
        """Makes a list live."""
        ...

    def demote(self, name: str, *, reason: str) -> ShownList:
        """Puts a list in shadow."""
        ...

    def change_handling(
        self, name: str, said: SaidHandling, *, endless: bool, reason: str
    ) -> ShownList:
        """Changes what a list says of handling."""
        ...

    def count_apart(self, name: str) -> ApartFromList | None:
        """How many entries hold to another handling than their list says; None: it is not told."""
        ...

    def lists(self) -> Iterator[ShownList]:
        """All lists, by name."""
        ...

    def revisions(self, name: str | None, limit: int) -> list[Revision]:
        """The newest revisions of one list, or of all."""
        ...

    def match_days(self, name: str, days: int) -> list[MatchDay]:
        """What a list did to uploads, in so many days that end with today."""
        ...

    def match_outcomes(self, name: str) -> Mapping[Outcome, int] | None:
        """How many of a list's matches were found right, and wrong; None where none can be told."""
        ...

    def retract(
        self, name: str, selection: EntrySelection, *, reason: str, dry_run: bool
    ) -> EntryActReport:
        """Takes entries out of force."""
        ...

    def restore(
        self, name: str, selection: EntrySelection, *, reason: str, dry_run: bool
    ) -> EntryActReport:
        """Puts entries back in force."""
        ...

    def roll_back(
        self, name: str, to_revision: int, *, reason: str, dry_run: bool
    ) -> RollbackReport:
        """Makes a list's entries those of an earlier revision."""
        ...

    def purge(
        self, name: str, selection: EntrySelection, *, reason: str, dry_run: bool
    ) -> PurgeReport:
        """Erases entries for good."""
        ...


class LocalKeeper:
    """The catalog of this machine; whoever works here stands in the records of what is done."""

    def __init__(self, catalog: Catalog, session: Session) -> None:
        from hashlists.catalog import acts  # noqa: PLC0415  brings SQLAlchemy

        self._catalog = catalog
        self._session = session
        self._author = session.author
        self._acts = acts

    def create_list(self, hash_list: HashList) -> ShownList:
        """See `Keeper`."""
        with self._session.recorded("list.create", hash_list.name, state=hash_list.state) as told:
            return _noted(told, self._catalog.create_list(hash_list, author=self._author))

    def get_list(self, name: str) -> ShownList:
        """See `Keeper`."""
        return self._catalog.get_list(name)

    def promote(self, name: str, *, reason: str, if_revision: int | None) -> ShownList:
        """See `Keeper`."""
        who = {"author": self._author, "reason": reason}
        with self._session.recorded("list.promote", name, reason=reason) as told:
            return _noted(told, self._catalog.promote_list(name, **who, if_revision=if_revision))

    def demote(self, name: str, *, reason: str) -> ShownList:
        """See `Keeper`."""
        who = {"author": self._author, "reason": reason}
        with self._session.recorded("list.demote", name, reason=reason) as told:
            return _noted(told, self._catalog.demote_list(name, **who))

    def change_handling(
        self, name: str, said: SaidHandling, *, endless: bool, reason: str
    ) -> ShownList:
        """See `Keeper`."""
        with self._session.recorded("list.handling", name, reason=reason) as told:
            changed = self._catalog.change_handling(
                name, said, endless=endless, author=self._author, reason=reason
            )
            return _noted(told, changed)

    def count_apart(self, name: str) -> ApartFromList | None:
        """See `Keeper`."""
        return self._catalog.count_apart(name)

    def lists(self) -> Iterator[ShownList]:
        """See `Keeper`."""
        after: str | None = None
        while page := self._catalog.list_lists(after=after, limit=PAGE):
            yield from page
            after = page[-1].hash_list.name

    def revisions(self, name: str | None, limit: int) -> list[Revision]:
        """See `Keeper`."""
        return list(islice(self._all_revisions(name), limit))

    def match_days(self, name: str, days: int) -> list[MatchDay]:
        """See `Keeper`."""
        from hashlists.catalog.match_days import first_of  # noqa: PLC0415  brings SQLAlchemy

        return self._catalog.match_days(name, since=first_of(days))

    def match_outcomes(self, name: str) -> Mapping[Outcome, int] | None:
        """See `Keeper`."""
        from matcher.cli.past_matches import open_store  # noqa: PLC0415  brings grpc

        try:
            with open_store(self._session) as store:
                return store.outcome_counts().get(name, {})
        except (MatchRecordsError, NoMatchRecordsError, SealingKeyError):
            return None

    def _all_revisions(self, name: str | None) -> Iterator[Revision]:
        before: int | None = None
        while page := self._catalog.list_revisions(name, before=before, limit=PAGE):
            yield from page
            before = page[-1].number

    def retract(
        self, name: str, selection: EntrySelection, *, reason: str, dry_run: bool
    ) -> EntryActReport:
        """See `Keeper`."""
        return self._act(
            "list.retract", self._acts.retract, name, selection, reason=reason, dry_run=dry_run
        )

    def restore(
        self, name: str, selection: EntrySelection, *, reason: str, dry_run: bool
    ) -> EntryActReport:
        """See `Keeper`."""
        return self._act(
            "list.restore", self._acts.restore, name, selection, reason=reason, dry_run=dry_run
        )

    def roll_back(
        self, name: str, to_revision: int, *, reason: str, dry_run: bool
    ) -> RollbackReport:
        """See `Keeper`."""
        return self._act(
            "list.rollback", self._acts.roll_back, name, to_revision, reason=reason, dry_run=dry_run
        )

    def purge(
        self, name: str, selection: EntrySelection, *, reason: str, dry_run: bool
    ) -> PurgeReport:
        """See `Keeper`."""
        return self._act(
            "list.purge", self._acts.purge, name, selection, reason=reason, dry_run=dry_run
        )

    def _act(
        self,
        kind: str,
        act: Callable[..., R],
        name: str,
        what: object,
        *,
        reason: str,
        dry_run: bool,
    ) -> R:
        """One of `hashlists.catalog.acts`, recorded unless it only looks."""
        acting = partial(act, self._catalog, name, what, author=self._author, reason=reason)
        if dry_run:
            return acting(dry_run=True)
        with self._session.recorded(kind, name, reason=reason) as told:
            return _noted(told, acting())


class RemoteKeeper:
    """A server; `author` stands in the record of what is done, as unverified."""

    def __init__(self, client: Client, author: str) -> None:
        self._client = client
        self._author = author
        self.promote = partial(client.promote_list, author=author)
        self.demote = partial(client.demote_list, author=author)
        self.change_handling = partial(client.change_handling, author=author)
        self.retract = partial(client.retract_entries, author=author)
        self.restore = partial(client.restore_entries, author=author)
        self.roll_back = partial(client.roll_back_list, author=author)
        self.purge = partial(client.purge_entries, author=author)

    def create_list(self, hash_list: HashList) -> ShownList:
        """See `Keeper`."""
        return self._client.create_list(hash_list, author=self._author)

    def get_list(self, name: str) -> ShownList:
        """See `Keeper`."""
        return self._client.get_list(name)

    def count_apart(self, name: str) -> ApartFromList | None:  # noqa: ARG002  # servers tell none
        """See `Keeper`."""
        return None

    def lists(self) -> Iterator[ShownList]:
        """See `Keeper`."""
        yield from self._client.list_lists()

    def revisions(self, name: str | None, limit: int) -> list[Revision]:
        """See `Keeper`."""
        found = self._client.list_revisions(name) if name else self._client.list_revisions()
        return list(islice(found, limit))

    def match_days(self, name: str, days: int) -> list[MatchDay]:
        """See `Keeper`."""
        return list(self._client.list_stats(name, days=days))

    def match_outcomes(self, name: str) -> Mapping[Outcome, int] | None:
        """See `Keeper`."""
        return self._client.match_outcomes(name)


def _noted(told: dict[str, Any], result: R) -> R:
    """The result of an act, whose revision stands in the record."""
    from hashlists.access.recording import revision_of  # noqa: PLC0415  brings SQLAlchemy

    told["revision"] = revision_of(result)
    return result


@contextmanager
def keeper(session: Session, server: str | None, *, create: bool = False) -> Iterator[Keeper]:
    """The server of that address, or else the local catalog.

    Args:
        session: the run of the command line.
        server: HOST:PORT, or None.
        create: make the local catalog where there is none.

    Raises:
        CatalogError: there is no local catalog, or it cannot be opened.
    """
    if server is None:
        with session.catalog(create=create) as catalog:
            yield LocalKeeper(catalog, session)
        return
    with session.client(server) as client:
        yield RemoteKeeper(client, session.author)
