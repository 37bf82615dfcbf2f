"""Which catalog the snapshots of a folder are of.

A catalog that is missing is easily replaced by an empty one, and who followed that would match
nothing any more. So a folder of snapshots stays with the catalog that its published snapshot was
made of, told by the catalog's identity (`catalog_id` among a manifest's parameters). Another one is
taken only into a folder that was emptied by hand. A backup that was restored has the identity of
its catalog. Only pointers and manifests are read here; a snapshot of a build that did not state the
identity counts for nothing.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hashlists.errors import OtherCatalogError, SnapshotError
from hashlists.snapshot.manifest import FOLDER_NAME, manifests_below, readable_manifest
from hashlists.snapshot.pointer import POINTER_FILE, readable_pointer

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TOLD = (
    "the catalog is not the one that {what} was made of, so it is not followed: put the right one "
    "in its place, or restore it from a backup; docs/deploy/operating.md tells how to begin anew"
)


def has_snapshots(root: Path) -> bool:
    """Whether anything was ever published in a folder, damaged or not, or nobody can tell."""
    try:
        names = [each.name for each in root.iterdir()]
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(name == POINTER_FILE or FOLDER_NAME.fullmatch(name) for name in names)


def catalog_of(root: Path) -> str:
    """The identity of the catalog whose lists are published in a folder.

    Where the published snapshot does not tell, that of the newest other one there.

    Args:
        root: the folder of snapshots.

    Returns:
        As `CatalogReader.catalog_id`; empty where no snapshot tells.
    """
    if not has_snapshots(root):
        return ""
    manifests = []
    with suppress(SnapshotError):
        if (pointer := readable_pointer(root)) is not None:
            manifests.append(readable_manifest(root / pointer.snapshot))
    with suppress(OSError):
        others = manifests_below(root)
        manifests += [others[name] for name in sorted(others, reverse=True)]
    told = (stated_catalog(each) for each in manifests if each is not None)
    return next(filter(None, told), "")


def stated_catalog(manifest: Mapping[str, Any]) -> str:
    """The identity of the catalog that a manifest states; empty where it states none."""
    parameters = manifest.get("parameters")
    told = parameters.get("catalog_id") if isinstance(parameters, dict) else None
    return told if isinstance(told, str) else ""


def require_same(catalog_id: str, other_id: str, what: str = "the published snapshot") -> None:
    """Refuses a catalog that is not the one that something was made of.

    Args:
        catalog_id: the catalog's identity.
        other_id: that of the one which it should be; empty: any.
        what: was made of that, for the error.

    Raises:
        OtherCatalogError: it is another one.
    """
    if other_id and catalog_id != other_id:
        raise OtherCatalogError(_TOLD.format(what=what))


__all__ = ["catalog_of", "has_snapshots", "require_same", "stated_catalog"]
