"""Entries that are made here, of files at hand, rather than read from a list file.

Batches come one after the other, for as long as there are files, and count together as one revision
at the end, or not at all. What is not taken is told at once, with its place. Nothing here sees a
file: whoever hashed them hands over raw columns, which `validate` judges as those of any list.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Self

from hashlists.catalog import DerivedResult, ImportSource, StageResult
from hashlists.importing.report import ImportReport, to_document
from hashlists.limits import DEFAULT_LIMITS, ImportLimits
from hashlists.model import HashKind
from hashlists.validate import validate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from hashlists.catalog import Catalog, FileCode, StagedImport
    from hashlists.formats.base import RawBatch
    from hashlists.model import EntryBatch, Handling, Rejection

#: What the catalog keeps for the format of such entries; no reader goes by that name.
FILES: Final = "files"


@dataclass(slots=True)
class Contribution:
    """An import under way of entries that are made here; aborts unless it was committed.

    Made by `begin`, used as a context manager.

    Attributes:
        list_name: the list.
        derived: what became of codes that were derived from the files.
    """

    list_name: str
    _handling: Handling
    _staged: StagedImport
    _limits: ImportLimits
    derived: DerivedResult = field(default_factory=DerivedResult)
    _total: StageResult = field(default_factory=StageResult)
    _rejections: list[Rejection] = field(default_factory=list)
    _read: int = 0
    _rejected: int = 0
    _bytes: int = 0
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    _started: float = field(default_factory=time.monotonic)

    @classmethod
    def begin(
        cls,
        catalog: Catalog,
        list_name: str,
        *,
        author: str,
        reason: str = "",
        limits: ImportLimits = DEFAULT_LIMITS,
    ) -> Self:
        """Begins one; nothing is seen of it before its commit.

        Args:
            catalog: holds the list.
            list_name: of a list that exists.
            author: who contributes, kept with the revision.
            reason: why, kept with the revision.
            limits: ceilings.

        Raises:
            ListNotFoundError: no list goes by that name.
            ImportInProgressError: an import of this list is under way.
        """
        handling = catalog.get_list(list_name).first_handling
        source = ImportSource(FILES, bytes(32), 0, importer=author, reason=reason)
        return cls(list_name, handling, catalog.begin_import(list_name, source), limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._staged.abort()

    def stage(self, batch: RawBatch, derived: Sequence[FileCode] = ()) -> list[Rejection]:
        """Stages one batch.

        Args:
            batch: raw columns; rows that carry a SHA-256 and a size are counted into what the
                revision's record says of its content.
            derived: codes made here from files of the batch, which they name by SHA-256; they are
                confirmed beside the entries, and those of files that are not taken are not.

        Returns:
            What was not taken, in order of rows.

        Raises:
            CatalogError: the database failed; nothing will be seen.
        """
        good = validate(batch, default_handling=self._handling, limits=self._limits)
        result = self._staged.stage(good.entries)
        self._derive(good.entries, derived)
        rejections = [*good.rejections, *result.rejections, *result.barred]
        result.rejections, result.barred = [], []
        self._total.add(result)
        self._read += len(batch)
        self._rejected += len(rejections)
        room = self._limits.max_reported_rejections - len(self._rejections)
        self._rejections += rejections[: max(room, 0)]
        for digest in good.entries.hashes.get(HashKind.SHA256, ()):
            self._digest.update(digest or b"")
        self._bytes += sum(size or 0 for size in good.entries.sizes)
        return sorted(rejections, key=lambda each: each.place.number)

    def _derive(self, entries: EntryBatch, codes: Sequence[FileCode]) -> None:
        if not codes:
            return
        digests = entries.hashes.get(HashKind.SHA256) or [None] * len(entries)
        keys = dict(zip(digests, entries.keys, strict=True))
        result = self._staged.stage_derived(
            [(keys[each.of_digest], each) for each in codes if each.of_digest in keys]
        )
        self.derived.add(result)
        self._total.add(StageResult(updated=result.updated, unchanged=-result.updated))

    def commit(self) -> ImportReport:
        """Makes everything staged one revision.

        Returns:
            What it did; its `sha256` is that over the SHA-256 of all files, in their order.

        Raises:
            CatalogError: the database failed; nothing will be seen.
        """
        report = ImportReport(
            list_name=self.list_name,
            format=FILES,
            revision=0,
            read=self._read,
            added=self._total.added,
            updated=self._total.updated,
            retracted=0,
            unchanged=self._total.unchanged,
            rejected=self._rejected,
            kept_retracted=self._total.kept_retracted,
            seconds=time.monotonic() - self._started,
            coverage=self._total.coverage,
            rejections=tuple(self._rejections),
            sha256=self._digest.hexdigest(),
            notes=self._total.notes,
        )
        revision = self._staged.commit(
            lambda number: to_document(replace(report, revision=number)),
            content=(self._digest.digest(), self._bytes),
        )
        return replace(report, revision=revision.number if revision else 0)


__all__ = ["FILES", "Contribution"]
