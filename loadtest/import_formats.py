"""Imports generated lists of every format, each in a process of its own.

    python -m loadtest.import_formats [--records N] [--formats NAME ...] [--url URL] [--smoke]

Each file goes into an empty list, then into the same list again, which must change nothing; where
the format does not tell what is withdrawn, a third time as the whole list (`--full`) without the
last hundredth, which must be retracted. The catalog is a new one in SQLite and, with a URL, one in
PostgreSQL, under a list of its own that stays.

CPU seconds are those of the whole child process: start of Python (its modules compiled before, as
an installation has them), opening the catalog, digest of the file, reading, validating, staging and
commit. Of PostgreSQL they are the importer's, not the server's: there the seconds on the clock tell
more. Peak memory is the child's largest resident set in any of the imports, as the kernel counted
it. Files are written beforehand and not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.catalog import Catalog
from hashlists.formats.registry import find_format
from hashlists.model import Harm, HashList
from loadtest import measure
from loadtest.generate_lists import LISTS, format_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RECORDS, _SMOKE_RECORDS = 500_000, 2_000
_SMOKE_FORMATS = ("vics", "csv")  # an import takes most of a second to start
_REQUIRED: Mapping[str, int] = {  # entries a CPU second, into an empty list in SQLite
    "vics": 40_000,
    "ncmec": 40_000,
    "csv": 100_000,
    "parquet": 100_000,
}
_MOST_MEBIBYTES = 400
_ABSENT_ONE_IN = 100
_AUTHOR = "loadtest"


@dataclass(frozen=True, slots=True)
class Import:
    """What one import took.

    Attributes:
        records: in the file.
        cpu, wall: seconds.
        mebibytes: peak resident memory.
    """

    records: int
    cpu: float
    wall: float
    mebibytes: float

    @property
    def a_cpu_second(self) -> float:
        """Records."""
        return self.records / self.cpu

    @property
    def a_second(self) -> float:
        """Records, on the clock."""
        return self.records / self.wall


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one format and catalog.

    Attributes:
        format: its name, or that of the generated list.
        database: what keeps the catalog.
        megabytes: size of the file.
        first, again: into an empty list, and once more.
        whole: as the whole list; None where the format tells retractions.
    """

    format: str
    database: str
    megabytes: float
    first: Import
    again: Import
    whole: Import | None

    @property
    def peak(self) -> float:
        """MiB of the import that took most."""
        return max(each.mebibytes for each in (self.first, self.again, self.whole) if each)

    @property
    def met(self) -> bool | None:
        """Whether a requirement is met; None where none is set."""
        required = self._required
        if required is None:
            return None
        return self.first.a_cpu_second >= required and self.peak < _MOST_MEBIBYTES

    @property
    def _required(self) -> int | None:
        return _REQUIRED.get(self.format) if self.database == "sqlite" else None

    def row(self) -> tuple[str, ...]:
        """One line of the table."""
        required = self._required
        return (
            self.format,
            self.database,
            f"{self.first.records:,}",
            f"{self.megabytes:,.0f}",
            f"{self.first.a_cpu_second:,.0f}",
            f"{self.first.a_second:,.0f}",
            f"{self.again.a_cpu_second:,.0f}",
            f"{self.again.a_second:,.0f}",
            f"{self.whole.a_cpu_second:,.0f}" if self.whole else "",
            f"{self.peak:.0f}",
            f"{required:,}, {'met' if self.met else 'missed'}" if required else "",
        )


_HEADER = (
    "format",
    "catalog in",
    "records",
    "file MB",
    "empty list: a CPU second",
    "a second",
    "again: a CPU second",
    "a second",
    "whole list: a CPU second",
    "peak MiB",
    "required a CPU second",
)


class Importer:
    """Imports files of one format into one list, as the service does."""

    def __init__(self, url: str, hash_list: str, name: str, folder: Path) -> None:
        """Takes a folder for compiled modules: a process that compiles them starts slowly."""
        self._environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode")}
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._arguments = ["--catalog", url, "--list", hash_list, "--format", format_of(name)]
        self._arguments += ["--importer", _AUTHOR]
        for option, value in LISTS[name].options.items():
            self._arguments += ["--option", f"{option}={value}"]

    def run(self, file: Path, records: int, *more: str, **expected: int) -> Import:
        """Runs one import in a child.

        Args:
            file: what to import.
            records: in it.
            more: further arguments.
            expected: what its report must say; nothing else may have changed.

        Raises:
            SystemExit: the import failed, or its report is not what it must be.
        """
        arguments = json.dumps([*self._arguments, "--file", str(file), *more])
        with tempfile.TemporaryFile() as out:
            start = time.perf_counter()
            child = subprocess.Popen(
                [sys.executable, "-m", "hashlists.import_process", "-"],
                stdin=subprocess.PIPE,  # the URL may hold a password
                stdout=out,
                env=self._environment,
                cwd=Path(__file__).parent.parent,
            )
            with child.stdin or sys.exit("no pipe") as pipe:
                pipe.write(f"{arguments}\n".encode())
            _, status, usage = os.wait4(child.pid, 0)
            wall = time.perf_counter() - start
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            lines = out.read().splitlines()
        told = json.loads(lines[-1]) if lines else {}
        nothing = dict.fromkeys(("added", "updated", "retracted", "unchanged", "rejected"), 0)
        wanted = {**nothing, **expected, "read": records}
        if child.returncode or not told.get("report", {}).items() >= wanted.items():
            raise SystemExit(
                f"the import went wrong (exit status {child.returncode}), where {wanted} was"
                f" expected: {told}"
            )
        cpu = usage.ru_utime + usage.ru_stime
        return Import(records, cpu, wall, usage.ru_maxrss / 1024)


