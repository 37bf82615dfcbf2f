"""A folder of this machine as a source.

Invariants:

* What is read lies in the folder: each file is opened from the top down without following a link; a
  link is followed by opening where it leads in the same way.
* Nothing is opened that is no file, and opening never waits: pipes and devices are passed over.
* Memory does not grow with a file: beyond the limit it is digested as it is read.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes, unquote_to_bytes

from matcher.errors import in_words
from matcher.hashing.digests import Digester
from matcher.scan.errors import SourceError
from matcher.scan.model import Content, FailureReason, FetchError, Listed, Page
from matcher.scan.sources.names import key_bytes, raw_of, shown
from matcher.scan.sources.options import SourceOptions
from matcher.scan.sources.walker import Walker, open_folder, open_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from matcher.model import Digests
    from matcher.scan.sources.walker import Found, Parts

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_BLOCK_BYTES: Final = 1 << 20
_NO_LINK: Final = frozenset({errno.ELOOP, errno.EMLINK})
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
#: Too many files are open, or there is too little memory: fewer at a time may do.
_SCARCE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_PASSING: Final = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EBUSY})
#: No listing tells of them; a state that was tampered with may.
_NO_NAMES: Final = frozenset({b"", b".", b".."})
_LEAST_BYTES: Final = 4096


class FolderSource:
    """The files of a folder and of what lies in it; or one file.

    Args:
        path: absolute; the folder, or the file.
        prefix: with which a key must begin.
        options: how many are read at a time.

    Raises:
        SourceError: there is no such folder, or it may not be opened.
    """

    def __init__(
        self, path: Path, *, prefix: str = "", options: SourceOptions | None = None
    ) -> None:
        self._path = path
        self._prefix = prefix.encode("utf-8", "surrogatepass")
        self._options = options or SourceOptions()
        self._only = b""
        top = path
        try:
            mode = path.stat().st_mode
            if stat.S_ISREG(mode):
                top, self._only = path.parent, os.fsencode(path.name)
            elif not stat.S_ISDIR(mode):
                raise SourceError(f"{path}: is no folder and no file, but a pipe or device")
            self._top = top
            self._root: int | None = open_root(top)
        except OSError as error:
            raise SourceError(f"{in_words(error)}: give a folder that can be read") from None
        self._readers = ThreadPoolExecutor(self._options.readers, "scan-folder")

    @property
    def url(self) -> str:
        """The path."""
        return str(self._path)

    def order(self, key: str) -> object:
        """By the parts of the path, one by one."""
        return tuple(each.encode("utf-8", "surrogatepass") for each in key.split("/"))

    async def list(self, after: str = "") -> AsyncIterator[Page]:
        """The files behind a cursor, a page at a time.

        Raises:
            SourceError: the folder cannot be listed.
        """
        loop = asyncio.get_running_loop()
        pages = self._pages(tuple(unquote_to_bytes(after).split(b"/")) if after else ())
        while True:
            page = await loop.run_in_executor(self._readers, next, pages, None)
            if page is None:
                return
            yield page

    def _pages(self, after: Parts) -> Iterator[Page]:
        found = self._walker().walk(after)
        while True:
            try:
                entries = list(islice(found, self._options.page_objects))
            except OSError as error:
                raise SourceError(f"{in_words(error)}: the folder cannot be listed") from None
            if not entries:
                return
            yield _page(entries)

    async def fetch(self, listed: Listed, *, max_bytes: int) -> Content:
        """Reads a file.

        Raises:
            FetchError: it is gone, may not be read, or is no file any more.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, listed, max_bytes)

    async def close(self) -> None:
        """Closes the folder; reading that has begun is waited for."""
        await asyncio.to_thread(self._readers.shutdown, wait=True, cancel_futures=True)
        if self._root is not None:
            os.close(self._root)
            self._root = None

    # ---------------------------------------------------------------------------------- in threads

    def _walker(self) -> Walker:
        return Walker(self._handle(), self._top, prefix=self._prefix, only=self._only)

    def _handle(self) -> int:
        if self._root is None:
            raise SourceError(f"{self._path}: is closed already")
        return self._root

    def _read(self, listed: Listed, max_bytes: int) -> Content:
        try:
            file = self._opened(tuple(key_bytes(listed).split(b"/")))
            try:
                return _content(file, listed, max_bytes)
            finally:
                os.close(file)
        except OSError as error:
            raise _failed(error) from None

    def _opened(self, parts: Parts) -> int:
        if not _NO_NAMES.isdisjoint(parts):
            raise FetchError(FailureReason.UNREADABLE, "it is no path within the folder")
        try:
            return self._open(parts)
        except OSError as error:
            if error.errno not in _NO_LINK and error.errno not in _GONE:
                raise
            # A link on the way: it is gone through once, to where it leads now.
            target = self._walker().target(parts)
            if target is None:
                raise FetchError(
                    FailureReason.UNREADABLE, "it is a link now that leads out of the folder"
                ) from None
            return self._open(target)

    def _open(self, parts: Parts) -> int:
        folder = open_folder(self._handle(), parts[:-1])
        try:
            return os.open(parts[-1], _FILE, dir_fd=folder)
        finally:
            os.close(folder)


