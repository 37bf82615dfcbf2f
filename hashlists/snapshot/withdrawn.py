"""The file `withdrawn`: what snapshots hold that is out of force since, or ends at another time.

A server hides them from memory, and a snapshot never changes: without this file they would match
again in a server that is started while the catalog is away.

One line of JSON, then the ids, `(W,) <i8`, ascending, then those of entries with another end of
use, `(E,) <i8`, ascending, and these ends, `(E,) <u4`. Version 1 had no ends. The line names the
snapshots that the ids are of, the revision at which they were out of force with its mark, and a
SHA-256 over everything.
Ids only, never a hash: so a purge leaves nothing here, and the file says nothing without a catalog
or a snapshot. It is written whole or not at all, under the root's lock, and goes with the last of
the snapshots that it names. Who may write it, and when, is not decided here.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hashlists.errors import SnapshotError
from hashlists.snapshot.arrays import bytes_of
from hashlists.snapshot.files import (
    describe,
    exclusive,
    json_bytes,
    new_file,
    open_folder,
    parse_json,
    read_small,
    refuse,
    sync_folder,
)
from hashlists.snapshot.manifest import FOLDER_NAME, is_count, is_match
from hashlists.snapshot.pointer import POINTER_TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Int64Array: TypeAlias = NDArray[np.int64]

WITHDRAWN_FILE = "withdrawn"
FORMAT = "hashwarden-withdrawn"
#: Raised whenever an older build could misread a newer file.
VERSION = 2
_MAX_BYTES = 1 << 30  # a hundred million ids, and room for the line
_ID_DTYPE = np.dtype("<i8")
_END_DTYPE = np.dtype("<u4")


@dataclass(frozen=True, slots=True, eq=False)
class Withdrawn:
    """What must not match from some snapshots any more.

    Attributes:
        catalog_id: the catalog's identity.
        revision: at which the ids were out of force.
        mark: of that revision.
        snapshots: names of the snapshots that the ids are of, ascending.
        ids: `(W,) int64`, strictly ascending catalog ids.
        ending: `(E,) int64`, likewise: entries that must not match from another moment on than
            the snapshots say.
        ends: `(E,) uint32`: that moment, seconds since 1970 UTC.
    """

    catalog_id: str
    revision: int
    mark: str
    snapshots: tuple[str, ...]
    ids: Int64Array = field(repr=False)
    ending: Int64Array = field(default_factory=lambda: np.empty(0, np.int64), repr=False)
    ends: NDArray[np.uint32] = field(default_factory=lambda: np.empty(0, np.uint32), repr=False)

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The content of the file, without a copy of the ids."""
        columns = ((self.ids, _ID_DTYPE), (self.ending, _ID_DTYPE), (self.ends, _END_DTYPE))
        rows = [bytes_of(np.ascontiguousarray(each, dtype)) for each, dtype in columns]
        body = {
            "format": FORMAT,
            "version": VERSION,
            "catalog_id": self.catalog_id,
            "revision": self.revision,
            "mark": self.mark,
            "snapshots": list(self.snapshots),
            "entries": len(self.ids),
            "ending": len(self.ending),
        }
        sealed = {**body, "sha256": _digest(body, *rows)}
        yield json_bytes(WITHDRAWN_FILE, sealed) + b"\n"
        yield from rows


def read_withdrawn(root: Path) -> Withdrawn | None:
    """Reads the file; None where it or the root is missing.

    Raises:
        SnapshotError: it is damaged, cut off, of another version, or the disk does not give it.
    """
    try:
        handle = open_folder(root)
        try:
            if WITHDRAWN_FILE not in os.listdir(handle):  # noqa: PTH208  # the opened folder
                return None
            data = read_small(root, handle, WITHDRAWN_FILE, _MAX_BYTES)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SnapshotError(f"the folder of snapshots: {describe(error)}") from error
    return _parse(root, data)


def write_withdrawn(root: Path, withdrawn: Withdrawn) -> None:
    """Writes the file, whole or not at all.

    Raises:
        OSError: it cannot be written; what was there before is still there, unless the very last
            step failed, the syncing of the swap.
    """
    with exclusive(root):
        # Named like the pointer's own, so that a sweep removes what a crash leaves.
        temporary = root / f"{POINTER_TEMPORARY}{secrets.token_hex(8)}"
        try:
            with new_file(temporary) as stream:
                stream.writelines(withdrawn.pieces())
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, root / WITHDRAWN_FILE)  # noqa: PTH105  # the fault tests fail it
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(root)


def remove_withdrawn(root: Path) -> None:
    """Removes the file where it is there.

    Raises:
        OSError: it cannot be removed.
    """
    with exclusive(root):
        (root / WITHDRAWN_FILE).unlink(missing_ok=True)
        sync_folder(root)


def forget_withdrawn(root: Path) -> None:
    """Removes the file where no snapshot that it names is left; for who holds the root's lock.

    A damaged one stays: it is told when it is read, and replaced by the next that is written.

    Raises:
        OSError: it cannot be removed.
    """
    with suppress(SnapshotError):
        held = read_withdrawn(root)
        if held is not None and not any((root / name).is_dir() for name in held.snapshots):
            (root / WITHDRAWN_FILE).unlink(missing_ok=True)


def _parse(root: Path, data: bytes) -> Withdrawn:
    line, newline, rows = data.partition(b"\n")
    if not newline:
        raise refuse(root, WITHDRAWN_FILE, "is cut off")
    body = parse_json(root, WITHDRAWN_FILE, line)
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        raise refuse(root, WITHDRAWN_FILE, "does not tell of withdrawn entries")
    if body.get("version") not in (1, VERSION):
        raise refuse(
            root, WITHDRAWN_FILE, f"is of another version; this build reads versions 1 to {VERSION}"
        )
    digest = body.pop("sha256", None)
    if not _is_well_formed(body):
        raise refuse(root, WITHDRAWN_FILE, "is damaged or cut off")
    entries, ending = body["entries"], body.get("ending", 0)
    cut = _ID_DTYPE.itemsize * (entries + ending)
    if len(rows) != cut + _END_DTYPE.itemsize * ending:
        raise refuse(root, WITHDRAWN_FILE, "is damaged or cut off")
    if digest != _digest(body, memoryview(rows)):
        raise refuse(root, WITHDRAWN_FILE, "is damaged: its digest differs")
    ids = np.frombuffer(rows[:cut], _ID_DTYPE).astype(np.int64)
    return Withdrawn(
        catalog_id=body["catalog_id"],
        revision=body["revision"],
        mark=body["mark"],
        snapshots=tuple(body["snapshots"]),
        ids=ids[:entries],
        ending=ids[entries:],
        ends=np.frombuffer(rows[cut:], _END_DTYPE).astype(np.uint32),
    )


def _is_well_formed(body: dict[str, Any]) -> bool:
    names = body.get("snapshots")
    return (
        isinstance(body.get("catalog_id"), str)
        and isinstance(body.get("mark"), str)
        and is_count(body.get("revision"))
        and is_count(body.get("entries"))
        and is_count(body.get("ending", 0))
        and isinstance(names, list)
        and all(is_match(FOLDER_NAME, name) for name in names)
    )


def _digest(body: dict[str, Any], *rows: memoryview) -> str:
    digest = hashlib.sha256(json_bytes(WITHDRAWN_FILE, body))
    for each in rows:
        digest.update(each)
    return digest.hexdigest()


__all__ = [
    "WITHDRAWN_FILE",
    "Withdrawn",
    "forget_withdrawn",
    "read_withdrawn",
    "remove_withdrawn",
    "write_withdrawn",
]
