"""The rarer fields of a mapped table, Hashwarden's own CSV layout, and how CSV files are told."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import own_layout
from hashlists.formats.base import Sample
from hashlists.formats.csv_likeness import kind_named, kinds_named, looks_like
from hashlists.formats.csv_lines import block_columns
from hashlists.formats.registry import open_reader
from hashlists.model import NO_ONWARD_SHARING, Classification, EntryFlag, Handling, HashKind
from hashlists.validate import KEY_TAGS, validate
from tests.export_support import Row, export_batch, read, value, write

MD5 = {"columns.md5": "md5"}
OWN = {"columns": "hashwarden"}


def md5(number=1):
    return value(HashKind.MD5, number).hex()


def pdq(number=1):
    return value(HashKind.PDQ, number).hex()


def outcome(text, options):
    """Rows, withdrawn keys, and rejections as line and field."""
    rows, gone, rejections = 0, [], []
    for raw in open_reader(io.BytesIO(text.encode()), format="csv", options=options):
        result = validate(raw, default_handling=NO_ONWARD_SHARING)
        rows += len(result.entries)
        gone += [(each.key[1:], each.reason) for each in result.retractions]
        rejections += [(each.place.number, each.field) for each in result.rejections]
    return rows, gone, rejections


def test_class_and_handling_by_record():
    text = (
        "md5,s,p,c,from,to,until\n"
        f"{md5(1)},iwf,x,A,Unit 1,A; B;,2030-01-02T03:04:05Z\n"
        f"{md5(2)},,,B,,,\n"
    )
    options = {
        **MD5,
        "columns.scheme": "s",
        "columns.profile": "p",
        "columns.category": "c",
        "columns.originator": "from",
        "columns.releasable_to": "to",
        "columns.expires_at": "until",
        "scheme": "uk",
        "profile": "z",
    }
    default = Handling("list", ("C",))
    first, second = read(text.encode(), "csv", options, handling=default).rows
    assert first.classification == Classification("iwf", "x", "A")
    assert first.handling == Handling(
        "Unit 1", ("A", "B"), datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    )
    assert second.classification == Classification("uk", "z", "B")
    assert second.handling == Handling("list", ())  # who is not named may not have it


def test_a_scheme_column_needs_no_scheme_option():
    text = f"md5,s,c\n{md5()},iwf,A\n"
    options = {**MD5, "columns.scheme": "s", "columns.category": "c"}
    assert read(text.encode(), "csv", options).rows[0].classification.scheme == "iwf"


def test_a_bad_expiry_names_its_column():
    text = f"md5,until\n{md5()},soon\n"
    assert outcome(text, {**MD5, "columns.expires_at": "until"})[2] == [(2, "until")]


@pytest.mark.parametrize("word", ["yes", "Y", "true", "1"])
def test_rows_that_withdraw_an_entry(word):
    text = f"id,md5,gone,why\na,{md5(1)},no,\nb,,{word},mistaken\nc,{md5(3)},,\n"
    options = {**MD5, "columns.key": "id", "columns.retracted": "gone"}
    options["columns.retraction_reason"] = "why"
    assert outcome(text, options) == (2, [(b"b", "mistaken")], [])


def test_a_word_that_is_neither_yes_nor_no_rejects_its_row():
    text = f"md5,gone\n{md5(1)},Withdrawn\n{md5(2)},no\n"
    assert outcome(text, {**MD5, "columns.retracted": "gone"}) == (1, [], [(2, "gone")])


def test_such_a_word_in_a_last_line_without_end_may_be_a_cut():
    text = f"md5,gone\n{md5(1)},no\n{md5(2)},ye"
    with pytest.raises(FormatError, match="line 3: the file ends inside a record"):
        outcome(text, {**MD5, "columns.retracted": "gone"})


@pytest.mark.parametrize(
    ("listed", "rows", "rejections"),
    [("", 2, []), ("Active, received", 1, [(4, "status")])],
)
def test_a_status_column(listed, rows, rejections):
    text = f"md5,status\n{md5(1)},active\n{md5(2)}, WITHDRAWN \n{md5(3)},Pending\n"
    options = {**MD5, "columns.retracted": "status", "retracted_values": "Withdrawn,Deleted"}
    if listed:
        options["listed_values"] = listed
    gone = [(bytes.fromhex(md5(2)), "")]
    assert outcome(text, options) == (rows, gone, rejections)


def test_several_columns_and_several_values_of_a_kind():
    text = f'md5,a,b,c\n{md5()},{pdq(1)} {pdq(2)},"",{pdq(3)}\n{md5(2)},,{pdq(4)},\n'
    options = {
        **MD5,
        "columns.pdq": "a",
        "columns.pdq.2": "b",
        "columns.pdq.3": "c",
        "separator.pdq": "space",
    }
    first, second = read(text.encode(), "csv", options).rows
    assert first.hashes[HashKind.PDQ].hex() == pdq(1)
    assert [each[1].hex() for each in first.extra] == [pdq(2), pdq(3)]
    assert second.hashes[HashKind.PDQ].hex() == pdq(4)  # the first there is
    assert second.extra == ()


def test_a_bad_further_value_rejects_its_row_and_names_its_column():
    text = f"md5,more\n{md5(1)},x\n{md5(2)},{md5(3)}\n"
    assert outcome(text, {**MD5, "columns.md5.2": "more"}) == (1, [], [(2, "more")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns.pdq.2": "b"}, "columns.pdq.2 needs columns.pdq"),
        ({**MD5, "columns.md5.1": "b"}, "unknown option 'columns.md5.1'"),
        ({**MD5, "columns.md5.0": "b"}, "unknown option 'columns.md5.0'"),
        ({**MD5, "columns.id.2": "b"}, "unknown option 'columns.id.2'"),
        ({**MD5, "retracted_values": "x"}, "retracted_values needs columns.retracted"),
        ({**MD5, "listed_values": "x"}, "listed_values needs columns.retracted"),
        (
            {**MD5, "columns.retracted": "b", "listed_values": "x"},
            "listed_values needs retracted_values",
        ),
        (
            {**MD5, "columns.retracted": "b", "listed_values": "x", "retracted_values": "X"},
            "a word stands in both",
        ),
        ({**MD5, "separator.md5": ""}, "separator.md5 must be 1 to 8 characters"),
        ({**MD5, "separator.md5": "a"}, "separator.md5 must be"),
        ({**MD5, "separator.size": ";"}, "unknown option 'separator.size'"),
        ({**MD5, "hash_encoding.md5": "raw"}, "unknown encoding of a hash 'raw'"),
        ({"columns": "theirs"}, "unknown layout 'theirs'"),
        ({**OWN, **MD5}, "columns.md5 must not be given"),
        (OWN, "the column 'pdq', which the file does not have"),
    ],
)
def test_wrong_options_say_what_is_allowed(options, message):
    with pytest.raises(OptionsError) as caught:
        open_reader(io.BytesIO(b"md5,b\n"), format="csv", options=options)
    assert message in str(caught.value)


def own(**cells):
    """A file of the own layout with one record."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, own_layout.COLUMNS, restval="")
    writer.writeheader()
    writer.writerow(cells)
    return out.getvalue()


