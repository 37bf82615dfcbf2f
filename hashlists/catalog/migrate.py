"""Brings a database to this build's schema, with Alembic, from the package's own migrations.

Invariants: all of it happens in one transaction under a lock, so that two processes that
open a new catalog at once do not meet; a catalog of a newer build, or a database that holds
something else, or another catalog than it should, is refused untouched. There is no way back to an
older schema.
"""

from __future__ import annotations

import secrets
from importlib import resources
from typing import TYPE_CHECKING

from sqlalchemy import insert, inspect, text

from hashlists.catalog.engine import catalog_errors, migrator
from hashlists.catalog.records import read_catalog_id, require_id
from hashlists.catalog.schema import CATALOG_ID_NAME, SCHEMA_VERSION, counters, head, meta
from hashlists.catalog.tombstones import create_key
from hashlists.errors import CatalogError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine

VERSION_TABLE = "alembic_version"
_CATALOG_ID_BYTES = 16


def migrate(engine: Engine, *, make: bool = True, catalog_id: str = "") -> str:
    """Makes or upgrades the schema; does nothing when it is the present one.

    Args:
        engine: of the database.
        make: False for an error where the database is empty.
        catalog_id: the identity that the catalog must have; empty: any.

    Returns:
        The catalog's identity.

    Raises:
        OtherCatalogError: it has another identity.
        CatalogError: the catalog is of a newer build, is none, or cannot be opened.
    """
    with catalog_errors():
        with engine.connect() as connection:
            version = _checked_version(connection, make=make, catalog_id=catalog_id)
            if version == SCHEMA_VERSION:
                return read_catalog_id(connection)
        with migrator(engine).begin() as connection:
            version = _checked_version(connection, make=make, catalog_id=catalog_id)
            if version != SCHEMA_VERSION:
                _upgrade(connection, version)
            return read_catalog_id(connection)


def _checked_version(connection: Connection, *, make: bool, catalog_id: str) -> str | None:
    version = _version(connection)
    if version is None and not make:
        raise CatalogError(
            "the catalog's database is empty: name the right one, or restore a backup into it; "
            "`hashwarden lists create` makes a new catalog, where no lists are published"
        )
    if version is not None and catalog_id:
        require_id(read_catalog_id(connection), catalog_id)
    return version


def _version(connection: Connection) -> str | None:
    """The migration that the database is at; None when it is empty."""
    tables = inspect(connection).get_table_names()
    if not tables:
        return None
    if VERSION_TABLE not in tables:
        raise CatalogError("this is a database, but no Hashwarden catalog; choose another")
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608 - a constant


def _upgrade(connection: Connection, version: str | None) -> None:
    # Imported here: Alembic takes a while to load and is needed once in a catalog's life.
    from alembic import command  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = alembic_config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise CatalogError(
            f"the catalog is of a newer version ({version}) than this build ({SCHEMA_VERSION});"
            " install the newer Hashwarden"
        )
    command.upgrade(config, "head")
    if version is None:
        fill(connection)


def alembic_config(connection: Connection) -> Config:
    """Alembic's configuration for the packaged migrations, over an open connection."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    location = resources.files("hashlists.catalog") / "migrations"
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def fill(connection: Connection) -> None:
    """The rows that every catalog begins with."""
    connection.execute(insert(head).values(head_id=1, revision=0))
    connection.execute(insert(counters).values(name="entry_id", value=1))
    catalog_id = secrets.token_bytes(_CATALOG_ID_BYTES)
    connection.execute(insert(meta).values(name=CATALOG_ID_NAME, value=catalog_id))
    create_key(connection)
