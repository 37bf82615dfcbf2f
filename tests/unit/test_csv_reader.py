"""The CSV reader: declared columns, dialects, lines that do not fit, files that cannot be read."""

from __future__ import annotations

import base64
import gc
import io
import random
import re

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.registry import open_reader
from hashlists.limits import ImportLimits
from hashlists.model import Classification, EntryFlag, Handling, HashKind
from hashlists.validate import KEY_TAGS, validate


def value(kind: HashKind, seed: int = 1) -> bytes:
    return random.Random(f"{kind}{seed}").randbytes(kind.nbytes)


def md5(seed: int = 1) -> str:
    return value(HashKind.MD5, seed).hex()


def run(data, limits=None, **options):
    """All entries and rejections; `_` in an option stands for its dot."""
    data = data.encode() if isinstance(data, str) else data
    names = {name.replace("__", "."): text for name, text in options.items()}
    reader = open_reader(
        io.BytesIO(data), format="csv", options=names, limits=limits or ImportLimits()
    )
    results = [validate(batch, default_handling=Handling()) for batch in reader]
    rejections = [rejection for result in results for rejection in result.rejections]
    return [result.entries for result in results if len(result.entries)], rejections


def test_declared_columns_are_taken_and_no_others():
    photodna = base64.b64encode(value(HashKind.PHOTODNA)).decode()
    data = (
        "MD5 Hash;ID;Case;PDNA;pdq;Class;Bytes;Type;Updated;Votes;Baseline;Series name\n"
        f"{md5()};A-1;SECRET;{photodna};{value(HashKind.PDQ).hex()};0;488;image/png;"
        "2023-06-07;3;Yes;SECRET\n"
    )
    (entries,), rejections = run(
        data,
        delimiter=";",
        scheme="iccam",
        profile="x",
        columns__md5="MD5 Hash",
        columns__source_id="ID",
        columns__photodna="PDNA",
        hash_encoding__photodna="base64",
        columns__pdq="pdq",
        columns__category="Class",
        columns__size="Bytes",
        columns__media_type="Type",
        columns__updated_at="Updated",
        columns__verified_count="Votes",
        columns__baseline="Baseline",
        columns__series="Series name",
    )
    assert rejections == []
    kinds = (HashKind.MD5, HashKind.PHOTODNA, HashKind.PDQ)
    assert dict(entries.hashes) == {kind: [value(kind)] for kind in kinds}
    assert list(entries.keys) == [KEY_TAGS[HashKind.MD5] + value(HashKind.MD5)]
    assert list(entries.classifications) == [Classification("iccam", "x", "0")]
    assert list(entries.sizes) == [488]
    assert list(entries.verified_counts) == [3]
    assert list(entries.media_types) == ["image/png"]
    assert list(entries.source_ids) == ["A-1"]
    assert list(entries.source_updated_at) == ["2023-06-07"]
    assert EntryFlag(entries.flags[0]) == EntryFlag.BASELINE | EntryFlag.SERIES
    assert "SECRET" not in repr(entries)


def test_header_of_the_file():
    reader = open_reader(
        io.BytesIO(f"a\n{md5()}\n".encode()),
        format="csv",
        options={"columns.md5": "a", "scheme": "s", "profile": "p"},
    )
    assert reader.format == "csv"
    assert (reader.header.scheme, reader.header.profile) == ("s", "p")
    list(reader)
    assert reader.bytes_read == 35


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_and_byte_order_marks(end, mark):
    data = mark + end.join(["md5,size", f"{md5(1)},1", "", f"{md5(2)},2", ""])
    (entries,), rejections = run(data, columns__md5="md5", columns__size="size")
    assert rejections == []
    assert list(entries.sizes) == [1, 2]
    assert [entries.place_at(row).number for row in range(2)] == [2, 4]


@pytest.mark.parametrize(
    ("encoding", "codec"),
    [("utf-8", "utf-8"), ("utf-16", "utf-16"), ("latin-1", "latin-1"), ("CP1252", "cp1252")],
)
def test_encodings(encoding, codec):
    data = f"Prüfsumme,id\n{md5()},Größe\n".encode(codec)
    (entries,), _ = run(data, encoding=encoding, columns__md5="Prüfsumme", columns__source_id="id")
    assert list(entries.source_ids) == ["Größe"]


def test_quoted_cells_with_delimiters_quotes_and_line_ends():
    data = f'id,md5,note\n"a,""b""",{md5(1)},"one\ntwo\r\nthree"\nc,{md5(2)},x\n'
    (entries,), rejections = run(data, columns__md5="md5", columns__source_id="id")
    assert rejections == []
    assert list(entries.source_ids) == ['a,"b"', "c"]
    assert [entries.place_at(row).number for row in range(2)] == [2, 5]


