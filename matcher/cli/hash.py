"""`hashwarden hash`: the hashes of files, as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hashlists.model import CODE64_KINDS, HashKind
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.files import HashedFile, UnreadableFile, as_text, hash_files
from matcher.cli.output import is_terminal, print_json, print_pretty_json, progress
from matcher.cli.views import split_views
from matcher.gaps import Gaps
from matcher.model import DecodeRequest, Digests, Undecodable, ViewHashes

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_NOT_HASHED = 2
_DIGESTS = ("md5", "sha1", "sha256")


@click.command("hash")
@options.files
@click.option(
    "--views",
    default="default",
    show_default=True,
    metavar="default|all|NAME,...",
    help="Which views of each image to hash.",
)
@click.option("--json", "as_json", is_flag=True, help="One line for each file, on a terminal too.")
@pass_session
@click.pass_context
def command(
    ctx: click.Context, session: Session, *, files: tuple[str, ...], views: str, as_json: bool
) -> None:
    """Print the hashes of files, one JSON object for each.

    Hashes are lower-case hex; "-" reads standard input. A file that cannot be hashed has "error"
    in its object and never stops the rest; its digests are given all the same.

    Exit status: 0, or 2 where any file could not be hashed or read.
    """
    from matcher.policy.views import view_selection  # noqa: PLC0415

    selection = view_selection(split_views(views))
    request = DecodeRequest(views=selection, kinds64=frozenset(CODE64_KINDS))
    pretty = is_terminal() and not as_json
    failed = False
    done = 0
    with session.decode_pool() as pool, progress("Hashing", printing=True) as advance:
        max_bytes = session.settings.image_bytes
        for batch in hash_files(files, pool, request, max_bytes=max_bytes):
            for file in batch:
                record = to_record(file)
                (print_pretty_json if pretty else print_json)(record)
                failed = failed or "error" in record
            done += len(batch)
            advance(done, len(files))
    ctx.exit(EXIT_NOT_HASHED if failed else 0)


def to_record(file: HashedFile | UnreadableFile) -> dict[str, Any]:
    """The JSON object of one file.

    `truncated`, `frames` and `views_left_out` stand in it only where there is something to tell.
    """
    path = as_text(file.path)
    if isinstance(file, UnreadableFile):
        return {
            "path": path,
            "error": {"reason": "unreadable", "detail": file.detail},
            **dict.fromkeys(_DIGESTS),
        }
    digests = digests_record(file.digests)
    if isinstance(file.decoded, Undecodable):
        error = {"reason": file.decoded.reason.value, "detail": file.decoded.detail}
        return {"path": path, "error": error, **digests}
    views = file.hashes.views
    gaps = Gaps.of(file.decoded, (view.view for view in views), file.decoded.views_left_out)
    return {
        "path": path,
        "width": file.decoded.width,
        "height": file.decoded.height,
        "format": file.decoded.format,
        "views": [_view_record(view) for view in views],
        **digests,
        **gaps.record(),
    }


def digests_record(digests: Digests) -> dict[str, str]:
    """The digests in lower-case hex."""
    return {name: getattr(digests, name).hex() for name in _DIGESTS}


def _view_record(view: ViewHashes) -> dict[str, Any]:
    return {
        "view": view.view,
        "pdq": _hex(view.codes, HashKind.PDQ),
        "quality": view.quality,
        **{kind.value: _hex(view.codes, kind) for kind in CODE64_KINDS},
    }


def _hex(codes: Mapping[HashKind, bytes], kind: HashKind) -> str | None:
    code = codes.get(kind)
    return None if code is None else code.hex()
