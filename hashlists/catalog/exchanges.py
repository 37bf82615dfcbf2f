"""Feeds that fill lists, how far each was fetched, and which of their records were set aside.

Invariants: a checkpoint moves in the transaction that makes what it stands for visible, so a crash
repeats a page and loses none; it moves on only from the one that its fetch began with, so that of
two fetches at once the second fails and changes nothing. What was set aside is kept with its place
and reason, never with the record or a hash of an image, and known again by an HMAC under the
catalog's key; of each exchange the newest `MAX_SET_ASIDE`. No credential is kept here. A list has
one exchange at most, and what an exchange fills holds nothing from elsewhere: a full fetch
withdraws what the exchange does not list. Nothing here fetches.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import delete, func, insert, select, update

from hashlists.catalog.bulk import upsert
from hashlists.catalog.engine import catalog_errors, writer
from hashlists.catalog.exchange_records import (
    Checkpoint,
    ExchangeRecord,
    ExchangeState,
    SetAside,
    SetAsideRecord,
)
from hashlists.catalog.lists import (
    find_list,
    insert_list,
    prepare_list,
    require_name,
    was_filled,
)
from hashlists.catalog.records import from_microseconds, now_microseconds, to_microseconds
from hashlists.catalog.schema import (
    ChangeState,
    changes,
    exchange_checkpoints,
    exchange_set_aside,
    exchanges,
    hash_lists,
    imports,
)
from hashlists.catalog.states import chunks
from hashlists.catalog.tombstones import fingerprint, read_key
from hashlists.errors import (
    ExchangeConflictError,
    ExchangeExistsError,
    ExchangeNotFoundError,
    ListFedError,
)
from hashlists.near_names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Connection, Engine, Row

    from hashlists.catalog.commit import ChangeAuthor
    from hashlists.model import HashList

#: Records that are kept of one exchange; a feed of bad records must not fill the disk.
MAX_SET_ASIDE = 10_000
#: Keeps what records are known by apart from other fingerprints.
_KNOWN_BY: Final = "set aside"


def add_exchange(
    engine: Engine, name: str, *, kind: str, list_name: str, settings: Mapping[str, Any]
) -> ExchangeRecord:
    """Adds an exchange that was never fetched; see `Catalog.add_exchange`.

    Raises:
        InvalidNameError, ListNotFoundError, ExchangeExistsError, ListFedError: nothing was added.
    """
    require_name(name, "an exchange")
    with catalog_errors(), writer(engine).begin() as connection:
        return _insert_exchange(connection, name, kind, list_name, settings)


def add_exchange_with_list(
    engine: Engine,
    name: str,
    *,
    kind: str,
    hash_list: HashList,
    settings: Mapping[str, Any],
    author: str,
) -> ExchangeRecord:
    """Adds an exchange and the list that it fills; see `Catalog.add_exchange_with_list`.

    Raises:
        InvalidNameError, ListExistsError, ExchangeExistsError: neither was added.
    """
    require_name(name, "an exchange")
    with catalog_errors(), engine.connect() as connection:
        _require_free_name(connection, name)
    hash_list = prepare_list(engine, hash_list)
    with catalog_errors(), writer(engine).begin() as connection:
        insert_list(connection, hash_list, author=author)
        return _insert_exchange(connection, name, kind, hash_list.name, settings)


def exchange_of_list(connection: Connection, list_id: int) -> Row[Any] | None:
    """The row of `exchanges` of the one that fills a list."""
    query = select(exchanges).where(exchanges.c.list_id == list_id)
    return connection.execute(query).one_or_none()


def require_source_fits(connection: Connection, by: ChangeAuthor, exchange_id: int | None) -> None:
    """Refuses an import into a list that an exchange fills, unless it is that exchange's.

    To be called when the import is open: whoever adds an exchange from then on is refused.

    Raises:
        ListFedError: it is not.
    """
    feed = exchange_of_list(connection, by.list_id)
    if feed is not None and feed.exchange_id != exchange_id:
        raise ListFedError(
            f"the list {by.list_name} is filled by the exchange {feed.name}, which withdraws what"
            " it does not list itself; put entries from elsewhere into a list of their own"
        )


def owe_full_fetch(connection: Connection, list_id: int) -> None:
    """Has all of the exchange that fills a list fetched anew; a fetch under way fails.

    One that was never fetched brings everything anyway.
    """
    feed = exchange_of_list(connection, list_id)
    if feed is None:
        return
    table = exchange_checkpoints.c
    moved = connection.execute(
        update(exchange_checkpoints)
        .where(table.exchange_id == feed.exchange_id)
        .values(number=table.number + 1)
    )
    if moved.rowcount:
        this = exchanges.c.exchange_id == feed.exchange_id
        connection.execute(update(exchanges).where(this).values(full_due_at=now_microseconds()))


def update_exchange(
    engine: Engine,
    name: str,
    *,
    state: ExchangeState | None = None,
    settings: Mapping[str, Any] | None = None,
) -> ExchangeRecord:
    """Changes what is given of an exchange.

    Raises:
        ExchangeNotFoundError: no exchange goes by that name.
    """
    values: dict[str, Any] = {}
    if state is not None:
        values["state"] = state
    if settings is not None:
        values["settings"] = json.dumps(dict(settings), sort_keys=True)
    with catalog_errors(), writer(engine).begin() as connection:
        record = find_exchange(connection, name)
        if not values:
            return record
        this = exchanges.c.exchange_id == record.exchange_id
        connection.execute(update(exchanges).where(this).values(values))
        return find_exchange(connection, name)


def remove_exchange(engine: Engine, name: str) -> None:
    """Forgets an exchange, its checkpoint and what was set aside; its list stays as it is.

    Raises:
        ExchangeNotFoundError: no exchange goes by that name.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        exchange_id = find_exchange(connection, name).exchange_id
        for table in (exchange_checkpoints, exchange_set_aside, exchanges):
            connection.execute(delete(table).where(table.c.exchange_id == exchange_id))


