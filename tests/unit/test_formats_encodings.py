"""Hashes as text, one by one and by the column."""

from __future__ import annotations

import base64
import random

import pytest

from hashlists.formats.base import Encoding
from hashlists.formats.encodings import decode_column, decode_hash, detect_encoding, kind_name
from hashlists.model import HashKind

KINDS = tuple(HashKind)
WRITTEN = (Encoding.HEX, Encoding.BASE64, Encoding.BASE32, Encoding.DECIMAL)


def value(kind, seed=1):
    return random.Random(f"{kind}{seed}").randbytes(kind.nbytes)


def write(raw, encoding):
    if encoding is Encoding.BASE64:
        return base64.b64encode(raw).decode()
    if encoding is Encoding.BASE32:
        return base64.b32encode(raw).decode()
    return raw.hex() if encoding is Encoding.HEX else ",".join(map(str, raw))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", WRITTEN)
def test_every_kind_in_every_encoding(kind, encoding):
    text = write(value(kind), encoding)
    assert detect_encoding(text, kind) is encoding
    assert decode_hash(text, kind, encoding) == value(kind)
    assert decode_hash(f" {text}\n", kind, Encoding.DETECT) == value(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_detection_has_no_doubt_for_any_value(kind):
    """All-digit and all-letter values, upper and lower case, padded or not."""
    for raw in (bytes(kind.nbytes), b"\xff" * kind.nbytes, b"\x11" * kind.nbytes, value(kind)):
        for text in (raw.hex(), raw.hex().upper()):
            assert decode_hash(text, kind, Encoding.DETECT) == raw
        for encoding in WRITTEN:
            assert decode_hash(write(raw, encoding), kind, Encoding.DETECT) == raw
        bare = write(raw, Encoding.BASE32).rstrip("=")
        assert decode_hash(bare, kind, Encoding.DETECT) == raw
        assert decode_hash(bare.lower(), kind, Encoding.BASE32) == raw


def test_decimal_numbers_with_spaces():
    raw = value(HashKind.PHOTODNA)
    assert decode_hash(", ".join(map(str, raw)), HashKind.PHOTODNA, Encoding.DETECT) == raw


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", WRITTEN)
def test_wrong_lengths(kind, encoding):
    for raw in (value(kind)[:-1], value(kind) + b"a", b""):
        with pytest.raises(ValueError, match=f"not an? {kind_name(kind)} hash: expected"):
            decode_hash(write(raw, encoding), kind, encoding)


@pytest.mark.parametrize(
    ("kind", "encoding", "text", "told"),
    [
        (HashKind.SHA256, Encoding.HEX, "ab", "64 hexadecimal digits; the value has 2 characters"),
        (HashKind.SHA256, Encoding.HEX, "a", "hexadecimal digits; the value has 1 character,"),
        (HashKind.MD5, Encoding.BASE64, "A" * 24, "24 characters, which stand for 18 bytes"),
        (HashKind.MD5, Encoding.BASE64, "AA==", "4 characters, which stand for 1 byte"),
        (
            HashKind.MD5,
            Encoding.DECIMAL,
            "1,2",
            "16 numbers of 0 to 255 between commas; the value has 2",
        ),
        (HashKind.SHA1, Encoding.HEX, "a", "not a SHA-1 hash"),
        (HashKind.AHASH, Encoding.HEX, "a", "not an aHash hash"),
    ],
    ids=range(7),
)
def test_a_wrong_length_is_told_in_the_unit_that_was_expected(kind, encoding, text, told):
    with pytest.raises(ValueError) as caught:
        decode_hash(text, kind, encoding)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        (Encoding.HEX, "zz" * 16),
        (Encoding.HEX, "é" + "0" * 31),
        (Encoding.HEX, "00 " * 16),
        (Encoding.BASE64, "!" * 24),
        (Encoding.BASE64, "AAAA" * 5 + "AA=A"),
        (Encoding.BASE64, "é" * 24),
        (Encoding.BASE32, "1" * 26),
        (Encoding.BASE32, "A" * 27),
        (Encoding.BASE32, "é" * 26),
        (Encoding.DECIMAL, "256" + ",0" * 15),
        (Encoding.DECIMAL, "-1" + ",0" * 15),
        (Encoding.DECIMAL, "\u0661" + ",0" * 15),
        (Encoding.DECIMAL, "0,,0"),
        (Encoding.DETECT, "?"),
        (Encoding.HEX, "0" * 10_000),
    ],
)
def test_wrong_alphabets(encoding, text):
    with pytest.raises(ValueError, match="not an MD5 hash: expected") as caught:
        decode_hash(text, HashKind.MD5, encoding)
    assert text not in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", WRITTEN)
def test_a_column_decodes_as_its_values_do(kind, encoding):
    values = [value(kind, seed) for seed in range(20)]
    texts = [write(raw, encoding) for raw in values]
    joined = decode_column(texts, kind, encoding)
    assert joined in (None, b"".join(values))
    assert decode_column(texts, kind, Encoding.DETECT) == joined


def test_usual_columns_are_decoded_at_once():
    for kind, encoding in [
        *((kind, Encoding.HEX) for kind in KINDS),
        (HashKind.PHOTODNA, Encoding.BASE64),
    ]:
        assert decode_column([write(value(kind), encoding)], kind, encoding) == value(kind)


@pytest.mark.parametrize(
    "texts",
    [
        ["0" * 31, "0" * 33],
        ["0" * 32, "0" * 30 + "\n\n"],
        ["0" * 32, "0" * 31 + "g"],
        ["0" * 32, "0" * 31 + "é"],
    ],
)
def test_a_column_with_one_bad_value_is_declined(texts):
    assert decode_column(texts, HashKind.MD5, Encoding.HEX) is None


def test_a_padded_value_inside_a_base64_column_is_declined():
    good = write(value(HashKind.PHOTODNA), Encoding.BASE64)
    padded = good[:-4] + "AA=="
    for texts in ([padded, good], [good, padded]):
        assert decode_column(texts, HashKind.PHOTODNA, Encoding.BASE64) is None


def test_raw_bytes_are_taken_as_they_are():
    kind = HashKind.MD5
    raw = [bytes(range(16)), b" " * 16]
    assert decode_column(raw, kind, Encoding.RAW) == b"".join(raw)
    assert [decode_hash(each, kind, Encoding.RAW) for each in raw] == raw
    assert decode_column([raw[0], raw[1][1:]], kind, Encoding.RAW) is None
    assert decode_column([raw[0], "0" * 16], kind, Encoding.RAW) is None
    assert decode_hash(raw[0].hex(), kind, Encoding.RAW) == raw[0]
    with pytest.raises(ValueError, match="expected 16 bytes; the value has 15"):
        decode_hash(raw[0][1:], kind, Encoding.RAW)


@pytest.mark.parametrize("encoding", [Encoding.HEX, Encoding.DETECT])
def test_a_prefix_of_programming_languages_is_named(encoding):
    with pytest.raises(ValueError, match=r"begins with 0x, which is to be left out") as raised:
        decode_hash("0x" + "ab" * 16, HashKind.MD5, encoding)
    assert "abab" not in str(raised.value)
