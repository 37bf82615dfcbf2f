"""The catalog's rows as the types that its callers see, and the way back.

Nothing here decides anything: it reads and writes single rows, and interns classifications and
handlings.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, func, insert, literal, select

from hashlists.catalog.bulk import upsert
from hashlists.catalog.schema import (
    CATALOG_ID_NAME,
    KIND_BITS,
    change_classifications,
    changes,
    classifications,
    entry_versions,
    handlings,
    hash_lists,
    list_counts,
    meta,
)
from hashlists.errors import ListNotFoundError
from hashlists.model import (
    CODE_KINDS,
    Classification,
    Coverage,
    Handling,
    Harm,
    HashList,
    ListState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Column, ColumnElement, Connection, Row

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_DROPPED_AT_ONCE = 1_000
_NEAR_BITS = sum(KIND_BITS[kind] for kind in CODE_KINDS)

#: Entries in force, by (kinds bits, handling id).
Counts = Counter[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ListRecord:
    """A list as the catalog holds it.

    Attributes:
        revision: the newest revision that changed it.
        coverage: of its entries in force: committed, not retracted, not expired.
    """

    hash_list: HashList
    list_id: int
    created_at: datetime
    revision: int
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class ImportSource:
    """Where an import's entries come from.

    Attributes:
        format: name of the reader.
        sha256: digest of the file, 32 raw bytes.
        length: bytes of the file.
        importer: who imports.
        reason: why, in the importer's words.
        idempotency_key: names this import, so that a repetition is recognised; None for none.
        request_sha256: digest of how the file was to be imported, so that another request under
            the same key is recognised.
    """

    format: str
    sha256: bytes = field(repr=False)
    length: int
    importer: str
    reason: str = ""
    idempotency_key: str | None = None
    request_sha256: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class FinishedImport:
    """An import that has ended well.

    Attributes:
        revision: the revision that it made; 0 where nothing had changed.
        report: what the importer stored with it.
    """

    list_name: str
    source: ImportSource
    revision: int
    report: Mapping[str, Any]


def to_microseconds(moment: datetime) -> int:
    """Microseconds since 1970 UTC; a moment without a time zone counts as UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // _MICROSECOND


def from_microseconds(value: int) -> datetime:
    """The way back, in UTC."""
    return _EPOCH + value * _MICROSECOND


def now_microseconds() -> int:
    """The present."""
    return to_microseconds(datetime.now(UTC))


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


def intern_handling(connection: Connection, handling: Handling) -> int:
    """Id of an equal handling, which is stored if it is new."""
    expires = None if handling.expires_at is None else to_microseconds(handling.expires_at)
    document = handling_document(handling)
    return _interned(
        connection,
        handlings.c.handling_id,
        {"digest": hashlib.sha256(document.encode()).digest()},
        {"document": document, "expires_at": expires},
    )


def intern_classification(connection: Connection, classification: Classification) -> int:
    """Id of an equal classification, which is stored if it is new."""
    return _interned(
        connection,
        classifications.c.classification_id,
        {
            "scheme": classification.scheme,
            "profile": classification.profile,
            "code": classification.code,
        },
        {},
    )


def _interned(
    connection: Connection, column: Column[Any], key: Mapping[str, Any], more: Mapping[str, Any]
) -> int:
    """The id in `column` of the row that has the unique `key`, made if there is none.

    The row is kept from being dropped until this transaction has ended.
    """
    table = column.table
    query = select(column).where(*(table.c[name] == value for name, value in key.items()))
    query = query.with_for_update(read=True, key_share=True)
    insert_row = (
        upsert(connection, table)
        .values(**key, **more)
        .on_conflict_do_nothing(index_elements=list(key))
        .returning(column)
    )
    while True:  # until one of the two is not undone by another writer in between
        for statement in (query, insert_row):
            found = connection.execute(statement).scalar()
            if found is not None:
                return int(found)


def note_classifications(connection: Connection, change_id: int, ids: Iterable[int]) -> None:
    """Notes that a change uses these classifications; none of them may be noted for it before."""
    rows = [{"change_id": change_id, "classification_id": each} for each in sorted(ids)]
    if rows:
        connection.execute(insert(change_classifications), rows)


def drop_classifications(connection: Connection, change_id: int) -> None:
    """Forgets what a removed change used, and the classifications that no other change uses."""
    of_change = change_classifications.c.change_id == change_id
    used = select(change_classifications.c.classification_id).where(of_change)
    ids = connection.execute(used).scalars().all()
    connection.execute(delete(change_classifications).where(of_change))
    column = classifications.c.classification_id
    left = exists().where(change_classifications.c.classification_id == column)
    for each in droppable(connection, column, ids):
        connection.execute(delete(classifications).where(column == each, ~left))


