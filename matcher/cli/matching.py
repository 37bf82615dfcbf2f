"""The one face of matching here (`matcher.cli.local`) and at a server (`matcher.cli.remote`).

Both answer in the order of the input and hold only a window of files at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matcher.cli.results import Outcome
    from matcher.gaps import Gaps
    from matcher.model import ImageHashes


class FileOutcome(NamedTuple):
    """What came of one file."""

    path: str
    outcome: Outcome
    gaps: Gaps


class ItemMatcher(Protocol):
    """Matches what a command is given."""

    def match_files(self, paths: Sequence[str]) -> Iterator[FileOutcome]:
        """The outcome for each file, in their order."""
        ...

    def lookup(self, items: Sequence[ImageHashes]) -> list[Outcome]:
        """The outcome for each item, in their order."""
        ...