def test_what_is_written():
    drawn = Row(
        key=KEY_TAGS[HashKind.MD5] + value(HashKind.MD5, 1),
        hashes={HashKind.MD5: value(HashKind.MD5, 1)},
        extra=((HashKind.PDQ, value(HashKind.PDQ, 1), "crop:0.02"),),
        size=7,
        classification=Classification("x", "", "-1"),
        handling=Handling("'o", ("a|b", "50%", "c"), datetime(2030, 1, 2, tzinfo=UTC)),
        flags=EntryFlag.BASELINE,
        flags_known=EntryFlag.BASELINE | EntryFlag.SERIES,
        source_id="=cmd",
    )
    batch = export_batch([drawn, drawn], retracted=[False, True], reasons=[None, "one\r\ntwo"])
    data, losses = write([batch], "csv")
    cells, gone = csv.DictReader(io.StringIO(data.decode(), newline=""))
    assert {name: cell for name, cell in cells.items() if cell} == {
        "source_id": "'=cmd",
        "md5": md5(),
        "further_hashes": f"pdq:{pdq()}:crop%3A0.02",
        "size": "7",
        "scheme": "x",
        "category": "'-1",
        "originator": "''o",
        "releasable_to": "a%7Cb|50%25|c",
        "expires_at": "2030-01-02T00:00:00+00:00",
        "series": "no",
        "baseline": "yes",
        "retracted": "no",
        "list": "demo",
        "entry_id": "1",
        "revision": "1",
    }
    assert {name: cell for name, cell in gone.items() if cell} == {
        "key": f"md5:{md5()}",
        "retracted": "yes",
        "retraction_reason": "one  two",
        "list": "demo",
        "entry_id": "2",
        "revision": "2",
    }
    assert losses == {"reasons of withdrawals": 1}
    assert tuple(cells) == own_layout.COLUMNS


