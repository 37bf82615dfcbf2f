"""The import as a program: the child process of the service.

`python -m hashlists.import_process` imports one file and prints JSON Lines on standard output:
`{"progress": ...}` while it runs, then `{"report": ...}` or `{"error": ...}`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.catalog import Catalog
from hashlists.errors import HashlistsError
from hashlists.importer import FullList, import_file
from hashlists.importing.report import report_to_dict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SECONDS_BETWEEN_PROGRESS = 0.2


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m hashlists.import_process",
        description="Import one list file; JSON Lines out.",
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
    parser.add_argument("--spool-dir", type=Path, help="for unpacked copies, where one is needed")
    parser.add_argument("--dry-run", action="store_true", help="change nothing; tell what would")
    parser.add_argument("--full", action="store_true", help="the file is the whole list")
    parser.add_argument("--force", action="store_true", help="whatever is against it")
    parser.add_argument("--max-absent", type=int, help="with --full: entries that it may retract")
    if given == ["-"]:
        given = json.loads(sys.stdin.readline())
    arguments = parser.parse_args(given)
    if any("=" not in option for option in arguments.option):
        parser.error("--option takes KEY=VALUE")
    return arguments


def _full(arguments: argparse.Namespace) -> FullList | None:
    if not arguments.full:
        return None
    return FullList(force=arguments.force, confirmed=arguments.max_absent)


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
        with Catalog.open(arguments.catalog, make=False) as catalog:
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
                spool_dir=arguments.spool_dir,
                dry_run=arguments.dry_run,
                full=_full(arguments),
                force=arguments.force,
                progress=_ProgressLines(),
            )
    except HashlistsError as error:
        _print_line({"error": {"reason": error.reason, "message": str(error)}})
        return 1
    _print_line({"report": report_to_dict(report)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
