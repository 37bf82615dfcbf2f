"""Stages an import: which rows are new, changed, the same, or at odds with one another.

Invariants: what is the same is not written; of two records with one key and different content in
one file the first stands and the second is a rejection; an entry that an operator retracted stays
retracted, whatever the file says, and one that only its source had retracted comes back. All of it
is measured against the revision at which the import began; `open_change` sees to the rest.

Nothing here reads files or judges hashes: batches come validated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import bindparam, delete, insert, select, update

from hashlists.catalog.bulk import (
    INSERT_EXTRA_HASHES,
    INSERT_NEW_ENTRIES,
    BulkSelect,
    insert_versions,
    kinds_of,
    pick,
    take,
)
from hashlists.catalog.records import (
    Counts,
    coverage,
    intern_classification,
    intern_handling,
    note_classifications,
)
from hashlists.catalog.schema import (
    VERSIONS_PER_CHANGE,
    Action,
    Origin,
    counters,
    entries,
    imports,
    retractions,
)
from hashlists.catalog.states import EntryState, chunks, entry_states, staged_versions
from hashlists.model import (
    Classification,
    Coverage,
    EntryBatch,
    Handling,
    Place,
    Rejection,
    Retraction,
    Revision,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from sqlalchemy import Connection

    from hashlists.catalog.open_change import OpenChange
    from hashlists.catalog.tombstones import Tombstones

#: Rows of one transaction: what an urgent retraction may have to wait for.
ROWS_PER_TRANSACTION = 30_000

_CONFLICT = "another record of this file has the same key and other content; keep one of them"
_CONTRADICTION = "this file both lists and retracts the entry; it stays on the list"
_PURGED = "this entry was purged from the list for good; it cannot come back by an import"


@dataclass(slots=True)
class StageResult:
    """What became of a batch.

    Attributes:
        added: entries that the list did not hold.
        updated: entries whose content changed, or that their source lists again.
        unchanged: entries that were not written, since they say what the list says already.
        kept_retracted: how many of the above stay retracted, since an operator retracted them.
        retracted: entries that their source retracted.
        kinds: which hashes the accepted rows carry: how many rows by kinds bits.
        rejections: records that were not taken, in file order.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    kept_retracted: int = 0
    retracted: int = 0
    kinds: Counts = field(default_factory=Counts)
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def coverage(self) -> Coverage:
        """Coverage of the accepted rows."""
        return coverage((kinds, number) for (kinds, _), number in self.kinds.items())

    def add(self, other: StageResult) -> None:
        """Adds the figures of another batch."""
        self.added += other.added
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.kept_retracted += other.kept_retracted
        self.retracted += other.retracted
        self.kinds.update(other.kinds)
        self.rejections += other.rejections


@dataclass(slots=True)
class _Plan:
    """What is to be written of a batch: row numbers, in file order, and the entry of each."""

    new_rows: list[int] = field(default_factory=list)
    changed_rows: list[int] = field(default_factory=list)
    changed_ids: list[int] = field(default_factory=list)
    relisted_ids: list[int] = field(default_factory=list)
    unchanged: int = 0
    kept_retracted: int = 0


@dataclass(frozen=True, slots=True)
class _Rows:
    """A batch with what the catalog makes of its rows."""

    batch: EntryBatch
    kinds: Sequence[int]
    handling_ids: Sequence[int]

    def take(self, rows: Sequence[int]) -> _Rows:
        return _Rows(take(self.batch, rows), pick(self.kinds, rows), pick(self.handling_ids, rows))

    def count_key(self, row: int) -> tuple[int, int]:
        return self.kinds[row], self.handling_ids[row]


