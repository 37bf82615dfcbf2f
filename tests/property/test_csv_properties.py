"""However a CSV file is quoted and cut, it means what its cells say."""

from __future__ import annotations

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

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
