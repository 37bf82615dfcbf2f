"""Finds entries: by id with all they hold, by what their source calls them, and how they stand.

Reads only. No hash value and no source's own id is indexed, so that the catalog stays small and
imports fast: a search by one of them reads every version that the catalog holds, once for each
20,000 values. That takes seconds at ten million entries, which is little beside the rarity of a
correction; ids of entries and keys are found at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from hashlists.catalog.derived import confirmed, digests_of
from hashlists.catalog.list_handling import ListHandling, read_sayings
from hashlists.catalog.schema import (
    KIND_BITS,
    Origin,
    changes,
    classifications,
    entries,
    entry_versions,
    extra_hashes,
    hash_lists,
)
from hashlists.catalog.states import chunks, entries_of, entry_states
from hashlists.errors import EntryNotFoundError
from hashlists.model import DIGEST_KIND_OF_LENGTH, Classification, Entry, EntryFlag, HashKind
from hashlists.validate import TEXT_KEY_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import ColumnElement, Connection, Row, Select

    from hashlists.model import EntrySelection

#: Values compared in one pass over the versions; PostgreSQL takes 65,535 parameters, SQLite half.
_VALUES_A_PASS = 20_000
_MAX_ID = 2**63 - 1
_SHOWN_ID_CHARS = 40
_LIKE_A_HASH = re.compile(r"[0-9A-Za-z+/=]{16}")


@dataclass(frozen=True, slots=True)
class Standing:
    """How entries stand.

    Attributes:
        entries: how many different ones there are.
        in_force: those that nobody holds retracted.
        retracted_here: those that an operator holds retracted.
        versions: versions that the catalog holds of them.
    """

    entries: int
    in_force: int
    retracted_here: int
    versions: int


def find_entries(
    connection: Connection, hash_list: Row[Any], selection: EntrySelection
) -> list[int]:
    """The ids of the entries that a selection names, ascending, each once.

    Source ids and digests are those of an entry's newest version, whether it is in force or not.

    Raises:
        EntryNotFoundError: something names no entry of this list. The message says what the first
            is (a digest only by its place) and how many more there are.
        ValueError: a value is no digest.
    """
    found = set(_known_ids(connection, hash_list, selection.entry_ids))
    by_source_id = _by_source_id(connection, hash_list.list_id, selection.source_ids)
    _require_all("source id", hash_list, selection.source_ids, by_source_id)
    by_digest = _by_digest(connection, hash_list.list_id, selection.digests)
    _require_all("digest", hash_list, selection.digests, by_digest)
    for ids in (*by_source_id.values(), *by_digest.values()):
        found |= ids
    return sorted(found)


def entries_by_digest(
    connection: Connection, hash_list: Row[Any], digests: Sequence[bytes]
) -> dict[bytes, list[int]]:
    """Which entries of a list carry each digest in their newest version, in force or not.

    Digests that none carries are left out.

    Raises:
        ValueError: a value is no digest.
    """
    found = _by_digest(connection, hash_list.list_id, digests)
    return {digest: sorted(ids) for digest, ids in found.items()}


def _known_ids(
    connection: Connection, hash_list: Row[Any], entry_ids: Sequence[int]
) -> Iterable[int]:
    wanted = sorted(set(entry_ids))
    possible = [each for each in wanted if 0 < each <= _MAX_ID]
    here = entries_of(connection, hash_list.list_id, possible)
    known = entry_states(connection, here).keys()
    missing = [each for each in wanted if each not in known]
    if missing:
        raise _not_found(hash_list, str(missing[0]), len(missing) - 1)
    return known


def _by_source_id(
    connection: Connection, list_id: int, source_ids: Sequence[str]
) -> dict[str, set[int]]:
    """Source id or key -> entries of the list."""
    wanted = list(dict.fromkeys(source_ids))
    keyed: list[tuple[int, str]] = []
    for part in chunks(wanted):
        key_of = {TEXT_KEY_TAG + each.encode(): each for each in part}
        query = select(entries.c.entry_id, entries.c.source_key).where(
            entries.c.list_id == list_id, entries.c.source_key.in_(list(key_of))
        )
        keyed += [(row[0], key_of[bytes(row[1])]) for row in connection.execute(query)]
    carried = _search(connection, wanted, entry_versions.c.source_id, _VERSIONS)
    known = entry_states(connection, sorted({entry_id for entry_id, _ in keyed}))
    found = _newest_only(connection, list_id, carried)
    for entry_id, key in keyed:
        if entry_id in known:
            found.setdefault(key, set()).add(entry_id)
    return found


def _by_digest(
    connection: Connection, list_id: int, digests: Sequence[bytes]
) -> dict[bytes, set[int]]:
    """Digest -> entries of the list."""
    wanted: dict[HashKind, list[bytes]] = {}
    for each in dict.fromkeys(digests):
        if len(each) not in DIGEST_KIND_OF_LENGTH:
            raise ValueError("a digest has 16, 20 or 32 bytes")
        wanted.setdefault(DIGEST_KIND_OF_LENGTH[len(each)], []).append(each)
    carried: list[tuple[int, int, bytes]] = []
    for kind, values in wanted.items():
        carried += _search(connection, values, entry_versions.c[kind.value], _VERSIONS)
        more = _EXTRA_VERSIONS.where(extra_hashes.c.kind == kind.value)
        carried += _search(connection, values, extra_hashes.c.value, more)
    return _newest_only(connection, list_id, carried)


_VERSIONS = select(entry_versions.c.entry_id, entry_versions.c.version_id)
_EXTRA_VERSIONS = _VERSIONS.join(
    extra_hashes, extra_hashes.c.version_id == entry_versions.c.version_id
)


def _search(
    connection: Connection, values: Sequence[Any], column: ColumnElement[Any], rows: Select[Any]
) -> list[tuple[int, int, Any]]:
    """`(entry, version, value)` of every version that carries one of the values, of any list."""
    query = rows.add_columns(column)
    return [
        (entry_id, version_id, bytes(value) if isinstance(value, memoryview) else value)
        for chunk in chunks(values, _VALUES_A_PASS)
        for entry_id, version_id, value in connection.execute(query.where(column.in_(chunk)))
    ]


def _newest_only(
    connection: Connection, list_id: int, carried: Sequence[tuple[int, int, Any]]
) -> dict[Any, set[int]]:
    """Value -> entries of the list whose newest committed version carries it."""
    newest = entry_states(connection, sorted({entry_id for entry_id, _, _ in carried}))
    current = [
        (entry_id, value)
        for entry_id, version_id, value in carried
        if entry_id in newest and newest[entry_id].version_id == version_id
    ]
    here = set(entries_of(connection, list_id, [entry_id for entry_id, _ in current]))
    found: dict[Any, set[int]] = {}
    for entry_id, value in current:
        if entry_id in here:
            found.setdefault(value, set()).add(entry_id)
    return found


def _require_all(
    what: str, hash_list: Row[Any], given: Sequence[Any], found: dict[Any, set[int]]
) -> None:
    missing = [place for place, each in enumerate(dict.fromkeys(given)) if each not in found]
    if missing:
        first = list(dict.fromkeys(given))[missing[0]]
        told = (
            f"with the {what} {first}"
            if _may_be_shown(first)
            else (f"with the {what} that stands at place {missing[0] + 1} of those given")
        )
        raise _not_found(hash_list, told, len(missing) - 1)


def _may_be_shown(value: object) -> bool:
    """Whether a source's id is short and cannot be a hash that was taken for an id."""
    return (
        isinstance(value, str)
        and len(value) <= _SHOWN_ID_CHARS
        and value.isprintable()
        and not _LIKE_A_HASH.search(value)
    )


