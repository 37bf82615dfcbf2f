"""Keyed fingerprints of what was purged, so that the next import does not bring it back.

A tombstone is the HMAC-SHA256 of a source key or of a hash value under a random key of this
catalog. It can recognise a value that is offered and cannot give back the one that was erased;
without the key it cannot even be tried against guessed files. The key lies in the catalog's own
`meta` table, so who holds the whole catalog can try guesses: it guards against a leak of the
tombstones alone, not of the file.
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from hashlists.catalog.bulk import upsert
from hashlists.catalog.schema import meta, tombstones

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sqlalchemy import Connection

    from hashlists.model import EntryBatch, HashKind

_KEY_NAME = "tombstone_key"
_KEY_BYTES = 32


class Tombstones:
    """The tombstones of one list, as they stood when it was made."""

    def __init__(self, key: bytes, digests: frozenset[bytes]) -> None:
        self._key = key
        self._digests = digests

    def rows_of_keys(self, batch: EntryBatch) -> frozenset[int]:
        """Rows whose key was purged."""
        if not self._digests:
            return frozenset()
        return frozenset(row for row, key in enumerate(batch.keys) if self._holds("key", key))

    def values_by_row(self, batch: EntryBatch) -> dict[int, frozenset[tuple[HashKind, bytes]]]:
        """The values that were purged, of those rows that carry any."""
        if not self._digests:
            return {}
        found: dict[int, set[tuple[HashKind, bytes]]] = {}
        for kind, values in batch.hashes.items():
            for row, value in enumerate(values):
                if value is not None and self._holds(kind, value):
                    found.setdefault(row, set()).add((kind, value))
        for each in batch.extra_hashes:
            if self._holds(each.kind, each.value):
                found.setdefault(each.row, set()).add((each.kind, each.value))
        return {row: frozenset(values) for row, values in found.items()}

    def bars(self, kind: HashKind, value: bytes) -> bool:
        """Whether one value was purged."""
        return bool(self._digests) and self._holds(kind, value)

    def _holds(self, what: str, value: bytes) -> bool:
        return fingerprint(self._key, what, value) in self._digests


def fingerprint(key: bytes, what: str, value: bytes) -> bytes:
    """HMAC-SHA256 of a value; `what` says of what sort it is, so that sorts stay apart."""
    return hmac.digest(key, what.encode("ascii") + b"\0" + value, "sha256")


def create_key(connection: Connection) -> None:
    """Gives a new catalog its key."""
    connection.execute(insert(meta).values(name=_KEY_NAME, value=secrets.token_bytes(_KEY_BYTES)))


def read_tombstones(connection: Connection, list_id: int) -> Tombstones:
    """Those of one list."""
    digests = connection.execute(
        select(tombstones.c.digest).where(tombstones.c.list_id == list_id)
    ).scalars()
    return Tombstones(read_key(connection), frozenset(digests))


def lay_tombstones(
    connection: Connection,
    *,
    list_id: int,
    change_id: int,
    keys: Iterable[bytes],
    hashes: Iterable[tuple[HashKind, bytes]],
) -> int:
    """Stores a tombstone for every value; returns how many different ones."""
    key = read_key(connection)
    digests = {fingerprint(key, "key", value) for value in keys}
    digests |= {fingerprint(key, kind, value) for kind, value in hashes}
    if digests:
        connection.execute(
            upsert(connection, tombstones).on_conflict_do_nothing(),
            [{"list_id": list_id, "digest": digest, "change_id": change_id} for digest in digests],
        )
    return len(digests)


def read_key(connection: Connection) -> bytes:
    """The catalog's own key, for `fingerprint`."""
    return bytes(
        connection.execute(select(meta.c.value).where(meta.c.name == _KEY_NAME)).scalar_one()
    )
