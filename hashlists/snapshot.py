"""Snapshots: immutable folders of named arrays and documents under a manifest with digests.

A snapshot is what matching runs on: built from the catalog at one revision, opened by mapping.
Under its root lie

    current                           names the published snapshot, its digest, and the one before
    snapshot-<revision>-<random>/     manifest.json, <array>.bin (raw, little-endian) and
                                      <document>.json
    .writing-<random>/                a writer's unfinished folder, locked while the writer lives

Invariants:

* A published folder is never changed, only removed. Its name is never used again.
* Publishing is one `os.replace` of `current`, after everything it names was synced to disk. A crash
  or an error at any earlier moment leaves the previous snapshot current.
* Nothing is handed out that was not verified here: the set of files, their sizes and the SHA-256 of
  every byte, the manifest's own included. Verifying reads through the mapping, so a snapshot that
  was opened is also in memory ("pre-faulted").
* No pickle, no header parsing: the manifest alone says what the bytes are.

SHA-256 rather than BLAKE2b: with the SHA instructions of current CPUs it verified 1.7 GB/s here,
BLAKE2b 0.9 GB/s, and operators can check a file with `sha256sum`.

On Linux a mapping outlives the unlinking of its file, so `sweep` may remove a snapshot that some
process still serves. It does not outlive truncation: only this module may write under the root.

What it does not do: it knows nothing of what the arrays mean (`matcher.index` does), and digests
prove integrity, not origin; folders are 0700 and files 0600 so that only the service can write.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import mmap
import os
import re
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeAlias, TypeGuard

import numpy as np

from hashlists.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from numpy.typing import NDArray

AnyArray: TypeAlias = "NDArray[Any]"

FORMAT = "hashwarden-snapshot"
#: Raised whenever an older build could misread a newer snapshot.
VERSION = 1

MANIFEST_FILE = "manifest.json"
POINTER_FILE = "current"
_POINTER_TEMPORARY = ".current-"
_WRITING = ".writing-"

_ITEM_NAME = re.compile(r"[a-z0-9_]{1,40}(?:\.[a-z0-9_]{1,40}){0,4}", re.ASCII)
_FOLDER_NAME = re.compile(r"snapshot-[0-9]{12,19}-[0-9a-f]{16}", re.ASCII)
_SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
#: The dtypes an array may have, as numpy spells them; `<` is little-endian.
DTYPES = frozenset(
    ["|b1", "|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f4", "<f8"],
)
MAX_DIMENSIONS = 8
MAX_MANIFEST_BYTES = 16 << 20
_MAX_POINTER_BYTES = 4096
_MAX_REVISION = 2**63 - 1
_CHUNK = 1 << 20  # bytes hashed and written at a time, so that each is still in cache
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


# --------------------------------------------------------------------------------------- writing


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
        if not 0 <= revision <= _MAX_REVISION:
            raise ValueError(f"a revision lies in 0..2**63-1, not {revision}")
        self._root = Path(root)
        self._revision = revision
        self._created_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._arrays: dict[str, dict[str, Any]] = {}
        self._documents: dict[str, dict[str, Any]] = {}
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = self._root / f"{_WRITING}{secrets.token_hex(8)}"
        self._lock: int | None = None
        # Under the root's lock, so that no sweep can see the folder before its own lock is held.
        with _exclusive(self._root):
            self._folder.mkdir(mode=0o700)
            try:
                self._lock = _open_folder(self._folder)
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
        record = self._write(f"{name}.bin", _bytes_of(plain))
        self._arrays[name] = {**record, "dtype": little.str, "shape": list(array.shape)}

    def add_document(self, name: str, obj: Any) -> None:
        """Writes one JSON document.

        Raises:
            ValueError: the name is not of the form of `add_array` or is taken, or `obj` holds what
                JSON cannot (NaN and infinity included).
            OSError: the file cannot be written; nothing is published.
        """
        self._check_name(name)
        self._documents[name] = self._write(f"{name}.json", memoryview(_json_bytes(name, obj)))

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
        self._write(MANIFEST_FILE, memoryview(_pretty(manifest)))
        _sync_folder(self._folder)
        with _exclusive(self._root):
            previous = _readable_pointer(self._root)
            if previous is not None and previous.revision > self._revision and not allow_older:
                raise SnapshotError(
                    f"revision {previous.revision} is published already; publishing revision"
                    f" {self._revision} over it needs allow_older",
                )
            folder = self._root / f"snapshot-{self._revision:012d}-{secrets.token_hex(8)}"
            os.rename(self._folder, folder)  # noqa: PTH104  # the fault tests fail each os call
            self._folder = folder
            _sync_folder(self._root)
            pointer = _Pointer(
                snapshot=folder.name,
                revision=self._revision,
                manifest_sha256=manifest["sha256"],
                previous=previous.snapshot if previous else None,
            )
            self._swap_pointer(pointer)
            _sync_folder(self._root)
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
        if not _ITEM_NAME.fullmatch(name) or f"{name}.json" == MANIFEST_FILE:
            raise ValueError(f"{name!r} cannot name an array or document of a snapshot")
        if name in self._arrays or name in self._documents:
            raise ValueError(f"{name!r} was written already")

    def _manifest(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        body = {
            "format": FORMAT,
            "version": VERSION,
            "revision": self._revision,
            "created_at": self._created_at,
            "parameters": json.loads(_json_bytes("parameters", dict(parameters))),
            "arrays": self._arrays,
            "documents": self._documents,
        }
        return {**body, "sha256": _digest_of_manifest(body)}

    def _write(self, file: str, data: memoryview) -> dict[str, Any]:
        """Writes and syncs one new file, 0600; gives its record for the manifest."""
        digest = hashlib.sha256()
        with _new_file(self._folder / file) as stream:
            for start in range(0, len(data), _CHUNK):
                chunk = data[start : start + _CHUNK]
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())
        return {"file": file, "bytes": len(data), "sha256": digest.hexdigest()}

    def _swap_pointer(self, pointer: _Pointer) -> None:
        temporary = self._root / f"{_POINTER_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with _new_file(temporary) as stream:
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


# --------------------------------------------------------------------------------------- opening


def open_snapshot(path: Path) -> Snapshot:
    """Opens a snapshot after verifying every byte of it.

    Raises:
        SnapshotError: it is missing, foreign, of a later version, cut off or otherwise damaged; the
            message names the file and the reason.
    """
    folder = Path(path)
    try:
        handle = _open_folder(folder)
        try:
            return _open_folder_verified(folder, handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise SnapshotError(f"snapshot {folder.name}: {_say(error)}") from error


def open_current(root: Path) -> Snapshot | None:
    """Opens the published snapshot under `root`.

    Returns:
        None where nothing was ever published.

    Raises:
        SnapshotError: what is published cannot be used; the caller keeps what it has.
    """
    root = Path(root)
    pointer = _read_pointer(root)
    for _ in range(_REOPEN_ATTEMPTS):
        if pointer is None:
            return None
        try:
            snapshot = open_snapshot(root / pointer.snapshot)
        except SnapshotError:
            # Two publications and a sweep may have passed since the pointer was read.
            latest = _read_pointer(root)
            if latest == pointer:
                raise
            pointer = latest
            continue
        if snapshot.manifest["sha256"] != pointer.manifest_sha256:
            raise _refuse(root / pointer.snapshot, MANIFEST_FILE, "is not the published one")
        return snapshot
    raise SnapshotError("the published snapshot changed faster than it could be opened")


def current_revision(root: Path) -> int | None:
    """The revision that is published, without opening it; None where nothing is.

    Raises:
        SnapshotError: the pointer file is damaged.
    """
    pointer = _read_pointer(Path(root))
    return None if pointer is None else pointer.revision


def sweep(root: Path, *, keep_previous: bool = True) -> None:
    """Removes unfinished folders of dead writers, and snapshots no longer of use.

    The current snapshot and the one before it stay; a living writer's folder stays. Where the
    pointer is damaged no snapshot is removed. Mappings of removed files stay valid.

    Args:
        root: the folder that holds snapshots; may be missing.
        keep_previous: False after a purge, when the one before still holds what was erased.

    Raises:
        OSError: something cannot be removed.
    """
    root = Path(root)
    if not root.is_dir():
        return
    with _exclusive(root):
        keep = _names_in_use(root, keep_previous=keep_previous)
        with os.scandir(root) as listing:
            entries = list(listing)
        for entry in entries:
            if entry.is_symlink():
                continue
            if entry.is_file():
                if entry.name.startswith(_POINTER_TEMPORARY):
                    Path(entry.path).unlink(missing_ok=True)
            elif entry.name.startswith(_WRITING):
                _remove_if_abandoned(Path(entry.path))
            elif keep is not None and _FOLDER_NAME.fullmatch(entry.name) and entry.name not in keep:
                shutil.rmtree(entry.path)
        _sync_folder(root)


def _names_in_use(root: Path, *, keep_previous: bool) -> frozenset[str] | None:
    """The snapshots that must stay; None where nobody can tell."""
    try:
        pointer = _read_pointer(root)
    except SnapshotError:
        return None
    if pointer is None:
        return frozenset()
    names = {pointer.snapshot}
    if keep_previous and pointer.previous is not None:
        names.add(pointer.previous)
    return frozenset(names)


def _remove_if_abandoned(folder: Path) -> None:
    """Removes a writer's folder whose lock nobody holds: its writer is dead."""
    with suppress(FileNotFoundError):  # its writer may be removing it just now
        handle = _open_folder(folder)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # held, or a file system without locks: better leave it than break a writer
        else:
            shutil.rmtree(folder)
        finally:
            os.close(handle)


