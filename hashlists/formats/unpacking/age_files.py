"""Opens files that are encrypted with age (age-encryption.org/v1), binary or armored.

Invariants: a file is decrypted to its end, and so known to be whole, before anything of it is read;
what it holds then lies in memory, and beyond that sealed on the disk, never in the clear. A private
key is held in memory only, and no message repeats anything of it. Keys are asked of nobody: files
under a passphrase, and keys under one or of a plug-in, are left to the tool `age`.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

import pyrage

from hashlists.errors import DecryptionKeyError, FormatError
from hashlists.formats.sealed_spool import SealedSpool, SealedStream

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_MAGIC: Final = b"age-encryption.org/v1"
_ARMOR: Final = b"-----BEGIN AGE ENCRYPTED FILE-----"
_KEY: Final = "AGE-SECRET-KEY-1"
_PLUGIN_KEY: Final = "AGE-PLUGIN-"
_SSH_KEY: Final = re.compile(rb"-----BEGIN (?:OPENSSH|RSA) PRIVATE KEY-----")
_PUBLIC_KEY: Final = ("age1", "ssh-")
_PASSPHRASE: Final = _MAGIC + b"\n-> scrypt "
_FIRST_LINES: Final = 64  # characters of armor, enough for the line on passphrases
_HEAD_BYTES: Final = 4096
_MAX_KEY_FILE_BYTES: Final = 1024 * 1024
#: In memory, for each file of a set.
_MEMORY_BYTES: Final = 256 * 1024
#: What pyrage says where the content is for others.
_NO_KEY: Final = "No matching keys"
_BY_HAND: Final = "age -d -i KEY_FILE FILE > DECRYPTED_FILE"


class Identity(Protocol):
    """A private key as pyrage holds it."""


def is_age(head: bytes) -> bool:
    """Whether a file that begins so is encrypted with age."""
    return head.startswith(_MAGIC) or head.lstrip().startswith(_ARMOR)


def identities_in(stream: BinaryIO) -> list[Identity]:
    """The private keys in a file: those that `age-keygen` makes, one a line, or one of SSH.

    Raises:
        DecryptionKeyError: there is none, or one that cannot be used.
    """
    content = stream.read(_MAX_KEY_FILE_BYTES + 1)
    if _SSH_KEY.match(content):
        return [_ssh_key(content)]
    if is_age(content):
        raise DecryptionKeyError(
            f"the key file is itself encrypted with age, and passphrases are not asked for here; "
            f"decrypt the list with: {_BY_HAND}"
        )
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found or len(content) > _MAX_KEY_FILE_BYTES:
        raise DecryptionKeyError(
            "the key file holds no private key; it must be as age-keygen or ssh-keygen made it"
        )
    return [_key(line, f"line {lines.index(line) + 1} of the key file") for line in found]


def _key(text: str, what: str) -> Identity:
    if text.startswith(_PUBLIC_KEY):
        raise DecryptionKeyError(
            f"{what} is a public key, which encrypts; to decrypt, name the file with the private "
            "key that belongs to it"
        )
    if text.startswith(_PLUGIN_KEY):
        raise DecryptionKeyError(
            f"{what} is a key of a plug-in of age, which is not run here; decrypt with: {_BY_HAND}"
        )
    try:
        found: Identity = pyrage.x25519.Identity.from_str(text)
    except pyrage.IdentityError:
        raise DecryptionKeyError(f"{what} is no private key of age ({_KEY}...)") from None
    return found


def _ssh_key(content: bytes) -> Identity:
    try:
        found: Identity = pyrage.ssh.Identity.from_buffer(content)
    except pyrage.IdentityError:
        raise DecryptionKeyError(
            "the SSH key cannot be used: it must be of type ed25519 or rsa, and without a "
            f"passphrase; with one, decrypt with: {_BY_HAND}"
        ) from None
    return found


def decrypted(
    stream: BinaryIO, identities: Sequence[Identity], spool_dir: Path | None
) -> SealedStream:
    """What an encrypted file holds, at its start; the file itself is never closed.

    Args:
        stream: the file.
        identities: private keys, one of which should open it.
        spool_dir: where it lies sealed, if it is long; None for the folder of temporary files.

    Raises:
        FormatError: none of the keys opens it, it is cut off or damaged, or the disk takes no more.
    """
    stream.seek(0)
    _require_key(stream.read(_HEAD_BYTES), identities)
    stream.seek(0)
    spool = SealedSpool(memory_bytes=_MEMORY_BYTES, folder=spool_dir)
    out = _Out(spool)
    try:
        pyrage.decrypt_io(stream, out, list(identities))
    except pyrage.DecryptError:
        raise FormatError(
            "the file is encrypted with age, and no key that was given opens it: it was encrypted "
            "to other keys, or its beginning is damaged; ask its sender to which public key"
        ) from None
    except OSError as error:
        if out.error is not None:
            raise FormatError(
                f"the decrypted file cannot be kept: {out.error.strerror or out.error}"
            ) from error
        raise FormatError(
            "the encrypted file is cut off or damaged; get it again from its source"
        ) from None
    return SealedStream(spool)


def decrypted_bytes(content: bytes, identities: Sequence[Identity]) -> bytes:
    """What a short encrypted content holds.

    Raises:
        DecryptionKeyError: none of the keys opens it.
        FormatError: it is damaged.
    """
    try:
        opened: bytes = pyrage.decrypt(content, list(identities))
    except pyrage.DecryptError as error:
        if _NO_KEY in str(error):
            raise DecryptionKeyError("no key that was given opens it") from None
        raise FormatError("the encrypted content is damaged") from None
    return opened


def _require_key(head: bytes, identities: Sequence[Identity]) -> None:
    if _header(head).startswith(_PASSPHRASE):
        raise FormatError(
            "the file is encrypted with age under a passphrase, which is not asked for here; "
            "decrypt it with: age -d FILE > DECRYPTED_FILE"
        )
    if not identities:
        raise FormatError(
            "the file is encrypted with age; whoever has the private key opens it with --identity "
            f"KEY_FILE, on the machine that has the catalog, or decrypts it first: {_BY_HAND}"
        )


def _header(head: bytes) -> bytes:
    """The beginning without its armor."""
    if head.startswith(_MAGIC):
        return head
    packed = b"".join(head.lstrip().removeprefix(_ARMOR).split())
    try:
        return base64.b64decode(packed[:_FIRST_LINES])
    except ValueError:
        return b""


class _Out:
    """The spool as pyrage writes to it; keeps its error, of which pyrage tells no more."""

    def __init__(self, spool: SealedSpool) -> None:
        self._spool = spool
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self._spool.write(data)
        except OSError as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""


__all__ = ["Identity", "decrypted", "decrypted_bytes", "identities_in", "is_age"]
