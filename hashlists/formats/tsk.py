"""Reads hash databases of The Sleuth Kit and Autopsy (`.kdb`): SQLite, schema version 1.

Taken over from the table `hashes`: `md5`, `sha1` and `sha2_256`, raw bytes or hex; the tools
themselves fill in the MD5 alone. Never taken over: the tables of names and comments. The key is the
MD5, which the schema keeps unique.

`sqlite_file` says how the database is opened, and what is never run. Such files know no
retractions, no classes and no sizes, and do not say whether they list good files or bad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.advice import INSPECT
from hashlists.formats.base import FileHeader, Format, Likeness
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.sqlite_digests import DigestTable, DigestTableReader
from hashlists.formats.sqlite_file import MAGIC, SqliteFile
from hashlists.formats.unreadable import refuse_unreadable, take_sample
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.formats.base import ListReader, Sample
    from hashlists.limits import ImportLimits

_NAME: Final = "tsk"
_PROPERTIES: Final = "db_properties"
_VERSION_NAME: Final = "Schema Version"
_VERSION: Final = "1"
_HASHES: Final = "hashes"
_DIGESTS: Mapping[str, HashKind] = {
    "md5": HashKind.MD5,
    "sha1": HashKind.SHA1,
    "sha2_256": HashKind.SHA256,
}
_KEY_KINDS: Final = (HashKind.MD5, HashKind.SHA256, HashKind.SHA1)
_MAX_PROPERTIES: Final = 1000


def open_reader(stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> ListReader:
    """Opens the database. It has no options.

    Raises:
        OptionsError: an option was given.
        FormatError: the file is no such database, or not one that can be trusted.
    """
    refuse_unknown_options(options, (), _NAME)
    refuse_unreadable(take_sample(stream))
    file = SqliteFile(stream, limits)
    _require_version(file)
    table = file.table(_HASHES)
    digests = {
        kind: table.columns[column]
        for column, kind in _DIGESTS.items()
        if table is not None and column in table.columns
    }
    if table is None or not digests:
        raise FormatError(
            "the database has no table hashes with a stored column md5, sha1 or sha2_256, "
            f"so this is no hash database of The Sleuth Kit; {INSPECT}"
        )
    wanted = DigestTable(table, digests, None, _KEY_KINDS)
    return DigestTableReader(file, wanted, FileHeader(_NAME, _VERSION, "", ""))


def _require_version(file: SqliteFile) -> None:
    table = file.table(_PROPERTIES)
    if table is None or not {"name", "value"} <= table.columns.keys():
        raise FormatError(
            "the database has no table db_properties, so this is no hash database of The Sleuth "
            f"Kit; {INSPECT}"
        )
    names = [table.columns["name"], table.columns["value"]]
    properties: dict[object, object] = {}
    for rows in file.rows(table, names):
        properties.update((name, value) for _, name, value in rows)
        if len(properties) > _MAX_PROPERTIES:
            break
    if str(properties.get(_VERSION_NAME)) != _VERSION:
        raise FormatError(
            f"the database is of another schema version than {_VERSION}, the only one known"
        )


def looks_like(sample: Sample) -> Likeness | None:
    """Tells the database by the definitions in its first pages."""
    if not sample.head.startswith(MAGIC):
        return None
    if b"db_properties" in sample.head and b"sha2_256" in sample.head:
        return Likeness(92, "a SQLite database with the tables of The Sleuth Kit's hash databases")
    return None


FORMAT = Format(
    _NAME, "Sleuth Kit hash database (.kdb)", open_reader=open_reader, looks_like=looks_like
)

__all__ = ["FORMAT", "looks_like", "open_reader"]
