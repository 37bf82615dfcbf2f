"""However a CSV file is quoted and cut, it means what its cells say."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hashlists.errors import FormatError
from hashlists.formats.csv_lines import Lines, block_columns
from hashlists.formats.registry import open_reader
from hashlists.limits import ImportLimits
from hashlists.model import Handling, HashKind
from hashlists.validate import validate

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=8)
ID = st.text(
    st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_categories=["Cc"]), max_size=8
)
MD5 = st.binary(min_size=14, max_size=14).map(lambda body: b"\x5a\xa5" + body)


@st.composite
def tables(draw):
    rows = draw(st.lists(st.tuples(MD5, ID, st.none() | st.integers(1, 2**60), CELL), max_size=12))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    delimiter = draw(st.sampled_from([",", ";", "\t", "|"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end, quoting=quoting)
    order = draw(st.permutations(range(4)))
    lines, line = [], 2
    writer.writerow([("md5", "id", "size", "note")[at] for at in order])
    for row in rows:
        cells = (row[0].hex(), row[1], "" if row[2] is None else str(row[2]), row[3])
        writer.writerow([cells[at] for at in order])
        lines.append(line)
        line += 1 + row[3].count("\n")
    return rows, lines, delimiter, out.getvalue()


@given(tables(), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.sampled_from([1, 3, 1000]))
def test_any_table_is_read_back(table, codec, batch_rows):
    rows, lines, delimiter, text = table
    options = {
        "columns.md5": "md5",
        "columns.source_id": "id",
        "columns.size": "size",
        "delimiter": delimiter,
        "encoding": "utf-16" if codec == "utf-16" else "utf-8",
        "multiline": "yes",
    }
    reader = open_reader(
        io.BytesIO(text.encode(codec)),
        format="csv",
        options=options,
        limits=ImportLimits(max_batch_rows=batch_rows),
    )
    found = []
    for batch in reader:
        result = validate(batch, default_handling=Handling())
        assert result.rejections == []
        entries = result.entries
        columns = (entries.hashes[HashKind.MD5], entries.source_ids, entries.sizes)
        places = [entries.place_at(row).number for row in range(len(entries))]
        found += zip(*columns, places, strict=True)
    assert found == [
        (md5, source_id or None, size, line)
        for (md5, source_id, size, _), line in zip(rows, lines, strict=True)
    ]


WORD = st.text(st.characters(codec="ascii", exclude_characters='\x00\r\n",'), max_size=8)


def digests(text, options):
    """The MD5 values of all entries; no record may be rejected."""
    found = []
    reader = open_reader(io.BytesIO(text.encode()), format="csv", options=options)
    for batch in reader:
        result = validate(batch, default_handling=Handling())
        assert result.rejections == []
        found += result.entries.hashes.get(HashKind.MD5, ())
    return found


@st.composite
def plain_rows(draw):
    """The cells of a table, header first, none of which needs quotes, and the place of the MD5."""
    width, at = draw(st.sampled_from([(1, 0), (2, 0), (2, 1), (3, 1)]))
    rows = [[f"c{n}" for n in range(width)]]
    for digest in draw(st.lists(MD5, min_size=3, max_size=8)):
        rows.append([draw(WORD) for _ in range(width)])
        rows[-1][at] = digest.hex()
    return rows, at


@given(plain_rows(), st.data())
def test_a_file_cut_anywhere_is_refused_or_gives_its_first_records(table, data):
    rows, at = table
    text = "".join(",".join(row) + "\r\n" for row in rows)
    cut = data.draw(st.integers(text.index("\n") + 1, len(text)))
    whole_lines = text.count("\n", 0, cut)
    try:
        found = digests(text[:cut], {"columns.md5": f"c{at}"})
    except FormatError:
        assert text[cut - 1] not in "\r\n"
        return
    assert found in (
        [bytes.fromhex(row[at]) for row in rows[1:end]] for end in range(len(rows) + 1)
    )
    assert len(found) >= whole_lines - 1


@given(plain_rows(), st.data())
def test_a_stray_pair_of_quotes_never_hides_records(table, data):
    rows, at = table
    first = data.draw(st.integers(1, len(rows) - 1))
    last = data.draw(st.integers(first, len(rows) - 1))
    start, end = (data.draw(st.integers(0, len(rows[0]) - 1)) for _ in "12")
    assume((first, start) <= (last, end))
    expected = [bytes.fromhex(row[at]) for row in rows[1:]]
    rows[first][start] = '"' + rows[first][start]
    rows[last][end] += '"'
    text = "".join(",".join(row) + "\n" for row in rows)
    options = {"columns.md5": f"c{at}"}
    if (first, start) == (last, end):
        assert digests(text, options) == expected
    elif first < last:
        with pytest.raises(FormatError):
            digests(text, options)


@st.composite
def lines_of_any_sort(draw):
    """Lines that mostly fit a table of two columns, and some that do not."""
    cell = st.sampled_from(["a", "", "b c", '"q"', '"a,b"', '"x""y"', "\u2028", "\x0b", 'a"b'])
    row = st.lists(cell, min_size=2, max_size=2) | st.lists(cell, max_size=3)
    ends = draw(st.sampled_from([["\n"], ["\r\n"], ["\n", "\r\n", "\r"]]))
    rows = draw(st.lists(row, min_size=1, max_size=12))
    return [",".join(cells) + draw(st.sampled_from(ends)) for cells in rows]


@given(lines_of_any_sort())
def test_many_lines_at_once_give_what_they_give_one_by_one(lines):
    columns = block_columns(lines, width=2, delimiter=",", max_chars=1000)
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error:
        assert columns is None
        return
    if columns is not None:
        assert rows == list(map(list, zip(*columns, strict=True)))
    elif all(len(row) == 2 for row in rows) and len(rows) == len(lines):
        raise AssertionError("lines that fit were declined")


@given(
    st.lists(st.text(st.sampled_from("ab\n\r\u2028\x0b\x85é🦀"), max_size=6)).map("".join),
    st.sampled_from(["utf-8", "utf-16", "utf-8-sig"]),
    st.integers(1, 80),
)
def test_lines_are_those_of_python_wherever_blocks_end(text, codec, block):
    lines = Lines(io.BytesIO(text.encode(codec)), codec, ImportLimits(block_bytes=block))
    expected = io.StringIO(text.removeprefix("\ufeff"), newline="").readlines()
    found = []
    while some := lines.peek(3, 10):
        lines.skip(some[:1])
        found.append(some[0])
        found += [line for _, line in zip(range(2), lines, strict=False)]
    assert found == expected
    assert lines.number == len(expected)
    assert lines.open_ended == (not text or not text.endswith(("\n", "\r")))
