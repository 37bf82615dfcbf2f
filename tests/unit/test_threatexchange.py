"""The readers of ThreatExchange's pages and of python-threatexchange's text files."""

from __future__ import annotations

import json
import pickle

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import threatexchange, threatexchange_text
from hashlists.formats.base import PageInfo, Sample
from hashlists.formats.registry import find_format
from hashlists.limits import ImportLimits
from hashlists.model import Classification, Handling, HashKind, Retraction
from hashlists.validate import KEY_TAGS, TEXT_KEY_TAG
from tests.catalog_support import untimed
from tests.export_support import Row, value
from tests.page_support import UNMATCHABLE, run

TEXT = "threatexchange-text"


def descriptor(status="MALICIOUS", owner=682796275165036, tags=(), **members):
    return {
        "id": "3058095564302155",
        "owner": {"id": str(owner)},
        "status": status,
        "tags": list(tags),
        "added_on": "2020-07-01T18:31:15+0000",
        "reactions": [],
        **members,
    }


def record(number=1, kind=HashKind.PDQ, *descriptors, **members):
    return {
        "id": str(number),
        "indicator": value(kind, number).hex(),
        "type": f"HASH_{kind.upper()}",
        "last_updated": 1595000000 + number,
        "should_delete": False,
        "descriptors": {"data": list(descriptors) or [descriptor()]},
        **members,
    }


def page(*records, **members):
    return {"data": list(records), **members}


def test_every_field_that_is_taken_over():
    found = run(page(record(7)), "threatexchange")
    assert found.rows == [
        Row(
            key=TEXT_KEY_TAG + b"7",
            hashes={HashKind.PDQ: value(HashKind.PDQ, 7)},
            classification=Classification("threatexchange", "", "MALICIOUS"),
            handling=Handling(originator="682796275165036"),
            source_id="7",
            updated_at="1595000007",
        )
    ]
    assert found.notes == {}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("HASH_MD5", HashKind.MD5), ("HASH_VIDEO_MD5", HashKind.MD5), ("HASH_SHA1", HashKind.SHA1),
        ("HASH_SHA256", HashKind.SHA256), ("HASH_PHOTODNA", HashKind.PHOTODNA),
    ],
)  # fmt: skip
def test_types_of_hashes(name, kind):
    content = value(kind, 1)
    written = ",".join(map(str, content)) if kind is HashKind.PHOTODNA else content.hex()
    found = run(page(record(1, kind, type=name, indicator=written)), "threatexchange")
    assert found.rows[0].hashes == {kind: content}


def test_other_types_are_counted_and_left_out():
    others = [record(1, type="HASH_TMK"), record(2, type="URI"), record(3, type="uri"), record(4)]
    found = run(page(*others), "threatexchange")
    assert len(found.rows) == 1
    assert found.notes == {
        "indicator of another type left aside: HASH_TMK": 1,
        "indicator of another type left aside: URI": 1,
        "indicator of another type left aside: uri": 1,
    }
    assert found.reader.page.checkpoint == "1595000004"
    assert untimed(found.retractions) == [
        Retraction(TEXT_KEY_TAG + key, UNMATCHABLE, unmatchable=True) for key in (b"1", b"2", b"3")
    ]


def test_a_type_in_another_spelling_is_the_same():
    found = run(page(record(1, HashKind.MD5, type="Hash-Md5")), "threatexchange")
    assert found.rows[0].hashes == {HashKind.MD5: value(HashKind.MD5, 1)}


@pytest.mark.parametrize("unknown", ["PDQ", "HASH_PDQ2", "", None])
def test_an_unknown_type_is_rejected_and_withdraws_nothing(unknown):
    found = run(page(record(1, type=unknown), record(2)), "threatexchange")
    assert (len(found.rows), found.retractions) == (1, [])
    assert [(each.place.number, each.field) for each in found.rejections] == [(1, "type")]


def test_an_indicator_of_another_type_without_an_id_is_left_aside():
    found = run(page({**record(1, type="URI"), "id": None}, record(2)), "threatexchange")
    assert (found.retractions, found.rejections, len(found.rows)) == ([], [], 1)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"should_delete": True}, "should_delete"),
        ({"descriptors": None}, "no descriptors"),
        ({"descriptors": {}}, "no descriptors"),
        ({"descriptors": {"data": []}}, "no descriptors"),
        ({"descriptors": {"data": [descriptor("NON_MALICIOUS")] * 2}}, "NON_MALICIOUS"),
    ],
)
def test_withdrawals(members, reason):
    found = run(page(record(1, **members), record(2)), "threatexchange")
    assert untimed(found.retractions) == [Retraction(TEXT_KEY_TAG + b"1", reason)]
    assert [row.source_id for row in found.rows] == ["2"]


