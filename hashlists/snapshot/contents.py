"""The files of a snapshot by what they are, as push and pull move them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hashlists.snapshot.manifest import ArrayRecord, FileRecord, key_name, section

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def contents(folder: Path, manifest: Mapping[str, Any]) -> dict[str, FileRecord]:
    """Every file that a manifest names, by its role, e.g. `array base.pdq.codes`.

    Args:
        folder: names the snapshot in errors.
        manifest: of the right format, version and digest.

    Raises:
        SnapshotError: a record is malformed.
    """
    encrypted = bool(key_name(folder, manifest))
    arrays = {
        f"array {name}": ArrayRecord.parse(folder, name, record, encrypted=encrypted).content
        for name, record in section(folder, manifest, "arrays").items()
    }
    documents = {
        f"document {name}": FileRecord.parse(folder, name, record, suffix=".json")
        for name, record in section(folder, manifest, "documents").items()
    }
    return {**arrays, **documents}


__all__ = ["contents"]