def _open_folder_verified(folder: Path, handle: int) -> Snapshot:
    manifest = _read_manifest(folder, handle)
    arrays = {
        name: _ArrayRecord.parse(folder, name, record)
        for name, record in _section(folder, manifest, "arrays").items()
    }
    documents = {
        name: _FileRecord.parse(folder, name, record, suffix=".json")
        for name, record in _section(folder, manifest, "documents").items()
    }
    _check_files(folder, handle, arrays, documents)
    return Snapshot(
        path=folder,
        revision=_revision_of(folder, manifest),
        arrays=MappingProxyType(
            {name: _open_array(folder, handle, record) for name, record in arrays.items()},
        ),
        documents=MappingProxyType(
            {name: _open_document(folder, handle, record) for name, record in documents.items()},
        ),
        manifest=MappingProxyType(manifest),
    )


def _read_manifest(folder: Path, handle: int) -> dict[str, Any]:
    data = _read_small(folder, handle, MANIFEST_FILE, MAX_MANIFEST_BYTES)
    manifest = _parse_json(folder, MANIFEST_FILE, data)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _refuse(folder, MANIFEST_FILE, "is not the manifest of a Hashwarden snapshot")
    version = manifest.get("version")
    if type(version) is not int or version != VERSION:
        raise _refuse(
            folder,
            MANIFEST_FILE,
            f"is of version {version if _is_count(version) else 'unknown'}, this build reads"
            f" version {VERSION}; rebuild it from the catalog with this build",
        )
    if not _is_sealed(manifest, data):
        raise _refuse(folder, MANIFEST_FILE, "is damaged: its digest differs")
    return manifest


