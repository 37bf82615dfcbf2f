"""The database behind the store: it is made where there is none, and its errors told as ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import postgresql, sqlite

from hashlists.catalog.engine import catalog_errors, make_tables, open_engine, writer
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
    make_tables(
        engine,
        schema.metadata,
        version=(schema.VERSION_NAME, schema.SCHEMA_VERSION),
        head={"head_id": 1},
        foreign=MatchRecordsError(
            "this is a database, but not one of match records (match_records_url); choose another"
        ),
        newer=MatchRecordsError(
            "the records of matches are of a newer build; install the newer Hashwarden"
        ),
    )


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