def test_who_may_have_an_entry_does_not_come_from_the_list():
    default = Handling("list", ("everybody",))
    (row,) = read(own(md5=md5()).encode(), "csv", OWN, handling=default).rows
    assert row.handling.releasable_to == ()


@pytest.mark.parametrize("cell", ["x", "md5", f"md5:{'0' * 32}", "md5:xyz", f"md5:{md5(2)}:"])
def test_bad_further_hashes_reject_their_row(cell):
    assert outcome(own(md5=md5(), further_hashes=cell), OWN) == (0, [], [(2, "further_hashes")])


def test_further_hashes_of_unknown_kinds_are_counted():
    found = read(own(md5=md5(), further_hashes="tlsh:00").encode(), "csv", OWN)
    assert len(found.rows) == 1
    assert found.notes == {"further hash of unknown kind left aside": 1}


def test_columns_of_the_own_layout_may_stand_in_any_order_beside_others():
    names = ["note", *reversed(own_layout.COLUMNS)]
    cells = ["x", *("" if name != "md5" else md5() for name in reversed(own_layout.COLUMNS))]
    text = ",".join(names) + "\n" + ",".join(cells) + "\n"
    assert outcome(text, OWN) == (1, [], [])


@pytest.mark.parametrize(
    ("head", "score", "options"),
    [
        (own(md5="x").encode(), 95, OWN),
        (b"id,MD5 Hash,sha-256\n", 50, {"columns.md5": "MD5 Hash", "columns.sha256": "sha-256"}),
        (b"id\tpdq_hex\nx\ty\n", 50, {"delimiter": "tab", "columns.pdq": "pdq_hex"}),
        ("id;pHash\n".encode("utf-16"), 50,
         {"delimiter": ";", "encoding": "utf-16", "columns.phash": "pHash"}),
        (b"a;b\n", 10, {"delimiter": ";"}),
        (b"md5\n", 50, {"columns.md5": "md5"}),
    ],
)  # fmt: skip
def test_likeness(head, score, options):
    likeness = looks_like(Sample(head))
    assert (likeness.score, dict(likeness.options)) == (score, dict(options))
    assert likeness.why


@pytest.mark.parametrize(
    "head", [b"", b"\n", b"one word\n", b'{"a": 1}', b"<x>,", b"\x00,\x00", b'a,"b\n', b"\x81,a\n"]
)
def test_what_is_no_table(head):
    assert looks_like(Sample(head)) is None


def test_kinds_by_the_names_of_columns():
    names = [
        "PDQ",
        "pdq hash",
        "SHA1",
        "sha-1 (hex)",
        "pHash",
        "aHash value",
        "md5sum",
        "hash",
        "sha512",
        "File MD5",
        "hash_sha256",
        "Hash (SHA-1)",
        "parent md5",
        "file hash",
    ]
    kinds = ["pdq", "pdq", "sha1", "sha1", "phash", "ahash", "md5", None, None]
    kinds += ["md5", "sha256", "sha1", None, None]
    assert list(map(kind_named, names)) == kinds


def test_kinds_by_the_last_part_of_names():
    assert kinds_named(["MD5-Summe", "SHA1 Prüfsumme"]) == {
        HashKind.MD5: "MD5-Summe",
        HashKind.SHA1: "SHA1 Prüfsumme",
    }
    assert kinds_named(["hashes.md5", "h.md5", "x.name"]) == {HashKind.MD5: "hashes.md5"}
    assert kinds_named(["thumbnail.md5", "md5"]) == {HashKind.MD5: "md5"}


