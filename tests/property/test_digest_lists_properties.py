"""Lists of digests: any names and encodings, any blocks, and the quick way beside the slow one."""

from __future__ import annotations

import io
import sqlite3

from hypothesis import given
from hypothesis import strategies as st

from hashlists.formats.digest_lines import Digest, read_line
from hashlists.formats.digests import DigestsReader
from hashlists.formats.encase import HEAD_BYTES, MAGIC
from hashlists.formats.unreadable import take_sample
from hashlists.limits import ImportLimits
from hashlists.model import DIGEST_KINDS, HashKind
from tests.known_files_support import likeness, read

blocks = st.builds(
    ImportLimits,
    block_bytes=st.integers(1, 300),
    max_batch_rows=st.integers(1, 7),
)
names = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), max_size=20)


def values_of(kind):
    """Values that no list refuses."""
    return st.binary(min_size=kind.nbytes, max_size=kind.nbytes).filter(
        lambda value: len(set(value)) > 1
    )


listed = st.sampled_from(["{digits}  {name}", "{digits} *{name}", "\\{digits}  {name}"])
tagged = st.just("{word} ({name}) = {digits}")
records = st.sampled_from(DIGEST_KINDS).flatmap(
    lambda kind: st.tuples(st.just(kind), values_of(kind), st.one_of(listed, tagged), names)
)


def to_line(record, upper):
    kind, value, form, name = record
    digits = value.hex().upper() if upper else value.hex()
    return form.format(digits=digits, name=f"a.{name}", word=kind.name)


@given(
    st.lists(records, min_size=1, max_size=20),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be"]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
    blocks,
)
def test_values_are_read_whatever_the_names_and_the_encoding(kinds, codec, end, upper, limits):
    text = "".join(to_line(record, upper) + end for record in kinds)
    mark = b"\xfe\xff" if codec == "utf-16-be" else b""
    outcome = read(mark + text.encode(codec), "digests", limits=limits)
    assert outcome.rejections == []
    found = [outcome.column(kind) for kind in DIGEST_KINDS]
    expected = [
        [value if own is kind else None for own, value, *_ in kinds] for kind in DIGEST_KINDS
    ]
    assert found == expected


pieces = st.sampled_from(
    ["0123456789abcdef" * 2, "0" * 32, "F" * 40, "ab" * 32, "MD5 (", ") = ", "  ", " *", "\t", "|",
     "0000000000000001", "#", "\\", "x", "0" * 41, "1|", "", "12"]
)  # fmt: skip
odd_lines = st.lists(pieces, max_size=4).map("".join)


@given(st.lists(odd_lines, max_size=12), blocks)
def test_the_quick_way_takes_just_what_the_slow_way_takes(lines, limits):
    whole = ["0123456789abcdef0123456789abcdef", *lines]
    data = "".join(line + "\n" for line in whole).encode()
    stream = io.BytesIO(data)
    reader = DigestsReader(stream, {"kind": "by_length"}, limits, take_sample(stream))
    rows, rejected = [], []
    for batch in reader:
        for row in range(batch.rows):
            (digits,) = [column.values[row] for column in batch.hashes if column.values[row]]
            rows.append((batch.place_at(row).number, digits))
        rejected += [each.place.number for each in batch.rejections]
    found = [(number, read_line(line)) for number, line in enumerate(whole, start=1)]
    assert rows == [(number, each.digits) for number, each in found if isinstance(each, Digest)]
    assert rejected == [number for number, each in found if isinstance(each, str)]


@given(st.lists(values_of(HashKind.MD5), max_size=30), st.binary(max_size=120), blocks)
def test_encase(values, name, limits):
    head = (MAGIC.ljust(1032, b"\0") + name).ljust(HEAD_BYTES, b"\0")
    data = head + b"".join(value + b"ab" for value in values)
    outcome = read(data, "encase", limits=limits)
    assert outcome.column(HashKind.MD5) == values


@given(
    st.lists(
        st.tuples(values_of(HashKind.SHA1), values_of(HashKind.MD5), names, st.integers(1, 2**40)),
        max_size=12,
    ),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-16"]),
    blocks,
)
def test_nsrl_names_may_hold_anything(rows, first_version, codec, limits):
    if first_version:
        lines = ['"SHA-1","FileName","FileSize","ProductCode","OpSystemCode","MD4","MD5","CRC32"']
        form = '"{sha1}","{name}",{size},12,"NT","","{md5}","0F1E2D3C"'
    else:
        lines = ['"SHA-1","MD5","CRC32","FileName","FileSize","ProductCode"']
        form = '"{sha1}","{md5}","0F1E2D3C","{name}",{size},12'
    for sha1, md5, name, size in rows:
        lines.append(form.format(sha1=sha1.hex(), md5=md5.hex(), name=name, size=size))
    outcome = read("\r\n".join([*lines, ""]).encode(codec), "nsrl-csv", limits=limits)
    assert outcome.rejections == []
    assert outcome.column(HashKind.SHA1) == [sha1 for sha1, *_ in rows]
    assert outcome.column(HashKind.MD5) == [md5 for _, md5, *_ in rows]
    assert outcome.sizes == [size for *_, size in rows]


cells = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=40),
    st.binary(max_size=40), values_of(HashKind.MD5), values_of(HashKind.MD5).map(bytes.hex),
)  # fmt: skip


@given(st.lists(st.tuples(cells, cells), max_size=12), blocks)
def test_rows_of_any_values_are_taken_or_rejected_each(rows, limits):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE FILE (md5, file_size)")
    connection.executemany("INSERT INTO FILE VALUES (?, ?)", rows)
    data = connection.serialize()
    connection.close()
    outcome = read(data, "nsrl-sqlite", limits=limits)
    places = {int(place.removeprefix("row ")) for place in outcome.places}
    rejected = {each.place.number for each in outcome.rejections}
    assert places | rejected == set(range(1, len(rows) + 1))
    assert not places & rejected
    for number, value in zip(sorted(places), outcome.column(HashKind.MD5), strict=True):
        written = rows[number - 1][0]
        raw = written if isinstance(written, bytes) else bytes.fromhex(written)
        assert value == raw


@given(
    st.one_of(
        st.binary(max_size=200),
        st.sampled_from([b"SQLite format 3\0", MAGIC, b'{"MD5":', b"MD5\n", b'"SHA-1",']).flatmap(
            lambda start: st.binary(max_size=200).map(lambda rest: start + rest)
        ),
    ),
    st.sampled_from(["digests", "encase", "hashlookup", "nsrl-csv", "nsrl-sqlite", "tsk"]),
    st.sampled_from(["", "list.txt", "set.hke"]),
)
def test_any_beginning_of_a_file_is_looked_at(data, format_name, name):
    seen = likeness(data, format_name, name)
    if seen is not None:
        assert 0 <= seen.score <= 100
        assert seen.why
