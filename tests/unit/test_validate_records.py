"""What a record may say of itself beside its hashes: withdrawal, scheme, handling, derivation."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from hashlists.formats.base import Encoding, FileHeader, HashColumn, RawBatch, RawHash
from hashlists.limits import ImportLimits
from hashlists.model import (
    NOTHING_SAID,
    Classification,
    ExtraHash,
    Handling,
    HashKind,
    Place,
    SaidHandling,
)
from hashlists.validate import KEY_TAGS, TEXT_KEY_TAG, validate
from tests.catalog_support import value

LIST_HANDLING = Handling("the list's source", ("unit-a",), datetime(2030, 1, 1, tzinfo=UTC))


def md5(seed):
    return value(HashKind.MD5, seed).hex()


def batch(*hashes, **more):
    return RawBatch(
        rows=len(hashes),
        header=FileHeader("test", "1", "vics", "US"),
        hashes=[HashColumn(HashKind.MD5, hashes, Encoding.HEX, "MD5")],
        place_at=lambda row: Place("record", row + 1),
        **more,
    )


def check(raw, **limits):
    return validate(raw, default_handling=LIST_HANDLING, limits=ImportLimits(**limits))


class TestRetractions:
    def test_a_row_that_withdraws_is_no_entry(self):
        result = check(
            batch(md5(1), md5(2), retracted=[False, True], retraction_reasons=[None, "by mistake"])
        )
        assert result.entries.keys == [KEY_TAGS[HashKind.MD5] + value(HashKind.MD5, 1)]
        (gone,) = result.retractions
        assert gone.key == KEY_TAGS[HashKind.MD5] + value(HashKind.MD5, 2)
        assert gone.reason == "by mistake"

    def test_needs_no_hash_where_it_names_a_key(self):
        result = check(batch(None, key_texts=["42:a"], retracted=[True]))
        assert [each.key for each in result.retractions] == [TEXT_KEY_TAG + b"42:a"]
        assert result.retractions[0].reason == ""
        assert result.rejections == []

    def test_holds_whatever_is_wrong_with_its_other_fields(self):
        result = check(
            batch("zz", key_texts=["a"], retracted=[True], sizes=["many"], codes=["x" * 99])
        )
        assert len(result.retractions) == 1
        assert result.rejections == []

    @pytest.mark.parametrize("keys", [None, [""], ["x" * 300], ["\0"]])
    def test_is_rejected_without_a_key(self, keys):
        result = check(batch(None, key_texts=keys, retracted=[True]))
        assert len(result.rejections) == 1
        assert len(result.entries) == len(result.retractions) == 0

    def test_places_of_what_is_left(self):
        raw = batch(md5(1), md5(2), "zz", md5(4), retracted=[True, False, False, False])
        result = check(raw)
        assert [result.entries.place_at(row).number for row in range(2)] == [2, 4]
        assert [each.place.number for each in result.rejections] == [3]


class TestClassifications:
    def test_scheme_and_profile_of_each_row(self):
        raw = batch(
            *map(md5, range(5)),
            codes=["A1", 1, "2", None, ""],
            schemes=["ncmec", None, "uk", "ncmec", None],
            profiles=["npo", None, None, "npo", None],
        )
        assert check(raw).entries.classifications == [
            Classification("ncmec", "npo", "A1"),
            Classification("vics", "US", "1"),
            Classification("uk", "", "2"),
            None,
            None,
        ]

    def test_a_profile_alone_goes_with_the_scheme_of_the_file(self):
        raw = batch(md5(1), codes=["1"], profiles=["UK"])
        assert check(raw).entries.classifications == [Classification("vics", "UK", "1")]

    @pytest.mark.parametrize("bad", ["x" * 65, "a\0b"])
    def test_a_bad_scheme_rejects_its_row(self, bad):
        raw = batch(md5(1), md5(2), codes=["1", "1"], schemes=[bad, "uk"])
        assert [each.place.number for each in check(raw).rejections] == [1]


class TestHandling:
    def test_what_a_row_does_not_say_its_list_says(self):
        raw = batch(
            *map(md5, range(4)),
            originators=["unit-x", None, None, None],
            releasable_to=[None, ["unit-b", "unit-c", "unit-b"], [], None],
            expires_at=[None, None, None, "2027-02-03T04:05:06Z"],
        )
        first, second, third, fourth = check(raw).entries.handlings
        assert first == Handling("unit-x", ("unit-a",), LIST_HANDLING.expires_at)
        assert second.releasable_to == ("unit-b", "unit-c")
        assert third.releasable_to == ()
        assert fourth.expires_at == datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC)

    def test_what_a_row_says_itself_is_told_apart(self):
        """Its list may come to say something else."""
        raw = batch(
            *map(md5, range(4)),
            "zz",
            originators=["unit-x", None, LIST_HANDLING.originator, None, None],
            releasable_to=[None, [], ["unit-a"], None, None],
            expires_at=[None, "2027-02-03T04:05:06Z", None, None, None],
        )
        entries = check(raw).entries
        first, second, third, fourth = entries.said_handlings
        assert first == SaidHandling("unit-x")
        assert second == SaidHandling(None, (), datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC))
        assert third == SaidHandling(LIST_HANDLING.originator, ("unit-a",))
        assert fourth is NOTHING_SAID
        assert [each.over(LIST_HANDLING) for each in entries.said_handlings] == entries.handlings
        assert (
            entries.content_digests[2:] == check(batch(*map(md5, (2, 3)))).entries.content_digests
        )
        assert check(batch(md5(1))).entries.said_handlings == [NOTHING_SAID]

    def test_equal_handlings_are_one_object(self):
        raw = batch(*map(md5, range(3)), originators=["x", "x", None])
        first, second, third = check(raw).entries.handlings
        assert first is second
        assert third is LIST_HANDLING

    def test_a_time_without_a_zone_is_utc(self):
        (handling,) = check(batch(md5(1), expires_at=["2027-02-03T04:05:06"])).entries.handlings
        assert handling.expires_at == datetime(2027, 2, 3, 4, 5, 6, tzinfo=UTC)

    def test_one_instant_is_one_handling_in_whatever_zone(self):
        ends = ["2027-02-03T04:05:06Z", "2027-02-03T05:05:06+01:00"]
        first, second = check(batch(md5(1), md5(1), expires_at=ends)).entries.content_digests
        assert first == second

    def test_an_empty_name_is_no_recipient(self):
        (handling,) = check(batch(md5(1), releasable_to=[["", "a", ""]])).entries.handlings
        assert handling.releasable_to == ("a",)

    @pytest.mark.parametrize(
        "column",
        [
            {"expires_at": ["soon"]},
            {"expires_at": ["0001-01-01T00:00:00+14:00"]},
            {"expires_at": ["9999-12-31T23:59:59-14:00"]},
            {"originators": ["x" * 257]},
            {"originators": ["a\0"]},
            {"releasable_to": [["x" * 257]]},
            {"releasable_to": [["a", "b", "c"]]},
        ],
    )
    def test_a_bad_one_rejects_its_row(self, column):
        (rejection,) = check(batch(md5(1), **column), max_recipients=2).rejections
        assert rejection.field == "handling"

    def test_changes_the_content(self):
        plain = check(batch(md5(1))).entries.content_digests
        other = check(batch(md5(1), originators=["x"])).entries.content_digests
        assert plain != other


class TestDerivations:
    def test_a_derived_code_never_becomes_the_first(self):
        code = value(HashKind.PDQ, 5)
        raw = batch(
            md5(1),
            extra_hashes=[RawHash(0, HashKind.PDQ, code.hex(), Encoding.HEX, "x", "crop:0.02")],
        )
        entries = check(raw).entries
        assert entries.extra_hashes == [ExtraHash(0, HashKind.PDQ, code, "crop:0.02")]
        assert HashKind.PDQ not in entries.hashes

    def test_changes_the_content(self):
        def digest(derivation):
            more = RawHash(
                0, HashKind.PDQ, value(HashKind.PDQ, 5).hex(), Encoding.HEX, "x", derivation
            )
            pdq = HashColumn(HashKind.PDQ, [value(HashKind.PDQ, 4).hex()], Encoding.HEX, "PDQ")
            raw = batch(md5(1), extra_hashes=[more])
            raw.hashes.append(pdq)
            return check(raw).entries.content_digests[0]

        assert len({digest(None), digest("crop:0.02"), digest("crop:0.05")}) == 3
