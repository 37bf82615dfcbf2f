"""Opens the database, in SQLite or PostgreSQL, and keeps its errors inside this package.

Invariants: a reader's transaction is one snapshot; a writer holds the catalog's write lock from
the beginning of its transaction to the commit; database errors leave this package only as
`CatalogError`, and no error text carries a bound value. What differs between databases is behind
`database.Database`.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy import event, insert, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from hashlists.catalog import on_postgresql, on_sqlite, postgresql_errors
from hashlists.catalog.records import require_id
from hashlists.catalog.schema import CATALOG_ID_NAME
from hashlists.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Engine, MetaData, Row

    from hashlists.catalog.database import Database

_DATABASES: dict[str, Database] = {
    "sqlite": on_sqlite.Sqlite(),
    "postgresql": on_postgresql.Postgresql(),
}
_EXAMPLES = "use e.g. sqlite:///catalog.db or postgresql+psycopg://user@host/database"


def open_engine(url: str, *, make: bool = True) -> Engine:
    """Returns an engine for `url`; an SQLite file and its folder are made if they are missing.

    Args:
        url: of the database.
        make: False for an error where the file is missing.

    Raises:
        CatalogError: the URL is unusable, or its file is missing or cannot be made.
    """
    parsed, name = None, ""
    with suppress(ArgumentError, ValueError):
        parsed = make_url(url)
        name = parsed.get_backend_name()
    if parsed is None:  # told outside, so that the error does not carry the URL with a password
        raise CatalogError(f"the catalog's URL is not valid; {_EXAMPLES}")
    if name not in _DATABASES:
        raise CatalogError(f"a catalog is kept in SQLite or PostgreSQL; {_EXAMPLES}")
    with suppress(ArgumentError):  # e.g. a port that is no number
        return _DATABASES[name].open(parsed, make=make)
    raise CatalogError(f"the catalog's URL is not valid; {_EXAMPLES}")


def stay_with(engine: Engine, catalog_id: str) -> None:
    """Has each new connection fail with an `OtherCatalogError` where it reaches another catalog."""

    def check(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute(f"SELECT value FROM meta WHERE name = '{CATALOG_ID_NAME}'")  # noqa: S608 - a constant
            row = cursor.fetchone()
            cursor.close()
            connection.rollback()
            require_id("" if row is None else bytes(row[0]).hex(), catalog_id)
        except BaseException:
            connection.close()
            raise

    event.listen(engine, "connect", check)


def writer(engine: Engine) -> Engine:
    """The same engine, whose transactions take the write lock when they begin."""
    return _database(engine).writer(engine)


def stager(engine: Engine) -> Engine:
    """The same engine, whose transactions write what no reader sees yet: no lock where possible."""
    return _database(engine).stager(engine)


def follower(engine: Engine) -> Engine:
    """The same engine, for readers who look again and again: a wipe does not end for them."""
    return _database(engine).follower(engine)


def migrator(engine: Engine) -> Engine:
    """The same engine, for one migration at a time."""
    return _database(engine).migrator(engine)


def staging_connection(engine: Engine) -> Connection:
    """A connection of its own for bulk staging, that `end_staging` must be called for."""
    return _database(engine).staging_connection(engine)


def versions_may_come_first(engine: Engine) -> bool:
    """Whether a staging connection may write versions before their entries."""
    return _database(engine).versions_may_come_first


def end_staging(connection: Connection) -> None:
    """Closes a staging connection for good."""
    _database(connection).end_staging(connection)


def take_write_lock(connection: Connection) -> None:
    """Makes this transaction of a staging connection a writer's; it must be its first act."""
    _database(connection).take_write_lock(connection)


def make_durable(connection: Connection) -> None:
    """The next commit of a staging connection reaches the disk, with all before it."""
    _database(connection).make_durable(connection)


def hold_change(connection: Connection, catalog_id: str, change_id: int) -> None:
    """Shows others that the owner of this staging connection lives, as long as it does."""
    _database(connection).hold_change(connection, catalog_id, change_id)


def is_held(connection: Connection, catalog_id: str, change: Row[Any], *, now: int) -> bool:
    """Whether the owner of an open change may still be staging."""
    return _database(connection).is_held(connection, catalog_id, change, now=now)


def logs_values(connection: Connection) -> bool:
    """Whether a server writes the values of statements to its log."""
    return _database(connection).logs_values(connection)


def rewrite_files(engine: Engine) -> bool:
    """Rewrites the database's files without a trace of what was deleted; see `Database`."""
    return _database(engine).rewrite_files(engine)


def refresh_statistics(engine: Engine, rows: int) -> None:
    """Has the planner know of what a committed change of so many rows brought, if it is much."""
    _database(engine).refresh_statistics(engine, rows)


def _database(bound: Engine | Connection) -> Database:
    return _DATABASES[bound.dialect.name]


@contextmanager
def catalog_errors() -> Iterator[None]:
    """Turns every database error into a `CatalogError` that says what to do."""
    try:
        yield
    except DBAPIError as error:
        if hasattr(error.orig, "sqlstate"):
            raise postgresql_errors.as_catalog_error(error.orig) from error
        raise CatalogError(on_sqlite.explain(str(error.orig))) from error
    except PoolTimeoutError as error:
        raise CatalogError("every connection to the catalog is in use; try again") from error
    except SQLAlchemyError as error:
        bug = f"this is a bug ({type(error).__name__}); please report it"
        raise CatalogError(f"the catalog cannot be used: {bug}") from error


def make_tables(
    engine: Engine,
    metadata: MetaData,
    *,
    version: tuple[str, bytes],
    head: Mapping[str, Any],
    foreign: Exception,
    newer: Exception,
) -> None:
    """Makes the tables of a database that stands beside the catalog, where there are none.

    Args:
        engine: of `open_engine`.
        metadata: the tables, among them `meta` (`name`, `value`) and `head`, which has one row.
        version: name and value of the row of `meta` that tells the build.
        head: that row.
        foreign: raised where the database holds something else.
        newer: raised where another build made it.
    """

    def is_made(connection: Connection) -> bool:
        present = set(inspect(connection).get_table_names())
        if not present:
            return False
        if not present >= set(metadata.tables):
            raise foreign
        found = select(meta.c.value).where(meta.c.name == version[0])
        if connection.execute(found).scalar() != version[1]:
            raise newer
        return True

    meta = metadata.tables["meta"]
    with engine.connect() as connection:
        made = is_made(connection)
    if not made:
        with migrator(engine).begin() as connection:
            if not is_made(connection):
                metadata.create_all(connection)
                connection.execute(insert(meta).values(name=version[0], value=version[1]))
                connection.execute(insert(metadata.tables["head"]).values(**head))
