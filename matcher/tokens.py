"""An upload's hashes as a sealed token: kept by the platform beside its object, read by servers.

So uploads of the past can be checked against what became known since, and the server keeps nothing
of them. A token holds the digests and the codes of every view that was hashed, well enough told
apart that looking them up again gives what looking up the upload itself would; no pixels, no name.
It is sealed for the client that asked: nobody else can have it checked, and so learn by it whether
a stranger's upload is known.

Invariant: `open` gives what `seal` was given. Reads no clock but the one passed in.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.model import CODE_KINDS, DIGEST_KINDS, HashKind
from matcher.errors import BrokenSealError, TokenExpiredError
from matcher.model import ImageHashes, ViewHashes
from matcher.sealing import Sealer

if TYPE_CHECKING:
    from matcher.sealing import KeySource

#: No token is longer; sixteen views with every code take less than half of it.
MAX_TOKEN_BYTES = 16 * 1024
_PURPOSE = b"token"
_VERSION = 1
#: The kinds by their bit; what is added later comes behind.
_KINDS = (*DIGEST_KINDS, HashKind.PHOTODNA)
#: Version, seconds since 1970 UTC, bytes of the file or -1, digests and PhotoDNA by bit, views.
_HEAD = struct.Struct("<BIqBB")
#: Quality, codes by bit, bytes of the name.
_VIEW = struct.Struct("<BBB")
_NO_SIZE = -1
_DAY_SECONDS = 86_400
#: A clock may be behind that of the server which sealed.
_SKEW_SECONDS = 3_600


@dataclass(frozen=True, slots=True)
class Tokens:
    """Seals hashes, and opens tokens.

    Attributes:
        keys: what is sealed with.
        days: how long a token counts.
    """

    keys: KeySource
    days: int
    _sealer: Sealer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sealer", Sealer(self.keys, _PURPOSE))

    def seal(self, hashes: ImageHashes, client: str, *, now: float) -> bytes:
        """The token of an upload.

        Args:
            hashes: all that is known of it.
            client: for whom.
            now: seconds since 1970 UTC.

        Raises:
            SealingKeyError: there is no key.
        """
        return self._sealer.seal(to_bytes(hashes, sealed_at=int(now)), client.encode())

    def open(self, token: bytes, client: str, *, now: float) -> ImageHashes:
        """The hashes in a token.

        Raises:
            BrokenSealError: it was altered, or sealed elsewhere or for somebody else.
            TokenExpiredError: it is too old.
            SealingKeyError: there is no key.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise BrokenSealError("the token is longer than any that was sealed here")
        try:
            data = self._sealer.open(token, client.encode())
        except BrokenSealError as error:
            raise BrokenSealError(f"the token {error}") from None
        sealed_at, hashes = from_bytes(data)
        if not -_SKEW_SECONDS <= now - sealed_at <= self.days * _DAY_SECONDS:
            raise TokenExpiredError(
                f"the token is older than tokens count, {self.days} days: match the upload again"
            )
        return hashes


def to_bytes(hashes: ImageHashes, *, sealed_at: int) -> bytes:
    """What is sealed: a head, digests and PhotoDNA in the order of their bits, and the views."""
    known = {**hashes.digests, HashKind.PHOTODNA: hashes.photodna}
    values = [(bit, value) for bit, kind in enumerate(_KINDS) if (value := known.get(kind))]
    size = _NO_SIZE if hashes.size is None else hashes.size
    mask = sum(1 << bit for bit, _ in values)
    parts = [_HEAD.pack(_VERSION, sealed_at, size, mask, len(hashes.views))]
    parts += [value for _, value in values]
    for view in hashes.views:
        codes = [
            (bit, code)
            for bit, kind in enumerate(CODE_KINDS)
            if (code := view.codes.get(kind)) is not None
        ]
        name = view.view.encode()
        parts.append(_VIEW.pack(view.quality, sum(1 << bit for bit, _ in codes), len(name)))
        parts.append(name)
        parts += [code for _, code in codes]
    return b"".join(parts)


def from_bytes(data: bytes) -> tuple[int, ImageHashes]:
    """When it was sealed, and the hashes, of what `to_bytes` gave.

    Raises:
        BrokenSealError: it did not, or a later build did.
    """
    try:
        return _read(_Reader(data))
    except (struct.error, ValueError):
        raise BrokenSealError("the token was sealed by a later version") from None


def _read(reader: _Reader) -> tuple[int, ImageHashes]:
    version, sealed_at, size, mask, count = reader.fields(_HEAD)
    if version != _VERSION or mask >> len(_KINDS):
        raise ValueError
    values = {kind: reader.take(kind.nbytes) for bit, kind in enumerate(_KINDS) if mask >> bit & 1}
    views = []
    for _ in range(count):
        quality, codes, length = reader.fields(_VIEW)
        if codes >> len(CODE_KINDS):
            raise ValueError
        name = reader.take(length).decode()
        held = (kind for bit, kind in enumerate(CODE_KINDS) if codes >> bit & 1)
        views.append(ViewHashes(name, quality, {kind: reader.take(kind.nbytes) for kind in held}))
    if reader.left:
        raise ValueError
    photodna = values.pop(HashKind.PHOTODNA, None)
    known = None if size == _NO_SIZE else size
    return sealed_at, ImageHashes(values, known, tuple(views), photodna=photodna)


class _Reader:
    """Takes fields off the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def fields(self, form: struct.Struct) -> tuple[int, ...]:
        return form.unpack(self.take(form.size))

    def take(self, length: int) -> bytes:
        if length > self.left:
            raise ValueError
        self._at += length
        return self._data[self._at - length : self._at]


__all__ = ["MAX_TOKEN_BYTES", "Tokens", "from_bytes", "to_bytes"]
