"""Writes a snapshot into a hidden folder and publishes it by one swap of the pointer."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np

from hashlists.errors import SnapshotError
from hashlists.snapshot.files import exclusive, json_bytes, new_file, open_folder, sync_folder
from hashlists.snapshot.manifest import (
    DTYPES,
    FORMAT,
    ITEM_NAME,
    MANIFEST_FILE,
    MAX_DIMENSIONS,
    MAX_REVISION,
    VERSION,
    digest_of_manifest,
    manifest_bytes,
)
from hashlists.snapshot.pointer import (
    POINTER_FILE,
    POINTER_TEMPORARY,
    Pointer,
    readable_pointer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from numpy.typing import NDArray

AnyArray: TypeAlias = "NDArray[Any]"


WRITING = ".writing-"
CHUNK_BYTES = 1 << 20  # bytes hashed and written at a time, so that each is still in cache


class SnapshotWriter:
    """Writes one snapshot into a hidden folder and publishes it; a context manager.

    Leaving the `with` block without `publish` removes everything that was written.

    Args:
        root: the folder that holds snapshots; made (0700) if it is missing.
        revision: the catalog revision of the content, 0 or more.

    Raises:
        ValueError: `revision` is out of range.
        OSError: the folder cannot be made.
    """

    def __init__(self, root: Path, *, revision: int) -> None:
        if not 0 <= revision <= MAX_REVISION:
            raise ValueError(f"a revision lies in 0..2**63-1, not {revision}")
        self._root = Path(root)
        self._revision = revision
        self._created_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._arrays: dict[str, dict[str, Any]] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = self._root / f"{WRITING}{secrets.token_hex(8)}"
        self._lock: int | None = None
        # Under the root's lock, so that no sweep can see the folder before its own lock is held.
        with exclusive(self._root):
            self._folder.mkdir(mode=0o700)
            try:
                self._lock = open_folder(self._folder)
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BaseException:
                self._remove()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def add_array(self, name: str, array: AnyArray) -> None:
        """Writes one array.

        Args:
            name: lower-case words joined by dots, e.g. `pdq.codes`.
            array: of a dtype in `DTYPES` (any byte order), at most 8 dimensions.

        Raises:
            ValueError: the name is not of that form or is taken, or the dtype is not allowed.
            OSError: the file cannot be written; nothing is published.
        """
        self._check_name(name)
        if array.ndim > MAX_DIMENSIONS:
            raise ValueError(f"{name}: at most {MAX_DIMENSIONS} axes are allowed")
        little = array.dtype.newbyteorder("<")
        if little.str not in DTYPES:
            raise ValueError(f"{name}: dtype {array.dtype} is not among {sorted(DTYPES)}")
        plain = np.asarray(array, dtype=little, order="C")
        record = self._write(f"{name}.bin", bytes_of(plain))
        self._arrays[name] = {**record, "dtype": little.str, "shape": list(array.shape)}

    def add_document(self, name: str, obj: Any) -> None:
        """Writes one JSON document.

        Raises:
            ValueError: the name is not of the form of `add_array` or is taken, or `obj` holds what
                JSON cannot (NaN and infinity included).
            OSError: the file cannot be written; nothing is published.
        """
        self._check_name(name)
        self._documents[name] = self._write(f"{name}.json", memoryview(json_bytes(name, obj)))

    def publish(self, parameters: Mapping[str, Any], *, allow_older: bool = False) -> Path:
        """Seals the snapshot and makes it the current one.

        Args:
            parameters: how it was built; JSON-able, kept in the manifest.
            allow_older: publish although a later revision is current, as after the catalog was
                restored from a backup.

        Returns:
            The folder of the published snapshot.

        Raises:
            SnapshotError: a later revision is current: entries could silently go missing; or what
                is current cannot be read.
            ValueError: `parameters` is not JSON-able, or the writer is closed.
            OSError: writing failed. The previous snapshot is still current, unless the very last
                step failed, the syncing of the swap: then the new one is, and is whole, but a power
                cut could bring the previous one back.
        """
        self._check_open()
        manifest = self._manifest(parameters)
        self._write(MANIFEST_FILE, memoryview(manifest_bytes(manifest)))
        sync_folder(self._folder)
        with exclusive(self._root):
            previous = readable_pointer(self._root)
            if previous is not None and previous.revision > self._revision and not allow_older:
                raise SnapshotError(
                    f"revision {previous.revision} is published already; publishing revision"
                    f" {self._revision} over it needs allow_older",
                )
            folder = self._root / f"snapshot-{self._revision:012d}-{secrets.token_hex(8)}"
            os.rename(self._folder, folder)  # noqa: PTH104  # the fault tests fail each os call
            self._folder = folder
            sync_folder(self._root)
            pointer = Pointer(
                snapshot=folder.name,
                revision=self._revision,
                manifest_sha256=manifest["sha256"],
                previous=previous.snapshot if previous else None,
            )
            self._swap_pointer(pointer)
            sync_folder(self._root)
        return folder

    def abort(self) -> None:
        """Closes the writer; removes what was written unless it was published. May be repeated."""
        if self._lock is not None:
            self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._release()

    def _check_open(self) -> None:
        if self._lock is None:
            raise ValueError("this snapshot writer is closed")

    def _check_name(self, name: str) -> None:
        self._check_open()
        if not ITEM_NAME.fullmatch(name) or f"{name}.json" == MANIFEST_FILE:
            raise ValueError(f"{name!r} cannot name an array or document of a snapshot")
        if name in self._arrays or name in self._documents:
            raise ValueError(f"{name!r} was written already")

    def _manifest(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        body = {
            "format": FORMAT,
            "version": VERSION,
            "revision": self._revision,
            "created_at": self._created_at,
            "parameters": json.loads(json_bytes("parameters", dict(parameters))),
            "arrays": self._arrays,
            "documents": self._documents,
        }
        return {**body, "sha256": digest_of_manifest(body)}

    def _write(self, file: str, data: memoryview) -> dict[str, Any]:
        """Writes and syncs one new file, 0600; gives its record for the manifest."""
        digest = hashlib.sha256()
        with new_file(self._folder / file) as stream:
            for start in range(0, len(data), CHUNK_BYTES):
                chunk = data[start : start + CHUNK_BYTES]
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        return {"file": file, "bytes": len(data), "sha256": digest.hexdigest()}

    def _swap_pointer(self, pointer: Pointer) -> None:
        temporary = self._root / f"{POINTER_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with new_file(temporary) as stream:
                stream.write(pointer.to_bytes())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, self._root / POINTER_FILE)  # noqa: PTH105  # as above
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        self._release()

    def _release(self) -> None:
        """Lets go of the folder: from here on `abort` removes nothing."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def bytes_of(array: AnyArray) -> memoryview:
    """The bytes of a C-contiguous array, without a copy."""
    return memoryview(array.reshape(-1).view(np.uint8).data)


__all__ = ["WRITING", "SnapshotWriter", "bytes_of"]
