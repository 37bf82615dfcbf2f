"""`hashwarden lookup`: is a hash known? No image is read or sent."""

from __future__ import annotations

import sys
from itertools import count, islice
from typing import TYPE_CHECKING

import click

from hashlists.model import CODE_KINDS, HashKind
from hashlists.words import counted
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.results import Failure, Report
from matcher.model import ImageHashes, View, ViewHashes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from matcher.cli.matching import ItemMatcher
    from matcher.cli.results import Outcome

_BATCH = 256  # queries looked up together
_STANDARD_INPUT = "-"
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
    keeps hashes out of the shell's history; lines are answered 256 at a time, and one that is no
    query is an error of its own. PhotoDNA values can be looked up here.

    An MD5 alone is weak evidence; with the file's --size it can count as exact.

    Exit status: 1 where anything matched or needs review, else 2 on an error, else 0.
    """
    items = _parsed(queries, size, quality)
    report = Report("query", as_json=as_json, details=details)
    with session.matcher(server, policy=policy, views=(), max_matches=max_matches) as matcher:
        numbers = count()
        while batch := list(islice(items, _BATCH)):
            for outcome in _answers(matcher, batch):
                report.add(next(numbers), outcome)
    ctx.exit(report.finish())


def _parsed(
    queries: Sequence[str], size: int | None, quality: int
) -> Iterator[ImageHashes | Failure]:
    """Reads the queries; without standard input all of them at once, before any is answered."""
    numbered = enumerate(_lines(queries))
    if _STANDARD_INPUT not in queries:
        return iter([parse_query(each, number, size, quality) for number, each in numbered])
    return (_parse_line(each, number, size, quality) for number, each in numbered)


def _parse_line(text: str, number: int, size: int | None, quality: int) -> ImageHashes | Failure:
    try:
        return parse_query(text, number, size, quality)
    except click.UsageError as error:
        return Failure("malformed", error.message)


def _answers(matcher: ItemMatcher, batch: Sequence[ImageHashes | Failure]) -> Iterator[Outcome]:
    """The outcome for each query, in their order."""
    answers = iter(matcher.lookup([each for each in batch if isinstance(each, ImageHashes)]))
    for each in batch:
        yield each if isinstance(each, Failure) else next(answers)


def _lines(queries: Iterable[str]) -> Iterator[str]:
    for query in queries:
        if query == _STANDARD_INPUT:
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
            f"query {number}: the value has {counted(len(value), 'byte')}; {kind.value} has "
            f"{kind.nbytes}"
        )
    return kind, value
