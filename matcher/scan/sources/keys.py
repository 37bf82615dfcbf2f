"""Keys of stores: which the storage library can ask for, and which are no objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from matcher.scan.errors import SourceError
from matcher.scan.model import Listed, Page

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

#: What the storage library refuses, or turns into another key: empty parts, "." and "..", and
#: characters that control terminals.
_NO_PATH: Final = re.compile(r"\A/|/\Z|//|(\A|/)\.{1,2}(/|\Z)|[\x00-\x1f\x7f]")

FOLDER_MARKER: Final = "folder_marker"


def is_path(key: str) -> bool:
    """Whether the storage library asks for just this key."""
    return bool(key) and _NO_PATH.search(key) is None


def order(key: str) -> bytes:
    """Stores list by the bytes of the keys."""
    return key.encode("utf-8", "surrogatepass")


def page_of(url: str, found: Sequence[Listed], *, below: str, after: str) -> Page:
    """A page of what a store has listed, behind the key `after`.

    Args:
        url: of the store, for errors.
        found: by their whole keys.
        below: what the keys begin with, and which is cut off them.
        after: the whole key of the object before; empty where there is none.

    Raises:
        SourceError: the store does not list in the order of keys, so that a stopped scan could not
            go on.
    """
    objects: list[Listed] = []
    markers = 0
    before = order(after) if after else None
    for each in found:
        now = order(each.key)
        if before is not None and now <= before:
            raise SourceError(
                f"{url}: the store does not list in the order of keys, so that a scan of it could"
                " not be resumed; scan it by an inventory, or copy it to a bucket that does"
            )
        before = now
        if each.key.endswith("/") and each.size == 0:
            markers += 1
        else:
            objects.append(
                Listed(
                    each.key.removeprefix(below), each.size, each.modified, each.etag, each.version
                )
            )
    return Page(tuple(objects), found[-1].key, {FOLDER_MARKER: markers} if markers else {})


def markers_named(found: Sequence[Listed], after: str) -> list[Listed]:
    """Listed objects, with the "/" that the storage library cuts off markers of folders.

    A marker is told by having no bytes and by its place: before what lies in its folder, or behind
    what it would stand before if it were called so.

    Args:
        found: a part of a listing, in the store's order.
        after: the key before; empty where there is none.
    """
    named: list[Listed] = []
    before = order(after)
    for at, each in enumerate(found):
        begun = each.key + "/"
        holds = at + 1 < len(found) and found[at + 1].key.startswith(begun)
        moved = order(each.key) <= before < order(begun)
        if each.size == 0 and (holds or moved):
            each = msgspec.structs.replace(each, key=begun)  # noqa: PLW2901
        named.append(each)
        before = order(each.key)
    return named


def told(key: str, size: int, modified: datetime, etag: str | None, version: str | None) -> Listed:
    """An object as a store tells of it, in a listing or when it is read: the same either way.

    Listings tell of split seconds and of etags without quotes where answers do not.
    """
    seconds = float(int(modified.timestamp()))
    return Listed(key, size, seconds, (etag or "").strip('"'), version or "")


__all__ = ["FOLDER_MARKER", "is_path", "markers_named", "order", "page_of", "told"]