class StagedImport:
    """An import under way. As a context manager it aborts unless it was committed."""

    def __init__(self, change: OpenChange, *, fresh: bool, tombstones: Tombstones) -> None:
        """Made by `Catalog.begin_import`.

        Args:
            change: the open change.
            fresh: the list held no entry when the import began.
            tombstones: of the list; they cannot change while the change is open.
        """
        self._change = change
        self._list_id = change.by.list_id
        self._fresh = fresh
        self._tombstones = tombstones
        self._next_version = change.change_id * VERSIONS_PER_CHANGE
        self._seen = _IdSet()
        self._gone = _IdSet()
        self._retractions_read = 0
        self._classifications: set[int | None] = set()  # noted as used by this change

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.abort()

    def stage(self, batch: EntryBatch) -> StageResult:
        """Stages a batch, in transactions of at most `ROWS_PER_TRANSACTION` rows.

        Raises:
            CatalogError: the database failed; nothing of the import will be seen.
        """
        result = StageResult()
        for rows in chunks(range(len(batch)), ROWS_PER_TRANSACTION):
            part = batch if len(rows) == len(batch) else take(batch, rows)
            result.add(self._stage_part(part))
        return result

    def stage_retractions(self, gone: Sequence[Retraction]) -> StageResult:
        """Stages what the source says is no longer on its list; unknown keys need nothing.

        A file that lists and retracts the same entry contradicts itself. In whatever order the two
        come, the entry stays and the retraction is a rejection or is taken back.

        Raises:
            CatalogError: the database failed; nothing of the import will be seen.
        """
        result = StageResult()
        for part in chunks(gone, ROWS_PER_TRANSACTION):
            with self._change.transaction() as connection:
                self._retract(connection, part, result)
        self._change.totals.retracted += result.retracted
        return result

    def commit(self, report: Callable[[int], Mapping[str, Any]] | None = None) -> Revision | None:
        """Makes everything staged one revision.

        Args:
            report: gets the revision's number (0: nothing changed) and returns what to keep with
                the import, as JSON-able values.

        Returns:
            The revision, or None when nothing had changed.

        Raises:
            CatalogError: the database failed; nothing of the import will be seen.
        """
        with self._change.final_transaction() as connection:
            revision = self._change.commit(connection)
            document = report(revision.number if revision else 0) if report else {}
            connection.execute(
                update(imports)
                .where(imports.c.change_id == self._change.change_id)
                .values(report=json.dumps(document))
            )
        return revision

    def abort(self) -> None:
        """Removes everything staged. Does nothing after a commit."""
        self._change.abort()

    def _stage_part(self, batch: EntryBatch) -> StageResult:
        result = StageResult()
        barred = self._tombstones.barred_rows(batch)
        if barred:
            result.rejections += [
                Rejection(batch.place_at(row), "", _PURGED) for row in sorted(barred)
            ]
            batch = take(batch, [row for row in range(len(batch)) if row not in barred])
        kinds = kinds_of(batch)
        with self._change.transaction() as connection:
            handling_ids = _interned(connection, batch.handlings, intern_handling)
            rows = _Rows(batch, kinds, handling_ids)
            if not (self._fresh and self._add_all(connection, rows, result)):
                self._compare(connection, rows, result)
        self._change.totals.added += result.added
        return result

    def _add_all(self, connection: Connection, rows: _Rows, result: StageResult) -> bool:
        """The quick way into a list that was empty; False when a key comes a second time."""
        keys = rows.batch.keys
        number = len(keys)
        if len(set(keys)) != number:
            return False
        savepoint = connection.begin_nested()
        first = self._insert_entries(connection, keys)
        if first is None:
            savepoint.rollback()
            return False
        self._insert_versions(connection, rows, range(first, first + number))
        savepoint.commit()
        self._seen.add_range(first, number)
        accepted = Counts(zip(rows.kinds, rows.handling_ids, strict=True))
        self._change.counts.update(accepted)
        result.added += number
        result.kinds.update(accepted)
        return True

    def _compare(self, connection: Connection, rows: _Rows, result: StageResult) -> None:
        """The way into a list that holds entries, or past a key that comes twice."""
        batch = rows.batch
        known = self._known_ids(connection, batch.keys)
        states = entry_states(connection, list(known.values()), upto=self._change.base)
        self._take_back(connection, [i for i in known.values() if i in self._gone], states)
        plan = _Plan()
        earlier = self._earlier_digests(connection, known, states)
        for row, (key, digest) in enumerate(zip(batch.keys, batch.content_digests, strict=True)):
            first_digest = earlier.get(key)
            if first_digest is None:
                earlier[key] = digest
                self._plan_row(plan, row, known.get(key), states, digest)
                result.kinds[rows.count_key(row)] += 1
            elif first_digest == digest:
                result.unchanged += 1
            else:
                result.rejections.append(Rejection(batch.place_at(row), "", _CONFLICT))
        result.added += len(plan.new_rows)
        result.updated += len({*plan.changed_ids, *plan.relisted_ids})
        result.unchanged += plan.unchanged
        result.kept_retracted += plan.kept_retracted
        self._write(connection, rows, plan, states)

    def _earlier_digests(
        self, connection: Connection, known: Mapping[bytes, int], states: Mapping[int, EntryState]
    ) -> dict[bytes, bytes]:
        """Content of those keys that came up in this file before."""
        seen = {key: entry_id for key, entry_id in known.items() if entry_id in self._seen}
        staged = staged_versions(connection, list(seen.values()), self._change.change_id)
        return {
            key: (staged.get(entry_id) or states[entry_id]).content_digest
            for key, entry_id in seen.items()
        }

    def _plan_row(
        self,
        plan: _Plan,
        row: int,
        entry_id: int | None,
        states: Mapping[int, EntryState],
        digest: bytes,
    ) -> None:
        if entry_id is None:
            plan.new_rows.append(row)
            return
        self._seen.add(entry_id)
        state = states[entry_id]
        relisted = Origin.SOURCE in state.retracted_by
        changed = state.content_digest != digest
        if relisted:
            plan.relisted_ids.append(entry_id)
        if changed:
            plan.changed_rows.append(row)
            plan.changed_ids.append(entry_id)
        plan.unchanged += not (relisted or changed)
        plan.kept_retracted += Origin.OPERATOR in state.retracted_by

    def _write(
        self, connection: Connection, rows: _Rows, plan: _Plan, states: Mapping[int, EntryState]
    ) -> None:
        entry_ids = self._insert_new(connection, pick(rows.batch.keys, plan.new_rows))
        entry_ids += plan.changed_ids
        written = rows.take([*plan.new_rows, *plan.changed_rows])
        self._insert_versions(connection, written, entry_ids)
        _relist(connection, plan.relisted_ids, self._change.change_id)
        self._change.totals.updated += len(plan.changed_rows)
        self._change.totals.restored += len(plan.relisted_ids)
        new_keys = {entry_id: written.count_key(row) for row, entry_id in enumerate(entry_ids)}
        for entry_id in new_keys.keys() | set(plan.relisted_ids):
            self._count(states.get(entry_id), new_keys.get(entry_id))

    def _count(self, before: EntryState | None, new_key: tuple[int, int] | None) -> None:
        """Counts an entry that the file lists, and that gets a new version unless that is None."""
        counts = self._change.counts
        if before is not None and before.in_force:
            counts[before.count_key] -= 1
        if before is None or Origin.OPERATOR not in before.retracted_by:
            key = new_key or (before.count_key if before else None)
            assert key is not None
            counts[key] += 1

    def _insert_new(self, connection: Connection, keys: Sequence[bytes]) -> list[int]:
        if not keys:
            return []
        first = self._insert_entries(connection, keys)
        assert first is not None  # looked up in this transaction, and each key once
        self._seen.add_range(first, len(keys))
        return list(range(first, first + len(keys)))

    def _insert_entries(self, connection: Connection, keys: Sequence[bytes]) -> int | None:
        """Inserts entries under ids in a row; None when the list holds one of the keys."""
        number = len(keys)
        first = _draw(connection, "entry_id", number)
        # In key order: neighbours in the unique index then go in together.
        order = sorted(range(number), key=keys.__getitem__)
        rows = zip(
            [first + row for row in order],
            repeat(self._list_id),
            repeat(self._change.change_id),
            pick(keys, order),
            strict=False,
        )
        inserted = INSERT_NEW_ENTRIES.run(connection, rows)
        return first if inserted == number else None

    def _insert_versions(
        self, connection: Connection, rows: _Rows, entry_ids: Sequence[int]
    ) -> None:
        batch = rows.batch
        number = len(batch)
        if not number:
            return
        version_ids = range(self._next_version, self._next_version + number)
        self._next_version += number
        plain: dict[str, Sequence[Any]] = {
            "version_id": version_ids,
            "entry_id": entry_ids,
            "change_id": [self._change.change_id] * number,
            "kinds": rows.kinds,
            "flags": batch.flags,
            "flags_known": batch.flags_known,
            "size": batch.sizes,
            "classification_id": self._classification_ids(connection, batch),
            "handling_id": rows.handling_ids,
            "verified_count": batch.verified_counts,
            "media_type": batch.media_types,
            "source_id": batch.source_ids,
            "source_updated_at": batch.source_updated_at,
            "content_digest": batch.content_digests,
        }
        insert_versions(connection, plain, batch.hashes)
        INSERT_EXTRA_HASHES.run(connection, _extra_rows(batch, version_ids))

    def _classification_ids(self, connection: Connection, batch: EntryBatch) -> list[int | None]:
        ids = _interned(connection, batch.classifications, intern_classification)
        more = set(ids) - self._classifications
        note_classifications(connection, self._change.change_id, more - {None})
        self._classifications |= more
        return ids

    def _known_ids(self, connection: Connection, keys: Sequence[bytes]) -> dict[bytes, int]:
        known: dict[bytes, int] = {}
        for rows in _BY_KEY.run(connection, keys, list_id=self._list_id):
            known.update(dict(rows))
        return known

    def _retract(
        self, connection: Connection, gone: Sequence[Retraction], result: StageResult
    ) -> None:
        known = self._known_ids(connection, list({retraction.key for retraction in gone}))
        states = entry_states(connection, list(known.values()), upto=self._change.base)
        rows = []
        for retraction in gone:
            self._retractions_read += 1
            entry_id = known.get(retraction.key)
            if entry_id is None or entry_id in self._gone:
                continue
            if entry_id in self._seen:
                place = Place("retraction", self._retractions_read)
                result.rejections.append(Rejection(place, "", _CONTRADICTION))
                continue
            state = states[entry_id]
            if Origin.SOURCE in state.retracted_by:
                continue
            if state.in_force:
                self._change.counts[state.count_key] -= 1
            self._gone.add(entry_id)
            rows.append(retraction_row(entry_id, self._change.change_id, retraction.reason))
        if rows:
            connection.execute(insert(retractions), rows)
        result.retracted += len(rows)

    def _take_back(
        self, connection: Connection, entry_ids: Sequence[int], states: Mapping[int, EntryState]
    ) -> None:
        """Forgets retractions that this import staged, since its file lists the entries too."""
        for chunk in chunks(entry_ids):
            connection.execute(
                delete(retractions).where(
                    retractions.c.change_id == self._change.change_id,
                    retractions.c.entry_id.in_(chunk),
                )
            )
        for entry_id in entry_ids:
            self._gone.remove(entry_id)
            self._change.totals.retracted -= 1
            if states[entry_id].in_force:
                self._change.counts[states[entry_id].count_key] += 1


