"""Pulls the snapshot that a store shows as published, and publishes it locally.

A signature leads to the manifest and the manifest to every file, so that nothing is kept, let alone
made current, that the builder did not sign. What a local snapshot has already is hard-linked, by
its digest; the rest is fetched in parts, digested as it is written. Making it current is the very
step by which a writer publishes: an error or a crash at any moment before leaves the snapshot
before it current, and an unfinished folder that the next sweep removes.

What it does not do: opening. What was pulled is verified on this host when it is opened, like
everything else (`hashlists.snapshot.reader`).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hashlists.errors import SnapshotError, SnapshotStoreError
from hashlists.snapshot.accepted import Accepted
from hashlists.snapshot.contents import contents
from hashlists.snapshot.files import open_folder, read_small
from hashlists.snapshot.latest import manifest_of
from hashlists.snapshot.manifest import (
    MANIFEST_FILE,
    MAX_MANIFEST_BYTES,
    read_manifest,
    revision_of,
)
from hashlists.snapshot.objects import CURRENT, OBJECTS, Objects, StoreOptions
from hashlists.snapshot.origin import catalog_of, require_same, stated_catalog
from hashlists.snapshot.pointer import readable_pointer
from hashlists.snapshot.signing import MAX_ENVELOPE_BYTES, Publication, load_verify_keys, verify
from hashlists.snapshot.sweeping import sweep
from hashlists.snapshot.transfers import Stop, run_together
from hashlists.snapshot.writer import SnapshotWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from typing import TypeAlias

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from hashlists.snapshot.manifest import FileRecord

    Check: TypeAlias = Callable[[Path, Mapping[str, Any]], object]

_LOCK_FILE = ".pull.lock"
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PullResult:
    """What a pull did.

    Attributes:
        name: the local snapshot that holds what is published, as `current_name` gives it.
        published_name: its name at the builder and in the store.
        revision: the catalog revision it was built from.
        sequence: the publication's number.
        published_at: when the builder published it, ISO 8601.
        changed: it was not current here before.
        erase_previous: snapshots beside it hold what was purged since: call
            `sweep(root, keep_previous=False)` once the new one is open. Told until that is done.
        fetched_bytes: from the store.
        linked_bytes: taken from local snapshots.
    """

    name: str
    published_name: str
    revision: int
    sequence: int
    published_at: str
    changed: bool
    erase_previous: bool
    fetched_bytes: int = 0
    linked_bytes: int = 0


class SnapshotReceiver(SnapshotWriter):
    """Receives the files of one published snapshot and makes it current; a context manager.

    It writes as its base does, but the manifest is given: every file must come out as that says.
    `receive` and `link` may be called from several threads, for different files.

    Args:
        root: the folder that holds snapshots; made (0700) if it is missing.
        manifest: whole, and believed: its digest was signed.

    Raises:
        SnapshotError: the manifest is malformed.
        OSError: the folder cannot be made.
    """

    def __init__(self, root: Path, manifest: Mapping[str, Any]) -> None:
        self._given = dict(manifest)
        #: Every file that is to come, by its role.
        self.expected = contents(Path(root), manifest)
        self._missing = set(self.expected)
        super().__init__(root, revision=revision_of(Path(root), manifest))

    def receive(self, role: str, pieces: Iterable[memoryview]) -> None:
        """Writes a file from its pieces.

        Raises:
            SnapshotError: they are not the bytes that the manifest tells of.
            OSError: the file cannot be written.
        """
        record = self.expected[role]
        written = self._write(record.file, pieces)
        if written["bytes"] != record.nbytes or written["sha256"] != record.sha256:
            raise SnapshotError(
                f"the store's object of {role} is damaged or foreign: its digest differs from the"
                " signed manifest's"
            )
        self._missing.discard(role)

    def link(self, role: str, source: Path, *, verified: bool) -> bool:
        """Takes a file over from a local snapshot.

        Args:
            role: of the file.
            source: a file that has the same digest by its own snapshot's manifest.
            verified: read it, and take it only where that is true.

        Returns:
            False where it cannot be linked, or is not what it should be.
        """
        record = self.expected[role]
        target = self._folder / record.file
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise
            return False
        found = target.lstat()
        whole = stat.S_ISREG(found.st_mode) and found.st_size == record.nbytes
        if not whole or (verified and _digest_of(target) != record.sha256):
            target.unlink()
            return False
        self._missing.discard(role)
        return True

    def publish_received(self, *, in_place: bool = False) -> Path:
        """Makes the snapshot the current one, whatever revision is current.

        Args:
            in_place: what is current is of no use: what was before it stays behind this one.

        Raises:
            ValueError: a file was not received.
            SnapshotError, OSError: as `publish`.
        """
        if self._missing:
            raise ValueError(f"{len(self._missing)} files of the snapshot were not received")
        return self.publish({}, allow_older=True, in_place=in_place)

    def _manifest(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The given one, which is written byte for byte as it was signed."""
        return {**self._given, **parameters}