def test_a_block_that_breaks_and_mends_again():
    """The quick way and the slow one take turns, and lines keep their numbers."""
    lines = [f"{md5(n)},{n}" for n in range(1, 40)]
    lines[9] = f'"{md5(10)}","a\nb"'
    lines[20] = "odd"
    text = "md5,note\n" + "\n".join(lines) + "\n"
    rows, gone, rejections = outcome(text, MD5)
    assert (rows, gone, rejections) == (38, [], [(23, "")])


@pytest.mark.parametrize(
    ("lines", "width"),
    [
        (["a\n", "\n"], 1),
        (["\n", "a\n"], 1),
        (["a,b\n", "c\n"], 2),
        (['"a\n', 'b"\n'], 1),
        (["x" * 101 + "\n"], 1),
    ],
    ids=["blank last", "blank first", "too few cells", "over two lines", "too long"],
)
def test_lines_that_are_not_each_a_record_are_not_taken_at_once(lines, width):
    assert block_columns(lines, width=width, delimiter=",", max_chars=100) is None


def test_a_reason_keeps_all_but_its_control_characters():
    row = Row(key=b"\x00a", hashes={HashKind.MD5: value(HashKind.MD5, 1)})
    for reason, losses in (
        ("one\u2028two\x85", {}),
        ("a\tb", {"reasons of withdrawals": 1}),
    ):
        data, lost = write([export_batch([row], retracted=[True], reasons=[reason])], "csv")
        assert lost == losses
        (gone,) = read(data, "csv", OWN).retractions
        assert gone.reason == reason.replace("\t", " ")


@pytest.mark.parametrize("how", ["x" * 33, "a%00b", "%FF"])
def test_a_derivation_that_cannot_be_kept_rejects_its_row(how):
    text = own(md5=md5(), further_hashes=f"pdq:{pdq()}:{how}")
    rejected = [(2, "further_hashes")]
    assert outcome(text, OWN) == ((1, [], []) if how == "%FF" else (0, [], rejected))
    assert outcome(own(md5=md5(), further_hashes=f"pdq:{pdq()}:{'x' * 32}"), OWN)[0] == 1


def test_a_withdrawal_holds_whatever_its_reason_looks_like():
    text = f"md5,gone,why\n{md5(1)},yes,".encode() + b"a\xffb\x00c" + b"x" * 3000 + b"\n"
    options = {**MD5, "columns.retracted": "gone", "columns.retraction_reason": "why"}
    (gone,) = read(text, "csv", options).retractions
    assert gone.reason == "a b c" + "x" * 1995


CP1252 = f"md5,c,id,from\n{md5(1)},catégorie,,\n{md5(2)},A,numéro,\n{md5(3)},A,,Unité\n"


def test_text_of_another_encoding_is_refused_with_advice():
    options = {**MD5, "columns.source_id": "id", "columns.originator": "from"}
    options |= {"columns.category": "c", "scheme": "s"}
    read_as = [{}, {"encoding": "cp1252"}]
    reasons, none = (
        [
            (each.place.number, each.reason)
            for raw in open_reader(
                io.BytesIO(CP1252.encode("cp1252")), format="csv", options={**options, **more}
            )
            for each in validate(raw, default_handling=NO_ONWARD_SHARING).rejections
        ]
        for more in read_as
    )
    assert none == []
    assert [line for line, _ in reasons] == [2, 3, 4]
    assert all("is not UTF-8 text" in told and "encoding=cp1252" in told for _, told in reasons)


def test_what_is_too_long_or_unprintable_is_told_apart():
    text = f"md5,c\n{md5(1)},{'é' * 65}\n{md5(2)},a\x07b\n"
    (raw,) = open_reader(
        io.BytesIO(text.encode()),
        format="csv",
        options={**MD5, "columns.category": "c", "scheme": "s"},
    )
    rejections = validate(raw, default_handling=NO_ONWARD_SHARING).rejections
    assert [each.reason for each in rejections] == [
        "the value has 65 characters; at most 64 are allowed",
        "the value has control characters or is not valid Unicode",
    ]
