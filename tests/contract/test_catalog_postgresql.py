"""What is particular to a catalog in PostgreSQL: its URL, schema, sessions, and its errors."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, insert, make_url, select, text
from sqlalchemy.exc import IntegrityError

from hashlists.catalog import Catalog, on_postgresql, postgresql_errors, postgresql_wipe, wipe
from hashlists.catalog.bulk import BulkInsert
from hashlists.catalog.engine import (
    catalog_errors,
    end_staging,
    migrator,
    open_engine,
    staging_connection,
    writer,
)
from hashlists.catalog.interning import intern_handling
from hashlists.catalog.migrate import alembic_config
from hashlists.catalog.schema import entries, head, meta, metadata
from hashlists.errors import CatalogError, ImportInProgressError
from hashlists.model import Handling, HashKind
from tests.catalog_support import (
    DEMO,
    Item,
    batch,
    bring,
    ids_of,
    items,
    names_in_force,
    require_coverage,
    source,
)
from tests.contract.test_catalog_sqlite import FIRST_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection

WHO = {"author": "an operator", "reason": "why"}
SECRET = b"a value that no text may show"


@pytest.fixture
def catalog_url(postgresql_url):
    return postgresql_url


@pytest.fixture
def demo(catalog):
    catalog.create_list(DEMO, author="a person")
    return catalog


@pytest.fixture
def empty_url(postgresql_server):
    """URL of a database without any table."""
    name = postgresql_server.make_database()
    yield postgresql_server.url(name)
    postgresql_server.run_sql(f"DROP DATABASE {name} WITH (FORCE)")


def wait_until(done: Callable[[], object]) -> None:
    """The server ends a session a moment after its client has gone."""
    give_up = time.monotonic() + 60
    while not done():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def queued(catalog: Catalog) -> int:
    """Sessions that wait for a lock of another."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with catalog._engine.connect() as connection:
        return connection.execute(query).scalar_one()


@contextlib.contextmanager
def in_use(catalog: Catalog) -> Iterator[None]:
    """Somebody reads the versions, in a transaction that goes on."""
    with catalog._engine.connect() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM entry_versions")
        yield


def holders(catalog: Catalog) -> int:
    """Sessions that hold an advisory lock in this database."""
    query = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with catalog._engine.connect() as connection:
        return connection.execute(query).scalar_one()


def swept(catalog: Catalog) -> int:
    wait_until(lambda: not holders(catalog))
    return catalog.sweep()


class TestUrl:
    def test_the_driver_may_be_left_out(self, catalog_url):
        with Catalog.open(catalog_url.replace("+psycopg", "")) as catalog:
            assert catalog.head() == 0

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            ("postgresql+psycopg2://localhost/x", "psycopg"),
            ("postgresql+psycopg://localhost", "names no database"),
            ("mysql://localhost/x", "SQLite or PostgreSQL"),
            ("postgresql+psycopg://u:hunter2@[::1/x", "not valid|cannot be reached"),
        ],
    )
    def test_unusable_urls(self, url, says):
        with pytest.raises(CatalogError, match=says) as caught:
            Catalog.open(url)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))

    def test_no_server(self, tmp_path):
        with pytest.raises(CatalogError, match="cannot be reached"):
            Catalog.open(f"postgresql+psycopg://u:hunter2@/x?host={tmp_path}")

    def test_no_database_of_that_name(self, postgresql_server):
        with pytest.raises(CatalogError, match="no database of that name"):
            Catalog.open(postgresql_server.url("nosuch"))

    def test_no_psycopg(self, catalog_url, monkeypatch):
        monkeypatch.setitem(sys.modules, "psycopg", None)
        with pytest.raises(CatalogError, match=r"hashwarden\[postgresql\]"):
            Catalog.open(catalog_url)


