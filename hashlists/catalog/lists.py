"""The lists themselves: made, changed and found. What is on them is no matter of this module.

Invariants: a name is given once; harm and source stay as they are once an entry was on the list.
Every change of a list is one revision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select, update

from hashlists.catalog.commit import ChangeAuthor, ChangeTotals, finish_change, insert_change
from hashlists.catalog.counts import Counts, list_coverage
from hashlists.catalog.engine import catalog_errors, stager, writer
from hashlists.catalog.interning import intern_handling
from hashlists.catalog.list_handling import ListHandling, is_same, stricter
from hashlists.catalog.open_change import require_no_open_change
from hashlists.catalog.records import ListRecord, from_microseconds, now_microseconds
from hashlists.catalog.schema import ChangeState, changes, hash_lists, list_handlings
from hashlists.errors import (
    HandlingWidenedError,
    InvalidNameError,
    ListChangedError,
    ListExistsError,
    ListNotFoundError,
)
from hashlists.model import ChangeKind, Harm, HashList, ListState
from hashlists.near_names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection, Engine, Row

    from hashlists.model import Handling, SaidHandling

#: How long before an end of use it must be set where it may not be put off again.
SHORTEST_NOTICE = timedelta(days=1)

_ON_ITS_MACHINE = "run `hashwarden lists handling` on its machine, without --server"
_NAME = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")


def create_list(engine: Engine, hash_list: HashList, *, author: str) -> ListRecord:
    """Adds an empty list, as one revision; see `Catalog.create_list`.

    Raises:
        InvalidNameError: the name is not 1 to 63 lower-case letters, digits and inner dashes,
            a letter first; or a recipient's is empty.
        ListExistsError: a list of that name exists.
    """
    hash_list = prepare_list(engine, hash_list)
    with catalog_errors(), writer(engine).begin() as connection:
        insert_list(connection, hash_list, author=author)
        now = now_microseconds()
        return list_record(connection, find_list(connection, hash_list.name), now=now)


def prepare_list(engine: Engine, hash_list: HashList) -> HashList:
    """The list as `insert_list` takes it; nobody sees anything of it yet.

    Raises:
        InvalidNameError, ListExistsError: see `create_list`.
    """
    require_name(hash_list.name, "a list")
    hash_list = replace(hash_list, handling=with_named_recipients(hash_list.handling))
    with catalog_errors(), engine.connect() as connection:
        _require_free_name(connection, hash_list.name)
    # An import that is bringing the same handling is waited for here, not under the lock.
    with catalog_errors(), stager(engine).begin() as connection:
        intern_handling(connection, hash_list.handling)
    return hash_list


def insert_list(connection: Connection, hash_list: HashList, *, author: str) -> None:
    """Adds a prepared list, as one revision, in a transaction that holds the write lock.

    Raises:
        ListExistsError: a list of that name exists.
    """
    _require_free_name(connection, hash_list.name)
    handling_id = intern_handling(connection, hash_list.handling)
    row_id = connection.execute(
        insert(hash_lists).values(
            name=hash_list.name,
            harm=hash_list.harm,
            source=hash_list.source,
            title=hash_list.title,
            legal_basis=hash_list.legal_basis,
            state=hash_list.state,
            handling_id=handling_id,
            created_at=now_microseconds(),
        )
    ).inserted_primary_key
    assert row_id is not None
    by = ChangeAuthor(row_id[0], hash_list.name, ChangeKind.CREATE_LIST, author, "")
    _keep_handling(connection, _bare_revision(connection, by), by.list_id, handling_id)


def require_name(name: str, of: str) -> None:
    """Refuses what is no name; `of` says of what it should be one.

    Raises:
        InvalidNameError: it is none.
    """
    if not _NAME.fullmatch(name):
        raise InvalidNameError(
            f"{of}'s name has 1 to 63 lower-case letters, digits and dashes, begins with a"
            f" letter and does not end with a dash; {name!r} does not"
        )


def update_list(
    engine: Engine, name: str, given: Mapping[str, str | None], *, author: str, reason: str
) -> ListRecord:
    """Changes what is given of a list, as one revision; see `Catalog.update_list`.

    Args:
        engine: of the catalog.
        name: the list.
        given: columns of `hash_lists` and what they become; None leaves one as it is.
        author: who changes it.
        reason: why.

    Raises:
        ListNotFoundError: no list goes by that name.
        ListExistsError: harm or source would change, and the list holds or held entries, or an
            import into it is under way.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        row = find_list(connection, name)
        values = {
            column: value
            for column, value in given.items()
            if value is not None and getattr(row, column) != value
        }
        if values.keys() & {"harm", "source"} and was_filled(connection, row.list_id):
            raise ListExistsError(
                f"the list {name!r} holds or held entries, so its harm and source stay as they"
                " are; import into another list"
            )
        if values:
            connection.execute(
                update(hash_lists).where(hash_lists.c.list_id == row.list_id).values(values)
            )
            by = ChangeAuthor(row.list_id, name, ChangeKind.UPDATE_LIST, author, reason)
            _bare_revision(connection, by)
        return list_record(connection, find_list(connection, name), now=now_microseconds())


