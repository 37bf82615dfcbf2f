"""Reads NIST's Reference Data Set (RDS) 3: a SQLite database.

The set stands in `FILE`. In the minimal sets that is a table; in the full ones it is a view over
`METADATA` and others, and views of a foreign file are never run: then the table `METADATA` is read
itself, which holds the same digests, and those of files that no package lists. Its columns are
taken by their names (assumed where only examples are public): `md5`, `sha1`, `sha256`, and for the
size `file_size` or `bytes`.

Never taken over: names, paths, packages, makers, systems. The key is the SHA-1, as in RDS 2.
The quarterly changes are SQL text; they are refused (see `unreadable`). `sqlite_file` says how the
database is opened, and what is never run.

Its entries are known-good files: they go into lists of that harm, never count as matches, and
never cancel one. The database says nothing of retractions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.advice import INSPECT
from hashlists.formats.base import FileHeader, Format, Likeness
from hashlists.formats.nsrl_csv import KEY_KINDS
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.sqlite_digests import DigestTable, DigestTableReader
from hashlists.formats.sqlite_file import MAGIC, SqliteFile
from hashlists.formats.unreadable import refuse_unreadable, take_sample
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.formats.base import ListReader, Sample
    from hashlists.limits import ImportLimits

_NAME: Final = "nsrl-sqlite"
_TABLES: Final = ("FILE", "METADATA")
_DIGESTS: Mapping[str, HashKind] = {
    "sha256": HashKind.SHA256,
    "sha1": HashKind.SHA1,
    "md5": HashKind.MD5,
}
_SIZES: Final = ("file_size", "bytes")


def open_reader(stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> ListReader:
    """Opens the database. It has no options.

    Raises:
        OptionsError: an option was given.
        FormatError: the file is no such database, or not one that can be trusted.
    """
    refuse_unknown_options(options, (), _NAME)
    refuse_unreadable(take_sample(stream))
    file = SqliteFile(stream, limits)
    wanted = _find_table(file)
    return DigestTableReader(file, wanted, FileHeader(_NAME, "3", "", ""))


def _find_table(file: SqliteFile) -> DigestTable:
    for name in _TABLES:
        table = file.table(name)
        if table is None:
            continue
        digests = {
            kind: table.columns[column]
            for column, kind in _DIGESTS.items()
            if column in table.columns
        }
        if digests:
            size = next((table.columns[s] for s in _SIZES if s in table.columns), None)
            return DigestTable(table, digests, size, KEY_KINDS)
        raise FormatError(
            f"the table {name} has no stored column sha1, md5 or sha256, so this is no RDS 3; "
            + INSPECT
        )
    if file.has_other(_TABLES[0]):
        raise FormatError(
            "FILE is a view, and views of a foreign file are never run; the table METADATA, which "
            "the view of an RDS 3 reads, is not there. If you know whose view it is, copy its rows "
            "into a table FILE of a new database and import that"
        )
    raise FormatError(
        f"the database has neither a table FILE nor METADATA, so this is no RDS 3; {INSPECT}"
    )


def looks_like(sample: Sample) -> Likeness | None:
    """Tells the database by the definitions in its first pages."""
    if not sample.head.startswith(MAGIC) or b"db_properties" in sample.head:
        return None
    head = sample.head.upper()
    if any(b"TABLE " + quote + name.encode() in head for name in _TABLES for quote in (b"", b'"')):
        return Likeness(85, "a SQLite database with a table FILE or METADATA, as RDS 3")
    return Likeness(15, "a SQLite database; what is in it does not show at its beginning")


FORMAT = Format(
    _NAME,
    "NSRL RDS 3 (SQLite)",
    open_reader=open_reader,
    looks_like=looks_like,
    known_good=True,
)

__all__ = ["FORMAT", "looks_like", "open_reader"]