def _page(entries: list[Found]) -> Page:
    objects = tuple(_listed(each) for each in entries if each.state is not None)
    skipped: dict[str, int] = {}
    for each in entries:
        if each.skipped:
            skipped[each.skipped] = skipped.get(each.skipped, 0) + 1
    return Page(objects, quote_from_bytes(b"/".join(entries[-1].parts)), skipped)


def _listed(found: Found) -> Listed:
    assert found.state is not None
    path = b"/".join(found.parts)
    state = found.state
    return _told(shown(path), state.st_size, state, raw_of(path))


def _told(key: str, size: int, state: os.stat_result, raw: bytes) -> Listed:
    # Whoever may write a file may set its time, so that another content passes for the same; of the
    # system's own note of when it was changed last nobody may.
    changed = str(state.st_ctime_ns)
    return Listed(key, size, state.st_mtime_ns / 1e9, version=changed, raw=raw)


def _content(file: int, listed: Listed, max_bytes: int) -> Content:
    state = os.fstat(file)
    if not stat.S_ISREG(state.st_mode):
        raise FetchError(FailureReason.UNREADABLE, "it is no file any more")
    data, digests, size = _taken(file, state.st_size, max_bytes)
    if size < state.st_size:
        raise FetchError(
            FailureReason.CUT_OFF, "it became shorter while it was read", transient=True
        )
    # The time from before: where it was written to meanwhile, the next listing tells another one.
    read = _told(listed.key, size, state, listed.raw)
    return Content(read, data, digests)


def _taken(file: int, expected: int, max_bytes: int) -> tuple[bytes | None, Digests | None, int]:
    """What a file holds, kept or digested, and how much it was; it may grow meanwhile."""
    size = 0
    if expected <= max_bytes:
        pieces: list[bytes] = []
        while block := os.read(file, max(expected - size, _LEAST_BYTES) + 1):
            pieces.append(block)
            size += len(block)
            if size > max_bytes:
                break
        else:
            return b"".join(pieces), None, size
        os.lseek(file, 0, os.SEEK_SET)
    digester, size = Digester(), 0
    while block := os.read(file, _BLOCK_BYTES):
        digester.update(block)
        size += len(block)
    return None, digester.digests(), size


def _failed(error: OSError) -> FetchError:
    detail = error.strerror or "the system gives no reason"
    number = error.errno
    if number in _GONE:
        return FetchError(FailureReason.VANISHED, detail)
    if number in _FORBIDDEN:
        return FetchError(FailureReason.FORBIDDEN, detail)
    scarce = number in _SCARCE
    return FetchError(
        FailureReason.UNREADABLE, detail, transient=scarce or number in _PASSING, throttled=scarce
    )


__all__ = ["FolderSource"]