_BY_KEY = BulkSelect(
    entries.c.source_key,
    select(entries.c.source_key, entries.c.entry_id).where(
        entries.c.list_id == bindparam("list_id")
    ),
)


class _IdSet:
    """A set of entry ids as bits: one for each id that the catalog ever gave."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def __contains__(self, entry_id: int) -> bool:
        byte = entry_id >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (entry_id & 7) & 1)

    def add(self, entry_id: int) -> None:
        byte = entry_id >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits) + 65_536))
        self._bits[byte] |= 1 << (entry_id & 7)

    def remove(self, entry_id: int) -> None:
        self._bits[entry_id >> 3] &= ~(1 << (entry_id & 7))

    def add_range(self, first: int, number: int) -> None:
        for entry_id in range(first, first + number):
            self.add(entry_id)


def retraction_row(
    entry_id: int,
    change_id: int,
    reason: str,
    *,
    origin: Origin = Origin.SOURCE,
    action: Action = Action.RETRACT,
) -> dict[str, Any]:
    """A row of `retractions`."""
    return {
        "entry_id": entry_id,
        "change_id": change_id,
        "origin": origin,
        "action": action,
        "reason": reason,
    }


def _relist(connection: Connection, entry_ids: Sequence[int], change_id: int) -> None:
    rows = [
        retraction_row(entry_id, change_id, "listed again", action=Action.RESTORE)
        for entry_id in entry_ids
    ]
    if rows:
        connection.execute(insert(retractions), rows)


def _draw(connection: Connection, counter: str, number: int) -> int:
    """Takes `number` ids in a row, never given before; returns the first.

    Where writers run side by side it is a transaction of its own, so that no import waits for the
    end of another's; ids that were drawn for rows that failed are never used.
    """
    statement = (
        update(counters)
        .where(counters.c.name == counter)
        .values(value=counters.c.value + number)
        .returning(counters.c.value)
    )
    if connection.dialect.name == "sqlite":
        return int(connection.execute(statement).scalar_one()) - number
    with connection.engine.begin() as own:
        return int(own.execute(statement).scalar_one()) - number


def _interned(
    connection: Connection,
    values: Sequence[Handling] | Sequence[Classification | None],
    intern: Callable[[Connection, Any], int],
) -> list[Any]:
    """Ids of a column of interned objects: looked up once for each object, not for each row."""
    different = {id(value): value for value in values}
    ids = {
        identity: None if value is None else intern(connection, value)
        # In one order everywhere: who waits for another's new row is never waited for by it.
        for identity, value in sorted(different.items(), key=lambda item: repr(item[1]))
    }
    return [ids[id(value)] for value in values]


def _extra_rows(
    batch: EntryBatch, version_ids: Sequence[int]
) -> Iterator[tuple[int, int, str, bytes]]:
    for ordinal, (row, kind, value) in enumerate(batch.extra_hashes):
        yield version_ids[row], ordinal, kind.value, value
