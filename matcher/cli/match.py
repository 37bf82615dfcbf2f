"""`hashwarden match`: are these files known?"""

from __future__ import annotations

import click

from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.files import as_text
from matcher.cli.output import progress
from matcher.cli.results import Report
from matcher.cli.views import split_views


@click.command("match", short_help="Match files against hash lists.")
@options.files
@options.policy
@click.option(
    "--views",
    metavar="default|all|NAME,...",
    help="Which views of each image to try. Default: as the policy says.",
)
@options.max_matches
@options.server
@options.details
@options.as_json
@pass_session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    *,
    files: tuple[str, ...],
    policy: str,
    views: str | None,
    max_matches: int,
    server: str | None,
    details: bool,
    as_json: bool,
) -> None:
    """Match files against the hash lists of the local catalog, or of a server.

    "-" reads standard input. A file that cannot be decoded is still matched by its digests, and
    one that cannot be read never stops the rest.

    Exit status: 1 where any file matched or needs review, else 2 where any could not be hashed or
    read, else 0.
    """
    report = Report("path", as_json=as_json, details=details)
    names = () if views is None else split_views(views)
    with (
        session.matcher(server, policy=policy, views=names, max_matches=max_matches) as matcher,
        progress("Matching", printing=as_json) as advance,
    ):
        for done, (path, outcome, gaps) in enumerate(matcher.match_files(files), start=1):
            report.add(as_text(path), outcome, gaps)
            advance(done, len(files))
    ctx.exit(report.finish())
