"""Hashes as text: hex, base64, base32 and decimal numbers, one value or a column at a time.

Both ways give the same bytes for the same text; the column way may decline, never differ. Whether
a value makes sense as a hash is not judged here. No error text repeats a value.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING, Final

from hashlists.formats.base import Encoding
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_BASE32 = re.compile(r"[A-Z2-7]*=*", re.ASCII)
_OCTETS = re.compile(r"[0-9]{1,3}(?: ?, ?[0-9]{1,3})*", re.ASCII)
_NAMES: Mapping[HashKind, str] = {
    HashKind.PDQ: "PDQ",
    HashKind.PHASH: "pHash",
    HashKind.DHASH: "dHash",
    HashKind.AHASH: "aHash",
    HashKind.WHASH: "wHash",
    HashKind.PHOTODNA: "PhotoDNA",
    HashKind.MD5: "MD5",
    HashKind.SHA1: "SHA-1",
    HashKind.SHA256: "SHA-256",
}
#: Longest text of a value taken up at all, in characters for each byte ("255, " and then some).
_MAX_CHARS_PER_BYTE: Final = 8


def kind_name(kind: HashKind) -> str:
    """The kind as its makers write it, for messages."""
    return _NAMES[kind]


def kind_with_article(kind: HashKind) -> str:
    """The kind as a message speaks of one hash of it, e.g. "an MD5"."""
    name = _NAMES[kind]
    return f"an {name}" if kind in (HashKind.MD5, HashKind.AHASH) else f"a {name}"


#: Before hexadecimal digits in many programming languages, and in no list.
_C_PREFIX: Final = "0x"


def decode_hash(text: str | bytes, kind: HashKind, encoding: Encoding) -> bytes:
    """Decodes one value.

    Args:
        text: the value as written; white space around it is ignored. Bytes where the encoding is
            `RAW`.
        kind: says how many bytes there must be.
        encoding: how it is written.

    Returns:
        Exactly `kind.nbytes` bytes.

    Raises:
        ValueError: the text is not such a value; the message says what was expected instead.
    """
    if isinstance(text, bytes):
        if len(text) != kind.nbytes:
            problem = f"the value has {len(text)}"
            raise ValueError(_expectation(kind, Encoding.RAW, problem))
        return text
    if len(text) > _MAX_CHARS_PER_BYTE * kind.nbytes + 64:
        raise ValueError(_expectation(kind, encoding, f"the value has {_count_chars(text)}"))
    text = text.strip()
    if encoding in (Encoding.DETECT, Encoding.RAW):  # a text among bytes may be of any encoding
        encoding = detect_encoding(text, kind)
    try:
        value = _DECODERS[encoding](text)
    except ValueError:
        problem = f"the value has {_count_chars(text)}, or others than those allowed"
        if text[:2].lower() == _C_PREFIX:
            problem += "; it begins with 0x, which is to be left out"
        raise ValueError(_expectation(kind, encoding, problem)) from None
    if len(value) != kind.nbytes:
        raise ValueError(_expectation(kind, encoding, _wrong_length(text, value, encoding)))
    return value


def _wrong_length(text: str, value: bytes, encoding: Encoding) -> str:
    """What is wrong with a well-formed value, in the unit of what was expected."""
    if encoding is Encoding.DECIMAL:
        return f"the value has {len(value)}"
    if encoding is Encoding.HEX:
        return f"the value has {_count_chars(text)}"
    stands = "byte" if len(value) == 1 else "bytes"
    return f"the value has {_count_chars(text)}, which stand for {len(value)} {stands}"


def _count_chars(text: str) -> str:
    return "1 character" if len(text) == 1 else f"{len(text)} characters"


def decode_column(
    texts: Sequence[str] | Sequence[bytes], kind: HashKind, encoding: Encoding
) -> bytes | None:
    """Decodes many values at once.

    Args:
        texts: at least one value, none empty; bytes where the encoding is `RAW`.
        kind: says how many bytes each value must have.
        encoding: how they are written.

    Returns:
        All values joined, `len(texts) * kind.nbytes` bytes, or None when at least one of them is
        not plainly of that encoding: then only `decode_hash` can tell.
    """
    first = texts[0]
    if encoding is Encoding.DETECT and isinstance(first, str):
        encoding = detect_encoding(first, kind)
    size = _joined_size(kind.nbytes, encoding)
    if set(map(len, texts)) != {size}:
        return None
    try:
        if encoding is Encoding.RAW:
            return b"".join(texts)  # type: ignore[arg-type]  # see TypeError
        joined = _DECODERS[encoding]("".join(texts))  # type: ignore[arg-type]
    except TypeError:  # texts among bytes, or bytes among texts
        return None
    except ValueError:
        return None
    return joined if len(joined) == kind.nbytes * len(texts) else None


def detect_encoding(text: str, kind: HashKind) -> Encoding:
    """Tells by its shape how a value is written; hex where no shape fits.

    The lengths of the encodings differ for every kind, so there is never a choice to make.
    """
    if "," in text:
        return Encoding.DECIMAL
    nbytes = kind.nbytes
    if len(text) == _base64_size(nbytes):
        return Encoding.BASE64
    if len(text.rstrip("=")) == _base32_size(nbytes):
        return Encoding.BASE32
    return Encoding.HEX


def _joined_size(nbytes: int, encoding: Encoding) -> int:
    """Characters of one value, if values of this encoding can be joined before decoding; else 0."""
    if encoding is Encoding.HEX:
        return 2 * nbytes
    if encoding is Encoding.RAW:
        return nbytes
    if encoding is Encoding.BASE64 and nbytes % 3 == 0:
        return _base64_size(nbytes)
    return 0


def _base64_size(nbytes: int) -> int:
    return -(-nbytes // 3) * 4


def _base32_size(nbytes: int) -> int:
    """Characters without padding."""
    return -(-nbytes * 8 // 5)


def _from_hex(text: str) -> bytes:
    return binascii.unhexlify(text)


def _from_base64(text: str) -> bytes:
    return binascii.a2b_base64(text, strict_mode=True)


def _from_base32(text: str) -> bytes:
    bare = text.upper().rstrip("=")
    if not _BASE32.fullmatch(bare):
        raise ValueError
    return base64.b32decode(bare + "=" * (-len(bare) % 8))


def _from_decimal(text: str) -> bytes:
    if not _OCTETS.fullmatch(text):
        raise ValueError
    return bytes(map(int, text.split(",")))


_DECODERS: Mapping[Encoding, Callable[[str], bytes]] = {
    Encoding.HEX: _from_hex,
    Encoding.BASE64: _from_base64,
    Encoding.BASE32: _from_base32,
    Encoding.DECIMAL: _from_decimal,
}


def _expectation(kind: HashKind, encoding: Encoding, problem: str) -> str:
    nbytes = kind.nbytes
    form = {
        Encoding.HEX: f"{2 * nbytes} hexadecimal digits",
        Encoding.BASE64: f"{_base64_size(nbytes)} characters of base64 for {nbytes} bytes",
        Encoding.BASE32: f"{_base32_size(nbytes)} characters of base32 for {nbytes} bytes",
        Encoding.DECIMAL: f"{nbytes} numbers of 0 to 255 between commas",
        Encoding.RAW: f"{nbytes} bytes",
        Encoding.DETECT: f"{nbytes} bytes as hex, base64, base32 or decimal numbers",
    }[encoding]
    return f"not {kind_with_article(kind)} hash: expected {form}; {problem}"
