"""The few calls by which snapshots touch the disk, and the words in which they fail.

Files are made new and 0600, folders are opened once and their files by that handle, and what is no
regular file is refused before it is read.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

from hashlists.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def open_folder(folder: Path) -> int:
    """A handle of a folder; whoever opened it closes it."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that must not exist yet, 0600."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
        yield stream


def sync_folder(folder: Path) -> None:
    """Syncs the names in a folder to disk."""
    handle = open_folder(folder)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Holds the root's lock: one process or thread at a time starts, publishes or sweeps."""
    handle = open_folder(root)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):  # closing alone would not do where a forked process has the handle
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


@contextmanager
def regular_file(folder: Path, handle: int, name: str) -> Iterator[int]:
    """Opens a file of the folder; whatever the system refuses meanwhile is told with its name."""
    # O_NONBLOCK: a named pipe in place of a file must not hang us before it is refused.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(name, flags, dir_fd=handle)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise refuse(folder, name, "is not a regular file")
            yield file
        finally:
            os.close(file)
    except FileNotFoundError as error:
        raise refuse(folder, name, "is missing") from error
    except OSError as error:
        raise refuse(folder, name, describe(error)) from error


def read_small(folder: Path, handle: int, name: str, limit: int) -> bytes:
    """The content of a file of the folder that has at most `limit` bytes."""
    with regular_file(folder, handle, name) as file:
        size = os.fstat(file).st_size
        if size > limit:
            raise refuse(folder, name, f"is too long: {size} bytes, at most {limit} are read")
        return read_all(file, size)


def read_all(file: int, size: int) -> bytes:
    """The first `size` bytes of an open file, which stays open."""
    with os.fdopen(file, "rb", closefd=False) as stream:
        return stream.read(size)


def json_bytes(name: str, obj: Any) -> bytes:
    """Canonical JSON: equal objects give equal bytes; `ValueError` for what JSON cannot hold."""
    try:
        return json.dumps(
            obj,
            allow_nan=False,
            separators=(",", ":"),
            sort_keys=True,
        ).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}: cannot be written as JSON ({error})") from error


def parse_json(folder: Path, file: str, data: bytes) -> Any:
    """Reads JSON of any form."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise refuse(folder, file, "is not readable JSON") from error


def refuse(folder: Path, file: str, why: str) -> SnapshotError:
    """The error that names a file and what is wrong with it."""
    return SnapshotError(f"snapshot {folder.name}: file {file} {why}")


def describe(error: OSError) -> str:
    """The system's words without the path, which `refuse` names already."""
    return f"cannot be read ({error.strerror})"


__all__ = [
    "describe",
    "exclusive",
    "json_bytes",
    "new_file",
    "open_folder",
    "parse_json",
    "read_all",
    "read_small",
    "refuse",
    "regular_file",
    "sync_folder",
]
