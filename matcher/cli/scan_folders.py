"""The folders of scans, as commands name and open them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matcher.cli.paths import ExistingPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.state import ScanState

#: The folder of the scan that a command is about.
folder = click.argument("folder", metavar="DIR", type=ExistingPath(path_type=Path))


def opened(folder: Path, *, writing: bool = False) -> ScanState:
    """The scan in a folder, open; a context.

    Raises:
        StateError: there is none, another process writes there, or it is damaged.
    """
    from matcher.scan.state import ScanState  # noqa: PLC0415  brings SQLAlchemy

    return ScanState.open(folder, writing=writing)


def is_at_work(folder: Path) -> bool:
    """Whether a process writes to the scan in a folder now."""
    from matcher.scan.state.lock import is_locked  # noqa: PLC0415  as above

    return is_locked(folder)


def beginning_of(folder: Path) -> float:
    """When the scan in a folder began, in seconds since 1970.

    Raises:
        StateError: there is no scan in it.
    """
    with opened(folder) as state:
        made_at: float = state.document.made_at
        return made_at


def resume_command(words: Sequence[str], folder: Path, more: Sequence[str] = ()) -> str:
    """What to type to go on with a scan.

    Args:
        words: what the command line begins with, as `Session.words`.
        folder: of the scan.
        more: options that the folder does not remember.
    """
    return shlex.join([*words, "scan", "--resume", str(folder), *more])


__all__ = ["beginning_of", "folder", "is_at_work", "opened", "resume_command"]
