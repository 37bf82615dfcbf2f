"""SQL statements compiled once for each kind of database, not for each catalog that a test opens.

An engine keeps what it has compiled, and almost every test has an engine of its own, so that the
catalog's statements would be compiled anew for each test: a seventh of what such tests take. Here
all engines of one dialect share what the first of them compiled. What is executed, and on which
connection, stays as it is. Which arguments make a type is found out once for each class, too: for
every key under which a statement is kept, SQLAlchemy asks anew.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import util
from sqlalchemy.sql.elements import ClauseElement

if TYPE_CHECKING:
    from sqlalchemy import Dialect

_compile: Any = ClauseElement._compile_w_cache

_shared: dict[type[Dialect], tuple[Dialect, dict[Any, Any]]] = {}


arguments_of = cache(util.get_cls_kwargs)


def compile_once(
    self: ClauseElement, dialect: Dialect, *, compiled_cache: Any, **options: Any
) -> Any:
    """Stands in for `ClauseElement._compile_w_cache`, where a cache is wanted at all."""
    if compiled_cache is None:
        return _compile(self, dialect, compiled_cache=None, **options)
    first, statements = _shared.setdefault(type(dialect), (dialect, {}))
    return _compile(self, first, compiled_cache=statements, **options)
