"""Puts a published snapshot onto a node of a cluster, once for all workers there.

A copy has a folder of its own below the node's folder, named after the snapshot, with what
`hashlists.snapshot.open_current` needs: it verifies every byte before anything is served. Beside it
lies a lock on which each worker that uses it has a share, which ends with the worker however that
ends; who is the last one to let go removes the copy. Files of an encrypted snapshot are carried and
put down as they are, encrypted.

What it does not do: it moves no bytes between nodes; how pieces are carried is the caller's choice.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from matcher.scan.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE_BYTES: Final = 32 << 20
_CURRENT: Final = "current"
_LOCK_SUFFIX: Final = ".lock"
_WRITING_SUFFIX: Final = ".writing"
_UNFINISHED: Final = ".unfinished-"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)

Piece = TypeVar("Piece")


@dataclass(frozen=True, slots=True)
class PackedFile(Generic[Piece]):
    """A file of a snapshot: its path below the root of snapshots, and its content in pieces."""

    path: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class PackedSnapshot(Generic[Piece]):
    """The published snapshot of a root, ready to be carried."""

    name: str
    files: tuple[PackedFile[Piece], ...]


def pack(
    root: Path, name: str, carry: Callable[[bytes], Piece], *, piece_bytes: int = PIECE_BYTES
) -> PackedSnapshot[Piece]:
    """Takes a snapshot apart.

    Args:
        root: the folder of snapshots, whose `current` names it.
        name: of the snapshot.
        carry: hands over a piece of at most `piece_bytes`, and gives what stands for it.
        piece_bytes: held in memory at a time.

    Raises:
        OSError: a file cannot be read.
    """
    files = [root / _CURRENT, *sorted(each for each in (root / name).iterdir() if each.is_file())]
    return PackedSnapshot(
        name,
        tuple(
            PackedFile(
                each.relative_to(root).as_posix(), tuple(map(carry, _pieces(each, piece_bytes)))
            )
            for each in files
        ),
    )


def _pieces(file: Path, piece_bytes: int) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while piece := stream.read(piece_bytes):
            yield piece


def usual_node_folder() -> Path:
    """Where copies lie on a node: with the temporary files, closed to other accounts."""
    return Path(tempfile.gettempdir()) / f"hashwarden-scan-{os.geteuid()}"


@contextlib.contextmanager
def placed(
    packed: PackedSnapshot[Piece], folder: Path, fetch: Callable[[Piece], bytes]
) -> Iterator[Path]:
    """The root of snapshots on this node, for as long as the context lasts.

    Whoever comes first writes the copy, and the others wait for it. Copies that nobody uses any
    more, since those who did were killed, are removed.

    Args:
        packed: what is wanted.
        folder: of copies on this node; made where it is missing.
        fetch: gives the bytes of a piece.

    Raises:
        EngineError: the folder is somebody else's, or a name in what was packed is none.
        OSError: the copy cannot be written.
    """
    _check(packed)
    _prepare(folder)
    _remove_unused(folder, but=packed.name)
    lock = _shared(folder / f"{packed.name}{_LOCK_SUFFIX}")
    root = folder / packed.name
    try:
        if not root.exists():
            with _writing(root):
                if not root.exists():
                    _write(packed, folder, root, fetch)
        yield root
    finally:
        _let_go(lock, root)


def _check(packed: PackedSnapshot[Piece]) -> None:
    parts = (part for each in packed.files for part in PurePosixPath(each.path).parts)
    names = [packed.name, *parts]
    if not all(_NAME.fullmatch(each) for each in names):
        raise EngineError(
            "a snapshot was to be placed whose files have names that none of ours has"
        )


def _prepare(folder: Path) -> None:
    """Temporary folders are open to all, so whose this one is has to be looked at."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700, parents=True)
    found = folder.lstat()
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    if not mine or stat.S_IMODE(found.st_mode) & 0o077:
        raise EngineError(
            f"{folder} is no folder of this account alone, so no list is put there: remove it, "
            "or name another one with TMPDIR"
        )


@contextlib.contextmanager
def _writing(root: Path) -> Iterator[None]:
    """Waits for the right to write a copy, and holds it.

    It is a lock of its own: the other one is shared with those who use the copy for as long as they
    live, so whoever waited for all of that would wait for ever.
    """
    file = root.with_name(f"{root.name}{_WRITING_SUFFIX}")
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _shared(file: Path) -> int:
    """A descriptor with a share in the lock on that file, once nobody removes the copy."""
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH)
            if _is_file(lock, file):
                return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # it was removed while it was waited for


def _is_file(lock: int, file: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), file.lstat())
    return False


def _write(
    packed: PackedSnapshot[Piece], folder: Path, root: Path, fetch: Callable[[Piece], bytes]
) -> None:
    unfinished = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{packed.name}-", dir=folder))
    try:
        for file in packed.files:
            target = unfinished / file.path
            target.parent.mkdir(mode=0o700, exist_ok=True)
            with open(target, "xb", opener=_private) as stream:
                stream.writelines(fetch(piece) for piece in file.pieces)
        unfinished.rename(root)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _let_go(lock: int, root: Path) -> None:
    try:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(root)
    finally:
        os.close(lock)


def _remove_unused(folder: Path, *, but: str) -> None:
    for file in folder.glob(f"*{_LOCK_SUFFIX}"):
        name = file.name.removesuffix(_LOCK_SUFFIX)
        if name == but or not _NAME.fullmatch(name):
            continue
        with contextlib.suppress(OSError):
            lock = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_file(lock, file):
                    _remove(folder / name)
            finally:
                os.close(lock)


def _remove(root: Path) -> None:
    """Removes a copy, what was left of one being written, and the locks."""
    shutil.rmtree(root, ignore_errors=True)
    for each in root.parent.glob(f"{_UNFINISHED}{root.name}-*"):
        shutil.rmtree(each, ignore_errors=True)
    root.with_name(f"{root.name}{_WRITING_SUFFIX}").unlink(missing_ok=True)
    root.with_name(f"{root.name}{_LOCK_SUFFIX}").unlink(missing_ok=True)  # last: it is held


__all__ = ["PackedFile", "PackedSnapshot", "pack", "placed", "usual_node_folder"]
