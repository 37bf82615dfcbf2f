"""SQLite files: NSRL RDS 3 and The Sleuth Kit's databases, and whatever else such a file may be."""

from __future__ import annotations

import contextlib
import gc
import io
import sqlite3
from pathlib import Path

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.registry import find_format, open_reader
from hashlists.formats.sqlite_file import SqliteFile
from hashlists.limits import ImportLimits
from hashlists.model import Harm, HashKind
from hashlists.validate import KEY_TAGS
from tests.known_files_support import database, likeness, md5, read, sha1, sha256, value

MINIMAL = (
    "CREATE TABLE FILE (sha256 VARCHAR NOT NULL, sha1 VARCHAR NOT NULL, md5 VARCHAR NOT NULL,"
    " file_name VARCHAR NOT NULL, file_size INTEGER NOT NULL, package_id INTEGER NOT NULL,"
    " CONSTRAINT PK_FILE__FILE PRIMARY KEY (sha256, sha1, md5, file_name, file_size, package_id))"
)
METADATA = (
    "CREATE TABLE METADATA (object_id INTEGER PRIMARY KEY, file_name TEXT, extension TEXT,"
    " bytes INTEGER, md5 TEXT, sha1 TEXT, sha256 TEXT)"
)
VIEW = "CREATE VIEW FILE AS SELECT upper(md5) AS md5, bytes AS file_size FROM METADATA"
PROPERTIES = "CREATE TABLE db_properties (name TEXT NOT NULL, value TEXT)"
VERSION = "INSERT INTO db_properties VALUES ('Schema Version', '1')"
HASHES = (
    "CREATE TABLE hashes (id INTEGER PRIMARY KEY AUTOINCREMENT, md5 BINARY(16) UNIQUE,"
    " sha1 BINARY(20), sha2_256 BINARY(32))"
)
ENDLESS = (
    "CREATE VIEW FILE AS WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c)"
    " SELECT hex(randomblob(16)) AS md5 FROM c"
)
ALL = (HashKind.SHA256, HashKind.SHA1, HashKind.MD5)


def file_row(seed):
    return (
        sha256(seed).upper(),
        sha1(seed).upper(),
        md5(seed).upper(),
        "SECRET",
        400 + seed,
        seed,
    )


@pytest.fixture
def path(tmp_path):
    return tmp_path / "RDS 100%?.db"


def minimal(path, *seeds, extra=()):
    insert = "INSERT INTO FILE VALUES (?, ?, ?, ?, ?, ?)"
    return database(path, MINIMAL, *extra, rows=[(insert, [file_row(seed) for seed in seeds])])


def kdb(path, *seeds, extra=()):
    insert = "INSERT INTO hashes (md5) VALUES (?)"
    values = [(value(HashKind.MD5, seed),) for seed in seeds]
    return database(path, PROPERTIES, VERSION, HASHES, *extra, rows=[(insert, values)])


def read_file(path, format_name, limits=None):
    with path.open("rb") as stream:
        return read(stream, format_name, limits=limits)


def test_the_minimal_set(path):
    minimal(path, 1, 2, 3)
    outcome = read_file(path, "nsrl-sqlite")
    for kind in ALL:
        assert outcome.column(kind) == [value(kind, seed) for seed in (1, 2, 3)]
    assert outcome.sizes == [401, 402, 403]
    assert outcome.keys[0] == KEY_TAGS[HashKind.SHA1] + value(HashKind.SHA1, 1)
    assert outcome.places == ["row 1", "row 2", "row 3"]
    assert "SECRET" not in repr(outcome)


def test_of_the_full_set_the_table_behind_the_view_is_read(path):
    rows = [(n, "SECRET", "txt", 400 + n, md5(n), sha1(n), sha256(n)) for n in (1, 2)]
    database(path, METADATA, VIEW, rows=[("INSERT INTO METADATA VALUES (?,?,?,?,?,?,?)", rows)])
    outcome = read_file(path, "nsrl-sqlite")
    assert outcome.sizes == [401, 402]
    assert outcome.column(HashKind.SHA256) == [value(HashKind.SHA256, n) for n in (1, 2)]
    assert "SECRET" not in repr(outcome)


def test_a_stream_that_is_no_file_of_a_folder_is_copied(path):
    data = minimal(path, 1, 2)
    assert len(read(data, "nsrl-sqlite").keys) == 2
    with path.open("rb") as stream:
        path.unlink()
        assert len(read(stream, "nsrl-sqlite").keys) == 2


