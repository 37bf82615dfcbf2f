"""Opens published snapshots, each once, and clears away what none needs any more.

Invariants: what is served does not depend on either. A snapshot that cannot be used is refused with
one clear message and tried again now and then; so is the removal of old ones. Opening verifies
every byte that is not held already, which takes seconds for gigabytes: while something is served,
it goes on in a thread of its own.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from hashlists import snapshot as snapshots
from hashlists.errors import SnapshotError
from matcher.follow.problems import BackOff, Concern
from matcher.follow.view import Sealed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hashlists.snapshot.vault import Vault
    from matcher.follow.building import SnapshotSource
    from matcher.follow.problems import Problems
    from matcher.follow.view import View


class Opener:
    """Opens what is published under a folder. Not for several threads.

    Args:
        root: the folder of snapshots.
        problems: where failures are told.
        clock: seconds that never go back.
        background: open in a thread of its own while something is held.
        lock: lock what is opened in memory; what cannot be locked is handed out all the same.
        prepare: makes of a snapshot what is handed out; called where it was opened.
        on_opened: called by that thread once it is done.
        vault: the keys of encrypted snapshots.
    """

    def __init__(
        self,
        root: Path,
        problems: Problems,
        clock: Callable[[], float],
        *,
        background: bool,
        lock: bool,
        prepare: Callable[[Sealed], View],
        on_opened: Callable[[], None],
        vault: Vault | None = None,
    ) -> None:
        self._root = root
        self._vault = vault
        self._problems = problems
        self._background = background
        self._lock = lock
        self._prepare = prepare
        self._on_opened = on_opened
        self._refused = ""
        self._opening_back_off = BackOff(clock)
        self._opening: _Opening | None = None
        self._opened: View | None = None  # kept until it is served or another one is published
        self._sweeping_back_off = BackOff(clock)
        self._sweep_owed = False
        self._erase = False

    def other_than(self, held: Sealed | None) -> View | None:
        """The published snapshot where it is not the one that is held and can be used.

        None as well while it is being opened in the background; a later call has it.
        """
        if self._opening is not None and not self._opening.running:
            self._take(self._opening)
            if self._opened is not None:
                return self._opened
        return None if self.busy else self._published(held)

    def _published(self, held: Sealed | None) -> View | None:
        try:
            name = snapshots.current_name(self._root)
        except SnapshotError as error:
            self._problems.note(Concern.OPENING, error)
            return None
        if name is None or (held is not None and name == held.name):
            self._accepted()
            self._opened = None
            return None
        if self._opened is not None and self._opened.sealed.name == name:
            return self._opened
        if name == self._refused and not self._opening_back_off.due:
            return None
        return self._open(name, held)

    @property
    def busy(self) -> bool:
        """Whether a snapshot is being opened, or was and is not taken note of yet."""
        return self._opening is not None

    @property
    def refused(self) -> bool:
        """Whether what is published cannot be used."""
        return bool(self._refused)

    def wait(self) -> None:
        """Waits until nothing is being opened any more."""
        if self._opening is not None:
            self._opening.wait()

    def _open(self, name: str, held: Sealed | None) -> View | None:
        self._opened = None
        opening = _Opening(
            name, self._root, held, self._prepare, lock=self._lock, vault=self._vault
        )
        if held is not None and self._background:
            self._opening = opening
            opening.start(self._on_opened)
            return None
        opening.run()
        self._take(opening)
        return self._opened

    def _take(self, opening: _Opening) -> None:
        """Takes note of how an opening ended."""
        self._opening, self._opened = None, opening.opened
        if opening.error is None:
            self._accepted()
            self._tell_locking(opening.locking_error)
            return
        self._refused = opening.name
        self._opening_back_off.failed()
        self._problems.note(Concern.OPENING, opening.error)

    def _accepted(self) -> None:
        self._refused = ""
        self._opening_back_off.succeeded()
        self._problems.solved(Concern.OPENING)

    def _tell_locking(self, error: OSError | None) -> None:
        if error is None:
            self._problems.solved(Concern.LOCKING)
        else:
            self._problems.note(Concern.LOCKING, error)

    def older(self) -> Sealed | None:
        """The newest snapshot on disk that can be used, published last or not: better than none.

        What was published last and has been refused is tried by `other_than` again, not here.
        """
        folders = self._root.glob("snapshot-*") if self._root.is_dir() else ()
        for folder in sorted(folders, reverse=True):
            if folder.name == self._refused:
                continue
            try:
                sealed = Sealed.of(snapshots.open_snapshot(folder, vault=self._vault))
            except SnapshotError as error:
                self._problems.note(Concern.OPENING, error)
            else:
                self._tell_locking(_locked(sealed) if self._lock else None)
                return sealed
        return None

    def adopted(self, source: SnapshotSource | None) -> None:
        """Clears away what is not needed now that what was handed out is served."""
        self._opened = None
        # What an earlier sweep should have erased and did not, this one must.
        erase = source is not None and source.erase_previous
        self._erase = erase or (self._erase and self._sweep_owed)
        self._sweep_owed = True
        self._sweeping_back_off.succeeded()
        self.sweep()

    def sweep(self) -> None:
        """Clears away old snapshots where that is owed, and it may be tried again.

        Not while what is published cannot be used: an older one is all there is for a next start.
        """
        if not self._sweep_owed or self.refused or not self._sweeping_back_off.due:
            return
        try:
            snapshots.sweep(self._root, keep_previous=False if self._erase else None)
        except (OSError, SnapshotError) as error:
            self._sweeping_back_off.failed()
            self._problems.note(Concern.SWEEPING, error)
        else:
            self._sweep_owed = False
            self._problems.solved(Concern.SWEEPING)


class _Opening:
    """Opens the published snapshot once, here or in a thread of its own.

    Args:
        name: of what is published now.
        root: the folder of snapshots.
        held: what the snapshot shares with this one is not verified again.
        prepare: makes of the snapshot what is handed out.
        lock: lock it in memory.
        vault: the keys of encrypted snapshots.

    Attributes:
        opened: what is handed out, once it ended well.
        error: why it did not.
        locking_error: why it is not locked in memory, where it should be.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        held: Sealed | None,
        prepare: Callable[[Sealed], View],
        *,
        lock: bool,
        vault: Vault | None,
    ) -> None:
        self.name = name
        self._vault = vault
        self.opened: View | None = None
        self.error: Exception | None = None
        self.locking_error: OSError | None = None
        self._root = root
        self._held = held
        self._prepare = prepare
        self._lock = lock
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def run(self) -> None:
        """Opens it in the calling thread."""
        try:
            sealed = Sealed.open_current(self._root, held=self._held, vault=self._vault)
            if sealed is not None:
                self.locking_error = _locked(sealed) if self._lock else None
                self.opened = self._prepare(sealed)
        except Exception as error:  # noqa: BLE001 - whatever it is, what is held goes on
            self.error = error

    def start(self, on_ended: Callable[[], None]) -> None:
        """Opens it in a thread, where `on_ended` is called afterwards."""

        def work() -> None:
            self.run()
            self._ended.set()
            on_ended()

        self._thread = threading.Thread(target=work, name="snapshot-opening", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it is being opened in its thread."""
        return self._thread is not None and not self._ended.is_set()

    def wait(self) -> None:
        """Waits until its thread has ended."""
        if self._thread is not None:
            self._thread.join()


def _locked(sealed: Sealed) -> OSError | None:
    """Locks a snapshot in memory; why it is not locked, if it is not."""
    try:
        snapshots.lock_in_memory(sealed.snapshot)
    except OSError as error:
        return error
    return None


__all__ = ["Opener"]