def find_exchange(connection: Connection, name: str) -> ExchangeRecord:
    """The exchange of that name.

    Raises:
        ExchangeNotFoundError: there is none.
    """
    row = connection.execute(_RECORDS.where(exchanges.c.name == name)).one_or_none()
    if row is None:
        near = did_you_mean(name, connection.execute(select(exchanges.c.name)).scalars().all())
        raise ExchangeNotFoundError(
            f"there is no exchange named {name!r}{near}`exchanges status` names those there are"
        )
    return _record(row)


def list_exchanges(connection: Connection) -> list[ExchangeRecord]:
    """All of them, by name."""
    return [_record(row) for row in connection.execute(_RECORDS.order_by(exchanges.c.name))]


def list_set_aside(connection: Connection, name: str, *, limit: int) -> list[SetAsideRecord]:
    """The records of an exchange that were set aside last, newest first.

    Raises:
        ExchangeNotFoundError: no exchange goes by that name.
    """
    exchange_id = find_exchange(connection, name).exchange_id
    table = exchange_set_aside.c
    query = (
        select(exchange_set_aside)
        .where(table.exchange_id == exchange_id)
        .order_by(table.seen_at.desc(), table.set_aside_id.desc())
        .limit(limit)
    )
    return [
        SetAsideRecord(
            SetAside(row.page, row.place, row.field, row.reason, bytes(row.record_sha256)),
            from_microseconds(row.seen_at),
        )
        for row in connection.execute(query)
    ]


