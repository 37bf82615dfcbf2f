"""Backs up a catalog in SQLite while it is in use, encrypted, and restores it.

An encrypted file (`hashlists.encryption.stream`) of one line of JSON, which says what follows, and
the bytes of an SQLite database: the catalog at one moment, by SQLite's own online backup.

Invariants: a backup is whole, or there is none under its name; who writes to the catalog does not
wait for it. A catalog is restored whole or not at all, in no place where there is one, and only
after every byte was authenticated and SQLite found the database sound. In clear there is a copy
only beside the catalog, in the same private folder, while this runs; what a crash leaves of one
goes as `hashlists.catalog.clear_copies` says.
"""

from __future__ import annotations

import json
import os
import secrets
import sqlite3
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from hashlists.catalog.clear_copies import alone, copy_in
from hashlists.catalog.schema import CATALOG_ID_NAME, SCHEMA_VERSION
from hashlists.encryption.purposes import CATALOG_BACKUP
from hashlists.encryption.stream import decrypt, encrypt
from hashlists.errors import BackupError, EncryptedFileError, EncryptionKeyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hashlists.encryption.keys import Key, KeySource

FORMAT: Final = "hashwarden-catalog-backup"
#: Raised whenever an older build could misread a newer backup.
VERSION: Final = 1
_READ_BYTES: Final = 1 << 20
_MAX_LINE_BYTES: Final = 4096
_NOT_A_FILE: Final = (
    "only a catalog in SQLite is backed up so; for PostgreSQL see docs/encryption.md: pg_dump into "
    "`hashwarden catalog encrypt`"
)


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds.

    Attributes:
        catalog_id: the catalog's identity, hex.
        revision: its newest revision then.
        schema: the schema's version.
        created_at: when it was made, ISO 8601.
        nbytes: of the database.
    """

    catalog_id: str
    revision: int
    schema: str
    created_at: str
    nbytes: int


def back_up(catalog: Path | None, target: Path, keys: KeySource) -> BackupReport:
    """Writes an encrypted backup of a catalog that may be in use.

    Args:
        catalog: the file of the catalog; None for one that has no file of ours.
        target: the file to be made; must not be there.
        keys: the newest encrypts.

    Raises:
        EncryptionKeyError: there is no key.
        BackupError: there is no such catalog, or it is damaged, or there is a file of that name;
            or the disk refuses. No file is left.
    """
    if catalog is None:
        raise BackupError(_NOT_A_FILE)
    if not catalog.is_file():
        raise BackupError(f"there is no catalog in {catalog.parent} to back up")
    keys.fetch()
    key = keys.newest()
    try:
        with alone(catalog.parent), _copy_of(catalog) as (report, content):
            _write(target, report, content, key)
    except FileExistsError:
        raise BackupError(f"{target}: is there already, and is not written over") from None
    except OSError as error:
        raise BackupError(f"{target}: the backup cannot be written: {error.strerror}") from None
    except sqlite3.Error as error:
        raise BackupError(f"the catalog cannot be read: {error}") from None
    return report


def restore(source: BinaryIO, catalog: Path | None, keys: KeySource) -> BackupReport:
    """Makes a catalog from a backup, in a place where there is none.

    Args:
        source: the backup.
        catalog: the file of the catalog, which must not be there.
        keys: any of them decrypts.

    Raises:
        EncryptionKeyError: the key is not here.
        EncryptedFileError: the backup was altered or is cut off, or is none.
        BackupError: there is a catalog already, the backup is of a later build, or the disk
            refuses. In all cases nothing is there that was not there before.
    """
    if catalog is None:
        raise BackupError(_NOT_A_FILE)
    in_the_way = [each for each in _files(catalog) if each.exists()]
    if in_the_way:
        raise BackupError(
            f"{in_the_way[0]}: is there already; stop everything that uses it, and move it and its "
            "-wal and -shm files away"
        )
    keys.fetch()
    try:
        catalog.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with alone(catalog.parent):
            part = copy_in(catalog.parent)
            try:
                report = _receive(source, part, keys)
                _check(part, report)
                os.link(part, catalog)  # refuses what came between, as a rename would not
                _sync(catalog.parent)
            finally:
                part.unlink(missing_ok=True)
    except FileExistsError:
        raise BackupError(f"{catalog}: was made meanwhile; nothing was restored") from None
    except OSError as error:
        raise BackupError(f"{catalog}: cannot be restored: {error.strerror}") from None
    return report


@contextmanager
def _copy_of(catalog: Path) -> Iterator[tuple[BackupReport, BinaryIO]]:
    """The catalog at one moment, in a file that has lost its name by then."""
    part = copy_in(catalog.parent)
    handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "rb") as content:
        try:
            address = f"{catalog.absolute().as_uri()}?mode=rw"
            with (
                closing(sqlite3.connect(address, uri=True)) as reading,
                closing(sqlite3.connect(part, isolation_level=None)) as copy,
            ):
                copy.execute("PRAGMA journal_mode = OFF").close()
                reading.backup(copy)
                # It lies alone, so what reads it must not look for a log; that it is of a catalog
                # with one shows only once something was read.
                copy.execute("PRAGMA schema_version").fetchone()
                copy.execute("PRAGMA journal_mode = DELETE").close()
                (sound,) = copy.execute("PRAGMA quick_check(1)").fetchone()
                if sound != "ok":  # now rather than when it is needed
                    raise BackupError("the catalog cannot be read: SQLite finds it damaged")
                report = _report(copy, part.stat().st_size)
        finally:
            part.unlink(missing_ok=True)
        yield report, content


def _report(copy: sqlite3.Connection, nbytes: int) -> BackupReport:
    (revision,) = copy.execute("SELECT revision FROM head").fetchone()
    (schema,) = copy.execute("SELECT version_num FROM alembic_version").fetchone()
    (catalog_id,) = copy.execute(
        "SELECT value FROM meta WHERE name = ?", (CATALOG_ID_NAME,)
    ).fetchone()
    return BackupReport(
        catalog_id=bytes(catalog_id).hex(),
        revision=int(revision),
        schema=str(schema),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        nbytes=nbytes,
    )


def _write(target: Path, report: BackupReport, content: BinaryIO, key: Key) -> None:
    """Writes the file whole or not at all, for its owner alone."""
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")

    def pieces() -> Iterator[bytes]:
        said = {"format": FORMAT, "version": VERSION, **asdict(report)}
        yield json.dumps(said).encode("ascii") + b"\n"
        while piece := content.read(_READ_BYTES):
            yield piece

    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.writelines(encrypt(pieces(), key, CATALOG_BACKUP))
            stream.flush()
            os.fsync(stream.fileno())
        os.link(part, target)  # refuses where it is there, as a rename would not
        _sync(target.parent)
    finally:
        part.unlink(missing_ok=True)


def _receive(source: BinaryIO, part: Path, keys: KeySource) -> BackupReport:
    """Decrypts a backup into a file; says what it holds."""
    texts = decrypt(source.read, keys.find, CATALOG_BACKUP)
    try:
        first = next(texts)
        line, newline, rest = first.partition(b"\n")
        report = _parse(line) if newline and len(line) <= _MAX_LINE_BYTES else None
        if report is None:
            raise BackupError("the file is no backup of a catalog")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as stream:
            stream.write(rest)
            stream.writelines(texts)
            stream.flush()
            os.fsync(stream.fileno())
    except EncryptedFileError as error:
        raise EncryptedFileError(f"the backup {error}; nothing was restored") from None
    except EncryptionKeyError as error:
        raise EncryptionKeyError(f"the backup {error}; nothing was restored") from None
    return report


def _parse(line: bytes) -> BackupReport | None:
    """What the first line says; None where it does not speak of a backup.

    Raises:
        BackupError: it is of a later version.
    """
    said: Any = None
    with suppress(ValueError):
        said = json.loads(line)
    if not isinstance(said, dict) or said.pop("format", None) != FORMAT:
        return None
    if said.pop("version", None) != VERSION:
        raise BackupError("the backup is of a later build; restore it with that")
    try:
        return BackupReport(**said)
    except TypeError:
        return None


def _check(part: Path, report: BackupReport) -> None:
    """Sees that SQLite finds the database sound, and that it is the one that was told of."""
    if report.schema > SCHEMA_VERSION:
        raise BackupError(
            f"the backup is of a newer version ({report.schema}) than this build ({SCHEMA_VERSION})"
        )
    try:
        with closing(sqlite3.connect(part)) as copy:
            (sound,) = copy.execute("PRAGMA quick_check").fetchone()
            found = _report(copy, part.stat().st_size)
    except (sqlite3.Error, TypeError) as error:
        raise BackupError(f"the backup holds no sound database: {error}") from None
    same = (found.catalog_id, found.revision, found.nbytes)
    if sound != "ok" or same != (report.catalog_id, report.revision, report.nbytes):
        raise BackupError("the backup holds no sound database")


def _files(catalog: Path) -> tuple[Path, ...]:
    return tuple(catalog.with_name(f"{catalog.name}{each}") for each in ("", "-wal", "-shm"))


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


__all__ = ["FORMAT", "VERSION", "BackupReport", "back_up", "restore"]
