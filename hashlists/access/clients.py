"""Clients in the database: what is read, and what is changed. Whoever calls has a transaction."""

from __future__ import annotations

import hmac
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, or_, select, update

from hashlists.access import schema
from hashlists.access.audit import moment
from hashlists.access.model import Client, NewClient, Role, Token
from hashlists.access.tokens import key_mark, new_token, token_digest
from hashlists.errors import (
    ClientExistsError,
    ClientInvalidError,
    ClientNotFoundError,
    TokenKeyError,
)

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from sqlalchemy import Connection, Row


_MICROSECONDS = 1_000_000
#: For how long tokens that have ended are kept at least, where they overlapped with another.
_KEPT_MICROSECONDS = 90 * 86_400 * _MICROSECONDS


def read_clients(connection: Connection) -> list[Client]:
    """All clients, revoked ones included, by name."""
    tokens: dict[int, list[Token]] = {}
    newest_first = schema.tokens.c.created_at.desc(), schema.tokens.c.token_id
    for row in connection.execute(select(schema.tokens).order_by(*newest_first)):
        tokens.setdefault(row.client_id, []).append(
            Token(row.token_id, row.digest, moment(row.created_at), _moment(row.expires_at))
        )
    query = select(schema.clients).order_by(schema.clients.c.name)
    return [_client(row, tuple(tokens.get(row.client_id, ()))) for row in connection.execute(query)]


def find_client(connection: Connection, name: str) -> Client:
    """One client.

    Raises:
        ClientNotFoundError: none has that name.
    """
    found = next((each for each in read_clients(connection) if each.name == name), None)
    if found is None:
        raise ClientNotFoundError(f"there is no client named {name!r}")
    return found


def add_client(connection: Connection, new: NewClient, *, now: int) -> Client:
    """Adds a client without a token.

    Raises:
        ClientExistsError: the name was given before, or an active client has that identity.
    """
    known = read_clients(connection)
    if any(each.name == new.name for each in known):
        raise ClientExistsError(
            f"there is, or was, a client named {new.name!r}; a name is given once, so that the "
            "audit stays clear"
        )
    _check_identity_is_free(known, new.identity)
    connection.execute(
        insert(schema.clients).values(
            name=new.name,
            identity=new.identity,
            roles=_roles_text(new.roles),
            policy=new.policy,
            created_at=now,
            expires_at=_micros(new.expires_at),
        )
    )
    _count_change(connection)
    return find_client(connection, new.name)


def change_client(connection: Connection, new: NewClient) -> Client:
    """Gives a client other roles, another policy, identity or end.

    Raises:
        ClientNotFoundError: none has that name.
        ClientInvalidError: it was revoked.
        ClientExistsError: another active client has that identity.
    """
    _require_not_revoked(find_client(connection, new.name))
    others = [each for each in read_clients(connection) if each.name != new.name]
    _check_identity_is_free(others, new.identity)
    connection.execute(
        update(schema.clients)
        .where(schema.clients.c.name == new.name)
        .values(
            identity=new.identity,
            roles=_roles_text(new.roles),
            policy=new.policy,
            expires_at=_micros(new.expires_at),
        )
    )
    _count_change(connection)
    return find_client(connection, new.name)


def give_token(
    connection: Connection, name: str, *, key: bytes, overlap: timedelta, now: int
) -> str:
    """Gives a client a new token; those before it count for `overlap` longer.

    Raises:
        ClientNotFoundError: none has that name.
        ClientInvalidError: it was revoked.
        TokenKeyError: other tokens were digested with another key.
    """
    client = find_client(connection, name)
    _require_not_revoked(client)
    _check_key(connection, key)
    client_id = connection.execute(
        select(schema.clients.c.client_id).where(schema.clients.c.name == name)
    ).scalar_one()
    tokens = schema.tokens.c
    its_tokens = tokens.client_id == client_id
    # Those that have ended stay for a while, so that the audit can tell whose they were.
    forgotten = now - _KEPT_MICROSECONDS
    connection.execute(delete(schema.tokens).where(its_tokens, tokens.expires_at <= forgotten))
    ends = now + round(overlap.total_seconds() * _MICROSECONDS)
    connection.execute(
        update(schema.tokens)
        .where(its_tokens, or_(tokens.expires_at.is_(None), tokens.expires_at > ends))
        # Without an overlap it counts by no clock, however far that is behind.
        .values(expires_at=ends if overlap else 0)
    )
    token_id, token = new_token()
    connection.execute(
        insert(schema.tokens).values(
            token_id=token_id,
            client_id=client_id,
            digest=token_digest(key, token),
            created_at=now,
        )
    )
    _count_change(connection)
    return token


def revoke_client(connection: Connection, name: str, *, now: int) -> Client:
    """Ends all credentials of a client for good. It may be repeated.

    Raises:
        ClientNotFoundError: none has that name.
    """
    if find_client(connection, name).revoked_at is None:
        connection.execute(
            update(schema.clients).where(schema.clients.c.name == name).values(revoked_at=now)
        )
        _count_change(connection)
    return find_client(connection, name)


def read_key_mark(connection: Connection) -> bytes | None:
    """The mark of the key that tokens are digested with; None where there never was a token."""
    query = select(schema.meta.c.value).where(schema.meta.c.name == schema.KEY_MARK_NAME)
    found: bytes | None = connection.execute(query).scalar()
    return found


def changed(before: Client, **given: Any) -> NewClient:
    """What a client is to be, from what it is and what is given of it; None leaves a thing."""
    as_it_is = NewClient(
        before.name, before.roles, before.policy, before.identity, before.expires_at
    )
    return replace(as_it_is, **{key: value for key, value in given.items() if value is not None})


def _check_key(connection: Connection, key: bytes) -> None:
    known, mark = read_key_mark(connection), key_mark(key)
    if known is None:
        connection.execute(insert(schema.meta).values(name=schema.KEY_MARK_NAME, value=mark))
    elif not hmac.compare_digest(known, mark):
        raise TokenKeyError(
            "the file of the key of tokens is not the one that tokens were made with so far "
            "(token_key_file); bring that file here"
        )


def _check_identity_is_free(known: list[Client], identity: str | None) -> None:
    if identity is None:
        return
    holder = next(
        (each.name for each in known if each.identity == identity and each.revoked_at is None), None
    )
    if holder is not None:
        raise ClientExistsError(f"the client {holder!r} has that identity")


def _require_not_revoked(client: Client) -> None:
    if client.revoked_at is not None:
        raise ClientInvalidError(
            f"the client {client.name!r} was revoked, which is for good; add one of another name"
        )


def _count_change(connection: Connection) -> None:
    connection.execute(update(schema.head).values(revision=schema.head.c.revision + 1))


def _client(row: Row[Any], tokens: tuple[Token, ...]) -> Client:
    return Client(
        name=row.name,
        roles=frozenset(map(Role, json.loads(row.roles))),
        policy=row.policy,
        identity=row.identity,
        expires_at=_moment(row.expires_at),
        created_at=moment(row.created_at),
        revoked_at=_moment(row.revoked_at),
        tokens=tokens,
    )


def _roles_text(roles: frozenset[Role]) -> str:
    return json.dumps(sorted(roles))


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else moment(microseconds)


def _micros(when: datetime | None) -> int | None:
    return None if when is None else round(when.timestamp() * 1_000_000)


__all__ = [
    "add_client",
    "change_client",
    "changed",
    "find_client",
    "give_token",
    "read_clients",
    "read_key_mark",
    "revoke_client",
]
