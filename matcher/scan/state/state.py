"""The state of a scan: what is planned, what is finished, and what that adds up to.

Invariants: an object that was listed is either planned or finished, never both and never neither,
whenever the process is killed; a batch is finished once, and its records count once. One process
writes, any number read meanwhile. Any thread may call.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import msgspec
from sqlalchemy import delete, func, insert, select, update

from matcher.scan.document import ScanDocument
from matcher.scan.errors import StateError
from matcher.scan.model import Batch
from matcher.scan.state import kept as keeping
from matcher.scan.state import packing, running, schema
from matcher.scan.state.database import (
    DAMAGED,
    empty_log,
    make_database,
    make_folder,
    open_database,
    reading,
    writing,
)
from matcher.scan.state.lock import WriterLock
from matcher.scan.state.summary import Run, RunEnd, ScanSummary, Timeline
from matcher.scan.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from sqlalchemy import Connection, Engine, Row

    from hashlists.formats.unpacking.age_files import Identity
    from matcher.scan.model import BatchResult, Record
    from matcher.scan.state.kept import Forgotten, KeptBatch
    from matcher.sealing import Sealer

_SCAN = schema.scan.c


class Position(NamedTuple):
    """How far the listing of a place has come.

    Attributes:
        cursor: behind which it goes on; empty: it was not begun, or is done.
        done: nothing is left to list.
    """

    cursor: str = ""
    done: bool = False


class ScanState:
    """An open state. Closed by `close`, or as a context.

    Attributes:
        folder: in which it is.
        document: what was asked for.
    """

    def __init__(
        self,
        folder: Path,
        engine: Engine,
        lock: WriterLock | None,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        """Use `ScanState.create` or `ScanState.open`."""
        self.folder = folder
        self._engine = engine
        self._lock = lock
        self._clock = clock
        self._steady = steady
        self._writers = threading.Lock()
        self._run: int | None = None
        row = self._row()
        self.document = decoded(row.document, ScanDocument)
        self._worked_before: float = row.work_seconds
        self._began: float | None = None

    @classmethod
    def create(
        cls,
        folder: Path,
        document: ScanDocument,
        *,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Begins a scan in a folder, which is made; it may be there if it is empty.

        Args:
            folder: of the scan alone; it is its owner's alone from now on.
            document: what is asked for.
            clock: seconds since 1970 UTC.
            steady: seconds that never go back.

        Raises:
            StateError: the folder is in use or cannot be written.
        """
        make_folder(folder)
        lock = WriterLock(folder)
        try:
            make_folder(folder)  # again: another one may have begun a scan meanwhile
            make_database(folder, lambda connection: _fill(connection, document))
        finally:
            lock.release()
        return cls.open(folder, clock=clock, steady=steady)

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        writing: bool = True,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Opens the scan in a folder; kept hashes that have expired are erased by who writes.

        Args:
            folder: in which a scan was begun.
            writing: else it is only looked at, and another process may write meanwhile.
            clock: seconds since 1970 UTC.
            steady: seconds that never go back.

        Raises:
            StateError: there is no scan, another one writes there, or the state is damaged.
        """
        engine = open_database(folder)
        lock: WriterLock | None = None
        try:
            lock = WriterLock(folder) if writing else None
            state = cls(folder, engine, lock, clock, steady)
            if writing:
                state.erase_expired(clock())
                empty_log(engine)  # as a killed one has left it
        except BaseException:
            engine.dispose()
            if lock is not None:
                lock.release()
            raise
        return state

    def close(self) -> None:
        """Lets another one write. May be called twice."""
        self._engine.dispose()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def begin_run(
        self,
        *,
        revision: int,
        policy: str,
        policy_version: str,
        hashed: Sequence[str] = (),
        decoders: str = "",
    ) -> Run:
        """Writes down that a run begins, and what it looks up; `Run.changed` tells what is new.

        Args:
            revision: of the lists; 0 where a server is asked.
            policy: its name.
            policy_version: its digest.
            hashed: names of the views and kinds that are hashed.
            decoders: and their versions, in a line; empty where they are not known.

        Raises:
            StateError: it cannot be written.
        """
        run = Run(0, self._clock(), revision, policy, policy_version, tuple(hashed), decoders)
        with self._writing() as connection:
            number = running.begin(connection, run)
            self._worked_before = connection.execute(select(_SCAN.work_seconds)).scalar_one()
            runs = running.all_of(connection)
        self._run, self._began = number, self._steady()
        return runs[-1]

    def set_hashed(self, hashed: Sequence[str], *, decoders: str) -> None:
        """Writes down what the run's hashes are of, where that is not what was asked for.

        Args:
            hashed: names of the views and kinds that were hashed.
            decoders: that read what was hashed, as of `begin_run`.

        Raises:
            StateError: it cannot be written.
        """
        if self._run is not None:
            with self._writing() as connection:
                running.set_hashed(connection, self._run, tuple(hashed), decoders)

    def end_run(self, how: RunEnd) -> None:
        """Writes down how the run has ended.

        Raises:
            StateError: it cannot be written.
        """
        if self._run is None:
            return
        with self._writing() as connection:
            running.end(connection, self._run, how, at=self._clock())
            connection.execute(update(schema.scan).values(work_seconds=self._worked()))
        self._worked_before, self._run, self._began = self._worked(), None, None
        with self._writers:
            empty_log(self._engine)

    def position(self, source: int) -> Position:
        """How far the listing of a place has come, by its number from 0."""
        table = schema.positions.c
        with reading(self._engine) as connection:
            row = connection.execute(
                select(table.cursor, table.done).where(table.source == source)
            ).one_or_none()
        return Position() if row is None else Position(row.cursor, row.done)

    @property
    def next_number(self) -> int:
        """The lowest number that a new batch may have."""
        return int(self._row().next_number)

    def plan(
        self,
        source: int,
        cursor: str,
        batches: Sequence[Batch],
        *,
        done: bool = False,
        not_selected: int = 0,
        skipped: Mapping[str, int] | None = None,
    ) -> None:
        """Takes a page of a listing: its objects are planned, and the listing goes on behind it.

        Args:
            source: number of the place, from 0.
            cursor: of the page.
            batches: of what was selected of the page; numbers ascend from `next_number` on.
            done: nothing follows.
            not_selected: objects of the page that were not.
            skipped: as `Page.skipped`.

        Raises:
            StateError: it cannot be written; then nothing of it is.
            ValueError: a number was given before.
        """
        rows = [
            {
                "number": each.number,
                "source": source,
                "objects": len(each.objects),
                "content": packing.pack_objects(each.objects),
            }
            for each in batches
        ]
        with self._writing() as connection:
            known = connection.execute(select(schema.scan)).one()
            following = _following(known.next_number, batches)
            if rows:
                connection.execute(insert(schema.planned), rows)
            sums = decoded(known.skipped, dict[str, int])
            for reason, number in (skipped or {}).items():
                sums[reason] = sums.get(reason, 0) + number
            objects = [each for batch in batches for each in batch.objects]
            connection.execute(
                update(schema.scan).values(
                    next_number=following,
                    listed=known.listed + len(objects),
                    listed_bytes=known.listed_bytes + sum(each.size or 0 for each in objects),
                    not_selected=known.not_selected + not_selected,
                    skipped=msgspec.msgpack.encode(sums),
                )
            )
            place = schema.positions
            connection.execute(delete(place).where(place.c.source == source))
            # It may be the name of an object, and once nothing follows nobody needs it any more.
            left = "" if done else cursor
            connection.execute(insert(place).values(source=source, cursor=left, done=done))

    def planned(self) -> Iterator[Batch]:
        """The batches that are planned and not finished, in their order; one at a time is read."""
        table = schema.planned.c
        number = 0
        while True:
            query = select(schema.planned).where(table.number > number).order_by(table.number)
            with reading(self._engine) as connection:
                row = connection.execute(query.limit(1)).one_or_none()
            if row is None:
                return
            number = row.number
            yield Batch(number, row.source, packing.unpack_objects(row.content))

    def finish(self, result: BatchResult, *, sealer: Sealer | None = None) -> bool:
        """Takes what became of a batch, and its sums; it is planned no more.

        Args:
            result: of all its objects.
            sealer: `kept.scan_sealer`, to keep the result's hashes; None to keep none.

        Returns:
            False where the batch is not planned, e.g. as another worker was given it and was
            faster; then nothing is written.

        Raises:
            StateError: it cannot be written; then nothing of it is.
            SealingKeyError: hashes are to be kept, and there is no key.
            ValueError: the result has not one record for each object.
        """
        tally = Tally.of(result)
        content = packing.pack_records(result.records, self.document.recipients)
        sealed = None if sealer is None else keeping.sealed(self.document.id, result, sealer)
        row = {"objects": tally.objects, "records": len(result.records), "content": content}
        with self._writing() as connection:
            source = _take_planned(connection, result.number, tally.objects)
            if source is None:
                return False
            connection.execute(
                insert(schema.finished).values(number=result.number, source=source, **row)
            )
            if sealed is not None:
                keeping.add(connection, result.number, sealed)
            self._add(connection, tally)
        return True

    def summary(self) -> ScanSummary:
        """What it has come to; takes no longer however many objects there are."""
        with reading(self._engine) as connection:
            row = connection.execute(select(schema.scan)).one()
            runs = running.all_of(connection)
            listed = connection.execute(
                select(func.count()).select_from(schema.positions).where(schema.positions.c.done)
            ).scalar_one()
        tally = decoded(row.tally, Tally)
        timeline = decoded(row.timeline, Timeline)
        return ScanSummary(
            document=self.document,
            runs=runs,
            listed=row.listed,
            listed_bytes=row.listed_bytes,
            listing_done=listed == len(self.document.places),
            finished=tally.objects,
            batches=row.batches,
            tally=tally,
            not_selected=row.not_selected,
            skipped=decoded(row.skipped, dict[str, int]),
            kept=row.kept,
            work_seconds=row.work_seconds,
            bucket_seconds=timeline.seconds,
            timeline=timeline.points(),
        )

    def records(self, identities: Sequence[Identity] = ()) -> Iterator[Record]:
        """The records of all that is finished, in the order of the batches.

        Args:
            identities: private keys, where the records are encrypted to recipients.

        Raises:
            ReportError: they are encrypted, and no key that was given opens them.
            StateError: the state is damaged.
        """
        for row in self._each_finished(schema.finished.c.content):
            yield from packing.unpack_records(row.content, identities)

    def kept(
        self, sealer: Sealer, *, after: int = 0, source: int | None = None
    ) -> Iterator[KeptBatch]:
        """The kept hashes, batch by batch in their order; of those that have expired, none.

        Args:
            sealer: `kept.scan_sealer`.
            after: number of the batch behind which to begin.
            source: number of the place of which they are; None for all.

        Raises:
            StateError: a key that sealed them is not here, or the state is damaged.
            SealingKeyError: no key can be read.
        """
        return keeping.each(
            self._engine, self.document, sealer, now=self._clock(), after=after, source=source
        )

    def kept_of(self, number: int, sealer: Sealer) -> KeptBatch | None:
        """The kept hashes of one batch; None where there are none. Raises as `kept`."""
        return keeping.of_batch(self._engine, self.document, sealer, number, now=self._clock())

    def forget(self, sealer: Sealer | None, *, prefix: str = "") -> Forgotten:
        """Erases kept hashes for good.

        Args:
            sealer: opens them; with no prefix it may be None.
            prefix: of the keys whose hashes are; empty: of all.

        Raises:
            StateError: a key that sealed them is not here, or the state cannot be written.
            SealingKeyError: no key can be read.
        """
        self._require_lock()
        with self._writers:
            return keeping.forget(self._engine, self.document, sealer, prefix=prefix)

    def erase_expired(self, now: float) -> int:
        """Erases kept hashes that have expired; how many objects' that were.

        Raises:
            StateError: the state cannot be written.
        """
        if 0 < self.document.hashes_until <= now:
            return self.forget(None).objects
        self._require_lock()
        with self._writers:
            keeping.erase_traces(self._engine)
        return 0

    def _each_finished(self, *columns: Any) -> Iterator[Row[Any]]:
        table, number = schema.finished.c, 0
        while True:
            query = select(table.number, *columns).where(table.number > number)
            with reading(self._engine) as connection:
                row = connection.execute(query.order_by(table.number).limit(1)).one_or_none()
            if row is None:
                return
            number = row.number
            yield row

    def _add(self, connection: Connection, tally: Tally) -> None:
        row = connection.execute(select(schema.scan)).one()
        sums, timeline = decoded(row.tally, Tally), decoded(row.timeline, Timeline)
        worked = self._worked()
        sums.add(tally)
        timeline.add(worked, tally.objects, tally.fetched_bytes)
        connection.execute(
            update(schema.scan).values(
                batches=row.batches + 1,
                work_seconds=worked,
                tally=msgspec.msgpack.encode(sums),
                timeline=msgspec.msgpack.encode(timeline),
            )
        )
        if self._run is not None:
            running.add(connection, self._run, tally.objects, at=self._clock())

    def _worked(self) -> float:
        """Seconds of work, of all runs."""
        since = 0.0 if self._began is None else self._steady() - self._began
        return self._worked_before + since

    def _row(self) -> Row[Any]:
        with reading(self._engine) as connection:
            row = connection.execute(select(schema.scan)).one_or_none()
        if row is None:
            raise StateError(DAMAGED)
        return row

    def _require_lock(self) -> None:
        if self._lock is None:
            raise StateError("the scan was opened to be looked at, and cannot be written")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        self._require_lock()
        with self._writers, writing(self._engine) as connection:
            yield connection


def decoded(content: bytes, form: type[Any]) -> Any:
    """What stands in a column.

    Raises:
        StateError: it is damaged.
    """
    try:
        return msgspec.msgpack.decode(content, type=form)
    except msgspec.MsgspecError:
        raise StateError(DAMAGED) from None


def _fill(connection: Connection, document: ScanDocument) -> None:
    connection.execute(
        insert(schema.scan).values(
            document=msgspec.msgpack.encode(document),
            next_number=1,
            listed=0,
            listed_bytes=0,
            not_selected=0,
            skipped=msgspec.msgpack.encode({}),
            batches=0,
            kept=0,
            traces=False,
            work_seconds=0.0,
            tally=msgspec.msgpack.encode(Tally()),
            timeline=msgspec.msgpack.encode(Timeline()),
        )
    )


def _following(number: int, batches: Sequence[Batch]) -> int:
    """The lowest number after those of the batches."""
    for each in batches:
        if each.number < number:
            raise ValueError(f"batch {each.number} comes where {number} is the lowest number left")
        number = each.number + 1
    return number


def _take_planned(connection: Connection, number: int, objects: int) -> int | None:
    """Unplans a batch; of which place it is, None where it is not planned."""
    table = schema.planned
    row = connection.execute(
        select(table.c.source, table.c.objects).where(table.c.number == number)
    ).one_or_none()
    if row is None:
        return None
    if row.objects != objects:
        raise ValueError(f"batch {number}: {objects} records of {row.objects} objects")
    connection.execute(delete(table).where(table.c.number == number))
    return int(row.source)


__all__ = ["Position", "ScanState"]
