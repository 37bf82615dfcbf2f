"""What is particular to a catalog in SQLite: its file, its schema, its transactions, its traces."""

from __future__ import annotations

import contextlib
import random
import re
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from hashlists.catalog import Catalog, migrate, on_sqlite, owner
from hashlists.catalog.engine import open_engine, staging_connection, writer
from hashlists.catalog.migrate import VERSION_TABLE, alembic_config
from hashlists.catalog.on_sqlite import _prepare_connection
from hashlists.catalog.records import from_microseconds, to_microseconds
from hashlists.catalog.schema import SCHEMA_VERSION, metadata
from hashlists.errors import CatalogError, ImportInProgressError, OtherCatalogError
from hashlists.model import Classification, HashKind
from tests.catalog_support import (
    DEMO,
    Item,
    batch,
    bring,
    ids_by_name,
    ids_of,
    in_force,
    items,
    names_in_force,
    source,
)
from tests.ready_schema import make_tables, run_migrations

if TYPE_CHECKING:
    from sqlalchemy import Connection

WHO = {"author": "an operator", "reason": "why"}


@pytest.fixture
def catalog_url(sqlite_url):
    return sqlite_url


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/deep/folder/catalog.db"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "deep" / "folder" / "catalog.db"


CATALOG_ID = "INSERT INTO meta VALUES ('catalog_id', x'00112233445566778899aabbccddeeff')"
#: Two revisions, and a change that was given up, as the first version of the schema had them.
FIRST_VERSION = (
    "INSERT INTO head VALUES (1, 2)",
    CATALOG_ID,
    "INSERT INTO handlings VALUES (1, '[\"\",[],null]', NULL)",
    "INSERT INTO hash_lists VALUES (1, 'demo', 'test', 's', '', '', 'live', 1, 0)",
    "INSERT INTO changes VALUES (1, 1, 'import', 'a', '', 'committed', 1, 0, 0, 'o')",
    "INSERT INTO changes VALUES (2, 1, 'import', 'a', '', 'aborted', NULL, 0, 0, 'o')",
    "INSERT INTO changes VALUES (3, 1, 'import', 'a', '', 'committed', 2, 0, 0, 'o')",
    "INSERT INTO revisions VALUES (1, 1, 0, 5, 0, 0, 0), (2, 3, 1, 0, 0, 2, 0)",
    "INSERT INTO change_counts VALUES (1, 1, 1, 1, 4), (2, 1, 9, 1, 1), (3, 2, 1, 1, 7)",
    "INSERT INTO change_counts VALUES (4, 3, 1, 1, -2), (5, 1, 8, 1, 1), (6, 3, 8, 1, -1)",
)


def database(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None, timeout=0)


