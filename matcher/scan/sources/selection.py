"""Which of the listed objects are scanned.

What a listing does not tell keeps no object out: one without a size passes every limit of size, one
without a time every limit of time. Sampling and sharding go by digests of the key, each by its own:
the same objects each time, and a sample of a shard is a share of that shard.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import pathspec

from matcher.scan.errors import SelectionError
from matcher.scan.sources.names import key_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.document import Selection
    from matcher.scan.model import Listed

_SAMPLE: Final = b"scan sample"
_SHARD: Final = b"scan shard"
#: The library's patterns end at the end of a line; keys do not.
_LINE_ENDS: Final = str.maketrans({"\n": "\ue000", "\r": "\ue001"})


class Selector:
    """Chooses among listed objects; how many at most is the planner's to count.

    Raises:
        SelectionError: what is asked for makes no sense, and nothing would pass it.
    """

    def __init__(self, selection: Selection) -> None:
        _check(selection)
        self._selection = selection
        self._include = _globs("include", selection.include)
        self._exclude = _globs("exclude", selection.exclude)

    def passes(self, listed: Listed) -> bool:
        """Whether an object is scanned."""
        return (
            self._passes_limits(listed)
            and self._passes_digests(key_bytes(listed))
            and self._passes_globs(listed.key)
        )

    def _passes_limits(self, listed: Listed) -> bool:
        asked = self._selection
        if not listed.key.startswith(asked.prefix):
            return False
        size, modified = listed.size, listed.modified
        if size is not None:
            if asked.min_bytes is not None and size < asked.min_bytes:
                return False
            if asked.max_bytes is not None and size > asked.max_bytes:
                return False
        if modified is not None:
            if asked.modified_since is not None and modified < asked.modified_since:
                return False
            if asked.modified_before is not None and modified >= asked.modified_before:
                return False
        return True

    def _passes_digests(self, key: bytes) -> bool:
        asked = self._selection
        if asked.shards > 1 and _drawn(key, _SHARD) % asked.shards != asked.shard - 1:
            return False
        return asked.sample >= 1 or _drawn(key, _SAMPLE) < asked.sample * 2**64

    def _passes_globs(self, key: str) -> bool:
        key = key.translate(_LINE_ENDS)
        if self._include is not None and not self._include.match_file(key):
            return False
        return self._exclude is None or not self._exclude.match_file(key)


def _drawn(key: bytes, purpose: bytes) -> int:
    digest = hashlib.blake2b(key, digest_size=8, person=purpose)
    return int.from_bytes(digest.digest(), "big")


def _globs(name: str, globs: Sequence[str]) -> pathspec.PathSpec[pathspec.Pattern] | None:
    if not globs:
        return None
    lines = [_as_line(name, each) for each in globs]
    try:
        return pathspec.PathSpec.from_lines("gitignore", lines)
    except ValueError:
        raise SelectionError(
            f"--{name}: a glob is malformed; write it as in .gitignore, e.g. *.jpg or 2024/**"
        ) from None


def _as_line(name: str, glob: str) -> str:
    if not glob.strip() or "\0" in glob:
        raise SelectionError(f"--{name}: a glob is empty")
    # What marks a comment or an exception in a file is a character like any other here.
    line = "\\" + glob if glob[0] in "#!" else glob
    return line.translate(_LINE_ENDS)


def _check(asked: Selection) -> None:
    if not 0 < asked.sample <= 1:
        raise SelectionError("a sample is a share of the objects: above 0, at most 1")
    if asked.shards < 1 or not 1 <= asked.shard <= asked.shards:
        raise SelectionError("a shard is given as I/N, with I from 1 to N")
    if asked.limit is not None and asked.limit < 1:
        raise SelectionError("a limit is at least 1")
    least, most = asked.min_bytes, asked.max_bytes
    if (least is not None and least < 0) or (most is not None and most < 0):
        raise SelectionError("a size is a number of bytes from 0")
    if least is not None and most is not None and least > most:
        raise SelectionError("the least size is above the largest, so that nothing would pass")
    since, before = asked.modified_since, asked.modified_before
    if since is not None and before is not None and since >= before:
        raise SelectionError("the time since is not before the time before: nothing would pass")


__all__ = ["Selector"]
