"""Encrypted snapshots are decrypted once for all server processes of a machine, by the supervisor.

Each process has one end of a pair of sockets, which it got when it was started and which nobody
else can open. It asks for a file of a snapshot, and gets a descriptor of the sealed memory that the
supervisor has decrypted it into: the same pages for all. Where it gets none, whatever the reason,
it decrypts the file itself, which tells what is wrong, if anything is.

The supervisor opens only files that the manifest of a snapshot names and the key authenticates.
It holds the memory of the snapshot that was asked for last; that of earlier ones is given back once
the last process that maps it has let go.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashlists.errors import HashlistsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hashlists.snapshot.manifest import ArrayRecord, FileRecord
    from hashlists.snapshot.vault import Lock, Vault
    from matcher.settings import Settings

#: For the supervisor to decrypt one file; gigabytes take seconds.
_ANSWER_SECONDS = 120.0
_MAX_MESSAGE_BYTES = 1024


class Broker:
    """Decrypts for the server processes. For any thread; one file at a time.

    Args:
        settings: name the folder of snapshots and the keys.
    """

    def __init__(self, settings: Settings) -> None:
        self._lock = threading.Lock()
        self._known: _Known | None = None
        self._memories: dict[str, int] = {}
        self._root, self._vault = _places(settings)

    def use(self, settings: Settings) -> None:
        """From now on other settings count."""
        with self._lock:
            self._root, self._vault = _places(settings)
            self._known = None

    def connect(self) -> socket.socket:
        """A process's end of a new connection; the caller closes it once the process has it.

        Raises:
            OSError: there are too many descriptors.
        """
        own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        serving = threading.Thread(
            target=self._serve, args=(own,), name="shared-memory", daemon=True
        )
        serving.start()
        return theirs

    @property
    def nbytes(self) -> int:
        """Of the memory that is held."""
        with self._lock:
            return sum(os.fstat(each).st_size for each in self._memories.values())

    def close(self) -> None:
        """Lets go of all memory."""
        with self._lock:
            self._known = None
            self._forget(frozenset())

    def _serve(self, own: socket.socket) -> None:
        """Answers one process until it ends."""
        with own, contextlib.suppress(OSError):
            while message := own.recv(_MAX_MESSAGE_BYTES):
                self._answer(own, message)

    def _answer(self, own: socket.socket, message: bytes) -> None:
        with self._lock:
            try:
                asked = json.loads(message)
                digest, memory = self._find(str(asked["snapshot"]), str(asked["file"]))
            except (HashlistsError, OSError, ValueError, KeyError, TypeError):
                own.send(b"-")  # it finds out for itself, and tells
            else:
                socket.send_fds(own, [digest.encode()], [memory])

    def _find(self, snapshot: str, file: str) -> tuple[str, int]:
        """Digest of a file and the descriptor of its memory, which stays the broker's."""
        from hashlists.snapshot.files import open_folder, regular_file  # noqa: PLC0415  numpy

        if self._known is None or self._known.folder.name != snapshot:
            if self._vault is None:
                raise ValueError("there are no keys")
            self._known = _Known.read(self._root, snapshot, self._vault)
            self._forget(self._known.digests)
        known = self._known
        record = known.records[file]
        digest = record.content.sha256
        if digest not in self._memories:
            handle = open_folder(known.folder)
            try:
                with regular_file(known.folder, handle, file) as descriptor:
                    self._memories[digest] = known.lock.memory(
                        known.folder, descriptor, record.content, record.nbytes
                    )
            finally:
                os.close(handle)
        return digest, self._memories[digest]

    def _forget(self, kept: frozenset[str]) -> None:
        for digest in self._memories.keys() - kept:
            os.close(self._memories.pop(digest))


@dataclass(frozen=True, slots=True)
class _Known:
    """A snapshot by its manifest, which the key authenticates."""

    folder: Path
    lock: Lock
    records: Mapping[str, ArrayRecord]

    @classmethod
    def read(cls, root: Path, name: str, vault: Vault) -> _Known:
        from hashlists.snapshot.files import open_folder  # noqa: PLC0415  brings numpy
        from hashlists.snapshot.manifest import (  # noqa: PLC0415  as above
            FOLDER_NAME,
            ArrayRecord,
            key_name,
            read_manifest,
            section,
        )

        folder = root / name
        if not FOLDER_NAME.fullmatch(name):
            raise ValueError("it is no snapshot that is asked for")
        handle = open_folder(folder)
        try:
            manifest = read_manifest(folder, handle)
        finally:
            os.close(handle)
        if not key_name(folder, manifest):
            raise ValueError("it is not encrypted")
        arrays = section(folder, manifest, "arrays").items()
        parsed = [ArrayRecord.parse(folder, name, each, encrypted=True) for name, each in arrays]
        records = {each.content.file: each for each in parsed}
        return cls(folder, vault.lock_of(folder, manifest), records)

    @property
    def digests(self) -> frozenset[str]:
        """Of its arrays' files."""
        return frozenset(each.content.sha256 for each in self.records.values())


class SupervisorMemory:
    """What the supervisor has decrypted, as a server process asks for it. For any thread.

    Args:
        descriptor: of the socket that the process was started with; belongs to this from now on.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket: socket.socket | None = socket.socket(fileno=descriptor)
        self._socket.settimeout(_ANSWER_SECONDS)
        self._socket.set_inheritable(False)
        self._lock = threading.Lock()

    def find(self, snapshot: str, record: FileRecord) -> int | None:
        """See `hashlists.snapshot.vault.SharedMemory`."""
        with self._lock:
            if self._socket is None:
                return None
            try:
                answer, memories = self._ask(self._socket, snapshot, record.file)
            except OSError:  # it is gone or too slow: a late answer must not be taken for another's
                self._socket.close()
                self._socket = None
                return None
        if answer == record.sha256.encode() and len(memories) == 1:
            return memories[0]
        for each in memories:
            os.close(each)
        return None

    @staticmethod
    def _ask(asking: socket.socket, snapshot: str, file: str) -> tuple[bytes, list[int]]:
        asking.send(json.dumps({"snapshot": snapshot, "file": file}).encode())
        answer, memories, _, _ = socket.recv_fds(
            asking, _MAX_MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC
        )
        if not answer:
            raise ConnectionError("the supervisor is gone")
        return answer, list(memories)


def _places(settings: Settings) -> tuple[Path, Any]:
    from matcher.follow.vaults import make_vault  # noqa: PLC0415  brings cryptography

    return settings.snapshots_dir, make_vault(settings.encryption_keys)


__all__ = ["Broker", "SupervisorMemory"]
