"""One pass over the records of an import: validated, watched, staged, and counted."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from hashlists.catalog import StageResult
from hashlists.catalog.staging import ROWS_PER_TRANSACTION
from hashlists.errors import FormatError, TooManyRejectionsError
from hashlists.formats.delta_mark import FileMark
from hashlists.formats.notes import Notes
from hashlists.importing.merging import merge
from hashlists.importing.report import ImportReport
from hashlists.validate import validate
from hashlists.words import counted, one_or_many

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hashlists.catalog import StagedImport
    from hashlists.formats.base import RawBatch
    from hashlists.importing.files import RecordSource
    from hashlists.limits import ImportLimits
    from hashlists.model import Classification, EntryBatch, Handling, Rejection, Retraction

    #: Called with bytes read, bytes in all, and records read.
    Progress = Callable[[int, int, int], None]
    #: Called with every validated batch, in order, before anything of it is staged.
    Observer = Callable[[EntryBatch], None]

#: Noted, since a list whose keys are formed otherwise would lose every withdrawal unheard.
UNKNOWN_WITHDRAWAL = "withdrawals of entries that the list never held, by that key"
_REJECTIONS_IN_ERROR = 3


@dataclass(slots=True)
class Run:
    """Batches in, rows staged, figures kept.

    Attributes:
        records: of all files.
        handling: with which the list was made; see `validate`.
        limits: ceilings of the import.
        progress: told after every batch.
        observers: shown every validated batch.
        read, rejected: records.
        rejections: the first of them.
        total: what became of what was staged.
        notes: what was left aside, and how often.
        harms: the kinds of harm that the files say their entries are about, so far.
        delta: whether a file says that it holds what changed, not a whole list.
        mark: whose the files are, where they say so.
        absent: entries that are retracted since a whole list does not name them.
    """

    records: RecordSource
    handling: Handling
    limits: ImportLimits
    progress: Progress | None = None
    observers: Sequence[Observer] = ()
    read: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    total: StageResult = field(default_factory=StageResult)
    notes: Notes = field(default_factory=Notes)
    harms: set[str] = field(default_factory=set)
    delta: bool = False
    mark: FileMark = field(default_factory=FileMark)
    absent: int = 0
    _list_names: set[str] = field(default_factory=set)
    _ended: bool = False
    _classifications: set[Classification | None] = field(default_factory=set)
    _batches: Iterator[tuple[EntryBatch, list[Retraction]]] = field(init=False)

    def read_ahead(self, share: float) -> None:
        """Reads what will be staged first, so that a bad file is told before anything is written.

        A file that ends therein has to keep to the share of rejected records already now.
        """
        following = self._coalesced()
        first = next(following, None)
        self._batches = following if first is None else chain([first], following)
        if self._ended:
            self.require_share(share)

    def stage_all(self, staged: StagedImport) -> None:
        """Stages everything, what was read ahead included."""
        for entries, retractions in self._batches:
            self.take(staged.stage(entries))
            if retractions:
                self.take(staged.stage_retractions(retractions))

    def take(self, result: StageResult) -> None:
        """Counts what was staged."""
        self._reject(result.rejections)
        self.notes.take(result.notes)
        result.rejections, result.barred = [], []
        if result.unknown:
            self.notes.take({UNKNOWN_WITHDRAWAL: result.unknown})
        self.total.add(result)

    def require_share(self, share: float) -> None:
        """Judges how much was rejected.

        Raises:
            TooManyRejectionsError: more than the share.
        """
        if self.rejected <= share * self.read:
            return
        first = "; ".join(_in_words(each) for each in self.rejections[:_REJECTIONS_IN_ERROR])
        raise TooManyRejectionsError(
            f"{self.rejected:,} of {counted(self.read, 'record')}"
            f" {one_or_many(self.rejected, 'was', 'were')} rejected, more than the limit of"
            f" {share:.1%}, so nothing was imported; the first: {first}"
        )

    def report(self, list_name: str, sha256: bytes, seconds: float) -> ImportReport:
        """What was done so far; of revision 0."""
        return ImportReport(
            list_name=list_name,
            format=self.records.format,
            revision=0,
            read=self.read,
            added=self.total.added,
            updated=self.total.updated,
            retracted=self.total.retracted,
            unchanged=self.total.unchanged,
            rejected=self.rejected,
            kept_retracted=self.total.kept_retracted,
            seconds=seconds,
            coverage=self.total.coverage,
            rejections=tuple(self.rejections),
            sha256=sha256.hex(),
            notes=dict(self.notes + self.records.notes),
            absent=self.absent,
        )

    def _coalesced(self) -> Iterator[tuple[EntryBatch, list[Retraction]]]:
        """Validated batches, put together so that one fills a staging transaction."""
        waiting: list[EntryBatch] = []
        retractions: list[Retraction] = []
        rows = 0
        for raw in self.records.batches():
            good = validate(raw, default_handling=self.handling, limits=self.limits)
            self.read += len(good.entries) + len(good.retractions) + len(good.rejections)
            self._reject(good.rejections)
            self.notes.take(raw.notes)
            self.harms.update(raw.harms)
            self.delta |= raw.delta
            self._require_delta_alone()
            self._require_one_mark(raw)
            self._require_one_list(raw)
            self._require_few_classifications(good.entries)
            for observe in self.observers:
                observe(good.entries)
            if self.progress is not None:
                self.progress(self.records.bytes_read, self.records.length, self.read)
            more = len(good.entries) + len(good.retractions)
            if waiting and rows + more > ROWS_PER_TRANSACTION:
                yield merge(waiting), retractions
                waiting, retractions, rows = [], [], 0
            waiting.append(good.entries)
            retractions += good.retractions
            rows += more
        self._require_delta_alone()
        self._ended = True
        if waiting:
            yield merge(waiting), retractions

    def _require_one_list(self, raw: RawBatch) -> None:
        """Refuses entries of several lists that nothing but their keys tells apart.

        Raises:
            FormatError: an entry that one of the lists withdrew would go, though another holds it.
        """
        self._list_names.update(raw.list_names)
        if len(self._list_names) > 1:
            raise FormatError(
                "the entries are of several lists, and what one of them withdraws another may hold;"
                " export each list to a file of its own, and import it into a list of its own"
            )

    def _require_delta_alone(self) -> None:
        """Refuses a delta beside any other file: which of the two holds later a set does not tell.

        Raises:
            FormatError: what the delta withdraws another file of the set may list.
        """
        if self.delta and self.records.parts > 1:
            raise FormatError(
                "one of the files is a delta: it holds what changed since another was written, so"
                " they are no set, in which no file is later than any other; import them one after"
                " the other, the whole list first and then each delta, the oldest first"
            )

    def _require_one_mark(self, raw: RawBatch) -> None:
        """Refuses files of several senders, or of several revisions of one.

        Raises:
            FormatError: none of them would be known to be the later one.
        """
        if not raw.sender:
            return
        told = FileMark(raw.sender, raw.upto, raw.since if raw.delta else None)
        if self.mark.sender and self.mark != told:
            raise FormatError(
                "the files are of several lists or senders, or show several revisions of one, so"
                " they are no set; import them one after the other: those of one sender in their"
                " order, those of each other into a list of its own"
            )
        self.mark = told

    def _require_few_classifications(self, entries: EntryBatch) -> None:
        classes = entries.classifications
        once = dict(zip(map(id, classes), classes, strict=True))  # hashing them all costs more
        self._classifications.update(once.values())
        self._classifications.discard(None)
        if len(self._classifications) > self.limits.max_classifications:
            raise FormatError(
                f"the file has more than {self.limits.max_classifications} different"
                " classifications (max_classifications), so nothing was imported: probably the"
                " category is read from a wrong column (CSV: columns.category)"
            )

    def _reject(self, rejections: Sequence[Rejection]) -> None:
        self.rejected += len(rejections)
        room = self.limits.max_reported_rejections - len(self.rejections)
        self.rejections += rejections[: max(room, 0)]


@contextmanager
def no_cycle_collection() -> Iterator[None]:
    """Pauses Python's cycle collector in this process.

    Rows hold no cycles and are freed by reference counts; the collector would walk the same
    hundred thousand tuples over and over, at a quarter of an import's time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _in_words(rejection: Rejection) -> str:
    named = f"{rejection.field}: " if rejection.field else ""
    return f"{rejection.place}: {named}{rejection.reason}"


__all__ = ["Run", "no_cycle_collection"]