class TestSchema:
    def test_the_migrations_give_the_tables(self, catalog):
        with catalog._engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, metadata) == []

    def test_many_open_a_new_catalog_at_once(self, empty_url):
        errors: list[BaseException] = []
        identities: set[str] = set()
        barrier = threading.Barrier(4)

        def open_it() -> None:
            barrier.wait()
            try:
                with Catalog.open(empty_url) as catalog, catalog.read() as reader:
                    identities.add(reader.catalog_id)
            except BaseException as error:  # noqa: BLE001 - shown by the assertion
                errors.append(error)

        threads = [threading.Thread(target=open_it) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        assert len(identities) == 1

    def test_another_program_s_database_is_refused_untouched(self, empty_url, postgresql_server):
        name = make_url(empty_url).database
        postgresql_server.run_sql("CREATE TABLE something (x int)", database=name)
        with pytest.raises(CatalogError, match="no Hashwarden catalog"):
            Catalog.open(empty_url)

    def test_a_failed_migration_leaves_an_empty_database(self, empty_url, monkeypatch):
        def fail(_connection: object) -> None:
            raise RuntimeError("power cut")

        with monkeypatch.context() as patch:
            patch.setattr("hashlists.catalog.migrate.create_key", fail)
            with pytest.raises(RuntimeError):
                Catalog.open(empty_url)
        with Catalog.open(empty_url) as catalog:
            assert catalog.head() == 0

    def test_a_catalog_of_the_first_version_keeps_what_it_holds(self, empty_url, postgresql_server):
        engine = open_engine(empty_url)
        with migrator(engine).begin() as connection:
            command.upgrade(alembic_config(connection), "0001")
            for statement in FIRST_VERSION:
                connection.exec_driver_sql(re.sub(r"x'([0-9a-f]+)'", r"'\\x\1'", statement))
            for given in ("handlings_handling_id", "hash_lists_list_id", "changes_change_id"):
                connection.exec_driver_sql(f"SELECT setval('{given}_seq', 10)")
        engine.dispose()
        with Catalog.open(empty_url) as catalog:
            assert catalog.get_list("demo").coverage.entries == 3
            again = replace(DEMO, name="again")
            assert catalog.create_list(again, author="a person").hash_list == again
        name = make_url(empty_url).database
        assert postgresql_server.run_sql("SELECT count(*) FROM handlings", database=name) == [(1,)]

    def test_the_server_keeps_no_statistics_of_values(self, demo):
        bring(demo, [Item(str(number), tuple(HashKind)) for number in range(300)])
        engine = demo._engine.execution_options(isolation_level="AUTOCOMMIT", catalog_begins=())
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")
            query = text(
                "SELECT tablename || '.' || attname FROM pg_stats WHERE schemaname = 'public'"
                " AND (most_common_vals IS NOT NULL OR histogram_bounds IS NOT NULL)"
            )
            told = set(connection.execute(query).scalars())
        kept = {f"entry_versions.{kind}" for kind in HashKind}
        kept |= {"entries.source_key", "entry_versions.content_digest", "extra_hashes.value"}
        assert "entry_versions.entry_id" in told
        assert not told & kept


class TestTransactions:
    def test_readers_read_one_snapshot_and_cannot_write(self, demo):
        with demo._engine.connect() as connection:
            before = connection.execute(select(head.c.revision)).scalar_one()
            bring(demo, items("x"))
            assert connection.execute(select(head.c.revision)).scalar_one() == before
            with pytest.raises(CatalogError, match="read-only"), catalog_errors():
                connection.execute(insert(meta).values(name="x", value=b""))

    def test_staging_does_not_wait_for_the_disk_and_the_commit_does(self, demo):
        with demo.begin_import("demo", source()) as staged:
            own = staged._change._connection
            with staged._change.transaction():
                assert own.exec_driver_sql("SHOW synchronous_commit").scalar() == "off"
            with staged._change.final_transaction():
                assert own.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"

    def test_a_session_that_ended_before_the_commit_is_told(self, demo, postgresql_server):
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
        staged = demo.begin_import("demo", source())
        staged.stage(batch(items("x")))
        postgresql_server.run_sql(ended.format(demo._engine.url.database))
        with pytest.raises(CatalogError, match=r"try again|cannot be reached"):
            staged.commit()
        staged.abort()
        assert demo.head() == 1
        demo._engine.dispose()

    def test_a_session_that_ends_while_it_begins_is_told(self, demo, monkeypatch):
        monkeypatch.setattr(on_postgresql, "_STAGING_SESSION", ("SELECT no_such_function()",))
        with pytest.raises(CatalogError, match="SQLSTATE 42883"):
            demo.begin_import("demo", source())
        monkeypatch.undo()
        assert demo._engine.pool.checkedout() == 0
        assert bring(demo, items("x")).counts == (1, 0, 0)

    def test_a_lock_that_is_kept_is_named(self, demo, catalog_url, monkeypatch):
        monkeypatch.setattr(on_postgresql, "_SESSION", ("SET lock_timeout = '50ms'",))
        with (
            writer(demo._engine).begin(),
            Catalog.open(catalog_url) as other,
            pytest.raises(CatalogError, match="kept the catalog locked"),
        ):
            other.retract("demo", [1], **WHO)

    def test_a_lost_connection_is_replaced(self, demo, postgresql_server):
        assert demo.head() == 1
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
        postgresql_server.run_sql(ended.format(demo._engine.url.database))
        assert demo.head() == 1

    def test_one_lost_in_a_transaction_is_told(self, demo, postgresql_server):
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"
        with contextlib.suppress(CatalogError), demo.read() as reader:
            postgresql_server.run_sql(ended.format(demo._engine.url.database))
            with pytest.raises(CatalogError, match=r"try again|cannot be reached"):
                reader.lists()
        assert demo.head() == 1


class TestLogging:
    """Values must not get into the server's log, which others read and keep."""

    MESSAGE = "set log_parameter_max_length = 0"

    @pytest.fixture
    def owner_url(self, demo, postgresql_server):
        """URL for a role that is no superuser, as the catalog's should be."""
        name = demo._engine.url.database
        postgresql_server.run_sql(
            "CREATE ROLE clerk LOGIN",
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk",
            database=name,
        )
        yield str(demo._engine.url.set(username="clerk"))
        postgresql_server.run_sql("DROP OWNED BY clerk", "DROP ROLE clerk", database=name)

    @pytest.mark.parametrize("setting", ["log_min_duration_statement = 0", "log_statement = 'mod'"])
    def test_a_server_that_logs_them_is_told_of(
        self, owner_url, postgresql_server, caplog, setting
    ):
        postgresql_server.run_sql(f"ALTER ROLE clerk SET {setting}")
        with Catalog.open(owner_url) as catalog:
            assert catalog.head() == 1
        assert caplog.text.count(self.MESSAGE) == 1
        caplog.clear()
        postgresql_server.run_sql("ALTER ROLE clerk SET log_parameter_max_length = 0")
        Catalog.open(owner_url).close()
        assert self.MESSAGE not in caplog.text

    def test_one_that_logs_no_statement_is_not(self, owner_url, caplog):
        Catalog.open(owner_url).close()
        assert caplog.text == ""

    def test_what_may_be_set_is_set(self, demo):
        with demo._engine.connect() as connection:
            for name in ("log_parameter_max_length", "log_parameter_max_length_on_error"):
                assert connection.exec_driver_sql(f"SHOW {name}").scalar() == "0"


class TestErrors:
    """The server quotes values in its messages; none of them may come out."""

    def printed(self, error: BaseException) -> str:
        return "".join(traceback.format_exception(error)) + repr(error)

    def test_of_a_statement(self, demo):
        values = {"name": SECRET.decode(), "value": SECRET}
        with writer(demo._engine).begin() as connection:
            connection.execute(insert(meta).values(values))
        with (
            pytest.raises(IntegrityError) as caught,
            writer(demo._engine).begin() as connection,
        ):
            connection.execute(insert(meta).values(values))
        assert SECRET.decode() not in self.printed(caught.value)
        with (
            pytest.raises(CatalogError, match="23505") as told,
            catalog_errors(),
            writer(demo._engine).begin() as connection,
        ):
            connection.execute(insert(meta).values(values))
        assert SECRET.decode() not in self.printed(told.value)

    def test_of_copy(self, demo):
        columns = [[1, 1], [1, 1], [1, 1], [SECRET, SECRET]]
        copying = BulkInsert(entries, ("entry_id", "list_id", "change_id", "source_key"))
        connection = staging_connection(demo._engine)
        with pytest.raises(CatalogError, match="23505") as caught, connection.begin():
            copying.run(connection, columns)
        end_staging(connection)
        assert SECRET.decode() not in self.printed(caught.value)
        assert SECRET.hex() not in self.printed(caught.value)

    @pytest.mark.parametrize(
        ("error", "says"),
        [
            (psycopg.errors.DiskFull(), "disk is full"),
            (psycopg.errors.InsufficientPrivilege(), "own the catalog's tables"),
            (psycopg.errors.TooManyConnections(), "max_connections"),
            (psycopg.errors.DeadlockDetected(), "try again"),
            (psycopg.errors.AdminShutdown(), "starting, stopping"),
            (psycopg.errors.InvalidPassword(), "refused the login"),
            (psycopg.errors.UndefinedTable(), "tables are missing"),
            (psycopg.errors.DivisionByZero(), "SQLSTATE 22012"),
            (psycopg.OperationalError("password authentication failed for x"), "login"),
            (psycopg.OperationalError('database "x" does not exist'), "no database"),
            (psycopg.OperationalError("whatever"), "cannot be reached"),
            (psycopg.DataError("whatever"), "error without a code"),
        ],
    )
    def test_say_what_to_do(self, error, says):
        with pytest.raises(CatalogError, match=says):
            raise CatalogError(postgresql_errors.explain(error))


class TestLiveness:
    """Who stages holds a lock that the server lets go of when the session ends."""

    def test_a_lost_session_is_dead_whatever_its_process_does(self, demo, catalog_url):
        bring(demo, items("x"))
        staged = demo.begin_import("demo", source("key"))
        staged.stage(batch([Item("x").next(), *items("a", "b")]))
        with Catalog.open(catalog_url) as elsewhere:
            assert elsewhere.sweep() == 0
            with pytest.raises(ImportInProgressError):
                elsewhere.begin_import("demo", source("key"))
            staged._change.close()
            assert swept(elsewhere) == 3
        with pytest.raises(CatalogError):
            staged.stage(batch(items("c")))
        assert set(names_in_force(demo)) == {"x"}
        assert bring(demo, items("x", "a")).counts == (1, 0, 1)
        require_coverage(demo)

    def test_a_new_import_clears_the_way(self, demo):
        staged = demo.begin_import("demo", source("key"))
        staged.stage(batch(items("a", "b")))
        staged._change.close()
        wait_until(lambda: not holders(demo))
        with demo.begin_import("demo", source("key")) as again:
            assert again.stage(batch(items("a"))).added == 1
            again.commit()
        assert set(names_in_force(demo)) == {"a"}

    def test_one_that_was_taken_for_dead_cannot_go_on(self, demo):
        staged = demo.begin_import("demo", source())
        staged.stage(batch(items("a")))
        with writer(demo._engine).begin() as connection:
            connection.execute(
                text("UPDATE changes SET state = 'abandoned' WHERE state = 'staging'")
            )
        assert demo.sweep() == 1
        with pytest.raises(CatalogError, match="taken for dead"):
            staged.commit()
        staged.abort()


class TestWiping:
    """After a purge every table is rewritten, which keeps all others from it."""

    @pytest.fixture
    def filled(self, demo):
        bring(demo, items("x", "y"))
        return demo

    def test_a_table_that_others_use_is_left_soon(self, filled, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(wipe, "rewrite_files", lambda _engine: False)
            filled.purge("demo", ids_of(filled, "x"), **WHO)
        tried = []
        rewrite = postgresql_wipe._rewrite

        def note(connection: object, table: str) -> bool:
            tried.append(table)
            return rewrite(connection, table)

        monkeypatch.setattr(postgresql_wipe, "_rewrite", note)
        monkeypatch.setattr(postgresql_wipe, "_TABLE_LOCK_MS", 20)
        monkeypatch.setattr(postgresql_wipe, "_PAUSES_SECONDS", (0.0, 0.0, 0.0))
        with filled.read() as reader:
            assert sum(map(len, reader.entry_columns())) == 1  # it has read the table
            assert not filled.wipe_deleted()
        assert tried[-3:] == [tried[-1]] * 3
        assert len(tried) == len(set(tried)) + 2  # no table was rewritten twice
        assert filled.wipe_owed
        assert filled.wipe_deleted()

    def test_followers_see_the_purge_before_any_table_is_kept_from_them(self, filled, monkeypatch):
        """And they can look between any two tables."""
        ids, since = ids_of(filled, "x"), filled.head()
        seen: list[list[int]] = []

        def look(_seconds: float) -> None:
            with filled.read() as reader:
                assert reader.revision == since + 1
                seen.append(reader.changed_ids(since).tolist())

        monkeypatch.setattr("hashlists.catalog.postgresql_wipe.time.sleep", look)
        assert filled.purge("demo", ids, **WHO).traces_wiped
        assert seen == [ids] * len(postgresql_wipe.WIPED_TABLES)

    def test_a_retraction_that_waits_for_it_ends_it(self, filled, catalog_url, monkeypatch):
        """However long the wipe would take: this one waits for a reader, to the end of the test."""
        ids = ids_of(filled, "x")
        monkeypatch.setattr(postgresql_wipe, "_TABLE_LOCK_MS", 0)  # for ever
        with ThreadPoolExecutor(1) as thread, Catalog.open(catalog_url) as urgent, in_use(filled):
            wiping = thread.submit(filled.wipe_deleted)
            wait_until(lambda: queued(filled))
            assert urgent.retract("demo", ids, **WHO).retracted == 1
            assert not wiping.result()
        assert set(names_in_force(filled)) == {"y"}
        assert filled.wipe_deleted()

    def test_it_is_begun_anew_after_giving_way(self, filled, catalog_url, monkeypatch):
        ids = ids_of(filled, "x")
        monkeypatch.setattr(postgresql_wipe, "_TABLE_LOCK_MS", 0)
        monkeypatch.setattr(postgresql_wipe, "_PAUSES_SECONDS", (0.0, 0.0))
        with ThreadPoolExecutor(1) as thread, Catalog.open(catalog_url) as urgent:
            with in_use(filled):
                wiping = thread.submit(filled.wipe_deleted)
                wait_until(lambda: queued(filled))
                urgent.retract("demo", ids, **WHO)
            assert wiping.result()

    def test_a_follower_that_waits_for_it_does_not_end_it(self, filled, catalog_url, monkeypatch):
        monkeypatch.setattr(postgresql_wipe, "_TABLE_LOCK_MS", 0)
        looks = []
        wait = threading.Event.wait

        def count_looks(event: threading.Event, timeout: float | None = None) -> bool:
            looks.append(timeout == postgresql_wipe._LOOK_SECONDS)
            return wait(event, timeout)

        monkeypatch.setattr(threading.Event, "wait", count_looks)

        def follow() -> int:
            with Catalog.open(catalog_url) as other, other.read() as reader:
                return sum(map(len, reader.entry_columns()))

        with ThreadPoolExecutor(2) as threads:
            with in_use(filled):
                wiping = threads.submit(filled.wipe_deleted)
                wait_until(lambda: queued(filled) == 1)
                following = threads.submit(follow)
                wait_until(lambda: queued(filled) == 2)
                before = sum(looks)
                wait_until(lambda: sum(looks) > before + 2)
                assert not wiping.done()
            assert wiping.result()
            assert following.result() == 2

    def test_one_that_cannot_be_watched_is_ended(self, filled, monkeypatch):
        """It must not go on to keep others waiting."""
        monkeypatch.setattr(postgresql_wipe, "_TABLE_LOCK_MS", 0)
        monkeypatch.setattr(postgresql_wipe, "_CANCEL_FOR_OTHERS", text("SELECT 1 / 0"))
        with in_use(filled):
            assert not filled.wipe_deleted()

    def test_dead_rows_that_are_kept_end_it_at_once(self, filled, monkeypatch):
        rewritten: list[str] = []

        def keep(_connection: object, table: str) -> bool:
            rewritten.append(table)
            return False

        monkeypatch.setattr(postgresql_wipe, "_rewrite", keep)
        assert not filled.wipe_deleted()
        assert len(rewritten) == 1

    def test_a_session_that_ends_fails_no_purge(self, filled, postgresql_server, monkeypatch):
        rewrite, ids, before = postgresql_wipe._rewrite, ids_of(filled, "x"), filled.head()

        def end_then_go_on(connection: Connection, table: str) -> bool:
            pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
            postgresql_server.run_sql(f"SELECT pg_terminate_backend({pid})")
            return rewrite(connection, table)

        with monkeypatch.context() as patch:
            patch.setattr(postgresql_wipe, "_rewrite", end_then_go_on)
            done = filled.purge("demo", ids, **WHO)
            assert (done.traces_wiped, done.revision.number) == (False, before + 1)
            with pytest.raises(CatalogError, match=r"try again|cannot be reached"):
                filled.wipe_deleted()
        assert filled.wipe_owed
        assert filled.wipe_deleted()


class TestPlans:
    """Without statistics about values, and with all others, which the server soon gathers."""

    @pytest.fixture
    def filled(self, demo, postgresql_server):
        name = demo._engine.url.database
        change = "1000, 1, 'import', 'a', '', 'empty', 0, 0, 'x'"
        postgresql_server.run_sql(
            "INSERT INTO changes (change_id, list_id, kind, author, reason, state, started_at,"
            f" heartbeat_at, owner) VALUES ({change})",
            "INSERT INTO entries SELECT n, 1, 1000, sha256(n::text::bytea)"
            " FROM generate_series(1, 20000) AS n",
            "INSERT INTO entry_versions (version_id, entry_id, change_id, kinds, flags,"
            " flags_known, handling_id, content_digest) SELECT n, n, 1000, 1, 0, 0, 1, ''"
            " FROM generate_series(1, 20000) AS n",
            "ANALYZE",
            database=name,
        )
        return demo

    def plan(self, connection: Connection, query: str, values: list[object]) -> str:
        rows = connection.exec_driver_sql(f"EXPLAIN {query}", (values,)).scalars()
        return "\n".join(rows)

    def test_keys_are_looked_up_in_the_index(self, filled):
        keys = [hashlib.sha256(str(n).encode()).digest() for n in range(0, 20_000, 20)]
        query = "SELECT entry_id FROM entries WHERE list_id = 1 AND source_key = ANY(%s)"
        connection = staging_connection(filled._engine)
        with connection.begin():
            plan = self.plan(connection, query, keys)
        end_staging(connection)
        assert "uq_entries_list_id_source_key" in plan
        assert "Seq Scan" not in plan

    @pytest.mark.parametrize("table", ["entries", "entry_versions", "retractions"])
    def test_entries_are_looked_up_in_the_index(self, filled, table):
        query = f"SELECT * FROM {table} WHERE entry_id = ANY(%s)"
        with filled._engine.connect() as connection:
            plan = self.plan(connection, query, list(range(1, 20_000, 20)))
        assert "entry_id" in plan or "pk_entries" in plan
        assert ("Seq Scan" in plan) == (table == "retractions")  # that one is empty


def limit_waiting(catalog: Catalog, lock_timeout: str) -> None:
    """All sessions that this catalog begins from now on give up on a lock after that time."""

    def limit(connection: psycopg.Connection, _record: object) -> None:
        connection.execute(f"SET lock_timeout = '{lock_timeout}'")
        connection.commit()

    event.listen(catalog._engine, "connect", limit)
    catalog._engine.dispose()


def test_a_list_waits_for_an_import_s_handling_without_holding_up_a_retraction(demo, catalog_url):
    bring(demo, items("x"))
    handling = Handling("new", ("somebody",))
    other = replace(DEMO, name="other", handling=handling)
    waits = text(
        "SELECT count(*) FROM pg_stat_activity WHERE :importer = ANY(pg_blocking_pids(pid))"
    )
    with (
        Catalog.open(catalog_url) as patient,
        Catalog.open(catalog_url) as urgent,
        ThreadPoolExecutor(1) as thread,
        demo.begin_import("demo", source()) as staged,
    ):
        limit_waiting(patient, "0")  # it waits for as long as it has to
        limit_waiting(urgent, "200ms")
        with staged._change.transaction() as connection:
            intern_handling(connection, handling)
            importer = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            adding = thread.submit(patient.create_list, other, author="a person")

            def is_waiting() -> bool:
                if adding.done():
                    pytest.fail(f"it did not wait: {adding.result()}")
                with demo._engine.connect() as looking:
                    return looking.execute(waits, {"importer": importer}).scalar_one() == 1

            wait_until(is_waiting)
            assert urgent.retract("demo", ids_of(urgent, "x"), **WHO).retracted == 1
            assert is_waiting()
        assert adding.result().hash_list == other
    assert demo.get_list("other").hash_list.handling == handling


def test_an_import_without_the_right_to_temporary_tables_is_told(demo, postgresql_server):
    name = demo._engine.url.database
    bring(demo, items("x"))  # into a list that holds entries the way is through such a table
    postgresql_server.run_sql(
        "CREATE ROLE clerk LOGIN",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO clerk",
        "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO clerk",
        f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
        database=name,
    )
    with (
        Catalog.open(str(demo._engine.url.set(username="clerk"))) as other,
        pytest.raises(CatalogError, match="the right TEMPORARY"),
    ):
        bring(other, items("y"))
    postgresql_server.run_sql(
        "DROP OWNED BY clerk",
        "DROP ROLE clerk",
        f"GRANT TEMPORARY ON DATABASE {name} TO PUBLIC",
        database=name,
    )
    demo.sweep()
    assert bring(demo, items("y")).counts == (1, 0, 0)


def test_a_role_that_owns_nothing_wipes_nothing(demo, postgresql_server):
    """The server only warns there, and goes on to the next table."""
    name = demo._engine.url.database
    postgresql_server.run_sql(
        "CREATE ROLE guest LOGIN",
        "GRANT ALL ON ALL TABLES IN SCHEMA public TO guest",
        database=name,
    )
    url = str(demo._engine.url.set(username="guest"))
    with Catalog.open(url) as guest:
        assert not guest.wipe_deleted()
    postgresql_server.run_sql("DROP OWNED BY guest", "DROP ROLE guest", database=name)


class TestStatistics:
    def rows_known(self, catalog):
        query = text(
            "SELECT relname, reltuples FROM pg_class WHERE relname IN ('entries', 'entry_versions')"
        )
        with catalog._engine.connect() as connection:
            return {name: int(rows) for name, rows in connection.execute(query)}

    def test_the_server_knows_at_once_of_a_large_import(self, demo):
        bring(demo, items("a"))
        assert self.rows_known(demo)["entries"] < 1_000  # nobody has looked
        bring(demo, items(*map(str, range(1_000))))
        assert self.rows_known(demo) == {"entries": 1_001, "entry_versions": 1_001}
        bring(demo, items("b", "c"))
        assert self.rows_known(demo)["entries"] == 1_001

    def test_a_revision_stands_where_it_cannot_look(self, demo, monkeypatch, caplog):
        monkeypatch.setattr(
            "hashlists.catalog.postgresql_statistics._KNOWN_ROWS", text("SELECT no_such_column")
        )
        assert bring(demo, items(*map(str, range(1_000)))).revision is not None
        assert "statistics were not brought up to date" in caplog.text
        assert demo.get_list("demo").coverage.entries == 1_000
