"""Rewrites PostgreSQL's tables without a trace of what was deleted, and gives way meanwhile.

The server has one way to leave no deleted row in its files: `VACUUM FULL`, which copies what is
left of a table into a new file, and keeps everyone from the table while it does. On a large table
that takes minutes.

Invariants: whoever waits for a table that is being rewritten, or is about to be, waits for some
tenths of a second at most, after which the rewriting is cancelled, and the table is as it was;
followers alone do not end it, since they look again and again, and what they could learn waits
for the same table. A rewrite that was cancelled is begun anew some times, and is owed after that.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from hashlists.catalog.postgresql_errors import (
    LOCK_NOT_AVAILABLE,
    MAY_BE_TRIED_AGAIN,
    sqlstate_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

#: What followers call themselves to the server while they read.
FOLLOWER = "hashwarden follower"

#: Whatever a purge deletes rows of, and what feeds had set aside, the small ones first: what keeps
#: one keeps all.
WIPED_TABLES = (
    "list_counts",
    "handlings",
    "classifications",
    "exchange_set_aside",
    "change_classifications",
    "change_handlings",
    "retractions",
    "extra_hashes",
    "derived_hashes",
    "entries",
    "entry_versions",
)
#: Before each attempt at a table. Followers look some times a second: they go first.
_PAUSES_SECONDS = (0.5, 1.0, 2.0, 4.0)
#: The wait for a table's lock.
_TABLE_LOCK_MS = 2_000
#: Between looks at who waits; so long, and the time to cancel, a retraction may wait.
_LOOK_SECONDS = 0.1

#: Ends what a session does if anyone but followers waits for it, also in the queue behind it.
_CANCEL_FOR_OTHERS = text(
    """
    SELECT pg_cancel_backend(:session)
    FROM pg_locks AS wanted LEFT JOIN pg_stat_activity AS waiting ON waiting.pid = wanted.pid
    WHERE NOT wanted.granted
    AND waiting.application_name IS DISTINCT FROM :follower
    AND :session = ANY(pg_blocking_pids(wanted.pid))
    LIMIT 1
    """
)


def rewrite_tables(engine: Engine) -> bool:
    """Rewrites every table that a purge deletes from, with its indexes, each by itself.

    Args:
        engine: its transactions begin with nothing, and commit by themselves.

    Returns:
        False at the first table that could not be rewritten, or in which rows were copied along
        that a transaction begun before may still need.
    """
    with engine.connect() as connection, engine.connect() as watching:
        connection.detach()  # what is set here must not reach the pool
        connection.exec_driver_sql(f"SET lock_timeout = '{_TABLE_LOCK_MS}ms'")
        return all(_tried_again(connection, watching, table) for table in WIPED_TABLES)


def _tried_again(connection: Connection, watching: Connection, table: str) -> bool:
    """Whether a table was rewritten in the end; only what others were in the way of is repeated."""
    for seconds in _PAUSES_SECONDS:
        time.sleep(seconds)
        with _giving_way(connection, watching) as gave_way:
            try:
                return _rewrite(connection, table)
            except DBAPIError as error:
                state = sqlstate_of(error.orig)
                if state not in MAY_BE_TRIED_AGAIN:
                    raise
        if state != LOCK_NOT_AVAILABLE and not gave_way.is_set():
            return False
    return False


@contextmanager
def _giving_way(connection: Connection, watching: Connection) -> Iterator[threading.Event]:
    """Cancels what a session does in this block once somebody waits for it; the event tells so.

    The event is to be asked after the block.
    """
    driver: Any = connection.connection.dbapi_connection
    values = {"session": driver.info.backend_pid, "follower": FOLLOWER}
    ended, gave_way = threading.Event(), threading.Event()

    def look() -> None:
        try:
            while not (ended.wait(_LOOK_SECONDS) or gave_way.is_set()):
                if watching.execute(_CANCEL_FOR_OTHERS, values).first() is not None:
                    gave_way.set()
        except DBAPIError:  # who waits is not known any more
            driver.cancel()

    thread = threading.Thread(target=look, name="wipe-gives-way", daemon=True)
    thread.start()
    try:
        yield gave_way
    finally:
        ended.set()
        thread.join()


def _rewrite(connection: Connection, table: str) -> bool:
    """False where the server has kept dead rows, or only warned that it may not do it.

    It says so in the server's language, but first comes how many dead rows had to be kept.
    """
    kept: list[int] = []

    def note(diagnostic: Any) -> None:
        number = re.search(r"\d+", diagnostic.message_detail or "")
        if number is not None:
            kept.append(int(number[0]))

    driver: Any = connection.connection.dbapi_connection
    driver.add_notice_handler(note)
    try:
        connection.exec_driver_sql(f"VACUUM (FULL, VERBOSE) {table}")
    finally:
        driver.remove_notice_handler(note)
    return kept == [0]
