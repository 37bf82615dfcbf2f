"""Encrypted snapshots: what encrypts their files, and opens them into memory alone.

A snapshot is encrypted as a whole, with one key, which its manifest names. Each array and document
is a stream of its own (`hashlists.encryption.stream`); sizes and digests in the manifest are of the
encrypted files, so that signing, publishing, pulling and linking need no key. The manifest itself
is in clear: it tells names, shapes and sizes, the revision and the catalog's id, never a hash or
the name of a list. It is authenticated by the key, and with it which file is which.

Invariants:

* Nothing that was decrypted is written to a disk: it goes into anonymous memory (`memfd_create`),
  which is sealed, so that nobody can change it, and left out of core dumps. A system may still swap
  it out, unless it is locked (`hashlists.snapshot.locking`).
* An array that is handed out was decrypted to its end, and its file had the manifest's digest.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import io
import mmap
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from hashlists.encryption import stream
from hashlists.encryption.keys import shown
from hashlists.encryption.purposes import SNAPSHOT_FILE
from hashlists.errors import (
    EncryptedFileError,
    EncryptionKeyError,
    SnapshotLockedError,
)
from hashlists.snapshot.arrays import map_memory
from hashlists.snapshot.files import describe, json_bytes, refuse
from hashlists.snapshot.manifest import ENCRYPTION, MANIFEST_FILE, key_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from hashlists.encryption.keys import Key, KeySource
    from hashlists.snapshot.arrays import AnyArray
    from hashlists.snapshot.manifest import ArrayRecord, FileRecord

_MANIFESTS: Final = b"snapshot manifest"
#: Nothing that has these can be written, cut or grown any more.
SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class SharedMemory(Protocol):
    """What others of this machine have decrypted already, e.g. a supervisor."""

    def find(self, snapshot: str, record: FileRecord) -> int | None:
        """A descriptor of the sealed memory that a file was decrypted into.

        Args:
            snapshot: the name of a snapshot that has the file.
            record: the file, as the manifest has it.

        Returns:
            None where it is not to be had; the caller then decrypts the file itself, and otherwise
            closes the descriptor.
        """
        ...


class Vault:
    """The keys of encrypted snapshots. For any thread.

    Args:
        keys: the newest encrypts.
        shared: where memory is asked for before a file is decrypted; None for nowhere.
    """

    def __init__(self, keys: KeySource, *, shared: SharedMemory | None = None) -> None:
        self._keys = keys
        self._shared = shared

    @property
    def place(self) -> str:
        """Where the keys are, for a process of our own; may be a secret."""
        return self._keys.place

    def newest(self) -> Lock:
        """What encrypts a snapshot that is written now.

        Raises:
            EncryptionKeyError: there is no key.
        """
        self._keys.fetch()
        return Lock(self._keys.newest(), None)

    def key_names(self) -> tuple[str, ...]:
        """Of all keys, hex, the newest first.

        Raises:
            EncryptionKeyError: there is no key.
        """
        self._keys.fetch()
        return tuple(each.name.hex() for each in self._keys.all())

    def lock_of(self, folder: Path, manifest: Mapping[str, Any]) -> Lock:
        """What decrypts a snapshot, whose manifest is authentic by it.

        Args:
            folder: names the snapshot in errors.
            manifest: of the right format, version and digest, of an encrypted snapshot.

        Raises:
            SnapshotLockedError: the key is not here, or none can be read.
            SnapshotError: the manifest was made without the key.
        """
        name = key_name(folder, manifest)
        assert name
        try:
            self._keys.fetch()
            key = self._keys.find(bytes.fromhex(name))
        except EncryptionKeyError as error:
            raise SnapshotLockedError(f"snapshot {folder.name}: is encrypted: {error}") from None
        if key is None:
            raise SnapshotLockedError(
                f"snapshot {folder.name}: is encrypted with key {_shown(name)}, which is not "
                "here: put it behind the newer ones in encryption_keys; if it is lost, "
                "`hashwarden index build --full` builds anew, where the catalog is"
            )
        lock = Lock(key, self._shared)
        if not hmac.compare_digest(lock.mark(manifest), manifest[ENCRYPTION]["mac"]):
            raise refuse(folder, MANIFEST_FILE, "is not authentic: it was made without the key")
        return lock


@dataclass(frozen=True, slots=True)
class Lock:
    """One key of one snapshot."""

    _key: Key
    _shared: SharedMemory | None

    @property
    def name(self) -> str:
        """Of the key, hex."""
        return self._key.name.hex()

    def mark(self, body: Mapping[str, Any]) -> str:
        """What authenticates a manifest; its own digest and an earlier mark do not count."""
        told = {key: value for key, value in body.items() if key != "sha256"}
        told[ENCRYPTION] = {"key": self.name}
        key = self._key.derived(_MANIFESTS)
        return hmac.digest(key, json_bytes(MANIFEST_FILE, told), "sha256").hex()

    def encrypt(self, pieces: Iterable[memoryview]) -> Iterator[memoryview]:
        """The encrypted file of some content."""
        return map(memoryview, stream.encrypt(pieces, self._key, SNAPSHOT_FILE))

    def document(self, folder: Path, file: int, record: FileRecord) -> bytes:
        """Decrypts a small file.

        Raises:
            SnapshotError: it is damaged, or was altered.
        """
        content = io.BytesIO()
        self._decrypt(folder, file, record, content.write)
        return content.getvalue()

    def array(self, folder: Path, file: int, record: ArrayRecord) -> AnyArray:
        """The array of an open file, read-only, in sealed memory.

        Raises:
            SnapshotError: it is damaged, or was altered; or there is no memory for it.
        """
        nbytes = record.nbytes
        shared = None
        if self._shared is not None and nbytes:
            shared = self._shared.find(folder.name, record.content)
        if shared is not None and not _is_sealed(shared, nbytes):
            os.close(shared)
            shared = None
        memory = self.memory(folder, file, record.content, nbytes) if shared is None else shared
        try:
            return map_memory(memory, record.dtype, record.shape)
        except OSError as error:
            raise refuse(folder, record.content.file, describe(error)) from error
        finally:
            os.close(memory)

    def memory(self, folder: Path, file: int, record: FileRecord, nbytes: int) -> int:
        """Decrypts an open file into sealed memory; gives its descriptor, to be closed.

        Args:
            folder: names the snapshot in errors.
            file: descriptor of the file.
            record: what the manifest says of it.
            nbytes: how long its content is.

        Raises:
            SnapshotError: as `array`.
        """
        try:
            memory = os.memfd_create("hashwarden-snapshot", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            try:
                self._fill(memory, folder, file, record, nbytes)
                fcntl.fcntl(memory, fcntl.F_ADD_SEALS, SEALS)
            except BaseException:
                os.close(memory)
                raise
        except OSError as error:
            raise refuse(
                folder, record.file, f"cannot be decrypted into memory ({error.strerror})"
            ) from error
        return memory

    def _fill(self, memory: int, folder: Path, file: int, record: FileRecord, nbytes: int) -> None:
        if not nbytes:
            self._decrypt(folder, file, record, lambda _: None)
            return
        # Reserved first: memory that is not there ends this with an error rather than a signal.
        os.posix_fallocate(memory, 0, nbytes)
        with mmap.mmap(memory, nbytes) as target:
            self._decrypt(folder, file, record, target.write)

    def _decrypt(
        self, folder: Path, file: int, record: FileRecord, write: Callable[[bytes], object]
    ) -> None:
        digest = hashlib.sha256()
        with os.fdopen(file, "rb", closefd=False) as content:

            def read(nbytes: int) -> bytes:
                piece = content.read(nbytes)
                digest.update(piece)
                return piece

            try:
                for text in stream.decrypt(read, self._find, SNAPSHOT_FILE):
                    write(text)
            except (EncryptedFileError, EncryptionKeyError) as error:
                raise refuse(folder, record.file, str(error)) from None
            except ValueError as error:  # more than there is room for
                raise refuse(folder, record.file, "is longer than its array") from error
        if digest.hexdigest() != record.sha256:
            raise refuse(folder, record.file, "is damaged: its digest differs from the manifest's")

    def _find(self, name: bytes) -> Key | None:
        return self._key if name == self._key.name else None


def lock_of(vault: Vault | None, folder: Path, manifest: Mapping[str, Any]) -> Lock | None:
    """What decrypts a snapshot; None for one in clear.

    Raises:
        SnapshotLockedError: it is encrypted, and there is no key.
        SnapshotError: its manifest is malformed, or not authentic.
    """
    name = key_name(folder, manifest)
    if not name:
        return None
    if vault is None:
        raise SnapshotLockedError(
            f"snapshot {folder.name}: is encrypted with key {_shown(name)}, and no keys are "
            "set: name them in encryption_keys"
        )
    return vault.lock_of(folder, manifest)


def _shown(name: str) -> str:
    return shown(bytes.fromhex(name))


def _is_sealed(memory: int, nbytes: int) -> bool:
    try:
        sealed = fcntl.fcntl(memory, fcntl.F_GET_SEALS)
    except OSError:
        return False
    return sealed & SEALS == SEALS and os.fstat(memory).st_size == nbytes


__all__ = ["Lock", "SharedMemory", "Vault", "lock_of"]
