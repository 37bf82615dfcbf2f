"""Sessions of PostgreSQL that outlive the catalog of one test and serve those of the next ones.

To begin a session takes the server longer than most tests keep it busy: a process is made, which
has to learn of every table and every index anew. Here a session that is closed gives up whatever
it holds (locks, settings, temporary tables, prepared statements), as its end would have made it,
and waits for the next one who connects in the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

if TYPE_CHECKING:
    import pytest
    from sqlalchemy import URL

_connect: Any = PGDialect_psycopg.connect


class KeptSessions:
    """Stands in for how SQLAlchemy connects to one database, as one user, and closes."""

    def __init__(self, url: URL) -> None:
        """Others' sessions, and those in other databases, are none of its business."""
        self._kept_for = (url.username, url.database)
        self._free: list[tuple[object, Any]] = []
        self._asked: WeakKeyDictionary[Any, dict[str, Any]] = WeakKeyDictionary()

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """From now on, until the patch is undone."""

        def connect(dialect: PGDialect_psycopg, *args: Any, **way: Any) -> Any:
            return self._begin(dialect, *args, **way)

        def close(_dialect: PGDialect_psycopg, session: Any) -> None:
            self._end(session)

        patch.setattr(PGDialect_psycopg, "connect", connect)
        patch.setattr(PGDialect_psycopg, "do_close", close)

    def close(self) -> None:
        """Ends all of them."""
        while self._free:
            self._free.pop()[1].close()

    def _begin(self, dialect: PGDialect_psycopg, *args: Any, **way: Any) -> Any:
        asked = {name: value for name, value in way.items() if name != "context"}
        for free in [each for each in self._free if each[0] == asked]:
            try:
                self._free.remove(free)
            except ValueError:  # another thread has it
                continue
            if _answers(free[1]):
                return free[1]
        session = _connect(dialect, *args, **way)
        self._asked[session] = asked
        return session

    def _end(self, session: Any) -> None:
        asked = self._asked.get(session, {})
        if (asked.get("user"), asked.get("dbname")) == self._kept_for and _is_emptied(session):
            self._free.append((asked, session))
        else:
            session.close()


def _answers(session: Any) -> bool:
    """False of one that was ended while it waited here."""
    try:
        session.execute("SELECT 1")
        session.rollback()
    except psycopg.Error:
        session.close()
        return False
    return True


def _is_emptied(session: Any) -> bool:
    """Whether nothing is left of what was done in a session; false of one that is busy or lost."""
    if session.closed or session.info.transaction_status is TransactionStatus.ACTIVE:
        return False
    try:
        session.rollback()
        session.set_autocommit(True)
        session.execute("DISCARD ALL", prepare=False)
        session.set_autocommit(False)
        session.set_isolation_level(None)
        session.set_read_only(None)
        session.set_deferrable(None)
    except psycopg.Error:
        return False
    session._notice_handlers.clear()
    return True
