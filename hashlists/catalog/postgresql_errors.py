"""What errors of PostgreSQL mean, told without a word of the server's own that may carry a value.

The server quotes values in its messages: of keys that are there already, of rows that it could not
take. So advice by SQLSTATE takes the place of each message, in the error itself too, which may be
printed with a traceback.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hashlists.catalog.postgresql_refusals import (
    NO_DATABASE,
    REFUSED_LOGIN,
    explain_refusal,
    may_pass,
)
from hashlists.errors import CatalogAwayError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import ExceptionContext

#: Seconds that a session waits for a lock of another.
LOCK_TIMEOUT_SECONDS = 30
_LOCKED = (
    f"another process kept the catalog locked for {LOCK_TIMEOUT_SECONDS} s;"
    " try again, and look for a stuck process"
)
#: Beginnings of SQLSTATE codes and what to do, the longer ones first.
_ADVICE = (
    ("28", REFUSED_LOGIN),
    ("3D", NO_DATABASE),
    (
        "42501",
        (
            "the catalog's user may not do that: it must own the catalog's tables, and for imports"
            " it needs the right TEMPORARY on the database"
        ),
    ),
    ("25006", "the server is read-only, perhaps a replica: use the primary's address"),
    ("53100", "the disk is full on the database server; nothing was changed"),
    ("53300", "the server has no connection to spare: raise its max_connections"),
    ("53", "the server is short of memory or other resources; try again later"),
    ("55P03", _LOCKED),
    ("40", "the server gave way to another transaction; try again"),
    ("57", "the server is starting, stopping, or was told to end this; try again"),
    ("25P03", "the server ended a transaction that stood still for too long; try again"),
    ("08", "the connection to the server was lost; try again"),
    ("42P01", "the catalog's tables are missing: is it the right database and schema?"),
    ("22021", "the server cannot store one of the texts: its encoding must be UTF8"),
)
#: Locked by another, out of disk or memory, or cancelled.
LOCK_NOT_AVAILABLE = "55P03"
MAY_BE_TRIED_AGAIN = frozenset({LOCK_NOT_AVAILABLE, "40P01", "53100", "53200", "57014"})


#: Attribute of an error whose own words are gone.
_ADVISED = "catalog_advice"


def explain(error: Any) -> str:
    """What to do about an error of psycopg, without a word of it that may carry a value."""
    if hasattr(error, _ADVISED):
        return str(getattr(error, _ADVISED))
    sqlstate = sqlstate_of(error)
    for beginning, advice in _ADVICE:
        if sqlstate.startswith(beginning):
            return advice
    if sqlstate:
        return f"the catalog's server reports an error (SQLSTATE {sqlstate}); its log says more"
    if type(error).__name__ in {"OperationalError", "ConnectionTimeout", "InterfaceError"}:
        return explain_refusal(str(error))
    return "the catalog's server or its driver reports an error without a code; its log says more"


def as_catalog_error(error: Any) -> CatalogError:
    """The error of ours that says what to do about one of psycopg's."""
    advice = explain(error)
    # Without a code it is the connection that could not be made.
    away = not sqlstate_of(error) and may_pass(advice)
    return CatalogAwayError(advice) if away else CatalogError(advice)


def sqlstate_of(error: Any) -> str:
    """The error's code; empty where the server gave none."""
    return getattr(error, "sqlstate", None) or ""


@contextmanager
def driver_errors() -> Iterator[None]:
    """For what is done on the driver's own cursor, past SQLAlchemy."""
    import psycopg  # noqa: PLC0415 - an extra, needed for PostgreSQL only

    try:
        yield
    except psycopg.Error as error:
        raise CatalogError(_silence(error)) from error


def scrub(context: ExceptionContext) -> None:
    """Replaces the server's words, which may quote a value, in all that could be printed."""
    original: Any = context.original_exception
    if not hasattr(original, "sqlstate"):
        return
    safe = _silence(original)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"({type(original).__name__}) {safe}",)


def _silence(error: Any) -> str:
    """Puts the advice in the place of the error's own words, and returns it."""
    advice = explain(error)
    setattr(error, _ADVISED, advice)
    error.args = (advice,)
    return advice
