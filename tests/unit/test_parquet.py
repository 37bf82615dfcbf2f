"""Parquet: columns of many types, damaged and hostile files, and where the library is missing."""

from __future__ import annotations

import gc
import io
import sys
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hashlists.errors import FormatError, HashlistsError, OptionsError, UnknownFormatError
from hashlists.formats import parquet_groups, parquet_pages
from hashlists.formats.base import Sample
from hashlists.formats.parquet import looks_like
from hashlists.formats.parquet_pages import Chunk, largest_repeating_page
from hashlists.formats.registry import open_reader, open_writer
from hashlists.limits import DEFAULT_LIMITS, ImportLimits
from hashlists.model import NO_ONWARD_SHARING, Classification, EntryFlag, Handling, HashKind
from hashlists.validate import validate
from tests.export_support import Row, export_batch, read, value, write

MD5 = {"columns.md5": "md5"}


def md5(number=1):
    return value(HashKind.MD5, number)


def table(**columns):
    """A file of the given columns: arrays, or lists as pyarrow takes them."""
    return written(pa.table(columns))


def written(made, **options):
    out = io.BytesIO()
    pq.write_table(made, out, **options)
    return out.getvalue()


def outcome(data, options=MD5, limits=DEFAULT_LIMITS):
    """Rows, and rejections as row and field."""
    rows, rejections = 0, []
    for raw in open_reader(io.BytesIO(data), format="parquet", options=options, limits=limits):
        result = validate(raw, default_handling=NO_ONWARD_SHARING)
        rows += len(result.entries)
        rejections += [(str(each.place), each.field) for each in result.rejections]
    return rows, rejections


@pytest.mark.parametrize(
    "make",
    [
        lambda raw: pa.array(raw, pa.binary(16)),
        lambda raw: pa.array(raw, pa.binary()),
        lambda raw: pa.array(raw, pa.large_binary()),
        lambda raw: pa.array([each and each.hex() for each in raw]),
        lambda raw: pa.array([each and each.hex().upper() for each in raw], pa.large_string()),
        lambda raw: pa.array([each and each.hex() for each in raw]).dictionary_encode(),
        lambda raw: pa.array([[each] if each else None for each in raw]),
    ],
    ids=["fixed", "binary", "large binary", "text", "large text", "dictionary", "list"],
)
@pytest.mark.parametrize("gap", [False, True])
def test_hashes_as_bytes_or_text(make, gap):
    raw = [md5(number) for number in range(7)]
    sha1 = [value(HashKind.SHA1, number) for number in range(7)]
    if gap:
        raw[3] = None
    data = table(md5=make(raw), sha1=pa.array(sha1))
    found = read(data, "parquet", {**MD5, "columns.sha1": "sha1"}, ImportLimits(max_batch_rows=5))
    assert [row.hashes.get(HashKind.MD5) for row in found.rows] == raw


def test_typed_columns():
    data = table(
        md5=[md5().hex()],
        id=[17],
        size=pa.array([Decimal(488)], pa.decimal128(10, 2)),
        baseline=[True],
        class_=[2.0],
        seen=pa.array([datetime(2026, 1, 2, 3, 4, 5)], pa.timestamp("ns")),  # noqa: DTZ001
        day=pa.array([date(2026, 1, 2)]),
        to=[["a", "b"]],
        until=pa.array([datetime(2030, 1, 2, tzinfo=UTC)], pa.timestamp("s", "UTC")),
        note=["SECRET"],
    )
    options = {
        **MD5,
        "columns.source_id": "id",
        "columns.size": "size",
        "columns.baseline": "baseline",
        "columns.category": "class_",
        "columns.updated_at": "seen",
        "columns.profile": "day",
        "columns.releasable_to": "to",
        "columns.expires_at": "until",
        "scheme": "x",
    }
    (row,) = read(data, "parquet", options).rows
    assert (row.source_id, row.size, row.flags) == ("17", 488, EntryFlag.BASELINE)
    assert row.classification == Classification("x", "2026-01-02", "2")
    assert row.updated_at == "2026-01-02T03:04:05+00:00"
    assert row.handling == Handling("", ("a", "b"), datetime(2030, 1, 2, tzinfo=UTC))
    assert "SECRET" not in repr(row)


def test_a_column_within_a_structure():
    pdqs = [value(HashKind.PDQ, number).hex() for number in (1, 2)]
    hashes = [{"pdq": pdqs, "md5": md5().hex()}]
    data = table(hashes=pa.array(hashes), other=["x"])
    options = {"columns.md5": "hashes.md5", "columns.pdq": "hashes.pdq"}
    (row,) = read(data, "parquet", options).rows
    assert row.hashes[HashKind.MD5] == md5()
    assert row.extra == ((HashKind.PDQ, value(HashKind.PDQ, 2), None),)


def test_wrong_types_reject_their_row_alone():
    data = table(md5=[md5(1).hex(), md5(2).hex()], size=pa.array([[1], None]))
    rows, rejections = outcome(data, {**MD5, "columns.size": "size"})
    assert (rows, rejections) == (1, [("row 1", "size")])


