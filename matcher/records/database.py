"""The database behind the store: it is made where there is none, and its errors told as ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, inspect, select
from sqlalchemy.dialects import postgresql, sqlite

from hashlists.catalog.engine import catalog_errors, migrator, open_engine, writer
from hashlists.errors import CatalogError
from matcher.errors import MatchRecordsError
from matcher.records import schema

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sqlalchemy import Connection, Engine, Table


def open_database(url: str) -> Engine:
    """The database at an SQLAlchemy URL, made where there is none.

    Raises:
        MatchRecordsError: it cannot be opened, holds something else, or is of a newer build.
    """
    with store_errors():
        engine = open_engine(url)
        try:
            _make(engine)
        except BaseException:
            engine.dispose()
            raise
        return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One read transaction."""
    with store_errors(), engine.connect() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One writer's transaction."""
    with store_errors(), writer(engine).begin() as connection:
        yield connection


def insert_or_ignore(connection: Connection, table: Table, row: Mapping[str, Any]) -> int | None:
    """Inserts a row unless it is there.

    Returns:
        What its first column became; None where the row was there.
    """
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    first = next(iter(table.columns))
    query = dialect.insert(table).on_conflict_do_nothing().returning(first)
    became: int | None = connection.execute(query, dict(row)).scalar()
    return became


def _make(engine: Engine) -> None:
    with engine.connect() as connection:
        made = _is_made(connection)
    if not made:
        with migrator(engine).begin() as connection:
            if not _is_made(connection):
                schema.metadata.create_all(connection)
                version = {"name": schema.VERSION_NAME, "value": schema.SCHEMA_VERSION}
                connection.execute(insert(schema.meta).values(version))
                connection.execute(insert(schema.head).values(head_id=1))


def _is_made(connection: Connection) -> bool:
    tables = set(inspect(connection).get_table_names())
    if not tables:
        return False
    if not tables >= set(schema.metadata.tables):
        raise MatchRecordsError(
            "this is a database, but not one of match records (match_records_url); choose another"
        )
    query = select(schema.meta.c.value).where(schema.meta.c.name == schema.VERSION_NAME)
    if connection.execute(query).scalar() != schema.SCHEMA_VERSION:
        raise MatchRecordsError(
            "the records of matches are of a newer build; install the newer Hashwarden"
        )
    return True


@contextmanager
def store_errors() -> Iterator[None]:
    """Errors of the database as this package's, which tell of the right one."""
    try:
        with catalog_errors():
            yield
    except CatalogError as error:
        told = str(error).replace("a catalog", "the catalog")
        told = told.replace("the catalog's", "the database's").replace(
            "the catalog", "the database of match records"
        )
        raise MatchRecordsError(told) from error


__all__ = ["insert_or_ignore", "open_database", "reading", "store_errors", "writing"]
