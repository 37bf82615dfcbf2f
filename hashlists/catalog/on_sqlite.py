"""A catalog in SQLite: one file of one host.

Invariants: every connection wipes what it deletes, waits for a lock rather than failing at once,
and enforces foreign keys, but for one that stages; a reader's transaction is one snapshot; a writer
takes the write lock when it begins, never half-way. No connection is used, and no change is
committed, once another file is in the place of the one that was opened, or none: what is read there
would be out of date, and what is written lost.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event
from sqlalchemy.exc import DisconnectionError

from hashlists.catalog.clear_copies import remove_left
from hashlists.catalog.database import Database
from hashlists.catalog.owner import is_alive
from hashlists.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import URL, Connection, Engine, Row

#: Seconds to wait for another writer. Staging transactions last some tenths of a second.
BUSY_TIMEOUT_SECONDS = 30
_PAGE_BYTES = 8192
_CACHE_KIB = 16 * 1024
_STAGING_CACHE_KIB = 48 * 1024
_CHECKPOINT_PAGES = 4_000
_STAGING_CHECKPOINT_PAGES = 8_000
_WAL_KEPT_BYTES = 64 * 1024 * 1024

#: Held until a new file is closed, so that no thread hands it to SQLite before.
_CREATING = threading.Lock()

_USE_LOG = "PRAGMA journal_mode = WAL"
_RETRY_SECONDS = 0.01
#: Where a connection keeps which file it has opened.
_PLACE = "place"
_MOVED = "was moved away or replaced"
#: Before each further attempt at a step of wiping; readers in the way are mostly gone by then.
_PAUSES_SECONDS = (0.1, 0.5, 1.0, 2.0)

#: Page size comes first: it counts only while the file is empty.
_PRAGMAS = (
    f"PRAGMA page_size = {_PAGE_BYTES}",
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000}",
    _USE_LOG,
    "PRAGMA synchronous = FULL",  # a revision that was reported survives a power cut
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA temp_store = MEMORY",  # no hash in a temporary file
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_PAGES}",
    f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}",
)


class Sqlite(Database):
    """What the catalog asks of SQLite."""

    def open(self, url: URL, *, make: bool) -> Engine:
        """An engine for a file, which is made with its folder if it is missing."""
        _require_private_file(url, make=make)
        engine = create_engine(
            url, hide_parameters=True, connect_args={"timeout": BUSY_TIMEOUT_SECONDS}
        )
        event.listen(engine, "do_connect", _open_existing)
        event.listen(engine, "connect", _prepare_connection)
        event.listen(engine, "connect", _check_opened)
        event.listen(engine, "checkout", _check_out)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "commit", _check_place)
        return engine

    def writer(self, engine: Engine) -> Engine:
        """Its transactions take the write lock when they begin."""
        return engine.execution_options(catalog_writes=True)

    def stager(self, engine: Engine) -> Engine:
        """In SQLite whoever writes has the write lock."""
        return self.writer(engine)

    def follower(self, engine: Engine) -> Engine:
        """Any reader serves: none of them keeps a writer waiting."""
        return engine

    def migrator(self, engine: Engine) -> Engine:
        """The write lock does for migrations too."""
        return self.writer(engine)

    def staging_connection(self, engine: Engine) -> Connection:
        """In `synchronous = NORMAL`, with a larger cache, and no row looked up for each other.

        A change writes all entries of its versions before it ends, and whoever could delete what it
        refers to waits for that end. Its commit is checked again: see `make_durable`.
        """
        connection = self.writer(engine).connect()
        connection.detach()
        _pragmas(
            connection,
            "PRAGMA synchronous = NORMAL",
            "PRAGMA foreign_keys = OFF",
            f"PRAGMA cache_size = -{_STAGING_CACHE_KIB}",
            f"PRAGMA wal_autocheckpoint = {_STAGING_CHECKPOINT_PAGES}",
        )
        return connection

    @property
    def versions_may_come_first(self) -> bool:
        """Yes: foreign keys are not enforced meanwhile."""
        return True

    def end_staging(self, connection: Connection) -> None:
        """It is outside the pool already."""
        connection.close()

    def take_write_lock(self, connection: Connection) -> None:
        """Does nothing: every writing transaction has it from its beginning."""

    def make_durable(self, connection: Connection) -> None:
        """The next commit reaches the disk, with all that the log holds before it."""
        _pragmas(connection, "PRAGMA synchronous = FULL", "PRAGMA foreign_keys = ON")

    def hold_change(self, connection: Connection, catalog_id: str, change_id: int) -> None:
        """Does nothing: the owner's name in the row tells who stages."""

    def is_held(
        self, connection: Connection, catalog_id: str, change: Row[Any], *, now: int
    ) -> bool:
        """Whether the process that opened it lives; see `owner`."""
        del connection, catalog_id
        return is_alive(change.owner, heartbeat_at=change.heartbeat_at, now=now)

    def logs_values(self, connection: Connection) -> bool:
        """No: there is no server."""
        del connection
        return False

    def rewrite_files(self, engine: Engine) -> bool:
        """Rewrites the database without any trace of what was deleted, and truncates its log.

        `secure_delete` alone does not do: when SQLite moves rows between pages, a copy of a row may
        stay in the unused part of a page and outlive the row. Writers wait meanwhile, and the disk
        must have room for a second copy. Its temporary file holds what is left, and lies beside the
        catalog, in the same private folder.

        Returns:
            False when a reader still needs the old pages, a writer or a backup was in the way, or
            the disk is full: then traces are left, and it must be done again.
        """
        with engine.connect() as connection:
            connection.detach()  # what is set here must not reach the pool
            folder = Path(engine.url.database or "").absolute().parent
            quoted = str(folder).replace("'", "''")
            try:
                _pragmas(
                    connection,
                    f"PRAGMA temp_store_directory = '{quoted}'",
                    "PRAGMA temp_store = FILE",  # in memory it would take a whole copy
                )
                return (
                    _tried_again(lambda: _vacuum(connection))
                    and _tried_again(lambda: _truncate_log(connection))
                    and _tried_again(lambda: remove_left(folder))
                )
            except sqlite3.Error as error:
                raise CatalogError(explain(str(error))) from error

    def refresh_statistics(self, engine: Engine, rows: int) -> None:
        """Does nothing: its plans do not depend on how much there is."""


