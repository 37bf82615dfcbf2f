"""Walks a folder in one order, and goes on behind any place in it.

Invariants:

* Entries of a folder come in the order of their shown names, what lies in a folder in the folder's
  place: the parts of a path, compared one by one, are the order.
* Memory grows with the names of the fullest folder, and with the depth; one folder is open.
* A folder is entered by descriptors from the top, no link followed: nothing outside is listed,
  whatever is swapped for what meanwhile.
* What is passed over is counted with its reason, and nothing is passed over that can be read.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from matcher.scan.sources.names import raw_of, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The parts of a path, below the folder that is walked.
Parts = tuple[bytes, ...]

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})

LINK_LEAVES_TREE: Final = "link_leaves_tree"
LINK_TO_FOLDER: Final = "link_to_folder"
LINK_BROKEN: Final = "link_broken"
SPECIAL_FILE: Final = "special_file"
UNREADABLE_FOLDER: Final = "unreadable_folder"
UNREADABLE_NAME: Final = "unreadable_name"
GONE: Final = "gone_while_listing"


@dataclass(frozen=True, slots=True)
class Found:
    """An entry: a file's state, or why it is passed over; neither where it does not count."""

    parts: Parts
    state: os.stat_result | None = field(default=None, repr=False)
    skipped: str = ""


def open_folder(root: int, parts: Parts) -> int:
    """The descriptor of a folder below another, entered without following a link.

    Raises:
        OSError: a part is missing, is no folder, or may not be entered.
    """
    # Not a copy of the descriptor: copies share the place that listing the folder has reached.
    handle = os.open(".", _FOLDER, dir_fd=root)
    for part in parts:
        try:
            below = os.open(part, _FOLDER, dir_fd=handle)
        finally:
            os.close(handle)
        handle = below
    return handle


def open_root(path: Path) -> int:
    """The descriptor of the folder that is walked; links on the way to it are followed.

    Raises:
        OSError: it cannot be opened.
    """
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _rank(name: bytes) -> tuple[bytes, bytes]:
    return shown(name).encode(), name


class Walker:
    """Walks one folder.

    Args:
        root: descriptor of the folder.
        top: its path, by which the targets of links are judged.
        prefix: bytes with which a path must begin.
        only: the one name of the folder that counts; empty for all.
    """

    def __init__(self, root: int, top: Path, *, prefix: bytes = b"", only: bytes = b"") -> None:
        self._root = root
        self._top = os.fsencode(os.path.realpath(top))
        self._prefix = prefix
        self._only = only
        self._open: tuple[Parts, int] | None = None

    def walk(self, after: Parts = ()) -> Iterator[Found]:
        """The entries behind a path; of one walker, one walk at a time.

        Raises:
            OSError: the folder itself cannot be listed.
        """
        try:
            yield from self._walk(after)
        finally:
            self._leave()

    def _walk(self, after: Parts) -> Iterator[Found]:
        # A stack of names that are still to come, the last one first: recursion would end at a
        # depth that file systems pass.
        pending = [self._names((), after)]
        path: list[bytes] = []
        while pending:
            names = pending[-1]
            if not names:
                pending.pop()
                if path:
                    path.pop()
                continue
            parts = (*path, names.pop())
            found = self._look(parts)
            if found is not None:
                yield found
                continue
            try:
                below = self._names(parts, after)
            except OSError as error:
                yield Found(parts, skipped=GONE if error.errno in _GONE else UNREADABLE_FOLDER)
                continue
            path.append(parts[-1])
            pending.append(below)

    def _names(self, folder: Parts, after: Parts) -> list[bytes]:
        """The names in a folder that count and come behind, the last one first."""
        if not folder and self._only:
            names = [self._only]
        else:
            names = [os.fsencode(each) for each in os.listdir(self._enter(folder))]  # noqa: PTH208  # by descriptor
        if self._prefix:
            names = [each for each in names if self._counts((*folder, each))]
        depth = len(folder)
        if len(after) > depth and after[:depth] == folder:
            # The cursor's own entry is done; a folder on the way to it is not.
            first, on_the_way = _rank(after[depth]), len(after) > depth + 1
            names = [
                each for each in names if (r := _rank(each)) > first or (on_the_way and r == first)
            ]
        names.sort(key=_rank if any(map(raw_of, names)) else None, reverse=True)
        return names

    def _counts(self, parts: Parts) -> bool:
        path = b"/".join(parts)
        return path.startswith(self._prefix) or self._prefix.startswith(path + b"/")

    def _look(self, parts: Parts) -> Found | None:
        """What an entry is; None for a folder that may be entered."""
        try:
            handle = self._enter(parts[:-1])
            state = os.stat(parts[-1], dir_fd=handle, follow_symlinks=False)
        except OSError as error:
            return Found(parts, skipped=GONE if error.errno in _GONE else UNREADABLE_NAME)
        if stat.S_ISDIR(state.st_mode):
            return None
        if not b"/".join(parts).startswith(self._prefix):
            return Found(parts)
        if stat.S_ISLNK(state.st_mode):
            return self._look_through(parts, handle)
        if stat.S_ISREG(state.st_mode):
            return Found(parts, state)
        return Found(parts, skipped=SPECIAL_FILE)

    def _look_through(self, parts: Parts, handle: int) -> Found:
        try:
            state = os.stat(parts[-1], dir_fd=handle)
        except OSError:
            return Found(parts, skipped=LINK_BROKEN)
        if self.target(parts) is None:
            return Found(parts, skipped=LINK_LEAVES_TREE)
        if stat.S_ISDIR(state.st_mode):
            return Found(parts, skipped=LINK_TO_FOLDER)
        if not stat.S_ISREG(state.st_mode):
            return Found(parts, skipped=SPECIAL_FILE)
        return Found(parts, state)

    def _enter(self, folder: Parts) -> int:
        """The descriptor of a folder; it stays open until another one is entered."""
        if self._open is None or self._open[0] != folder:
            # Mostly it lies in the one that is open; the way from the top is long in a deep tree.
            begun = self._open is not None and bool(folder) and self._open[0] == folder[:-1]
            if begun and self._open is not None:
                handle = open_folder(self._open[1], folder[-1:])
            else:
                handle = open_folder(self._root, folder)
            self._leave()
            self._open = (folder, handle)
        return self._open[1]

    def _leave(self) -> None:
        if self._open is not None:
            os.close(self._open[1])
            self._open = None

    def target(self, parts: Parts) -> Parts | None:
        """Where a path leads once its links are followed; None where that is outside."""
        real = os.path.realpath(b"/".join((self._top, *parts)))
        top = self._top.rstrip(b"/") + b"/"
        if not real.startswith(top):
            return None
        return tuple(real[len(top) :].split(b"/"))


__all__ = [
    "GONE",
    "LINK_BROKEN",
    "LINK_LEAVES_TREE",
    "LINK_TO_FOLDER",
    "SPECIAL_FILE",
    "UNREADABLE_FOLDER",
    "UNREADABLE_NAME",
    "Found",
    "Parts",
    "Walker",
    "open_folder",
    "open_root",
]