def test_a_withdrawal_needs_its_id_alone():
    found = run(page({"id": 5, "should_delete": True}), "threatexchange")
    assert untimed(found.retractions) == [Retraction(TEXT_KEY_TAG + b"5", "should_delete")]


@pytest.mark.parametrize("name", ["HASH_TMK", "URI", "HASH_PDQ_2", "", None])
@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"should_delete": True}, "should_delete"),
        ({"descriptors": None}, "no descriptors"),
        ({"descriptors": {"data": [descriptor("NON_MALICIOUS")]}}, "NON_MALICIOUS"),
    ],
)
def test_a_withdrawal_counts_whatever_its_type_is_called(name, members, reason):
    found = run(page(record(1, type=name, **members), record(2)), "threatexchange")
    assert untimed(found.retractions) == [Retraction(TEXT_KEY_TAG + b"1", reason)]
    assert [row.source_id for row in found.rows] == ["2"]
    assert found.notes == {}


def test_a_withdrawal_of_another_type_that_names_nothing_is_set_aside():
    found = run(page({"type": "URI", "should_delete": True}, record(2)), "threatexchange")
    assert found.retractions == []
    assert [each.reason for each in found.rejections] == ["the record has no key"]


def test_opinions_that_differ_make_a_class_of_their_own():
    opinions = [
        descriptor("MALICIOUS", 1),
        descriptor("NON_MALICIOUS", 2),
        descriptor("MALICIOUS", 3),
    ]
    (row,) = run(page(record(1, HashKind.PDQ, *opinions)), "threatexchange").rows
    assert row.classification == Classification("threatexchange", "", "MALICIOUS+NON_MALICIOUS")
    assert row.handling == Handling()


def test_a_silent_opinion_is_no_word_that_the_entry_is_harmless():
    silent = [descriptor("NON_MALICIOUS", 1), descriptor(None, 2)]
    found = run(page(record(1, HashKind.PDQ, *silent)), "threatexchange")
    assert found.retractions == []
    assert found.rows[0].classification.code == "NON_MALICIOUS"


def test_harmless_entries_may_be_kept():
    harmless = page(record(1, HashKind.PDQ, descriptor("NON_MALICIOUS")))
    (row,) = run(harmless, "threatexchange", {"non_malicious": "keep"}).rows
    assert row.classification == Classification("threatexchange", "", "NON_MALICIOUS")


@pytest.mark.parametrize(
    "tags", [["x", "a2", "a1"], {"data": [{"id": "1", "text": "a2"}, {"text": "a1"}, None]}]
)
def test_tags_may_decide(tags):
    tagged = record(1, HashKind.PDQ, descriptor(), descriptor() | {"tags": tags})
    plain = record(
        2, HashKind.PDQ, descriptor() | {"tags": 7}, descriptor(owner=3) | {"owner": None}
    )
    found = run(page(tagged, plain), "threatexchange", {"tags": "a1, a2"})
    assert [row.classification for row in found.rows] == [
        Classification("threatexchange", "tag", "a1"),
        Classification("threatexchange", "", "MALICIOUS"),
    ]
    assert found.rejections == []


def test_a_descriptor_without_status_has_no_class():
    (row,) = run(page(record(1, HashKind.PDQ, descriptor(None))), "threatexchange").rows
    assert row.classification is None


def test_pages_are_kept_without_their_addresses():
    paging = {
        "cursors": {"before": "b", "after": "cursor"},
        "next": "https://graph.example/v1/threat_updates?access_token=secret&after=cursor",
    }
    found = run(page(record(3), record(1), paging=paging), "threatexchange")
    assert found.reader.page == PageInfo("cursor", "1595000003", complete=False)
    assert found.reader.page.next == "cursor"
    del paging["next"]
    last = run(page(record(1, last_updated="1595000001"), paging=paging), "threatexchange")
    assert last.reader.page == PageInfo(None, "1595000001", complete=True)
    assert run(page(), "threatexchange").reader.page == PageInfo()


