"""Reads the files a command is given and hashes them: concurrently, in order, in bounded memory.

Files are read one after the other, decoded by a pool, and hashed in batches while the pool goes on
with the next. However many files there are, only a window of them is held. A file that passes the
size limit is never held: its digests are still taken, in a stream, so that it can match exactly.
What cannot be read becomes a value with its reason; it never stops the rest.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from matcher.cli.media_signs import HEAD_BYTES
from matcher.cli.output import is_hash
from matcher.hashing.digests import Digester
from matcher.model import (
    DecodedImage,
    DecodeRequest,
    Digests,
    ImageHashes,
    NotHashableReason,
    Undecodable,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from matcher.decode.pool import DecodePool

STANDARD_INPUT = "-"
_HASH_GIVEN = "no such file: it looks like a hash; look that up with: hashwarden lookup"
_CHUNK = 1 << 20  # bytes
_WINDOW_FILES = 64
_WINDOW_BYTES = 256 << 20

Decoded = DecodedImage | Undecodable


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file of which nothing is known, not even its digests.

    Attributes:
        path: as the user gave it.
        detail: why, in the operating system's words, unless a hash was given in a file's place.
    """

    path: str
    detail: str


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """A file as read.

    Attributes:
        path: as the user gave it.
        data: its bytes, or None where it passes the size limit.
        digests: of all its bytes in either case.
        head: its first bytes in either case.
    """

    path: str
    data: bytes | None = field(repr=False)
    digests: Digests
    head: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class HashedFile:
    """A file with all that can be told of it; `head` is its first bytes."""

    path: str
    digests: Digests
    decoded: Decoded
    hashes: ImageHashes
    head: bytes = field(default=b"", repr=False)


def load_file(path: str, *, max_bytes: int) -> LoadedFile | UnreadableFile:
    """Reads one file, or standard input for `-`.

    Args:
        path: what to read.
        max_bytes: a larger file is digested and not kept.
    """
    try:
        with _open(path) as stream:
            return _load(path, stream, max_bytes)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and is_hash(path):
            return UnreadableFile(path, _HASH_GIVEN)
        return UnreadableFile(path, error.strerror or "the operating system gives no reason")
    except ValueError as error:  # a name that no file system takes, e.g. one with a zero byte
        return UnreadableFile(path, str(error))


@contextmanager
def _open(path: str) -> Iterator[BinaryIO]:
    if path == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    with open(path, "rb") as stream:  # noqa: PTH123  a Path would tidy up the name that was given
        yield stream


def _load(path: str, stream: BinaryIO, max_bytes: int) -> LoadedFile:
    digester = Digester()
    kept = bytearray()
    size = 0
    head = b""
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        head += chunk[: HEAD_BYTES - len(head)]
        digester.update(chunk)
        if size <= max_bytes:
            kept += chunk
        else:
            kept.clear()
    return LoadedFile(path, bytes(kept) if size <= max_bytes else None, digester.digests(), head)


def too_large(size: int, max_bytes: int) -> Undecodable:
    """What is told of a file that passes the size limit."""
    detail = f"{size} bytes; the limit is {max_bytes}"
    return Undecodable(NotHashableReason.OVER_LIMIT, detail)


def hash_files(
    paths: Iterable[str], pool: DecodePool, request: DecodeRequest, *, max_bytes: int
) -> Iterator[list[HashedFile | UnreadableFile]]:
    """Hashes files and gives them back in their order, batch by batch.

    Args:
        paths: as the user gave them.
        pool: decodes; its workers set how much runs at once.
        request: which views and kinds.
        max_bytes: of one encoded file.
    """
    window = _Window(pool, request, max_bytes)
    for path in paths:
        window.add(load_file(path, max_bytes=max_bytes))
        if window.is_full:
            yield window.take_half()
    while window:
        yield window.take_half()


class _Window:
    """Files that were read and are being decoded."""

    def __init__(self, pool: DecodePool, request: DecodeRequest, max_bytes: int) -> None:
        self._pool = pool
        self._request = request
        self._max_bytes = max_bytes
        self._pending: deque[tuple[LoadedFile | UnreadableFile, Future[Decoded] | None]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._pending)

    @property
    def is_full(self) -> bool:
        return len(self) >= _WINDOW_FILES or self._bytes >= _WINDOW_BYTES

    def add(self, file: LoadedFile | UnreadableFile) -> None:
        decoding = None
        if isinstance(file, LoadedFile) and file.data is not None:
            decoding = self._pool.submit(file.data, self._request)
            self._bytes += len(file.data)
        self._pending.append((file, decoding))

    def take_half(self) -> list[HashedFile | UnreadableFile]:
        """Hashes the older half, while the pool goes on with the newer."""
        taken = [self._pending.popleft() for _ in range((len(self) + 1) // 2)]
        loaded = [
            (file, self._decoded(file, x)) for file, x in taken if isinstance(file, LoadedFile)
        ]
        self._bytes -= sum(len(file.data or b"") for file, _ in loaded)
        hashed = iter(_hash_batch(loaded, self._request))
        return [file if isinstance(file, UnreadableFile) else next(hashed) for file, _ in taken]

    def _decoded(self, file: LoadedFile, decoding: Future[Decoded] | None) -> Decoded:
        if decoding is None:
            return too_large(file.digests.size, self._max_bytes)
        return decoding.result()


def _hash_batch(
    loaded: list[tuple[LoadedFile, Decoded]], request: DecodeRequest
) -> list[HashedFile]:
    from matcher.pipeline import hash_items  # noqa: PLC0415  brings numpy, scipy and faiss

    digests = [file.digests for file, _ in loaded]
    decoded = [each for _, each in loaded]
    hashes = hash_items(digests, decoded, [request] * len(loaded))
    return [
        HashedFile(file.path, file.digests, seen, hashed, file.head)
        for (file, seen), hashed in zip(loaded, hashes, strict=True)
    ]


def as_text(path: str) -> str:
    r"""The path as text that can be encoded; bytes that are no UTF-8 become `\\xNN` escapes."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