def _tried_again(step: Callable[[], bool]) -> bool:
    """Whether a step was done in the end; only who is in the way is waited for."""
    for seconds in (0.0, *_PAUSES_SECONDS):
        time.sleep(seconds)
        try:
            if step():
                return True
        except sqlite3.OperationalError as error:
            if not _is_locked(str(error)):
                return False
    return False


def _vacuum(connection: Connection) -> bool:
    _pragmas(connection, "VACUUM")
    return True


def _truncate_log(connection: Connection) -> bool:
    row = _pragmas(connection, "PRAGMA wal_checkpoint(TRUNCATE)")
    return row is not None and row[0] == 0


def _require_private_file(url: URL, *, make: bool) -> None:
    if not url.database or url.database == ":memory:":
        raise CatalogError("the catalog needs a file, e.g. sqlite:///catalog.db")
    path = Path(url.database)
    try:
        if make:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(path)
        usable = stat.S_ISREG(path.stat().st_mode) and os.access(path, os.R_OK | os.W_OK)
    except OSError as error:
        raise CatalogError(f"the catalog's file cannot be opened: {error.strerror}") from error
    if not usable:
        raise CatalogError(
            "the catalog's file cannot be opened: it is no file that this user may read and write"
        )


def _create(path: Path) -> None:
    """Makes an empty private file, and never opens one that exists.

    Closing any descriptor of a file drops every POSIX lock that the process has on it, also those
    of SQLite; another process may then delete the log that this one goes on writing to.
    """
    with _CREATING, suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


@dataclass(frozen=True, slots=True)
class _Place:
    """A file's place, and which file was there: device and number, or None where none was."""

    path: str
    file: tuple[int, int] | None

    @classmethod
    def look(cls, path: str) -> _Place:
        try:
            found = os.stat(path)  # noqa: PTH116 - for every transaction
        except OSError:
            return cls(path, None)
        return cls(path, (found.st_dev, found.st_ino))

    def is_left(self) -> bool:
        return self.look(self.path) != self


def _open_existing(_dialect: object, record: Any, arguments: Any, options: Any) -> None:
    """Has the connection fail where the file is missing; SQLite would make an empty one."""
    path = str(Path(arguments[0]).absolute())
    record.info[_PLACE] = _Place.look(path)
    arguments[0] = f"{Path(path).as_uri()}?mode=rw"
    options["uri"] = True


def _check_opened(_connection: object, record: Any) -> None:
    """Else it is not known which file was opened."""
    if record.info[_PLACE].is_left():
        raise sqlite3.OperationalError(_MOVED)


def _check_out(_connection: object, record: Any, _fairy: object) -> None:
    """Has the pool open the file anew where it is another one."""
    if record.info[_PLACE].is_left():
        raise DisconnectionError(_MOVED)


def _check_place(connection: Connection) -> None:
    if connection.info[_PLACE].is_left():
        raise CatalogError(f"the catalog's file {_MOVED}; nothing was changed: try again")


def _prepare_connection(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, nowhere else
    for pragma in _PRAGMAS:
        if pragma == _USE_LOG:
            _use_log(connection)
        else:
            connection.execute(pragma).close()


def _use_log(connection: Any) -> None:
    """Where two connections make a new file's log at once, SQLite fails one without waiting."""
    give_up = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            connection.execute(_USE_LOG).close()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > give_up:
                raise
            time.sleep(_RETRY_SECONDS)
        else:
            return


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("catalog_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _pragmas(connection: Connection, *pragmas: str) -> tuple[int, ...] | None:
    # On the driver's connection, since a pragma inside a transaction would be refused or ignored.
    cursor = connection.connection.cursor()
    row: tuple[int, ...] | None = None
    for pragma in pragmas:
        row = cursor.execute(pragma).fetchone()
    cursor.close()
    return row


def _is_locked(message: str) -> bool:
    return "locked" in message or "busy" in message


def explain(message: str) -> str:
    """What to do about an error, from SQLite's own words, which carry no value."""
    if "is full" in message:
        return "the disk is full, or the catalog has reached its size limit; nothing was changed"
    if _is_locked(message):
        return (
            f"another process kept the catalog locked for {BUSY_TIMEOUT_SECONDS} s;"
            " try again, and look for a stuck process"
        )
    if "unable to open" in message or _MOVED in message:
        return (
            "the catalog's file is away, or may not be read and written; put it back in its place"
        )
    if "not a database" in message or "malformed" in message:
        return "the catalog's file is damaged or is no catalog; restore it from a backup"
    return f"the catalog cannot be used: {message}"