def test_nothing_is_left_or_changed_beside_the_file(path):
    before = minimal(path, 1)
    read_file(path, "nsrl-sqlite")
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def open_descriptors():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("end", ["read", "abandoned", "refused"])
def test_the_file_is_let_go_of(path, end):
    data = minimal(path, *range(1, 50))
    if end == "refused":
        path.write_bytes(data[:12288] + b"\xff" * (len(data) - 12288))
    before = open_descriptors()
    with path.open("rb") as stream, contextlib.suppress(FormatError):
        reader = open_reader(stream, format="nsrl-sqlite", limits=ImportLimits(max_batch_rows=5))
        next(reader)
        assert open_descriptors() == before + 2
        while end != "abandoned" and next(reader, None):
            pass
        assert open_descriptors() == before + 1 + (end == "abandoned")
        del reader
    assert open_descriptors() == before


def test_rows_of_any_number_come_in_batches(path):
    minimal(path, *range(1, 12))
    whole = read_file(path, "nsrl-sqlite")
    parts = read_file(path, "nsrl-sqlite", ImportLimits(max_batch_rows=3))
    assert parts.keys == whole.keys
    assert parts.places == whole.places
    assert len(parts.batches) == 4


def test_progress(path):
    minimal(path, *range(1, 60))
    with path.open("rb") as stream:
        limits = ImportLimits(max_batch_rows=10)
        reader = open_reader(stream, format="nsrl-sqlite", limits=limits)
        seen = [(next(reader), reader.bytes_read)[1] for _ in range(6)]
        assert seen == sorted(seen)
        assert seen[-1] == path.stat().st_size
        assert list(reader) == []
        assert (reader.format, reader.header.version) == ("nsrl-sqlite", "3")
        assert iter(reader) is reader


def test_a_table_without_numbers_of_rows(path):
    definition = "CREATE TABLE FILE (sha1 TEXT PRIMARY KEY, md5 TEXT) WITHOUT ROWID"
    rows = [(sha1(seed), md5(seed)) for seed in (1, 2)]
    database(path, definition, rows=[("INSERT INTO FILE VALUES (?, ?)", rows)])
    outcome = read_file(path, "nsrl-sqlite")
    assert sorted(outcome.column(HashKind.SHA1)) == sorted(value(HashKind.SHA1, n) for n in (1, 2))
    assert outcome.sizes == [None, None]


def test_an_index_that_holds_all_columns_is_not_read_instead(path):
    """A row order of its own would look like pages in circles."""
    definition = "CREATE TABLE FILE (sha1 TEXT, a TEXT, b TEXT, c TEXT)"
    rows = [(sha1(seed),) for seed in range(50)]
    insert = "INSERT INTO FILE VALUES (?, 'a', 'b', 'c')"
    index = "CREATE INDEX i ON FILE (sha1)"
    database(path, definition, index, rows=[(insert, rows)])
    outcome = read_file(path, "nsrl-sqlite")
    assert outcome.column(HashKind.SHA1) == [value(HashKind.SHA1, seed) for seed in range(50)]


def test_a_column_that_calls_itself_rowid(path):
    definition = "CREATE TABLE FILE (rowid TEXT, sha1 TEXT)"
    database(path, definition, rows=[("INSERT INTO FILE VALUES ('x', ?)", [(sha1(),)])])
    assert len(read_file(path, "nsrl-sqlite").keys) == 1


@pytest.mark.parametrize("encoding", ["UTF-16le", "UTF-8"])
def test_texts_of_any_encoding(path, encoding):
    minimal_first = f"PRAGMA encoding = '{encoding}'"
    insert = "INSERT INTO FILE VALUES (?, ?, ?, ?, ?, ?)"
    database(path, minimal_first, MINIMAL, rows=[(insert, [file_row(1)])])
    assert len(read_file(path, "nsrl-sqlite").keys) == 1


def test_wrong_values_reject_their_rows_alone(path):
    rows = [
        (sha256(1), sha1(1), md5(1), "a", 1, 1),
        (sha256(2), "é" * 40, md5(2), "a", 2, 2),
        (sha256(3), sha1(3), "12", "a", 3, 3),
        (sha256(4), sha1(4), "0" * 32, "a", 4, 4),
        ("", "", "", "a", 5, 5),
        (sha256(6), sha1(6), md5(6), "a", "many", 6),
        (sha256(7), sha1(7), md5(7), "a", 7.0, 7),
        (sha256(8), sha1(8), md5(8), "a", b"x", 8),
    ]
    database(path, MINIMAL, rows=[("INSERT INTO FILE VALUES (?, ?, ?, ?, ?, ?)", rows)])
    outcome = read_file(path, "nsrl-sqlite")
    assert [(place, name) for place, name, _ in outcome.faults] == [
        (2, "sha1"), (3, "md5"), (4, "md5"), (5, ""), (6, "file_size"),
    ]  # fmt: skip
    assert outcome.places == ["row 1", "row 7", "row 8"]
    assert outcome.sizes == [1, 7, None]