def _is_sealed(manifest: Mapping[str, Any], data: bytes) -> bool:
    """Whether the digest fits and the bytes are the very ones that a writer writes."""
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    try:
        return manifest.get("sha256") == _digest_of_manifest(body) and _pretty(manifest) == data
    except (ValueError, RecursionError):  # NaN, or nested too deep: no writer of ours did that
        return False


@dataclass(frozen=True, slots=True)
class _FileRecord:
    """What the manifest says of one file."""

    file: str
    nbytes: int
    sha256: str

    @classmethod
    def parse(cls, folder: Path, name: str, record: Any, *, suffix: str) -> _FileRecord:
        """Checks a record of the manifest; the file's name follows from the item's."""
        if not _ITEM_NAME.fullmatch(name) or not isinstance(record, dict):
            raise _refuse(folder, MANIFEST_FILE, f"has a malformed record {name[:40]!r}")
        file, nbytes, sha256 = (record.get(key) for key in ("file", "bytes", "sha256"))
        if file != f"{name}{suffix}" or file == MANIFEST_FILE:
            raise _refuse(folder, MANIFEST_FILE, f"names a file that {name!r} may not have")
        if (
            not _is_count(nbytes)
            or not isinstance(sha256, str)
            or not _SHA256_HEX.fullmatch(sha256)
        ):
            raise _refuse(folder, MANIFEST_FILE, f"has a malformed size or digest for {name!r}")
        return cls(file=file, nbytes=nbytes, sha256=sha256)


