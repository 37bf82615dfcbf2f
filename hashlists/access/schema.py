"""The tables of the access database. Times are microseconds since 1970-01-01 UTC.

Invariants: a name is never given to a second client, so that old records stay clear; no token
stands here, only its keyed digest; rows of `audit` are appended, never altered or deleted.
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
    Text,
)

SCHEMA_VERSION = b"1"
VERSION_NAME = "schema_version"
#: Name in `meta` of the mark of the key that the tokens were digested with.
KEY_MARK_NAME = "token_key"

_Id = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

#: One row; every writer holds its lock to the commit. `revision` counts changes of clients, so that
#: a server sees at a glance whether it knows the newest; the rest is the end of the audit's chain.
head = Table(
    "head",
    metadata,
    Column("head_id", Integer, primary_key=True, autoincrement=False),
    Column("revision", _Id, nullable=False),
    Column("audit_number", _Id, nullable=False),
    Column("audit_digest", LargeBinary, nullable=False),
)

clients = Table(
    "clients",
    metadata,
    Column("client_id", _Id, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("identity", Text),
    Column("roles", Text, nullable=False),  # JSON array
    Column("policy", String(63), nullable=False),
    Column("created_at", _Id, nullable=False),
    Column("expires_at", _Id),
    Column("revoked_at", _Id),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", String(12), primary_key=True),
    Column("client_id", _Id, ForeignKey("clients.client_id"), nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("created_at", _Id, nullable=False),
    Column("expires_at", _Id),
    Index("ix_tokens_client_id", "client_id"),
)

#: What was done, each record chained to the one before; see `audit`.
audit = Table(
    "audit",
    metadata,
    Column("number", _Id, primary_key=True, autoincrement=False),
    Column("at", _Id, nullable=False),
    Column("actor", Text, nullable=False),
    Column("act", String(63), nullable=False),
    Column("subject", Text, nullable=False),
    Column("outcome", String(16), nullable=False),
    Column("details", Text, nullable=False),  # JSON object
    Column("digest", LargeBinary, nullable=False),
)
