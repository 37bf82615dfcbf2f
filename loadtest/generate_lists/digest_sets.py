"""Sets of digests: known-good files, and what forensic tools write."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hashlists.formats.encase import HEAD_BYTES, MAGIC
from loadtest.generate_lists.records import made_up_records
from loadtest.generate_lists.texts import Text

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtest.generate_lists.records import Record

_NAME_AT = 1032


def _md5sum(record: Record) -> str:
    return f"{record.md5.hex()}  folder/file {record.number}.jpg"


def _nsrl(record: Record) -> str:
    return (
        f'"{record.sha1.hex().upper()}","{record.md5.hex().upper()}","0F1E2D3C",'
        f'"file{record.number}.dll",{record.choice},3095,"WIN",""'
    )


def _hashlookup(record: Record) -> str:
    return (
        f'{{"FileName":"./usr/share/file{record.number}","FileSize":"{record.choice}",'
        f'"MD5":"{record.md5.hex().upper()}","SHA-1":"{record.sha1.hex().upper()}",'
        f'"SHA-256":"{record.sha256.hex().upper()}","hashlookup:trust":50}}'
    )


DIGESTS = Text("", _md5sum, "\n", "\n")
NSRL_CSV = Text(
    '"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode","OpSystemCode","SpecialCode"\r\n',
    _nsrl,
    "\r\n",
    "\r\n",
)
HASHLOOKUP = Text("", _hashlookup, "\n", "\n")


def write_encase(out: BinaryIO, records: int, seed: int) -> None:
    """Writes an EnCase hash set."""
    head = MAGIC.ljust(_NAME_AT, b"\x00") + "made up".encode("utf-16-le")
    out.write(head.ljust(HEAD_BYTES, b"\x00"))
    out.writelines(record.md5 + b"\x01\x00" for record in made_up_records(records, seed))


@dataclass(frozen=True, slots=True)
class Database:
    """A list that is a SQLite file.

    Attributes:
        statements: make the tables.
        insert: takes the values of one record.
        values: those values.
    """

    statements: tuple[str, ...]
    insert: str
    values: Callable[[Record], tuple[object, ...]]

    def write(self, out: BinaryIO, records: int, seed: int) -> None:
        """Writes a whole file."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "list.db")
            with closing(sqlite3.connect(path)) as connection:
                for statement in self.statements:
                    connection.execute(statement)
                connection.executemany(
                    self.insert, map(self.values, made_up_records(records, seed))
                )
                connection.commit()
            with path.open("rb") as whole:
                shutil.copyfileobj(whole, out)


NSRL_SQLITE = Database(
    (
        (
            "CREATE TABLE FILE"
            " (sha256 TEXT, sha1 TEXT, md5 TEXT, crc32 TEXT, file_name TEXT, file_size INTEGER)"
        ),
    ),
    "INSERT INTO FILE VALUES (?, ?, ?, '0F1E2D3C', ?, ?)",
    lambda record: (
        record.sha256.hex().upper(),
        record.sha1.hex().upper(),
        record.md5.hex().upper(),
        f"file{record.number}.dll",
        record.choice,
    ),
)
TSK = Database(
    (
        "CREATE TABLE db_properties (name TEXT NOT NULL, value TEXT)",
        "INSERT INTO db_properties VALUES ('Schema Version', '1')",
        (
            "CREATE TABLE hashes (id INTEGER PRIMARY KEY AUTOINCREMENT, md5 BINARY(16) UNIQUE,"
            " sha1 BINARY(20), sha2_256 BINARY(32))"
        ),
    ),
    "INSERT INTO hashes (md5) VALUES (?)",
    lambda record: (record.md5,),
)
