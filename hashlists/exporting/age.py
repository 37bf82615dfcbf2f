"""Encrypts an export on its way with age (age-encryption.org/v1): the only home of pyrage.

The content passes through a thread that encrypts, a few pieces at a time, and never touches the
disk in the clear. An export that was abandoned lacks age's last chunk, so that no reader takes what
there is for a whole file.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

import pyrage

from hashlists.errors import EncryptionRecipientError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hashlists.exporting.layers import Sink

_WAITING_PIECES: Final = 2
_SECRETS: Final = ("AGE-SECRET-KEY-", "-----BEGIN")
_MAX_FILE_BYTES: Final = 1024 * 1024


class _Recipient(Protocol):
    """A public key as pyrage holds it."""


def parse_recipients(texts: Sequence[str]) -> list[_Recipient]:
    """Public keys, as age writes them (`age1...`) or SSH does (`ssh-ed25519 ...`, `ssh-rsa ...`).

    Raises:
        EncryptionRecipientError: one is none; the message repeats nothing of a private key.
    """
    return [_parse(text.strip(), f"recipient {number}") for number, text in enumerate(texts, 1)]


def recipients_in(stream: BinaryIO) -> list[str]:
    """The recipients that a file names, one a line; `#` begins a comment.

    Raises:
        EncryptionRecipientError: the file is none of recipients, or names nobody.
    """
    content = stream.read(_MAX_FILE_BYTES + 1)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError:
        lines = []
    found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not found or len(content) > _MAX_FILE_BYTES:
        raise EncryptionRecipientError(
            "the file names no recipient; it must hold public keys of age or SSH, one a line"
        )
    for number, line in enumerate(found, 1):
        _parse(line, f"recipient {number} of the file")
    return found


def _parse(text: str, what: str) -> _Recipient:
    if text.startswith(_SECRETS):
        raise EncryptionRecipientError(
            f"{what} is a private key, which must stay with whoever decrypts; name the public one"
        )
    kind = pyrage.ssh.Recipient if text.startswith("ssh-") else pyrage.x25519.Recipient
    try:
        found: _Recipient = kind.from_str(text)
    except pyrage.RecipientError:
        raise EncryptionRecipientError(
            f"{what} is no public key of age (age1...) or SSH (ssh-ed25519 or ssh-rsa)"
        ) from None
    return found


def encrypted(content: bytes, recipients: Sequence[_Recipient]) -> bytes:
    """A short content, encrypted to all recipients; each of them alone can read it."""
    sealed: bytes = pyrage.encrypt(content, list(recipients))
    return sealed


class AgeSink:
    """Encrypts what it is given to all recipients; each of them alone can read it."""

    def __init__(self, below: Sink, recipients: Iterable[_Recipient]) -> None:
        self._below = below
        self._feed = _Feed()
        self._error: BaseException | None = None
        self._thread = threading.Thread(
            target=self._encrypt, args=(list(recipients),), name="age", daemon=True
        )
        self._thread.start()

    def write(self, data: bytes) -> None:
        """Encrypts a piece.

        Raises:
            OSError: what lies below took no more.
        """
        self._raise_error()
        self._feed.put(data)

    def finish(self) -> None:
        """Encrypts the last piece and ends the file."""
        self._feed.end(whole=True)
        self._thread.join()
        self._raise_error()
        self._below.finish()

    def abandon(self) -> None:
        """Leaves the last chunk out."""
        self._feed.end(whole=False)
        self._thread.join()
        self._below.abandon()

    def _encrypt(self, recipients: list[_Recipient]) -> None:
        out = _Out(self._below)
        try:
            pyrage.encrypt_io(self._feed, out, recipients)
        except BaseException as error:  # noqa: BLE001  it is raised where the next piece is given
            self._error = out.error or error
        finally:
            self._feed.drain()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


class _AbandonedError(OSError):
    """The content ends without being whole."""


class _Feed:
    """The content as the thread reads it."""

    def __init__(self) -> None:
        self._pieces: queue.Queue[bytes | None] = queue.Queue(_WAITING_PIECES)
        self._rest = memoryview(b"")
        self._ended = False
        self._whole = False

    def put(self, data: bytes) -> None:
        if data:
            self._pieces.put(bytes(data))

    def end(self, *, whole: bool) -> None:
        """Says that nothing follows; once."""
        self._whole = whole
        self._pieces.put(None)

    def read(self, size: int = -1) -> bytes:
        """As of a file, for pyrage."""
        if not self._rest and not self._ended:
            self._take()
        taken = self._rest[:size] if size >= 0 else self._rest
        self._rest = self._rest[len(taken) :]
        return bytes(taken)

    def _take(self) -> None:
        piece = self._pieces.get()
        self._ended = piece is None
        if self._ended and not self._whole:
            raise _AbandonedError
        self._rest = memoryview(piece or b"")

    def drain(self) -> None:
        """Takes the rest and drops it, so that whoever gives never waits for nobody."""
        while not self._ended:
            self._ended = self._pieces.get() is None


class _Out:
    """What lies below as pyrage writes to it; keeps its error, of which pyrage tells no more."""

    def __init__(self, below: Sink) -> None:
        self._below = below
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        try:
            self._below.write(data)
        except BaseException as error:
            self.error = error
            raise
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""


__all__ = ["AgeSink", "encrypted", "parse_recipients", "recipients_in"]
