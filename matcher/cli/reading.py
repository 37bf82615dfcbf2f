"""Options that say how list files are read, for the commands that read some, and what they add to.

A command takes `--column`, `--mapping`, `--option` and `--identity` by these decorators.
"""

from __future__ import annotations

import os
import shlex
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashlists.errors import DecryptionKeyError, OptionsError
from hashlists.formats.field_mapping import FIELDS
from hashlists.model import EntryFlag, HashKind
from matcher.cli import options
from matcher.cli.paths import ExistingPath
from matcher.errors import ServerError
from matcher.settings import load_mapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.unpacking.age_files import Identity

_FLAG_NAMES = ", ".join((flag.name or "").lower() for flag in EntryFlag)
_COLUMN = "columns."
_TABLE = "csv"
_PACKED_SUFFIXES = (".gz", ".zst")
_ENCRYPTED_SUFFIX = ".age"
_OTHERS = stat.S_IRWXG | stat.S_IRWXO

column = click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="CSV, JSON Lines, Parquet: which column holds a field, e.g. md5=MD5. Fields: "
    f"{', '.join(HashKind)}, with .2, .3 and so on for further columns of a kind; "
    f"{', '.join(FIELDS)}; columns of yes or no: {_FLAG_NAMES}. category needs scheme, a column or "
    "--option scheme=NAME. Repeat for each.",
)
mapping = click.option(
    "--mapping",
    type=ExistingPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A TOML file with columns and options, for sources that come again and again; examples "
    "are in docs/mappings. What --column and --option say goes before it.",
)
option = click.option(
    "--option",
    "format_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the format; docs/formats.md has them all. CSV: scheme and profile of the "
    "categories (docs/policy.md maps vics, uk, iwf, ncmec, interpol); delimiter, one character or "
    "tab; encoding, utf-8, utf-16, latin-1 or cp1252; hash_encoding.KIND, e.g. "
    "hash_encoding.md5=base64: hex, base64, base32, decimal or detect, the default; "
    "multiline=yes. Repeat for each.",
)
identity = click.option(
    "--identity",
    "key_files",
    multiple=True,
    type=ExistingPath(dir_okay=False, path_type=Path),
    metavar="KEY_FILE",
    help="Open files that are encrypted with age by this private key, as age-keygen or ssh-keygen "
    "made it; nothing is written in the clear. Repeat for several.",
)


def settled_options(
    files: Sequence[Path],
    mapping_file: Path | None,
    columns: Sequence[str],
    format_options: Sequence[str],
    file_format: str | None,
) -> dict[str, str]:
    """The options of the format as its reader takes them.

    Args:
        files: what is read; names that end in .tsv say that tabs set the cells apart.
        mapping_file: of columns and options, before which the others go.
        columns: as --column takes them.
        format_options: as --option takes them.
        file_format: by which the files are read; None where their look is to tell.

    Raises:
        BadParameter: one is not of the form that it must have.
        SettingsError: the mapping file cannot be read.
    """
    settled = load_mapping(mapping_file) if mapping_file is not None else {}
    settled.update(options.pairs("--option", format_options))
    for field, name in options.pairs("--column", columns).items():
        settled[f"{_COLUMN}{field}"] = name
    is_table = file_format == _TABLE or (file_format is None and any(map(_is_column, settled)))
    if is_table and all(suffix_of(each) == ".tsv" for each in files):
        settled.setdefault("delimiter", "tab")
    return settled


def _is_column(option: str) -> bool:
    return option.partition(".")[0] == _COLUMN.rstrip(".")


def where_options_stand(
    mapping_file: Path | None, columns: Sequence[str], format_options: Sequence[str]
) -> str:
    """What to name where an option is wrong; empty where all were typed just now."""
    if mapping_file is None:
        return ""
    beside = " and --column" * bool(columns) + " and --option" * bool(format_options)
    return f"{mapping_file}{beside}"


@contextmanager
def telling_where_options_stand(where: str) -> Iterator[None]:
    """Has errors in options name where those stand, whether a file is read here or at a server.

    Args:
        where: as `where_options_stand` says.

    Raises:
        OptionsError: for an error in them.
    """
    try:
        yield
    except (OptionsError, ServerError) as error:
        if not where or error.reason != OptionsError.reason:
            raise
        raise OptionsError(f"{where}: {error}") from error


def option_words(
    given: Mapping[str, str], mapping_file: Path | None, key_files: Sequence[Path]
) -> list[str]:
    """The words of a command line that stand for these options."""
    words = [] if mapping_file is None else ["--mapping", str(mapping_file)]
    settled = {} if mapping_file is None else load_mapping(mapping_file)
    for key, value in sorted(given.items()):
        if settled.get(key) == value:
            continue
        field = key.removeprefix(_COLUMN)
        words += ["--option" if field == key else "--column", f"{field}={value}"]
    for each in key_files:
        words += ["--identity", str(each)]
    return words


def suffix_of(file: Path) -> str:
    """The ending that tells a table, below those of encryption and packing; in lower case."""
    for outer in ((_ENCRYPTED_SUFFIX,), _PACKED_SUFFIXES):
        if file.suffix.lower() in outer:
            file = file.with_suffix("")
    return file.suffix.lower()


def identities_of(key_files: Sequence[Path]) -> list[Identity]:
    """The private keys in these files.

    Raises:
        DecryptionKeyError: one holds none, or may be read by others.
    """
    from hashlists.formats.unpacking.age_files import identities_in  # noqa: PLC0415  brings pyrage

    found = []
    for file in key_files:
        with file.open("rb") as stream:
            try:
                found += identities_in(stream)  # first: the mode of what is no key does not matter
            except DecryptionKeyError as error:
                raise DecryptionKeyError(f"{file}: {error}") from None
            mode = os.fstat(stream.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & _OTHERS:
                raise DecryptionKeyError(
                    f"{file}: the private key is open to others (mode {stat.S_IMODE(mode):04o}); "
                    f"make it private: chmod 600 {shlex.quote(str(file))}"
                )
    return found


__all__ = [
    "column",
    "identities_of",
    "identity",
    "mapping",
    "option",
    "option_words",
    "settled_options",
    "suffix_of",
    "telling_where_options_stand",
    "where_options_stand",
]
