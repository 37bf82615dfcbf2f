"""Publishes a snapshot to a store from which other machines pull it.

Every array and document becomes an object named by its digest, written only where it is missing, so
that what two snapshots share is stored and moved once. The order is objects, manifest, `current`: a
replica never sees a snapshot that is not there whole. `current` is one signed object, replaced in
one step and only where nobody else replaced it meanwhile.

A store stays with one catalog, too: what was made of another one than what it shows is refused,
lest replicas follow a new catalog that took the place of a lost one (`hashlists.snapshot.origin`).

Afterwards what is of no more use is deleted (`hashlists.snapshot.clearing`).
"""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.errors import HashlistsError, SnapshotError, SnapshotStoreError
from hashlists.snapshot.clearing import clear
from hashlists.snapshot.contents import contents
from hashlists.snapshot.files import describe, open_folder, refuse
from hashlists.snapshot.manifest import (
    manifest_bytes,
    parse_manifest,
    read_manifest,
    revision_of,
)
from hashlists.snapshot.objects import CURRENT, MANIFESTS, OBJECTS, Objects, Seen, StoreOptions
from hashlists.snapshot.origin import require_same, stated_catalog
from hashlists.snapshot.purges import purge_state
from hashlists.snapshot.signing import (
    MAX_ENVELOPE_BYTES,
    Publication,
    load_signing_key,
    sign,
    verify,
)
from hashlists.snapshot.transfers import Stop, run_together

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from hashlists.snapshot.manifest import FileRecord
    from hashlists.snapshot.objects import Listed