def test_text_that_is_not_utf_8_rejects_its_row():
    bad = pa.array([b"\xff" * 32, md5(1).hex().encode()]).cast(pa.binary()).view(pa.string())
    rows, rejections = outcome(table(md5=bad))
    assert (rows, rejections) == (1, [("row 1", "md5")])


def test_row_groups_are_streamed_with_true_places():
    made = pa.table({"md5": [md5(n).hex() if n % 5 else "x" for n in range(50)]})
    reader = open_reader(
        io.BytesIO(written(made, row_group_size=20)),
        format="parquet",
        options=MD5,
        limits=ImportLimits(max_batch_rows=8),
    )
    sizes, places = [], []
    for raw in reader:
        sizes.append(len(raw))
        result = validate(raw, default_handling=NO_ONWARD_SHARING)
        places += [each.place.number for each in result.rejections]
    assert sizes == [8, 8, 4, 8, 8, 4, 8, 2]
    assert places == list(range(1, 51, 5))
    assert reader.bytes_read > 0


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd", "lz4", "brotli"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_what_writers_use(compression, version):
    made = pa.table({"md5": [md5(n % 50).hex() for n in range(300)]})
    data = written(made, compression=compression, data_page_version=version, data_page_size=1000)
    assert outcome(data)[0] == 300


def test_delta_encoding():
    made = pa.table({"md5": [md5(n).hex() for n in range(30)]})
    data = written(made, use_dictionary=False, column_encoding={"md5": "DELTA_BYTE_ARRAY"})
    assert outcome(data)[0] == 30


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: b"", "is not Parquet"),
        (lambda data: b"md5\nx\n", "is not Parquet"),
        (lambda data: data[:-1], "was cut off"),
        (lambda data: b"PAR1", "was cut off"),
        (lambda data: data[:-8] + b"\xff\xff\xff\x7fPAR1", "table of contents"),
        (lambda data: data[:-4] + b"PARE", "encrypted"),
        (lambda data: data[:60] + b"\xff" * 40 + data[100:], "damaged|page"),
        (lambda data: data[:-60] + b"\xff" * 40 + data[-20:], "damaged"),
    ],
)
def test_damaged_files_are_refused(spoil, message):
    data = written(pa.table({"md5": [md5(n).hex() for n in range(30)]}), compression="none")
    with pytest.raises(FormatError, match=message):
        outcome(spoil(data))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "not of Hashwarden's own layout"),
        ({"columns.md5": "x"}, "'x', which the file does not have; its columns are: 'md5', 's'"),
        ({"columns.md5": "s"}, "'s' is a structure"),
        ({"columns.md5": "s.b"}, "does not have"),
        ({"columns.md5": "s.a.c"}, "does not have"),
        ({**MD5, "encoding": "utf-8"}, "unknown option 'encoding'"),
        ({"columns": "mine"}, "unknown layout"),
    ],
)
def test_wrong_options(options, message):
    data = table(md5=["x"], s=pa.array([{"a": 1}]))
    with pytest.raises(OptionsError, match=message):
        open_reader(io.BytesIO(data), format="parquet", options=options)


def test_a_column_that_the_file_has_twice():
    made = pa.table([pa.array(["x"]), pa.array(["y"])], names=["md5", "md5"])
    with pytest.raises(OptionsError, match="has more than once"):
        open_reader(io.BytesIO(written(made)), format="parquet", options=MD5)


def test_limits_of_columns_and_rows():
    data = written(pa.table({"md5": pa.nulls(3_000_000, pa.string())}))
    with pytest.raises(FormatError, match="more rows than its length can hold"):
        outcome(data)
    with pytest.raises(FormatError, match="2 columns; at most 1"):
        outcome(table(md5=["x"], b=["y"]), limits=ImportLimits(max_columns=1))


def test_a_page_that_unpacks_to_much_more_than_its_size_is_refused():
    made = pa.table({"md5": ["x" * 30_000_000]})
    data = written(made, compression="gzip", use_dictionary=False, write_statistics=False)
    assert len(data) < 200_000
    with pytest.raises(FormatError, match="'md5' has a page that unpacks to more than 200 times"):
        outcome(data)


def test_a_dictionary_that_stands_for_large_values_many_times_is_refused(monkeypatch):
    made = pa.table({"md5": pa.array(["x" * 300_000] * 250).dictionary_encode()})
    data = written(made, write_statistics=False)
    with pytest.raises(FormatError, match=r"row 1: .* rows unpack to more than"):
        outcome(data)
    monkeypatch.setattr(parquet_pages, "MAX_REPEATING_PAGE_BYTES", 1000)
    with pytest.raises(FormatError, match="page of deltas of more than 1000"):
        outcome(data)


def test_lists_without_end_are_refused(monkeypatch):
    monkeypatch.setattr(parquet_pages, "MAX_CHUNK_VALUES", 1000)
    data = table(md5=[md5(1).hex()], to=[["a"] * 1001])
    with pytest.raises(FormatError, match=r"'to\.list\.element' has a group of rows with"):
        outcome(data, {**MD5, "columns.releasable_to": "to"})
    assert outcome(data)[0] == 1  # a column that nobody asked for is not looked at


