"""What holds of single entries at a revision: their version in force, and whether it is retracted.

Everything that writes (staging, retraction, rollback, purge) asks here, so that "in force" means
one thing. Bulk reading for snapshots is in `reader.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import bindparam, select

from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.schema import (
    Action,
    Origin,
    changes,
    entries,
    entry_versions,
    head,
    retractions,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

#: Keys or ids in one IN list.
CHUNK = 1_000

T = TypeVar("T")


@dataclass(slots=True)
class EntryState:
    """One entry at a revision.

    Attributes:
        version_id: the version in force, or that would be if it were not retracted.
        kinds, handling_id, content_digest: of that version; what its record said of handling.
        retracted_by: the origins that hold it retracted.
    """

    version_id: int
    kinds: int
    handling_id: int
    content_digest: bytes
    retracted_by: frozenset[Origin] = frozenset()

    @property
    def in_force(self) -> bool:
        """True when readers see it (but for expiry)."""
        return not self.retracted_by

    def says_the_same(self, other: EntryState) -> bool:
        """Whether the two versions say the same, also of who said what of handling."""
        return (self.content_digest, self.handling_id) == (other.content_digest, other.handling_id)

    @property
    def count_key(self) -> tuple[int, int]:
        """Where it counts in `counts.Counts`."""
        return self.kinds, self.handling_id


def chunks(items: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Slices of at most `size` items."""
    return (items[start : start + size] for start in range(0, len(items), size))


def entry_states(
    connection: Connection, entry_ids: Sequence[int], *, upto: int | None = None
) -> dict[int, EntryState]:
    """States of those entries that had a committed version at revision `upto` (None: now)."""
    newest = read_head(connection) if upto is None else upto
    states = _states(_COMMITTED_VERSIONS.run(connection, entry_ids, upto=newest))
    for entry_id, origins in _retracted(connection, list(states), newest).items():
        states[entry_id].retracted_by = origins
    return states


def entries_of(connection: Connection, list_id: int, entry_ids: Sequence[int]) -> list[int]:
    """Those of the entries that belong to the list, ascending, each once.

    The list is compared here and not by the database: SQLite would take the index by list, and
    pass over the whole list for every thousand ids.
    """
    rows = _LISTS_OF_ENTRIES.run(connection, sorted(set(entry_ids)))
    return sorted({entry_id for part in rows for entry_id, of_list in part if of_list == list_id})


def ids_of_keys(connection: Connection, list_id: int, keys: Sequence[bytes]) -> dict[bytes, int]:
    """Source key -> entry, for those of the keys that the list holds, also out of force."""
    known: dict[bytes, int] = {}
    for rows in _BY_KEY.run(connection, keys, list_id=list_id):
        known.update(dict(rows))
    return known


def staged_versions(
    connection: Connection, entry_ids: Sequence[int], change_id: int
) -> dict[int, EntryState]:
    """The versions that an open change has staged for those entries; retractions left out."""
    return _states(_STAGED_VERSIONS.run(connection, entry_ids, change_id=change_id))


def staged_actions(
    connection: Connection, entry_ids: Sequence[int], change_id: int
) -> dict[int, dict[Origin, Action]]:
    """What an open change does to the retractions of those entries."""
    actions: dict[int, dict[Origin, Action]] = {}
    for chunk in chunks(entry_ids):
        query = select(retractions.c.entry_id, retractions.c.origin, retractions.c.action).where(
            retractions.c.change_id == change_id, retractions.c.entry_id.in_(chunk)
        )
        for entry_id, origin, action in connection.execute(query):
            actions.setdefault(entry_id, {})[Origin(origin)] = Action(action)
    return actions


def retracted_among(connection: Connection, entry_ids: Sequence[int]) -> set[int]:
    """Those of the entries that any origin holds retracted now."""
    found = _retracted(connection, entry_ids, read_head(connection))
    return {entry_id for entry_id, origins in found.items() if origins}


def after_actions(
    origins: frozenset[Origin], actions: Mapping[Origin, Action]
) -> frozenset[Origin]:
    """The origins that hold an entry retracted once `actions` are done."""
    retract = {origin for origin, action in actions.items() if action is Action.RETRACT}
    return (origins - actions.keys()) | retract


def read_head(connection: Connection) -> int:
    """The newest revision number; 0 before the first."""
    return int(connection.execute(select(head.c.revision)).scalar_one())


_VERSION = select(
    entry_versions.c.entry_id,
    entry_versions.c.version_id,
    entry_versions.c.kinds,
    entry_versions.c.handling_id,
    entry_versions.c.content_digest,
)
_LISTS_OF_ENTRIES = BulkSelect(entries.c.entry_id, select(entries.c.entry_id, entries.c.list_id))
_BY_KEY = BulkSelect(
    entries.c.source_key,
    select(entries.c.source_key, entries.c.entry_id).where(
        entries.c.list_id == bindparam("list_id")
    ),
)
_COMMITTED_VERSIONS = BulkSelect(
    entry_versions.c.entry_id,
    _VERSION.join(changes, changes.c.change_id == entry_versions.c.change_id)
    .where(changes.c.revision <= bindparam("upto"))
    .order_by(changes.c.revision),  # the newest comes last and stays
)
_STAGED_VERSIONS = BulkSelect(
    entry_versions.c.entry_id, _VERSION.where(entry_versions.c.change_id == bindparam("change_id"))
)
_COMMITTED_ACTIONS = BulkSelect(
    retractions.c.entry_id,
    select(retractions.c.entry_id, retractions.c.origin, retractions.c.action)
    .join(changes, changes.c.change_id == retractions.c.change_id)
    .where(changes.c.revision <= bindparam("upto"))
    .order_by(changes.c.revision),
)


def _states(parts: Iterable[Sequence[Any]]) -> dict[int, EntryState]:
    return {
        entry_id: EntryState(version_id, kinds, handling_id, digest)
        for rows in parts
        for entry_id, version_id, kinds, handling_id, digest in rows
    }


def _retracted(
    connection: Connection, entry_ids: Sequence[int], upto: int
) -> dict[int, frozenset[Origin]]:
    latest: dict[int, dict[Origin, Action]] = {}
    for rows in _COMMITTED_ACTIONS.run(connection, entry_ids, upto=upto):
        for entry_id, origin, action in rows:
            latest.setdefault(entry_id, {})[Origin(origin)] = Action(action)
    return {entry_id: after_actions(frozenset(), actions) for entry_id, actions in latest.items()}
