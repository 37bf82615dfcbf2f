"""The access database's one face: clients, and the audit, in SQLite or PostgreSQL.

Invariants: whatever changes clients is one transaction with its record; every record is on the
disk, and the end of the chain kept apart, before `record` returns.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import select

from hashlists.access import audit, clients, schema
from hashlists.access.audit import Event
from hashlists.access.audit_head import AuditHead
from hashlists.catalog.engine import catalog_errors, make_tables, open_engine, writer
from hashlists.errors import AccessDatabaseError, AuditError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    from sqlalchemy import Connection, Engine

    from hashlists.access.audit import AuditRecord, Fault
    from hashlists.access.audit_head import HeadFile
    from hashlists.access.model import Client, NewClient

_log = logging.getLogger(__name__)
_NO_OVERLAP = timedelta()


@dataclass(frozen=True, slots=True)
class KnownClients:
    """The clients at one moment.

    Attributes:
        revision: counts changes of clients.
        clients: all of them, revoked ones included, by name.
        key_mark: of the key of tokens; None where there never was a token.
    """

    revision: int
    clients: tuple[Client, ...]
    key_mark: bytes | None


class AccessDatabase:
    """An open access database. Threads may share it; processes open it each for themselves."""

    def __init__(self, engine: Engine, head_file: HeadFile) -> None:
        """Use `AccessDatabase.open`."""
        self._engine = engine
        self._head_file = head_file

    @classmethod
    def open(cls, url: str, head_file: HeadFile) -> Self:
        """Opens the database at an SQLAlchemy URL, and makes it where there is none.

        Args:
            url: of the database; it holds nothing else.
            head_file: where the end of the audit's chain is kept apart.

        Raises:
            AccessDatabaseError: it cannot be opened, holds something else, or is of a newer build.
        """
        with _access_errors():
            engine = open_engine(url)
            try:
                _make(engine)
            except BaseException:
                engine.dispose()
                raise
        return cls(engine, head_file)

    def close(self) -> None:
        """Closes all idle connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # Clients

    def revision(self) -> int:
        """Counts changes of clients.

        Raises:
            AccessDatabaseError: the database failed; so of all below.
        """
        with self._reading() as connection:
            return int(connection.execute(select(schema.head.c.revision)).scalar_one())

    def known_clients(self) -> KnownClients:
        """All clients, at one moment."""
        with self._reading() as connection:
            revision = int(connection.execute(select(schema.head.c.revision)).scalar_one())
            known = tuple(clients.read_clients(connection))
            return KnownClients(revision, known, clients.read_key_mark(connection))

    def client(self, name: str) -> Client:
        """One client.

        Raises:
            ClientNotFoundError: none has that name.
        """
        with self._reading() as connection:
            return clients.find_client(connection, name)

    def add_client(self, new: NewClient, *, actor: str, key: bytes | None) -> str:
        """Adds a client.

        Args:
            new: what it is to be.
            actor: who adds it, for the audit.
            key: of tokens; None for a client that has none.

        Returns:
            Its token, which is kept nowhere; empty for none.

        Raises:
            ClientExistsError: the name was given before, or an active client has that identity.
            TokenKeyError: other tokens were digested with another key.
        """
        now = _now()
        with self._recording(actor, "client.add", new.name) as (connection, details):
            clients.add_client(connection, new, now=now)
            token = ""
            if key is not None:
                token = clients.give_token(
                    connection, new.name, key=key, overlap=_NO_OVERLAP, now=now
                )
            details.update(_said(new), token=bool(token))
        return token

    def change_client(self, name: str, *, actor: str, **given: Any) -> Client:
        """Gives a client other roles, another policy, identity or end; None leaves a thing.

        Raises:
            ClientNotFoundError, ClientInvalidError, ClientExistsError: nothing was changed.
        """
        with self._recording(actor, "client.change", name) as (connection, details):
            new = clients.changed(clients.find_client(connection, name), **given)
            details.update(_said(new))
            return clients.change_client(connection, new)

    def rotate_token(self, name: str, *, actor: str, key: bytes, overlap: timedelta) -> str:
        """Gives a client a new token, and gives it back; those before it count on for `overlap`.

        Raises:
            ClientNotFoundError, ClientInvalidError, TokenKeyError: nothing was changed.
        """
        with self._recording(actor, "client.rotate", name) as (connection, details):
            details["overlap_seconds"] = overlap.total_seconds()
            return clients.give_token(connection, name, key=key, overlap=overlap, now=_now())

    def revoke_client(self, name: str, *, actor: str) -> Client:
        """Ends all credentials of a client for good. It may be repeated.

        Raises:
            ClientNotFoundError: none has that name.
        """
        with self._recording(actor, "client.revoke", name) as (connection, _):
            return clients.revoke_client(connection, name, now=_now())

    # Audit

    def record(self, event: Event) -> int:
        """Adds a record to the audit, and gives its number.

        Raises:
            AuditError: it cannot be recorded.
        """
        try:
            with self._writing(event) as (_, numbers):
                pass
        except AccessDatabaseError as error:
            raise AuditError(f"the audit cannot be written: {error}") from error
        return numbers[0]

    def newest_record(self, act: str) -> AuditRecord | None:
        """The newest record of an act; None where there is none."""
        with self._reading() as connection:
            return audit.newest(connection, act)

    def records_of(
        self, acts: Sequence[str], *, after: int = 0, limit: int = 1_000
    ) -> list[AuditRecord]:
        """Records of some acts in order, from the one after `after` on."""
        with self._reading() as connection:
            return audit.of_acts(connection, acts, after=after, limit=limit)

    def records(self, *, after: int = 0, limit: int = 1_000) -> list[AuditRecord]:
        """Records in order, from the one after `after` on."""
        with self._reading() as connection:
            return audit.read(connection, after=after, limit=limit)

    def audit_head(self) -> AuditHead:
        """The end of the chain."""
        with self._reading() as connection:
            return _head(connection)

    def verify_audit(self, kept: AuditHead | None = None) -> Fault | None:
        """The first record at which the chain is broken, or None.

        Args:
            kept: an end that was kept elsewhere; by default the one in the file.

        Raises:
            AuditError: that file holds something else.
        """
        expected = kept or self._head_file.read()
        with self._reading() as connection:
            return audit.find_fault(connection, expected)

    @contextmanager
    def _recording(
        self, actor: str, act: str, subject: str
    ) -> Iterator[tuple[Connection, dict[str, Any]]]:
        """A writer's transaction that ends with a record of it, whose details are filled in."""
        details: dict[str, Any] = {}
        with self._writing(Event(actor, act, subject, details=details)) as (connection, _):
            yield connection, details

    @contextmanager
    def _writing(self, event: Event) -> Iterator[tuple[Connection, list[int]]]:
        """A writer's transaction that ends with a record; then the end of the chain is kept.

        Yields:
            The transaction, and a list into which the record's number comes.
        """
        numbers: list[int] = []
        with self._head_file.held() as held:
            with _access_errors(), writer(self._engine).begin() as connection:
                yield connection, numbers
                head = audit.append(connection, event, now=_now())
                numbers.append(head.number)
                before = held.head
                goes_on = before is None or (
                    audit.digest_at(connection, before.number) == before.digest
                )
            if goes_on:
                held.put(head)
            else:
                _log.error(
                    "the audit does not go on from where it was kept apart last: records were "
                    "changed or are missing; see `hashwarden audit verify`"
                )

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with _access_errors(), self._engine.connect() as connection:
            yield connection