class TestFile:
    def test_is_private(self, url, file):
        with Catalog.open(url) as catalog:
            catalog.create_list(DEMO, author="a person")
            files = list(file.parent.iterdir())
            assert file in files
            assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    def test_a_file_that_exists_keeps_its_content(self, url):
        with Catalog.open(url) as catalog:
            catalog.create_list(DEMO, author="a person")
        with Catalog.open(url) as catalog:
            assert catalog.get_list("demo").hash_list == DEMO

    @pytest.mark.parametrize(
        "wrong", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "postgresql://localhost/x"]
    )
    def test_unusable_urls(self, wrong):
        with pytest.raises(CatalogError):
            Catalog.open(wrong)

    def test_a_folder_that_cannot_be_made(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(CatalogError, match="cannot be opened"):
            Catalog.open(f"sqlite:///{tmp_path}/file/catalog.db")

    def test_a_folder_in_its_place(self, tmp_path):
        (tmp_path / "catalog.db").mkdir()
        with pytest.raises(CatalogError, match="cannot be opened: it is no file"):
            Catalog.open(f"sqlite:///{tmp_path}/catalog.db")

    def test_a_file_that_is_missing_is_only_made_where_it_should_be(self, url, file):
        with pytest.raises(CatalogError, match="cannot be opened: No such file"):
            Catalog.open(url, make=False)
        assert not file.parent.exists() or not list(file.parent.iterdir())
        Catalog.open(url).close()
        Catalog.open(url, make=False).close()

    def test_nothing_is_committed_into_a_file_that_was_moved(self, url, file):
        """Nobody would find it there: it is told, and was not done."""
        with Catalog.open(url) as catalog:
            away = file.with_name("away")
            with writer(catalog._engine).connect() as connection:
                connection.execute(text("UPDATE head SET revision = 99"))
                file.rename(away)
                with pytest.raises(CatalogError, match="moved away or replaced; nothing was"):
                    connection.commit()
            with pytest.raises(CatalogError, match="is away"):
                catalog.head()
            assert not file.exists()
            away.rename(file)
            assert catalog.head() == 0

    def test_a_copy_in_its_place_is_read_from_then_on(self, url, file):
        with Catalog.open(url) as catalog:
            with closing(sqlite3.connect(file)) as connection:
                connection.execute("VACUUM INTO ?", (f"{file}-copy",))
            catalog.create_list(DEMO, author="a person")
            assert catalog.head() == 1
            self.put(file, Path(f"{file}-copy"))
            assert catalog.head() == 0

    def test_another_one_in_its_place_is_not(self, url, file):
        with Catalog.open(url) as catalog:
            Catalog.open(f"{url}-other").close()
            self.put(file, Path(f"{file}-other"))
            with pytest.raises(OtherCatalogError):
                catalog.head()

    def put(self, file, other):
        other.replace(file)
        for left in ("-wal", "-shm"):
            Path(f"{file}{left}").unlink()

    def test_opening_it_again_keeps_what_others_may_not_undo(self, url, file):
        """A process that opens it twice keeps its locks, so no other one deletes the log."""
        program = (
            "import sys; from hashlists.catalog import Catalog\n"
            "with Catalog.open(sys.argv[1]) as catalog:\n"
            "    print(*(each.hash_list.name for each in catalog.list_lists()))"
        )

        def names_elsewhere() -> list[str]:
            command_line = [sys.executable, "-c", program, url]
            done = subprocess.run(command_line, capture_output=True, text=True, check=True)
            return done.stdout.split()

        with Catalog.open(url) as first:
            first.create_list(DEMO, author="a person")
            with Catalog.open(url) as second:
                assert second.head() == 1
                assert names_elsewhere() == ["demo"]
                assert file.with_name("catalog.db-wal").exists()
                first.create_list(replace(DEMO, name="next"), author="a person")
                assert names_elsewhere() == ["demo", "next"]

    @pytest.mark.parametrize("seconds", [30, -1])
    def test_waits_while_another_makes_the_log(self, monkeypatch, seconds):
        """SQLite does not wait by itself there."""
        answers = [sqlite3.OperationalError("database is locked"), None]

        class Connection:
            def execute(self, pragma: str) -> sqlite3.Cursor:
                answer = answers.pop(0) if "journal_mode" in pragma else None
                if answer is not None:
                    raise answer
                return sqlite3.connect(":memory:").execute("SELECT 1")

        monkeypatch.setattr("hashlists.catalog.on_sqlite.BUSY_TIMEOUT_SECONDS", seconds)
        if seconds > 0:
            _prepare_connection(Connection(), None)
        else:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                _prepare_connection(Connection(), None)
        assert len(answers) == (0 if seconds > 0 else 1)

    def test_no_database(self, tmp_path):
        (tmp_path / "catalog.db").write_bytes(b"this is some text and no database at all" * 100)
        with pytest.raises(CatalogError, match="no catalog"):
            Catalog.open(f"sqlite:///{tmp_path}/catalog.db")

    @pytest.mark.usefixtures("waits_for_the_disk")
    def test_pragmas_of_every_connection(self, url):
        expected = {"journal_mode": "wal", "foreign_keys": 1, "secure_delete": 1, "synchronous": 2}
        engine = open_engine(url)
        with engine.connect() as connection:
            for pragma, wanted in expected.items():
                assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == wanted
        connection = staging_connection(engine)
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        assert connection.exec_driver_sql("PRAGMA secure_delete").scalar() == 1
        connection.close()
        engine.dispose()


@pytest.mark.usefixtures("real_migrations")
class TestSchema:
    def test_the_migrations_give_the_tables(self, url):
        with Catalog.open(url):
            pass
        engine = open_engine(url)
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []
        engine.dispose()

    def test_constraints_too(self, url, file, tmp_path):
        """`compare_metadata` sees no check constraint and no partial index; the SQL shows all."""
        with Catalog.open(url):
            pass
        other = tmp_path / "metadata.db"
        engine = open_engine(f"sqlite:///{other}")
        with writer(engine).begin() as connection:
            metadata.create_all(connection)
        engine.dispose()
        query = f"SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '{VERSION_TABLE}%'"

        def shape(path: Path) -> dict[str, list[str]]:
            connection = database(path)
            found = {
                name: sorted(
                    part.strip(" ,\t").replace('"', "")  # only what was altered is quoted
                    # A column that was added stands behind another one.
                    for part in re.split(r"\n|, (?=\w+ INTEGER\b)", sql or "")
                    if part.strip()
                )
                for name, sql in connection.execute(query)
                if "autoindex" not in name
            }
            connection.close()
            return found

        assert shape(file) == shape(other)

    def test_tests_are_given_what_the_migrations_make(self, tmp_path, monkeypatch):
        def made_by(make, name):
            monkeypatch.setattr(migrate, "_upgrade", make)
            Catalog.open(f"sqlite:///{tmp_path}/{name}").close()
            connection = database(tmp_path / name)
            query = "SELECT name, type, sql FROM sqlite_master"
            found = {  # constraints come in any order where a table was altered
                each: (kind, sorted(line.strip(" ,\t") for line in (sql or "").splitlines()))
                for each, kind, sql in connection.execute(query)
            }
            rows = {
                each: connection.execute(f"SELECT count(*) FROM {each}").fetchone()
                for each, (kind, _) in found.items()
                if kind == "table"
            }
            version = connection.execute(f"SELECT * FROM {VERSION_TABLE}").fetchall()
            connection.close()
            return found, rows, version

        made_by(make_tables, "first")
        assert made_by(make_tables, "next") == made_by(run_migrations, "real")

    def test_the_constant_is_the_newest_migration(self, url):
        engine = open_engine(url)
        with engine.connect() as connection:
            scripts = ScriptDirectory.from_config(alembic_config(connection))
        engine.dispose()
        assert scripts.get_current_head() == SCHEMA_VERSION

    def test_a_catalog_of_the_first_version_keeps_what_it_holds(self, url, file):
        """Marks are drawn for its revisions, and its sums are folded by list."""
        engine = open_engine(url)
        with writer(engine).begin() as connection:
            command.upgrade(alembic_config(connection), "0001")
            for statement in FIRST_VERSION:
                connection.exec_driver_sql(statement)
        engine.dispose()
        with Catalog.open(url) as catalog, catalog.read() as reader:
            coverage = catalog.get_list("demo").coverage
            assert (coverage.entries, coverage.by_kind) == (3, {HashKind.MD5: 3, HashKind.PDQ: 1})
            marks = [reader.revision_mark(number) for number in range(4)]
        assert marks[0] == ""
        assert marks[3] is None
        assert len(set(marks)) == 4
        with Catalog.open(url) as catalog, catalog.read() as reader:
            assert [reader.revision_mark(number) for number in range(4)] == marks
        with Catalog.open(url) as catalog:  # the list's handling is found again by its digest
            assert catalog.create_list(replace(DEMO, name="b"), author="a").revision == 3
        connection = database(file)
        assert connection.execute("SELECT count(*) FROM handlings").fetchone() == (1,)
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.close()

    def test_a_list_that_two_exchanges_fill_is_refused_untouched(self, url, file):
        """Earlier versions left it to the command line that there is one at most."""
        engine = open_engine(url)
        with writer(engine).begin() as connection:
            command.upgrade(alembic_config(connection), "0005")
            connection.exec_driver_sql(
                "INSERT INTO handlings VALUES (1, x'00', '[\"\",[],null]', NULL)"
            )
            connection.exec_driver_sql(CATALOG_ID)
            connection.exec_driver_sql(FIRST_VERSION[3])
            for number in (1, 2):
                connection.exec_driver_sql(
                    "INSERT INTO exchanges (exchange_id, name, kind, list_id, settings, state,"
                    f" created_at) VALUES ({number}, 'feed-{number}', 'k', 1, '{{}}', 'active', 0)"
                )
        engine.dispose()
        with pytest.raises(CatalogError, match="remove one of them"):
            Catalog.open(url)
        connection = database(file)
        assert connection.execute("SELECT count(*) FROM exchanges").fetchone() == (2,)
        connection.execute("DELETE FROM exchanges WHERE exchange_id = 2")
        connection.close()
        with Catalog.open(url) as catalog:
            (kept,) = catalog.list_exchanges()
            assert (kept.name, kept.full_due_at) == ("feed-1", None)

    def test_there_is_no_way_back(self, url):
        with Catalog.open(url):
            pass
        engine = open_engine(url)
        with (
            writer(engine).connect() as connection,
            pytest.raises(AttributeError, match="downgrade"),
        ):
            command.downgrade(alembic_config(connection), "base")
        engine.dispose()

    def test_a_newer_catalog_is_refused_untouched(self, url, file):
        with Catalog.open(url) as catalog:
            catalog.create_list(DEMO, author="a person")
        connection = database(file)
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
        with pytest.raises(CatalogError, match="newer"):
            Catalog.open(url)
        assert connection.execute("SELECT count(*) FROM hash_lists").fetchone() == (1,)
        connection.close()

    def test_another_program_s_database_is_refused_untouched(self, url, file):
        file.parent.mkdir(parents=True)
        connection = database(file)
        connection.execute("CREATE TABLE something (x)")
        with pytest.raises(CatalogError, match="no Hashwarden catalog"):
            Catalog.open(url)
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("something",)]
        connection.close()

    def test_a_failed_migration_leaves_an_empty_database(self, url, file, monkeypatch):
        def fail(_connection: object) -> None:
            raise RuntimeError("power cut")

        monkeypatch.setattr("hashlists.catalog.migrate.create_key", fail)
        with pytest.raises(RuntimeError):
            Catalog.open(url)
        connection = database(file)
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
        connection.close()
        monkeypatch.undo()
        with Catalog.open(url) as catalog:
            assert catalog.head() == 0

    def test_many_open_a_new_catalog_at_once(self, url):
        errors: list[BaseException] = []
        barrier = threading.Barrier(4)

        def open_it() -> None:
            barrier.wait()
            try:
                Catalog.open(url).close()
            except BaseException as error:  # noqa: BLE001 - shown by the assertion
                errors.append(error)

        threads = [threading.Thread(target=open_it) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []

    def test_two_catalogs_have_different_keys(self, tmp_path):
        values = []
        for name in ("a", "b"):
            path = tmp_path / name / "catalog.db"
            Catalog.open(f"sqlite:///{path}").close()
            connection = database(path)
            values.append(dict(connection.execute("SELECT name, value FROM meta")))
            connection.close()
        assert values[0].keys() == values[1].keys() >= {"tombstone_key"}
        assert all(values[0][name] != values[1][name] for name in values[0])


class TestTransactions:
    def test_a_reader_is_not_blocked_by_a_writer(self, catalog, catalog_url):
        catalog.create_list(DEMO, author="a person")
        other = database(Path(catalog_url.removeprefix("sqlite:///")))
        other.execute("BEGIN IMMEDIATE")
        assert catalog.get_list("demo").revision == 1
        assert in_force(catalog) == {}
        other.close()

    def test_a_lock_that_is_kept_is_named(self, catalog, catalog_url, monkeypatch):
        other = database(Path(catalog_url.removeprefix("sqlite:///")))
        other.execute("BEGIN IMMEDIATE")
        engine = catalog._engine
        with engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA busy_timeout = 1")
        with pytest.raises(CatalogError, match="another process kept the catalog locked"):
            catalog.create_list(DEMO, author="a person")
        other.close()
        catalog.create_list(DEMO, author="a person")

    def test_errors_carry_no_values(self, catalog):
        insert = text("INSERT INTO meta VALUES (:name, :value)")
        values = {"name": "secret", "value": b"hash"}
        with writer(catalog._engine).begin() as connection:
            connection.execute(insert, values)
            with pytest.raises(IntegrityError, match="UNIQUE") as caught:
                connection.execute(insert, values)
        assert "secret" not in str(caught.value)


class TestTraces:
    """Purge erases from the files, not only from the tables."""

    @pytest.mark.parametrize(
        ("parts", "seed"), [(6, 0), pytest.param(30, 2, marks=pytest.mark.slow)]
    )
    def test_nothing_purged_is_left_in_any_file(self, catalog, catalog_url, parts, seed):
        """With just these numbers `secure_delete` alone leaves keys behind, where pages split."""
        rng = random.Random(seed)
        catalog.create_list(DEMO, author="a person")
        records = [Item(f"{rng.random():.17f}", (HashKind.MD5,)) for _ in range(3_000)]
        for start in range(0, len(records), len(records) // parts):
            bring(catalog, records[start : start + len(records) // parts])
        known = ids_by_name(catalog)
        gone = rng.sample(records, 1_500)
        for start in range(0, len(gone), 500):
            ids = [known[record.name] for record in gone[start : start + 500]]
            assert catalog.purge("demo", ids, **WHO).traces_wiped
        folder = Path(catalog_url.removeprefix("sqlite:///")).parent
        files = sorted(folder.iterdir())
        blob = b"".join(each.read_bytes() for each in files)
        left = [r for r in gone if r.key in blob or any(code in blob for code in r.hashes.values())]
        assert left == []
        kept = next(record for record in records if record not in gone)
        assert kept.key in blob  # the search itself works
        assert {stat.S_IMODE(each.stat().st_mode) for each in files} == {0o600}

    def test_a_reader_that_keeps_the_log_is_told(self, catalog, monkeypatch):
        monkeypatch.setattr(on_sqlite, "_PAUSES_SECONDS", (0.0,))
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items("x", "y"))
        engine = catalog._engine
        with engine.connect() as connection:
            connection.execute(text("SELECT * FROM head")).all()
            held = connection.connection.cursor()  # the snapshot stays open meanwhile
            ids = ids_of(catalog, "x")
            for pooled in (engine,):
                with pooled.connect() as other:
                    other.connection.cursor().execute("PRAGMA busy_timeout = 1")
            report = catalog.purge("demo", ids, **WHO)
            assert not report.traces_wiped
            held.close()
        assert catalog.wipe_deleted()

    def test_a_writer_in_the_way_is_told(self, catalog, catalog_url, monkeypatch):
        monkeypatch.setattr(on_sqlite, "_PAUSES_SECONDS", (0.0,))
        other = database(Path(catalog_url.removeprefix("sqlite:///")))
        other.execute("BEGIN IMMEDIATE")
        with catalog._engine.connect() as connection:
            connection.connection.cursor().execute("PRAGMA busy_timeout = 1")
        assert not catalog.wipe_deleted()
        other.close()
        assert catalog.wipe_deleted()

    def test_a_reader_is_waited_for_and_the_file_rewritten_once(self, catalog, monkeypatch):
        engine, rewrite, rewritten = catalog._engine, on_sqlite._vacuum, []

        def note(connection: Connection) -> bool:
            rewritten.append(True)
            connection.connection.cursor().execute("PRAGMA busy_timeout = 1")
            return rewrite(connection)

        reader = engine.connect()
        reader.execute(text("SELECT * FROM head")).all()
        monkeypatch.setattr(on_sqlite, "_vacuum", note)
        monkeypatch.setattr(
            "hashlists.catalog.on_sqlite.time.sleep", lambda seconds: seconds and reader.close()
        )
        assert catalog.wipe_deleted()
        assert len(rewritten) == 1

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (sqlite3.DatabaseError("database disk image is malformed"), "damaged"),
            (sqlite3.OperationalError("database or disk is full"), None),
        ],
    )
    def test_what_cannot_be_waited_for_is_tried_once(self, catalog, monkeypatch, error, says):
        """And fails no purge, which was committed before."""
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items("x", "y"))
        tried = []

        def fail(_connection: object) -> bool:
            tried.append(True)
            raise error

        monkeypatch.setattr(on_sqlite, "_vacuum", fail)
        assert not catalog.purge("demo", ids_of(catalog, "x"), **WHO).traces_wiped
        assert (len(tried), catalog.wipe_owed) == (1, True)
        with contextlib.ExitStack() as stack:
            if says:
                stack.enter_context(pytest.raises(CatalogError, match=says))
            assert not catalog.wipe_deleted()
        monkeypatch.undo()
        assert catalog.wipe_deleted()


