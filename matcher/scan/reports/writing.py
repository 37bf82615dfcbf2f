"""Writes all reports of a scan in one pass over its records.

Each file takes the place of an earlier one at the very end, whole and on the disk, readable by its
owner alone; whatever goes wrong before leaves those of before as they are. What names objects is
encrypted to recipients where there are any, and never touches the disk in the clear. Memory does
not grow with the number of records.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import HashlistsError
from hashlists.exporting.layers import outgoing
from hashlists.exporting.measured import Measured
from hashlists.exporting.request import AGE_SUFFIX, Compression
from hashlists.exporting.whole_file import whole_file
from matcher.scan.errors import ReportError
from matcher.scan.reports.addresses import Addresses
from matcher.scan.reports.csv import CsvReport
from matcher.scan.reports.jsonl import JsonLinesReport
from matcher.scan.reports.page import PageReport
from matcher.scan.reports.parquet import ParquetReport
from matcher.scan.reports.rows import Rows
from matcher.scan.reports.totals import totals_json
from matcher.scan.reports.vics import VicsReport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from matcher.scan.model import Record
    from matcher.scan.reports.base import Report
    from matcher.scan.state.summary import ScanSummary

PAGE: Final = "html"
#: Names of the files, by format.
FILES: Final[Mapping[str, str]] = {
    "jsonl": "report.jsonl",
    "csv": "report.csv",
    "parquet": "report.parquet",
    "vics": "report.vics.json",
    PAGE: "report.html",
}
FORMATS: Final = tuple(FILES)
#: Written besides, whatever is asked for.
TOTALS: Final = "summary.json"
_RECORDS_AT_A_TIME: Final = 2_048


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        files: in the order of the formats, the totals last.
        notes: what a format could not carry, in words for a person.
    """

    files: tuple[Path, ...]
    notes: tuple[str, ...]


def write_reports(
    folder: Path,
    summary: ScanSummary,
    records: Iterable[Record] | None,
    formats: Collection[str],
    *,
    recipients: Sequence[str] = (),
    vics_profile: str = "",
) -> Written:
    """Writes reports, and the totals, into a folder that is there.

    Args:
        folder: where to.
        summary: of the scan.
        records: all that it has, each once; None where they are encrypted and no key is here: then
            only the page can be written.
        formats: some of `FORMATS`.
        recipients: public keys of age or SSH, to which all but the page and the totals are
            encrypted; their names then end in `.age`.
        vics_profile: whose categories the VICS file has; empty: of most of what was found.

    Raises:
        ReportError: a format or profile is unknown, a library is missing, a recipient is none, the
            records are not those of the sums, or a file cannot be written. The message names none
            of the objects.
    """
    chosen = _chosen(formats, sealed=records is None)
    paths = {name: folder / _file_name(name, encrypted=bool(recipients)) for name in chosen}
    makers = _makers(summary, sealed=records is None, vics_profile=vics_profile)
    made: dict[str, Report] = {}
    try:
        with ExitStack() as stack:
            for name, path in paths.items():
                stream = stack.enter_context(whole_file(path, force=True))
                to = () if name == PAGE else recipients
                content = stack.enter_context(outgoing(Measured(stream), Compression.NONE, to))
                made[name] = makers[name](content)
            totals = stack.enter_context(whole_file(folder / TOTALS, force=True))
            _pass(records, summary, {paths[name]: report for name, report in made.items()})
            Measured(totals).write(totals_json(summary))
    except HashlistsError as error:
        raise ReportError(str(error)) from error
    notes = [note for report in made.values() for note in report.notes]
    return Written((*paths.values(), folder / TOTALS), tuple(notes))


def _chosen(formats: Collection[str], *, sealed: bool) -> tuple[str, ...]:
    unknown = sorted(set(formats).difference(FORMATS))
    if unknown:
        raise ReportError(f"there is no report {unknown[0]!r}; there are {', '.join(FORMATS)}")
    chosen = tuple(name for name in FORMATS if name in formats)
    if sealed and any(name != PAGE for name in chosen):
        raise ReportError(
            "the scan's records are encrypted; whoever holds a key of their recipients makes "
            "reports with addresses"
        )
    return chosen


def _file_name(name: str, *, encrypted: bool) -> str:
    return FILES[name] + (AGE_SUFFIX if encrypted and name != PAGE else "")


def _makers(
    summary: ScanSummary, *, sealed: bool, vics_profile: str
) -> Mapping[str, Callable[[BinaryIO], Report]]:
    addresses = Addresses(summary.document.places)
    rows = Rows(addresses)
    return {
        "jsonl": lambda stream: JsonLinesReport(stream, rows),
        "csv": lambda stream: CsvReport(stream, rows),
        "parquet": lambda stream: ParquetReport(stream, rows),
        "vics": lambda stream: VicsReport(stream, addresses, profile=vics_profile),
        PAGE: lambda stream: PageReport(stream, summary, sealed=sealed),
    }


def _pass(
    records: Iterable[Record] | None, summary: ScanSummary, reports: Mapping[Path, Report]
) -> None:
    """Gives every record to every report, and sees to it that there are as many as were summed."""
    if records is not None and reports:
        seen = 0
        for some in _at_a_time(records):
            seen += len(some)
            for path, report in reports.items():
                with _telling(path):
                    report.write(some)
        expected = summary.tally.objects + summary.tally.members
        if seen != expected:
            raise ReportError(
                f"there are {seen:,} records, and sums of {expected:,}: make the reports again "
                "once no scan writes to the folder"
            )
    for path, report in reports.items():
        with _telling(path):
            report.finish()


def _at_a_time(records: Iterable[Record]) -> Iterator[Sequence[Record]]:
    left = iter(records)
    while some := tuple(islice(left, _RECORDS_AT_A_TIME)):
        yield some


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    """Says of which file it was that the disk took no more."""
    try:
        yield
    except OSError as error:
        raise ReportError(
            f"{path} was not written: {error.strerror}; what was there before still is"
        ) from error


__all__ = ["FILES", "FORMATS", "TOTALS", "Written", "write_reports"]
