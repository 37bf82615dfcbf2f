"""VICS beyond the plain hash set: case files, profiles, odd members, and how it is recognised."""

from __future__ import annotations

import io
import json

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.base import Sample
from hashlists.formats.notes import OTHER_CASE_NOTE
from hashlists.formats.registry import find_format, open_reader
from hashlists.limits import ImportLimits
from hashlists.model import Classification, Handling, HashKind
from hashlists.validate import validate
from matcher import cli

CONTEXT = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{}/$metadata#{}"
SECRET = "SECRETWORD"


def media(number, **members):
    return {"MediaID": number, "MD5": f"{number:032x}"[::-1], "Category": 1, **members}


def case(*records, **members):
    """A case with all that must go no further."""
    return {
        "CaseID": SECRET,
        "CaseNumber": SECRET,
        "Contact": {"Name": SECRET, "Media": [SECRET, {"MD5": "x"}]},
        "Media": list(records),
        "CaseMetadata": [{"PropertyName": '"]}', "PropertyValue": SECRET}],
        **members,
    }


def document(*value, kind="Cases", profile="UK", **members):
    context = {"@odata.context": CONTEXT.format(profile, kind)}
    return json.dumps({**context, "value": list(value), **members}).encode()


def read(data, *, options=None, limits=None):
    limits = limits or ImportLimits()
    reader = open_reader(io.BytesIO(data), format="vics", options=options, limits=limits)
    results = [(raw, validate(raw, default_handling=Handling())) for raw in reader]
    ids = [each for _, good in results for each in good.entries.source_ids]
    rejections = [each for _, good in results for each in good.rejections]
    return ids, rejections, results


CASES = {"cases": "media"}


class TestCaseFiles:
    def test_refused_unless_asked_for(self):
        with pytest.raises(FormatError, match=r"case file.*cases=media"):
            read(document(case(media(1))))
        with pytest.raises(OptionsError, match="cases takes one value: media"):
            read(document(case(media(1))), options={"cases": "all"})

    @pytest.mark.parametrize("block_bytes", [1, 7, 100, 1 << 20])
    def test_the_media_of_all_cases_and_nothing_else(self, block_bytes):
        records = [
            media(n, MediaFiles=[{"FilePath": SECRET}], Miniature=SECRET) for n in range(1, 10)
        ]
        data = document(
            case(*records[:4]), case(), case(Media=None), {}, case(*records[4:]), Other={"a": [1]}
        )
        limits = ImportLimits(block_bytes=block_bytes)
        ids, rejections, results = read(data, options=CASES, limits=limits)
        assert ids == [str(n) for n in range(1, 10)]
        assert rejections == []
        places = [
            good.entries.place_at(row) for _, good in results for row in range(len(good.entries))
        ]
        assert [place.number for place in places] == list(range(1, 10))
        for place, record in zip(places, records, strict=True):
            assert data[place.offset :].startswith(json.dumps(record).encode())
        assert SECRET not in repr([(list(raw.hashes), good) for raw, good in results])

    def test_members_in_any_order_and_the_context_last(self):
        whole = json.loads(document(case(media(1)), **{"@odata.count": 1}))
        turned = json.dumps(dict(reversed(whole.items()))).encode()
        assert read(turned, options=CASES)[0] == ["1"]

    def test_a_bad_record_is_rejected_alone(self):
        data = document(case(media(1), media(2, MD5=5)), case(7, media(3)))
        ids, rejections, _ = read(data, options=CASES)
        assert ids == ["1", "3"]
        assert [(each.place.number, each.field) for each in rejections] == [(2, "MD5"), (3, "")]

    def test_long_case_data_is_skipped_in_bounded_memory(self):
        limits = ImportLimits(block_bytes=4096, max_member_bytes=1000, max_record_bytes=1000)
        data = document(case(media(1), Notes="x" * 100_000), case(media(2)))
        assert read(data, options=CASES, limits=limits)[0] == ["1", "2"]

    def test_a_hash_set_may_be_read_with_the_option(self):
        assert read(document(media(1), kind="Media"), options=CASES)[0] == ["1"]

    def test_the_count_is_of_cases(self):
        data = document(case(media(1), media(2)), case(), **{"@odata.count": 2})
        assert read(data, options=CASES)[0] == ["1", "2"]
        with pytest.raises(FormatError, match="says 3 records"):
            read(document(case(media(1), media(2)), **{"@odata.count": 3}), options=CASES)

    def test_cut_off_anywhere(self):
        data = document(case(media(1)), case(media(2), media(3)))
        for length in range(len(data)):
            with pytest.raises(FormatError):
                read(data[:length], options=CASES)

    @pytest.mark.parametrize(
        ("old", "new", "match"),
        [
            (b'"CaseMetadata": ', b'"Media": ', 'a second "Media"'),
            (b'"value": [{', b'"value": [7, {', "an object that holds"),
            (b'"CaseNumber": "SECRETWORD"', b'"CaseNumber": ]', "not JSON"),
            (b'}], "CaseMeta', b'},], "CaseMeta', "a comma with no record"),
            (b'}], "CaseMeta', b'}] "CaseMeta', "a comma or the closing }"),
            (b'"}]}]}', b'"}]} 7]}', "a comma or ] behind an object"),
        ],
    )
    def test_what_is_not_nested_so(self, old, new, match):
        data = document(case(media(1)))
        assert old in data
        with pytest.raises(FormatError, match=match) as caught:
            read(data.replace(old, new, 1), options=CASES)
        assert SECRET not in str(caught.value)


