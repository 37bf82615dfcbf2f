"""What a command line asks of a scan, as the document that its folder keeps.

Moments that are told as durations count from the scan's beginning, so that the same command line
means the same objects when it is given once more with `--resume`.
"""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from matcher.cli import options
from matcher.cli.scan_options import DEFAULT_FORMATS, NAMING
from matcher.cli.views import split_views
from matcher.scan.document import Place, ScanDocument, Selection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from matcher.cli.scan_values import When

_DAY_SECONDS: Final = 86_400
#: By how much the clock of a store, or of a file server, may be behind that of the earlier scan.
_CLOCKS_DIFFER_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of `hashwarden scan` as they were given; None where one was not."""

    urls: tuple[str, ...]
    include: tuple[str, ...]
    exclude: tuple[str, ...]
    prefix: str | None
    min_size: int | None
    max_size: int | None
    modified_since: When | None
    modified_before: When | None
    since: When | Path | None
    sample: float | None
    limit: int | None
    shard: tuple[int, int] | None
    archives: bool
    inventory: str | None
    endpoint: str | None
    policy: str
    views: str | None
    server: str | None
    unchanged_from: Path | None
    output: Path | None
    formats: tuple[str, ...] | None
    encrypt_to: tuple[str, ...]
    key_files: tuple[Path, ...]
    keep_days: int | None
    tags: tuple[str, ...]
    resume: Path | None
    engine: str
    address: str | None
    workers: int | None
    fetches: int | None
    price_get: float | None
    price_list: float | None
    price_gb: float | None
    anonymous: bool
    allow_http: bool
    yes: bool
    events: bool


def formats_for(document: ScanDocument, formats: tuple[str, ...] | None) -> tuple[str, ...]:
    """The reports to write when a scan is through.

    Args:
        document: of the scan.
        formats: those that were asked for; None for the usual ones.

    Raises:
        UsageError: one of them names objects, which the scan only ever writes encrypted.
    """
    if formats is None:
        return tuple(x for x in DEFAULT_FORMATS if not (document.recipients and x in NAMING))
    sealed = [each for each in formats if each in NAMING]
    if document.recipients and sealed:
        raise click.UsageError(
            f"with --encrypt-to this machine cannot read its own records again, and write --report "
            f"{','.join(sealed)}: whoever holds the private key makes it with `hashwarden scan "
            f"report DIR --format {','.join(sealed)} --identity KEY_FILE`"
        )
    return formats


def new_id(now: float) -> str:
    """An id for a scan: its day, and what is drawn at random.

    Args:
        now: seconds since 1970, UTC.
    """
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%d}-{secrets.token_hex(4)}"


def new_document(
    asked: Asked, *, author: str, beginning_of: Callable[[Path], float]
) -> ScanDocument:
    """The document of a new scan.

    Args:
        asked: the options.
        author: the account.
        beginning_of: when the scan in a folder began, in seconds since 1970.

    Raises:
        UsageError: options contradict each other, or nothing is named to be scanned.
        SourceError: what is named is no place that can be scanned.
        EncryptionRecipientError: a public key is none.
    """
    now = time.time()
    about = ScanDocument(new_id(now), now, author, ())
    document = _document(asked, about, beginning_of)
    _check(asked, document)
    return document


def require_same(
    asked: Asked,
    given: frozenset[str],
    document: ScanDocument,
    *,
    beginning_of: Callable[[Path], float],
) -> None:
    """Sees to it that what was said beside `--resume` is what the scan's folder says.

    Args:
        asked: the options.
        given: the names of those that stood on the command line.
        document: of the folder.
        beginning_of: when the scan in a folder began, in seconds since 1970.

    Raises:
        UsageError: naming each that contradicts it.
    """
    told = _document(_completed(asked, given, document), document, beginning_of)
    other = [
        option
        for name, (option, part) in _PARTS.items()
        if name in given and part(told) != part(document)
    ]
    if "output" in given:
        other.append("--output")
    if other:
        raise click.UsageError(
            f"{', '.join(dict.fromkeys(other))}: the scan in {asked.resume} was begun otherwise; "
            "leave that out to go on with it, or begin a new scan without --resume"
        )


def recipients(texts: Sequence[str], files: Sequence[Path]) -> tuple[str, ...]:
    """The public keys that were named, one by one or in files.

    Raises:
        EncryptionRecipientError: one is none.
    """
    from hashlists.exporting.age import parse_recipients, recipients_in  # noqa: PLC0415

    named = list(texts)
    for file in files:
        with file.open("rb") as stream:
            named += recipients_in(stream)
    parse_recipients(named)
    return tuple(dict.fromkeys(each.strip() for each in named))


def _document(
    asked: Asked, about: ScanDocument, beginning_of: Callable[[Path], float]
) -> ScanDocument:
    """What the options say, under the id, time and author of another document."""
    keep = asked.keep_days
    return ScanDocument(
        id=about.id,
        made_at=about.made_at,
        made_by=about.made_by,
        places=tuple(_places(asked)),
        selection=_selection(asked, about.made_at, beginning_of),
        policy=asked.policy,
        views=() if asked.views is None else split_views(asked.views),
        archives=asked.archives,
        server=asked.server or "",
        recipients=recipients(asked.encrypt_to, asked.key_files),
        hashes_until=0.0 if keep is None else about.made_at + keep * _DAY_SECONDS,
        unchanged_from=""
        if asked.unchanged_from is None
        else os.path.abspath(asked.unchanged_from),  # noqa: PTH100
    )


def _completed(asked: Asked, given: frozenset[str], document: ScanDocument) -> Asked:
    """The options with what a place needs beside the option that is looked at."""
    places = document.places
    return replace(
        asked,
        urls=asked.urls if "urls" in given else tuple(each.url for each in places),
        endpoint=asked.endpoint if "endpoint" in given else _first(places, "endpoint"),
        inventory=asked.inventory if "inventory" in given else _first(places, "inventory"),
    )


def _first(places: Sequence[Place], name: str) -> str | None:
    return next(filter(None, (getattr(each, name) for each in places)), None)


def _places(asked: Asked) -> Iterator[Place]:
    from matcher.scan.sources.addresses import place_of  # noqa: PLC0415  for scans alone

    for url in asked.urls:
        yield place_of(
            url,
            inventory=asked.inventory or "",
            endpoint=(asked.endpoint or "") if is_afar(url) else "",
        )


def is_afar(url: str) -> bool:
    """Whether it names a store rather than a folder."""
    return "://" in url and not url.lower().startswith("file:")


def _selection(asked: Asked, beginning: float, beginning_of: Callable[[Path], float]) -> Selection:
    since = asked.modified_since if asked.since is None else asked.since
    shard, shards = asked.shard or (1, 1)
    return Selection(
        include=asked.include,
        exclude=asked.exclude,
        prefix=asked.prefix or "",
        min_bytes=asked.min_size,
        max_bytes=asked.max_size,
        modified_since=_seconds(since, beginning, beginning_of),
        modified_before=_seconds(asked.modified_before, beginning, beginning_of),
        sample=1.0 if asked.sample is None else asked.sample,
        shard=shard,
        shards=shards,
        limit=asked.limit,
    )


def _seconds(
    when: When | Path | None, beginning: float, beginning_of: Callable[[Path], float]
) -> float | None:
    if isinstance(when, Path):
        return beginning_of(when) - _CLOCKS_DIFFER_SECONDS
    return None if when is None else when.seconds(beginning)


def _check(asked: Asked, document: ScanDocument) -> None:
    """Refuses what makes no sense together; each error names the options.

    Raises:
        UsageError: naming the first that does not.
    """
    for wrong, told in (*_of_places(asked, document), *_of_objects(asked, document.selection)):
        if wrong:
            raise click.UsageError(told)
    for wrong, told in _of_ways(asked, document):
        if wrong:
            raise click.UsageError(told)


def _of_places(asked: Asked, document: ScanDocument) -> Iterator[tuple[bool, str]]:
    urls = [each.url for each in document.places]
    yield (
        not urls,
        (
            "name what to scan: a folder, or s3://, gs:// or az:// with a bucket and what names "
            "in it begin with"
        ),
    )
    apart = _told_apart(document)
    yield bool(apart), apart
    yield (
        asked.inventory is not None and len(urls) > 1,
        "--inventory lists one bucket: scan each with its own",
    )
    yield (
        asked.endpoint is not None and not any(map(is_afar, urls)),
        "--endpoint is of a store, and only folders are to be scanned",
    )


def _told_apart(document: ScanDocument) -> str:
    """That objects would be scanned twice, and how not; empty where no two places have any."""
    from matcher.scan.sources.overlap import overlapping  # noqa: PLC0415  for scans alone

    found = overlapping(document.places, prefix=document.selection.prefix)
    if found is None:
        return ""
    inner, outer = (each.url for each in found)
    if inner == outer:
        return f"{inner} is named twice: leave one out"
    return (
        f"{inner} lies in {outer}, or is the same, so that objects could be scanned and counted "
        f"twice, whatever patterns leave out: leave {inner} out, or scan it by itself into another "
        "folder"
    )


def _of_objects(asked: Asked, selection: Selection) -> Iterator[tuple[bool, str]]:
    yield (
        asked.since is not None and asked.modified_since is not None,
        "--since and --modified-since say the same: give one of them",
    )
    yield (
        _reversed(selection.modified_since, selection.modified_before, equal=True),
        "--modified-before is not after --modified-since (or --since), so no object passes",
    )
    yield (
        _reversed(selection.min_bytes, selection.max_bytes),
        "--min-size is above --max-size, so no object passes",
    )


def _reversed(low: float | None, high: float | None, *, equal: bool = False) -> bool:
    if low is None or high is None:
        return False
    return low >= high if equal else low > high


def _of_ways(asked: Asked, document: ScanDocument) -> Iterator[tuple[bool, str]]:
    yield (
        bool(document.server) and asked.keep_days is not None,
        "--keep-hashes needs hashes that are made here, and with --server the server makes them",
    )
    yield (
        bool(document.server) and asked.unchanged_from is not None,
        "--unchanged-from looks kept hashes up here, and with --server there are no lists here",
    )
    yield (
        asked.inventory is not None and asked.unchanged_from is not None,
        "--unchanged-from goes beside the order of a listing, and an --inventory is in none",
    )
    yield (
        asked.address is not None and asked.engine != "ray",
        "--address is of a Ray cluster: add --engine ray",
    )
    yield (
        asked.engine == "ray" and bool(document.server),
        "--server matches at the server, which a cluster does not make faster: leave --engine out",
    )
    yield (
        asked.engine == "ray" and asked.unchanged_from is not None,
        "--unchanged-from needs --engine local",
    )
    yield (
        bool(asked.tags and document.recipients),
        (
            "with --encrypt-to this machine cannot read which objects were found: whoever holds "
            "the private key tags them with `hashwarden scan tag DIR --tag KEY=VALUE --identity "
            "KEY_FILE`"
        ),
    )


#: Of each option that the folder remembers: how it is written, and the part that it decides.
_PARTS: Final[Mapping[str, tuple[str, Callable[[ScanDocument], Any]]]] = {
    "urls": ("URL", lambda d: tuple(each.url for each in d.places)),
    "inventory": ("--inventory", lambda d: [each.inventory for each in d.places]),
    "endpoint": ("--endpoint", lambda d: [each.endpoint for each in d.places]),
    "include": ("--include", lambda d: d.selection.include),
    "exclude": ("--exclude", lambda d: d.selection.exclude),
    "prefix": ("--prefix", lambda d: d.selection.prefix),
    "min_size": ("--min-size", lambda d: d.selection.min_bytes),
    "max_size": ("--max-size", lambda d: d.selection.max_bytes),
    "modified_since": ("--modified-since", lambda d: d.selection.modified_since),
    "since": ("--since", lambda d: d.selection.modified_since),
    "modified_before": ("--modified-before", lambda d: d.selection.modified_before),
    "sample": ("--sample", lambda d: d.selection.sample),
    "limit": ("--limit", lambda d: d.selection.limit),
    "shard": ("--shard", lambda d: (d.selection.shard, d.selection.shards)),
    "archives": ("--archives", lambda d: d.archives),
    "policy": ("--policy", lambda d: d.policy),
    "views": ("--views", lambda d: d.views),
    "server": ("--server", lambda d: d.server),
    "unchanged_from": ("--unchanged-from", lambda d: d.unchanged_from),
    "encrypt_to": ("--encrypt-to", lambda d: sorted(d.recipients)),
    "key_files": ("--encrypt-to-file", lambda d: sorted(d.recipients)),
    "keep_days": ("--keep-hashes", lambda d: d.hashes_until),
}


def given_options(ctx: click.Context) -> frozenset[str]:
    """The names of what stood on the command line."""
    return frozenset(
        name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    )


def parsed_tags(texts: Sequence[str]) -> dict[str, str]:
    """Tags as they were given.

    Raises:
        BadParameter: one is none.
    """
    return options.pairs("--tag", texts)


__all__ = [
    "Asked",
    "formats_for",
    "given_options",
    "is_afar",
    "new_document",
    "new_id",
    "parsed_tags",
    "recipients",
    "require_same",
]