def promote_list(
    engine: Engine, name: str, *, author: str, reason: str, if_revision: int | None
) -> ListRecord:
    """Makes a list live, as one revision; see `Catalog.promote_list`.

    Raises:
        ListNotFoundError: no list goes by that name.
        ListChangedError: its newest revision is another than `if_revision`.
        ImportInProgressError: an import into it is under way.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        row = find_list(connection, name)
        by = ChangeAuthor(row.list_id, name, ChangeKind.PROMOTE, author, reason)
        require_no_open_change(connection, by)
        newest = _newest_revision(connection, row.list_id)
        if if_revision is not None and newest != if_revision:
            raise ListChangedError(
                f"the list {name!r} is at revision {newest}, not {if_revision}; look at what has"
                " changed, and promote that"
            )
        return _into_state(connection, row, ListState.LIVE, by)


def demote_list(engine: Engine, name: str, *, author: str, reason: str) -> ListRecord:
    """Puts a list in shadow, as one revision; see `Catalog.demote_list`.

    Raises:
        ListNotFoundError: no list goes by that name.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        row = find_list(connection, name)
        by = ChangeAuthor(row.list_id, name, ChangeKind.DEMOTE, author, reason)
        return _into_state(connection, row, ListState.SHADOW, by)


@dataclass(frozen=True, slots=True)
class HandlingChange:
    """What a list is to say of handling; see `Catalog.change_handling`."""

    said: SaidHandling
    endless: bool = False
    may_widen: bool = True

    def of(self, held: Handling) -> Handling:
        """What becomes of what the list says now.

        Raises:
            InvalidNameError: a recipient has no name.
            HandlingWidenedError: more than it may.
        """
        said = with_named_recipients(
            self.said.over(replace(held, expires_at=None) if self.endless else held)
        )
        wanted = held if is_same(said, held) else said
        allowed = stricter(wanted, held)
        if not self.may_widen:
            if wanted != allowed or wanted.originator != held.originator:
                raise HandlingWidenedError(
                    "a list's entries are released to more recipients, used for longer, or said to"
                    f" be of another originator, only by who has the catalog: {_ON_ITS_MACHINE}"
                )
            _require_notice(wanted, held)
        return wanted


def _require_notice(wanted: Handling, held: Handling) -> None:
    """Refuses an end of use so near that nobody could undo it from where it can be undone.

    Raises:
        HandlingWidenedError: it is.
    """
    end = wanted.expires_at
    if end is not None and end != held.expires_at and end < datetime.now(UTC) + SHORTEST_NOTICE:
        raise HandlingWidenedError(
            "from afar the use of a list's entries ends a day from now at the earliest, since only"
            f" who has the catalog can undo it; to end it sooner: {_ON_ITS_MACHINE}"
        )


def change_handling(
    engine: Engine, name: str, change: HandlingChange, *, author: str, reason: str
) -> ListRecord:
    """Changes what a list says of handling, as one revision; see `Catalog.change_handling`.

    Raises:
        ListNotFoundError: no list goes by that name.
        InvalidNameError: a recipient has no name.
        HandlingWidenedError: it would be widened, and may not be; or its end is too near for that.
    """
    with catalog_errors(), engine.connect() as connection:
        wanted = _changed_handling(connection, find_list(connection, name), change)
    # An import that is bringing the same handling is waited for here, not under the lock.
    with catalog_errors(), stager(engine).begin() as connection:
        intern_handling(connection, wanted)
    with catalog_errors(), writer(engine).begin() as connection:
        row = find_list(connection, name)
        wanted = _changed_handling(connection, row, change)
        handling_id = intern_handling(connection, wanted)
        if handling_id != row.handling_id:
            this_list = hash_lists.c.list_id == row.list_id
            connection.execute(update(hash_lists).where(this_list).values(handling_id=handling_id))
            by = ChangeAuthor(row.list_id, name, ChangeKind.HANDLING, author, reason)
            _keep_handling(connection, _bare_revision(connection, by), row.list_id, handling_id)
        return list_record(connection, find_list(connection, name), now=now_microseconds())