def test_a_number_where_a_digest_should_be_rejects_its_row(path):
    rows = [(value(HashKind.MD5, 1),), (12345,), (1.5,), (md5(2),), (None,)]
    insert = "INSERT INTO hashes (md5) VALUES (?)"
    database(path, PROPERTIES, VERSION, HASHES, rows=[(insert, rows)])
    outcome = read_file(path, "tsk")
    assert [(place, name) for place, name, _ in outcome.faults] == [(2, "md5"), (3, "md5"), (5, "")]
    assert "a number where a digest should be" in outcome.faults[0][2]
    assert outcome.places == ["row 1", "row 4"]


def test_a_batch_of_wrong_rows_only(path):
    insert = "INSERT INTO hashes (md5) VALUES (?)"
    database(path, PROPERTIES, VERSION, HASHES, rows=[(insert, [(1,), (2,)])])
    assert len(read_file(path, "tsk").rejections) == 2


def test_the_sleuth_kit_database(path):
    kdb(path, 1, 2, extra=["CREATE TABLE comments (comment TEXT, hash_id INTEGER)"])
    outcome = read_file(path, "tsk")
    assert outcome.column(HashKind.MD5) == [value(HashKind.MD5, seed) for seed in (1, 2)]
    assert outcome.keys[0] == KEY_TAGS[HashKind.MD5] + value(HashKind.MD5, 1)
    assert outcome.rejections == []


def test_all_digests_of_a_sleuth_kit_database(path):
    row = tuple(value(kind) for kind in (HashKind.MD5, HashKind.SHA1, HashKind.SHA256))
    insert = "INSERT INTO hashes (md5, sha1, sha2_256) VALUES (?, ?, ?)"
    database(path, PROPERTIES, VERSION, HASHES, rows=[(insert, [row])])
    outcome = read_file(path, "tsk")
    assert [outcome.column(kind) for kind in ALL] == [[value(kind)] for kind in ALL]


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        ((HASHES,), "no table db_properties"),
        (("CREATE TABLE db_properties (x TEXT)", HASHES), "no table db_properties"),
        ((PROPERTIES, HASHES), "another schema version than 1"),
        ((PROPERTIES, VERSION.replace("'1'", "'2'"), HASHES), "another schema version than 1"),
        ((PROPERTIES, VERSION), "no table hashes"),
        ((PROPERTIES, VERSION, "CREATE TABLE hashes (id INTEGER)"), "no table hashes"),
    ],
)
def test_another_schema_is_no_sleuth_kit_database(path, statements, words):
    database(path, *statements)
    with pytest.raises(FormatError, match=words):
        read_file(path, "tsk")


def test_endless_properties_are_not_read_on(path):
    rows = [("Schema Version", "2"), *((str(n), "x") for n in range(5000))]
    database(path, PROPERTIES, HASHES, rows=[("INSERT INTO db_properties VALUES (?, ?)", rows)])
    with pytest.raises(FormatError, match="another schema version"):
        read_file(path, "tsk")


@pytest.mark.parametrize(
    ("statements", "words"),
    [
        (("CREATE TABLE other (md5 TEXT)",), "neither a table FILE nor METADATA"),
        (("CREATE TABLE FILE (name TEXT)",), "no stored column sha1, md5 or sha256"),
        (
            ("CREATE TABLE FILE (name TEXT, sha1 TEXT AS (upper(name)))",),
            "no stored column sha1, md5 or sha256",
        ),
        (
            ("CREATE TABLE x (md5 TEXT)", "CREATE VIEW FILE AS SELECT md5 FROM x"),
            "FILE is a view, and views of a foreign file are never run",
        ),
        (
            (ENDLESS,),
            "views of a foreign file are never run",
        ),
        (("CREATE VIRTUAL TABLE FILE USING fts5(sha1, md5)",), "views of a foreign file"),
    ],
)  # fmt: skip
def test_another_schema_is_no_rds(path, statements, words):
    database(path, *statements)
    with pytest.raises(FormatError, match=words):
        read_file(path, "nsrl-sqlite")


