"""Imports VICS files of 1 and 3 million made-up records, each in a process of its own.

    python -m loadtest.import_vics [--records N ...] [--url URL] [--smoke]

The file is written beforehand and not timed. CPU seconds are those of the whole child process:
start of Python, opening the catalog, digest of the file, reading, validating, staging and commit.
Peak memory is the child's largest resident set, as the kernel counted it. Every record has an MD5,
a SHA-1, a PhotoDNA and a PDQ hash. The second line of each size imports the same file again, which
must change nothing. With the URL of a catalog in PostgreSQL the same files go there too, under a
list of their own, which stays; CPU seconds and memory are then the importer's, not the server's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from hashlists.catalog import Catalog
from hashlists.model import Harm, HashKind, HashList
from loadtest import measure
from loadtest.generate_vics import write_vics

_RECORDS = (1_000_000, 3_000_000)
_SMOKE_RECORDS = (20_000,)
_REQUIRED, _AIM = 40_000, 80_000  # records a CPU second, into an empty list
_MOST_MEGABYTES = 400
_LIST = "made-up"
_KINDS = (HashKind.MD5, HashKind.SHA1, HashKind.PHOTODNA, HashKind.PDQ)


@dataclass(frozen=True, slots=True)
class Run:
    """What one import took.

    Attributes:
        database: what the catalog is kept in.
        records: in the file.
        again: the list held all of them already.
        cpu, wall: seconds.
        megabytes: peak resident memory.
    """

    database: str
    records: int
    again: bool
    cpu: float
    wall: float
    megabytes: float

    def row(self) -> tuple[str, ...]:
        """One line of the table."""
        return (
            f"{self.records:,} {'again' if self.again else 'into an empty list'}",
            self.database,
            f"{self.records / self.cpu:,.0f}",
            f"{self.records / self.wall:,.0f}",
            f"{self.wall:.1f}",
            f"{self.megabytes:.0f}",
        )


def import_in_child(url: str, hash_list: str, file: Path, *, records: int, again: bool) -> Run:
    """Runs the importer as the service does, and checks its report.

    Raises:
        SystemExit: the import failed, or its report is not what it must be.
    """
    command = [sys.executable, "-m", "hashlists.import_process", "--catalog", url]
    command += [
        "--file",
        str(file),
        "--list",
        hash_list,
        "--format",
        "vics",
        "--importer",
        "loadtest",
    ]
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, cwd=Path(__file__).parent.parent)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        last = json.loads(out.read().splitlines()[-1])
    expected = {"read": records, "rejected": 0, "unchanged" if again else "added": records}
    report = last.get("report", {})
    if child.returncode or not report.items() >= expected.items():
        raise SystemExit(f"the import went wrong: {last}")
    cpu = usage.ru_utime + usage.ru_stime
    return Run(_database(url), records, again, cpu, wall, usage.ru_maxrss / 1024)


def _database(url: str) -> str:
    return url.partition(":")[0].partition("+")[0]


def runs_of(url: str, file: Path, records: int) -> tuple[list[Run], tuple[str, ...]]:
    """Imports one file twice; returns both runs, and what reading the list then takes."""
    name = f"{_LIST}-{records}-{time.time_ns()}"
    with Catalog.open(url) as catalog:
        record = catalog.create_list(HashList(name, Harm.TEST, "nobody"), author="loadtest")
        runs = [
            import_in_child(url, name, file, records=records, again=each) for each in (False, True)
        ]
        start = time.perf_counter()
        coverage = catalog.get_list(name).coverage
        shown = time.perf_counter() - start
        start = time.perf_counter()
        with catalog.read() as reader:
            ids = reader.changed_ids(record.revision)
            entries = sum(map(len, reader.entry_columns(entry_ids=ids)))
        read = time.perf_counter() - start
    if {coverage.entries, entries, *(coverage.by_kind[kind] for kind in _KINDS)} != {records}:
        raise SystemExit("the catalog does not hold what was imported")
    size = _size(url)
    figures = (
        f"{records:,}",
        _database(url),
        f"{file.stat().st_size / 1e6:,.0f}",
        f"{size / 1e6:,.0f}" if size else "",
        f"{shown * 1e3:.1f}",
        f"{entries / read:,.0f}",
    )
    return runs, figures


def _size(url: str) -> int | None:
    """Bytes of the catalog's file; None where a server keeps it."""
    path = Path(url.removeprefix("sqlite:///"))
    return path.stat().st_size if path.exists() else None


def main() -> int:
    """Runs the command line; the exit status is 1 where a requirement is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, nargs="+", help="sizes, instead of 1 and 3 million")
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile")
    parser.add_argument("--url", help="a catalog in PostgreSQL, to import into it as well")
    parser.add_argument(
        "--smoke", action="store_true", help="a small file; checks results, and not speed"
    )
    options = parser.parse_args()
    sizes = options.records or (_SMOKE_RECORDS if options.smoke else _RECORDS)
    runs: list[Run] = []
    figures: list[tuple[str, ...]] = []
    for records in sizes:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            file = Path(folder, "list.json")
            with file.open("wb") as out:
                write_vics(out, records=records)
            urls = [f"sqlite:///{folder}/catalog/catalog.db", *filter(None, [options.url])]
            for url in urls:
                some, line = runs_of(url, file, records)
                runs += some
                figures.append(line)
    print(measure.circumstances(["sqlalchemy", "msgspec", "numpy"]), end="\n\n")
    header = ("records", "catalog in", "a CPU second", "a second", "seconds", "peak MiB")
    print(measure.markdown_table(header, [run.row() for run in runs]), end="\n\n")
    header = (
        "records",
        "catalog in",
        "file MB",
        "catalog MB",
        "list shown ms",
        "looked up a second",
    )
    print(measure.markdown_table(header, figures))
    here = [run for run in runs if run.database == "sqlite"]
    slowest = min(run.records / run.cpu for run in here if not run.again)
    largest = max(run.megabytes for run in here)
    met = slowest >= _REQUIRED and largest < _MOST_MEGABYTES
    print(
        f"\nRequired of SQLite: {_REQUIRED:,} records a CPU second into an empty list,"
        f" aim {_AIM:,}, in less than {_MOST_MEGABYTES} MiB: {'met' if met else 'missed'}"
        f" (lowest {slowest:,.0f}, most {largest:.0f} MiB)."
    )
    return int(not met and not options.smoke)


if __name__ == "__main__":
    sys.exit(main())