def _not_found(hash_list: Row[Any], what: str, more: int) -> EntryNotFoundError:
    others = f" (nor {more:,} more of those given)" if more else ""
    return EntryNotFoundError(
        f"list {hash_list.name!r} has no entry {what}{others}; nothing was changed"
    )


def standing(connection: Connection, entry_ids: Sequence[int]) -> Standing:
    """How entries stand at the newest revision; ids that nobody knows count nowhere."""
    states = entry_states(connection, sorted(set(entry_ids)))
    versions = 0
    for chunk in chunks(sorted(states)):
        query = select(func.count()).where(entry_versions.c.entry_id.in_(chunk))
        versions += connection.execute(query).scalar_one()
    return Standing(
        entries=len(states),
        in_force=sum(state.in_force for state in states.values()),
        retracted_here=sum(Origin.OPERATOR in state.retracted_by for state in states.values()),
        versions=versions,
    )


def read_entry(connection: Connection, entry_id: int) -> Entry:
    """The newest committed version of an entry, also of one that is retracted by now.

    Raises:
        EntryNotFoundError: no entry goes by that id, or it was purged.
    """
    query = (
        select(
            entry_versions,
            entries.c.source_key,
            hash_lists.c.list_id,
            hash_lists.c.name,
            classifications.c.scheme,
            classifications.c.profile,
            classifications.c.code,
        )
        .join(entries, entries.c.entry_id == entry_versions.c.entry_id)
        .join(hash_lists, hash_lists.c.list_id == entries.c.list_id)
        .join(changes, changes.c.change_id == entry_versions.c.change_id)
        .outerjoin(
            classifications,
            classifications.c.classification_id == entry_versions.c.classification_id,
        )
        .where(entry_versions.c.entry_id == entry_id, changes.c.revision.is_not(None))
        .order_by(changes.c.revision.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise EntryNotFoundError(f"there is no entry {entry_id}; it may have been purged")
    return _entry(connection, row)


def _entry(connection: Connection, row: Row[Any]) -> Entry:
    columns = row._mapping  # noqa: SLF001 - SQLAlchemy's documented access by name
    extras = (
        select(extra_hashes.c.kind, extra_hashes.c.value, extra_hashes.c.derivation)
        .where(extra_hashes.c.version_id == row.version_id)
        .order_by(extra_hashes.c.ordinal)
    )
    further = [(HashKind(kind), value, made) for kind, value, made in connection.execute(extras)]
    digests = digests_of(connection, [row.entry_id])
    own = confirmed(connection, digests).get(row.entry_id, ())
    further += [(each.kind, each.value, each.derivation) for each in own]
    hashes = {kind: columns[kind.value] for kind in KIND_BITS}
    held = ListHandling.read(connection, row.list_id)
    said = read_sayings(connection, [row.handling_id])[row.handling_id]
    classified = row.classification_id is not None
    return Entry(
        entry_id=row.entry_id,
        list_name=row.name,
        key=row.source_key,
        hashes={kind: value for kind, value in hashes.items() if value is not None},
        extra_hashes=tuple((kind, value) for kind, value, _ in further),
        extra_derivations=tuple(derivation for _, _, derivation in further),
        size=row.size,
        classification=(Classification(row.scheme, row.profile, row.code) if classified else None),
        handling=held.holds(said, held.newest),
        flags=EntryFlag(row.flags),
        flags_known=EntryFlag(row.flags_known),
        verified_count=row.verified_count,
        media_type=row.media_type,
        source_id=row.source_id,
        source_updated_at=row.source_updated_at,
    )
