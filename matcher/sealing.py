"""Seals what is kept of uploads, and opens it again: keys, where they come from, and how they seal.

Keys are 32 random bytes in hex, one a line, the newest first: that one seals, and all of them open,
so that a key is replaced by putting another before it. Nothing is sealed with a key itself but with
one derived from it for each purpose, so that what was sealed for one is never taken for another.

AES-256-GCM-SIV (RFC 8452) with nonces drawn at random: however many are sealed under one key, and
were a nonce ever to come twice, nothing but the equality of two equal texts would be told.

No error repeats a key or anything that was sealed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import shlex
import stat
import subprocess
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from matcher.errors import BrokenSealError, SealingKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

KEY_BYTES = 32
KEY_ID_BYTES = 8
MARK_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
#: What sealing adds to a text.
OVERHEAD_BYTES = KEY_ID_BYTES + _NONCE_BYTES + _TAG_BYTES
_MOST_KEYS = 64
_MAX_BYTES = 16 * 1024
_COMMAND_SECONDS = 30.0
#: Between looks at a source for a key that is not known.
_LOOK_SECONDS = 5.0

FILE, COMMAND, GIVEN = "file:", "command:", "keys:"


@dataclass(frozen=True)
class _Key:
    """One key, and what is derived from it."""

    secret: bytes = field(repr=False)

    @cached_property
    def name(self) -> bytes:
        """Tells it from other keys without telling it."""
        return self.derived(b"name")[:KEY_ID_BYTES]

    def derived(self, purpose: bytes) -> bytes:
        """A key of that purpose alone, 32 bytes."""
        return hmac.digest(self.secret, b"hashwarden: " + purpose, "sha256")


class KeySource:
    """The keys at a place. For any thread.

    A file is read again once it has changed. A command is run by `prepare` alone, since it may take
    long, and whoever seals may be an event loop.

    Args:
        place: `file:PATH`, `command:PROGRAM ARGUMENTS` whose output is read, or the keys themselves
            as `keys:HEX,HEX`.
        clock: seconds that never go back.
    """

    def __init__(self, place: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[_Key, ...] = ()
        self._state: object = None
        self._next_look = 0.0
        self._problem = "the keys were not read yet"

    def newest(self) -> _Key:
        """The key that seals; of a file that has changed, of what is in it now.

        Raises:
            SealingKeyError: there is none that can be read.
        """
        with self._lock:
            if self._is_command and not self._keys:
                raise SealingKeyError(self._problem)
            if not self._keys or self._file_state() != self._state:
                self._read()
            return self._keys[0]

    def find(self, name: bytes) -> _Key | None:
        """The key of that name; None where there is none.

        Raises:
            SealingKeyError: none can be read.
        """
        with self._lock:
            found = self._named(name)
            if found is None and not self._is_command and self._clock() >= self._next_look:
                self._next_look = self._clock() + _LOOK_SECONDS
                self._read()
                found = self._named(name)
            return found

    def all(self) -> tuple[_Key, ...]:
        """All of them, the newest first.

        Raises:
            SealingKeyError: none can be read.
        """
        self.newest()
        return self._keys

    def prepare(self) -> None:
        """Makes the file with a first key where there is none; runs the command where it must be.

        Two that make a file at once read the same.

        Raises:
            SealingKeyError: it cannot be made, or the command gives no keys.
        """
        if self._is_command and not self._keys:
            self._run_command()
        if self._path is not None and not self._path.exists():
            _write(self._path, [secrets.token_bytes(KEY_BYTES)], replace=False)

    def rotate(self) -> None:
        """Puts a new key before those of a file.

        Raises:
            SealingKeyError: the keys are in no file, or it cannot be read or written.
        """
        if self._path is None:
            raise SealingKeyError("match_keys names no file: put a new key before the others there")
        keys = [each.secret for each in self.all()]
        if len(keys) >= _MOST_KEYS:
            raise SealingKeyError(
                f"{self._path}: holds {_MOST_KEYS} keys; remove the oldest, whose records are gone"
            )
        _write(self._path, [secrets.token_bytes(KEY_BYTES), *keys], replace=True)

    def _run_command(self) -> None:
        try:
            keys = _parse(_output(self._place.removeprefix(COMMAND)), self._shown)
        except SealingKeyError as error:
            self._problem = str(error)
            raise
        with self._lock:
            self._keys = keys

    @property
    def _is_command(self) -> bool:
        return self._place.startswith(COMMAND)

    @property
    def _path(self) -> Path | None:
        is_file = self._place.startswith(FILE)
        return Path(self._place.removeprefix(FILE)) if is_file else None

    def _named(self, name: bytes) -> _Key | None:
        return next((each for each in self._keys if each.name == name), None)

    def _file_state(self) -> object:
        if self._path is None:
            return None
        with contextlib.suppress(OSError):
            about = self._path.stat()
            return about.st_mtime_ns, about.st_size, about.st_ino
        return self._state  # what is known counts on while a file is being replaced

    def _read(self) -> None:
        self._state = self._file_state()
        self._keys = _parse(self._text(), self._shown)

    @property
    def _shown(self) -> str:
        return "match_keys" if self._path is None else str(self._path)

    def _text(self) -> str:
        if self._path is not None:
            return _private_text(self._path)
        return self._place.removeprefix(GIVEN).replace(",", "\n")


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals for one purpose.

    Attributes:
        keys: where the keys are.
        purpose: what was sealed for another does not open.
    """

    keys: KeySource
    purpose: bytes

    def seal(self, text: bytes, about: bytes = b"") -> bytes:
        """The text, sealed: it opens with the same `about` only.

        Raises:
            SealingKeyError: there is no key.
        """
        key, nonce = self.keys.newest(), secrets.token_bytes(_NONCE_BYTES)
        return key.name + nonce + _cipher(key, self.purpose).encrypt(nonce, text, about)

    def open(self, sealed: bytes, about: bytes = b"") -> bytes:
        """The text again.

        Raises:
            BrokenSealError: it was altered, sealed for something else, or with another key.
            SealingKeyError: no key can be read.
        """
        if len(sealed) < OVERHEAD_BYTES:
            raise BrokenSealError("is too short to have been sealed here")
        name, nonce = sealed[:KEY_ID_BYTES], sealed[KEY_ID_BYTES:][:_NONCE_BYTES]
        key = self.keys.find(name)
        if key is None:
            raise BrokenSealError("was sealed with a key that is not here")
        try:
            body = sealed[KEY_ID_BYTES + _NONCE_BYTES :]
            return _cipher(key, self.purpose).decrypt(nonce, body, about)
        except InvalidTag:
            raise BrokenSealError("was altered, or was not sealed for this") from None

    def mark(self, text: bytes) -> bytes:
        """What stands for a text that must be found again and not be read, 16 bytes."""
        return _mark(self.keys.newest(), self.purpose, text)

    def marks(self, text: bytes) -> list[bytes]:
        """All that may stand for it: one for each key."""
        return [_mark(each, self.purpose, text) for each in self.keys.all()]

    def knows(self, name: bytes) -> bool:
        """Whether there is a key of that name."""
        self.keys.newest()  # of a file that has changed, what is in it now
        return self.keys.find(name) is not None

    @property
    def key_name(self) -> bytes:
        """Of the key that seals."""
        return self.keys.newest().name