@pytest.mark.parametrize(
    ("link", "is_delta"),
    [
        ("https://graph.example/v1/threat_updates?start_time=1700000000&after=x", True),
        ("https://graph.example/v1/threat_updates?until=1700000000", True),
        ("https://graph.example/v1/threat_updates?start_time=0&after=x", False),
        ("https://graph.example/v1/threat_updates?after=x", False),
        ("https://[x", False),
        (7, False),
    ],
)
def test_what_a_link_tells_of_the_other_pages(link, is_delta):
    paging = {"cursors": {"after": "x"}, "previous": link}
    last = run(page(record(1), paging=paging), "threatexchange").reader.page
    assert (last.complete, last.follows, last.is_delta) == (True, True, is_delta)
    assert "graph.example" not in repr(last)


@pytest.mark.parametrize("time", ["x", "nan", "inf", -1, 10**11, 10**400, 1e300, "1" * 5000, None])
def test_a_time_that_is_none_moves_no_checkpoint(time):
    reader = run(page(record(2), record(1, last_updated=time)), "threatexchange").reader
    assert reader.page == PageInfo(None, "1595000002")
    assert run(page(record(1, last_updated=time)), "threatexchange").reader.page == PageInfo()


@pytest.mark.parametrize("paging", ["x", {"next": 7}, {"next": "x"}, {"next": "x", "cursors": {}}])
def test_paging_that_is_none(paging):
    with pytest.raises(FormatError, match='"paging"'):
        run(page(record(), paging=paging), "threatexchange")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (record(2, indicator="zz"), "not a PDQ hash"),
        (record(2, indicator=None), "no hash"),
        (record(2, id=None), "no key"),
        (record(2, descriptors=[]), "wrong type"),
        (record(2, descriptors={"data": [7]}), "wrong type"),
        (record(2, HashKind.PDQ, descriptor("x" * 70)), "at most 64"),
    ],
)
def test_one_bad_record_is_rejected_alone(bad, why):
    found = run(page(record(1), bad, record(3)), "threatexchange")
    assert len(found.rows) == 2
    (rejection,) = found.rejections
    assert why in rejection.reason
    assert rejection.place.number == 2


def test_other_files_are_refused():
    with pytest.raises(FormatError, match='no array "data"'):
        run({"error": {"message": "no"}}, "threatexchange")
    with pytest.raises(FormatError, match="cut off"):
        run(json.dumps(page(record())).encode()[:-3], "threatexchange")
    with pytest.raises(OptionsError, match="known options: non_malicious, tags"):
        run(page(), "threatexchange", {"x": "y"})
    with pytest.raises(OptionsError, match="must be one of withdraw, keep"):
        run(page(), "threatexchange", {"non_malicious": "yes"})
    with pytest.raises(OptionsError, match="must name tags"):
        run(page(), "threatexchange", {"tags": " , "})


@pytest.mark.parametrize("name", ["threatexchange", TEXT, "tat", "stopncii"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_are_refused_unread(name, protocol):
    with pytest.raises(FormatError, match="Python pickle, which can run code"):
        run(pickle.dumps({"a": [1]}, protocol), name)


def test_the_page_looks_like_itself():
    assert threatexchange.looks_like(Sample(json.dumps(page(record())).encode())).score == 90
    assert threatexchange.looks_like(Sample(b'{"data": [{"indicator": "x"}]}')).score == 40
    assert threatexchange.looks_like(Sample(b'{"data": []}')) is None
    assert find_format("threatexchange").tells_retractions
    assert find_format("threatexchange").harm is None
    assert not find_format(TEXT).tells_retractions


# Text files

PDQ = value(HashKind.PDQ, 1)
MD5 = value(HashKind.MD5, 1)
SHA1 = value(HashKind.SHA1, 1)


def test_lines_with_their_type():
    data = (
        f"\ufeffpdq {PDQ.hex()}\r\n\nvideo_md5  {MD5.hex()} \nHASH_SHA1 {SHA1.hex()}\n"
        "url https://example.invalid\nraw_text some words\n"
    )
    found = run(data.encode(), TEXT)
    assert [row.hashes for row in found.rows] == [
        {HashKind.PDQ: PDQ},
        {HashKind.MD5: MD5},
        {HashKind.SHA1: SHA1},
    ]
    assert found.rows[0].key == KEY_TAGS[HashKind.PDQ] + PDQ
    assert found.notes == {
        "signal of another type left aside: url": 1,
        "signal of another type left aside: raw_text": 1,
    }


def test_values_alone():
    found = run(f"{PDQ.hex()}\n".encode(), TEXT, {"type": "pdq"})
    assert found.rows[0].hashes == {HashKind.PDQ: PDQ}
    found = run(f"{PDQ.hex()}\npdq {PDQ.hex()}\n".encode(), TEXT)
    assert "say option type" in found.rejections[0].reason
    assert str(found.rejections[0].place) == "line 1 (byte 0)"
    assert len(found.rows) == 1


def test_rows_with_labels():
    data = (
        f'{PDQ.hex()},123,2020-07-01T18:31:15+0000,"media a1 a2"\n'
        f"{value(HashKind.PDQ, 2).hex()},123,,x\n{value(HashKind.PDQ, 3).hex()}\n"
    )
    options = {"layout": "simple", "type": "HASH_PDQ", "tags": "a2,a1"}
    found = run(data.encode(), TEXT, options)
    assert [row.classification for row in found.rows] == [
        Classification("threatexchange", "tag", "a2"), None, None,
    ]  # fmt: skip
    assert [row.updated_at for row in found.rows] == ["2020-07-01T18:31:15+0000", None, None]
    bare = run(data.encode(), TEXT, {"layout": "simple", "type": "pdq"})
    assert [row.classification for row in bare.rows] == [None] * 3


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"pdq zz", "not a PDQ hash"),
        (b"pdq \xff", "not UTF-8"),
        (b"pdq " + b"0" * 999, "exceeds 500 bytes"),
        (b"x" * 5000, "exceeds 500 bytes"),
        (b"word", "expected"),
    ],
)
def test_one_bad_line_is_rejected_alone(bad, why):
    good = f"pdq {PDQ.hex()}\n".encode()
    for block_bytes in (1, 64, 100_000):
        limits = ImportLimits(block_bytes=block_bytes, max_line_chars=500, max_batch_rows=2)
        found = run(good + bad + b"\n" + good, TEXT, limits=limits)
        assert len(found.rows) == 2
        (rejection,) = found.rejections
        assert why in rejection.reason
        assert str(rejection.place) == f"line 2 (byte {len(good)})"


