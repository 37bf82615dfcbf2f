"""Imports a list file: read, validate, stage, and one revision at the end, or nothing at all.

Invariants: a record is either imported or reported as rejected, with its place and a reason; when
the file is not what it says, is cut off, changes while it is read, or too large a share of it is
rejected, the catalog stays at the revision it had. Memory does not grow with the file.

As a program (`python -m hashlists.importer`) it is the child process of the service: JSON Lines on
standard output, `{"progress": ...}` while it runs, then `{"report": ...}` or `{"error": ...}`.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from hashlists.catalog import Catalog, ImportSource, StageResult
from hashlists.catalog.staging import ROWS_PER_TRANSACTION
from hashlists.errors import (
    DigestMismatchError,
    FormatError,
    HashlistsError,
    ImportConflictError,
    ListNotFoundError,
    OptionsError,
    TooManyRejectionsError,
)
from hashlists.formats.registry import open_reader
from hashlists.limits import DEFAULT_LIMITS, ImportLimits
from hashlists.model import NO_ONWARD_SHARING, Coverage, EntryBatch, HashKind, Place, Rejection
from hashlists.validate import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path

    from hashlists.catalog import FinishedImport, StagedImport
    from hashlists.formats.base import ListReader
    from hashlists.model import Classification, Handling, Retraction

    #: Called with bytes read, bytes in all, and records read.
    Progress = Callable[[int, int, int], None]

_SECONDS_BETWEEN_PROGRESS = 0.2
_REJECTIONS_IN_ERROR = 3


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        revision: the revision it made; 0 where nothing had changed.
        read: records in the file.
        added: entries that the list did not hold.
        updated: entries that changed, or that their source lists again after retracting them.
        unchanged: entries that the list holds just so, and repetitions within the file.
        rejected: records that were not imported.
        kept_retracted: entries that stay retracted here, since an operator retracted them.
        seconds: wall-clock time.
        coverage: of the entries in this file.
        rejections: the first of them, in the order in which they were found.
        sha256: of the file, lower-case hex.
        notes: what was left aside without harm, e.g. a hash of an unknown name, and how often.
        repeated: this import had been made before under its idempotency key; this is its report.
    """

    list_name: str
    format: str
    revision: int
    read: int
    added: int
    updated: int
    unchanged: int
    rejected: int
    kept_retracted: int
    seconds: float
    coverage: Coverage
    rejections: tuple[Rejection, ...]
    sha256: str
    notes: Mapping[str, int] = field(default_factory=dict)
    repeated: bool = False


def import_file(
    catalog: Catalog,
    path: Path,
    *,
    list_name: str,
    format: str,  # noqa: A002 - the word that the command line and the protos use
    importer: str,
    options: Mapping[str, str] | None = None,
    reason: str = "",
    idempotency_key: str | None = None,
    max_rejected_share: float | None = None,
    expected_sha256: bytes | None = None,
    limits: ImportLimits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    prepare_list: Callable[[], None] | None = None,
) -> ImportReport:
    """Imports one file into a list, as one revision.

    Args:
        catalog: holds the list.
        path: the file.
        list_name: the list; it must exist, unless `prepare_list` makes it.
        format: one of `hashlists.formats.registry.format_names()`.
        importer: who imports, kept with the revision.
        options: options of the format.
        reason: why, kept with the revision.
        idempotency_key: when all else but importer and reason is the same as under this key
            before, the first report is returned again.
        max_rejected_share: rejected records as a share of all, 0..1, above which nothing is
            imported; None for that of `limits`.
        expected_sha256: 32 bytes that the file's digest must equal; None for any.
        limits: ceilings of the import.
        progress: called after every batch.
        prepare_list: called before anything is written, once the beginning of the file (about
            100,000 records; all of a smaller file) has proved good; may create the list, with the
            default handling.

    Raises:
        ListNotFoundError: no list goes by that name.
        UnknownFormatError, OptionsError: format or options are wrong.
        FormatError: the file cannot be read, is not of that format, is cut off, changed, or has
            more classifications than any scheme.
        DigestMismatchError: the file is not the expected one.
        TooManyRejectionsError: too large a share was rejected.
        ImportConflictError: the key was used before for another file, list, format, options or
            share.
        ImportInProgressError: another import of this list, or under this key, is under way.
        CatalogError: the catalog failed.
        After any of them nothing was imported.
    """
    started = time.monotonic()
    share = limits.max_rejected_share if max_rejected_share is None else max_rejected_share
    if not 0 <= share <= 1:
        raise OptionsError(f"the largest share of rejected records is from 0 to 1, not {share}")
    handling = _handling(catalog, list_name, may_be_missing=prepare_list is not None)
    with _open(path) as stream:
        request = _digest_request(list_name, format, options, share)
        source = _identify(stream, format, importer, reason, idempotency_key)
        source = replace(source, request_sha256=request)
        _check_digest(source, expected_sha256)
        if (first := _made_before(catalog, list_name, source)) is not None:
            return first
        before = os.fstat(stream.fileno())
        reader = open_reader(stream, format=format, options=options, limits=limits)
        with _no_cycle_collection():
            run = _Run(reader, handling, limits, source.length, progress)
            run.read_ahead(share)
            if prepare_list is not None:
                prepare_list()
            with catalog.begin_import(list_name, source) as staged:
                run.stage_all(staged)
                _require_same(before, os.fstat(stream.fileno()))
                run.require_share(share)
                result = run.report(list_name, source, started)
                revision = staged.commit(
                    lambda number: _to_document(replace(result, revision=number))
                )
    return replace(
        result,
        revision=revision.number if revision else 0,
        seconds=time.monotonic() - started,
    )