def test_tab_as_delimiter():
    (entries,), _ = run(f"a\tmd5\nx\t{md5()}\n", delimiter="tab", columns__md5="md5")
    assert len(entries) == 1


def test_lines_that_do_not_fit_are_rejected_by_their_number():
    data = f'md5,size\n{md5(1)},1\n{md5(2)}\n{md5(3)},1,2\n"{md5(4)}"x,1\n{md5(5)},-1\n{md5(6)},6\n'
    (entries,), rejections = run(data, columns__md5="md5", columns__size="size")
    assert list(entries.sizes) == [1, 6]
    assert [(r.place.unit, r.place.number, r.field) for r in rejections] == [
        ("line", 3, ""),
        ("line", 4, ""),
        ("line", 5, ""),
        ("line", 6, "size"),
    ]
    assert rejections[0].reason == "not a row of this table: 1 cell where the header has 2"


@pytest.mark.parametrize("behind", [f'{md5(4)},"x"', f'"{md5(4)}",x'])
def test_a_quote_that_may_have_swallowed_records_is_refused(behind):
    data = f'md5,note\n{md5(1)},a\n{md5(2)},"b\n{md5(3)},c\n{behind}\n{md5(5)},d\n'
    with pytest.raises(FormatError, match="line 3: quotes make one record of the lines up to 5"):
        run(data, columns__md5="md5")


def test_row_limit_at_its_edge():
    row = f'{md5()},"{"x" * 50}\n{"x" * 50}"\n'
    for limit in (len(row), len(row) - 1):
        limits = ImportLimits(max_record_bytes=limit)
        if limit == len(row):
            assert len(run(f"md5,note\n{row}{row}", limits, columns__md5="md5")[0][0]) == 2
        else:
            with pytest.raises(FormatError, match=f"line 3: .* exceeds {limit} characters"):
                run(f"md5,note\n{row}", limits, columns__md5="md5")


def test_line_and_column_limits_at_their_edges():
    data = f"md5,note\n{md5()},{'x' * 10}\n"
    longest = len(md5()) + 12
    run(data, ImportLimits(max_line_chars=longest, max_columns=2), columns__md5="md5")
    with pytest.raises(FormatError, match=f"exceeds {longest - 1} characters"):
        run(data, ImportLimits(max_line_chars=longest - 1), columns__md5="md5")
    with pytest.raises(FormatError, match="2 columns; at most 1"):
        run(data, ImportLimits(max_columns=1), columns__md5="md5")


def test_long_lines_make_small_batches():
    data = "md5,note\n" + "".join(f"{md5(n)},{'x' * 500}\n" for n in range(20))
    batches, _ = run(data, ImportLimits(block_bytes=1000), columns__md5="md5")
    assert [len(entries) for entries in batches] == [2] * 10


def test_rejections_name_the_column_as_the_file_does():
    data = f"MD5 Hash,Bad\n{md5()},maybe\nxyz,yes\n"
    _, rejections = run(data, columns__md5="MD5 Hash", columns__distributed="Bad")
    assert [rejection.field for rejection in rejections] == ["Bad", "MD5 Hash"]


def test_bytes_that_are_not_of_the_encoding_reject_their_line():
    data = b"md5,id\n" + f"{md5(1)},".encode() + b"\xff\n" + f"{md5(2)},ok\n".encode()
    (entries,), rejections = run(data, columns__md5="md5", columns__source_id="id")
    assert list(entries.source_ids) == ["ok"]
    assert [rejection.place.number for rejection in rejections] == [2]


def test_key_column_as_text():
    data = f"md5,k\n{md5(1)},Schl\u00fcssel\n{md5(2)},\n"
    (entries,), rejections = run(data, columns__md5="md5", columns__key="k")
    assert list(entries.keys) == [b"\x00" + "Schl\u00fcssel".encode()]
    assert [(r.place.number, r.field, r.reason) for r in rejections] == [
        (3, "k", "the record has no key")
    ]


def test_key_column_that_holds_a_hash():
    data = f"md5,sha1\n{md5(1)},{value(HashKind.SHA1).hex()}\n,{value(HashKind.SHA1, 2).hex()}\n"
    (entries,), rejections = run(data, columns__md5="md5", columns__sha1="sha1", columns__key="md5")
    assert list(entries.keys) == [KEY_TAGS[HashKind.MD5] + value(HashKind.MD5)]
    assert [(rejection.place.number, rejection.field) for rejection in rejections] == [(3, "md5")]