def test_computed_columns_are_not_read(path):
    definition = "CREATE TABLE FILE (sha1 TEXT, md5 TEXT AS (upper(sha1)), bytes INTEGER)"
    database(path, definition, rows=[("INSERT INTO FILE VALUES (?, 5)", [(sha1(),)])])
    outcome = read_file(path, "nsrl-sqlite")
    assert outcome.column(HashKind.MD5) == [None]
    assert outcome.sizes == [5]


@pytest.mark.parametrize("format_name", ["nsrl-sqlite", "tsk"])
def test_a_file_with_triggers_is_refused(path, format_name):
    trigger = "CREATE TRIGGER {} AFTER INSERT ON {} BEGIN DELETE FROM {}; END"
    if format_name == "tsk":
        kdb(path, 1, extra=[trigger.format("t", "hashes", "hashes")])
    else:
        minimal(path, extra=[trigger.format(name, "FILE", "FILE") for name in ("SECRET", "t")])
    before = path.read_bytes()
    with pytest.raises(FormatError, match=r"holds \d triggers?, which no published set") as caught:
        read_file(path, format_name)
    assert "SECRET" not in str(caught.value)
    assert path.read_bytes() == before


def test_views_of_other_names_do_no_harm(path):
    views = [f"CREATE VIEW {name} AS SELECT md5 FROM FILE" for name in ("PKG", "OS", "MFG")]
    minimal(path, 1, extra=views)
    assert len(read_file(path, "nsrl-sqlite").keys) == 1


@pytest.mark.parametrize("column", ["md5", "sha1"])
def test_a_huge_value_is_refused_with_its_row(path, column):
    rows = [{**dict.fromkeys(("md5", "sha1"), ""), column: "a" * size} for size in (32, 5_000_000)]
    insert = "INSERT INTO FILE (md5, sha1) VALUES (:md5, :sha1)"
    database(path, "CREATE TABLE FILE (md5 TEXT, sha1 TEXT)", rows=[(insert, rows)])
    with pytest.raises(FormatError, match=r"row 1: a value is longer than any record may be"):
        read_file(path, "nsrl-sqlite")


def test_a_huge_value_in_another_column_is_never_looked_at(path):
    rows = [file_row(1), (*file_row(2)[:3], "x" * 5_000_000, 1, 2)]
    insert = "INSERT INTO FILE VALUES (?, ?, ?, ?, ?, ?)"
    database(path, MINIMAL.partition(", CONSTRAINT")[0] + ")", rows=[(insert, rows)])
    assert len(read_file(path, "nsrl-sqlite").keys) == 2


@pytest.mark.parametrize("kept", [20, 99, 100, 4095, 4096, 5000])
def test_a_cut_file_is_refused(path, kept):
    data = minimal(path, *range(1, 100))
    with pytest.raises(FormatError, match="cut off"):
        read(data[:kept], "nsrl-sqlite")


@pytest.mark.parametrize("data", [b"SQLite format 2\0", b"hello", b"\x1f\x8b" + bytes(200)])
def test_another_file_is_refused(data):
    for format_name in ("nsrl-sqlite", "tsk"):
        with pytest.raises(FormatError, match="no SQLite database"):
            read(data, format_name)


@pytest.mark.parametrize("page", [0, 3, 513])
def test_an_impossible_size_of_pages_is_refused(path, page):
    data = bytearray(minimal(path, 1))
    data[16:18] = page.to_bytes(2, "big")
    with pytest.raises(FormatError, match="the database is damaged"):
        read(bytes(data), "nsrl-sqlite")


@pytest.mark.parametrize("start", [100, 4096, 4096 * 3])
@pytest.mark.parametrize("byte", [b"\xff", b"\x00"])
def test_a_damaged_page_is_refused(path, start, byte):
    data = bytearray(minimal(path, *range(1, 200)))
    data[start : start + 9000] = byte * 9000
    with pytest.raises(FormatError, match="damaged"):
        read(bytes(data), "nsrl-sqlite")


