"""Validation: what is rejected and why, keys, content digests, and that nothing gets lost."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime

import pytest

from hashlists.formats.base import (
    Encoding,
    FieldNames,
    FileHeader,
    FlagColumn,
    HashColumn,
    RawBatch,
    RawHash,
)
from hashlists.limits import ImportLimits
from hashlists.model import (
    NO_ONWARD_SHARING,
    Classification,
    EntryFlag,
    ExtraHash,
    Handling,
    HashKind,
    Place,
    Rejection,
)
from hashlists.validate import KEY_TAGS, validate

HEADER = FileHeader("vics", "2.0", "vics", "US")


def value(kind: HashKind, seed: int = 1) -> bytes:
    return random.Random(f"{kind}{seed}").randbytes(kind.nbytes)


def place_at(row: int) -> Place:
    return Place("record", row + 1, 100 * row)


def column(kind, *values):
    texts = [raw.hex() if isinstance(raw, bytes) else raw for raw in values]
    return HashColumn(kind, texts, Encoding.DETECT, str(kind).upper())


def batch(*columns, rows=None, **more):
    rows = len(columns[0].values) if rows is None else rows
    return RawBatch(rows=rows, header=HEADER, hashes=columns, place_at=place_at, **more)


def md5s(count, **more):
    values = [value(HashKind.MD5, seed) for seed in range(count)]
    return batch(column(HashKind.MD5, *values), **more)


def check(raw, handling=NO_ONWARD_SHARING, **limits):
    result = validate(raw, default_handling=handling, limits=ImportLimits(**limits))
    entries = result.entries
    assert len(entries) + len(result.rejections) == raw.rows + len(raw.rejections)
    assert result.retractions == ()
    for name in entries.__slots__:
        if name not in {"hashes", "extra_hashes", "place_at", "stamped"}:
            assert len(getattr(entries, name)) == len(entries), name
    for kind, values in entries.hashes.items():
        assert len(values) == len(entries)
        assert all(value is None or len(value) == kind.nbytes for value in values)
        assert any(values)
    return result


def rejected(raw, **limits):
    return [(r.place.number, r.field, r.reason) for r in check(raw, **limits).rejections]


def test_an_empty_batch():
    result = check(batch(rows=0))
    assert len(result.entries) == 0
    assert result.rejections == []


def test_one_bad_row_does_not_fail_its_neighbours():
    good = [value(HashKind.MD5, seed) for seed in range(4)]
    raw = batch(
        column(HashKind.MD5, good[0], "xyz", good[2], good[3]),
        column(HashKind.PDQ, *(value(HashKind.PDQ, seed) for seed in range(3)), None),
        sizes=[1, 2, 3, 4],
        codes=[0, 1, 2, None],
        source_ids=[10, 11, 12, 13],
        extra_hashes=[
            RawHash(row, HashKind.PDQ, value(HashKind.PDQ, 9).hex(), Encoding.HEX, "more")
            for row in range(4)
        ],
    )
    result = check(raw)
    entries = result.entries
    assert entries.hashes[HashKind.MD5] == [good[0], good[2], good[3]]
    # The last row had no first PDQ code, so its further one takes that place.
    pdqs = [value(HashKind.PDQ, seed) for seed in (0, 2, 9)]
    assert entries.hashes[HashKind.PDQ] == pdqs
    assert entries.extra_hashes == [
        ExtraHash(0, HashKind.PDQ, value(HashKind.PDQ, 9)),
        ExtraHash(1, HashKind.PDQ, value(HashKind.PDQ, 9)),
    ]
    assert entries.sizes == [1, 3, 4]
    assert entries.source_ids == ["10", "12", "13"]
    assert [item and item.code for item in entries.classifications] == ["0", "2", None]
    assert [entries.place_at(row).number for row in range(3)] == [1, 3, 4]
    (rejection,) = result.rejections
    assert rejection.place == Place("record", 2, 100)
    assert rejection.field == "MD5"
    assert rejection.reason.startswith("not an MD5 hash: expected 32 hexadecimal digits")


def test_first_bad_field_is_named_once():
    raw = batch(column(HashKind.MD5, "x"), sizes=[-1], codes=["c" * 99])
    assert len(rejected(raw)) == 1


def test_rejections_of_the_reader_are_kept_in_file_order():
    known = [Rejection(Place("record", number), "", "seen before") for number in (2, 9)]
    raw = RawBatch(
        rows=2,
        header=HEADER,
        hashes=[column(HashKind.MD5, "x", "y")],
        place_at=lambda row: Place("record", (1, 5)[row]),
        rejections=known,
    )
    assert [number for number, _, _ in rejected(raw)] == [1, 2, 5, 9]


@pytest.mark.parametrize("kind", [HashKind.MD5, HashKind.SHA1, HashKind.SHA256])
def test_digests_of_the_empty_file(kind):
    empty = hashlib.new(str(kind), b"").digest()
    ((number, name, reason),) = rejected(batch(column(kind, value(kind), empty)))
    assert (number, name) == (2, str(kind).upper())
    assert "of the empty file" in reason


@pytest.mark.parametrize("kind", list(HashKind))
@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_values_with_all_bits_equal(kind, byte):
    bad = bytes([byte]) * kind.nbytes
    ((number, _, reason),) = rejected(batch(column(kind, value(kind), bad, value(kind, 2))))
    assert number == 2
    assert "bits are all equal" in reason


@pytest.mark.parametrize("kind", list(HashKind))
def test_a_run_of_zeros_across_two_values_is_no_fault(kind):
    half = kind.nbytes // 2
    first = value(kind)[:half] + bytes(kind.nbytes - half)
    second = bytes(half) + value(kind, 2)[half:]
    assert rejected(batch(column(kind, first, second))) == []


def pdq_with(bits: int) -> bytes:
    return ((1 << bits) - 1).to_bytes(32, "big")


@pytest.mark.parametrize(
    ("bits", "reason"),
    [
        (1, "1 of 256"),
        (15, "15 of 256"),
        (16, ""),
        (64, ""),
        (128, ""),
        (240, ""),
        (241, "241 of 256"),
    ],
)
def test_pdq_codes_that_tell_nothing(bits, reason):
    found = rejected(batch(column(HashKind.PDQ, pdq_with(bits))))
    assert bool(found) == bool(reason)
    if reason:
        assert reason in found[0][2]


def test_any_two_pdq_codes_below_the_bound_match_each_other():
    """The reason for the bound: such codes would match whatever they show."""
    low, other = pdq_with(15), pdq_with(15)[::-1]
    distance = (int.from_bytes(low, "big") ^ int.from_bytes(other, "big")).bit_count()
    assert distance == 30


def test_a_record_without_any_hash():
    raw = batch(column(HashKind.MD5, value(HashKind.MD5), None, "", "  "))
    assert [(number, reason) for number, _, reason in rejected(raw)] == [
        (2, "the record has no hash"),
        (3, "the record has no hash"),
        (4, "the record has no hash"),
    ]
    assert rejected(batch(rows=2)) == [(n, "", "the record has no hash") for n in (1, 2)]


def test_columns_without_values_are_absent():
    raw = batch(column(HashKind.MD5, value(HashKind.MD5)), column(HashKind.PDQ, None))
    assert set(check(raw).entries.hashes) == {HashKind.MD5}


def test_kinds_only_in_rejected_rows_are_absent():
    raw = batch(
        column(HashKind.MD5, value(HashKind.MD5), "x"),
        column(HashKind.PDQ, None, pdq_with(99)),
    )
    assert set(check(raw).entries.hashes) == {HashKind.MD5}


@pytest.mark.parametrize("kind", list(HashKind))
def test_key_is_tag_and_value(kind):
    entries = check(batch(column(kind, value(kind)))).entries
    assert entries.keys == [KEY_TAGS[kind] + value(kind)]


def test_tags_are_as_stored_in_catalogs():
    assert {str(kind): tag[0] for kind, tag in KEY_TAGS.items()} == {
        "sha256": 1,
        "sha1": 2,
        "md5": 3,
        "pdq": 4,
        "photodna": 5,
        "phash": 6,
        "dhash": 7,
        "ahash": 8,
        "whash": 9,
    }


def test_the_first_kind_present_gives_the_key():
    sha, md5 = value(HashKind.SHA1), value(HashKind.MD5)
    raw = batch(
        column(HashKind.MD5, md5, md5, None),
        column(HashKind.SHA1, sha, None, None),
        column(HashKind.PDQ, None, None, pdq_with(99)),
    )
    keys = check(raw).entries.keys
    assert keys == [
        KEY_TAGS[HashKind.SHA1] + sha,
        KEY_TAGS[HashKind.MD5] + md5,
        KEY_TAGS[HashKind.PDQ] + pdq_with(99),
    ]


def test_declared_key_kinds_are_binding():
    raw = batch(
        column(HashKind.MD5, value(HashKind.MD5), None),
        column(HashKind.SHA1, value(HashKind.SHA1), value(HashKind.SHA1)),
        key_kinds=[HashKind.MD5],
        names=FieldNames(key="K"),
    )
    assert rejected(raw) == [(2, "K", "the record has no key")]


def test_blanks_at_the_ends_of_an_id_are_padding():
    raw = md5s(4, key_texts=[" a", "b \u00a0", "c d", "  "], names=FieldNames(key="K"))
    assert [key[1:] for key in check(raw).entries.keys] == [b"a", b"b", b"c d"]
    assert rejected(raw) == [(4, "K", "the record has no key")]


def test_text_keys():
    raw = md5s(4, key_texts=["a", "\u00e9", None, "x" * 300], names=FieldNames(key="K"))
    result = check(raw)
    assert result.entries.keys == [b"\x00a", b"\x00" + "\u00e9".encode()]
    assert [(r.place.number, r.field) for r in result.rejections] == [(3, "K"), (4, "K")]


@pytest.mark.parametrize(
    ("size", "expected"),
    [(5, 5), ("5", 5), (" 5 ", 5), ("+5", 5), (None, None), ("", None), (0, None), ("0", None)],
)
def test_sizes(size, expected):
    assert list(check(md5s(2, sizes=[size, 7])).entries.sizes) == [expected, 7]


@pytest.mark.parametrize(
    "size", [-1, "-1", 2**63, "1e3", "0x10", "five", "1.0", "9" * 30, "\u0661"]
)
def test_sizes_that_are_none(size):
    ((number, name, _),) = rejected(md5s(2, sizes=[7, size], names=FieldNames(size="Bytes")))
    assert (number, name) == (2, "Bytes")


def test_largest_size_at_its_edge():
    sizes = [2**63 - 1]
    assert list(check(md5s(1, sizes=sizes)).entries.sizes) == sizes


def test_verified_counts_keep_zero():
    entries = check(md5s(3, verified_counts=["0", 3, None])).entries
    assert list(entries.verified_counts) == [0, 3, None]


@pytest.mark.parametrize("text", ["a\x00b", "a\nb", "\ud800", "x" * 257])
def test_ids_that_no_database_takes(text):
    ((number, name, reason),) = rejected(
        md5s(2, source_ids=["ok", text], names=FieldNames(source_id="ID"))
    )
    assert (number, name) == (2, "ID")
    assert text not in reason


def test_longest_code_and_text_at_their_edges():
    entries = check(md5s(1, codes=["c" * 64], updated_at=["t" * 128])).entries
    assert entries.classifications[0].code == "c" * 64
    assert entries.source_updated_at == ["t" * 128]
    assert len(rejected(md5s(1, updated_at=["t" * 129]))) == 1


def test_longest_id_at_its_edge():
    entries = check(md5s(1, source_ids=["x" * 256])).entries
    assert list(entries.source_ids) == ["x" * 256]


def test_empty_ids_are_none():
    assert list(check(md5s(3, source_ids=["", None, 0])).entries.source_ids) == [None, None, "0"]


@pytest.mark.parametrize("code", ["c" * 65, "a\x00"])
def test_codes_that_are_too_much(code):
    raw = md5s(3, codes=[1, code, "1"], names=FieldNames(category="Category"))
    result = check(raw)
    assert [(r.place.number, r.field) for r in result.rejections] == [(2, "Category")]
    assert result.entries.classifications == [Classification("vics", "US", "1")] * 2


def test_classifications_are_interned():
    entries = check(md5s(3, codes=[1, 1, "1"])).entries
    assert len({id(item) for item in entries.classifications}) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("image/jpeg", "image/jpeg"),
        ("image/svg+xml", "image/svg+xml"),
        ("jpeg", None),
        ("a b/c", None),
        ("image/" + "x" * 200, None),
        ("", None),
        (None, None),
    ],
)
def test_media_types(text, expected):
    assert list(check(md5s(1, media_types=[text])).entries.media_types) == [expected]


@pytest.mark.parametrize("word", ["true", "T", " yes", "Y", "1", True, 1])
def test_words_for_yes(word):
    entries = check(md5s(1, flags=[FlagColumn(EntryFlag.BASELINE, [word], "B")])).entries
    assert (entries.flags, entries.flags_known) == ([128], [128])


@pytest.mark.parametrize("word", ["false", "F", "no ", "N", "0", False, 0])
def test_words_for_no(word):
    entries = check(md5s(1, flags=[FlagColumn(EntryFlag.BASELINE, [word], "B")])).entries
    assert (entries.flags, entries.flags_known) == ([0], [128])


def test_words_that_are_neither():
    flags = [
        FlagColumn(EntryFlag.BASELINE, ["yes", "no", "yes"], "B"),
        FlagColumn(EntryFlag.SERIES, [None, "maybe", "no"], "S"),
    ]
    result = check(md5s(3, flags=flags))
    assert [(r.place.number, r.field) for r in result.rejections] == [(2, "S")]
    assert result.entries.flags == [128, 128]
    assert result.entries.flags_known == [128, 132]


def test_extra_hashes_are_limited_at_the_edge():
    extra = [
        RawHash(0, HashKind.PDQ, value(HashKind.PDQ, seed).hex(), Encoding.HEX, "more")
        for seed in range(6)
    ]
    assert rejected(md5s(1, extra_hashes=extra), max_extra_hashes=5) == []
    assert rejected(md5s(1, extra_hashes=extra), max_extra_hashes=4) == [
        (1, "more", "more than 4 further hashes")
    ]


def test_a_bad_extra_hash_rejects_its_record():
    extra = [RawHash(1, HashKind.PDQ, "x", Encoding.HEX, "more")]
    result = check(md5s(2, extra_hashes=extra))
    assert [(r.place.number, r.field) for r in result.rejections] == [(2, "more")]
    assert set(result.entries.hashes) == {HashKind.MD5}


def test_default_handling():
    handling = Handling("unit", ("other",), datetime(2030, 1, 1, tzinfo=UTC))
    assert check(md5s(2), handling).entries.handlings == [handling] * 2


# Content digests


def digest_of(handling=NO_ONWARD_SHARING, **more):
    (digest,) = check(md5s(1, **more), handling).entries.content_digests
    assert len(digest) == 16
    return digest


def test_content_digest_does_not_depend_on_the_batch():
    values = [value(HashKind.MD5, seed) for seed in range(3)]
    together = check(
        batch(column(HashKind.MD5, *values), column(HashKind.PDQ, None, pdq_with(99), None))
    ).entries.content_digests
    alone = check(batch(column(HashKind.MD5, values[0]))).entries.content_digests
    assert together[0] == alone[0]
    assert len(set(together)) == 3


def test_content_digest_depends_on_every_field_but_the_key():
    pdq = [RawHash(0, HashKind.PDQ, pdq_with(99).hex(), Encoding.HEX, "")]
    more = RawHash(0, HashKind.PDQ, pdq_with(98).hex(), Encoding.HEX, "")
    flag = FlagColumn(EntryFlag.BASELINE, ["yes"], "")
    digests = [
        digest_of(),
        digest_of(extra_hashes=pdq),
        digest_of(extra_hashes=[*pdq, more]),
        digest_of(sizes=[1]),
        digest_of(verified_counts=[1]),
        digest_of(codes=[1]),
        digest_of(codes=[2]),
        digest_of(flags=[flag]),
        digest_of(flags=[FlagColumn(EntryFlag.BASELINE, ["no"], "")]),
        digest_of(source_ids=["a"]),
        digest_of(updated_at=["a"]),
        digest_of(media_types=["a/a"]),
        digest_of(handling=Handling("o")),
        digest_of(handling=Handling("", ("o",))),
        digest_of(handling=Handling("", (), datetime(2030, 1, 1, tzinfo=UTC))),
    ]
    assert len(set(digests)) == len(digests)
    assert digest_of(key_texts=["other key"]) == digest_of()


def test_content_digest_does_not_depend_on_the_order_of_extra_hashes():
    texts = [value(HashKind.PDQ, seed).hex() for seed in range(3)]
    first = [RawHash(0, HashKind.PDQ, pdq_with(99).hex(), Encoding.HEX, "")]
    orders = [
        [*first, *(RawHash(0, HashKind.PDQ, texts[n], Encoding.HEX, "") for n in order)]
        for order in ((0, 1, 2), (2, 0, 1), (1, 1, 2, 0))
    ]
    assert len({digest_of(extra_hashes=order) for order in orders}) == 1


def test_content_digest_is_the_one_that_catalogs_hold():
    """A change of the digest would mark every entry of every list as updated."""
    digest = digest_of(
        sizes=[488], codes=[1], source_ids=["7"], handling=Handling("unit", ("b", "a"))
    )
    assert digest.hex() == "08ed63aadeb9384d1e6ed1cdcae3612e"
