"""What the doctor looks at of TLS, clients and the audit."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from hashlists.access.model import ClientState
from hashlists.access.tokens import key_mark, load_key
from hashlists.errors import TokenKeyError
from matcher.cli.finding import Finding, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashlists.access.database import KnownClients
    from matcher.cli.context import Session
    from matcher.settings import Settings


#: Before an end that somebody has to do something about.
_SOON: Final = timedelta(days=14)


def check_access(session: Session) -> Iterator[Finding]:
    """Whether the certificate can be used, tokens can be told, and the audit is whole."""
    settings = session.settings
    yield from _check_certificates(settings)
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


def _check_certificates(settings: Settings) -> Iterator[Finding]:
    if not settings.speaks_tls:
        return
    from matcher.service import certificate_ends as of  # noqa: PLC0415  brings cryptography
    from matcher.service.tls import certificate_files, server_credentials  # noqa: PLC0415  grpc

    server_credentials(settings)
    files = certificate_files(settings)
    assert files is not None  # it speaks TLS
    ends = of.certificate_ends(files)
    yield _ending("certificate", str(files.certificate), ends.get(of.SERVER))
    if files.client_ca is not None:
        yield _ending("authority of clients", str(files.client_ca), ends.get(of.CLIENT_CA))


def _ending(check: str, file: str, end: datetime | None) -> Finding:
    """Whether a certificate goes on counting."""
    if end is None:
        return Finding(check, Status.WARN, f"{file}: no date can be read from it")
    left, told = end - datetime.now(UTC), f"{end:%Y-%m-%d %H:%M} UTC"
    if left <= timedelta():
        detail = f"{file} ended on {told}: nobody can call; put a new one in its place"
        return Finding(check, Status.FAIL, detail)
    if left <= _SOON:
        detail = f"{file} ends soon, on {told}: put a new one in its place"
        return Finding(check, Status.WARN, detail)
    return Finding(check, Status.OK, f"{file}, until {told}")


def _check_clients(settings: Settings, known: KnownClients) -> Iterator[Finding]:
    now = datetime.now(UTC)
    active = [each for each in known.clients if each.state(now) is ClientState.ACTIVE]
    yield _clients_found(settings, len(active))
    for each in active:
        if each.expires_at is not None and each.expires_at - now <= _SOON:
            detail = (
                f"expires soon, on {each.expires_at:%Y-%m-%d %H:%M} UTC: from then on its calls "
                "are refused; see `hashwarden clients change --help`"
            )
            yield Finding(f"client {each.name}", Status.WARN, detail)
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