def _make(engine: Engine) -> None:
    """Makes the tables where there are none.

    Raises:
        AccessDatabaseError: the database holds something else, or is of a newer build.
    """
    make_tables(
        engine,
        schema.metadata,
        version=(schema.VERSION_NAME, schema.SCHEMA_VERSION),
        head={"head_id": 1, "revision": 0, "audit_number": 0, "audit_digest": audit.GENESIS},
        foreign=AccessDatabaseError(
            "this is a database, but not one of clients and audit (access_url); choose another"
        ),
        newer=AccessDatabaseError(
            "the access database is of a newer build; install the newer Hashwarden"
        ),
    )


def _head(connection: Connection) -> AuditHead:
    row = connection.execute(select(schema.head)).one()
    return AuditHead(row.audit_number, row.audit_digest)


def _said(new: NewClient) -> dict[str, Any]:
    return {
        "roles": sorted(new.roles),
        "policy": new.policy,
        "identity": new.identity,
        "expires_at": None if new.expires_at is None else new.expires_at.isoformat(),
    }


def _now() -> int:
    return time.time_ns() // 1_000


@contextmanager
def _access_errors() -> Iterator[None]:
    """Errors of the database as this package's, which tell of the right one."""
    try:
        with catalog_errors():
            yield
    except CatalogError as error:
        told = str(error).replace("a catalog", "the catalog")
        raise AccessDatabaseError(told.replace("the catalog", "the access database")) from error


__all__ = ["AccessDatabase", "KnownClients"]