@pytest.mark.parametrize("bad", [b'"open\n', b'a,"b"c\n', b"a,b,c,d,e\n"])
def test_one_bad_row_is_rejected_alone(bad):
    good = f"{PDQ.hex()},1,x,y\n".encode()
    found = run(good + bad + good, TEXT, {"layout": "simple", "type": "pdq"})
    assert len(found.rows) == 2
    assert [each.place.number for each in found.rejections] == [2]


def test_a_last_line_without_end_is_taken_if_it_is_whole():
    whole = f"pdq {PDQ.hex()}\npdq {value(HashKind.PDQ, 2).hex()}".encode()
    found = run(whole, TEXT)
    assert len(found.rows) == 2
    assert found.notes == {"last line without line end taken as whole": 1}
    for size in (1, 4, 20):
        with pytest.raises(FormatError, match=r"line 2.*cut off"):
            run(whole[:-size], TEXT)
    with pytest.raises(FormatError, match=r"line 2.*cut off"):
        run(f"pdq {PDQ.hex()}\npd".encode(), TEXT)
    with pytest.raises(FormatError, match=r"line 2.*cut off"):
        run(f"pdq {PDQ.hex()}\n{'x' * 600}".encode(), TEXT, limits=ImportLimits(max_line_chars=500))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "empty"),
        (b'{"data": []}', "JSON or XML"),
        (b"\xef\xbb\xbf<x/>", "JSON or XML"),
        ("pdq x".encode("utf-16"), "not UTF-8"),
    ],
)
def test_other_files_are_no_text(data, why):
    with pytest.raises(FormatError, match=why):
        run(data, TEXT)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"layout": "simple"}, "needs the option type"),
        ({"layout": "csv"}, "must be one of local, simple"),
        ({"type": "tmk"}, "unknown signal type 'tmk'; known types: hash_md5"),
        ({"kind": "x"}, "known options: layout, tags, type"),
    ],
)
def test_wrong_options(options, why):
    with pytest.raises(OptionsError, match=why):
        run(b"pdq x\n", TEXT, options)


def test_the_text_looks_like_itself():
    line = f"pdq {PDQ.hex()}\n".encode()
    assert threatexchange_text.looks_like(Sample(line * 3, whole=True)).score == 60
    assert threatexchange_text.looks_like(Sample(line + line[:9])).score == 60
    named = threatexchange_text.looks_like(Sample(b"x,1,2\n", "simple.HASH_PDQ.te"))
    assert (named.score, named.options) == (70, {"layout": "simple", "type": "HASH_PDQ"})
    for sample in (
        Sample(b"x,1,2\n", "simple.URI.te"),
        Sample(b"", whole=True),
        Sample(b"tmk " + PDQ.hex().encode() + b"\n"),
        Sample(line + b"other\n"),
    ):
        assert threatexchange_text.looks_like(sample) is None
