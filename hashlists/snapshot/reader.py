"""Opens snapshots: nothing is handed out that was not verified here.

What a snapshot shares with one that is held already (hard links of the very same files, under the
same digests) is taken over as it is: the same mapped arrays, verified when they were opened first.
Of an encrypted one, files with the same digests are: their sealed memory cannot change.
"""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hashlists.errors import SnapshotError
from hashlists.snapshot.arrays import AnyArray, FileIdentity, bytes_of, map_array
from hashlists.snapshot.files import (
    describe,
    open_folder,
    parse_json,
    read_all,
    refuse,
    regular_file,
)
from hashlists.snapshot.manifest import (
    ENCRYPTION,
    MANIFEST_FILE,
    ArrayRecord,
    FileRecord,
    key_name,
    read_manifest,
    revision_of,
    section,
)
from hashlists.snapshot.pointer import read_pointer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hashlists.snapshot.vault import Lock, Vault

_REOPEN_ATTEMPTS = 5
_VERIFYING_THREADS = 2  # a core each, since SHA-256 runs without the GIL
_THREADS_WHILE_SERVING = 1  # what is held goes on answering: the other cores are for callers
_WORTH_A_THREAD = 8 << 20  # bytes


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An opened snapshot; every byte of it was verified.

    Attributes:
        path: its folder.
        revision: the catalog revision it was built from.
        arrays: read-only arrays by name, mapped from their files, or from sealed memory where
            these are encrypted (zero-length ones are plain).
        documents: parsed JSON by name.
        manifest: the whole manifest, for reports.
        files: for each array which file it was mapped from.
    """

    path: Path
    revision: int
    arrays: Mapping[str, AnyArray] = field(repr=False)
    documents: Mapping[str, Any] = field(repr=False)
    manifest: Mapping[str, Any] = field(repr=False)
    files: Mapping[str, FileIdentity] = field(repr=False)


def open_snapshot(
    path: Path, *, held: Snapshot | None = None, vault: Vault | None = None
) -> Snapshot:
    """Opens a snapshot after verifying every byte of it.

    Args:
        path: its folder.
        held: an opened snapshot, which may be serving; arrays whose files are hard links of its
            files are its very arrays and are not read again, and the others are verified in one
            thread, so that callers keep the other cores.
        vault: the keys of encrypted snapshots; None for none.

    Raises:
        SnapshotLockedError: it is encrypted, and the key is not here.
        SnapshotError: it is missing, foreign, of a later version, cut off or otherwise damaged; the
            message names the file and the reason.
    """
    folder = Path(path)
    try:
        handle = open_folder(folder)
        try:
            return _open_folder_verified(folder, handle, _Held(held), vault)
        finally:
            os.close(handle)
    except OSError as error:
        raise SnapshotError(f"snapshot {folder.name}: {describe(error)}") from error


def open_current(
    root: Path, *, held: Snapshot | None = None, vault: Vault | None = None
) -> Snapshot | None:
    """Opens the published snapshot under `root`; `held` and `vault` as in `open_snapshot`.

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
            snapshot = open_snapshot(root / pointer.snapshot, held=held, vault=vault)
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


class _Held:
    """The arrays of a held snapshot by the files they were mapped from; false where none is."""

    def __init__(self, held: Snapshot | None) -> None:
        self._held = held
        self._names = {} if held is None else {file: name for name, file in held.files.items()}
        self._encrypted: dict[str, str] = {}
        if held is not None and ENCRYPTION in held.manifest:
            self._encrypted = {
                each["sha256"]: name for name, each in held.manifest["arrays"].items()
            }

    def __bool__(self) -> bool:
        return self._held is not None

    def find(self, file: FileIdentity, record: ArrayRecord) -> AnyArray | None:
        """The array of that very file, if it was held under the same digest, dtype and shape."""
        name = self._names.get(file)
        if (
            self._held is None or name is None or file.size == 0
        ):  # nothing is mapped of an empty one
            return None
        if self._held.manifest["arrays"][name]["sha256"] != record.content.sha256:
            return None
        return self._array(name, record)

    def find_decrypted(self, record: ArrayRecord) -> AnyArray | None:
        """The array of an encrypted file of that digest, if one was held."""
        name = self._encrypted.get(record.content.sha256)
        return None if name is None else self._array(name, record)

    def _array(self, name: str, record: ArrayRecord) -> AnyArray | None:
        assert self._held is not None
        array = self._held.arrays[name]
        return array if (array.dtype, array.shape) == (record.dtype, record.shape) else None