def save_progress(
    engine: Engine, checkpoint: Checkpoint, set_aside: Sequence[SetAside] = ()
) -> None:
    """Moves a checkpoint where no entry came with it.

    Raises:
        ExchangeNotFoundError, ExchangeConflictError: see `write_progress`.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        write_progress(connection, checkpoint, set_aside, change_id=None)


def write_progress(
    connection: Connection,
    checkpoint: Checkpoint,
    set_aside: Sequence[SetAside],
    *,
    change_id: int | None,
    mended: Iterable[bytes] | None = (),
) -> None:
    """Moves a checkpoint in a transaction that holds the write lock.

    Raises:
        ExchangeNotFoundError: the exchange was removed meanwhile.
        ExchangeConflictError: another fetch has moved its checkpoint meanwhile.
    """
    this = exchanges.c.exchange_id == checkpoint.exchange_id
    if connection.execute(select(exchanges.c.exchange_id).where(this)).first() is None:
        raise ExchangeNotFoundError("the exchange was removed; nothing of this page was taken")
    table = exchange_checkpoints.c
    at = select(table.number).where(table.exchange_id == checkpoint.exchange_id)
    if (connection.execute(at).scalar() or 0) != checkpoint.after:
        raise ExchangeConflictError(
            "another fetch of this exchange has gone on meanwhile; nothing of this page was taken"
        )
    now = now_microseconds()
    values = {
        "number": checkpoint.after + 1,
        "document": json.dumps(dict(checkpoint.document)),
        "change_id": change_id,
        "saved_at": now,
    }
    insert_row = upsert(connection, exchange_checkpoints)
    connection.execute(
        insert_row.values(exchange_id=checkpoint.exchange_id, **values).on_conflict_do_update(
            index_elements=[table.exchange_id], set_=values
        )
    )
    if checkpoint.full_at is not None:
        full_at = to_microseconds(checkpoint.full_at)
        connection.execute(update(exchanges).where(this).values(full_at=full_at, full_due_at=None))
    _forget_mended(connection, checkpoint.exchange_id, mended)
    _set_aside(connection, checkpoint.exchange_id, set_aside, change_id=change_id, now=now)


def _forget_mended(
    connection: Connection, exchange_id: int, mended: Iterable[bytes] | None
) -> None:
    """Those that are known by any of these bytes are set aside no longer; None: none of all."""
    table = exchange_set_aside.c
    of_this = table.exchange_id == exchange_id
    held = set(connection.execute(select(table.record_sha256).where(of_this)).scalars())
    if held and mended is not None:
        key = read_key(connection)
        held &= {fingerprint(key, _KNOWN_BY, each) for each in mended}
    for chunk in chunks(sorted(held)):
        connection.execute(
            delete(exchange_set_aside).where(of_this, table.record_sha256.in_(chunk))
        )


def _insert_exchange(
    connection: Connection, name: str, kind: str, list_name: str, settings: Mapping[str, Any]
) -> ExchangeRecord:
    """Adds one in a transaction that holds the write lock; of a filled list all is owed anew.

    Raises:
        ListNotFoundError, ExchangeExistsError, ListFedError: nothing was added.
    """
    row = find_list(connection, list_name)
    _require_free_name(connection, name)
    if (other := exchange_of_list(connection, row.list_id)) is not None:
        raise ExchangeExistsError(
            f"the list {list_name} is filled by the exchange {other.name} already; give each"
            " exchange a list of its own"
        )
    _require_nothing_else(connection, row.list_id, list_name, kind)
    connection.execute(
        insert(exchanges).values(
            name=name,
            kind=kind,
            list_id=row.list_id,
            settings=json.dumps(dict(settings), sort_keys=True),
            state=ExchangeState.ACTIVE,
            created_at=now_microseconds(),
            # What an earlier exchange has brought, this one need not withdraw itself: it may lead
            # elsewhere, or have forgotten by now what it withdrew.
            full_due_at=now_microseconds() if was_filled(connection, row.list_id) else None,
        )
    )
    return find_exchange(connection, name)


def _require_free_name(connection: Connection, name: str) -> None:
    taken = select(exchanges.c.exchange_id).where(exchanges.c.name == name)
    if connection.execute(taken).first() is not None:
        raise ExchangeExistsError(f"an exchange named {name!r} exists already")


def _require_nothing_else(connection: Connection, list_id: int, list_name: str, kind: str) -> None:
    """What did not come from an exchange of the kind would be withdrawn by its first full fetch."""
    query = (
        select(imports.c.format)
        .join(changes, changes.c.change_id == imports.c.change_id)
        .where(changes.c.list_id == list_id, imports.c.format != kind)
        .where(changes.c.state.in_([ChangeState.STAGING, ChangeState.COMMITTED]))
        .limit(1)
    )
    found = connection.execute(query).scalar()
    if found is not None:
        raise ListFedError(
            f"entries were imported into the list {list_name} as {found}, and would be withdrawn"
            " once all of the exchange is fetched anew; give it a list of its own"
        )


def _set_aside(
    connection: Connection,
    exchange_id: int,
    records: Sequence[SetAside],
    *,
    change_id: int | None,
    now: int,
) -> None:
    """A record that comes again has its row renewed."""
    if not records:
        return
    key = read_key(connection)
    last = {
        fingerprint(key, _KNOWN_BY, each.record_sha256): each for each in records[-MAX_SET_ASIDE:]
    }
    table = exchange_set_aside.c
    insert_row = upsert(connection, exchange_set_aside)
    renewed = ("change_id", "seen_at", "page", "place", "field", "reason")
    connection.execute(
        insert_row.on_conflict_do_update(
            index_elements=[table.exchange_id, table.record_sha256],
            set_={name: insert_row.excluded[name] for name in renewed},
        ),
        [
            {
                "exchange_id": exchange_id,
                "change_id": change_id,
                "seen_at": now,
                "page": each.page,
                "place": each.place,
                "field": each.field,
                "reason": each.reason,
                "record_sha256": known_by,
            }
            for known_by, each in last.items()
        ],
    )
    newest = (
        select(table.set_aside_id)
        .where(table.exchange_id == exchange_id)
        .order_by(table.seen_at.desc(), table.set_aside_id.desc())
    )
    old = connection.execute(newest.offset(MAX_SET_ASIDE)).scalars().all()
    for chunk in chunks(old):
        connection.execute(delete(exchange_set_aside).where(table.set_aside_id.in_(chunk)))


_SET_ASIDE_NUMBER = (
    select(func.count())
    .where(exchange_set_aside.c.exchange_id == exchanges.c.exchange_id)
    .scalar_subquery()
    .label("set_aside")
)
_RECORDS = (
    select(
        exchanges,
        hash_lists.c.name.label("list_name"),
        exchange_checkpoints.c.number,
        exchange_checkpoints.c.document,
        exchange_checkpoints.c.saved_at,
        _SET_ASIDE_NUMBER,
    )
    .join(hash_lists, hash_lists.c.list_id == exchanges.c.list_id)
    .outerjoin(exchange_checkpoints, exchange_checkpoints.c.exchange_id == exchanges.c.exchange_id)
)


def _record(row: Row[Any]) -> ExchangeRecord:
    return ExchangeRecord(
        exchange_id=row.exchange_id,
        name=row.name,
        kind=row.kind,
        list_name=row.list_name,
        settings=json.loads(row.settings),
        state=ExchangeState(row.state),
        created_at=from_microseconds(row.created_at),
        full_at=None if row.full_at is None else from_microseconds(row.full_at),
        full_due_at=None if row.full_due_at is None else from_microseconds(row.full_due_at),
        checkpoint=None if row.document is None else json.loads(row.document),
        number=row.number or 0,
        saved_at=None if row.saved_at is None else from_microseconds(row.saved_at),
        set_aside=row.set_aside,
    )
