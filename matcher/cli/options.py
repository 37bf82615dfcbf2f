"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Whether a file can be read shows when its turn comes, so that it cannot stop the others.
files = click.argument(
    "files", nargs=-1, required=True, metavar="FILE...", type=click.Path(readable=False)
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON Lines.")
details = click.option(
    "--details",
    is_flag=True,
    help="Add to each JSON object what the decision rests on: kinds, views, revision, policy.",
)
max_matches = click.option(
    "--max-matches",
    metavar="N",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    help="How many matches to list for one item; all are judged.",
)
policy = click.option("--policy", default="", metavar="NAME", help="Judge by this policy.")


def check_address(ctx: click.Context, option: click.Parameter, address: str | None) -> str | None:
    """Refuses what is no HOST:PORT; gRPC would take port 443 without a word."""
    if address is None:
        return None
    host, _, port = address.rpartition(":")
    bare_ipv6 = ":" in host and not (host.startswith("[") and host.endswith("]"))
    if not host or bare_ipv6 or "/" in host or not (port.isascii() and port.isdecimal()):
        raise click.BadParameter(
            f"must be HOST:PORT, e.g. 127.0.0.1:50051, not {address!r}", ctx, option
        )
    return address


class Share(click.FloatRange):
    """A share from 0 to 1; whoever writes a percentage is told how."""

    name = "share"

    def __init__(self) -> None:
        super().__init__(0, 1)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The share as a number."""
        if isinstance(value, str) and value.strip().endswith("%"):
            self.fail(
                f"{value!r}: a share is a number from 0 to 1, so 10% is written 0.1", param, ctx
            )
        return super().convert(value, param, ctx)


server = click.option(
    "--server",
    metavar="HOST:PORT",
    callback=check_address,
    help="Ask this server instead of the local catalog.",
)


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """What was given as KEY=VALUE, each key once."""
    found: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{each!r} is not of the form KEY=VALUE", param_hint=option)
        if key in found:
            raise click.BadParameter(f"{key} is given twice", param_hint=option)
        found[key] = value
    return found
