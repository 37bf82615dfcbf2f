"""Keys that encrypt what lies on disk: where they come from, and what is derived from them.

Keys are 32 random bytes in hex, one a line, the newest first: that one encrypts, and all of them
decrypt, so that a key is replaced by putting another before it. Nothing is encrypted with a key
itself but with one derived from it for each purpose, so that what was encrypted for one is never
taken for another.

No error repeats a key.
"""

from __future__ import annotations

import contextlib
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
from typing import TYPE_CHECKING, ClassVar

from hashlists.errors import EncryptionKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

KEY_BYTES = 32
KEY_ID_BYTES = 8
_MOST_KEYS = 64
_MAX_BYTES = 16 * 1024
_COMMAND_SECONDS = 30.0
#: Between looks at a source for a key that is not known.
_LOOK_SECONDS = 5.0

FILE, COMMAND, GIVEN = "file:", "command:", "keys:"


class _UnusableError(Exception):
    """What is at the place is no keys; the text names the place."""


@dataclass(frozen=True)
class Key:
    """One key, and what is derived from it."""

    secret: bytes = field(repr=False)

    @cached_property
    def name(self) -> bytes:
        """Tells it from other keys without telling it."""
        return self.derived(b"name")[:KEY_ID_BYTES]

    def derived(self, purpose: bytes) -> bytes:
        """A key of that purpose alone, 32 bytes."""
        return hmac.digest(self.secret, b"hashwarden: " + purpose, "sha256")


def shown(name: bytes) -> str:
    """A key's name as people read it: in groups of four digits, as no hash is written.

    What hides hashes in texts would otherwise hide it.
    """
    digits = name.hex()
    return "-".join(digits[at : at + 4] for at in range(0, len(digits), 4))