@pytest.mark.parametrize("page", [b"", b"\xff" * 20, b"\x00", b"\x15", b"\x1b\x00", b"\x1c" * 50])
def test_pages_without_a_readable_header_are_refused(page):
    chunk = Chunk("md5", 0, max(len(page), 1), 1)
    with pytest.raises(FormatError, match="'md5' has a page"):
        largest_repeating_page(io.BytesIO(page), chunk, DEFAULT_LIMITS)


def test_other_parts_of_a_page_header_are_passed_over():
    fields = (
        b"\x15\x00" b"\x15\x14" b"\x15\x14"  # data page, 10 bytes unpacked, 10 packed
        b"\x11" b"\x12" b"\x13\x01" b"\x17" + bytes(8) +  # true, false, a byte, a double
        b"\x18\x02ab" b"\x19\x25\x02\x04" b"\x19\x11\x01" b"\x00"  # a text, two lists
    )  # fmt: skip
    chunk = Chunk("md5", 0, len(fields) + 10, 1)
    assert largest_repeating_page(io.BytesIO(fields + bytes(10)), chunk, DEFAULT_LIMITS) == 0


def test_the_library_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for act in (
        lambda: open_reader(io.BytesIO(b""), format="parquet", options=MD5),
        lambda: open_writer(io.BytesIO(), format="parquet"),
    ):
        with pytest.raises(UnknownFormatError, match=r"hashwarden\[parquet\]"):
            act()


def test_the_streams_stay_open(monkeypatch):
    monkeypatch.setattr(parquet_groups, "_ROWS_IN_GROUP", 1500)
    out = io.BytesIO()
    writer = open_writer(out, format="parquet")
    row = Row(key=b"\x00a", hashes={HashKind.MD5: md5()})
    for _ in range(3):
        writer.write(export_batch([row] * 1000))
    writer.finish()
    del writer
    reader = open_reader(out, format="parquet")
    assert (reader.format, reader.header.version) == ("parquet", "1")
    assert next(reader).rows == DEFAULT_LIMITS.max_batch_rows
    del reader
    gc.collect()
    assert not out.closed
    assert pq.ParquetFile(out).metadata.num_row_groups == 2


def test_another_version_of_the_layout_is_refused():
    data, _ = write([], "parquet")
    made = pq.read_table(io.BytesIO(data)).replace_schema_metadata({"hashwarden.layout": "2"})
    with pytest.raises(FormatError, match="another version of the layout"):
        outcome(written(made), {})


def test_the_writer_takes_no_options():
    with pytest.raises(OptionsError, match="unknown option 'compression'"):
        write([], "parquet", {"compression": "x"})


def test_likeness():
    assert looks_like(Sample(b"PAR1abc")).score == 90
    assert looks_like(Sample(b"md5\n")) is None


def test_a_stream_that_fails_is_told():
    data = table(md5=[md5().hex()])

    class Failing(io.BytesIO):
        def read(self, size=-1):
            if self.tell() == len(data) - 8:
                self.reads = getattr(self, "reads", 0) + 1
            if getattr(self, "reads", 0) > 1:
                raise OSError(5, "Input/output error")
            return super().read(size)

    stream = Failing(data)
    stream.reads = 1
    with pytest.raises((FormatError, OSError), match="Input/output error"):
        open_reader(stream, format="parquet", options=MD5)


@pytest.mark.parametrize("offset", range(4, 120, 7))
def test_a_page_whose_header_is_spoilt_is_refused_or_its_rows_are(offset):
    whole = written(
        pa.table({"md5": [md5(n).hex() for n in range(30)]}),
        compression="none",
        use_dictionary=False,
    )
    spoilt = whole[:offset] + b"\xff" + whole[offset + 1 :]
    try:
        rows, rejections = outcome(spoilt)
    except FormatError:
        return
    assert rows + len(rejections) == 30


def test_a_time_that_cannot_be_rejects_its_row_alone():
    seen = pa.array([2**62, 0], pa.timestamp("us"))
    data = table(md5=[md5(1).hex(), md5(2).hex()], seen=seen)
    assert outcome(data, {**MD5, "columns.updated_at": "seen"}) == (1, [("row 1", "seen")])


@pytest.mark.parametrize(
    "footer", [b"", b"\x00", b"\x1c" * 40, b"\x49\x1c\x19\x1c\x18\x01x\x00\x00\x00"]
)
def test_a_table_of_contents_that_cannot_be_read_is_refused(footer):
    with pytest.raises(FormatError, match="table of contents is damaged"):
        parquet_pages.read_chunks(footer)


def test_a_spoilt_table_of_contents_never_ends_the_process():
    whole = written(pa.table({"md5": [md5(n).hex() for n in range(9)], "l": [[1, 2]] * 9}))
    start = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    options = {**MD5, "columns.size": "l"}
    for at in range(start, len(whole) - 8):
        try:
            outcome(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :], options)
        except HashlistsError:
            continue
