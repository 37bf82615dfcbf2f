"""What a snapshot's manifest says: its own form, and a record of every file.

The manifest alone says what the bytes of a folder are, so it is written in one way only and its
digest covers all of it. Reading it reads no other file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from hashlists.encryption.layout import encrypted_bytes
from hashlists.errors import SnapshotError
from hashlists.snapshot.files import json_bytes, open_folder, parse_json, read_small, refuse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


FORMAT = "hashwarden-snapshot"
#: Raised whenever an older build could misread a newer snapshot.
VERSION = 1
#: Of one whose files are encrypted, which earlier builds cannot read.
ENCRYPTED_VERSION = 2

MANIFEST_FILE = "manifest.json"
#: Where the manifest of an encrypted snapshot names its key.
ENCRYPTION = "encryption"


ITEM_NAME = re.compile(r"[a-z0-9_]{1,40}(?:\.[a-z0-9_]{1,40}){0,4}", re.ASCII)
FOLDER_NAME = re.compile(r"snapshot-[0-9]{12,19}-[0-9a-f]{16}", re.ASCII)
SHA256_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
KEY_NAME = re.compile(r"[0-9a-f]{16}", re.ASCII)
#: The dtypes an array may have, as numpy spells them; `<` is little-endian.
DTYPES = frozenset(
    ["|b1", "|u1", "<u2", "<u4", "<u8", "|i1", "<i2", "<i4", "<i8", "<f4", "<f8"],
)
MAX_DIMENSIONS = 8
MAX_MANIFEST_BYTES = 16 << 20
MAX_REVISION = 2**63 - 1


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What the manifest says of one file."""

    file: str
    nbytes: int
    sha256: str

    @classmethod
    def parse(cls, folder: Path, name: str, record: Any, *, suffix: str) -> FileRecord:
        """Checks a record of the manifest; the file's name follows from the item's."""
        if not ITEM_NAME.fullmatch(name) or not isinstance(record, dict):
            raise refuse(folder, MANIFEST_FILE, f"has a malformed record {name[:40]!r}")
        file, nbytes, sha256 = (record.get(key) for key in ("file", "bytes", "sha256"))
        if file != f"{name}{suffix}" or file == MANIFEST_FILE:
            raise refuse(folder, MANIFEST_FILE, f"names a file that {name!r} may not have")
        if not is_count(nbytes) or not isinstance(sha256, str) or not SHA256_HEX.fullmatch(sha256):
            raise refuse(folder, MANIFEST_FILE, f"has a malformed size or digest for {name!r}")
        return cls(file=file, nbytes=nbytes, sha256=sha256)


@dataclass(frozen=True, slots=True)
class ArrayRecord:
    """What the manifest says of one array."""

    content: FileRecord
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Of the array itself, whatever the length of its file."""
        return math.prod(self.shape) * self.dtype.itemsize

    @classmethod
    def parse(cls, folder: Path, name: str, record: Any, *, encrypted: bool = False) -> ArrayRecord:
        """Checks that dtype, shape and size of a record agree; `encrypted`: its file is."""
        content = FileRecord.parse(folder, name, record, suffix=".bin")
        dtype, shape = record.get("dtype"), record.get("shape")
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise refuse(folder, MANIFEST_FILE, f"gives {name!r} a dtype that is not allowed")
        if (
            not isinstance(shape, list)
            or len(shape) > MAX_DIMENSIONS
            or not all(is_count(axis) for axis in shape)
        ):
            raise refuse(folder, MANIFEST_FILE, f"gives {name!r} a malformed shape")
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        if content.nbytes != (encrypted_bytes(nbytes) if encrypted else nbytes):
            raise refuse(folder, MANIFEST_FILE, f"gives {name!r} a shape its size cannot hold")
        return cls(content=content, dtype=np.dtype(dtype), shape=tuple(shape))


def read_manifest(folder: Path, handle: int) -> dict[str, Any]:
    """Reads the manifest of a folder; its format, version and digest are right."""
    return parse_manifest(folder, read_small(folder, handle, MANIFEST_FILE, MAX_MANIFEST_BYTES))


def readable_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder, or None where it cannot be read or used."""
    with suppress(SnapshotError, OSError):
        handle = open_folder(folder)
        try:
            return read_manifest(folder, handle)
        finally:
            os.close(handle)
    return None


