"""Codes made here from an entry's own file, e.g. of a crop: proposed, confirmed, withdrawn.

Such a code hangs on the entry and on the digest of the file that it was made from, not on a
version: so it outlives imports that change other things of the entry, and counts no longer once
the entry has another digest. Invariants: of what was done to one value of an entry, the newest
committed act counts; a code is in force iff that act is a confirmation, the entry is in force, and
its newest version carries the digest. Rows are appended, never altered; a purge erases them.
What sources say is never mixed with it: lists' coverage tells of their codes alone, and exports do,
unless asked for both.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, insert, or_, select

from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.commit import ChangeAuthor, ChangeTotals, finish_change, insert_change
from hashlists.catalog.counts import Counts
from hashlists.catalog.engine import catalog_errors, refresh_statistics, writer
from hashlists.catalog.records import from_microseconds
from hashlists.catalog.retract import require_states
from hashlists.catalog.schema import (
    ChangeState,
    changes,
    derived_hashes,
    entries,
    entry_versions,
    extra_hashes,
    revisions,
)
from hashlists.catalog.states import read_head
from hashlists.catalog.tombstones import read_tombstones
from hashlists.errors import DerivedHashError
from hashlists.model import CODE_KINDS, DIGEST_KINDS, HashKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Connection, Engine

    from hashlists.model import Revision

    #: Entry, kind, value.
    Key = tuple[int, HashKind, bytes]

#: Codes of one act, which is one transaction that others wait for.
MAX_DERIVED = 20_000
_MAX_DERIVATION_CHARS = 32
#: Ids for each entry up to which a range of them is read whole.
_DENSE = 8
#: Entries whose codes are listed together.
_LISTED_ENTRIES = 1_000


class DerivedAction(StrEnum):
    """What is done to a derived code."""

    PROPOSE = "propose"
    CONFIRM = "confirm"
    WITHDRAW = "withdraw"


@dataclass(frozen=True, slots=True)
class DerivedHash:
    """A code that was made here from a file that an entry names by its digest.

    Attributes:
        kind: a perceptual kind that Hashwarden computes.
        value: raw bytes.
        derivation: how it was made, e.g. `crop:0.02`, or `file` for the whole of it.
        of_kind, of_digest: the digest of the file, one of the entry's own.
    """

    entry_id: int
    kind: HashKind
    value: bytes = field(repr=False)
    derivation: str
    of_kind: HashKind
    of_digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class FileCode:
    """A code that was made here from a file; which entry names the file is told beside it.

    Attributes:
        kind, value, derivation, of_kind, of_digest: as in `DerivedHash`.
    """

    kind: HashKind
    value: bytes = field(repr=False)
    derivation: str
    of_kind: HashKind
    of_digest: bytes = field(repr=False)

    def of_entry(self, entry_id: int) -> DerivedHash:
        """As one of that entry."""
        return DerivedHash(
            entry_id, self.kind, self.value, self.derivation, self.of_kind, self.of_digest
        )


@dataclass(frozen=True, slots=True)
class DerivedRecord:
    """A derived code, and the newest act on it; equal where the two are.

    Attributes:
        derived: the code.
        action: the act.
        revision: of the act.
        author: who did it; filled by `list_derived` alone, like what follows.
        at: when it was committed.
        fits: whether the entry's newest version still names the file; else the code cannot count.
    """

    derived: DerivedHash
    action: DerivedAction
    revision: int = field(default=0, compare=False)
    author: str = field(default="", compare=False)
    at: datetime | None = field(default=None, compare=False)
    fits: bool = field(default=True, compare=False)


def add_derived(
    engine: Engine, by: ChangeAuthor, rows: Sequence[DerivedHash], action: DerivedAction
) -> Revision | None:
    """Proposes, confirms or withdraws codes, as one revision; see `Catalog.add_derived`.

    Returns:
        The revision, or None where all of them stood like that already.

    Raises:
        EntryNotFoundError: an entry is not of this list; then nothing is done.
        DerivedHashError: a code cannot be one of its entry; then nothing is done.
    """
    if len(rows) > MAX_DERIVED:
        raise DerivedHashError(f"at most {MAX_DERIVED:,} derived codes at once, not {len(rows):,}")
    with catalog_errors(), writer(engine).begin() as connection:
        ids = sorted({row.entry_id for row in rows})
        require_states(connection, by, ids)
        if action is not DerivedAction.WITHDRAW:
            _require_fitting(connection, by.list_id, rows)
        known = newest_acts(connection, ids)
        new = {key_of(row): row for row in rows if changes_anything(known, row, action)}
        if not new:
            return None
        change_id = insert_change(connection, by, ChangeState.EMPTY)
        insert_acts(connection, change_id, [(row, action) for row in new.values()])
        totals = ChangeTotals(updated=len({row.entry_id for row in new.values()}))
        revision = finish_change(connection, by, change_id, totals, Counts(), always=True)
    refresh_statistics(engine, len(new))
    return revision


def changes_anything(
    acts: Mapping[Key, DerivedRecord], row: DerivedHash, action: DerivedAction
) -> bool:
    """Whether it does not stand like that already, by the newest acts on its entry's codes."""
    known = acts.get(key_of(row))
    if known is None or known.action is DerivedAction.WITHDRAW:
        return action is not DerivedAction.WITHDRAW
    if known.derived != row and action is not DerivedAction.WITHDRAW:
        return True  # made anew, e.g. from a file with the entry's corrected digest
    return action is not known.action and not (
        known.action is DerivedAction.CONFIRM and action is DerivedAction.PROPOSE
    )


