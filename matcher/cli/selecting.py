"""Options that name entries: by id, by their source's own id, by digest; one by one or in files.

A digest is taken from a file or from standard input only, since a command line is seen by other
users of the machine and kept in the shell's history. No error repeats a value.
"""

from __future__ import annotations

import re
import sys
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashlists.limits import MAX_ENTRY_ID_DIGITS, MAX_ID_CHARS
from hashlists.model import DIGEST_KIND_OF_LENGTH, DIGEST_KINDS, EntrySelection, HashKind
from matcher.cli.importing import STDIN
from matcher.cli.refusal import RefusalError
from matcher.errors import in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: As GNU's tools list files: value, two blanks or a blank and a star, name; others use a tab.
_LISTED = re.compile(
    r"\\?(?P<digits>[0-9A-Fa-f]{32}|[0-9A-Fa-f]{40}|[0-9A-Fa-f]{64})(?: [ *]|\t).+"
)
#: As BSD's tools and openssl do, with more or fewer blanks. A name may hold anything.
_TAGGED = re.compile(r"(?P<kind>[A-Za-z0-9-]+) ?\(.+\) ?= ?(?P<digits>[0-9A-Fa-f]+)")
_KIND_NAMES = {
    **{kind.value: kind for kind in DIGEST_KINDS},
    "sha-1": HashKind.SHA1,
    "sha-256": HashKind.SHA256,
    "sha2-256": HashKind.SHA256,
}
_FILE = click.Path(readable=False, allow_dash=True, path_type=Path)
_OPTIONS = (
    click.argument("entries", nargs=-1, metavar="[ENTRY]..."),
    click.option(
        "--entries",
        "entry_files",
        multiple=True,
        metavar="FILE",
        type=_FILE,
        help='A file of entry ids, one a line; "-" is standard input.',
    ),
    click.option(
        "--source-id",
        "source_ids",
        multiple=True,
        metavar="ID",
        help="The source's own id or key of an entry, as its correction notices name it. Repeat "
        "for each.",
    ),
    click.option(
        "--source-ids",
        "source_id_files",
        multiple=True,
        metavar="FILE",
        type=_FILE,
        help='A file of such ids, one a line; "-" is standard input.',
    ),
    click.option(
        "--digests",
        "digest_files",
        multiple=True,
        metavar="FILE",
        type=_FILE,
        help="A file of MD5, SHA-1 or SHA-256 values in hex, one a line: bare, as KIND:HEX, or as "
        'md5sum, sha1sum, sha256sum and openssl print them; "-" is standard input.',
    ),
)


def selecting(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that name entries, given to the command as one `selection`."""

    @wraps(function)
    def gathered(
        *arguments: Any,
        entries: Sequence[str],
        entry_files: Sequence[Path],
        source_ids: Sequence[str],
        source_id_files: Sequence[Path],
        digest_files: Sequence[Path],
        **chosen: Any,
    ) -> None:
        files = (*entry_files, *source_id_files, *digest_files)
        if files.count(STDIN) > 1:
            raise click.UsageError("standard input can be read once only")
        selection = EntrySelection(
            entry_ids=[
                *_read_arguments("argument", entries, parse_entry_id),
                *_read_files(entry_files, parse_entry_id),
            ],
            source_ids=[
                *_read_arguments("--source-id", source_ids, parse_source_id),
                *_read_files(source_id_files, parse_source_id),
            ],
            digests=_read_files(digest_files, parse_digest),
        )
        if not selection and files:
            raise RefusalError(f"no entry is named in {', '.join(map(_name, files))}")
        if not selection:
            raise click.UsageError(
                "no entry is named: give ids, --entries, --source-id, --source-ids or --digests"
            )
        function(*arguments, selection=selection, **chosen)

    command: Callable[..., None] = gathered
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def _read_arguments(where: str, texts: Sequence[str], parse: Callable[[str], Any]) -> list[Any]:
    try:
        return list(_read(where, texts, parse))
    except RefusalError as error:
        raise click.UsageError(str(error)) from None


def _read_files(files: Sequence[Path], parse: Callable[[str], Any]) -> list[Any]:
    return [value for file in files for value in _read(f"{_name(file)}, line", _lines(file), parse)]


def _name(file: Path) -> str:
    return "standard input" if file == STDIN else str(file)


def _lines(file: Path) -> Iterator[str]:
    """The lines of a file without their ends and without a byte order mark.

    Raises:
        RefusalError: it cannot be read, or is no text in UTF-8.
    """
    try:
        data = sys.stdin.buffer.read() if file == STDIN else file.read_bytes()
    except OSError as error:
        raise RefusalError(
            f"{in_words(error)}; the option takes a file with one value a line, or - for standard "
            "input"
        ) from None
    try:
        yield from data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise RefusalError(f"{_name(file)} is no text in UTF-8") from None


def _read(
    where: str, texts: Sequence[str] | Iterator[str], parse: Callable[[str], Any]
) -> Iterator[Any]:
    """What the texts say, empty ones left out.

    Raises:
        RefusalError: one says nothing of the kind; the error tells its place and never the text.
    """
    for number, text in enumerate(texts, start=1):
        stripped = text.strip()
        if not stripped:
            continue
        try:
            yield parse(stripped)
        except ValueError as error:
            raise RefusalError(f"{where} {number}: {error}") from None


def parse_entry_id(text: str) -> int:
    """An entry's id as matches show it.

    Raises:
        ValueError: it is none.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= MAX_ENTRY_ID_DIGITS):
        raise ValueError(
            "no entry's id, which is a number; the source's own ids go with --source-id, and "
            "digests into a file for --digests"
        )
    return int(text)


def parse_source_id(text: str) -> str:
    """A source's own id.

    Raises:
        ValueError: it is too long, or holds what no id on import may hold.
    """
    if len(text) > MAX_ID_CHARS:
        raise ValueError(f"longer than the {MAX_ID_CHARS} characters that an id may have")
    if not text.isprintable():
        raise ValueError("an id has no control characters")
    return text


def parse_digest(text: str) -> bytes:
    """`KIND:HEX`, or bare hex, whose length tells its kind, or a line of a checksum file.

    Such a line is `HEX  NAME` (GNU; a `*` before the name, or a backslash before the value of a
    name with escapes) or `KIND (NAME) = HEX` (BSD, `--tag`, openssl). Names are left aside.

    Raises:
        ValueError: it is none of them.
    """
    name, digits = _named_digits(text)
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        raise ValueError("no digest in hex") from None
    kind = DIGEST_KIND_OF_LENGTH.get(len(value))
    if kind is None or (name is not None and _KIND_NAMES.get(name.strip().lower()) is not kind):
        raise ValueError(
            "no digest of a known kind: MD5 has 32 hex digits, SHA-1 40 and SHA-256 64; write "
            "md5:HEX, sha1:HEX or sha256:HEX"
        )
    return value


def _named_digits(text: str) -> tuple[str | None, str]:
    """What is said of the kind, None for nothing, and the value; both as they are written."""
    if tagged := _TAGGED.fullmatch(text):
        return tagged["kind"], tagged["digits"]
    if listed := _LISTED.fullmatch(text):
        return None, listed["digits"]
    kind, colon, digits = text.rpartition(":")
    return (kind, digits) if colon else (None, digits)
