"""Exports one generated list to every format that is written, each in a process of its own.

    python -m loadtest.export_formats [--records N ...] [--formats NAME ...] [--smoke]

The list comes from a generated VICS file (MD5, SHA-1, PhotoDNA and PDQ, a class, a size, an id)
and lies in a new catalog in SQLite. Every file is held against it: the report must tell as many
entries as the list has, and the file must read as a list of that format with as many records.

CPU seconds are those of the whole child process: start of Python, opening the catalog, reading,
writing, digest. Peak memory is the child's largest resident set, as the kernel counted it.
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
from typing import TYPE_CHECKING

from hashlists.catalog import Catalog
from hashlists.exporter import export_lists
from hashlists.exporting.request import ExportRequest
from hashlists.formats.field_mapping import LAYOUT_OPTION, OWN_LAYOUT
from hashlists.formats.registry import open_reader, written_format_names
from hashlists.model import Harm, HashList
from loadtest import measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RECORDS, _SMOKE_RECORDS = (300_000, 1_000_000), (2_000,)
_SMOKE_FORMATS = ("vics", "csv")  # an export takes most of a second to start
#: With which formats are written, where they need any.
_OPTIONS: Mapping[str, Mapping[str, str]] = {"vics": {"profile": "US"}}
_LIST = "made-up"
_AUTHOR = "loadtest"
_REPOSITORY = Path(__file__).parent.parent
_HEADER = ("format", "entries", "file MB", "a CPU second", "a second", "peak MiB")


@dataclass(frozen=True, slots=True)
class Measured:
    """What the export of one format took.

    Attributes:
        format: its name.
        entries: in the file.
        megabytes: size of the file.
        cpu, wall: seconds.
        mebibytes: peak resident memory.
    """

    format: str
    entries: int
    megabytes: float
    cpu: float
    wall: float
    mebibytes: float

    def row(self) -> tuple[str, ...]:
        """One line of the table."""
        return (
            self.format,
            f"{self.entries:,}",
            f"{self.megabytes:,.0f}",
            f"{self.entries / self.cpu:,.0f}",
            f"{self.entries / self.wall:,.0f}",
            f"{self.mebibytes:.0f}",
        )


def fill(url: str, folder: Path, records: int) -> None:
    """Imports a generated list into a new catalog."""
    file = folder / "list.json"
    command = [sys.executable, "-m", "loadtest.generate_lists", "vics", str(file)]
    subprocess.run(
        [*command, "--records", str(records)],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=_REPOSITORY,
    )
    with Catalog.open(url) as catalog:
        catalog.create_list(HashList(_LIST, Harm.TEST, "nobody"), author=_AUTHOR)
    # In a child: the kernel counts the memory of whoever starts an export as the export's.
    command = [sys.executable, "-m", "hashlists.import_process", "--catalog", url, "--list", _LIST]
    command += ["--format", "vics", "--importer", _AUTHOR, "--file", str(file)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=_REPOSITORY)
    file.unlink()


def export(url: str, format_name: str, target: Path) -> None:
    """What the child does; prints how many entries went out."""
    options = _OPTIONS.get(format_name, {})
    request = ExportRequest(
        list_names=[_LIST], format=format_name, recipients=None, options=options
    )
    with Catalog.open(url) as catalog:
        report = export_lists(catalog, target, request)
    print(json.dumps({"entries": report.entries}))


def measure_format(url: str, format_name: str, folder: Path, records: int) -> Measured:
    """Exports the list in a child, and reads what it wrote.

    Raises:
        SystemExit: the export failed, or its file does not hold the list.
    """
    target = folder / f"export.{format_name}"
    arguments = ["--child", format_name, "--catalog", url, "--target", str(target)]
    with tempfile.TemporaryFile() as out:
        start = time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "loadtest.export_formats", *arguments],
            stdout=out,
            cwd=_REPOSITORY,
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        told = out.read()
    if child.returncode or json.loads(told) != {"entries": records}:
        raise SystemExit(f"the export to {format_name} went wrong: {told!r}")
    _require_records(target, format_name, records)
    size = target.stat().st_size / 1e6
    target.unlink()
    cpu = usage.ru_utime + usage.ru_stime
    return Measured(format_name, records, size, cpu, wall, usage.ru_maxrss / 1024)


def _require_records(file: Path, format_name: str, records: int) -> None:
    options = {LAYOUT_OPTION: OWN_LAYOUT} if format_name in ("csv", "jsonl", "parquet") else {}
    with file.open("rb") as stream:
        reader = open_reader(stream, format=format_name, options=options)
        read = sum(batch.rows for batch in reader)
    if read != records:
        raise SystemExit(f"the export to {format_name} holds {read} of {records} records")


def main() -> int:
    """Runs the command line; the exit status is 0, or 1 where an export went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, nargs="+", help=f"default: {_RECORDS}")
    parser.add_argument("--formats", nargs="+", choices=written_format_names())
    parser.add_argument("--folder", type=Path, help="where the files lie meanwhile")
    parser.add_argument("--smoke", action="store_true", help="two small files; checks results only")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--catalog", help=argparse.SUPPRESS)
    parser.add_argument("--target", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        export(options.catalog, options.child, options.target)
        return 0
    names = options.formats or (_SMOKE_FORMATS if options.smoke else written_format_names())
    done = _measure_all(names, options.records or _default(smoke=options.smoke), options.folder)
    print(measure.circumstances(["sqlalchemy", "msgspec", "pyarrow", "numpy"]), end="\n\n")
    print(measure.markdown_table(_HEADER, [each.row() for each in done]))
    return 0


def _default(*, smoke: bool) -> tuple[int, ...]:
    return _SMOKE_RECORDS if smoke else _RECORDS


def _measure_all(
    names: Sequence[str], numbers: Sequence[int], parent: Path | None
) -> list[Measured]:
    """One catalog for each number of records; each result goes to standard error at once."""
    done = []
    for records in numbers:
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            url = f"sqlite:///{folder}/catalog/catalog.db"
            fill(url, Path(folder), records)
            for name in names:
                done.append(measure_format(url, name, Path(folder), records))
                print(measure.markdown_table(done[-1].row(), []).splitlines()[0], file=sys.stderr)
    return done


if __name__ == "__main__":
    sys.exit(main())
