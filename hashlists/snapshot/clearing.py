"""Deletes from a store what no published snapshot uses any more.

Kept are the published snapshot and the one before it, and for a grace time those that they took the
place of, so that a replica that is pulling one can end. A snapshot's grace begins when the second
one after it is published. What was published before a purge has no grace, and what its manifests
name goes with them, so that a clearing that broke off is made good by the next. All times are the
store's own, so that no two clocks are compared.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.errors import SnapshotError
from hashlists.snapshot.contents import contents
from hashlists.snapshot.manifest import MAX_MANIFEST_BYTES, SHA256_HEX, parse_manifest
from hashlists.snapshot.objects import CURRENT, MANIFESTS, OBJECTS
from hashlists.snapshot.signing import MANIFEST_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from hashlists.snapshot.objects import Listed, Objects
    from hashlists.snapshot.signing import Publication

_SUFFIX = ".json"


def clear(
    objects: Objects,
    publication: Publication,
    *,
    listed: Mapping[str, Listed],
    used: frozenset[str],
    grace_seconds: float,
) -> int:
    """Deletes manifests and objects that are of no more use.

    Args:
        objects: the store, in which `publication` is current.
        publication: what is published.
        listed: the store's objects by digest, listed after it was published.
        used: digests of the objects that it uses.
        grace_seconds: how long what was published earlier stays; 0 for not at all.

    Returns:
        How many objects and manifests were deleted.

    Raises:
        SnapshotStoreError: the store is away or refuses.
    """
    now = objects.modified(CURRENT)
    grace = timedelta(seconds=grace_seconds)
    manifests = {
        name.removesuffix(_SUFFIX): each
        for name, each in objects.list(MANIFESTS).items()
        if name.endswith(_SUFFIX) and MANIFEST_NAME.fullmatch(name.removesuffix(_SUFFIX))
    }
    erased = {name for name in manifests if _sequence_of(name) < publication.erases_before}
    kept = {publication.manifest_name, publication.previous}
    kept |= _in_grace(manifests, now, grace) - erased
    needed = used.union(*(_objects_of(objects, name) for name in manifests if name in kept))
    doomed = set[str]().union(*(_objects_of(objects, name) for name in erased))
    stale = [
        f"{OBJECTS}/{digest}"
        for digest, each in listed.items()
        if SHA256_HEX.fullmatch(digest)
        and digest not in needed
        # Without grace no times are compared: some stores tell them to the second only.
        and (not grace or digest in doomed or now - each.modified >= grace)
    ]
    # Manifests last: they tell the next clearing what this one may have left.
    stale += [f"{MANIFESTS}/{name}{_SUFFIX}" for name in sorted(manifests.keys() - kept)]
    objects.delete(stale)
    objects.delete_unfinished(before=now - grace)
    return len(stale)


def _in_grace(manifests: Mapping[str, Listed], now: datetime, grace: timedelta) -> set[str]:
    """The manifests of which the second one after was published less than `grace` ago."""
    order = sorted(manifests)  # by sequence
    kept = set(order[-2:])
    kept.update(
        name
        for name, successor in zip(order[:-2], order[2:], strict=True)
        if now - manifests[successor].modified < grace
    )
    return kept if grace else set()


def _sequence_of(manifest_name: str) -> int:
    return int(manifest_name.partition("-")[0])


def _objects_of(objects: Objects, manifest_name: str) -> set[str]:
    """What a manifest of the store uses; nothing where it cannot be read as one."""
    data = objects.read(f"{MANIFESTS}/{manifest_name}{_SUFFIX}", MAX_MANIFEST_BYTES).content
    if data is None:
        return set()
    folder = Path(manifest_name)
    try:
        records = contents(folder, parse_manifest(folder, data)).values()
    except SnapshotError:
        return set()
    return {record.sha256 for record in records}


__all__ = ["clear"]