def test_pages_that_lead_in_circles_are_refused(path):
    """A page of pointers whose entries all lead to one page of rows, over and over."""
    data = bytearray(minimal(path, *range(1, 2000)))
    root = (
        sqlite3.connect(path)
        .execute("SELECT rootpage FROM sqlite_master WHERE name = 'FILE'")
        .fetchone()[0]
    )
    start = 4096 * (root - 1)
    assert data[start] == 5
    cells = int.from_bytes(data[start + 3 : start + 5], "big")
    offsets = [
        start + int.from_bytes(data[at : at + 2], "big")
        for at in range(start + 12, start + 12 + 2 * cells, 2)
    ]
    leaf = data[offsets[0] : offsets[0] + 4]
    many = 400
    data[start + 3 : start + 5] = many.to_bytes(2, "big")
    for at in range(many):
        data[start + 12 + 2 * at : start + 14 + 2 * at] = (2000).to_bytes(2, "big")
    data[start + 2000 : start + 2005] = leaf + b"\x01"
    with pytest.raises(FormatError, match="pages lead in circles"):
        read(bytes(data), "nsrl-sqlite", limits=ImportLimits(max_batch_rows=100))


def test_more_rows_than_the_file_has_room_for_are_refused(path, monkeypatch):
    minimal(path, *range(1, 20))
    monkeypatch.setattr("hashlists.formats.sqlite_file._LEAST_ROW_BYTES", 2000)
    with pytest.raises(FormatError, match=r"row 9: .*more of them than a file"):
        read_file(path, "nsrl-sqlite", ImportLimits(max_batch_rows=3))


def test_more_steps_than_rows_need_are_refused(path, monkeypatch):
    minimal(path, *range(1, 200))
    monkeypatch.setattr("hashlists.formats.sqlite_file._STEPS_AT_A_TIME", 50)
    monkeypatch.setattr("hashlists.formats.sqlite_file._STEPS_PER_BATCH", 500)
    with pytest.raises(FormatError, match="row 1: reading takes more steps"):
        read_file(path, "nsrl-sqlite")


@pytest.mark.parametrize("suffix", ["-wal", "-journal"])
def test_a_database_that_is_written_to_is_refused(path, suffix):
    minimal(path, 1)
    beside = path.with_name(path.name + suffix)
    beside.write_bytes(b"")
    assert len(read_file(path, "nsrl-sqlite").keys) == 1
    beside.write_bytes(b"x")
    with pytest.raises(FormatError, match=f"lies its {suffix[1:]} file"):
        read_file(path, "nsrl-sqlite")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT hex(md5) FROM FILE",
        "SELECT md5 FROM FILE",
        "SELECT md5, file_name FROM FILE",
        "SELECT name FROM sqlite_master",
        "SELECT load_extension('x')",
        "SELECT * FROM pragma_table_info('FILE')",
        "DELETE FROM FILE",
        "CREATE TABLE x (a)",
        "CREATE TEMP TABLE x (a)",
        "ATTACH ':memory:' AS x",
        "PRAGMA trusted_schema = ON",
        "PRAGMA writable_schema = ON",
        "VACUUM INTO 'x'",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c",
        "BEGIN",
    ],
)
def test_nothing_but_the_named_columns_can_be_read(path, statement):
    minimal(path, 1)
    with path.open("rb") as stream:
        file = SqliteFile(stream, ImportLimits())
        table = file.table("file")
        assert len(next(file.rows(table, ["sha1"]))) == 1
        file._guard.readable = frozenset({("FILE", "sha1")})
        with pytest.raises(sqlite3.Error):
            file._connection.execute(statement).fetchall()
        file.close()


@pytest.mark.parametrize("format_name", ["nsrl-sqlite", "tsk"])
def test_options_are_refused(path, format_name):
    with pytest.raises(OptionsError, match="it has none"):
        read(minimal(path, 1), format_name, {"table": "x"})


def test_likeness(path):
    assert likeness(minimal(path, 1), "nsrl-sqlite").score == 85
    assert likeness(minimal(path.with_name("b"), 1), "tsk") is None
    data = kdb(path.with_name("c"), 1)
    assert likeness(data, "tsk").score == 92
    assert likeness(data, "nsrl-sqlite") is None
    other = database(path.with_name("d"), "CREATE TABLE other (a)")
    assert likeness(other, "nsrl-sqlite").score == 15
    assert likeness(b"hello", "nsrl-sqlite") is likeness(b"hello", "tsk") is None
    assert find_format("nsrl-sqlite").harm is Harm.KNOWN_GOOD
    assert find_format("tsk").harm is None


def test_an_unreadable_stream_is_told():
    with pytest.raises(FormatError, match="the file is empty"):
        read(io.BytesIO(b"").getvalue(), "tsk")