def check_beginning(
    path: Path,
    *,
    format: str,  # noqa: A002 - as for `import_file`
    options: Mapping[str, str] | None = None,
    max_rejected_share: float | None = None,
    limits: ImportLimits = DEFAULT_LIMITS,
) -> None:
    """Reads the beginning of a file as `import_file` does before it writes anything; no more.

    Args:
        path: the file.
        format: as for `import_file`, like all that follow.
        options: options of the format.
        max_rejected_share: 0..1; counts where the file ends within what is read.
        limits: ceilings of the import.

    Raises:
        UnknownFormatError, OptionsError, FormatError, TooManyRejectionsError: as `import_file`.
    """
    share = limits.max_rejected_share if max_rejected_share is None else max_rejected_share
    with _open(path) as stream:
        length = os.fstat(stream.fileno()).st_size
        reader = open_reader(stream, format=format, options=options, limits=limits)
        with _no_cycle_collection():
            _Run(reader, NO_ONWARD_SHARING, limits, length, None).read_ahead(share)


def report_to_dict(report: ImportReport) -> dict[str, object]:
    """The report as plain JSON-able values; places as words."""
    shown = _to_document(report)
    shown["rejections"] = [
        {"place": str(rejection.place), "field": rejection.field, "reason": rejection.reason}
        for rejection in report.rejections
    ]
    return shown


@dataclass(slots=True)
class _Run:
    """One pass over a file: batches in, rows staged, figures kept."""

    reader: ListReader
    handling: Handling
    limits: ImportLimits
    length: int
    progress: Progress | None
    read: int = 0
    rejected: int = 0
    rejections: list[Rejection] = field(default_factory=list)
    total: StageResult = field(default_factory=StageResult)
    notes: Counter[str] = field(default_factory=Counter)
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
        for entries, retractions in self._batches:
            self._take(staged.stage(entries))
            if retractions:
                self._take(staged.stage_retractions(retractions))

    def _coalesced(self) -> Iterator[tuple[EntryBatch, list[Retraction]]]:
        """Validated batches, put together so that one fills a staging transaction."""
        waiting: list[EntryBatch] = []
        retractions: list[Retraction] = []
        rows = 0
        for raw in self.reader:
            good = validate(raw, default_handling=self.handling, limits=self.limits)
            self.read += len(good.entries) + len(good.retractions) + len(good.rejections)
            self._reject(good.rejections)
            self.notes.update(raw.notes)
            self._require_few_classifications(good.entries)
            if self.progress is not None:
                self.progress(self.reader.bytes_read, self.length, self.read)
            if waiting and rows + len(good.entries) > ROWS_PER_TRANSACTION:
                yield merge(waiting), retractions
                waiting, retractions, rows = [], [], 0
            waiting.append(good.entries)
            retractions += good.retractions
            rows += len(good.entries)
        self._ended = True
        if waiting:
            yield merge(waiting), retractions

    def _require_few_classifications(self, entries: EntryBatch) -> None:
        once = {id(each): each for each in entries.classifications}  # hashing them all costs more
        self._classifications.update(once.values())
        self._classifications.discard(None)
        if len(self._classifications) > self.limits.max_classifications:
            raise FormatError(
                f"the file has more than {self.limits.max_classifications} different"
                " classifications (max_classifications), so nothing was imported: probably the"
                " category is read from a wrong column (CSV: columns.category)"
            )

    def _take(self, result: StageResult) -> None:
        self._reject(result.rejections)
        result.rejections = []
        self.total.add(result)

    def _reject(self, rejections: Sequence[Rejection]) -> None:
        self.rejected += len(rejections)
        room = self.limits.max_reported_rejections - len(self.rejections)
        self.rejections += rejections[: max(room, 0)]

    def require_share(self, share: float) -> None:
        if self.rejected <= share * self.read:
            return
        first = "; ".join(_in_words(each) for each in self.rejections[:_REJECTIONS_IN_ERROR])
        raise TooManyRejectionsError(
            f"{self.rejected} of {self.read} records were rejected, more than the limit of"
            f" {share:.1%}, so nothing was imported; the first: {first}"
        )

    def report(self, list_name: str, source: ImportSource, started: float) -> ImportReport:
        return ImportReport(
            list_name=list_name,
            format=source.format,
            revision=0,
            read=self.read,
            added=self.total.added,
            updated=self.total.updated,
            unchanged=self.total.unchanged,
            rejected=self.rejected,
            kept_retracted=self.total.kept_retracted,
            seconds=time.monotonic() - started,
            coverage=self.total.coverage,
            rejections=tuple(self.rejections),
            sha256=source.sha256.hex(),
            notes=dict(self.notes),
        )