def _open_folder_verified(folder: Path, handle: int, held: _Held, vault: Vault | None) -> Snapshot:
    manifest = read_manifest(folder, handle)
    lock = _lock_of(vault, folder, manifest)
    records = {
        name: ArrayRecord.parse(folder, name, record, encrypted=lock is not None)
        for name, record in section(folder, manifest, "arrays").items()
    }
    documents = {
        name: FileRecord.parse(folder, name, record, suffix=".json")
        for name, record in section(folder, manifest, "documents").items()
    }
    _check_files(folder, handle, records, documents)
    revision = revision_of(folder, manifest)
    opened_documents = {
        name: _open_document(folder, handle, record, lock) for name, record in documents.items()
    }
    if lock is None:
        arrays, files = _open_arrays(folder, handle, records, held)
    else:
        arrays, files = _decrypt_arrays(folder, handle, records, held, lock)
    return Snapshot(
        path=folder,
        revision=revision,
        arrays=MappingProxyType(arrays),
        documents=MappingProxyType(opened_documents),
        manifest=MappingProxyType(manifest),
        files=MappingProxyType(files),
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


def _open_arrays(
    folder: Path, handle: int, records: Mapping[str, ArrayRecord], held: _Held
) -> tuple[dict[str, AnyArray], dict[str, FileIdentity]]:
    """Maps all arrays, and verifies those that are not held already."""
    arrays: dict[str, AnyArray] = {}
    files: dict[str, FileIdentity] = {}
    unverified: list[tuple[FileRecord, AnyArray]] = []
    for name, record in records.items():
        with _checked_file(folder, handle, record.content) as file:
            files[name] = FileIdentity.of(os.fstat(file))
            known = held.find(files[name], record)
            if known is None:
                known = _map(folder, file, record)
                unverified.append((record.content, known))
        arrays[name] = known
    _verify(folder, unverified, _THREADS_WHILE_SERVING if held else _VERIFYING_THREADS)
    return arrays, files


def _lock_of(vault: Vault | None, folder: Path, manifest: Mapping[str, Any]) -> Lock | None:
    if not key_name(folder, manifest):
        return None  # as mostly: what encrypts need not be imported
    from hashlists.snapshot.vault import lock_of  # noqa: PLC0415  brings cryptography

    return lock_of(vault, folder, manifest)


def _decrypt_arrays(
    folder: Path, handle: int, records: Mapping[str, ArrayRecord], held: _Held, lock: Lock
) -> tuple[dict[str, AnyArray], dict[str, FileIdentity]]:
    """Decrypts all arrays that are not held already; each is verified by that."""

    def opened(record: ArrayRecord) -> tuple[AnyArray, FileIdentity]:
        with _checked_file(folder, handle, record.content) as file:
            identity = FileIdentity.of(os.fstat(file))
            known = held.find_decrypted(record)
            return (lock.array(folder, file, record) if known is None else known), identity

    largest_first = sorted(records.items(), key=lambda item: item[1].content.nbytes, reverse=True)
    threads = _THREADS_WHILE_SERVING if held else _VERIFYING_THREADS
    with ThreadPoolExecutor(threads, "snapshot-decrypt") as pool:
        try:
            found = list(pool.map(opened, [record for _, record in largest_first]))
        except SnapshotError:
            pool.shutdown(cancel_futures=True)
            raise
    by_name = dict(zip((name for name, _ in largest_first), found, strict=True))
    return (
        {name: by_name[name][0] for name in records},
        {name: by_name[name][1] for name in records},
    )


def _map(folder: Path, file: int, record: ArrayRecord) -> AnyArray:
    try:
        return map_array(file, record.dtype, record.shape)
    except (ValueError, OverflowError) as error:
        raise refuse(folder, record.content.file, f"cannot be mapped ({error})") from error


def _verify(folder: Path, arrays: list[tuple[FileRecord, AnyArray]], threads: int) -> None:
    """Checks digests, the largest first; in so many threads where there is much to read."""

    def check(pair: tuple[FileRecord, AnyArray]) -> None:
        _check_digest(folder, pair[0], bytes_of(pair[1]))

    largest_first = sorted(arrays, key=lambda pair: pair[0].nbytes, reverse=True)
    if threads == 1 or sum(record.nbytes for record, _ in largest_first[1:]) < _WORTH_A_THREAD:
        for pair in largest_first:
            check(pair)
        return
    with ThreadPoolExecutor(threads, "snapshot-verify") as pool:
        try:
            for _ in pool.map(check, largest_first):
                pass
        except SnapshotError:
            pool.shutdown(cancel_futures=True)
            raise


def _open_document(folder: Path, handle: int, record: FileRecord, lock: Lock | None) -> Any:
    with _checked_file(folder, handle, record) as file:
        if lock is not None:
            data = lock.document(folder, file, record)
        else:
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
