"""The tables of a scan's state. Times are seconds since 1970 UTC.

In clear stand numbers, what was asked for, how far the listing has come, and the names of objects
that are planned and not finished yet: without them no other process could go on.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
)

#: What SQLite calls `application_id`: tells the file from any other database.
APPLICATION_ID: Final = int.from_bytes(b"HWsc", "big")
#: What SQLite calls `user_version`.
SCHEMA_VERSION: Final = 1

metadata = MetaData()

#: One row: what was asked for, and what it adds up to so far.
scan = Table(
    "scan",
    metadata,
    Column("document", LargeBinary, nullable=False),
    Column("next_number", Integer, nullable=False),
    Column("listed", Integer, nullable=False),
    Column("listed_bytes", Integer, nullable=False),
    Column("not_selected", Integer, nullable=False),
    Column("skipped", LargeBinary, nullable=False),
    Column("batches", Integer, nullable=False),
    Column("kept", Integer, nullable=False),
    Column("traces", Boolean, nullable=False),  # of what was forgotten may still be in the file
    Column("work_seconds", Float, nullable=False),
    Column("tally", LargeBinary, nullable=False),
    Column("timeline", LargeBinary, nullable=False),
)

#: How far the listing of each of the scan's places has come.
positions = Table(
    "positions",
    metadata,
    Column("source", Integer, primary_key=True, autoincrement=False),
    Column("cursor", String, nullable=False),
    Column("done", Boolean, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("began_at", Float, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("how", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("policy", String, nullable=False),
    Column("policy_version", String, nullable=False),
    Column("hashed", LargeBinary, nullable=False),
    Column("objects", Integer, nullable=False),
)

#: Which decoders a run had, in a line. An older build made no such table, and runs of one that goes
#: on with a scan have no row: what their decoders were is not known.
decoders = Table(
    "decoders",
    metadata,
    Column("run", Integer, ForeignKey("runs.number"), primary_key=True, autoincrement=False),
    Column("versions", String, nullable=False),
)

#: Batches that wait, or are being scanned.
planned = Table(
    "planned",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("source", Integer, nullable=False),
    Column("objects", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

finished = Table(
    "finished",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("source", Integer, nullable=False),
    Column("objects", Integer, nullable=False),
    Column("records", Integer, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

#: Sealed hashes of finished batches.
kept = Table(
    "kept",
    metadata,
    Column("number", Integer, ForeignKey("finished.number"), primary_key=True, autoincrement=False),
    Column("objects", Integer, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
)