class TestSweep:
    def dead(self, catalog: Catalog, *, name: str = "boot", pid: int = 1) -> None:
        with writer(catalog._engine).begin() as connection:
            connection.execute(
                text("UPDATE changes SET owner = :owner WHERE state = 'staging'"),
                {"owner": f"{name}/pid:[0] {pid} 1"},
            )

    def rows(self, catalog: Catalog, table: str) -> int:
        with catalog._engine.connect() as connection:
            return connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()

    def test_leaves_the_living_alone(self, catalog):
        catalog.create_list(DEMO, author="a person")
        with catalog.begin_import("demo", source()) as staged:
            staged.stage(batch(items("x")))
            assert catalog.sweep() == 0
            staged.commit()
        assert set(names_in_force(catalog)) == {"x"}

    def test_removes_what_the_dead_left(self, catalog, monkeypatch):
        monkeypatch.setattr("hashlists.catalog.sweep._SWEPT_ROWS", 2)
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items("x", "y"))
        staged = catalog.begin_import("demo", source("key"))
        extra = ((HashKind.PDQ, bytes(range(32))),)
        staged.stage(batch([Item("x").next(), *items("a", "b", "c", extra=extra)]))
        self.dead(catalog)
        assert catalog.sweep() == 4
        assert catalog.sweep() == 0
        assert (self.rows(catalog, "entries"), self.rows(catalog, "entry_versions")) == (2, 2)
        assert (self.rows(catalog, "extra_hashes"), self.rows(catalog, "imports")) == (0, 1)
        with pytest.raises(CatalogError, match="taken for dead"):
            staged.stage(batch(items("d")))
        with pytest.raises(CatalogError):
            staged.commit()
        staged.abort()
        assert bring(catalog, items("x", "y", "a")).counts == (1, 0, 2)

    def test_classifications_go_with_the_last_change_that_used_them(self, catalog):
        one, two, three = (Classification("made-up", "", code) for code in "123")

        def known() -> set[Classification]:
            with catalog.read() as reader:
                return set(reader.classifications().values())

        for name in ("demo", "other"):
            catalog.create_list(replace(DEMO, name=name), author="a person")
        bring(catalog, items("x", classification=one))
        staged = catalog.begin_import("demo", source())
        staged.stage(batch(items("a", classification=one) + items("b", classification=two)))
        staged.stage(batch(items("c", classification=two) + items("d", classification=three)))
        with catalog.begin_import("other", source()) as beside:
            beside.stage(batch(items("a", classification=two)))
            assert known() == {one, two, three}
            staged.abort()
            assert known() == {one, two}
            beside.commit()
        assert known() == {one, two}
        staged = catalog.begin_import("demo", source())
        staged.stage(batch(items("d", classification=three)))
        self.dead(catalog)
        assert catalog.sweep() == 1
        assert known() == {one, two}
        assert bring(catalog, items("d", classification=three)).counts == (1, 0, 0)
        assert known() == {one, two, three}

    def test_a_new_import_removes_them_itself(self, catalog):
        catalog.create_list(DEMO, author="a person")
        staged = catalog.begin_import("demo", source("key"))
        staged.stage(batch(items("a", "b")))
        self.dead(catalog)
        with catalog.begin_import("demo", source("key")) as again:
            assert again.stage(batch(items("a"))).added == 1
            again.commit()
        staged.abort()
        assert set(names_in_force(catalog)) == {"a"}

    def test_a_process_elsewhere_has_a_heartbeat(self, catalog):
        """Same boot, another process-id namespace: it cannot be looked up."""
        catalog.create_list(DEMO, author="a person")
        staged = catalog.begin_import("demo", source())
        boot = owner.this_process().partition("/")[0]
        self.dead(catalog, name=boot)
        assert catalog.sweep() == 0
        with pytest.raises(ImportInProgressError):
            catalog.begin_import("demo", source())
        with writer(catalog._engine).begin() as connection:
            connection.execute(text("UPDATE changes SET heartbeat_at = 0 WHERE state = 'staging'"))
        assert catalog.sweep() == 0
        catalog.begin_import("demo", source()).abort()
        staged.abort()

    def test_an_import_that_cannot_begin_leaves_the_list_free(self, catalog, monkeypatch):
        catalog.create_list(DEMO, author="a person")

        def fail(*_: object) -> None:
            raise OSError("power cut")

        with monkeypatch.context() as patch:
            patch.setattr("hashlists.catalog.imports.read_tombstones", fail)
            with pytest.raises(OSError, match="power cut"):
                catalog.begin_import("demo", source("key"))
        bring(catalog, items("x"))


