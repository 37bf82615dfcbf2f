"""Options that several commands share."""

from __future__ import annotations

import click

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
server = click.option(
    "--server",
    metavar="HOST:PORT",
    help="Ask this server instead of the local catalog.",
)