def _require_fitting(connection: Connection, list_id: int, rows: Sequence[DerivedHash]) -> None:
    digests = digests_of(connection, sorted({row.entry_id for row in rows}))
    tombstones = read_tombstones(connection, list_id)
    for place, row in enumerate(rows, start=1):
        if (problem := problem_of(row)) is not None:
            raise DerivedHashError(f"derived code {place}: {problem}; nothing was changed")
        if (row.of_kind, row.of_digest) not in digests.get(row.entry_id, ()):
            raise DerivedHashError(
                f"derived code {place}: entry {row.entry_id} does not have the digest of that"
                " file; nothing was changed"
            )
        if tombstones.bars(row.kind, row.value):
            raise DerivedHashError(
                f"derived code {place}: it was purged from the list for good; nothing was changed"
            )


def problem_of(row: DerivedHash | FileCode) -> str | None:
    """Why it can be no derived code of any entry; None where it can."""
    if row.kind not in CODE_KINDS:
        return f"{row.kind} is no kind that is computed here"
    if len(row.value) != row.kind.nbytes:
        return f"a value of {row.kind} has {row.kind.nbytes} bytes"
    if row.of_kind not in DIGEST_KINDS or len(row.of_digest) != row.of_kind.nbytes:
        return "a code is made from a file that MD5, SHA-1 or SHA-256 names"
    if not 0 < len(row.derivation) <= _MAX_DERIVATION_CHARS or not row.derivation.isprintable():
        return f"its derivation has 1 to {_MAX_DERIVATION_CHARS} printable characters"
    return None


def newest_acts(
    connection: Connection, entry_ids: Sequence[int], *, upto: int | None = None
) -> dict[Key, DerivedRecord]:
    """The newest committed act on each derived code of those entries, at `upto` (None: now)."""
    newest = read_head(connection) if upto is None else upto
    found: dict[Key, DerivedRecord] = {}
    for part in _ACTS.run(connection, entry_ids, upto=newest):
        for entry_id, kind, value, derivation, of_kind, of_digest, action, revision in part:
            row = DerivedHash(
                *(entry_id, HashKind(kind), bytes(value)),
                *(derivation, HashKind(of_kind), bytes(of_digest)),
            )
            found[key_of(row)] = DerivedRecord(row, DerivedAction(action), revision)
    return found


def confirmed(
    connection: Connection,
    digests: Mapping[int, Collection[tuple[HashKind, bytes]]],
    *,
    upto: int | None = None,
) -> dict[int, list[DerivedHash]]:
    """By entry the confirmed codes that were made from a file with one of its digests.

    Args:
        connection: a reader's.
        digests: of the newest version of each entry, by entry.
        upto: the revision at which they were confirmed; None for the newest.
    """
    found: dict[int, list[DerivedHash]] = {}
    for (entry_id, _, _), record in newest_acts(connection, sorted(digests), upto=upto).items():
        row = record.derived
        if (
            record.action is DerivedAction.CONFIRM
            and (row.of_kind, row.of_digest) in (digests[entry_id])
        ):
            found.setdefault(entry_id, []).append(row)
    return found


def entries_with_derived(connection: Connection, entry_ids: Sequence[int]) -> list[int]:
    """Those of the entries, ascending, that any code was ever derived of."""
    low, high = entry_ids[0], entry_ids[-1]
    if high - low < _DENSE * len(entry_ids):
        column = derived_hashes.c.entry_id
        query = select(column).where(column >= low, column <= high).distinct()
        found = set(connection.execute(query).scalars())
    else:
        found = {row[0] for part in _ENTRIES.run(connection, entry_ids) for row in part}
    return [entry_id for entry_id in entry_ids if entry_id in found]


def has_derived(connection: Connection) -> bool:
    """Whether any code was ever derived."""
    return connection.execute(select(derived_hashes.c.derived_id).limit(1)).first() is not None


def list_derived(
    connection: Connection,
    list_id: int,
    action: DerivedAction | None,
    *,
    after: int,
    limit: int,
    entry_ids: Collection[int] | None = None,
) -> list[DerivedRecord]:
    """A page of a list's derived codes, by entry; see `Catalog.list_derived`."""
    of_entry = derived_hashes.c.entry_id
    query = (
        select(of_entry)
        .join(entries, entries.c.entry_id == of_entry)
        .where(entries.c.list_id == list_id)
        .distinct()
        .order_by(of_entry)
        .limit(_LISTED_ENTRIES)
    )
    chosen = None if entry_ids is None else sorted(set(entry_ids))
    found: list[DerivedRecord] = []
    while len(found) < limit:
        part = query.where(of_entry > after)
        if chosen is not None:
            chosen = chosen[bisect_right(chosen, after) :]
            part = part.where(of_entry.in_(chosen[:_LISTED_ENTRIES]))
        ids = connection.execute(part).scalars().all()
        if not ids and not (chosen and len(chosen) > _LISTED_ENTRIES):
            break
        acts = newest_acts(connection, ids)
        found += [acts[key] for key in sorted(acts) if action in (None, acts[key].action)]
        after = ids[-1] if chosen is None else chosen[:_LISTED_ENTRIES][-1]
    return _told(connection, found)


