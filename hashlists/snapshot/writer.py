"""Writes a snapshot into a hidden folder and publishes it by one swap of the pointer."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from hashlists.errors import SnapshotError
from hashlists.snapshot.arrays import AnyArray, FileIdentity, bytes_of, map_array
from hashlists.snapshot.files import exclusive, json_bytes, new_file, open_folder, sync_folder
from hashlists.snapshot.manifest import (
    DTYPES,
    ENCRYPTED_VERSION,
    ENCRYPTION,
    FORMAT,
    ITEM_NAME,
    MANIFEST_FILE,
    MAX_DIMENSIONS,
    MAX_REVISION,
    VERSION,
    ArrayRecord,
    digest_of_manifest,
    key_name,
    manifest_bytes,
)
from hashlists.snapshot.pointer import (
    POINTER_FILE,
    POINTER_TEMPORARY,
    Pointer,
    readable_pointer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType

    from numpy.typing import DTypeLike

    from hashlists.snapshot.reader import Snapshot
    from hashlists.snapshot.vault import Vault

WRITING = ".writing-"
CHUNK_BYTES = 1 << 20  # bytes hashed and written at a time, so that each is still in cache
#: What `link` says where a copy may succeed.
_NOT_LINKABLE = frozenset(
    [
        errno.EACCES,
        errno.EMLINK,
        errno.ENOENT,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EXDEV,
    ],
)


class SnapshotWriter:
    """Writes one snapshot into a hidden folder and publishes it; a context manager.

    Leaving the `with` block without `publish` removes everything that was written.

    Args:
        root: the folder that holds snapshots; made (0700) if it is missing.
        revision: the catalog revision of the content, 0 or more.
        vault: encrypts all files with its newest key; None leaves them in clear.

    Raises:
        ValueError: `revision` is out of range.
        EncryptionKeyError: there is no key.
        OSError: the folder cannot be made.
    """

    def __init__(self, root: Path, *, revision: int, vault: Vault | None = None) -> None:
        if not 0 <= revision <= MAX_REVISION:
            raise ValueError(f"a revision lies in 0..2**63-1, not {revision}")
        self._root = Path(root)
        self._revision = revision
        self._encrypting = None if vault is None else vault.newest()
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
        little = self._check_array(name, array.dtype, array.ndim)
        plain = np.asarray(array, dtype=little, order="C")
        record = self._write(f"{name}.bin", self._outgoing([bytes_of(plain)]))
        self._arrays[name] = {**record, "dtype": little.str, "shape": list(array.shape)}

    def add_array_in_parts(
        self,
        name: str,
        parts: Iterable[AnyArray],
        *,
        dtype: DTypeLike,
        row_shape: tuple[int, ...] = (),
    ) -> None:
        """Writes one array whose rows come part by part, so that it is never in memory whole.

        Args:
            name: as in `add_array`.
            parts: arrays of that dtype and of shape `(any, *row_shape)`; may be none.
            dtype: of the whole.
            row_shape: the shape of one row.

        Raises:
            ValueError: as in `add_array`, or a part has another dtype or shape.
            OSError: the file cannot be written; nothing is published.
        """
        plain = np.dtype(dtype)
        little = self._check_array(name, plain, 1 + len(row_shape))
        rows = 0

        def pieces() -> Iterator[memoryview]:
            nonlocal rows
            for part in parts:
                if part.dtype != plain or part.shape[1:] != row_shape or part.ndim == 0:
                    raise ValueError(
                        f"{name}: a part has shape {part.shape} and dtype {part.dtype},"
                        f" not (rows, *{row_shape}) and {plain}",
                    )
                rows += len(part)
                yield bytes_of(np.asarray(part, dtype=little, order="C"))

        record = self._write(f"{name}.bin", self._outgoing(pieces()))
        self._arrays[name] = {**record, "dtype": little.str, "shape": [rows, *row_shape]}

    def link_array(self, name: str, source: Snapshot, source_name: str | None = None) -> None:
        """Takes an array of an opened snapshot over by a hard link to its file.

        The file is immutable, so both snapshots may have it; its record is the source's. Where no
        link can be made (another root or file system, too many links, the source swept meanwhile,
        encrypted with another key or not at all) the verified array is copied.

        Args:
            name: its name here.
            source: an opened snapshot.
            source_name: its name there; None for the same.

        Raises:
            ValueError: the name is not of the right form or is taken, or the source has no such
                array.
            SnapshotError: the array's bytes are no longer those that were verified.
            OSError: the file cannot be written; nothing is published.
        """
        self._check_name(name)
        origin = name if source_name is None else source_name
        record = source.manifest["arrays"].get(origin)
        if record is None:
            raise ValueError(f"snapshot {source.path.name} has no array {origin!r}")
        if self._link(source, origin, f"{name}.bin"):
            self._arrays[name] = {**record, "file": f"{name}.bin"}
            return
        # Sealed memory cannot change; what is mapped from a file could.
        if ENCRYPTION not in source.manifest and record["sha256"] != _digest(source.arrays[origin]):
            raise SnapshotError(
                f"snapshot {source.path.name}: file {record['file']} was changed after it was"
                " verified; build anew from the catalog",
            )
        self.add_array(name, source.arrays[origin])

    def map_array(self, name: str) -> AnyArray:
        """An array written before, read-only and mapped from its file: its copy may be freed.

        Of an encrypted snapshot it is decrypted into memory again.

        Raises:
            ValueError: no array of that name was written, or the writer is closed.
            OSError: the file cannot be mapped.
        """
        self._check_open()
        if name not in self._arrays:
            raise ValueError(f"no array {name!r} was written")
        record = self._arrays[name]
        with (self._folder / record["file"]).open("rb") as stream:
            if self._encrypting is not None:
                parsed = ArrayRecord.parse(self._folder, name, record, encrypted=True)
                return self._encrypting.array(self._folder, stream.fileno(), parsed)
            return map_array(stream.fileno(), np.dtype(record["dtype"]), tuple(record["shape"]))

    def add_document(self, name: str, obj: Any) -> None:
        """Writes one JSON document.

        Raises:
            ValueError: the name is not of the form of `add_array` or is taken, or `obj` holds what
                JSON cannot (NaN and infinity included).
            OSError: the file cannot be written; nothing is published.
        """
        self._check_name(name)
        content = self._outgoing([memoryview(json_bytes(name, obj))])
        self._documents[name] = self._write(f"{name}.json", content)

    def publish(
        self,
        parameters: Mapping[str, Any],
        *,
        allow_older: bool = False,
        in_place: bool = False,
    ) -> Path:
        """Seals the snapshot and makes it the current one.

        Args:
            parameters: how it was built; JSON-able, kept in the manifest.
            allow_older: publish although a later revision is current, as after the catalog was
                restored from a backup.
            in_place: what is current is of no use, so what was before it stays in its stead.

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
        self._write(MANIFEST_FILE, [memoryview(manifest_bytes(manifest))])
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
                previous=_before(previous, manifest["sha256"], in_place=in_place),
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

    def _check_array(self, name: str, dtype: np.dtype[Any], axes: int) -> np.dtype[Any]:
        """The little-endian form of a dtype that may be written under that name."""
        self._check_name(name)
        if axes > MAX_DIMENSIONS:
            raise ValueError(f"{name}: at most {MAX_DIMENSIONS} axes are allowed")
        little: np.dtype[Any] = dtype.newbyteorder("<")
        if little.str not in DTYPES:
            raise ValueError(f"{name}: dtype {dtype} is not among {sorted(DTYPES)}")
        return little

    def _link(self, source: Snapshot, origin: str, file: str) -> bool:
        """Links the very file that the source was verified on; False where that cannot be."""
        target = self._folder / file
        if key_name(source.path, source.manifest) != self._key_name:
            return False
        try:
            if not source.path.parent.samefile(self._root):
                return False
            os.link(  # the fault tests fail each os call
                source.path / source.manifest["arrays"][origin]["file"],
                target,
                follow_symlinks=False,
            )
        except OSError as error:
            if error.errno in _NOT_LINKABLE:
                return False
            raise
        if FileIdentity.of(target.lstat()) == source.files[origin]:
            return True
        target.unlink()  # whatever stands in the file's place now was not verified
        return False

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
        if self._encrypting is not None:
            body["version"] = ENCRYPTED_VERSION
            body[ENCRYPTION] = {"key": self._key_name, "mac": self._encrypting.mark(body)}
        return {**body, "sha256": digest_of_manifest(body)}

    @property
    def _key_name(self) -> str:
        """Of the key that encrypts; empty for none."""
        return "" if self._encrypting is None else self._encrypting.name

    def _outgoing(self, pieces: Iterable[memoryview]) -> Iterable[memoryview]:
        """What is written of some content."""
        return pieces if self._encrypting is None else self._encrypting.encrypt(pieces)

    def _write(self, file: str, pieces: Iterable[memoryview]) -> dict[str, Any]:
        """Writes and syncs one new file, 0600; gives its record for the manifest."""
        digest, size = hashlib.sha256(), 0
        path = self._folder / file
        with new_file(path) as stream:
            try:
                for piece in pieces:
                    for start in range(0, len(piece), CHUNK_BYTES):
                        chunk = piece[start : start + CHUNK_BYTES]
                        digest.update(chunk)
                        stream.write(chunk)
                    size += len(piece)
                stream.flush()
                os.fsync(stream.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return {"file": file, "bytes": size, "sha256": digest.hexdigest()}

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


def _digest(array: AnyArray) -> str:
    return hashlib.sha256(bytes_of(array)).hexdigest()


def _before(current: Pointer | None, manifest_sha256: str, *, in_place: bool) -> str | None:
    """What stays behind the new one; what is written anew, being damaged, takes its own place."""
    if current is None:
        return None
    if in_place or current.manifest_sha256 == manifest_sha256:
        return current.previous
    return current.snapshot


__all__ = ["WRITING", "SnapshotWriter"]
