"""Removes what no snapshot needs any more: unfinished folders of dead writers, and old ones."""

from __future__ import annotations

import fcntl
import os
import shutil
from contextlib import suppress
from pathlib import Path

from hashlists.errors import SnapshotError
from hashlists.snapshot.files import exclusive, open_folder, sync_folder
from hashlists.snapshot.manifest import FOLDER_NAME
from hashlists.snapshot.pointer import POINTER_TEMPORARY, read_pointer
from hashlists.snapshot.purges import may_stay
from hashlists.snapshot.withdrawn import forget_withdrawn
from hashlists.snapshot.writer import WRITING


def sweep(root: Path, *, keep_previous: bool | None = None) -> None:
    """Removes unfinished folders of dead writers, and snapshots no longer of use.

    The current snapshot stays, and the one before it where nothing was purged between them; a
    living writer's folder stays. What is kept of withdrawn entries goes with the last snapshot that
    it is of. Where the pointer is damaged no snapshot is removed. Mappings of
    removed files stay valid.

    Args:
        root: the folder that holds snapshots; may be missing.
        keep_previous: whether the one before stays; None for what the two manifests say of purges.

    Raises:
        OSError: something cannot be removed.
    """
    root = Path(root)
    if not root.is_dir():
        return
    with exclusive(root):
        keep = _names_in_use(root, keep_previous=keep_previous)
        with os.scandir(root) as listing:
            entries = list(listing)
        for entry in entries:
            if entry.is_symlink():
                continue
            if entry.is_file():
                if entry.name.startswith(POINTER_TEMPORARY):
                    Path(entry.path).unlink(missing_ok=True)
            elif entry.name.startswith(WRITING):
                _remove_if_abandoned(Path(entry.path))
            elif keep is not None and FOLDER_NAME.fullmatch(entry.name) and entry.name not in keep:
                shutil.rmtree(entry.path)
        forget_withdrawn(root)
        sync_folder(root)


def _names_in_use(root: Path, *, keep_previous: bool | None) -> frozenset[str] | None:
    """The snapshots that must stay; None where nobody can tell."""
    try:
        pointer = read_pointer(root)
    except SnapshotError:
        return None
    if pointer is None:
        return frozenset()
    current, previous = pointer.snapshot, pointer.previous
    if previous is None:
        return frozenset({current})
    if keep_previous is None:
        keep_previous = may_stay(root / previous, root / current)
    return frozenset({current, previous} if keep_previous else {current})


def _remove_if_abandoned(folder: Path) -> None:
    """Removes a writer's folder whose lock nobody holds: its writer is dead."""
    with suppress(FileNotFoundError):  # its writer may be removing it just now
        handle = open_folder(folder)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # held, or a file system without locks: better leave it than break a writer
        else:
            shutil.rmtree(folder)
        finally:
            os.close(handle)


__all__ = ["sweep"]
