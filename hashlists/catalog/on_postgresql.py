"""A catalog in PostgreSQL: many hosts, one server.

Readers see one snapshot each (REPEATABLE READ, read-only) and never wait. Writers run in READ
COMMITTED and are kept apart by one lock, the row of `head`:

- Whatever decides or changes what is in force (a commit, retract, restore, purge, a list made or
  changed, an import opened or removed) locks that row first and holds it to its commit. So number
  order is commit order, a second retraction sees what the first has done, and all of them are
  short but for a purge.
- Staging never takes it. Its rows carry the id of an open change, of which a list has one at most,
  so two imports write no common row: entry ids are drawn in a transaction of their own, and equal
  classifications and handlings are interned in one order everywhere. An urgent retraction hence
  waits for other short acts only, and not for any part of an import.
- The lock is taken first or not at all, so that no two transactions wait for each other.

Who stages a change holds an advisory lock of the same session. The server lets go of it the moment
the connection ends, whichever host its process ran on, and without it nothing more can be staged:
so a change whose lock is free is dead. (A pooler that gives every transaction another session
breaks this; see docs/postgresql.md.)

What a purge cannot reach is the server's write-ahead log, its archive, replicas and backups.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Integer,
    LargeBinary,
    SmallInteger,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import NoSuchModuleError

from hashlists.catalog.database import Database
from hashlists.catalog.postgresql_errors import (
    LOCK_TIMEOUT_SECONDS,
    driver_errors,
    scrub,
)
from hashlists.catalog.postgresql_statistics import refresh_statistics
from hashlists.catalog.postgresql_wipe import FOLLOWER, rewrite_tables
from hashlists.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import URL, Connection, Engine, Row, Table

#: Seconds after which the server ends a writer that does nothing, e.g. since its host is gone.
_IDLE_WRITER_SECONDS = 120

_log = logging.getLogger(__name__)

#: For libpq, unless the URL says otherwise: a dead server or network is noticed within a minute.
_CONNECTION_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
    "application_name": "hashwarden",
}
_SESSION = (
    f"SET lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'",
    "SET client_encoding = 'UTF8'",
    "SET jit = off",  # it would compile for longer than any statement here runs
    "SET log_parameter_max_length_on_error = 0",
    # The server lets only superusers set this one for themselves; see docs/postgresql.md.
    (
        "SELECT set_config('log_parameter_max_length', '0', false)"
        " FROM pg_roles WHERE rolname = current_user AND rolsuper"
    ),
)
_LOGS_VALUES = """
    SELECT current_setting('log_parameter_max_length') <> '0'
    AND (
        current_setting('log_statement') IN ('mod', 'all')
        OR current_setting('log_min_duration_statement') <> '-1'
        OR current_setting('log_min_duration_sample') <> '-1'
        OR CAST(current_setting('log_transaction_sample_rate') AS float) > 0
    )
