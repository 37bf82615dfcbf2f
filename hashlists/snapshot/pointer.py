"""The file `current`: which snapshot is published, and which was before it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from hashlists.errors import SnapshotError
from hashlists.snapshot.files import (
    describe,
    json_bytes,
    open_folder,
    parse_json,
    read_small,
    refuse,
)
from hashlists.snapshot.manifest import FOLDER_NAME, SHA256_HEX, is_count, is_match

POINTER_FILE = "current"
POINTER_TEMPORARY = ".current-"
_MAX_POINTER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Pointer:
    """The content of the file `current`."""

    snapshot: str
    revision: int
    manifest_sha256: str
    previous: str | None

    def to_bytes(self) -> bytes:
        """One line of JSON."""
        return json_bytes(POINTER_FILE, {key: getattr(self, key) for key in _POINTER_KEYS}) + b"\n"


_POINTER_KEYS = ("snapshot", "revision", "manifest_sha256", "previous")


def read_pointer(root: Path) -> Pointer | None:
    """Reads `current`; None where it or the root is missing."""
    try:
        handle = open_folder(root)
        try:
            if POINTER_FILE not in os.listdir(handle):  # noqa: PTH208  # the folder that was opened
                return None
            data = read_small(root, handle, POINTER_FILE, _MAX_POINTER_BYTES)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SnapshotError(f"the folder of snapshots: {describe(error)}") from error
    return _parse_pointer(root, data)


def _parse_pointer(root: Path, data: bytes) -> Pointer:
    fields = parse_json(root, POINTER_FILE, data)
    if not isinstance(fields, dict) or set(fields) != set(_POINTER_KEYS):
        raise refuse(root, POINTER_FILE, "does not name a snapshot")
    previous = fields["previous"]
    if (
        not is_match(FOLDER_NAME, fields["snapshot"])
        or not is_count(fields["revision"])
        or not is_match(SHA256_HEX, fields["manifest_sha256"])
        or not (previous is None or is_match(FOLDER_NAME, previous))
    ):
        raise refuse(root, POINTER_FILE, "is damaged")
    return Pointer(**fields)


def readable_pointer(root: Path) -> Pointer | None:
    """The pointer, or None where it is missing or damaged: a damaged one may be written over.

    Raises:
        SnapshotError: it may be whole, but the disk would not give it.
    """
    try:
        return read_pointer(root)
    except SnapshotError as error:
        if isinstance(error.__cause__, OSError):
            raise
        return None


def current_revision(root: Path) -> int | None:
    """The revision that is published, without opening it; None where nothing is.

    Raises:
        SnapshotError: the pointer file is damaged.
    """
    pointer = read_pointer(Path(root))
    return None if pointer is None else pointer.revision


def current_name(root: Path) -> str | None:
    """The name of the published snapshot's folder, without opening it; None where there is none.

    Raises:
        SnapshotError: the pointer file is damaged.
    """
    pointer = read_pointer(Path(root))
    return None if pointer is None else pointer.snapshot


__all__ = [
    "POINTER_FILE",
    "POINTER_TEMPORARY",
    "Pointer",
    "current_name",
    "current_revision",
    "read_pointer",
    "readable_pointer",
]
