"""The tables of match records. Times are microseconds since 1970-01-01 UTC.

What a table does not say in clear is sealed; where something must be found that may not be read, a
keyed mark stands for it. In clear stand: match ids, which are random; times; whether a match was
found right or wrong; and by list how many were.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

SCHEMA_VERSION = b"1"
VERSION_NAME = "schema_version"
#: Name in `meta` of the name of the key that sealed last.
KEY_NAME = "key"
#: Name in `meta` of the time that records age by: microseconds, 8 bytes, big-endian, signed.
TIME_NAME = "time"

_Id = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

#: One row; every writer holds its lock to the commit, so that what it reads stays so.
head = Table(
    "head",
    metadata,
    Column("head_id", Integer, primary_key=True, autoincrement=False),
)

records = Table(
    "records",
    metadata,
    Column("number", _Id, primary_key=True),
    Column("match_id", String(64), nullable=False, unique=True),
    Column("at", _Id, nullable=False, index=True),
    Column("client_mark", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)

#: Every entry that a record rests on, once for each class that it had.
entries = Table(
    "entries",
    metadata,
    Column("mark", LargeBinary, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
)

record_entries = Table(
    "record_entries",
    metadata,
    Column("mark", LargeBinary, nullable=False),
    Column("number", _Id, ForeignKey("records.number"), nullable=False),
    Index("ix_record_entries_mark", "mark", "number", unique=True),
    Index("ix_record_entries_number", "number"),
)

#: What was reported, the last word only.
outcomes = Table(
    "outcomes",
    metadata,
    Column("number", _Id, ForeignKey("records.number"), primary_key=True, autoincrement=False),
    Column("outcome", String(16), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)

#: By list, of all time: these outlive the records.
outcome_counts = Table(
    "outcome_counts",
    metadata,
    Column("list_name", String(255), primary_key=True),
    Column("outcome", String(16), primary_key=True),
    Column("matches", _Id, nullable=False),
)

#: Policies that records name, so that what they said is known when they have changed.
policies = Table(
    "policies",
    metadata,
    Column("mark", LargeBinary, primary_key=True),
    Column("used_at", _Id, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
