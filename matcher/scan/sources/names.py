"""Names of files as keys: text where it is UTF-8, escapes where it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matcher.scan.model import Listed


def shown(name: bytes) -> str:
    r"""The name as text; bytes that are no UTF-8 stand as escapes, e.g. `\xff`."""
    return name.decode("utf-8", "backslashreplace")


def raw_of(name: bytes) -> bytes:
    """What `Listed.raw` has of a name: nothing where the text tells it all."""
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return name
    return b""


def key_bytes(listed: Listed) -> bytes:
    """The bytes by which an object is told from all others of its source."""
    return listed.raw or listed.key.encode("utf-8", "surrogatepass")


__all__ = ["key_bytes", "raw_of", "shown"]