def _told(connection: Connection, records: Sequence[DerivedRecord]) -> list[DerivedRecord]:
    """The records with who acted, when, and whether the code can still count."""
    numbers = sorted({each.revision for each in records})
    acts = {
        number: (author, from_microseconds(committed_at))
        for part in _COMMITS.run(connection, numbers)
        for number, author, committed_at in part
    }
    digests = digests_of(connection, sorted({each.derived.entry_id for each in records}))
    return [
        replace(
            each,
            author=acts[each.revision][0],
            at=acts[each.revision][1],
            fits=(each.derived.of_kind, each.derived.of_digest) in digests[each.derived.entry_id],
        )
        for each in records
    ]


def insert_acts(
    connection: Connection, change_id: int, acts: Sequence[tuple[DerivedHash, DerivedAction]]
) -> None:
    """Appends acts of a change."""
    rows = [
        {
            "entry_id": row.entry_id,
            "change_id": change_id,
            "action": action,
            "kind": row.kind.value,
            "value": row.value,
            "derivation": row.derivation,
            "of_kind": row.of_kind.value,
            "of_digest": row.of_digest,
        }
        for row, action in acts
    ]
    if rows:
        connection.execute(insert(derived_hashes), rows)


def way_back(
    now: Mapping[Key, DerivedRecord], then: Mapping[Key, DerivedRecord]
) -> list[tuple[DerivedHash, DerivedAction]]:
    """What turns the acts of `now` into those of `then`; what came later is withdrawn."""
    acts = []
    for key, record in now.items():
        goal = then.get(key)
        if goal is None and record.action is not DerivedAction.WITHDRAW:
            acts.append((record.derived, DerivedAction.WITHDRAW))
        elif goal is not None and goal != record:
            acts.append((goal.derived, goal.action))
    return acts


def digests_of(
    connection: Connection, entry_ids: Sequence[int]
) -> dict[int, set[tuple[HashKind, bytes]]]:
    """The digests of each entry's newest committed version, retracted or not."""
    versions: dict[int, tuple[int, set[tuple[HashKind, bytes]]]] = {}
    for part in _DIGESTS.run(connection, entry_ids):
        for entry_id, version_id, *values in part:
            held = {
                (kind, bytes(value))
                for kind, value in zip(DIGEST_KINDS, values, strict=True)
                if value is not None
            }
            versions[entry_id] = (version_id, held)
    entry_of = {version_id: entry_id for entry_id, (version_id, _) in versions.items()}
    for part in _MORE_DIGESTS.run(connection, sorted(entry_of)):
        for version_id, kind, value in part:
            versions[entry_of[version_id]][1].add((HashKind(kind), bytes(value)))
    return {entry_id: held for entry_id, (_, held) in versions.items()}


def key_of(row: DerivedHash) -> Key:
    """What tells it from others: how it was made does not."""
    return row.entry_id, row.kind, row.value


_ENTRIES = BulkSelect(derived_hashes.c.entry_id, select(derived_hashes.c.entry_id).distinct())
_ACTS = BulkSelect(
    derived_hashes.c.entry_id,
    select(
        derived_hashes.c.entry_id,
        derived_hashes.c.kind,
        derived_hashes.c.value,
        derived_hashes.c.derivation,
        derived_hashes.c.of_kind,
        derived_hashes.c.of_digest,
        derived_hashes.c.action,
        changes.c.revision,
    )
    .join(changes, changes.c.change_id == derived_hashes.c.change_id)
    .where(changes.c.revision <= bindparam("upto"))
    .order_by(changes.c.revision, derived_hashes.c.derived_id),  # the newest comes last and stays
)
_DIGESTS = BulkSelect(
    entry_versions.c.entry_id,
    select(
        entry_versions.c.entry_id,
        entry_versions.c.version_id,
        *(entry_versions.c[kind.value] for kind in DIGEST_KINDS),
    )
    .join(changes, changes.c.change_id == entry_versions.c.change_id)
    .where(changes.c.revision.is_not(None))
    .order_by(changes.c.revision),
)
_COMMITS = BulkSelect(
    revisions.c.number,
    select(revisions.c.number, changes.c.author, revisions.c.committed_at).join(
        changes, changes.c.change_id == revisions.c.change_id
    ),
)
_MORE_DIGESTS = BulkSelect(
    extra_hashes.c.version_id,
    select(extra_hashes.c.version_id, extra_hashes.c.kind, extra_hashes.c.value).where(
        or_(*(extra_hashes.c.kind == kind.value for kind in DIGEST_KINDS))
    ),
)