@pytest.mark.parametrize("encoding", ["hex", "detect"])
def test_declared_encoding_is_binding(encoding):
    data = f"md5\n{base64.b64encode(value(HashKind.MD5)).decode()}\n"
    entries, rejections = run(data, columns__md5="md5", hash_encoding__md5=encoding)
    assert (len(entries), len(rejections)) == ((0, 1) if encoding == "hex" else (1, 0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "e.g. --column md5=NAME; as options: columns.pdq"),
        ({"columns.size": "a"}, "no column is mapped to a hash"),
        (
            {"columns.md6": "a"},
            "unknown option 'columns.md6'; did you mean columns.md5? allowed: columns.pdq",
        ),
        ({"hash_encodings.md5": "hex"}, "; did you mean hash_encoding.md5? allowed: delimiter"),
        ({"columns.quux": "a"}, "unknown option 'columns.quux'; allowed: columns.pdq"),
        ({"columns.md5": "a", "colour": "x"}, "unknown option 'colour'; allowed: delimiter"),
        ({"columns.md5": "a", "x.y": "x"}, "unknown option 'x.y'"),
        ({"columns.md5": "a", "hash_encoding.md6": "hex"}, "unknown option 'hash_encoding.md6'"),
        ({"columns.md5": "a", "hash_encoding.md5": "rot13"}, "'rot13'; allowed: hex, base64"),
        ({"columns.md5": "a", "encoding": "ebcdic"}, "unknown encoding 'ebcdic'; known"),
        ({"columns.md5": "a", "delimiter": ";;"}, "delimiter must be one character"),
        ({"columns.md5": "a", "delimiter": '"'}, "delimiter must be one character"),
        ({"columns.md5": "a", "delimiter": ""}, "delimiter must be one character"),
        ({"columns.md5": "a", "columns.category": "a"}, "columns.category needs the option scheme"),
        (
            {"columns.md5": "MD5"},
            "names the column 'MD5', which the file does not have; its columns are: 'a', 'b', 'b'",
        ),
        ({"columns.md5": "b"}, "--column md5=NAME) names the column 'b', which the file has more"),
        ({"columns.md5": "a", "columns.category": "a"}, "--option scheme=NAME; vics, uk, iwf"),
    ],
)
def test_wrong_options_say_what_is_allowed(options, message):
    with pytest.raises(OptionsError) as caught:
        open_reader(io.BytesIO(b"a,b,b\n"), format="csv", options=options)
    assert message in str(caught.value)


@pytest.mark.parametrize(("sign", "option"), [(";", ";"), ("\t", "tab"), ("|", "|")])
def test_another_delimiter_is_named_where_it_parts_the_names_of_columns(sign, option):
    data = f"File MD5{sign}Note\n".encode()
    with pytest.raises(OptionsError, match=re.escape(f"say --option 'delimiter={option}'")):
        open_reader(io.BytesIO(data), format="csv", options={"columns.md5": "File MD5"})


def test_a_missing_header_line_does_not_show_hashes():
    data = f"{md5(1)},{base64.b64encode(value(HashKind.PHOTODNA)).decode()},note\n".encode()
    with pytest.raises(OptionsError) as caught:
        open_reader(io.BytesIO(data), format="csv", options={"columns.md5": "md5"})
    assert md5(1) not in str(caught.value)
    assert "header line may be missing" in str(caught.value)
    assert "note" not in str(caught.value)  # it is of the same record


def test_many_columns_are_not_all_shown():
    data = ",".join(f"c{n}" for n in range(80)).encode()
    with pytest.raises(OptionsError, match="'c49' and 30 more"):
        open_reader(io.BytesIO(data), format="csv", options={"columns.md5": "md5"})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"\n", "must name the columns"),
        (b'"a', "no header"),
        (b"a,b,c,d\n", "4 columns; at most 3"),
        (b"a\n" + b"x" * 101, "line 2: the line exceeds 100 characters"),
        (b'a\n\n"x\ny', "line 3: a quoted cell that starts here is never closed"),
        (b'a\n"' + b"x\n" * 70_000, "line 2: a quoted cell that starts here is never closed"),
    ],
)
def test_what_cannot_be_read_as_csv_is_refused(data, message):
    with pytest.raises(FormatError, match=message):
        run(data, ImportLimits(max_columns=3, max_line_chars=100), columns__md5="a")


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf_16_that_was_not_announced_is_told(mark):
    with pytest.raises(OptionsError, match="--option encoding=utf-16"):
        open_reader(io.BytesIO(mark + b"m\0"), format="csv", options={"columns.md5": "md5"})


def test_broken_utf_16_is_refused():
    data = f"md5\n{md5()}\n".encode("utf-16")[:-1]
    with pytest.raises(FormatError, match="not text of its encoding"):
        run(data, encoding="utf-16", columns__md5="md5")


def test_batches_are_bounded_and_complete():
    lines = [md5(n) if n % 7 else "bad" for n in range(100)]
    data = "md5\n" + "\n".join(lines)
    batches, rejections = run(data, ImportLimits(max_batch_rows=10), columns__md5="md5")
    assert len(batches) == 10
    found = [row for entries in batches for row in entries.hashes[HashKind.MD5]]
    assert found == [value(HashKind.MD5, n) for n in range(100) if n % 7]
    assert [rejection.place.number for rejection in rejections] == [n + 2 for n in range(0, 100, 7)]