"""
#: For lack of statistics about keys (see migration 0002) the server would read a whole list for
#: every thousand of them; nothing that is staged needs a whole table.
_STAGING_SESSION = ("SET synchronous_commit = off", "SET enable_seqscan = off")
_READ = ("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",)
#: It has time: see `postgresql_wipe`.
_FOLLOW = (*_READ, f"SET LOCAL application_name = '{FOLLOWER}'")
#: Of a writer's transaction. Whoever has others wait reads by index only: without statistics about
#: values, or where it expects a row near the beginning, the server would try the whole table.
_LIMIT_WRITER = (
    f"SELECT set_config('idle_in_transaction_session_timeout', '{_IDLE_WRITER_SECONDS}s', true),"
    " set_config('enable_seqscan', 'off', true)"
)
_LOCK_HEAD = f"{_LIMIT_WRITER} FROM head WHERE head_id = 1 FOR UPDATE"
#: One migration at a time in a database; the number is arbitrary.
_LOCK_MIGRATION = "SELECT pg_advisory_xact_lock(4851725)"


class Postgresql(Database):
    """What the catalog asks of PostgreSQL."""

    def open(self, url: URL, *, make: bool) -> Engine:
        """An engine of psycopg; nothing is connected yet."""
        del make
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_driver_name() != "psycopg":
            raise CatalogError("PostgreSQL is reached with psycopg: use postgresql+psycopg://...")
        if not url.database:
            raise CatalogError("the catalog's URL names no database: postgresql+psycopg://.../name")
        given = {key: value for key, value in _CONNECTION_DEFAULTS.items() if key not in url.query}
        try:
            engine = create_engine(
                url,
                hide_parameters=True,
                pool_pre_ping=True,
                use_native_hstore=False,  # else the server would be asked whether it has that type
                connect_args=given,
            )
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise CatalogError(
                "a catalog in PostgreSQL needs psycopg: pip install 'hashwarden[postgresql]'"
            ) from error
        event.listen(engine, "connect", _prepare_connection)
        event.listen(engine, "first_connect", _warn_of_logged_values)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "handle_error", scrub)
        return engine

    def writer(self, engine: Engine) -> Engine:
        """Its transactions lock the head when they begin."""
        return engine.execution_options(catalog_begins=(_LOCK_HEAD,))

    def stager(self, engine: Engine) -> Engine:
        """Its transactions take no lock when they begin."""
        return engine.execution_options(catalog_begins=(_LIMIT_WRITER,))

    def follower(self, engine: Engine) -> Engine:
        """Its transactions read one snapshot, and tell the server that they have time."""
        return engine.execution_options(catalog_begins=_FOLLOW)

    def migrator(self, engine: Engine) -> Engine:
        """Its transactions hold a lock that needs no table."""
        return engine.execution_options(catalog_begins=(_LOCK_MIGRATION,))

    def staging_connection(self, engine: Engine) -> Connection:
        """Its commits do not wait for the disk."""
        connection = self.stager(engine).connect()
        try:
            for statement in _STAGING_SESSION:
                _outside_transactions(connection, statement)
        except BaseException:
            self.end_staging(connection)
            raise
        return connection

    @property
    def versions_may_come_first(self) -> bool:
        """No: foreign keys are enforced at every statement."""
        return False

    def end_staging(self, connection: Connection) -> None:
        """Ends the session, and with it whatever it holds."""
        if not connection.invalidated:
            connection.invalidate()
        connection.close()

    def take_write_lock(self, connection: Connection) -> None:
        """Locks the head to the end of the transaction."""
        connection.exec_driver_sql(_LOCK_HEAD)

    def make_durable(self, connection: Connection) -> None:
        """The next commit waits for the disk, which gets the log in order."""
        _outside_transactions(connection, "SET synchronous_commit = on")

    def hold_change(self, connection: Connection, catalog_id: str, change_id: int) -> None:
        """Takes the change's advisory lock, to the end of the session."""
        connection.execute(
            text("SELECT pg_advisory_lock(:catalog, :change)"),
            {"catalog": _lock_class(catalog_id), "change": change_id},
        )

    def is_held(
        self, connection: Connection, catalog_id: str, change: Row[Any], *, now: int
    ) -> bool:
        """Whether a living session holds the change's advisory lock."""
        del now
        query = text(
            "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 2"
            " AND classid = CAST(:catalog AS bigint) AND objid = CAST(:change AS bigint)"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        values = {"catalog": _lock_class(catalog_id), "change": change.change_id}
        return connection.execute(query, values).first() is not None

    def logs_values(self, connection: Connection) -> bool:
        """What the server does with the statements of this session."""
        return bool(connection.exec_driver_sql(_LOGS_VALUES).scalar_one())

    def rewrite_files(self, engine: Engine) -> bool:
        """Rewrites every table that a purge deletes from; see `postgresql_wipe`.

        Before each there is a pause, so that followers see what was committed. While a table is
        rewritten followers wait, and the disk must have room for a second copy of it; for anyone
        else it gives way. A table that others are using is waited for a short while only. Rows that
        a transaction begun before may still need are copied along; at the first table where that
        happens it ends, and has to be done again when that transaction has ended. The server
        removes the old files with its next checkpoint. Its write-ahead log keeps what was written
        until it is recycled, as do its archive, replicas and backups.
        """
        return rewrite_tables(_without_transactions(engine))

    def refresh_statistics(self, engine: Engine, rows: int) -> None:
        """Has the server look at the tables; see `postgresql_statistics`."""
        refresh_statistics(_without_transactions(engine), rows)


def _without_transactions(engine: Engine) -> Engine:
    return engine.execution_options(isolation_level="AUTOCOMMIT", catalog_begins=())


def _lock_class(catalog_id: str) -> int:
    """Keeps catalogs of one database apart: 31 bits of the catalog's identity."""
    return int(catalog_id[:8], 16) & 0x7FFFFFFF


def _prepare_connection(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        for statement in _SESSION:
            cursor.execute(statement)
    connection.commit()


def _warn_of_logged_values(connection: Any, _record: object) -> None:
    """Once for each open catalog: whoever reads the server's log must not read hashes there."""
    with connection.cursor() as cursor:
        (logs_values,) = cursor.execute(_LOGS_VALUES).fetchone()
    connection.commit()
    if logs_values:
        _log.warning(
            "the database server writes statements with their values, hashes among them, to its"
            " log: set log_parameter_max_length = 0 for the catalog's user"
        )


def _begin(connection: Connection) -> None:
    for statement in connection.get_execution_options().get("catalog_begins", _READ):
        connection.exec_driver_sql(statement)


def _outside_transactions(connection: Connection, statement: str) -> None:
    driver: Any = connection.connection.dbapi_connection
    with driver_errors():
        with driver.cursor() as cursor:
            cursor.execute(statement)
        driver.commit()


# Bulk


def copy_rows(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Iterable[tuple[Any, ...]],
    *,
    unless: Sequence[str] = (),
) -> int:
    """Inserts rows with COPY; rows that conflict in the columns `unless` are left out.

    Those go through a temporary table of the session, since COPY itself would fail at the first.

    Returns:
        How many rows went in.

    Raises:
        CatalogError: the database failed.
    """
    names = ", ".join(columns)
    into = table.name
    if unless:
        into = f"incoming_{table.name}"
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS {into} (LIKE {table.name}) ON COMMIT DELETE ROWS"
        )
    types = [_type_name(table.c[name].type) for name in columns]
    driver: Any = connection.connection.dbapi_connection
    with driver_errors(), driver.cursor() as cursor:
        with cursor.copy(f"COPY {into} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)
        if not unless:
            return int(cursor.rowcount)
    moved = connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {into}"  # noqa: S608 - our names
        f" ON CONFLICT ({', '.join(unless)}) DO NOTHING"
    )
    connection.exec_driver_sql(f"TRUNCATE {into}")
    return int(moved.rowcount)


#: The more particular ones first: `SmallInteger` is an `Integer`.
_TYPE_NAMES = (
    (SmallInteger, "int2"),
    (BigInteger, "int8"),
    (Integer, "int4"),
    (LargeBinary, "bytea"),
)


def _type_name(type_: Any) -> str:
    """PostgreSQL's name of a column's type, as binary COPY has to be told it."""
    for kind, name in _TYPE_NAMES:
        if isinstance(type_, kind):
            return name
    return "text"