def pull(
    url: str,
    root: Path,
    *,
    verify_key: Path,
    options: StoreOptions | None = None,
    repair: bool = False,
) -> PullResult:
    """Makes what a store shows as published the current snapshot below `root`.

    One process of the machine pulls at a time; another one waits.

    Args:
        url: the store, see `hashlists.snapshot.objects`.
        root: the folder that holds snapshots; made (0700) if it is missing.
        verify_key: file of the Ed25519 public keys (PEM), any of which must have signed.
        options: patience with the store.
        repair: fetch anew even what is current, and read local files before they are taken over:
            for when the current snapshot could not be opened.

    Raises:
        SnapshotStoreError: the store is away, or nothing is published.
        SnapshotSignatureError: none of the keys has signed.
        SnapshotRolledBackError: the store showed a later publication before.
        OtherCatalogError: the store showed what was made of another catalog before.
        SnapshotKeyError: the key file cannot be used.
        SnapshotError: what is published is damaged or of another version, or the disk is full. In
            all cases what was current still is, and nothing half-fetched is left.
    """
    result = try_pull(url, root, verify_key=verify_key, options=options, repair=repair, wait=True)
    assert result is not None  # it waited
    return result


def try_pull(
    url: str,
    root: Path,
    *,
    verify_key: Path,
    options: StoreOptions | None = None,
    repair: bool = False,
    refused: bool = False,
    wait: bool = False,
    stop: Stop | None = None,
    check: Check | None = None,
) -> PullResult | None:
    """Like `pull`, but None where another process is pulling just now, unless told to wait.

    `refused`: what is current cannot be opened, so that what was before it stays
    until something can be. `stop`, once set, ends it with a `SnapshotStoreError` before the next
    part is fetched. `check` raises a `SnapshotError` where what is published could not be opened
    here, by its name and manifest: then nothing of it is fetched, and nothing that is here goes.
    """
    keys = load_verify_keys(verify_key)
    root = Path(root)
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(root, wait=wait) as alone:
            if not alone:
                return None
            pulling = _Pull(Objects(url, options), root, keys, stop, check)
            return pulling.run(repair=repair, refused=refused)
    except OSError as error:
        raise SnapshotError(f"the folder of snapshots cannot be used ({error.strerror})") from error


