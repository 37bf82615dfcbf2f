"""`hashwarden clients`: who may call the service, and what they may do.

A token is shown once, when it is made, and kept nowhere.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from hashlists.access.model import ClientState, NewClient, Role
from matcher.cli import options
from matcher.cli.asking import agreed, require_someone_to_ask
from matcher.cli.context import Session, pass_session
from matcher.cli.output import is_terminal, note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.access.model import Client

_NOT_DONE = 2
_SPAN = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class _Span(click.ParamType[timedelta]):
    """A span of time."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The span as a `timedelta`."""
        if isinstance(value, timedelta):
            return value
        if str(value) == "0":
            return timedelta()
        found = _SPAN.fullmatch(str(value))
        if found is None:
            self.fail("must be 0, or a number with m, h or d, e.g. 24h", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})


_role = click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([role.value for role in Role]),
    help="What it may do; may be repeated.",
)
_policy = click.option(
    "--policy",
    metavar="NAME",
    help="The policy that binds it; a request may ask for less, never for more. "
    "Default: the server's default.",
)
_identity = click.option(
    "--identity",
    metavar="KIND:NAME",
    help="A name in its certificate, exactly as there: dns:HOST, uri:URI, email:ADDRESS, "
    "ip:ADDRESS or subject:NAME.",
)
_expires = click.option(
    "--expires",
    metavar="WHEN",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]),
    help="From when on none of its credentials count: a date (UTC), or a time with its offset.",
)


@click.group("clients")
def command() -> None:
    """Say who may call the service, and what they may do.

    A client shows a token, or a certificate that tells its identity. Changes count within about a
    second in every server that uses the same database (access_url), and stand in the audit.

    Roles: `match`, for uploads and lookups; `match-exact-distance`, the same, and answers tell
    exact distances, which help an attacker; `import`; `export`; `review`, to retract and restore
    entries, and to see and judge the matches of all clients; `admin`, for all other changes of
    lists.
    """


@command.command()
@click.argument("name")
@_role
@_policy
@_identity
@_expires
@options.as_json
@pass_session
def add(
    session: Session, /, *, name: str, roles: Sequence[str], as_json: bool, **given: Any
) -> None:
    """Add a client, and show its token.

    With --identity it is told by its certificate and gets no token; `clients rotate` gives it one.
    The token goes to standard output, this one time.
    """
    if not roles:
        raise click.UsageError("say what it may do with --role")
    expires = _moment(given["expires"])
    if expires is not None and expires <= datetime.now(UTC):
        raise click.UsageError("--expires is in the past: nothing of that client would count")
    new = NewClient(
        name,
        frozenset(map(Role, roles)),
        given["policy"] or "",
        given["identity"],
        expires,
    )
    with session.access_database() as database:
        key = None if new.identity else session.token_key()
        token = database.add_client(new, actor=session.actor, key=key)
        _tell_token(database.client(name), token, as_json=as_json)
    _warn_of_identity(session, new.identity)


@command.command()
@click.argument("name")
@_role
@_policy
@_identity
@_expires
@options.as_json
@pass_session
def change(
    session: Session, /, *, name: str, roles: Sequence[str], as_json: bool, **given: Any
) -> None:
    """Give a client other roles, another policy, identity or end.

    What is not said stays as it is; roles are replaced by those that are named.
    """
    said = {
        "roles": frozenset(map(Role, roles)) or None,
        "policy": given["policy"],
        "identity": given["identity"],
        "expires_at": _moment(given["expires"]),
    }
    if not any(value is not None for value in said.values()):
        raise click.UsageError("say what is to be changed")
    with session.access_database() as database:
        _tell([database.change_client(name, actor=session.actor, **said)], as_json=as_json)
    _warn_of_identity(session, given["identity"])


@command.command()
@click.argument("name")
@click.option(
    "--overlap",
    type=_Span(),
    default="24h",
    show_default=True,
    metavar="SPAN",
    help="How long earlier tokens count on: 0, or a number with m, h or d.",
)
@options.as_json
@pass_session
def rotate(session: Session, *, name: str, overlap: timedelta, as_json: bool) -> None:
    """Give a client a new token, and show it.

    Earlier tokens count on for a while, so that the new one can be brought to where it is used.
    Where one was lost to others, say `--overlap 0`.
    """
    with session.access_database() as database:
        token = database.rotate_token(
            name, actor=session.actor, key=session.token_key(), overlap=overlap
        )
        _tell_token(database.client(name), token, as_json=as_json)


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")
@options.as_json
@pass_session
@click.pass_context
def revoke(ctx: click.Context, session: Session, *, name: str, yes: bool, as_json: bool) -> None:
    """End all credentials of a client, for good.

    Within about a second its calls are refused, and its open streams end. Its name is not given
    again.
    """
    if not yes:
        require_someone_to_ask(otherwise="add --yes")
    with session.access_database(create=False) as database:
        database.client(name)
        if not (yes or agreed(f"Revoke the client {name}?")):
            ctx.exit(_NOT_DONE)
        _tell([database.revoke_client(name, actor=session.actor)], as_json=as_json)


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@options.as_json
@pass_session
def show(session: Session, *, names: Sequence[str], as_json: bool) -> None:
    """Show clients: all, or those that are named. No token can be shown."""
    with session.access_database(create=False) as database:
        if names:
            found = [database.client(name) for name in names]
        else:
            found = list(database.known_clients().clients)
    _tell(found, as_json=as_json)


def _moment(given: datetime | None) -> datetime | None:
    if given is None:
        return None
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given


def _warn_of_identity(session: Session, identity: str | None) -> None:
    """Says so where no server with these settings could know that identity."""
    if identity and session.settings.tls_client_ca is None:
        note(
            "Nobody is known by a certificate yet: tls_client_ca is not set here. Set it where the "
            "servers run.",
            style="yellow",
        )


def _tell_token(client: Client, token: str, *, as_json: bool) -> None:
    if as_json:
        print_json(_record(client) | {"token": token or None})
        return
    if not token:
        _tell([client], as_json=False)
        return
    click.echo(token)
    if is_terminal(error=True):
        note(f"This is the token of {client.name}. It is not shown again.")


def _tell(clients: Sequence[Client], *, as_json: bool) -> None:
    if as_json:
        for each in clients:
            print_json(_record(each))
        return
    columns = ("client", "state", "roles", "policy", "identity", "tokens", "expires")
    print_table(columns, [_row(each) for each in clients])


def _row(client: Client) -> tuple[str, ...]:
    record = _record(client)
    return (
        client.name,
        record["state"],
        ", ".join(record["roles"]),
        client.policy or "(default)",
        client.identity or "-",
        str(len(record["tokens"])),
        record["expires_at"] or "-",
    )


def _record(client: Client) -> dict[str, Any]:
    now = datetime.now(UTC)
    state = client.state(now)
    tokens = [
        {
            "token_id": each.token_id,
            "created_at": each.created_at.isoformat(),
            "expires_at": _text(each.expires_at),
        }
        for each in client.tokens
        if state is ClientState.ACTIVE and each.counts(now)
    ]
    return {
        "client": client.name,
        "state": state.value,
        "roles": sorted(client.roles),
        "policy": client.policy or None,
        "identity": client.identity,
        "tokens": tokens,
        "created_at": client.created_at.isoformat(),
        "expires_at": _text(client.expires_at),
        "revoked_at": _text(client.revoked_at),
    }


def _text(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()
