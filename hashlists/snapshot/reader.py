"""Opens snapshots: nothing is handed out that was not verified here."""

from __future__ import annotations

import hashlib
import mmap
import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hashlists.errors import SnapshotError
from hashlists.snapshot.files import (
    describe,
    open_folder,
    parse_json,
    read_all,
    refuse,
    regular_file,
)
from hashlists.snapshot.manifest import (
    MANIFEST_FILE,
    ArrayRecord,
    FileRecord,
    read_manifest,
    revision_of,
    section,
)
from hashlists.snapshot.pointer import read_pointer
from hashlists.snapshot.writer import bytes_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

AnyArray: TypeAlias = "NDArray[Any]"


_REOPEN_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An opened snapshot; every byte of it was verified.

    Attributes:
        path: its folder.
        revision: the catalog revision it was built from.
        arrays: read-only arrays by name, mapped from their files (zero-length ones are plain).
        documents: parsed JSON by name.
        manifest: the whole manifest, for reports.
    """

    path: Path
    revision: int
    arrays: Mapping[str, AnyArray] = field(repr=False)
    documents: Mapping[str, Any] = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)


def open_snapshot(path: Path) -> Snapshot:
    """Opens a snapshot after verifying every byte of it.

    Raises:
        SnapshotError: it is missing, foreign, of a later version, cut off or otherwise damaged; the
            message names the file and the reason.
    """
    folder = Path(path)
    try:
        handle = open_folder(folder)
        try:
            return _open_folder_verified(folder, handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise SnapshotError(f"snapshot {folder.name}: {describe(error)}") from error


def open_current(root: Path) -> Snapshot | None:
    """Opens the published snapshot under `root`.

    Returns:
        None where nothing was ever published.

    Raises:
        SnapshotError: what is published cannot be used; the caller keeps what it has.
    """
    root = Path(root)
    pointer = read_pointer(root)
    for _ in range(_REOPEN_ATTEMPTS):
        if pointer is None:
            return None
        try:
            snapshot = open_snapshot(root / pointer.snapshot)
        except SnapshotError:
            # Two publications and a sweep may have passed since the pointer was read.
            latest = read_pointer(root)
            if latest == pointer:
                raise
            pointer = latest
            continue
        if snapshot.manifest["sha256"] != pointer.manifest_sha256:
            raise refuse(root / pointer.snapshot, MANIFEST_FILE, "is not the published one")
        return snapshot
    raise SnapshotError("the published snapshot changed faster than it could be opened")


def _open_folder_verified(folder: Path, handle: int) -> Snapshot:
    manifest = read_manifest(folder, handle)
    arrays = {
        name: ArrayRecord.parse(folder, name, record)
        for name, record in section(folder, manifest, "arrays").items()
    }
    documents = {
        name: FileRecord.parse(folder, name, record, suffix=".json")
        for name, record in section(folder, manifest, "documents").items()
    }
    _check_files(folder, handle, arrays, documents)
    return Snapshot(
        path=folder,
        revision=revision_of(folder, manifest),
        arrays=MappingProxyType(
            {name: _open_array(folder, handle, record) for name, record in arrays.items()},
        ),
        documents=MappingProxyType(
            {name: _open_document(folder, handle, record) for name, record in documents.items()},
        ),
        manifest=MappingProxyType(manifest),
    )


def _check_files(
    folder: Path,
    handle: int,
    arrays: Mapping[str, ArrayRecord],
    documents: Mapping[str, FileRecord],
) -> None:
    """The folder must hold what the manifest lists, and nothing else."""
    listed = {MANIFEST_FILE}
    listed.update(record.content.file for record in arrays.values())
    listed.update(record.file for record in documents.values())
    present = set(os.listdir(handle))
    for file in sorted(listed - present):
        raise refuse(folder, file, "is missing")
    for file in sorted(present - listed):
        raise refuse(folder, file, "is not in the manifest")


def _open_array(folder: Path, handle: int, record: ArrayRecord) -> AnyArray:
    content = record.content
    with _checked_file(folder, handle, content) as file:
        try:
            if content.nbytes == 0:  # an empty file cannot be mapped
                array = np.empty(record.shape, record.dtype)
                array.flags.writeable = False
            else:
                mapped = mmap.mmap(file, content.nbytes, access=mmap.ACCESS_READ)
                array = np.frombuffer(mapped, record.dtype).reshape(record.shape)
        except (ValueError, OverflowError) as error:
            raise refuse(folder, content.file, f"cannot be mapped ({error})") from error
    _check_digest(folder, content, bytes_of(array))
    return array


def _open_document(folder: Path, handle: int, record: FileRecord) -> Any:
    with _checked_file(folder, handle, record) as file:
        data = read_all(file, record.nbytes)
    _check_digest(folder, record, memoryview(data))
    return parse_json(folder, record.file, data)


def _check_digest(folder: Path, record: FileRecord, data: memoryview) -> None:
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise refuse(folder, record.file, "is damaged: its digest differs from the manifest's")


@contextmanager
def _checked_file(folder: Path, handle: int, record: FileRecord) -> Iterator[int]:
    """Opens a file of the folder and checks its size before anything is read from it."""
    with regular_file(folder, handle, record.file) as file:
        size = os.fstat(file).st_size
        if size != record.nbytes:
            what = "is cut off" if size < record.nbytes else "is too long"
            raise refuse(
                folder,
                record.file,
                f"{what}: {size} bytes, the manifest says {record.nbytes}",
            )
        yield file


__all__ = ["Snapshot", "open_current", "open_snapshot"]
