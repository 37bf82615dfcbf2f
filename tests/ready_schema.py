"""New catalogs in SQLite without a run of the migrations for each of them.

The migrations make the first catalog of a process, as they do for everyone. The next ones are made
by the statements that this one was found to consist of, which takes a tenth of the time. Each has
an identity of its own all the same, and whatever is no empty SQLite database is migrated as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.catalog import migrate

if TYPE_CHECKING:
    from sqlalchemy import Connection

run_migrations = migrate._upgrade

_statements: list[str] = []


def make_tables(connection: Connection, version: str | None) -> None:
    """Stands in for the run of the migrations."""
    if version is not None or connection.dialect.name != "sqlite":
        run_migrations(connection, version)
    elif not _statements:
        run_migrations(connection, version)
        _statements[:] = _found_in(connection)  # the same, should two threads come first
    else:
        for statement in _statements:
            connection.exec_driver_sql(statement)
        migrate.fill(connection)


def _found_in(connection: Connection) -> list[str]:
    """What makes the same tables and indexes again, and says which migration they are of."""
    rows = connection.exec_driver_sql(
        "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
        " ORDER BY rowid"
    )
    version = migrate._version(connection)
    return [*(sql for (sql,) in rows), f"INSERT INTO {migrate.VERSION_TABLE} VALUES ('{version}')"]