@pytest.mark.parametrize("profile", ["US", "UK", "Canada", "Default", "CUSTOM", "UNKNOWN", "x y"])
@pytest.mark.parametrize("code", [0, 8, 255, "A"])
def test_any_profile_and_category_is_kept_as_it_is(profile, code):
    _, _, ((raw, good),) = read(document(media(1, Category=code), kind="Media", profile=profile))
    assert raw.header.profile == profile
    assert good.entries.classifications == [Classification("vics", profile, str(code))]


@pytest.mark.parametrize(
    ("written", "kept", "noted"),
    [
        ("2023-06-07T02:31:49.8300Z", "2023-06-07T02:31:49.8300Z", 0),
        ("/Date(1686105109830)/", "/Date(1686105109830)/", 0),
        ("07/06/2023 02:31", "07/06/2023 02:31", 0),
        (1686105109, "1686105109", 0),
        ("", None, 0),
        (None, None, 0),
        ("x" * 65, None, 1),
        ("2023\n06", None, 1),
        (" 2023", None, 1),
    ],
)
def test_time_stamps_of_any_form(written, kept, noted):
    _, rejections, ((raw, good),) = read(document(media(1, DateUpdated=written), kind="Media"))
    assert rejections == []
    assert list(good.entries.source_updated_at) == [kept]
    assert sum(raw.notes.values()) == noted


def test_the_known_good_set_that_is_called_caid():
    """VICS 1.2, no profile, Category 8: nothing of it says CSAM, and nothing here assumes it."""
    context = "http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media"
    data = json.dumps({"odata.metadata": context, "value": [media(1, Category=8)]}).encode()
    _, _, ((_, good),) = read(data)
    assert good.entries.classifications == [Classification("vics", "", "8")]
    assert set(good.entries.hashes) == {HashKind.MD5}


class TestLikeness:
    def looks(self, data, name="x"):
        return find_format("vics").looks_like(Sample(data[:65536], name, whole=True))

    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b" \n"])
    def test_by_its_context(self, mark):
        likeness = self.looks(mark + document(media(1), kind="Media"))
        assert likeness.score >= 90
        assert "VICS 2.0 hash set" in likeness.why
        assert "profile UK" in likeness.why
        assert likeness.options == {}

    def test_without_a_profile_it_says_so(self):
        context = "http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media"
        likeness = self.looks(json.dumps({"odata.metadata": context, "value": []}).encode())
        assert "VICS 1.2" in likeness.why
        assert "option profile" in likeness.why

    def test_case_files_come_with_their_option(self):
        likeness = self.looks(document(case(media(1))))
        assert "case file" in likeness.why
        assert likeness.options == {"cases": "media"}

    def test_by_its_records_where_the_context_is_out_of_sight(self):
        data = json.dumps({"value": [media(n) for n in range(2000)], "z": 1}).encode()
        assert 40 <= self.looks(data).score < 90

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"md5,size\n",
            b'{"value": []}',
            b'{"@odata.context": "http://example.org/#Users"}',
            b'{"@odata.context": "\\ud800x"}',
            b"[1]",
        ],
    )
    def test_other_files(self, data):
        assert self.looks(data) is None

    def test_no_hash_is_told(self):
        likeness = self.looks(document(media(1), profile="a" * 100 + "\u202e", kind="Media"))
        assert "aaaa" not in likeness.why
        assert media(1)["MD5"] not in repr(likeness)


class TestNamesInAnotherCase:
    """JSON tells names apart by case, so `md5` is no `MD5`: what is lost so is told."""

    def test_what_is_not_read_is_told_and_the_rest_taken(self):
        record = {"MediaID": 1, "category": 1, "md5": "0a" * 16, "SHA1": "0b" * 20}
        _, rejections, results = read(document(record, media(2), kind="Media"))
        assert not rejections
        notes = {note: times for raw, _ in results for note, times in raw.notes.items()}
        assert notes == {f"{OTHER_CASE_NOTE}: MD5": 1, f"{OTHER_CASE_NOTE}: Category": 1}

    @pytest.mark.parametrize("broken", [False, True])
    def test_a_record_that_has_no_hash_for_it_says_so(self, broken):
        wrong = [{"MediaID": 9, "MD5": [1]}] if broken else []
        data = document({"MediaID": 1, "md5": "0a" * 16}, *wrong, media(2), kind="Media")
        ids, rejections, _ = read(data)
        assert ids == ["2"]
        assert (rejections[-1].place.number, rejections[-1].field) == (1, "MD5") or broken
        (told,) = (each for each in rejections if each.place.number == 1)
        assert "names are written in another case" in told.reason

    def test_names_within_alternative_hashes(self):
        hashes = [{"hashName": "SHA256", "HashValue": "0c" * 32}]
        _, _, ((raw, _),) = read(document(media(1, AlternativeHashes=hashes), kind="Media"))
        assert f"{OTHER_CASE_NOTE}: HashName" in raw.notes

    def test_what_says_nothing_or_stands_elsewhere_is_no_loss(self):
        record = media(1, md5="0a" * 16, category=1, sha1="", Exifs=[{"md5": "x"}])
        _, _, ((raw, _),) = read(document(record, kind="Media"))
        assert not raw.notes

    def test_inspect_suggests_no_import(self, tmp_path, capsys):
        path = tmp_path / "set.json"
        path.write_bytes(document({"MD5": "0a" * 16, "category": 1}, kind="Media"))
        assert cli.main(["lists", "inspect", str(path)]) == 2
        told = capsys.readouterr().err
        assert f"{OTHER_CASE_NOTE}: Category" in told
        assert "To import" not in told