def with_named_recipients(handling: Handling) -> Handling:
    """It, with each recipient once.

    Raises:
        InvalidNameError: one has no name, or several in one.
    """
    if not all(each.strip() for each in handling.releasable_to):
        raise InvalidNameError(
            "a recipient to whom entries may be released has a name; this one is empty"
        )
    if any(";" in each for each in handling.releasable_to):
        raise InvalidNameError(
            "a recipient's name has no semicolon, which sets names apart in tables: give each name"
            " by itself, as --releasable-to ONE --releasable-to OTHER"
        )
    return replace(handling, releasable_to=tuple(dict.fromkeys(handling.releasable_to)))


def _changed_handling(connection: Connection, row: Row[Any], change: HandlingChange) -> Handling:
    return change.of(ListHandling.read(connection, row.list_id).handlings[-1])


def _into_state(
    connection: Connection, row: Row[Any], state: ListState, by: ChangeAuthor
) -> ListRecord:
    """A list that is in that state already needs no revision."""
    if row.state != state:
        this_list = hash_lists.c.list_id == row.list_id
        connection.execute(update(hash_lists).where(this_list).values(state=state))
        _bare_revision(connection, by)
    return list_record(connection, find_list(connection, row.name), now=now_microseconds())


def find_list(connection: Connection, name: str) -> Row[Any]:
    """The row of a list.

    Raises:
        ListNotFoundError: no list goes by that name.
    """
    row = connection.execute(select(hash_lists).where(hash_lists.c.name == name)).one_or_none()
    if row is None:
        near = did_you_mean(name, connection.execute(select(hash_lists.c.name)).scalars().all())
        raise ListNotFoundError(
            f"there is no list named {name!r}{near}`lists show` names those there are, and "
            "`lists create` makes one"
        )
    return row


def list_record(connection: Connection, row: Row[Any], *, now: int) -> ListRecord:
    """The record of a row of `hash_lists`, as this transaction sees it."""
    handling = ListHandling.read(connection, row.list_id)
    return ListRecord(
        hash_list=HashList(
            name=row.name,
            harm=Harm(row.harm),
            source=row.source,
            title=row.title,
            legal_basis=row.legal_basis,
            state=ListState(row.state),
            handling=handling.handlings[-1],
        ),
        list_id=row.list_id,
        created_at=from_microseconds(row.created_at),
        revision=_newest_revision(connection, row.list_id),
        coverage=list_coverage(connection, row.list_id, now=now),
        first_handling=handling.first,
    )


def list_records(
    connection: Connection, *, now: int, after: str | None = None, limit: int | None = None
) -> list[ListRecord]:
    """Records of all lists by name, from the one after `after` on."""
    query = select(hash_lists).order_by(hash_lists.c.name).limit(limit)
    if after is not None:
        query = query.where(hash_lists.c.name > after)
    return [list_record(connection, row, now=now) for row in connection.execute(query).all()]


def _newest_revision(connection: Connection, list_id: int) -> int:
    newest = select(func.max(changes.c.revision)).where(changes.c.list_id == list_id)
    return connection.execute(newest).scalar() or 0


def was_filled(connection: Connection, list_id: int) -> bool:
    """Whether entries were ever imported into a list, or are being imported now."""
    query = (
        select(changes.c.change_id)
        .where(changes.c.list_id == list_id, changes.c.kind == ChangeKind.IMPORT)
        .where(changes.c.state.in_([ChangeState.STAGING, ChangeState.COMMITTED]))
        .limit(1)
    )
    return connection.execute(query).first() is not None


def _require_free_name(connection: Connection, name: str) -> None:
    taken = select(hash_lists.c.list_id).where(hash_lists.c.name == name)
    if connection.execute(taken).first() is not None:
        raise ListExistsError(f"a list named {name!r} exists already")


def _bare_revision(connection: Connection, by: ChangeAuthor) -> int:
    """Makes a revision that changes no entry; returns the id of its change."""
    change_id = insert_change(connection, by, ChangeState.EMPTY)
    finish_change(connection, by, change_id, ChangeTotals(), Counts(), always=True)
    return change_id


def _keep_handling(connection: Connection, change_id: int, list_id: int, handling_id: int) -> None:
    kept = {"change_id": change_id, "list_id": list_id, "handling_id": handling_id}
    connection.execute(insert(list_handlings).values(kept))