GRACE_SECONDS = 3600.0
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a publication did.

    Attributes:
        name: the snapshot's.
        revision: the catalog revision it was built from.
        sequence: the publication's number.
        uploaded_bytes: of arrays and documents that the store did not have.
        present_bytes: of those that it had.
        deleted_objects: objects and manifests that were of no more use.
        problem: why what is of no more use is still there; empty when it is not.
    """

    name: str
    revision: int
    sequence: int
    uploaded_bytes: int
    present_bytes: int
    deleted_objects: int
    problem: str = ""


def push(
    snapshot_path: Path,
    url: str,
    *,
    signing_key: Path,
    grace_seconds: float = GRACE_SECONDS,
    options: StoreOptions | None = None,
) -> PushResult:
    """Publishes a snapshot to a store.

    Publishing the same one again is cheap, replaces what is missing in the store, and gives it a
    new number and time.

    Args:
        snapshot_path: the folder of a published local snapshot.
        url: the store, see `hashlists.snapshot.objects`.
        signing_key: file of the Ed25519 private key (PEM).
        grace_seconds: how long what is no longer published stays, for replicas that are pulling it.
            What may hold what was purged since has no grace.
        options: patience with the store.

    Raises:
        OtherCatalogError: the store shows what was made of another catalog.
        SnapshotError: the snapshot is damaged.
        SnapshotStoreError: the store is away or refuses; or the snapshot is published and what
            was purged may still be there: publish it again.
        SnapshotConflictError: another builder published meanwhile.
        SnapshotKeyError: the key file cannot be used.
    """
    key = load_signing_key(signing_key)
    objects = Objects(url, options, make=True)
    publisher = _Publisher(Path(snapshot_path), objects, key)
    return publisher.run(grace_seconds=grace_seconds)


class _Publisher:
    """One publication of one snapshot."""

    def __init__(self, folder: Path, objects: Objects, key: Ed25519PrivateKey) -> None:
        self._folder = folder
        self._objects = objects
        self._key = key
        try:
            handle = open_folder(folder)
            try:
                manifest = read_manifest(folder, handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise SnapshotError(f"snapshot {folder.name}: {describe(error)}") from error
        self._revision = revision_of(folder, manifest)
        self._purge_state = purge_state(manifest)
        self._catalog_id = stated_catalog(manifest)
        self._manifest = manifest_bytes(manifest)
        # By digest: equal files are one object. Empty ones need none.
        self._files: Mapping[str, tuple[str, FileRecord]] = {
            record.sha256: (role, record)
            for role, record in contents(folder, manifest).items()
            if record.nbytes
        }

    def run(self, *, grace_seconds: float) -> PushResult:
        seen = self._objects.read(CURRENT, MAX_ENVELOPE_BYTES)
        before = self._before(seen)
        self._require_same_catalog(before)
        uploaded = self._upload_missing(self._objects.list(OBJECTS))
        publication = self._publication(before, seen)
        self._objects.write(f"{MANIFESTS}/{publication.manifest_name}.json", self._manifest)
        self._objects.replace(CURRENT, sign(publication, self._key), seen)
        problem = ""
        deleted = 0
        try:
            deleted = self._clear(publication, grace_seconds)
        except HashlistsError as error:
            if publication.erases_before:
                raise SnapshotStoreError(
                    f"the snapshot is published, but what was purged may still be in the store"
                    f" ({error}); publish it again"
                ) from error
            problem = str(error)
        return PushResult(
            name=publication.snapshot,
            revision=publication.revision,
            sequence=publication.sequence,
            uploaded_bytes=uploaded,
            present_bytes=sum(record.nbytes for _, record in self._files.values()) - uploaded,
            deleted_objects=deleted,
            problem=problem,
        )

    def _before(self, seen: Seen) -> Publication | None:
        """What this builder published before; None for nothing, or for what it did not sign."""
        if seen.content is None:
            return None
        try:
            return verify(seen.content, [self._key.public_key()])
        except SnapshotError:
            return None

    def _require_same_catalog(self, before: Publication | None) -> None:
        if before is None or before.purge_state == self._purge_state:
            return  # nothing to hold to, or the same catalog
        name = f"{MANIFESTS}/{before.manifest_name}.json"
        content = self._objects.read(name, before.manifest_bytes).content
        with suppress(SnapshotError):  # what is damaged or missing is replaced
            manifest = parse_manifest(Path(before.snapshot), content or b"")
            require_same(self._catalog_id, stated_catalog(manifest), "what the store shows")

    def _publication(self, before: Publication | None, seen: Seen) -> Publication:
        # The clock, so that numbers rise even where the store was emptied or the key changed.
        sequence = time.time_ns() // 1_000_000
        previous, erases_before = None, 0
        if before is not None:
            sequence = max(sequence, before.sequence + 1)
        if before is not None and before.purge_state == self._purge_state:
            erases_before = before.erases_before
            again = before.snapshot == self._folder.name
            previous = before.previous if again else before.manifest_name
        elif seen.content is not None:
            erases_before = sequence  # what is there may hold what was purged
        return Publication(
            snapshot=self._folder.name,
            revision=self._revision,
            manifest_bytes=len(self._manifest),
            manifest_sha256=hashlib.sha256(self._manifest).hexdigest(),
            previous=previous,
            sequence=sequence,
            published_at=datetime.now(UTC).isoformat(timespec="seconds"),
            erases_before=erases_before,
            purge_state=self._purge_state,
        )

    def _upload_missing(self, present: Mapping[str, Listed]) -> int:
        """Uploads what a listing of the store lacks; returns how many bytes that were."""
        missing = [
            (role, record)
            for digest, (role, record) in self._files.items()
            if digest not in present or present[digest].nbytes != record.nbytes
        ]
        return run_together(missing, self._upload, workers=self._objects.options.transfers)

    def _upload(self, item: tuple[str, FileRecord], stop: Stop) -> int:
        role, record = item
        path = self._folder / record.file
        self._check(path, record, stop)
        try:
            self._objects.upload(f"{OBJECTS}/{record.sha256}", path, record.nbytes)
        except SnapshotStoreError as error:
            raise type(error)(f"{error} ({role})") from None
        return record.nbytes

    def _check(self, path: Path, record: FileRecord, stop: Stop) -> None:
        """A damaged file is not handed on under the digest of a whole one."""
        digest = hashlib.sha256()
        try:
            with path.open("rb") as stream:
                for chunk in stop.checked(iter(lambda: stream.read(_READ_BYTES), b"")):
                    digest.update(chunk)
        except OSError as error:
            raise refuse(self._folder, record.file, describe(error)) from error
        if digest.hexdigest() != record.sha256:
            raise refuse(
                self._folder, record.file, "is damaged: its digest differs from the manifest's"
            )

    def _clear(self, publication: Publication, grace_seconds: float) -> int:
        listed = self._objects.list(OBJECTS)
        # Another builder's clearing may have crossed with this publication.
        if self._upload_missing(listed):
            listed = self._objects.list(OBJECTS)
        # Where nothing published before counts any more, what no manifest names goes too: a
        # publication that broke off before a purge may have left it.
        if publication.previous is None:
            grace_seconds = 0.0
        return clear(
            self._objects,
            publication,
            listed=listed,
            used=frozenset(self._files),
            grace_seconds=grace_seconds,
        )


__all__ = ["GRACE_SECONDS", "PushResult", "push"]
