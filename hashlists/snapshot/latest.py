"""What a store shows as published, looked at and not pulled.

Nothing is fetched but one small signed object and the manifest that it names, and nothing on disk
is read or changed but keys.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from hashlists.errors import SnapshotError, SnapshotStoreError
from hashlists.snapshot.manifest import parse_manifest
from hashlists.snapshot.objects import CURRENT, MANIFESTS, Objects, StoreOptions
from hashlists.snapshot.signing import (
    MAX_ENVELOPE_BYTES,
    Publication,
    load_signing_key,
    load_verify_keys,
    verify,
)

#: For somebody who waits for the answer.
HASTY = StoreOptions(connect_seconds=5.0, request_seconds=10.0, retries=1, retry_seconds=10.0)


def latest_publication(
    url: str,
    *,
    signing_key: Path | None = None,
    verify_key: Path | None = None,
    options: StoreOptions = HASTY,
) -> Publication | None:
    """The newest publication of a store; None where nothing was published there.

    Args:
        url: the store, see `hashlists.snapshot.objects`.
        signing_key: file of the private key that must have signed, at a builder.
        verify_key: file of the public keys any of which must have, at a replica.
        options: patience with the store.

    Raises:
        SnapshotKeyError: a key file cannot be used.
        SnapshotStoreError: the store is away or refuses.
        SnapshotError: what is published was signed by nobody who counts, or cannot be read.
    """
    keys = [] if signing_key is None else [load_signing_key(signing_key).public_key()]
    if verify_key is not None:
        keys += load_verify_keys(verify_key)
    seen = Objects(url, options).read(CURRENT, MAX_ENVELOPE_BYTES)
    return None if seen.content is None else verify(seen.content, keys)


def manifest_of(objects: Objects, publication: Publication) -> dict[str, Any]:
    """The manifest that a publication names, whose signature was verified.

    Raises:
        SnapshotStoreError: the store is away, or no longer has it.
        SnapshotError: it is another one, malformed, or of another version.
    """
    name = f"{MANIFESTS}/{publication.manifest_name}.json"
    data = objects.read(name, publication.manifest_bytes).content
    if data is None:
        raise SnapshotStoreError(
            f"{objects.url}: the manifest of what is published is missing; it may just"
            " have been replaced by a newer snapshot"
        )
    if hashlib.sha256(data).hexdigest() != publication.manifest_sha256:
        raise SnapshotError(
            f"{objects.url}: the manifest is damaged or foreign: its digest differs from"
            " the signed one"
        )
    manifest = parse_manifest(Path(publication.snapshot), data)
    if manifest["revision"] != publication.revision:
        raise SnapshotError("what is published and its manifest name different revisions")
    return manifest


__all__ = ["HASTY", "latest_publication", "manifest_of"]
