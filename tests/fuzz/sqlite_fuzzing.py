"""What the fuzzers of SQLite formats share: databases as bytes, tokens of their layout."""

from __future__ import annotations

import sqlite3

TOKENS = (
    b"\x00", b"\xff", b"\x0d", b"\x05", b"\x0a", b"\x02", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x02",
    b"\x00" * 64, b"\xff" * 64, b"CREATE VIEW ", b"CREATE TABLE ", b"trigger", b"table", b"view",
    b"SQLite format 3\x00", b"0" * 32, b"g", b"AS (1)", b"WITHOUT ROWID", b"\x00" * 512,
)  # fmt: skip


def database(*statements, rows=()):
    """The bytes of a database with small pages, so that few of them make a tree."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("PRAGMA page_size = 512")
    for statement in statements:
        connection.execute(statement)
    for statement, parameters in rows:
        connection.executemany(statement, parameters)
    data = connection.serialize()
    connection.close()
    return data