def merge(batches: Sequence[EntryBatch]) -> EntryBatch:
    """Batches of one file as one, in order."""
    if len(batches) == 1:
        return batches[0]
    starts = [0]
    for batch in batches:
        starts.append(starts[-1] + len(batch))
    kinds = dict.fromkeys(chain.from_iterable(batch.hashes for batch in batches))

    def joined(column: Callable[[EntryBatch], Sequence[Any]]) -> list[Any]:
        return list(chain.from_iterable(map(column, batches)))

    def place_at(row: int) -> Place:
        which = next(number for number, start in enumerate(starts[1:]) if row < start)
        return batches[which].place_at(row - starts[which])

    return EntryBatch(
        keys=joined(lambda batch: batch.keys),
        hashes={kind: joined(lambda batch, kind=kind: _of_kind(batch, kind)) for kind in kinds},  # type: ignore[misc]
        extra_hashes=[
            each._replace(row=start + each.row)
            for start, batch in zip(starts, batches, strict=False)
            for each in batch.extra_hashes
        ],
        sizes=joined(lambda batch: batch.sizes),
        classifications=joined(lambda batch: batch.classifications),
        handlings=joined(lambda batch: batch.handlings),
        flags=joined(lambda batch: batch.flags),
        flags_known=joined(lambda batch: batch.flags_known),
        verified_counts=joined(lambda batch: batch.verified_counts),
        media_types=joined(lambda batch: batch.media_types),
        source_ids=joined(lambda batch: batch.source_ids),
        source_updated_at=joined(lambda batch: batch.source_updated_at),
        content_digests=joined(lambda batch: batch.content_digests),
        place_at=place_at,
    )


def _of_kind(batch: EntryBatch, kind: HashKind) -> Sequence[bytes | None]:
    return batch.hashes.get(kind) or [None] * len(batch)


def _handling(catalog: Catalog, list_name: str, *, may_be_missing: bool) -> Handling:
    try:
        return catalog.get_list(list_name).hash_list.handling
    except ListNotFoundError:
        if not may_be_missing:
            raise
        return NO_ONWARD_SHARING


def _open(path: Path) -> BufferedReader:
    try:
        stream = path.open("rb")
    except OSError as error:
        raise FormatError(f"the file cannot be read: {error.strerror}") from error
    if not stream.seekable():
        stream.close()
        raise FormatError("a pipe cannot be imported: it is read twice; write it to a file first")
    return stream


@contextmanager
def _no_cycle_collection() -> Iterator[None]:
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


def _identify(
    stream: BufferedReader,
    format_name: str,
    importer: str,
    reason: str,
    idempotency_key: str | None,
) -> ImportSource:
    try:
        digest = hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise FormatError(f"the file cannot be read: {error.strerror}") from error
    return ImportSource(
        format=format_name,
        sha256=digest,
        length=stream.tell(),
        importer=importer,
        reason=reason,
        idempotency_key=idempotency_key,
    )


def _digest_request(
    list_name: str, format_name: str, options: Mapping[str, str] | None, share: float
) -> bytes:
    """SHA-256 over what decides, beside the file, what an import does."""
    request = [list_name, format_name, sorted((options or {}).items()), float(share)]
    return hashlib.sha256(json.dumps(request).encode()).digest()


def _check_digest(source: ImportSource, expected: bytes | None) -> None:
    if expected is not None and source.sha256 != expected:
        raise DigestMismatchError(
            f"the file ({source.length} bytes) does not have the announced SHA-256; it was cut off"
            " or is another one"
        )


def _made_before(catalog: Catalog, list_name: str, source: ImportSource) -> ImportReport | None:
    if source.idempotency_key is None:
        return None
    finished = catalog.find_import(source.idempotency_key)
    if finished is None:
        return None
    if finished.source.sha256 != source.sha256 or finished.list_name != list_name:
        raise ImportConflictError(
            "this idempotency key was used before, for another file or list; take a new one"
        )
    if finished.source.request_sha256 != source.request_sha256:
        raise ImportConflictError(
            "this idempotency key was used before, with another format, other options or another"
            " share of rejected records; take a new one"
        )
    return _from_document(finished)


