"""Tokens: how they are made, and how they are told without being kept.

A token holds 256 random bits, so nobody guesses it, and a slow hash would guard nothing while it
cost every call some 50 ms. What is kept is its HMAC-SHA256 under a key that lies in a file of its
own, for its owner alone: who steals the database alone can neither use what is in it nor tell
whether a token that was found elsewhere is one of these.

A token is `hw_`, 12 hex digits that name it, and 43 characters of base64url. The form lets scanners
of source code and logs find one that was left there.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from hashlists.errors import TokenKeyError

if TYPE_CHECKING:
    from pathlib import Path

_SHAPE = re.compile(r"hw_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")
_ID_BYTES = 6
_SECRET_BYTES = 32
_KEY_BYTES = 32
_CHECKED = b"hashwarden: the key of tokens"


def new_token() -> tuple[str, str]:
    """A token that was never given before: the part that names it, and the whole."""
    token_id = secrets.token_hex(_ID_BYTES)
    return token_id, f"hw_{token_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def token_id_of(token: str) -> str | None:
    """The part of a token that names it; None for what is no token."""
    found = _SHAPE.fullmatch(token)
    return found[1] if found else None


def token_digest(key: bytes, token: str) -> bytes:
    """What is kept of a token, 32 bytes."""
    return hmac.digest(key, token.encode("ascii", "replace"), "sha256")


def key_mark(key: bytes) -> bytes:
    """Tells one key from another without telling the key, 32 bytes."""
    return hmac.digest(key, _CHECKED, "sha256")


def load_key(path: Path) -> bytes:
    """Reads the key of the tokens.

    Its group may read the file, since that is how containers are handed secrets.

    Raises:
        TokenKeyError: the file is missing, is no key, or may be read by others.
    """
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(1024)
    except OSError as error:
        raise TokenKeyError(f"{path}: the key of tokens cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise TokenKeyError(
            f"{path}: the key of tokens is open to others (mode {stat.S_IMODE(mode):04o}); make it "
            "0600 with chmod"
        )
    with suppress(ValueError):
        key = bytes.fromhex(text.decode("ascii").strip())
        if len(key) == _KEY_BYTES:
            return key
    raise TokenKeyError(f"{path}: is no key of tokens: {2 * _KEY_BYTES} hex digits")


def load_or_make_key(path: Path) -> bytes:
    """Reads the key of the tokens, and makes one where there is none.

    It is whole or not there: two that make it at once read the same.

    Raises:
        TokenKeyError: as `load_key`, or it cannot be made.
    """
    if not path.exists():
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as stream:
                stream.write(secrets.token_bytes(_KEY_BYTES).hex() + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            with suppress(FileExistsError):
                os.link(part, path)
        except OSError as error:
            raise TokenKeyError(
                f"{path}: the key of tokens cannot be made: {error.strerror}"
            ) from None
        finally:
            part.unlink(missing_ok=True)
    return load_key(path)


__all__ = [
    "key_mark",
    "load_key",
    "load_or_make_key",
    "new_token",
    "token_digest",
    "token_id_of",
]