def test_the_stream_stays_open_when_the_reader_is_gone():
    stream = io.BytesIO(f"md5\n{md5()}\n".encode())
    reader = open_reader(stream, format="csv", options={"columns.md5": "md5"})
    next(iter(reader))
    del reader
    gc.collect()
    assert not stream.closed


TABLE = f"md5,note,size\n{md5(1)},a,1\n{md5(2)},b,2"


@pytest.mark.parametrize(
    ("cut_off", "problem"),
    [
        (f"note,md5\na,{md5(1)}\nb,{md5(2)[:20]}", "md5: not an MD5 hash"),
        (f"note,md5\na,{md5(1)}\nb,", "the record has no hash"),
        (f"note,md5\na,{md5(1)}\nb", "1 cell where the header has 2"),
        (f"md5,note,note2\r\n{md5(1)},a,b\r\n{md5(2)},c", "2 cells where the header has 3"),
        (f"md5\r{md5(1)}\r{md5(2)[:31]}", "md5: not an MD5 hash"),
    ],
    ids=["in a hash", "before a hash", "before a delimiter", "before a column", "one column"],
)
@pytest.mark.parametrize("batch_rows", [1, 2, 1000])
def test_a_file_cut_off_inside_a_record_is_refused(cut_off, problem, batch_rows):
    with pytest.raises(FormatError, match=f"line 3: the file ends inside a record.*{problem}"):
        run(cut_off, ImportLimits(max_batch_rows=batch_rows), columns__md5="md5")


def test_a_fault_is_no_cut_where_the_last_line_is_whole():
    for behind in ("\n", f"\n{md5(3)},c,3"):
        batches, rejections = run(TABLE + "x" + behind, columns__md5="md5", columns__size="size")
        assert [rejection.field for rejection in rejections] == ["size"]
        assert sum(map(len, batches)) == 1 + ("c" in behind)


def test_a_whole_last_line_without_line_end_is_taken_and_noted():
    def notes(data):
        reader = open_reader(
            io.BytesIO(data.encode()),
            format="csv",
            options={"columns.md5": "md5"},
            limits=ImportLimits(max_batch_rows=1),
        )
        return [(len(batch), dict(batch.notes)) for batch in reader]

    assert notes(TABLE + "\n") == [(1, {}), (1, {})]
    assert notes(TABLE) == [(1, {}), (1, {"last line without line end taken as whole": 1})]


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (f'note,md5\na,{md5(1)}\n"b,{md5(2)}\nc,{md5(3)}\nd",{md5(4)}\n', 4),
        (f'note,md5\na,{md5(1)}\n"b,{md5(2)}\nd",{md5(4)}\n', 3),
        (f'md5,note\n{md5(1)},a\n{md5(2)},"b\r\n{md5(3)},c\r\n{md5(4)},d"\n', 4),
        (f'x,md5,y\n1,{md5(1)},2\n"p,q","{md5(2)},c\n4,{md5(4)}",5\n', None),
        (f'x,y,md5\n1,2,{md5(1)}\n"p,q","b,{md5(2)}\nd,e",{md5(3)}\n', 3),
        (f'md5\n{md5(1)}\n"{md5(2)}\n{md5(3)}"\n', 3),
    ],
    ids=["inner line", "two lines", "last column", "among quotes", "delimiters", "one column"],
)
def test_quotes_that_make_one_record_of_several_are_refused(data, line):
    with pytest.raises(FormatError, match=f"line 3: .* line {line or 3} looks like a record"):
        run(data, columns__md5="md5")


def test_records_of_several_lines_are_taken_where_no_line_looks_like_one():
    data = (
        "note,md5,more,last\n"
        f'"one\ntwo, and\n\nthree",{md5(1)},"x\ny",z\n"a,b,c",{md5(2)},"c\nd",e\n'
    )
    (entries,), rejections = run(data, columns__md5="md5")
    assert (len(entries), rejections) == (2, [])
    assert [entries.place_at(row).number for row in range(2)] == [2, 7]


def test_the_option_multiline_allows_records_whose_lines_look_like_some():
    data = f'note,md5\n"one\ntwo, and\nthree",{md5(1)}\n'
    with pytest.raises(FormatError, match="multiline=yes"):
        run(data, columns__md5="md5", multiline="no")
    (entries,), rejections = run(data, columns__md5="md5", multiline="yes")
    assert (len(entries), rejections) == (1, [])
    with pytest.raises(OptionsError, match="multiline must be yes or no"):
        run(data, columns__md5="md5", multiline="maybe")