def _require_same(before: os.stat_result, after: os.stat_result) -> None:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise FormatError("the file changed while it was read; import it again when it is whole")


def _in_words(rejection: Rejection) -> str:
    named = f"{rejection.field}: " if rejection.field else ""
    return f"{rejection.place}: {named}{rejection.reason}"


def _to_document(report: ImportReport) -> dict[str, object]:
    """The report as it is kept in the catalog; `_from_document` is the way back."""
    coverage = report.coverage
    shares = {
        kind: number / coverage.entries if coverage.entries else 0.0
        for kind in HashKind
        for number in (coverage.by_kind.get(kind, 0),)
    }
    return {
        "list": report.list_name,
        "format": report.format,
        "revision": report.revision,
        "read": report.read,
        "added": report.added,
        "updated": report.updated,
        "unchanged": report.unchanged,
        "rejected": report.rejected,
        "kept_retracted": report.kept_retracted,
        "seconds": round(report.seconds, 3),
        "coverage": {
            "entries": coverage.entries,
            "near_matchable": coverage.near_matchable,
            "near_matchable_share": coverage.near_matchable_share,
            "by_kind": {kind.value: coverage.by_kind.get(kind, 0) for kind in HashKind},
            "share_by_kind": {kind.value: share for kind, share in shares.items()},
        },
        "rejections": [
            [each.place.unit, each.place.number, each.place.offset, each.field, each.reason]
            for each in report.rejections
        ],
        "sha256": report.sha256,
        "notes": dict(report.notes),
        "repeated": report.repeated,
    }


def _from_document(finished: FinishedImport) -> ImportReport:
    kept = finished.report
    coverage = kept["coverage"]
    by_kind = {HashKind(kind): number for kind, number in coverage["by_kind"].items() if number}
    counts = ("read", "added", "updated", "unchanged", "rejected", "kept_retracted", "seconds")
    return ImportReport(
        list_name=finished.list_name,
        format=finished.source.format,
        revision=finished.revision,
        **{name: kept[name] for name in counts},
        coverage=Coverage(coverage["entries"], by_kind, coverage["near_matchable"]),
        rejections=tuple(
            Rejection(Place(unit, number, offset), named, why)
            for unit, number, offset, named, why in kept["rejections"]
        ),
        sha256=finished.source.sha256.hex(),
        notes=kept["notes"],
        repeated=True,
    )


# The child process of the service


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    from pathlib import Path  # noqa: PLC0415 - elsewhere only a type

    parser = argparse.ArgumentParser(
        prog="python -m hashlists.importer", description="Import one list file; JSON Lines out."
    )
    parser.add_argument("--catalog", required=True, help="URL, e.g. sqlite:///catalog.db")
    parser.add_argument("--file", required=True, type=Path)
    parser.add_argument("--list", required=True)
    parser.add_argument("--format", required=True)
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--importer", required=True, help="who imports")
    parser.add_argument("--reason", default="")
    parser.add_argument("--idempotency-key")
    parser.add_argument("--sha256", type=bytes.fromhex, help="what the file must have, in hex")
    parser.add_argument("--max-rejected-share", type=float)
    if given == ["-"]:
        given = json.loads(sys.stdin.readline())
    arguments = parser.parse_args(given)
    if any("=" not in option for option in arguments.option):
        parser.error("--option takes KEY=VALUE")
    return arguments


class _ProgressLines:
    """Prints progress, a few lines a second."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, bytes_read: int, total_bytes: int, records: int) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _SECONDS_BETWEEN_PROGRESS
        done = {"bytes_read": bytes_read, "total_bytes": total_bytes, "records_read": records}
        _print_line({"progress": done})


def _print_line(value: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def main(given: Sequence[str] | None = None) -> int:
    """Runs one import; returns the exit status: 0, or 1 after an error, which is printed.

    The single argument `-` stands for a JSON array of arguments on standard input: a catalog's URL
    may hold a password, and every user can list the arguments of a process.
    """
    arguments = _arguments(sys.argv[1:] if given is None else given)
    try:
        with Catalog.open(arguments.catalog) as catalog:
            report = import_file(
                catalog,
                arguments.file,
                list_name=arguments.list,
                format=arguments.format,
                options=dict(option.split("=", 1) for option in arguments.option),
                importer=arguments.importer,
                reason=arguments.reason,
                idempotency_key=arguments.idempotency_key,
                max_rejected_share=arguments.max_rejected_share,
                expected_sha256=arguments.sha256,
                progress=_ProgressLines(),
            )
    except HashlistsError as error:
        _print_line({"error": {"reason": error.reason, "message": str(error)}})
        return 1
    _print_line({"report": report_to_dict(report)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
