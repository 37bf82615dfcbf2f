"""Opens published snapshots, each once, and clears away what none needs any more.

A snapshot that cannot be used is refused with one clear message and tried again now and then; what
is served does not depend on it. Opening verifies every byte that is not held already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists import snapshot as snapshots
from hashlists.errors import SnapshotError
from matcher.follow.snapshots import sweep
from matcher.follow.view import Sealed

if TYPE_CHECKING:
    from pathlib import Path

    from matcher.follow.building import SnapshotSource
    from matcher.follow.problems import BackOff, Problems

_OPENING, _SWEEPING = "published snapshot", "old snapshots"


class Opener:
    """Opens what is published under a folder. Not for several threads.

    Args:
        root: the folder of snapshots.
        problems: where failures are told.
        back_off: when to try a refused snapshot again.
    """

    def __init__(self, root: Path, problems: Problems, back_off: BackOff) -> None:
        self._root = root
        self._problems = problems
        self._back_off = back_off
        self._refused = ""
        self._opened: Sealed | None = None  # kept until it is served or another one is published

    def other_than(self, held: Sealed | None) -> Sealed | None:
        """The published snapshot where it is not the one that is held and can be used."""
        try:
            name = snapshots.current_name(self._root)
        except SnapshotError as error:
            self._problems.note(_OPENING, error)
            return None
        if name is None or (held is not None and name == held.name):
            self._accepted()
            self._opened = None
            return None
        if self._opened is not None and self._opened.name == name:
            return self._opened
        if name == self._refused and not self._back_off.due:
            return None
        return self._open(name, held)

    @property
    def refused(self) -> bool:
        """Whether what is published cannot be used."""
        return bool(self._refused)

    def _open(self, name: str, held: Sealed | None) -> Sealed | None:
        self._opened = None
        try:
            self._opened = Sealed.open_current(self._root, held=held)
        except Exception as error:  # noqa: BLE001 - whatever it is, what is held goes on
            self._refused = name
            self._back_off.failed()
            self._problems.note(_OPENING, error)
        else:
            self._accepted()
        return self._opened

    def _accepted(self) -> None:
        self._refused = ""
        self._back_off.succeeded()
        self._problems.solved(_OPENING)

    def older(self) -> Sealed | None:
        """The newest snapshot on disk that can be used, published last or not: better than none."""
        folders = self._root.glob("snapshot-*") if self._root.is_dir() else ()
        for folder in sorted(folders, reverse=True):
            try:
                return Sealed.of(snapshots.open_snapshot(folder))
            except SnapshotError as error:
                self._problems.note(_OPENING, error)
        return None

    def adopted(self, sealed: Sealed, before: Sealed | None, source: SnapshotSource | None) -> None:
        """Clears away what is not needed now that `sealed` is served in place of `before`."""
        self._opened = None
        try:
            erase = source is not None and source.erase_previous
            sweep(self._root, sealed.lineage, before=None if erase else before, erase=erase)
        except (OSError, SnapshotError) as error:
            self._problems.note(_SWEEPING, error)
        else:
            self._problems.solved(_SWEEPING)


__all__ = ["Opener"]
