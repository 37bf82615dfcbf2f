"""`hashwarden serve`: the gRPC service."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from matcher.cli.context import Session, pass_session
from matcher.cli.output import is_terminal, note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.settings import Settings


@click.command("serve")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Where to listen. Default: as the settings say; port 0 takes any free one.",
)
@pass_session
def command(session: Session, listen: str | None) -> None:
    """Serve gRPC until interrupted or told to end.

    Matching has an address, and list management another. Without TLS and known clients both are on
    the loopback address only.
    """
    import asyncio  # noqa: PLC0415  none of the other commands needs it

    from matcher.settings import silence_grpc  # noqa: PLC0415
    from matcher.telemetry import configure_logging, is_for_people  # noqa: PLC0415

    settings = session.load_settings(listen=listen)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    if not is_for_people(settings.log_format):
        silence_grpc()
    from matcher.service.listening import check_free  # noqa: PLC0415  may bring grpc

    check_free(settings.listen)
    open_doors = [each for each in settings.addresses if not settings.is_protected(each)]
    if open_doors and settings.danger_listen_without_tls:
        _warn_of_open_doors(settings, open_doors)
    if settings.process_count > 1:
        from matcher.service.supervisor import supervise  # noqa: PLC0415

        again = partial(session.load_settings, listen=listen)
        asyncio.run(supervise(settings, reload=again, on_ready=_tell_ready))
    else:
        from matcher.service.server import serve  # noqa: PLC0415  brings grpc, faiss, decoders

        asyncio.run(
            serve(settings, on_ready=lambda server: _tell_ready(server.address, server.lists))
        )


def _tell_ready(address: str, lists: str) -> None:
    """Says where the server is, for a person and for whatever started it with port 0."""
    click.echo(f"serving on {address}")
    if lists not in {"", address}:
        click.echo(f"hash lists on {lists}")
    if is_terminal(error=True):
        note(f"Try: hashwarden doctor --server {address}")


def _warn_of_open_doors(settings: Settings, doors: Sequence[str]) -> None:
    """The operator insisted; nobody shall be able to say that it went unsaid."""
    note(
        f"WARNING: {' and '.join(doors)} can be reached from other machines, without TLS or "
        "without a check of who calls (danger_listen_without_tls): whoever reaches it may do what "
        "it offers, changes of hash lists included, and whoever is on the way may read it.",
        style="red",
    )
    if settings.may_export:
        note(
            "WARNING: whoever reaches it can have every entry that may go to anybody "
            "(danger_export_without_tls).",
            style="red",
        )
    note("WARNING: encrypt and authenticate in front of it, or use 127.0.0.1.", style="red")
