"""How long and how hard a place is tried; nothing of it changes what is listed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Patience and sizes.

    Attributes:
        page_objects: objects of a page, at most; of a folder, entries that are passed.
        connect_seconds: for one connection to be made.
        idle_seconds: for the next bytes to come.
        readers: files that are read, or pages that are listed, at the same time.
        listing_tries: how often a page of a store's listing is asked for; objects once.
        allow_http: a store's endpoint may be plain HTTP on another machine than this one.
        anonymous: a store is asked without credentials, as public buckets can be.
    """

    page_objects: int = 1000
    connect_seconds: float = 10.0
    idle_seconds: float = 60.0
    readers: int = 16
    listing_tries: int = 8
    allow_http: bool = False
    anonymous: bool = False


__all__ = ["SourceOptions"]
