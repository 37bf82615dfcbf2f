"""The `hashwarden` command: wiring only, one file per command group.

Nothing heavy is imported before a command runs, so that `hashwarden --help` answers at once.

Every command writes its results to standard output and all else (progress, notes, errors) to
standard error. On a terminal a person sees tables and colours; elsewhere the same tables come as
tab-separated lines, and `--json` gives JSON Lines anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status.

    Args:
        arguments: without the program's name; those of the process by default.
    """
    from matcher.cli.root import run  # noqa: PLC0415  keeps `import matcher.cli` free of click

    return run(arguments)


__all__ = ["main"]
