"""What a store says is published, and the Ed25519 signature that makes it believable.

The object `current` of a store is an envelope of two texts in base64: a payload, and a signature
over exactly its bytes. Nothing of the payload is read before the signature was verified. It names
the manifest by its digest, and the manifest names every file by its digest, so one signature covers
a whole snapshot.

A signature proves who published, not when: the sequence number in the payload only ever rises, and
whoever pulls refuses a lower one than it has seen (`hashlists.snapshot.accepted`).

Keys are PEM files as `openssl genpkey -algorithm ed25519` writes them. No error repeats any part of
one.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import stat
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from hashlists.errors import SnapshotError, SnapshotKeyError, SnapshotSignatureError
from hashlists.snapshot.files import json_bytes
from hashlists.snapshot.manifest import (
    FOLDER_NAME,
    MAX_MANIFEST_BYTES,
    SHA256_HEX,
    is_count,
    is_match,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMAT = "hashwarden-publication"
#: Raised whenever an older build could misread a newer publication.
VERSION = 1
MAX_ENVELOPE_BYTES = 16 << 10
MANIFEST_NAME = re.compile(rf"([0-9]{{19}})-{FOLDER_NAME.pattern}", re.ASCII)
_MAX_KEY_BYTES = 64 << 10
_PUBLIC_KEY = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication, as signed.

    Attributes:
        snapshot: the snapshot's name.
        revision: the catalog revision it was built from.
        manifest_bytes: size of the manifest.
        manifest_sha256: SHA-256 of the manifest's bytes, hex.
        previous: `manifest_name` of the snapshot published before, which is still in the store;
            None for none.
        sequence: rises with each publication, whatever the revision does.
        published_at: ISO 8601 with offset.
        erases_before: snapshots published under a lower sequence hold what was purged since, and
            are not to be kept; 0 when nothing was.
        purge_state: names the purges that the snapshot was built after, see
            `hashlists.snapshot.purges`.
    """

    snapshot: str
    revision: int
    manifest_bytes: int
    manifest_sha256: str
    previous: str | None
    sequence: int
    published_at: str
    erases_before: int
    purge_state: str

    @property
    def manifest_name(self) -> str:
        """The name of the manifest's object in the store, without folder and suffix."""
        return f"{self.sequence:019d}-{self.snapshot}"


_FIELDS = frozenset(each.name for each in fields(Publication))


def sign(publication: Publication, key: Ed25519PrivateKey) -> bytes:
    """The object `current` for a publication."""
    body = {"format": FORMAT, "version": VERSION, **asdict(publication)}
    payload = json_bytes("publication", body)
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "signature": base64.b64encode(key.sign(payload)).decode("ascii"),
    }
    return json_bytes("publication", envelope) + b"\n"


def verify(envelope: bytes, keys: Sequence[Ed25519PublicKey]) -> Publication:
    """What a store's object `current` says, once one of the keys is seen to have signed it.

    Raises:
        SnapshotSignatureError: none of them has, or it is no signed publication at all.
        SnapshotError: it is signed, but of a version or form that this build does not read.
    """
    payload, signature = _open_envelope(envelope)
    if not any(_has_signed(key, signature, payload) for key in keys):
        raise SnapshotSignatureError(
            "what is published was signed by none of the keys that count; either a key was changed"
            " on one side only, or somebody else wrote to the store"
        )
    return _parse_payload(payload)


def _open_envelope(envelope: bytes) -> tuple[bytes, bytes]:
    try:
        parts = json.loads(envelope)
        payload, signature = (
            base64.b64decode(parts[name], validate=True) for name in ("payload", "signature")
        )
    except (ValueError, TypeError, KeyError, RecursionError, binascii.Error):
        raise SnapshotSignatureError("what is published is no signed publication") from None
    return payload, signature


def _has_signed(key: Ed25519PublicKey, signature: bytes, payload: bytes) -> bool:
    try:
        key.verify(signature, payload)
    except InvalidSignature:
        return False
    return True


def _parse_payload(payload: bytes) -> Publication:
    try:
        body: Any = json.loads(payload)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or body.pop("format", None) != FORMAT:
        raise SnapshotError("what is published is signed, but no publication of a snapshot")
    version = body.pop("version", None)
    if type(version) is not int or version != VERSION:
        raise SnapshotError(
            f"what is published is of version {version if is_count(version) else 'unknown'}, this"
            f" build reads version {VERSION}; replicas are to be updated before their builder"
        )
    if set(body) != _FIELDS or not _is_well_formed(body):
        raise SnapshotError("what is published is signed, but malformed")
    return Publication(**body)


def _is_well_formed(body: dict[str, Any]) -> bool:
    return (
        is_match(FOLDER_NAME, body["snapshot"])
        and is_match(SHA256_HEX, body["manifest_sha256"])
        and is_match(SHA256_HEX, body["purge_state"])
        and (body["previous"] is None or is_match(MANIFEST_NAME, body["previous"]))
        and all(
            is_count(body[name])
            for name in ("revision", "manifest_bytes", "sequence", "erases_before")
        )
        and body["manifest_bytes"] <= MAX_MANIFEST_BYTES
        and _is_moment(body["published_at"])
    )


def _is_moment(value: object) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


# ------------------------------------------------------------------------------------------- keys


def load_signing_key(path: Path) -> Ed25519PrivateKey:
    """Reads the private key of a builder.

    Its group may read the file, since that is how containers are handed secrets.

    Raises:
        SnapshotKeyError: the file is missing, is no unencrypted Ed25519 private key in PEM, or may
            be read by others or written by its group.
    """
    data = _read_key(path, private=True)
    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        raise SnapshotKeyError(f"{path}: the key is encrypted; store it without") from None
    except (ValueError, UnsupportedAlgorithm):
        hint = "it is a public key" if _PUBLIC_KEY.search(data) else "it is no private key in PEM"
        raise SnapshotKeyError(f"{path}: {hint}; signing needs an Ed25519 private key") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SnapshotKeyError(f"{path}: a key of another kind; signing needs an Ed25519 key")
    return key


def load_verify_keys(path: Path) -> tuple[Ed25519PublicKey, ...]:
    """Reads the public keys any of which may have signed: one or several, one after the other.

    Raises:
        SnapshotKeyError: the file is missing, holds no public key or a private one, or one of its
            keys is not an Ed25519 key in PEM.
    """
    data = _read_key(path, private=False)
    if b"PRIVATE KEY-----" in data:
        raise SnapshotKeyError(
            f"{path}: holds a private key; replicas are given the public one only, and a private"
            " key that was handed out is to be replaced"
        )
    keys = tuple(_load_verify_key(path, block) for block in _PUBLIC_KEY.findall(data))
    if not keys:
        raise SnapshotKeyError(f"{path}: holds no public key in PEM")
    return keys


def _load_verify_key(path: Path, block: bytes) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise SnapshotKeyError(f"{path}: holds a damaged public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise SnapshotKeyError(f"{path}: holds a key of another kind; only Ed25519 keys count")
    return key


def _read_key(path: Path, *, private: bool) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            if private and mode & (stat.S_IRWXO | stat.S_IWGRP):
                raise SnapshotKeyError(
                    f"{path}: the private key is open to others (mode {stat.S_IMODE(mode):04o});"
                    " make it 0600 with chmod, and replace the key if others may have read it"
                )
            return stream.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise SnapshotKeyError(f"{path}: the key cannot be read ({error.strerror})") from None


__all__ = [
    "MANIFEST_NAME",
    "MAX_ENVELOPE_BYTES",
    "Publication",
    "load_signing_key",
    "load_verify_keys",
    "sign",
    "verify",
]
