"""What lies encoded in a store, as a browser shows it.

A store gives an object's `Content-Encoding` (RFC 9110, section 8.4) with its bytes, and a browser
takes that off before it shows the picture. So does a scan: what is hashed and digested is what is
shown. What cannot be taken off is judged as it lies, which tells of itself.
"""

from __future__ import annotations

import zlib
from typing import Final

#: By name, what zlib calls the wrapping.
_WRAPPINGS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_NONE: Final = "identity"


def shown(data: bytes, encoding: str, *, max_bytes: int) -> bytes | None:
    """An object's bytes without their encoding; as they are where it cannot be taken off.

    None where more than `max_bytes` would come out.

    Args:
        data: as they lie in the store.
        encoding: the store's word for it, e.g. "gzip"; empty where there is none.
        max_bytes: of what comes out.
    """
    plain = data
    for name in reversed([each.strip().lower() for each in encoding.split(",") if each.strip()]):
        if name == _NONE:
            continue
        if name not in _WRAPPINGS:
            return data
        unpacker = zlib.decompressobj(_WRAPPINGS[name])
        try:
            plain = unpacker.decompress(plain, max_bytes + 1)
        except zlib.error:
            return data
        if len(plain) > max_bytes:
            return None
        if not unpacker.eof:
            return data
    return plain


__all__ = ["shown"]