def measure_format(name: str, url: str, folder: Path, records: int) -> Measured:
    """Imports a list of one format twice or three times, and checks what the catalog then holds.

    Args:
        name: of the generated list.
        url: of the catalog.
        folder: where files lie meanwhile.
        records: of the list.

    Raises:
        SystemExit: an import went wrong, or the catalog does not hold what was imported.
    """
    found = find_format(format_of(name))
    hash_list = f"made-up-{name}-{time.time_ns()}"
    _compile_modules(name, folder)
    importer = Importer(url, hash_list, name, folder)
    file = _write(folder, name, records)
    with Catalog.open(url) as catalog:
        harm = Harm.KNOWN_GOOD if found.known_good else Harm.TEST
        catalog.create_list(HashList(hash_list, harm, "nobody"), author=_AUTHOR)
        first = importer.run(file, records, added=records)
        again = importer.run(file, records, unchanged=records, revision=0)
        _require_entries(catalog, hash_list, name, records)
        size = file.stat().st_size / 1e6
        whole = None
        if not found.tells_retractions:
            absent = max(1, records // _ABSENT_ONE_IN)
            left = records - absent
            fewer = _write(folder, name, left)
            whole = importer.run(fewer, left, "--full", unchanged=left, retracted=absent)
            _require_entries(catalog, hash_list, name, left)
    database = url.partition(":")[0].partition("+")[0]
    return Measured(name, database, size, first, again, whole)


def _compile_modules(name: str, folder: Path) -> None:
    """Imports a few records elsewhere, so that all modules are compiled, as installed ones are."""
    url = f"sqlite:///{folder}/trial/catalog.db"
    with Catalog.open(url) as catalog:
        harm = Harm.KNOWN_GOOD if find_format(format_of(name)).known_good else Harm.TEST
        catalog.create_list(HashList("trial", harm, "nobody"), author=_AUTHOR)
    file = _write(folder, name, _SMOKE_RECORDS)
    Importer(url, "trial", name, folder).run(file, _SMOKE_RECORDS, added=_SMOKE_RECORDS)
    shutil.rmtree(folder / "trial")


def _write(folder: Path, name: str, records: int) -> Path:
    """In a child, too: the kernel counts the memory of whoever starts an import as the import's."""
    path = folder / f"list{LISTS[name].suffix}"
    command = [sys.executable, "-m", "loadtest.generate_lists", name, str(path)]
    subprocess.run(
        [*command, "--records", str(records)],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).parent.parent,
    )
    return path


def _require_entries(catalog: Catalog, hash_list: str, name: str, records: int) -> None:
    coverage = catalog.get_list(hash_list).coverage
    counts = {coverage.entries, *(coverage.by_kind[kind] for kind in LISTS[name].kinds)}
    if counts != {records}:
        raise SystemExit(f"the catalog holds {coverage} after {records} records of {name}")


def measure_formats(
    names: Sequence[str], url: str | None, parent: Path | None, records: int
) -> list[Measured]:
    """Measures one format after the other; what each took goes to standard error at once."""
    done = []
    for name in names:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            for each in (f"sqlite:///{folder}/catalog/catalog.db", *([url] if url else [])):
                done.append(measure_format(name, each, Path(folder), records))
                print(measure.markdown_table(done[-1].row(), []).splitlines()[0], file=sys.stderr)
    return done


def main() -> int:
    """Runs the command line; the exit status is 1 where a requirement is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, help=f"in each file (default {_RECORDS:,})")
    parser.add_argument("--formats", nargs="+", choices=sorted(LISTS), help="default: all")
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile")
    parser.add_argument("--url", help="a catalog in PostgreSQL, to import into it as well")
    parser.add_argument(
        "--smoke", action="store_true", help="two small files; checks results, and not speed"
    )
    options = parser.parse_args()
    names = options.formats or (_SMOKE_FORMATS if options.smoke else tuple(LISTS))
    records = options.records or (_SMOKE_RECORDS if options.smoke else _RECORDS)
    if records < 2:
        parser.error("--records must be at least 2")
    done = measure_formats(names, options.url, options.folder, records)
    print(measure.circumstances(["sqlalchemy", "msgspec", "pyarrow", "numpy"]), end="\n\n")
    print(measure.markdown_table(_HEADER, [each.row() for each in done]))
    most = max(each.peak for each in done)
    missed = [each.format for each in done if each.met is False]
    print(
        f"\nRequired into an empty list in SQLite, in less than {_MOST_MEBIBYTES} MiB:"
        f" {'missed by ' + ', '.join(missed) if missed else 'met'} (most memory {most:.0f} MiB)."
    )
    failed = bool(missed) or most >= _MOST_MEBIBYTES
    return int(failed and not options.smoke)


if __name__ == "__main__":
    sys.exit(main())