_ciphers: dict[tuple[bytes, bytes], AESGCMSIV] = {}


def _cipher(key: _Key, purpose: bytes) -> AESGCMSIV:
    """Kept, since setting one up costs more than sealing with it."""
    known = _ciphers.get((key.name, purpose))
    if known is None:
        known = _ciphers[key.name, purpose] = AESGCMSIV(key.derived(b"seal " + purpose))
    return known


def _mark(key: _Key, purpose: bytes, text: bytes) -> bytes:
    return hashlib.blake2b(
        text, digest_size=MARK_BYTES, key=key.derived(b"mark " + purpose)
    ).digest()


def _parse(text: str, place: str) -> tuple[_Key, ...]:
    keys = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), start=1):
        secret = b""
        with contextlib.suppress(ValueError):
            secret = bytes.fromhex(line)
        if len(secret) != KEY_BYTES:
            raise SealingKeyError(f"{place}: key {number} is none: {2 * KEY_BYTES} hex digits each")
        keys.append(_Key(secret))
    if not 1 <= len(keys) <= _MOST_KEYS:
        raise SealingKeyError(f"{place}: holds {len(keys)} keys; there must be 1 to {_MOST_KEYS}")
    return tuple(keys)


def _private_text(path: Path) -> str:
    """What a file holds. Its group may read it: that is how containers are handed secrets."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(_MAX_BYTES)
    except OSError as error:
        raise SealingKeyError(f"{path}: the keys cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise SealingKeyError(
            f"{path}: the keys are open to others (mode {stat.S_IMODE(mode):04o}); make it 0600 "
            "with chmod"
        )
    return text.decode("ascii", "replace")


def _output(command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  the operator's own command, without a shell
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except (OSError, ValueError):
        raise SealingKeyError("match_keys: the command cannot be run") from None
    except subprocess.TimeoutExpired:
        raise SealingKeyError(f"match_keys: the command took over {_COMMAND_SECONDS:g} s") from None
    if done.returncode:
        raise SealingKeyError(f"match_keys: the command ended with status {done.returncode}")
    return done.stdout[:_MAX_BYTES].decode("ascii", "replace")


def _write(path: Path, keys: Sequence[bytes], *, replace: bool) -> None:
    """Writes a file whole, for its owner alone; where it may not be replaced, the first stays."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as stream:
            stream.writelines(f"{each.hex()}\n" for each in keys)
            stream.flush()
            os.fsync(stream.fileno())
        if replace:
            part.replace(path)
        else:
            with contextlib.suppress(FileExistsError):
                os.link(part, path)
    except OSError as error:
        raise SealingKeyError(f"{path}: the keys cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


__all__ = ["COMMAND", "FILE", "GIVEN", "OVERHEAD_BYTES", "KeySource", "Sealer"]
