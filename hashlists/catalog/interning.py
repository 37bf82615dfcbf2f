"""Classifications and handlings: texts that many entries share, stored once each.

Invariants: equal ones have one id; one that a running transaction is using is never dropped.
"""

from __future__ import annotations

import hashlib
import json
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hashlists.catalog.bulk import BulkSelect, upsert
from hashlists.catalog.records import from_microseconds, to_microseconds
from hashlists.catalog.schema import classifications, handlings
from hashlists.model import Handling, SaidHandling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Column, Connection

    from hashlists.model import Classification

_DROPPED_AT_ONCE = 1_000

#: It keeps what it finds from being dropped until the transaction has ended.
_FIND_HANDLINGS = BulkSelect(
    handlings.c.digest,
    select(handlings.c.digest, handlings.c.handling_id).with_for_update(read=True, key_share=True),
)


def handling_document(handling: Handling) -> str:
    """Canonical JSON of a handling: equal handlings give equal texts."""
    expires = None if handling.expires_at is None else to_microseconds(handling.expires_at)
    return json.dumps(
        [handling.originator, list(handling.releasable_to), expires],
        ensure_ascii=False,
        separators=(",", ":"),
    )


def handling_from_document(document: str) -> Handling:
    """The way back."""
    originator, releasable_to, expires = json.loads(document)
    return Handling(
        originator=originator,
        releasable_to=tuple(releasable_to),
        expires_at=None if expires is None else from_microseconds(expires),
    )


def said_document(said: SaidHandling) -> str:
    """Canonical JSON of what was said of handling: never the same as that of a whole handling."""
    fields = {
        "originator": said.originator,
        "releasable_to": None if said.releasable_to is None else list(said.releasable_to),
        "expires_at": None if said.expires_at is None else to_microseconds(said.expires_at),
    }
    told = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def said_from_document(document: str) -> Handling | SaidHandling:
    """What a version keeps: what its record said, or, where that is not known, all that held."""
    if not document.startswith("{"):
        return handling_from_document(document)
    told = json.loads(document)
    recipients, expires = told.get("releasable_to"), told.get("expires_at")
    return SaidHandling(
        originator=told.get("originator"),
        releasable_to=None if recipients is None else tuple(recipients),
        expires_at=None if expires is None else from_microseconds(expires),
    )


def intern_handling(connection: Connection, handling: Handling) -> int:
    """Id of an equal handling, which is stored if it is new."""
    return intern_handlings(connection, [handling])[0]


def intern_handlings(
    connection: Connection, values: Sequence[Handling] | Sequence[SaidHandling]
) -> list[int]:
    """Ids of equal handlings, or sayings, in the order of `values`; new ones are stored.

    Each record of a list may say something of its own, so all are looked up together.
    """
    rows = [_handling_row(value) for value in values]
    # In one order everywhere: who waits for another's new row is never waited for by it.
    wanted = {row["digest"]: row for row in sorted(rows, key=itemgetter("digest"))}
    ids = _handling_ids(connection, list(wanted))
    insert_row = upsert(connection, handlings).on_conflict_do_nothing(index_elements=["digest"])
    while missing := [digest for digest in wanted if digest not in ids]:
        connection.execute(insert_row, [wanted[digest] for digest in missing])
        # Another writer may have brought one, or dropped it again, meanwhile.
        ids |= _handling_ids(connection, missing)
    return [ids[row["digest"]] for row in rows]


def _handling_row(value: Handling | SaidHandling) -> dict[str, Any]:
    document = said_document(value) if isinstance(value, SaidHandling) else handling_document(value)
    expires_at = value.expires_at
    return {
        "digest": hashlib.sha256(document.encode()).digest(),
        "document": document,
        "expires_at": None if expires_at is None else to_microseconds(expires_at),
    }


def _handling_ids(connection: Connection, digests: Sequence[bytes]) -> dict[bytes, int]:
    return {
        bytes(digest): handling_id
        for rows in _FIND_HANDLINGS.run(connection, digests)
        for digest, handling_id in rows
    }


def intern_classification(connection: Connection, classification: Classification) -> int:
    """Id of an equal classification, which is stored if it is new.

    It is kept from being dropped until this transaction has ended.
    """
    table, column = classifications, classifications.c.classification_id
    key: Mapping[str, str | None] = {
        "scheme": classification.scheme,
        "profile": classification.profile,
        "code": classification.code,
    }
    query = select(column).where(*(table.c[name] == value for name, value in key.items()))
    query = query.with_for_update(read=True, key_share=True)
    insert_row = (
        upsert(connection, table)
        .values(**key)
        .on_conflict_do_nothing(index_elements=list(key))
        .returning(column)
    )
    while True:  # until one of the two is not undone by another writer in between
        for statement in (query, insert_row):
            found = connection.execute(statement).scalar()
            if found is not None:
                return int(found)


def droppable(connection: Connection, column: Column[Any], ids: Sequence[int]) -> list[int]:
    """Those interned rows that no running transaction is using; none can begin to before the end.

    Whether a committed row uses them has to be asked after this.
    """
    free: list[int] = []
    for start in range(0, len(ids), _DROPPED_AT_ONCE):
        chunk = ids[start : start + _DROPPED_AT_ONCE]
        query = select(column).where(column.in_(chunk)).with_for_update(skip_locked=True)
        free += connection.execute(query).scalars()
    return sorted(free)


def read_handling(connection: Connection, handling_id: int) -> Handling:
    """The handling of that id."""
    query = select(handlings.c.document).where(handlings.c.handling_id == handling_id)
    return handling_from_document(connection.execute(query).scalar_one())