class KeySource:
    """The keys at a place. For any thread.

    A file is read again once it has changed. A command is run by `prepare` and `fetch` alone, since
    it may take long, and whoever encrypts may be an event loop.

    Attributes:
        error: what is raised where they cannot be had.
        setting: names the place in errors, where it is no file.

    Args:
        place: `file:PATH`, `command:PROGRAM ARGUMENTS` whose output is read, or the keys themselves
            as `keys:HEX,HEX`.
        clock: seconds that never go back.
    """

    error: ClassVar[type[Exception]] = EncryptionKeyError
    setting: ClassVar[str] = "encryption_keys"

    def __init__(self, place: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._place = place
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: tuple[Key, ...] = ()
        self._state: object = None
        self._next_look = 0.0
        self._problem = "the keys were not read yet"

    def newest(self) -> Key:
        """The key that encrypts; of a file that has changed, of what is in it now.

        Raises:
            EncryptionKeyError: there is none that can be read.
        """
        with self._lock:
            if self._is_command and not self._keys:
                raise self.error(self._problem)
            if not self._keys or self._file_state() != self._state:
                self._read()
            return self._keys[0]

    def find(self, name: bytes) -> Key | None:
        """The key of that name; None where there is none.

        Raises:
            EncryptionKeyError: none can be read.
        """
        with self._lock:
            found = self._named(name)
            if found is None and not self._is_command and self._clock() >= self._next_look:
                self._next_look = self._clock() + _LOOK_SECONDS
                self._read()
                found = self._named(name)
            return found

    def all(self) -> tuple[Key, ...]:
        """All of them, the newest first.

        Raises:
            EncryptionKeyError: none can be read.
        """
        self.newest()
        return self._keys

    def prepare(self) -> None:
        """Makes the file with a first key where there is none; runs the command where it must be.

        Two that make a file at once read the same.

        Raises:
            EncryptionKeyError: it cannot be made, or the command gives no keys.
        """
        self.fetch()
        if self._path is not None:
            self.make()

    def make(self) -> bool:
        """Makes the file with a first key; False where it is there.

        Raises:
            EncryptionKeyError: the keys are in no file, or it cannot be made.
        """
        if self._path is None:
            raise self.error(f"{self.setting} names no file: put a new key before the others there")
        if self._path.exists():
            return False
        with self._told():
            _write(self._path, [secrets.token_bytes(KEY_BYTES)], replace=False)
        return True

    def fetch(self) -> None:
        """Runs the command where it must be; makes nothing.

        Raises:
            EncryptionKeyError: the command gives no keys.
        """
        if self._is_command and not self._keys:
            self._run_command()

    def rotate(self) -> None:
        """Puts a new key before those of a file.

        Raises:
            EncryptionKeyError: the keys are in no file, or it cannot be read or written.
        """
        if self._path is None:
            raise self.error(f"{self.setting} names no file: put a new key before the others there")
        keys = [each.secret for each in self.all()]
        if len(keys) >= _MOST_KEYS:
            raise self.error(
                f"{self._path}: holds {_MOST_KEYS} keys; remove the oldest that nothing needs now"
            )
        with self._told():
            _write(self._path, [secrets.token_bytes(KEY_BYTES), *keys], replace=True)

    def _run_command(self) -> None:
        try:
            keys = _parse(_output(self._place.removeprefix(COMMAND), self._shown), self._shown)
        except _UnusableError as error:
            self._problem = str(error)
            raise self.error(self._problem) from None
        with self._lock:
            self._keys = keys

    @property
    def place(self) -> str:
        """Where the keys are; may be a secret."""
        return self._place

    @property
    def _is_command(self) -> bool:
        return self._place.startswith(COMMAND)

    @property
    def _path(self) -> Path | None:
        is_file = self._place.startswith(FILE)
        return Path(self._place.removeprefix(FILE)) if is_file else None

    def _named(self, name: bytes) -> Key | None:
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
        with self._told():
            self._keys = _parse(self._text(), self._shown)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """What is wrong with the place becomes the error of this class."""
        try:
            yield
        except _UnusableError as error:
            raise self.error(str(error)) from None

    @property
    def _shown(self) -> str:
        return self.setting if self._path is None else str(self._path)

    def _text(self) -> str:
        if self._path is not None:
            return _private_text(self._path)
        return self._place.removeprefix(GIVEN).replace(",", "\n")


def _parse(text: str, place: str) -> tuple[Key, ...]:
    keys = []
    for number, line in enumerate(filter(None, map(str.strip, text.splitlines())), start=1):
        secret = b""
        with contextlib.suppress(ValueError):
            secret = bytes.fromhex(line)
        if len(secret) != KEY_BYTES:
            raise _UnusableError(f"{place}: key {number} is none: {2 * KEY_BYTES} hex digits each")
        keys.append(Key(secret))
    if not 1 <= len(keys) <= _MOST_KEYS:
        raise _UnusableError(f"{place}: holds {len(keys)} keys; there must be 1 to {_MOST_KEYS}")
    return tuple(keys)


def _private_text(path: Path) -> str:
    """What a file holds. Its group may read it: that is how containers are handed secrets."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(_MAX_BYTES)
    except OSError as error:
        raise _UnusableError(f"{path}: the keys cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        raise _UnusableError(
            f"{path}: the keys are open to others (mode {stat.S_IMODE(mode):04o}); make it 0600 "
            "with chmod"
        )
    return text.decode("ascii", "replace")


def _output(command: str, place: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  the operator's own command, without a shell
            shlex.split(command),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except (OSError, ValueError):
        raise _UnusableError(f"{place}: the command cannot be run") from None
    except subprocess.TimeoutExpired:
        raise _UnusableError(f"{place}: the command took over {_COMMAND_SECONDS:g} s") from None
    if done.returncode:
        raise _UnusableError(f"{place}: the command ended with status {done.returncode}")
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
        raise _UnusableError(f"{path}: the keys cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


__all__ = ["COMMAND", "FILE", "GIVEN", "KEY_BYTES", "KEY_ID_BYTES", "Key", "KeySource", "shown"]