@dataclass(frozen=True, slots=True)
class _ArrayRecord:
    """What the manifest says of one array."""

    content: _FileRecord
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def parse(cls, folder: Path, name: str, record: Any) -> _ArrayRecord:
        """Checks that dtype, shape and size of a record agree."""
        content = _FileRecord.parse(folder, name, record, suffix=".bin")
        dtype, shape = record.get("dtype"), record.get("shape")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise _refuse(folder, MANIFEST_FILE, f"gives {name!r} a dtype that is not allowed")
        if (
            not isinstance(shape, list)
            or len(shape) > MAX_DIMENSIONS
            or not all(_is_count(axis) for axis in shape)
        ):
            raise _refuse(folder, MANIFEST_FILE, f"gives {name!r} a malformed shape")
        if math.prod(shape) * np.dtype(dtype).itemsize != content.nbytes:
            raise _refuse(folder, MANIFEST_FILE, f"gives {name!r} a shape its size cannot hold")
        return cls(content=content, dtype=np.dtype(dtype), shape=tuple(shape))


def _check_files(
    folder: Path,
    handle: int,
    arrays: Mapping[str, _ArrayRecord],
    documents: Mapping[str, _FileRecord],
) -> None:
    """The folder must hold what the manifest lists, and nothing else."""
    listed = {MANIFEST_FILE}
    listed.update(record.content.file for record in arrays.values())
    listed.update(record.file for record in documents.values())
    present = set(os.listdir(handle))
    for file in sorted(listed - present):
        raise _refuse(folder, file, "is missing")
    for file in sorted(present - listed):
        raise _refuse(folder, file, "is not in the manifest")


def _open_array(folder: Path, handle: int, record: _ArrayRecord) -> AnyArray:
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
            raise _refuse(folder, content.file, f"cannot be mapped ({error})") from error
    _check_digest(folder, content, _bytes_of(array))
    return array


def _open_document(folder: Path, handle: int, record: _FileRecord) -> Any:
    with _checked_file(folder, handle, record) as file:
        data = _read_all(file, record.nbytes)
    _check_digest(folder, record, memoryview(data))
    return _parse_json(folder, record.file, data)


def _check_digest(folder: Path, record: _FileRecord, data: memoryview) -> None:
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise _refuse(folder, record.file, "is damaged: its digest differs from the manifest's")


@contextmanager
def _checked_file(folder: Path, handle: int, record: _FileRecord) -> Iterator[int]:
    """Opens a file of the folder and checks its size before anything is read from it."""
    with _regular_file(folder, handle, record.file) as file:
        size = os.fstat(file).st_size
        if size != record.nbytes:
            what = "is cut off" if size < record.nbytes else "is too long"
            raise _refuse(
                folder,
                record.file,
                f"{what}: {size} bytes, the manifest says {record.nbytes}",
            )
        yield file


@contextmanager
def _regular_file(folder: Path, handle: int, name: str) -> Iterator[int]:
    """Opens a file of the folder; whatever the system refuses meanwhile is told with its name."""
    # O_NONBLOCK: a named pipe in place of a file must not hang us before it is refused.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        file = os.open(name, flags, dir_fd=handle)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise _refuse(folder, name, "is not a regular file")
            yield file
        finally:
            os.close(file)
    except FileNotFoundError as error:
        raise _refuse(folder, name, "is missing") from error
    except OSError as error:
        raise _refuse(folder, name, _say(error)) from error


def _read_small(folder: Path, handle: int, name: str, limit: int) -> bytes:
    with _regular_file(folder, handle, name) as file:
        size = os.fstat(file).st_size
        if size > limit:
            raise _refuse(folder, name, f"is too long: {size} bytes, at most {limit} are read")
        return _read_all(file, size)


def _read_all(file: int, size: int) -> bytes:
    with os.fdopen(file, "rb", closefd=False) as stream:
        return stream.read(size)


def _section(folder: Path, manifest: Mapping[str, Any], key: str) -> dict[str, Any]:
    section = manifest.get(key)
    if not isinstance(section, dict):
        raise _refuse(folder, MANIFEST_FILE, f"has no {key}")
    return section


