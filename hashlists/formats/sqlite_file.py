"""Opens a foreign SQLite file and reads named columns of one table: the one home of doing so.

A database file is a program as well: triggers, views, generated columns and virtual tables run
what their maker wrote, and pages may be made to lead in circles. So of such a file nothing is run:

- it is opened read-only and immutable, with an untrusted schema, and nothing beside it is read;
- an authorizer lets the statements of this module read the columns that they name, and nothing
  else: no function, no view, no second table, no change;
- a table is read only where it is an ordinary one and its columns are stored ones; a file with
  triggers is refused; views are never read, whatever they are called;
- no value is longer than a record may be; rows come in ascending order, and no more of them
  than the file has room for; the steps for each batch are counted. All of it is a `FormatError`.

A file that is still written to is not what it seems without its log or journal, so one that has
such a companion beside it is refused. One that is shorter than its head says was cut off.
Messages name the fault, never a text of the file.
"""

from __future__ import annotations

import operator
import os
import sqlite3
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final
from urllib.parse import quote
from weakref import finalize

from hashlists.errors import FormatError
from hashlists.formats.advice import GET_AGAIN, INSPECT
from hashlists.formats.unpacking import descriptor_of, named
from hashlists.model import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from hashlists.limits import ImportLimits

MAGIC: Final = b"SQLite format 3\x00"
#: A row takes at least this much of its page, so a file has room for no more rows than that.
_LEAST_ROW_BYTES: Final = 4
_HEAD_BYTES: Final = 100
_STEPS_AT_A_TIME: Final = 100_000
#: Steps of SQLite's machine for one batch; a batch of 1,024 ordinary rows takes some 10,000.
_STEPS_PER_BATCH: Final = 50_000_000
_SCHEMA_TABLE: Final = "sqlite_master"
#: Names of a row's own number, as far as no column takes one of them for itself.
_ROWIDS: Final = ("rowid", "_rowid_", "oid")
_COMPANIONS: Final = ("-wal", "-journal")
_LIMITS: Mapping[int, int] = {
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 1024 * 1024,
    sqlite3.SQLITE_LIMIT_COLUMN: 1000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 100,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 16,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_PROBLEMS: Mapping[str, str] = {
    "SQLITE_NOTADB": f"the file is no SQLite database, or is encrypted; {INSPECT}",
    "SQLITE_TOOBIG": "a value is longer than any record may be; this is no set of hashes",
    "SQLITE_INTERRUPT": "reading takes more steps than so few rows can need; the file is damaged",
    "SQLITE_AUTH": "reading it would run what the file brings along, which is never done",
    "SQLITE_CANTOPEN": "the file cannot be opened as a database",
    "SQLITE_IOERR": "the file cannot be read",
    "SQLITE_NOMEM": "SQLite needs more memory for it than there is",
}
_DAMAGED: Final = f"the database is damaged; {GET_AGAIN}"

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """An ordinary table of the file.

    Attributes:
        name: as the file writes it.
        columns: its stored columns, by their names in lower case, as the file writes them.
        rowid: name under which a row's own number goes; empty where rows have none.
    """

    name: str
    columns: Mapping[str, str]
    rowid: str


class _Guard:
    """Decides what a statement may read and how long it may take.

    It knows nothing of the connection that asks it: the two could not be freed otherwise.

    Attributes:
        readable: tables and columns of the present query.
        steps: of SQLite's machine since the last batch.
    """

    def __init__(self) -> None:
        self.readable: frozenset[tuple[str, str]] = frozenset()
        self.steps = 0

    def count_steps(self) -> int:
        """Ends a query that takes too many steps."""
        self.steps += _STEPS_AT_A_TIME
        return int(self.steps > _STEPS_PER_BATCH)

    def authorize(
        self,
        action: int,
        first: str | None,
        second: str | None,
        database: str | None,
        source: str | None,
    ) -> int:
        """Allows a plain reading of the columns that the present query names."""
        if action == sqlite3.SQLITE_SELECT and source is None:
            return sqlite3.SQLITE_OK
        # For a table of which no column is needed, SQLite asks for one without a name.
        readable = action == sqlite3.SQLITE_READ and source is None
        readable = readable and (database == "main" or not second)
        if readable and (first or "", second or "") in self.readable:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_PRAGMA and first == "table_xinfo":
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY


class SqliteFile:
    """A foreign database, opened for reading one table at a time.

    Args:
        stream: the file; what is packed or in memory is written to a file without a name first.
        limits: of the import.

    Attributes:
        length: bytes of the file.

    Raises:
        FormatError: it is no SQLite database, or is cut off, damaged, in use, or holds triggers.
    """

    def __init__(self, stream: BinaryIO, limits: ImportLimits) -> None:
        stream.seek(0)
        head = stream.read(_HEAD_BYTES)
        if not head.startswith(MAGIC):
            raise FormatError(
                f"the file is no SQLite database, for it does not begin as one does; {INSPECT}"
            )
        self.length = os.fstat(descriptor_of(stream)).st_size
        _check_head(head, self.length)
        self._limits = limits
        self._guard = _Guard()
        with _told(None), named(stream) as path:
            _refuse_companions(path)
            self._connection = _connect(path)
            finalize(self, self._connection.close)
            self._set_limits()
            self._ordinary, self._others = self._read_schema()

    def table(self, name: str) -> Table | None:
        """An ordinary table by its name, in any case; None where there is none."""
        own_name = self._ordinary.get(name.lower())
        if own_name is None:
            return None
        with _told(None):
            return self._describe(own_name)

    def has_other(self, name: str) -> bool:
        """Whether something that is no ordinary table, such as a view, goes by that name."""
        return name.lower() in self._others

    def last_rowid(self, table: Table) -> int:
        """The highest number of a row, for progress; 0 where rows have none."""
        if not table.rowid:
            return 0
        with _told(None):
            statement = f'SELECT {table.rowid} FROM "{table.name}" ORDER BY 1 DESC LIMIT 1'  # noqa: S608  # checked name
            row = self._query(statement, table.name, _all_columns(table))
            found = row.fetchone()
        return found[0] if found is not None and isinstance(found[0], int) else 0

    def rows(self, table: Table, columns: Sequence[str]) -> Iterator[list[Row]]:
        """Rows in batches; of each the number of the row (0 without) and the named columns.

        Texts come as one character for each byte, which is right for digits.

        Raises:
            FormatError: the file is damaged, or made to mislead.
        """
        number = table.rowid or "0"
        wanted = ", ".join(f'"{column}"' for column in columns)
        statement = f'SELECT {number}, {wanted} FROM "{table.name}" NOT INDEXED'  # noqa: S608  # checked
        most, taken, last = self.length // _LEAST_ROW_BYTES, 0, -(2**63) - 1
        with _told(None):
            cursor = self._query(statement, table.name, _all_columns(table))
        while True:
            self._guard.steps = 0
            with _told(Place("row", taken + 1)):
                batch = cursor.fetchmany(self._limits.max_batch_rows)
            if not batch:
                return
            numbers = [last, *(row[0] for row in batch)]
            last = numbers[-1]
            taken += len(batch)
            ascend = not table.rowid or all(map(operator.lt, numbers, numbers[1:]))
            if taken > most or not ascend:
                raise FormatError(
                    "the table's pages lead in circles: rows come again, or more of them than a "
                    "file of this length has room for; it is damaged, or made to mislead",
                    place=Place("row", taken),
                )
            yield batch

    def close(self) -> None:
        """Lets go of the file."""
        self._connection.close()

    def _set_limits(self) -> None:
        """Sets all limits; from here on nothing may be read but what a query here names."""
        connection = self._connection
        for pragma in ("trusted_schema = OFF", "query_only = ON", "cell_size_check = ON"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("PRAGMA mmap_size = 0")
        for limit, most in _LIMITS.items():
            connection.setlimit(limit, most)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, self._limits.max_record_bytes)
        connection.text_factory = partial(str, encoding="latin-1")
        connection.set_progress_handler(self._guard.count_steps, _STEPS_AT_A_TIME)
        connection.set_authorizer(self._guard.authorize)

    def _query(self, statement: str, table: str, columns: Sequence[str]) -> sqlite3.Cursor:
        self._guard.steps = 0
        self._guard.readable = frozenset((table, column) for column in columns)
        return self._connection.execute(statement)

    def _read_schema(self) -> tuple[Mapping[str, str], frozenset[str]]:
        """Ordinary tables, by their names in lower case, and what else goes by a name.

        Raises:
            FormatError: there are triggers.
        """
        statement = f"SELECT type, name, rootpage, sql FROM {_SCHEMA_TABLE}"  # noqa: S608  # constant
        columns = ("type", "name", "rootpage", "sql")
        cursor = self._query(statement, _SCHEMA_TABLE, columns)
        listed = cursor.fetchmany(self._limits.max_batch_objects)
        triggers = sum(kind == "trigger" for kind, *_ in listed)
        if triggers:
            raise FormatError(
                f"the database holds {triggers} trigger{'s' if triggers > 1 else ''}, which no "
                "published set of hashes has; nothing of it was run. If you know whose they are, "
                "copy the tables alone into a new database and import that"
            )
        tables, others = {}, set()
        for kind, name, root, _ in listed:
            if not isinstance(name, str) or kind not in ("table", "view"):
                continue
            # What is computed when it is read has no page of its own: views and virtual tables.
            if kind == "table" and root and '"' not in name:
                tables[name.lower()] = name
            else:
                others.add(name.lower())
        return tables, frozenset(others)

    def _describe(self, name: str) -> Table:
        """The columns of a table that are stored as they are; computed ones are left out."""
        described = self._connection.execute(f'PRAGMA table_xinfo("{name}")').fetchall()
        columns = {
            column.lower(): column
            for _, column, _, _, _, _, hidden in described
            if not hidden and '"' not in column
        }
        alias = next((each for each in _ROWIDS if each not in columns), "")
        table = Table(name, columns, alias)
        try:
            self._query(f'SELECT {alias} FROM "{name}" LIMIT 0', name, _all_columns(table))  # noqa: S608  # checked name
        except sqlite3.OperationalError:
            return replace(table, rowid="")
        return table


def _all_columns(table: Table) -> Sequence[str]:
    """The stored columns, the number of a row as SQLite calls it, and no column at all."""
    return ("", "ROWID", *table.columns.values())


def _check_head(head: bytes, length: int) -> None:
    """Compares what the file says of itself with its length."""
    if len(head) < _HEAD_BYTES:
        raise FormatError(f"the file ends inside its head; it was cut off: {GET_AGAIN}")
    page = int.from_bytes(head[16:18], "big")
    page = 65536 if page == 1 else page
    if page < 512 or page & (page - 1):  # noqa: PLR2004  # the least size of a page
        raise FormatError(_DAMAGED)
    pages = int.from_bytes(head[28:32], "big")
    is_count_valid = head[24:28] == head[92:96]
    if length % page or (is_count_valid and pages * page > length):
        raise FormatError(
            f"the file has {length} bytes, which is less than its head says, or ends inside a page:"
            f" it was cut off: {GET_AGAIN}"
        )


def _refuse_companions(path: Path) -> None:
    for suffix in _COMPANIONS:
        beside = path.with_name(path.name + suffix)
        with suppress(OSError):
            if beside.stat().st_size:
                raise FormatError(
                    f"beside the database lies its {suffix[1:]} file: a program has it open, or"
                    " ended early, and what it wrote last is not in the database. Close that"
                    " program, or open the database once with sqlite3, and import it then"
                )


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro&immutable=1",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
    )


@contextmanager
def _told(place: Place | None) -> Iterator[None]:
    """Turns SQLite's errors into ours; their own texts may repeat what the file holds."""
    try:
        yield
    except (sqlite3.Error, UnicodeError) as error:  # the latter where a message is no UTF-8
        name = getattr(error, "sqlite_errorname", "") or ""
        known = next((text for key, text in _PROBLEMS.items() if name.startswith(key)), _DAMAGED)
        raise FormatError(known, place=place) from None


__all__ = ["MAGIC", "Row", "SqliteFile", "Table"]
