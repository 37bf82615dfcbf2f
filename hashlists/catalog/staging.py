"""Stages an import: which rows are new, changed, the same, or at odds with one another.

Invariants: what is the same is not written; of two records with one key and different content in
one file the first stands and the second is a rejection; an entry that an operator retracted stays
retracted, whatever the file says, and one that only its source had retracted comes back. All of it
is measured against the revision at which the import began; `open_change` sees to the rest, and
`barring` to what was purged. Of handling a version keeps what its record says, never what its list
says, so that an import neither waits for the list's to change nor writes anything because it has.

Nothing here reads files or judges hashes: batches come validated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import update

from hashlists.catalog.absent import AbsentEntries, absent_entries
from hashlists.catalog.barring import admit
from hashlists.catalog.bulk import kinds_of, pick, take
from hashlists.catalog.counts import count_rows
from hashlists.catalog.engine import refresh_statistics, versions_may_come_first
from hashlists.catalog.entry_writer import EntryWriter, Rows
from hashlists.catalog.exchanges import write_progress
from hashlists.catalog.held_entries import HeldEntries
from hashlists.catalog.id_set import IdSet
from hashlists.catalog.list_handling import ListHandling, read_sayings
from hashlists.catalog.older import is_older, version_moments, withdrawal_moments
from hashlists.catalog.schema import Origin, imports
from hashlists.catalog.senders import read_senders
from hashlists.catalog.stage_result import StageResult
from hashlists.catalog.staged_derived import DerivedResult, stage_derived
from hashlists.catalog.staged_retractions import StagedRetractions
from hashlists.catalog.states import (
    EntryState,
    chunks,
    entry_states,
    ids_of_keys,
    staged_versions,
)
from hashlists.model import EntryBatch, Handling, Rejection, Retraction, Revision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from hashlists.catalog.derived import FileCode
    from hashlists.catalog.exchange_records import Checkpoint, SetAside
    from hashlists.catalog.open_change import OpenChange
    from hashlists.catalog.tombstones import Tombstones

#: Rows of one transaction: what an urgent retraction may have to wait for.
ROWS_PER_TRANSACTION = 30_000

_CONTENT = ("file_sha256", "file_length")
_CONFLICT = "another record of this file has the same key and other content; keep one of them"


@dataclass(frozen=True, slots=True)
class Before:
    """A list before an import.

    Attributes:
        fresh: it never held an entry.
        entries: those in force, the expired ones included.
        format: of the last import that ended well; None where there was none.
    """

    fresh: bool
    entries: int
    format: str | None


@dataclass(slots=True)
class _Plan:
    """What is to be written of a batch: row numbers, in file order, and the entry of each.

    Attributes:
        as_before: handlings of versions that are left with them where all else is the same.
    """

    as_before: frozenset[int] = frozenset()
    new_rows: list[int] = field(default_factory=list)
    changed_rows: list[int] = field(default_factory=list)
    changed_ids: list[int] = field(default_factory=list)
    relisted_ids: list[int] = field(default_factory=list)
    unchanged: int = 0
    kept_retracted: int = 0


class StagedImport:
    """An import under way. As a context manager it aborts unless it was committed.

    Attributes:
        before: how the list stood when the import began.
    """

    def __init__(
        self, change: OpenChange, *, before: Before, tombstones: Tombstones, latest: bool
    ) -> None:
        """Made by `Catalog.begin_import`.

        Args:
            change: the open change.
            before: how the list stood when the import began.
            tombstones: of the list; they cannot change while the change is open.
            latest: whether records that are older than what the list has of their entries are
                left aside.
        """
        self.before = before
        self._change = change
        self._list_id = change.by.list_id
        self._fresh = before.fresh
        self._tombstones = tombstones
        self._seen = IdSet()
        self._barred = IdSet()
        self._latest = latest
        self._gone = StagedRetractions(change, self._seen, latest=latest)
        self._writer = EntryWriter(list_id=self._list_id, change_id=change.change_id)
        may_hold = before.fresh and versions_may_come_first(change.engine)
        self._held = HeldEntries(change) if may_hold else None

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
        self._store_held()
        for part in chunks(gone, ROWS_PER_TRANSACTION):
            with self._change.transaction() as connection:
                self._gone.stage(connection, part, result)
        self._change.totals.retracted += result.retracted
        return result

    def stage_derived(self, codes: Sequence[tuple[bytes, FileCode]]) -> DerivedResult:
        """Stages codes made here from the files of entries, confirmed by the commit; see `derived`.

        Args:
            codes: each beside the key of an entry that was staged before; others are passed by.

        Raises:
            DerivedHashError: one can be no code of any entry.
            CatalogError: the database failed; nothing of the import will be seen.
        """
        result = DerivedResult()
        if codes:
            self._store_held()
        for part in chunks(codes, ROWS_PER_TRANSACTION):
            with self._change.transaction() as connection:
                result.add(
                    stage_derived(
                        connection,
                        self._change,
                        part,
                        listed=self._seen,
                        tombstones=self._tombstones,
                    )
                )
        return result

    def absent(self) -> AbsentEntries:
        """The entries of the list that what was staged so far has neither listed nor retracted.

        One whose record a purge bars is listed, too. Only those that were in force when the import
        began; the same ones, however often it is asked. A record that was rejected may name one of
        them, so judge `rejections` first.

        Raises:
            CatalogError: the database failed; nothing of the import will be seen.
        """
        return absent_entries(
            self._change.engine,
            list_id=self._list_id,
            base=self._change.base,
            named=self._gone.or_listed().union(self._barred),
        )

    def senders(self) -> Mapping[str, int]:
        """The revision that the list had last of each sender whose files say whose they are.

        Raises:
            CatalogError: the database failed; nothing of the import will be seen.
        """
        return read_senders(self._change.engine, self._list_id)

    def stage_absent(self, absent: AbsentEntries, *, reason: str) -> StageResult:
        """Retracts them in the source's name, so that a file that lists them brings them back.

        To be called last: what is staged afterwards and names one of them takes that back.

        Args:
            absent: as `absent` gave them; nothing may have been staged since.
            reason: kept with each retraction.

        Raises:
            CatalogError: the database failed; nothing of the import will be seen.
        """
        for entry_ids in absent.parts(ROWS_PER_TRANSACTION):
            with self._change.transaction() as connection:
                self._gone.stage_absent(connection, entry_ids, reason)
        self._change.totals.retracted += len(absent)
        return StageResult(retracted=len(absent))

    def commit(
        self,
        report: Callable[[int], Mapping[str, Any]] | None = None,
        *,
        checkpoint: Checkpoint | None = None,
        set_aside: Sequence[SetAside] = (),
        mended: Iterable[bytes] | None = (),
        content: tuple[bytes, int] | None = None,
    ) -> Revision | None:
        """Makes everything staged one revision.

        Args:
            report: gets the revision's number (0: nothing changed) and returns what to keep with
                the import, as JSON-able values.
            checkpoint: of the exchange that the entries came from; it moves with this commit, also
                where nothing had changed.
            set_aside: records of that exchange that could not be taken; only with a checkpoint.
            mended: what records are known by that were taken, and are set aside no longer; None
                for all that were set aside before.
            content: SHA-256 and bytes of what was imported, where they were not known when it
                began; None leaves what the source said.

        Returns:
            The revision, or None when nothing had changed.

        Raises:
            CatalogError: the database failed; nothing of the import will be seen.
            ExchangeNotFoundError, ExchangeConflictError: the checkpoint does not follow the one
                that is kept; nothing of the import will be seen.
        """
        if set_aside and checkpoint is None:
            raise ValueError("records are set aside with a checkpoint only")
        self._store_held()
        with self._change.final_transaction() as connection:
            revision = self._change.commit(connection)
            document = report(revision.number if revision else 0) if report else {}
            known = {} if content is None else dict(zip(_CONTENT, content, strict=True))
            connection.execute(
                update(imports)
                .where(imports.c.change_id == self._change.change_id)
                .values(report=json.dumps(document), **known)
            )
            if checkpoint is not None:
                change_id = self._change.change_id
                write_progress(
                    connection, checkpoint, set_aside, mended=mended, change_id=change_id
                )
        refresh_statistics(self._change.engine, self._change.totals.rows)
        return revision

    def abort(self) -> None:
        """Removes everything staged. Does nothing after a commit."""
        self._change.abort()

    def _stage_part(self, batch: EntryBatch) -> StageResult:
        result = StageResult()
        admitted = admit(self._change, self._tombstones, batch)
        batch = admitted.batch
        result.barred, result.left_out = admitted.barred, admitted.left_out
        for entry_id in admitted.named:
            self._barred.add(entry_id)
        kinds = kinds_of(batch)
        if not (self._fresh and self._add_all(batch, kinds, result)):
            self._store_held()
            with self._change.transaction() as connection:
                self._compare(connection, Rows.of(connection, batch, kinds), result)
        if self._held is not None:
            self._held.store_many()
        self._change.totals.added += result.added
        return result

    def _add_all(self, batch: EntryBatch, kinds: Sequence[int], result: StageResult) -> bool:
        """The quick way into a list that was empty; False when a key comes a second time."""
        number = len(batch)
        if not number or len(set(batch.keys)) != number:
            return not number
        with self._change.transaction() as connection:
            first, order = self._add_entries(connection, batch.keys)
            if first is None:
                return False
            rows = Rows.of(connection, batch, kinds)
            ids = range(first, first + number)
            self._writer.insert_versions(connection, rows, ids, order)
        self._seen.add_range(first, number)
        accepted = count_rows(rows.kinds, rows.handling_ids)
        self._change.counts.update(accepted)
        result.added += number
        for (carried, _), number_with in accepted.items():
            result.kinds[carried] += number_with
        return True

    def _add_entries(
        self, connection: Connection, keys: Sequence[bytes]
    ) -> tuple[int | None, NDArray[np.intp] | None]:
        """The first of the ids in a row that they get, and in what order (None: as they come).

        No id where the list has one of the keys.
        """
        if self._held is None:
            return self._writer.insert_entries(connection, keys), None
        new = self._held.look_at(keys)
        if not self._held.has_none(connection, new):
            return None, None
        first = self._writer.draw_entry_ids(connection, len(keys))
        self._held.hold(new, first)
        return first, new.order

    def _store_held(self) -> None:
        """Keys can be looked up afterwards."""
        if self._held is not None:
            self._held.store()

    def _compare(self, connection: Connection, rows: Rows, result: StageResult) -> None:
        """The way into a list that holds entries, or past a key that comes twice."""
        batch = rows.batch
        known = ids_of_keys(connection, self._list_id, batch.keys)
        states = entry_states(connection, list(known.values()), upto=self._change.base)
        older = self._older(connection, rows, known, states)
        result.older += len(older)
        now = [
            known[key] for row, key in enumerate(batch.keys) if key in known and row not in older
        ]
        self._gone.take_back(connection, list(dict.fromkeys(now)), states)
        plan = _Plan(as_before=self._as_before(connection, rows, states))
        earlier = self._earlier_digests(connection, known, states)
        for row, (key, digest) in enumerate(zip(batch.keys, batch.content_digests, strict=True)):
            if row in older:
                self._gone.passed.add(known[key])
                continue
            first_digest = earlier.get(key)
            if first_digest is None:
                earlier[key] = digest
                said = digest, rows.handling_ids[row]
                self._plan_row(plan, row, known.get(key), states, said)
                result.kinds[rows.kinds[row]] += 1
            elif first_digest == digest:
                result.unchanged += 1
            else:
                result.rejections.append(Rejection(batch.place_at(row), "", _CONFLICT))
        result.added += len(plan.new_rows)
        result.updated += len({*plan.changed_ids, *plan.relisted_ids})
        result.unchanged += plan.unchanged
        result.kept_retracted += plan.kept_retracted
        self._write(connection, rows, plan, states)

    def _older(
        self,
        connection: Connection,
        rows: Rows,
        known: Mapping[bytes, int],
        states: Mapping[int, EntryState],
    ) -> frozenset[int]:
        """Rows that are older than what the list had of their entries; those of them that count."""
        batch = rows.batch
        if not self._latest:
            return frozenset()
        stamped = batch.stamped or [False] * len(batch)
        differing: dict[int, int] = {}
        for row, (key, digest) in enumerate(zip(batch.keys, batch.content_digests, strict=True)):
            state = states.get(known.get(key, 0))
            if state and (
                Origin.SOURCE in state.retracted_by
                or (stamped[row] and state.content_digest != digest)
            ):
                differing[row] = known[key]
        named = sorted(set(differing.values()))
        gone = [each for each in named if Origin.SOURCE in states[each].retracted_by]
        stamps = [
            stamp if tells else None
            for stamp, tells in zip(batch.source_updated_at, stamped, strict=True)
        ]
        versions = version_moments(connection, states, named)
        withdrawals = withdrawal_moments(connection, gone, upto=self._change.base)
        return frozenset(
            row
            for row, entry_id in differing.items()
            if is_older(stamps[row], withdrawals.get(entry_id))
            or is_older(stamps[row], versions.get(entry_id))
        )

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

    def _as_before(
        self, connection: Connection, rows: Rows, states: Mapping[int, EntryState]
    ) -> frozenset[int]:
        """Handlings of versions of which it is not known what their record said, and need not be.

        It matters once the list says something new; then their records, which tell it, are written.
        """
        others = {state.handling_id for state in states.values()} - set(rows.handling_ids)
        if not others or len(ListHandling.read(connection, self._list_id).revisions) > 1:
            return frozenset()
        sayings = read_sayings(connection, others)
        return frozenset(each for each, said in sayings.items() if isinstance(said, Handling))

    def _plan_row(
        self,
        plan: _Plan,
        row: int,
        entry_id: int | None,
        states: Mapping[int, EntryState],
        said: tuple[bytes, int],
    ) -> None:
        if entry_id is None:
            plan.new_rows.append(row)
            return
        self._seen.add(entry_id)
        state = states[entry_id]
        relisted = Origin.SOURCE in state.retracted_by
        digest, handling_id = said
        changed = state.content_digest != digest or (
            state.handling_id != handling_id and state.handling_id not in plan.as_before
        )
        if relisted:
            plan.relisted_ids.append(entry_id)
        if changed:
            plan.changed_rows.append(row)
            plan.changed_ids.append(entry_id)
        plan.unchanged += not (relisted or changed)
        plan.kept_retracted += Origin.OPERATOR in state.retracted_by

    def _write(
        self, connection: Connection, rows: Rows, plan: _Plan, states: Mapping[int, EntryState]
    ) -> None:
        entry_ids = self._insert_new(connection, pick(rows.batch.keys, plan.new_rows))
        entry_ids += plan.changed_ids
        written = rows.take([*plan.new_rows, *plan.changed_rows])
        self._writer.insert_versions(connection, written, entry_ids)
        self._gone.relist(connection, plan.relisted_ids)
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
        first = self._writer.insert_entries(connection, keys)
        assert first is not None  # looked up in this transaction, and each key once
        if self._held is not None:
            self._held.note(keys)
        self._seen.add_range(first, len(keys))
        return list(range(first, first + len(keys)))