def forget_classifications(connection: Connection, ids: Iterable[int]) -> None:
    """Drops those classifications that no version has any more, staged versions included."""
    column = classifications.c.classification_id
    for each in droppable(connection, column, sorted(ids)):
        if not _is_used(connection, entry_versions.c.classification_id == each):
            noted = change_classifications.c.classification_id == each
            connection.execute(delete(change_classifications).where(noted))
            connection.execute(delete(classifications).where(column == each))


def forget_handlings(connection: Connection, ids: Iterable[int]) -> None:
    """Drops those handlings that no list and no version has any more."""
    column = handlings.c.handling_id
    for each in droppable(connection, column, sorted(ids)):
        of_list = hash_lists.c.handling_id == each
        of_version = entry_versions.c.handling_id == each
        if not (_is_used(connection, of_list) or _is_used(connection, of_version)):
            connection.execute(delete(handlings).where(column == each))


def _is_used(connection: Connection, where: ColumnElement[bool]) -> bool:
    """Reads until it finds a row: most are used by some row near the beginning."""
    return connection.execute(select(literal(1)).where(where).limit(1)).first() is not None


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


def find_list(connection: Connection, name: str) -> Row[Any]:
    """The row of a list.

    Raises:
        ListNotFoundError: no list goes by that name.
    """
    row = connection.execute(select(hash_lists).where(hash_lists.c.name == name)).one_or_none()
    if row is None:
        raise ListNotFoundError(f"there is no list named {name!r}; `lists create` makes one")
    return row


def list_record(connection: Connection, row: Row[Any], *, now: int) -> ListRecord:
    """The record of a row of `hash_lists`, as this transaction sees it."""
    newest = select(func.max(changes.c.revision)).where(changes.c.list_id == row.list_id)
    return ListRecord(
        hash_list=HashList(
            name=row.name,
            harm=Harm(row.harm),
            source=row.source,
            title=row.title,
            legal_basis=row.legal_basis,
            state=ListState(row.state),
            handling=read_handling(connection, row.handling_id),
        ),
        list_id=row.list_id,
        created_at=from_microseconds(row.created_at),
        revision=connection.execute(newest).scalar() or 0,
        coverage=list_coverage(connection, row.list_id, now=now),
    )


def read_handling(connection: Connection, handling_id: int) -> Handling:
    """The handling of that id."""
    query = select(handlings.c.document).where(handlings.c.handling_id == handling_id)
    return handling_from_document(connection.execute(query).scalar_one())


def expired_handlings(connection: Connection, *, now: int) -> frozenset[int]:
    """Ids of the handlings whose time is over."""
    query = select(handlings.c.handling_id).where(handlings.c.expires_at <= now)
    return frozenset(connection.execute(query).scalars())


def read_catalog_id(connection: Connection) -> str:
    """The catalog's own identity, drawn when it was made."""
    query = select(meta.c.value).where(meta.c.name == CATALOG_ID_NAME)
    return bytes(connection.execute(query).scalar_one()).hex()


def list_coverage(connection: Connection, list_id: int, *, now: int) -> Coverage:
    """Coverage of a list's entries in force, from the sums that every commit keeps."""
    table = list_counts.c
    query = select(table.kinds, table.handling_id, table.entries).where(table.list_id == list_id)
    expired = expired_handlings(connection, now=now)
    return coverage(
        (kinds, number)
        for kinds, handling_id, number in connection.execute(query)
        if handling_id not in expired
    )


def coverage(histogram: Iterable[tuple[int, int]]) -> Coverage:
    """Coverage from pairs of kinds bits and how many entries carry just these."""
    entries = near = 0
    by_kind: Counter[int] = Counter()
    for kinds, number in histogram:
        entries += number
        near += number if kinds & _NEAR_BITS else 0
        for bit in KIND_BITS.values():
            by_kind[bit] += number if kinds & bit else 0
    present = {kind: by_kind[bit] for kind, bit in KIND_BITS.items() if by_kind[bit]}
    return Coverage(entries=entries, by_kind=present, near_matchable=near)


def store_counts(connection: Connection, list_id: int, counts: Counts) -> None:
    """Adds what a change moved to the sums of its list."""
    rows = [
        {"list_id": list_id, "kinds": kinds, "handling_id": handling_id, "entries": number}
        for (kinds, handling_id), number in counts.items()
        if number
    ]
    if not rows:
        return
    table = list_counts.c
    insert_row = upsert(connection, list_counts)
    connection.execute(
        insert_row.on_conflict_do_update(
            index_elements=[table.list_id, table.kinds, table.handling_id],
            set_={"entries": table.entries + insert_row.excluded.entries},
        ),
        rows,
    )
    connection.execute(delete(list_counts).where(table.list_id == list_id, table.entries == 0))