class TestOwner:
    NOW = 10**15

    def alive(self, name: str, *, age: int = 0) -> bool:
        return owner.is_alive(name, heartbeat_at=self.NOW - age, now=self.NOW)

    def test_this_process_lives(self):
        assert self.alive(owner.this_process(), age=10 * owner.HEARTBEAT_TIMEOUT_US)

    def test_a_number_used_again_is_another_process(self):
        host, pid, started = owner.this_process().rsplit(" ", 2)
        assert not self.alive(f"{host} {pid} {int(started) + 1}")
        assert not self.alive(f"{host} 4194305 {started}")
        assert not self.alive(f"{host} nonsense")

    def test_an_earlier_boot_is_over(self):
        assert not self.alive("another-boot/pid:[1] 1 1")

    def test_where_nothing_can_be_looked_up_the_heartbeat_decides(self, monkeypatch):
        monkeypatch.setattr(owner, "_host", lambda: "?")
        assert self.alive("? 1 ?")
        assert not self.alive("? 1 ?", age=owner.HEARTBEAT_TIMEOUT_US)

    def test_without_proc(self, monkeypatch):
        def missing(*_: object, **__: object) -> str:
            raise FileNotFoundError

        owner._host.cache_clear()
        monkeypatch.setattr(Path, "read_text", missing)
        assert owner.this_process().startswith("? ")
        assert owner.this_process().endswith(" ?")
        owner._host.cache_clear()


def test_times_are_exact():
    moments = [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1901, 1, 1, tzinfo=UTC) + timedelta(microseconds=1),
    ]
    assert [from_microseconds(to_microseconds(moment)) for moment in moments] == moments
    assert to_microseconds(datetime(1970, 1, 1)) == 0  # noqa: DTZ001 - no zone counts as UTC
