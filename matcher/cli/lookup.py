"""`hashwarden lookup`: is a hash known? No image is read or sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hashlists.model import CODE_KINDS, HashKind
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.results import Report
from matcher.model import ImageHashes, View, ViewHashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BATCH = 256  # queries looked up together
_KIND_NAMES = ", ".join(kind.value for kind in HashKind)


@click.command("lookup")
@click.argument("queries", nargs=-1, required=True, metavar="KIND:HEX...")
@click.option(
    "--size",
    metavar="BYTES",
    type=click.IntRange(min=0),
    help="Bytes of the file that is asked about.",
)
@click.option(
    "--quality",
    metavar="0..100",
    type=click.IntRange(0, 100),
    default=100,
    help="PDQ quality of the codes, where it was measured; below 50 they are not used.",
)
@options.policy
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
    queries: tuple[str, ...],
    size: int | None,
    quality: int,
    policy: str,
    max_matches: int,
    server: str | None,
    details: bool,
    as_json: bool,
) -> None:
    """Look hashes up without an image.

    Each argument is one query, told by its number from 0: KIND:HEX, e.g. md5:0cc1..., or several
    hashes of one file joined by commas. "-" reads one query a line from standard input, which
    keeps hashes out of the shell's history. PhotoDNA values can be looked up here.

    An MD5 alone is weak evidence; with the file's --size it can count as exact.

    Exit status: 1 where anything matched or needs review, else 2 on an error, else 0.
    """
    items = [parse_query(each, n, size, quality) for n, each in enumerate(_lines(queries))]
    report = Report("query", as_json=as_json, details=details)
    with session.matcher(server, policy=policy, views=(), max_matches=max_matches) as matcher:
        for start in range(0, len(items), _BATCH):
            outcomes = matcher.lookup(items[start : start + _BATCH])
            for number, outcome in enumerate(outcomes, start):
                report.add(number, outcome)
    ctx.exit(report.finish())


def _lines(queries: Iterable[str]) -> Iterator[str]:
    for query in queries:
        if query == "-":
            yield from filter(None, (line.strip() for line in sys.stdin))
        else:
            yield query


def parse_query(text: str, number: int, size: int | None, quality: int) -> ImageHashes:
    """Reads `KIND:HEX[,KIND:HEX...]`: the hashes of one file.

    Args:
        text: what the user gave.
        number: the query's number, from 0; errors name it, and never the hash.
        size: bytes of the file, where known.
        quality: PDQ quality of the codes.

    Raises:
        click.UsageError: a kind is unknown or given twice, or a value is no hex of its length.
    """
    values: dict[HashKind, bytes] = {}
    for part in text.split(","):
        kind, value = _parse_hash(part, number)
        if values.setdefault(kind, value) != value:
            raise click.UsageError(f"query {number}: two values of {kind.value} for one file")
    codes = {kind: value for kind, value in values.items() if kind in CODE_KINDS}
    return ImageHashes(
        digests={kind: value for kind, value in values.items() if kind.is_digest},
        size=size,
        views=(ViewHashes(View.UPRIGHT, quality, codes),) if codes else (),
        photodna=values.get(HashKind.PHOTODNA),
    )


def _parse_hash(part: str, number: int) -> tuple[HashKind, bytes]:
    name, colon, digits = part.strip().partition(":")
    try:
        kind = HashKind(name.strip().lower())
    except ValueError:
        told = "the part before the colon is no kind of hash" if colon else "it has no colon"
        raise click.UsageError(
            f"query {number}: {told}; write KIND:HEX with one of {_KIND_NAMES}"
        ) from None
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        raise click.UsageError(f"query {number}: the value of {kind.value} is no hex") from None
    if len(value) != kind.nbytes:
        raise click.UsageError(
            f"query {number}: the value has {len(value)} bytes; {kind.value} has {kind.nbytes}"
        )
    return kind, value
