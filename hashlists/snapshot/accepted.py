"""What a replica has accepted from its store, so that an older publication is noticed.

A signature does not age: whoever can write to a store could put back an older publication, and so
make entries vanish that were added since. So the highest sequence number seen is kept in a small
file beside the pointer, and a lower one is refused. The same file tells which local snapshots were
published before a purge and are not to be kept.

The file belongs to one store: pulling from another URL starts afresh.
"""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from hashlists.errors import SnapshotError, SnapshotRolledBackError
from hashlists.snapshot.files import (
    describe,
    json_bytes,
    new_file,
    open_folder,
    read_small,
    sync_folder,
)
from hashlists.snapshot.manifest import FOLDER_NAME, is_count, is_match
from hashlists.snapshot.pointer import POINTER_TEMPORARY, current_name

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hashlists.snapshot.signing import Publication

ACCEPTED_FILE = "accepted.json"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Accepted:
    """The memory of one replica for one store.

    Attributes:
        url: the store.
        sequence: the highest sequence number seen; -1 before the first.
        manifest_sha256: the manifest of the publication that had it.
        erases_before: as in `Publication`, of the same.
        snapshots: local snapshots, and the sequence number under which each was published.
    """

    url: str
    sequence: int = -1
    manifest_sha256: str = ""
    erases_before: int = 0
    snapshots: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def load(cls, root: Path, url: str) -> Accepted:
        """Reads the memory below a folder of snapshots; a fresh one where there is none for `url`.

        Raises:
            SnapshotError: the file is there and cannot be read.
        """
        body = _read(root)
        if body is None or body["url"] != url:
            return cls(url)
        return cls(**body)

    def advanced(self, publication: Publication) -> Accepted:
        """The memory after a publication was seen.

        Raises:
            SnapshotRolledBackError: a later one was seen before.
        """
        again = publication.sequence == self.sequence
        if publication.sequence < self.sequence or (
            again and publication.manifest_sha256 != self.manifest_sha256
        ):
            raise SnapshotRolledBackError(
                f"{self.url}: shows publication {publication.sequence}, but {self.sequence} was"
                " seen before: the store was rolled back, or somebody put an old publication"
                f" back; publish again from the builder (or, if that is meant, remove"
                f" {ACCEPTED_FILE} from the folder of snapshots)"
            )
        return replace(
            self,
            sequence=publication.sequence,
            manifest_sha256=publication.manifest_sha256,
            erases_before=publication.erases_before,
        )

    def holding(self, name: str) -> Accepted:
        """The memory once a local snapshot holds what was last seen."""
        return replace(self, snapshots={**self.snapshots, name: self.sequence})

    def must_erase(self, root: Path) -> bool:
        """Whether a snapshot below `root` beside the current one holds what was purged since.

        Raises:
            SnapshotError: the pointer is damaged.
        """
        if not self.erases_before:
            return False
        current = current_name(root)
        return any(
            name != current and self.snapshots.get(name, -1) < self.erases_before
            for name in _snapshots_below(root)
        )

    def save(self, root: Path) -> None:
        """Writes the memory, whole or not at all; snapshots that are gone are forgotten.

        Raises:
            OSError: it cannot be written; what was there before is still there.
        """
        present = _snapshots_below(root)
        kept = {name: number for name, number in self.snapshots.items() if name in present}
        body = json_bytes(ACCEPTED_FILE, asdict(replace(self, snapshots=kept))) + b"\n"
        # Named like the pointer's own, so that a sweep removes what a crash leaves.
        temporary = root / f"{POINTER_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with new_file(temporary) as stream:
                stream.write(body)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, root / ACCEPTED_FILE)  # noqa: PTH105  # the fault tests fail it
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(root)


def _read(root: Path) -> dict[str, Any] | None:
    try:
        handle = open_folder(root)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SnapshotError(f"the folder of snapshots {describe(error)}") from error
    try:
        if ACCEPTED_FILE not in os.listdir(handle):  # noqa: PTH208  # the folder that was opened
            return None
        data = read_small(root, handle, ACCEPTED_FILE, _MAX_BYTES)
    finally:
        os.close(handle)
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = None
    if not _is_well_formed(body):
        raise SnapshotError(
            f"the folder of snapshots: file {ACCEPTED_FILE} is damaged; it tells an old publication"
            " from a new one: see that the store shows the newest, then remove the file"
        )
    return dict(body)


def _is_well_formed(body: Any) -> bool:
    return (
        isinstance(body, dict)
        and set(body) == {each.name for each in fields(Accepted)}
        and isinstance(body["url"], str)
        and isinstance(body["manifest_sha256"], str)
        and is_count(body["sequence"])
        and is_count(body["erases_before"])
        and isinstance(body["snapshots"], dict)
        and all(
            is_match(FOLDER_NAME, name) and is_count(number)
            for name, number in body["snapshots"].items()
        )
    )


def _snapshots_below(root: Path) -> frozenset[str]:
    return frozenset(name for name in os.listdir(root) if FOLDER_NAME.fullmatch(name))  # noqa: PTH208


__all__ = ["ACCEPTED_FILE", "Accepted"]
