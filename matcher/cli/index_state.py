"""What `hashwarden index status` and `build` tell of the snapshots on this machine.

Reads the pointer, the manifest and one small document, and looks at the sizes of files: it takes
no longer at ten million entries. That every byte is right is for `index verify` and for whoever
opens a snapshot.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hashlists.errors import SnapshotError
from hashlists.snapshot.manifest import MANIFEST_FILE, FileRecord, key_name, parse_manifest
from hashlists.snapshot.pointer import read_pointer
from hashlists.snapshot.writer import WRITING
from matcher.follow.lineage import still_stands
from matcher.follow.lock import is_build_locked
from matcher.index.documents import INDEX, SegmentInfo, index_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hashlists.catalog import Catalog
    from hashlists.model import HashKind
    from hashlists.snapshot.vault import Vault

#: The problem where there is nothing to look at.
NO_SNAPSHOT = "no snapshot was built yet"


@dataclass(frozen=True, slots=True)
class SnapshotState:
    """A snapshot as its manifest tells of it.

    Attributes:
        name: its folder's.
        revision: the catalog revision that it shows.
        created_at: ISO 8601, UTC.
        nbytes: of all its files; those that it shares with another snapshot count in both.
        parameters: the manifest's, e.g. the catalog's id.
        segments: `base` and maybe `recent`.
        kind_bytes: by segment and kind the bytes of the arrays in which its codes are kept, found,
            and lead to entries.
    """

    name: str
    revision: int
    created_at: str
    nbytes: int
    parameters: Mapping[str, Any] = field(repr=False)
    segments: Mapping[str, SegmentInfo] = field(repr=False)
    kind_bytes: Mapping[tuple[str, HashKind], int] = field(repr=False)


@dataclass(frozen=True, slots=True)
class CatalogState:
    """What the catalog says of a snapshot.

    Attributes:
        revision: the newest.
        waiting: entries that changed after the snapshot, at most; None where it is of another
            history.
        same_history: the snapshot is of this catalog, and its revision is still the same commit.
        wipe_owed: a purge has left traces in the database's files.
    """

    revision: int
    waiting: int | None
    same_history: bool
    wipe_owed: bool


@dataclass(frozen=True, slots=True)
class IndexState:
    """What lies in the folder of snapshots.

    Attributes:
        current: the published snapshot; None where there is none or it cannot be used.
        problem: why it cannot be used; empty where it can.
        previous: the one before it, where it is still there.
        unfinished: folders of builds that are under way or were killed, with their bytes.
        building: some process builds just now.
    """

    current: SnapshotState | None
    problem: str
    previous: SnapshotState | None
    unfinished: Mapping[str, int]
    building: bool


def read_state(root: Path, vault: Vault | None = None) -> IndexState:
    """Looks at a folder of snapshots; changes nothing. `vault`: the keys of encrypted ones."""
    current, previous, problem = None, None, ""
    try:
        pointer = read_pointer(root)
        if pointer is None:
            problem = NO_SNAPSHOT
        else:
            current = read_snapshot(
                root / pointer.snapshot, sha256=pointer.manifest_sha256, vault=vault
            )
            previous = _readable(root / pointer.previous, vault) if pointer.previous else None
    except SnapshotError as error:
        problem = str(error)
    return IndexState(current, problem, previous, _unfinished(root), _is_building(root))


def read_snapshot(
    folder: Path, *, sha256: str | None = None, vault: Vault | None = None
) -> SnapshotState:
    """Reads what a snapshot says of itself.

    Args:
        folder: the snapshot.
        sha256: the digest that its manifest must have; None for any.
        vault: the keys of encrypted snapshots.

    Raises:
        SnapshotError: it is not whole as far as sizes tell, or of another build.
    """
    try:
        manifest = parse_manifest(folder, (folder / MANIFEST_FILE).read_bytes())
        if sha256 is not None and manifest["sha256"] != sha256:
            raise SnapshotError(f"snapshot {folder.name} is not the one that was published")
        files = {**manifest["arrays"], **manifest["documents"]}
        for record in files.values():
            if (folder / record["file"]).stat().st_size != record["bytes"]:
                raise SnapshotError(f"snapshot {folder.name}: file {record['file']} is cut off")
        segments = _segments(folder, manifest, vault)
    except OSError as error:
        raise SnapshotError(f"snapshot {folder.name}: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SnapshotError(
            f"snapshot {folder.name}: not an index this build can use: {error}"
        ) from error
    return SnapshotState(
        name=folder.name,
        revision=manifest["revision"],
        created_at=manifest["created_at"],
        nbytes=sum(record["bytes"] for record in files.values()),
        parameters=manifest["parameters"],
        segments=segments,
        kind_bytes={
            (name, kind): _bytes_of(manifest, f"{name}.{kind}.")
            for name, segment in segments.items()
            for kind in segment.kinds
        },
    )


def _segments(
    folder: Path, manifest: Mapping[str, Any], vault: Vault | None
) -> dict[str, SegmentInfo]:
    record = manifest["documents"][INDEX]
    if key_name(folder, manifest):
        from hashlists.snapshot.vault import lock_of  # noqa: PLC0415  brings cryptography

        lock = lock_of(vault, folder, manifest)
        assert lock is not None
        parsed = FileRecord.parse(folder, INDEX, record, suffix=".json")
        with (folder / parsed.file).open("rb") as stream:
            return index_from_json(json.loads(lock.document(folder, stream.fileno(), parsed)))
    data = (folder / record["file"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != record["sha256"]:
        raise SnapshotError(f"snapshot {folder.name}: file {record['file']} is damaged")
    return index_from_json(json.loads(data))


def _bytes_of(manifest: Mapping[str, Any], prefix: str) -> int:
    arrays = manifest["arrays"].items()
    return sum(record["bytes"] for name, record in arrays if name.startswith(prefix))


def _readable(folder: Path, vault: Vault | None) -> SnapshotState | None:
    try:
        return read_snapshot(folder, vault=vault)
    except SnapshotError:
        return None


def _unfinished(root: Path) -> dict[str, int]:
    if not root.is_dir():
        return {}
    return {
        folder.name: sum(file.stat().st_size for file in folder.glob("*"))
        for folder in sorted(root.glob(f"{WRITING}*"))
    }


def _is_building(root: Path) -> bool:
    try:
        return is_build_locked(root)
    except OSError:  # a folder that may only be read
        return False


def ask_catalog(catalog: Catalog, snapshot: SnapshotState) -> CatalogState:
    """What the catalog says of a snapshot.

    Raises:
        CatalogError: it cannot be read.
    """
    parameters = snapshot.parameters
    wipe_owed = catalog.wipe_owed
    with catalog.read() as reader:
        same = parameters.get("catalog_id") == reader.catalog_id and still_stands(
            snapshot.revision, str(parameters.get("revision_mark")), reader
        )
        waiting = reader.changed_count(snapshot.revision) if same else None
        return CatalogState(reader.revision, waiting, same, wipe_owed)
