"""Packs an export on its way, with gzip or Zstandard: the same bytes for the same content."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

import zstandard

from hashlists.exporting.request import Compression

if TYPE_CHECKING:
    from hashlists.exporting.layers import Sink

_GZIP_FORMAT = 31  # zlib's number for gzip with the largest window; no name, no time
_GZIP_LEVEL = 6
_ZSTD_LEVEL = 3


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class PackingSink:
    """Packs what it is given; what was abandoned has no end, so that no reader takes it."""

    def __init__(self, below: Sink, compression: Compression) -> None:
        self._below = below
        self._compressor: _Compressor = (
            zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_FORMAT)
            if compression is Compression.GZIP
            else zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()
        )

    def write(self, data: bytes) -> None:
        """Packs a piece."""
        if packed := self._compressor.compress(data):
            self._below.write(packed)

    def finish(self) -> None:
        """Writes the end."""
        self._below.write(self._compressor.flush())
        self._below.finish()

    def abandon(self) -> None:
        """Leaves the end out."""
        self._below.abandon()


__all__ = ["PackingSink"]
