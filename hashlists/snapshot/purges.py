"""Whether a snapshot may stay beside a newer one: not once something was purged between the two.

Nor may one in clear beside one that is encrypted, lest what is encrypted now stay readable.

A manifest states, among its parameters, the catalog (`catalog_id`) and the mark of the last purge
before the snapshot was built (`purge_mark`, empty for none). What a snapshot holds was in force at
its revision, so none holds what was purged by then; and of two that state the same, neither holds
what was purged before the other. Of any other two that cannot be said. The rule needs no memory of
who built or published what, so that nothing which broke off makes it forget.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from hashlists.snapshot.files import json_bytes
from hashlists.snapshot.manifest import ENCRYPTION, MANIFEST_FILE, readable_manifest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def purge_state(manifest: Mapping[str, Any]) -> str:
    """Names the purges that a snapshot was built after.

    Args:
        manifest: of the right format, version and digest.

    Returns:
        SHA-256, hex, of what the manifest states.
    """
    parameters = manifest.get("parameters")
    stated = parameters if isinstance(parameters, dict) else {}
    state = [stated.get(name, "") for name in ("catalog_id", "purge_mark")]
    return hashlib.sha256(json_bytes(MANIFEST_FILE, state)).hexdigest()


def may_stay(previous: Path, current: Path) -> bool:
    """Whether the snapshot before the current one holds nothing that was purged between them.

    Only manifests are read. Where the current one cannot be read, the previous one may: the
    snapshot that takes the current one's place decides over both.

    Args:
        previous: its folder.
        current: the current one's folder.
    """
    now, before = readable_manifest(current), readable_manifest(previous)
    if now is None:
        return True
    if before is None or (ENCRYPTION in now and ENCRYPTION not in before):
        return False
    return purge_state(before) == purge_state(now)


__all__ = ["may_stay", "purge_state"]
