"""What the doctor looks at of TLS, clients and the audit."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hashlists.access.model import ClientState
from hashlists.access.tokens import key_mark, load_key
from hashlists.errors import TokenKeyError
from matcher.cli.finding import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashlists.access.database import KnownClients
    from matcher.cli.context import Session
    from matcher.settings import Settings


def check_access(session: Session) -> Iterator[Finding]:
    """Whether the certificate can be used, tokens can be told, and the audit is whole."""
    settings = session.settings
    if settings.speaks_tls:
        from matcher.service.tls import server_credentials  # noqa: PLC0415  brings grpc

        server_credentials(settings)
        yield Finding("certificate", Status.OK, str(settings.tls_certificate))
    file = settings.access_file
    if file is not None and not file.exists():
        yield _clients_found(settings, 0)
        return
    with session.access_database(create=False) as database:
        known = database.known_clients()
        yield from _check_clients(settings, known)
        fault = database.verify_audit()
        number = database.audit_head().number
    if fault is None:
        yield Finding("audit", Status.OK, f"{number:,} records, whole")
    else:
        detail = f"record {fault.number} {fault.problem}; see `hashwarden audit verify`"
        yield Finding("audit", Status.FAIL, detail)


def _check_clients(settings: Settings, known: KnownClients) -> Iterator[Finding]:
    now = datetime.now(UTC)
    active = sum(each.state(now) is ClientState.ACTIVE for each in known.clients)
    yield _clients_found(settings, active)
    if known.key_mark is None:
        return
    try:
        fits = hmac.compare_digest(key_mark(load_key(settings.token_key_file)), known.key_mark)
    except TokenKeyError as error:
        yield Finding("token key", Status.FAIL, str(error))
    else:
        told = "is the one that tokens were made with" if fits else "is another one than tokens'"
        status = Status.OK if fits else Status.FAIL
        yield Finding("token key", status, f"{settings.token_key_file} {told}")


def _clients_found(settings: Settings, active: int) -> Finding:
    required = any(map(settings.requires_clients, settings.addresses))
    if required and not active:
        detail = "none, so nobody may call; see `hashwarden clients add --help`"
        return Finding("clients", Status.WARN, detail)
    return Finding("clients", Status.OK, f"{active:,} active")
