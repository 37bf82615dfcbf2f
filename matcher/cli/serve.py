"""`hashwarden serve`: the gRPC service."""

from __future__ import annotations

import click

from matcher.cli.context import Session, pass_session
from matcher.cli.output import note


@click.command("serve")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Where to listen. Default: as the settings say; port 0 takes any free one.",
)
@pass_session
def command(session: Session, listen: str | None) -> None:
    """Serve gRPC until interrupted or told to end.

    Without credentials it listens on the loopback address only.
    """
    import asyncio  # noqa: PLC0415  none of the other commands needs it

    from matcher.service.server import serve  # noqa: PLC0415  brings grpc, faiss and the decoders
    from matcher.telemetry import configure_logging  # noqa: PLC0415

    settings = session.load_settings(listen=listen)
    configure_logging(level=settings.log_level, log_format=settings.log_format)
    asyncio.run(serve(settings, on_ready=_tell_ready))


def _tell_ready(address: str) -> None:
    """Says where the server is, for a person and for whatever started it with port 0."""
    click.echo(f"serving on {address}")
    note(f"Try: hashwarden match --server {address} FILE")