def manifests_below(root: Path) -> dict[str, dict[str, Any]]:
    """The manifests of the snapshots under a root by their names, but for those of no use.

    No other file is read: a snapshot that is named here may be damaged all the same.
    """
    names = sorted(each.name for each in root.iterdir() if FOLDER_NAME.fullmatch(each.name))
    found = {name: readable_manifest(root / name) for name in names}
    return {name: each for name, each in found.items() if each is not None and _is_whole(each)}


def _is_whole(manifest: Mapping[str, Any]) -> bool:
    return is_count(manifest.get("revision")) and isinstance(manifest.get("parameters"), dict)


def parse_manifest(folder: Path, data: bytes) -> dict[str, Any]:
    """Reads the bytes of a manifest; `folder` names the snapshot in errors."""
    manifest = parse_json(folder, MANIFEST_FILE, data)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise refuse(folder, MANIFEST_FILE, "is not the manifest of a Hashwarden snapshot")
    version = manifest.get("version")
    if type(version) is not int or version not in {VERSION, ENCRYPTED_VERSION}:
        raise refuse(
            folder,
            MANIFEST_FILE,
            f"is of version {version if is_count(version) else 'unknown'}, this build reads"
            f" version {VERSION}, and {ENCRYPTED_VERSION} of encrypted ones; rebuild it from the"
            " catalog with this build",
        )
    if not _is_sealed(manifest, data):
        raise refuse(folder, MANIFEST_FILE, "is damaged: its digest differs")
    key_name(folder, manifest)
    return manifest


def key_name(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Of the key that the snapshot is encrypted with, hex; empty for one in clear.

    Raises:
        SnapshotError: the manifest does not say so clearly.
    """
    said = manifest.get(ENCRYPTION)
    if said is None and manifest.get("version") == VERSION:
        return ""
    if (
        manifest.get("version") != ENCRYPTED_VERSION
        or not isinstance(said, dict)
        or set(said) != {"key", "mac"}
        or not is_match(KEY_NAME, said["key"])
        or not is_match(SHA256_HEX, said["mac"])
    ):
        raise refuse(folder, MANIFEST_FILE, "does not say how it is encrypted")
    name: str = said["key"]
    return name


def _is_sealed(manifest: Mapping[str, Any], data: bytes) -> bool:
    """Whether the digest fits and the bytes are the very ones that a writer writes."""
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    try:
        return (
            manifest.get("sha256") == digest_of_manifest(body) and manifest_bytes(manifest) == data
        )
    except (ValueError, RecursionError):  # NaN, or nested too deep: no writer of ours did that
        return False


def section(folder: Path, manifest: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The records of the manifest under `key`, not looked into."""
    records = manifest.get(key)
    if not isinstance(records, dict):
        raise refuse(folder, MANIFEST_FILE, f"has no {key}")
    return records


def revision_of(folder: Path, manifest: Mapping[str, Any]) -> int:
    """The catalog revision that the manifest names."""
    revision = manifest.get("revision")
    if not is_count(revision):
        raise refuse(folder, MANIFEST_FILE, "has no revision")
    return revision


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """The one way in which a manifest is written."""
    return json.dumps(manifest, allow_nan=False, indent=1, sort_keys=True).encode("ascii") + b"\n"


def digest_of_manifest(body: Mapping[str, Any]) -> str:
    """SHA-256, as hex, of a manifest without its own digest."""
    return hashlib.sha256(json_bytes(MANIFEST_FILE, body)).hexdigest()


def is_count(value: object) -> TypeGuard[int]:
    """Whether a value of JSON is a whole number from 0 to 2**63 - 1."""
    return type(value) is int and 0 <= value <= MAX_REVISION


def is_match(pattern: re.Pattern[str], value: object) -> bool:
    """Whether a value of JSON is a text of that form."""
    return isinstance(value, str) and pattern.fullmatch(value) is not None


__all__ = [
    "DTYPES",
    "ENCRYPTED_VERSION",
    "ENCRYPTION",
    "FOLDER_NAME",
    "FORMAT",
    "ITEM_NAME",
    "MANIFEST_FILE",
    "MAX_DIMENSIONS",
    "MAX_MANIFEST_BYTES",
    "MAX_REVISION",
    "SHA256_HEX",
    "VERSION",
    "ArrayRecord",
    "FileRecord",
    "digest_of_manifest",
    "is_count",
    "is_match",
    "key_name",
    "manifest_bytes",
    "manifests_below",
    "parse_manifest",
    "read_manifest",
    "readable_manifest",
    "revision_of",
    "section",
]