def _revision_of(folder: Path, manifest: Mapping[str, Any]) -> int:
    revision = manifest.get("revision")
    if not _is_count(revision):
        raise _refuse(folder, MANIFEST_FILE, "has no revision")
    return revision


# --------------------------------------------------------------------------------------- pointer


@dataclass(frozen=True, slots=True)
class _Pointer:
    """The content of the file `current`."""

    snapshot: str
    revision: int
    manifest_sha256: str
    previous: str | None

    def to_bytes(self) -> bytes:
        """One line of JSON."""
        return _json_bytes(POINTER_FILE, {key: getattr(self, key) for key in _POINTER_KEYS}) + b"\n"


_POINTER_KEYS = ("snapshot", "revision", "manifest_sha256", "previous")


def _read_pointer(root: Path) -> _Pointer | None:
    """Reads `current`; None where it or the root is missing."""
    try:
        handle = _open_folder(root)
        try:
            if POINTER_FILE not in os.listdir(handle):  # noqa: PTH208  # the folder that was opened
                return None
            data = _read_small(root, handle, POINTER_FILE, _MAX_POINTER_BYTES)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SnapshotError(f"the folder of snapshots: {_say(error)}") from error
    return _parse_pointer(root, data)


def _parse_pointer(root: Path, data: bytes) -> _Pointer:
    fields = _parse_json(root, POINTER_FILE, data)
    if not isinstance(fields, dict) or set(fields) != set(_POINTER_KEYS):
        raise _refuse(root, POINTER_FILE, "does not name a snapshot")
    previous = fields["previous"]
    if (
        not _is_match(_FOLDER_NAME, fields["snapshot"])
        or not _is_count(fields["revision"])
        or not _is_match(_SHA256_HEX, fields["manifest_sha256"])
        or not (previous is None or _is_match(_FOLDER_NAME, previous))
    ):
        raise _refuse(root, POINTER_FILE, "is damaged")
    return _Pointer(**fields)


def _readable_pointer(root: Path) -> _Pointer | None:
    """The pointer, or None where it is missing or damaged: a damaged one may be written over.

    Raises:
        SnapshotError: it may be whole, but the disk would not give it.
    """
    try:
        return _read_pointer(root)
    except SnapshotError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None


# ------------------------------------------------------------------------------------------ small


def _bytes_of(array: AnyArray) -> memoryview:
    """The bytes of a C-contiguous array, without a copy."""
    return memoryview(array.reshape(-1).view(np.uint8).data)


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _MAX_REVISION


def _is_match(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _json_bytes(name: str, obj: Any) -> bytes:
    try:
        return json.dumps(
            obj,
            allow_nan=False,
            separators=(",", ":"),
            sort_keys=True,
        ).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{name}: cannot be written as JSON ({error})") from error


def _pretty(manifest: Mapping[str, Any]) -> bytes:
    return json.dumps(manifest, allow_nan=False, indent=1, sort_keys=True).encode("ascii") + b"\n"


def _digest_of_manifest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(_json_bytes(MANIFEST_FILE, body)).hexdigest()


def _parse_json(folder: Path, file: str, data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _refuse(folder, file, "is not readable JSON") from error


def _refuse(folder: Path, file: str, why: str) -> SnapshotError:
    return SnapshotError(f"snapshot {folder.name}: file {file} {why}")


def _say(error: OSError) -> str:
    """The system's words without the path, which `_refuse` names already."""
    return f"cannot be read ({error.strerror})"


def _open_folder(folder: Path) -> int:
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


@contextmanager
def _new_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that must not exist yet, 0600."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "wb") as stream:
        yield stream


def _sync_folder(folder: Path) -> None:
    handle = _open_folder(folder)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _exclusive(root: Path) -> Iterator[None]:
    """Holds the root's lock: one process or thread at a time starts, publishes or sweeps."""
    handle = _open_folder(root)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)
        os.close(handle)


__all__ = [
    "DTYPES",
    "FORMAT",
    "VERSION",
    "Snapshot",
    "SnapshotError",
    "SnapshotWriter",
    "current_revision",
    "open_current",
    "open_snapshot",
    "sweep",
]
