"""The options of `hashwarden scan`, under the headings that its help shows."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from matcher.cli import options
from matcher.cli.paths import ExistingPath
from matcher.cli.scan_group import Section, Urls
from matcher.cli.scan_values import (
    NamesType,
    PartType,
    ShardType,
    SinceType,
    SizeType,
    WhenType,
)

if TYPE_CHECKING:
    from collections.abc import Callable

#: Reports that are made of sums alone, and those that name objects.
PAGES: Final = ("html",)
NAMING: Final = ("jsonl", "csv", "parquet", "vics")
FORMATS: Final = (*NAMING, *PAGES)
DEFAULT_FORMATS: Final = ("jsonl", "html")
DEFAULT_KEPT_DAYS: Final = "90"
ENGINES: Final = ("local", "ray")

_FOLDER: Final = click.Path(file_okay=False, path_type=Path)
_WHICH = partial(click.option, cls=Section, section="Which objects")
_HOW = partial(click.option, cls=Section, section="How they are matched")
_WRITTEN = partial(click.option, cls=Section, section="What is written")
_RUN = partial(click.option, cls=Section, section="How it runs")

output = _WRITTEN(
    "--output",
    metavar="DIR",
    type=_FOLDER,
    help="The scan's own folder: its state and its reports. Default: scan-ID here.",
)
policy = _HOW("--policy", default="", metavar="NAME", help="Judge by this policy.")
formats = _WRITTEN(
    "--report",
    "formats",
    metavar="FORMAT,...",
    type=NamesType(FORMATS),
    help=f"Reports to write: {', '.join(FORMATS)}. Default: {','.join(DEFAULT_FORMATS)}; with "
    "--encrypt-to html alone, which names no object.",
)
encrypt_to = _WRITTEN(
    "--encrypt-to",
    multiple=True,
    metavar="PUBLIC_KEY",
    help="Write down what names an object only encrypted with age to this public key: age1..., "
    "ssh-ed25519 ... or ssh-rsa .... Repeat for several, each of whom can read it.",
)
encrypt_to_file = _WRITTEN(
    "--encrypt-to-file",
    "key_files",
    multiple=True,
    type=ExistingPath(dir_okay=False, path_type=Path),
    help="The same to every public key in this file, one a line. Repeat for several.",
)
keep_hashes = _WRITTEN(
    "--keep-hashes",
    "keep_days",
    type=click.IntRange(1, 3650),
    metavar="[DAYS]",
    help=f"Keep all hashes, encrypted with match_keys, for so many days ({DEFAULT_KEPT_DAYS} where "
    "none are given), so that `scan rematch` can look them up in newer lists.",
)
tags = _WRITTEN(
    "--tag",
    "tags",
    multiple=True,
    metavar="KEY=VALUE",
    help="Tag what was found, once the scan is through: it is shown first how many, and nothing is "
    "tagged without --yes or your word; see `hashwarden scan tag`. Repeat for several.",
)
yes = _RUN("--yes", is_flag=True, help="Ask nothing: begin a big scan, and tag with --tag.")
events = _RUN(
    "--events",
    is_flag=True,
    help="Tell how it goes as JSON Lines on standard output, in place of all else.",
)

_OPTIONS: Final = (
    click.argument("urls", nargs=-1, metavar="URL...", cls=Urls),
    _WHICH(
        "--include",
        multiple=True,
        metavar="GLOB",
        help="Only objects whose name below the URL fits this, as in .gitignore: '*.jpg' anywhere, "
        "'2024/**' in that folder. Repeat for several, of which one must fit.",
    ),
    _WHICH("--exclude", multiple=True, metavar="GLOB", help="No objects whose name fits this."),
    _WHICH(
        "--prefix",
        metavar="TEXT",
        help="Only objects whose name below the URL begins so; no more than that is listed.",
    ),
    _WHICH("--min-size", type=SizeType(), metavar="SIZE", help="None smaller, e.g. 4KiB."),
    _WHICH("--max-size", type=SizeType(), metavar="SIZE", help="None larger, e.g. 1.5GB."),
    _WHICH(
        "--modified-since",
        type=WhenType(),
        metavar="WHEN",
        help="Only what was modified then or later: 2026-01-31, a time with its offset, or 7d, "
        "12h, 30m before now.",
    ),
    _WHICH(
        "--modified-before",
        type=WhenType(),
        metavar="WHEN",
        help="Only what was modified before then.",
    ),
    _WHICH(
        "--since",
        type=SinceType(),
        metavar="WHEN|DIR",
        help="As --modified-since; or what was modified since the scan in DIR began, less five "
        "minutes, since clocks differ.",
    ),
    _WHICH(
        "--sample",
        type=PartType(),
        metavar="SHARE",
        help="Only this share of the objects, e.g. 1%: by their names, the same ones each time.",
    ),
    _WHICH("--limit", type=click.IntRange(1), metavar="N", help="At most so many objects."),
    _WHICH(
        "--shard",
        type=ShardType(),
        metavar="I/N",
        help="Only the I-th of N parts, by the objects' names: N machines scan one each.",
    ),
    _WHICH("--archives", is_flag=True, help="Also what is in zip, tar and gz files."),
    _WHICH(
        "--inventory",
        metavar="FILE|URL",
        help="An S3 Inventory of the bucket, which serves as the listing: its manifest.json, or "
        "a CSV or Parquet file of it.",
    ),
    _WHICH(
        "--endpoint",
        metavar="URL",
        help="Where the store is, if it is none of the cloud's own, e.g. https://minio.example.",
    ),
    policy,
    _HOW(
        "--views",
        metavar="default|all|NAME,...",
        help="Which views of each image to try. Default: as the policy says.",
    ),
    _HOW(
        "--server",
        metavar="HOST:PORT",
        callback=options.check_address,
        help="Send the objects to this server instead of matching them here.",
    ),
    _HOW(
        "--unchanged-from",
        metavar="DIR",
        type=ExistingPath(path_type=Path),
        help="Fetch nothing that is as it was in this earlier scan with --keep-hashes: look its "
        "kept hashes up again.",
    ),
    output,
    formats,
    encrypt_to,
    encrypt_to_file,
    keep_hashes,
    tags,
    _RUN(
        "--resume",
        metavar="DIR",
        type=ExistingPath(path_type=Path),
        help="Go on with the scan in this folder, which knows what was asked for.",
    ),
    _RUN(
        "--engine",
        type=click.Choice(ENGINES),
        default=ENGINES[0],
        show_default=True,
        help="Scan in this process, or on a Ray cluster.",
    ),
    _RUN(
        "--address",
        metavar="ADDRESS",
        help="Of the Ray cluster, e.g. ray://head:10001 or auto. Default: one on this machine.",
    ),
    _RUN(
        "--workers",
        type=click.IntRange(1, 1024),
        metavar="N",
        help="Decoders at work at once; with Ray, actors. Default: one for every usable CPU.",
    ),
    _RUN(
        "--fetches",
        type=click.IntRange(1, 4096),
        metavar="N",
        help="Objects that are fetched at once, at most. Default: as many as turn out to pay.",
    ),
    _RUN(
        "--anonymous",
        is_flag=True,
        help="Ask stores without credentials, as public buckets can be.",
    ),
    _RUN(
        "--allow-http",
        is_flag=True,
        help="Let --endpoint be plain HTTP on another machine: whoever is on the way reads along.",
    ),
    _RUN(
        "--price-get",
        type=click.FloatRange(0),
        metavar="PRICE",
        help="Of 1,000 GET requests, for the estimate. Default: setting scan_price_get.",
    ),
    _RUN(
        "--price-list",
        type=click.FloatRange(0),
        metavar="PRICE",
        help="Of 1,000 LIST requests. Default: setting scan_price_list.",
    ),
    _RUN(
        "--price-gb",
        type=click.FloatRange(0),
        metavar="PRICE",
        help="Of 10^9 bytes that leave the store. Default: setting scan_price_gb.",
    ),
    yes,
    events,
)


def scanning(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds all options of a scan."""
    for each in reversed(_OPTIONS):
        function = each(function)
    return function


__all__ = [
    "DEFAULT_FORMATS",
    "DEFAULT_KEPT_DAYS",
    "ENGINES",
    "FORMATS",
    "NAMING",
    "PAGES",
    "encrypt_to",
    "encrypt_to_file",
    "events",
    "formats",
    "keep_hashes",
    "output",
    "policy",
    "scanning",
    "tags",
    "yes",
]
