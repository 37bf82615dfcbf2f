"""The file of a state: made whole or not at all, refused where it is another's, errors as ours."""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from hashlists.catalog.engine import open_engine, writer
from hashlists.errors import CatalogError
from matcher.scan.errors import StateError
from matcher.scan.state import schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

FILE_NAME: Final = "state.db"
_PART: Final = ".state-"
#: The log has names of objects that were planned, finished ones among them: it is kept short.
_LOG_PAGES: Final = 256
_LOG_BYTES: Final = 2 * 1024 * 1024
#: For a reader or writer to be out of the way of who empties the log.
_EMPTYING_SECONDS: Final = 2.0
DAMAGED: Final = (
    "the state of the scan (state.db) is damaged; put a copy of it back, or scan again into "
    "another folder"
)


def make_folder(folder: Path) -> None:
    """A folder of its own for a scan, for its owner alone.

    Raises:
        StateError: it cannot be made, is another's, or holds a scan or something else.
    """
    with _system_errors(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_free(folder)
        folder.chmod(0o700)


def require_free(folder: Path) -> None:
    """Refuses a folder that is no place for a new scan; one that is not there is.

    Raises:
        StateError: it is no folder or cannot be read, or holds a scan or something else.
    """
    with _system_errors(folder):
        there = {each.name for each in folder.iterdir()} if folder.exists() else set()
        if FILE_NAME in there:
            raise StateError(
                f"{folder}: holds a scan already; go on with it by --resume, or choose another "
                "folder"
            )
        if any(not each.startswith((_PART, "state.lock")) for each in there):
            raise StateError(f"{folder}: is not empty; choose a new folder for the scan's output")


def make_database(folder: Path, fill: Callable[[Connection], None]) -> None:
    """Makes the state of a new scan; by who holds the lock. A kill leaves it whole or away.

    Args:
        folder: of `make_folder`.
        fill: writes the first rows.

    Raises:
        StateError: it cannot be written.
    """
    with _system_errors(folder):
        for left in folder.glob(f"{_PART}*"):
            left.unlink()
        part = folder / f"{_PART}{secrets.token_hex(8)}"
        try:
            _write(part, fill)
            part.rename(folder / FILE_NAME)
        finally:
            for left in folder.glob(f"{part.name}*"):
                left.unlink()
        _sync(folder)


def open_database(folder: Path) -> Engine:
    """The state in a folder.

    Raises:
        StateError: there is none, or it is another's, of a newer build, or damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise StateError(f"{folder}: holds no scan; name the folder that --output named")
    with state_errors():
        _require_ours(path)
        engine = open_engine(f"sqlite:///{path.absolute()}", make=False)
        event.listen(engine, "connect", _keep_log_short)
        return engine


def empty_log(engine: Engine) -> bool:
    """Takes the log over into the file, and empties it; by who holds the lock, between two writes.

    Returns:
        False where a reader is in the way, or the disk is full: then it stays as it was.
    """
    with state_errors(), engine.connect() as connection:
        connection.detach()  # what is set here must not reach the pool
        cursor = connection.connection.cursor()
        try:
            cursor.execute(f"PRAGMA busy_timeout = {round(_EMPTYING_SECONDS * 1000)}")
            (busy, _, _) = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:
            return False  # it says what is wrong to who writes next
        finally:
            cursor.close()
    return not busy


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One read transaction."""
    with state_errors(), engine.connect() as connection:
        yield connection


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One writer's transaction: all of it or nothing is written."""
    with state_errors(), writer(engine).begin() as connection:
        yield connection


@contextlib.contextmanager
def state_errors() -> Iterator[None]:
    """Errors of the database as this package's; none tells a value."""
    try:
        yield
    except DBAPIError as error:
        raise StateError(_explain(str(error.orig))) from error
    except sqlite3.Error as error:
        raise StateError(_explain(str(error))) from error
    except CatalogError as error:
        raise StateError(
            "the state of the scan was moved away or replaced, or cannot be opened; nothing was "
            "changed"
        ) from error
    except SQLAlchemyError as error:
        bug = f"this is a bug ({type(error).__name__}); please report it"
        raise StateError(f"the state of the scan cannot be used: {bug}") from error


def _write(path: Path, fill: Callable[[Connection], None]) -> None:
    engine = open_engine(f"sqlite:///{path.absolute()}")
    try:
        with writing(engine) as connection:
            connection.exec_driver_sql(f"PRAGMA application_id = {schema.APPLICATION_ID}")
            connection.exec_driver_sql(f"PRAGMA user_version = {schema.SCHEMA_VERSION}")
            schema.metadata.create_all(connection)
            fill(connection)
    finally:
        engine.dispose()
    if path.with_name(f"{path.name}-wal").exists():  # it could not be taken over into the file
        raise StateError(_explain("is full"))
    _sync(path)


def _require_ours(path: Path) -> None:
    """Asked of SQLite, which would lose its locks if we opened the file ourselves."""
    source = f"{path.absolute().as_uri()}?mode=ro"
    with contextlib.closing(sqlite3.connect(source, uri=True)) as connection:
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != schema.APPLICATION_ID:
        raise StateError(f"{path}: is a database, but not the state of a scan; nothing was changed")
    if version != schema.SCHEMA_VERSION:
        raise StateError(f"{path}: is of another build; install the newer Hashwarden")


def _keep_log_short(connection: Any, _record: object) -> None:
    connection.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}").close()
    connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}").close()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _system_errors(folder: Path) -> Iterator[None]:
    try:
        with state_errors():
            yield
    except OSError as error:
        raise StateError(f"{folder}: cannot be written: {error.strerror or error}") from error


def _explain(message: str) -> str:
    """What to do about an error, from SQLite's own words, which carry no value."""
    if "is full" in message:
        return (
            "the disk is full; what was finished stays so, and nothing else was written: make "
            "room, and go on with --resume"
        )
    if "locked" in message or "busy" in message:
        return "another process keeps the state of the scan locked; look for a stuck process"
    if "not a database" in message or "malformed" in message:
        return DAMAGED
    if "readonly" in message or "unable to open" in message:
        return "the state of the scan may not be read and written by this user, or is away"
    return f"the state of the scan cannot be used: {message}"


__all__ = [
    "DAMAGED",
    "FILE_NAME",
    "empty_log",
    "make_database",
    "make_folder",
    "open_database",
    "reading",
    "require_free",
    "state_errors",
    "writing",
]