class _Pull:
    """One pull, under the lock."""

    def __init__(
        self,
        objects: Objects,
        root: Path,
        keys: tuple[Ed25519PublicKey, ...],
        stop: Stop | None,
        check: Check | None,
    ) -> None:
        self._objects = objects
        self._root = root
        self._keys = keys
        self._stop = stop
        self._check = check

    def run(self, *, repair: bool, refused: bool) -> PullResult:
        remembered = Accepted.load(self._root, self._objects.url)
        publication = self._publication()
        accepted = remembered.advanced(publication)
        held = None if repair else self._held(publication)
        changed = held is None
        fetched = linked = 0
        if held is None:
            accepted.save(self._root)  # seen is seen, even if fetching fails
            # Any at the first look at this store, or once told to forget what it showed.
            own = catalog_of(self._root) if remembered.sequence >= 0 else ""
            held, fetched, linked = self._fetch(publication, own, repair=repair, refused=refused)
        holding = accepted.holding(held)
        if holding != remembered:
            holding.save(self._root)
        return PullResult(
            name=held,
            published_name=publication.snapshot,
            revision=publication.revision,
            sequence=publication.sequence,
            published_at=publication.published_at,
            changed=changed,
            erase_previous=holding.must_erase(self._root),
            fetched_bytes=fetched,
            linked_bytes=linked,
        )

    def _publication(self) -> Publication:
        envelope = self._objects.read(CURRENT, MAX_ENVELOPE_BYTES).content
        if envelope is None:
            raise SnapshotStoreError(f"{self._objects.url}: nothing is published there")
        return verify(envelope, self._keys)

    def _held(self, publication: Publication) -> str | None:
        """The current local snapshot, where it has the manifest that is published."""
        pointer = readable_pointer(self._root)
        if pointer is None:
            return None
        folder = self._root / pointer.snapshot
        try:
            with _opened(folder) as handle:
                manifest = read_small(folder, handle, MANIFEST_FILE, MAX_MANIFEST_BYTES)
        except (SnapshotError, OSError):
            return None
        same = hashlib.sha256(manifest).hexdigest() == publication.manifest_sha256
        return pointer.snapshot if same else None

    def _fetch(
        self, publication: Publication, own: str, *, repair: bool, refused: bool
    ) -> tuple[str, int, int]:
        """Fetches and publishes what is of that catalog (empty: of any).

        Returns:
            The local name, bytes fetched and bytes linked.
        """
        manifest = manifest_of(self._objects, publication)
        if self._check is not None:
            self._check(Path(publication.snapshot), manifest)
        require_same(stated_catalog(manifest), own, "what was pulled before")
        # What an earlier pull left that was killed. What is served now may be the previous one.
        sweep(self._root, keep_previous=True)
        sources = self._local_files()
        with SnapshotReceiver(self._root, manifest) as receiver:
            lacking = []
            linked = 0
            for role, record in receiver.expected.items():
                source = sources.get((record.sha256, record.nbytes))
                if source is not None and receiver.link(role, source, verified=repair):
                    linked += record.nbytes
                else:
                    lacking.append((role, record))
            fetched = run_together(
                lacking,
                lambda item, stop: self._receive(receiver, *item, stop),
                workers=self._objects.options.transfers,
                stop=self._stop,
            )
            return receiver.publish_received(in_place=refused).name, fetched, linked

    def _local_files(self) -> dict[tuple[str, int], Path]:
        """Files of local snapshots by digest and size; of a damaged snapshot none."""
        found: dict[tuple[str, int], Path] = {}
        pointer = readable_pointer(self._root)
        names = (pointer.previous, pointer.snapshot) if pointer else ()
        for folder in (self._root / name for name in names if name is not None):
            try:
                with _opened(folder) as handle:
                    records = contents(folder, read_manifest(folder, handle)).values()
            except (SnapshotError, OSError):
                continue
            found.update({(each.sha256, each.nbytes): folder / each.file for each in records})
        return found

    def _receive(
        self, receiver: SnapshotReceiver, role: str, record: FileRecord, stop: Stop
    ) -> int:
        pieces = self._objects.stream(f"{OBJECTS}/{record.sha256}", record.nbytes, role)
        receiver.receive(role, stop.checked(pieces))
        return record.nbytes


@contextmanager
def _alone(root: Path, *, wait: bool) -> Iterator[bool]:
    """Holds the lock of pulling below `root`; False where another process has it."""
    lock = os.open(root / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(lock)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    handle = open_folder(folder)
    try:
        yield handle
    finally:
        os.close(handle)


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_READ_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


__all__ = ["PullResult", "SnapshotReceiver", "pull", "try_pull"]
