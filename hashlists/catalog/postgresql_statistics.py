"""The server's statistics about tables that a large change has made grow.

The server looks at a table again of itself some time after it has grown; until then it takes a
list of millions for an empty one, and plans for that. So whoever commits much has the tables
looked at, outside any lock that others wait for. Columns with hashes and texts of sources are left
out of statistics by the migrations. What fails here costs speed alone, so it is only logged.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: Rows of a change from which on it may be much.
MUCH = 1_000
#: Share of the rows that the server knows of, from which on a change is much.
_SHARE = 0.1
_TABLES = (
    "entries",
    "entry_versions",
    "extra_hashes",
    "retractions",
    "derived_hashes",
    "change_classifications",
    "change_handlings",
)
_KNOWN_ROWS = text("SELECT GREATEST(reltuples, 0) FROM pg_class WHERE oid = 'entries'::regclass")
_log = logging.getLogger(__name__)


def refresh_statistics(engine: Engine, rows: int) -> None:
    """Has the tables looked at where `rows` are much beside what the server knows of.

    Args:
        engine: whose connections begin no transactions.
        rows: that a change brought.
    """
    if rows < MUCH:
        return
    try:
        with engine.connect() as connection:
            if rows > _SHARE * connection.execute(_KNOWN_ROWS).scalar_one():
                connection.exec_driver_sql(f"ANALYZE {', '.join(_TABLES)}")
    except SQLAlchemyError as error:
        _log.warning(
            "the server's statistics were not brought up to date: %s", type(error).__name__
        )
