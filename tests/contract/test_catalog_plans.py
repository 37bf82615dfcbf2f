"""What a writer does while others wait for it must not grow with the catalog.

Every statement under the write lock is explained by the database itself, over a catalog in which
one classification and one handling are as rare as can be.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from hashlists.catalog import Catalog, Checkpoint, DerivedAction, DerivedHash, MatchDay, SetAside
from hashlists.catalog.engine import writer
from hashlists.catalog.on_postgresql import _LIMIT_WRITER, _LOCK_HEAD
from hashlists.model import Classification, EntrySelection, Handling, HashKind
from tests.catalog_support import (
    CLASS_2,
    DEMO,
    Item,
    bring,
    ids_by_name,
    items,
    require_coverage,
    source,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection


WHO = {"author": "an operator", "reason": "why"}
MANY = 2_000
#: Those with a row for each entry, version, act, record that was set aside, or day.
LARGE = (
    "entries",
    "entry_versions",
    "extra_hashes",
    "retractions",
    "purged_entries",
    "tombstones",
    "derived_hashes",
    "exchange_set_aside",
    "match_days",
)
WHOLE = re.compile(rf"(?:SCAN|Seq Scan on) (?:{'|'.join(LARGE)})\b(?! USING)")
RARE_CLASS = Classification("vics", "US", "rare")
RARE_HANDLING = Handling("rare", ("nobody",))


def fill(url: str) -> None:
    """Many entries, and one that has a classification and a handling of its own."""
    many = [Item(str(n), classification=CLASS_2, source_id=str(n)) for n in range(MANY)]
    rare = Item("rare", classification=RARE_CLASS, handling=RARE_HANDLING, source_id="rare")
    with Catalog.open(url) as catalog:
        catalog.create_list(DEMO, author="a person")
        bring(catalog, [*many, rare])
        analyze(catalog)  # what comes next is planned by it
        catalog.add_derived("demo", crops(catalog, many), action=DerivedAction.CONFIRM, **WHO)
        analyze(catalog)


def analyze(catalog: Catalog) -> None:
    with writer(catalog._engine).begin() as connection:
        connection.exec_driver_sql("ANALYZE")


@pytest.fixture(scope="module")
def filled_file(tmp_path_factory) -> Path:
    """Filled once: filling one for each test would take longer than the tests."""
    file = tmp_path_factory.mktemp("filled") / "catalog.db"
    fill(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="module")
def filled_database(postgresql_server) -> str:
    """The same in PostgreSQL; its statistics are copied with it."""
    name = postgresql_server.make_database()
    fill(postgresql_server.url(name))
    return name


@pytest.fixture
def sqlite_url(filled_file, tmp_path) -> str:
    shutil.copyfile(filled_file, tmp_path / "catalog.db")
    return f"sqlite:///{tmp_path}/catalog.db"


@pytest.fixture
def postgresql_url(postgresql_server, filled_database, nobody_follows) -> Iterator[str]:
    name = postgresql_server.make_database(template=filled_database)
    yield postgresql_server.url(name)
    postgresql_server.run_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def filled(catalog) -> Catalog:
    """What `fill` made, for this test alone."""
    return catalog


def crops(catalog: Catalog, records: list[Item]) -> list[DerivedHash]:
    """A code of a crop for each record."""
    known = ids_by_name(catalog)
    return [
        DerivedHash(
            known[record.name],
            *(HashKind.PDQ, value(HashKind.PDQ, f"crop of {record.name}"), "crop:0.02"),
            *(HashKind.MD5, record.hashes[HashKind.MD5]),
        )
        for record in records
    ]


def named(catalog: Catalog, *source_ids: str) -> list[int]:
    return catalog.find_entries("demo", EntrySelection(source_ids=source_ids))


def has_lock(connection: Connection) -> bool:
    """Whether a connection's transactions hold the lock, or, of one that stages, the last one."""
    options = connection.get_execution_options()
    locks = options.get("catalog_begins") in {(_LOCK_HEAD,), (_LIMIT_WRITER,)}
    return bool(options.get("catalog_writes")) or locks


@contextmanager
def explained(catalog: Catalog) -> Iterator[list[tuple[str, str]]]:
    """Statements under the lock, each with the database's plan."""
    plans: list[tuple[str, str]] = []
    word = "EXPLAIN QUERY PLAN" if catalog._engine.dialect.name == "sqlite" else "EXPLAIN"

    def explain(connection, _cursor, statement, parameters, _context, executemany):
        if not has_lock(connection) or not re.match(r"SELECT|DELETE|UPDATE|INSERT", statement):
            return
        driver: Any = connection.connection.dbapi_connection
        own = driver.cursor()
        given = parameters[0] if executemany else parameters
        rows = own.execute(f"{word} {statement}", given).fetchall()
        own.close()
        plans.append((statement, "\n".join(str(row[-1]) for row in rows)))

    event.listen(catalog._engine, "before_cursor_execute", explain)
    yield plans
    event.remove(catalog._engine, "before_cursor_execute", explain)


def require_no_whole_table(plans: list[tuple[str, str]]) -> None:
    assert plans
    assert [each for each in plans if WHOLE.search(each[1])] == []


def test_a_purge_looks_up_whether_a_text_is_used(filled):
    with explained(filled) as plans:
        assert filled.purge("demo", named(filled, "rare", "7"), **WHO).entries == 2
    require_no_whole_table(plans)
    asked = re.compile(r"DELETE FROM (classifications|handlings) ")
    in_use = [plan for statement, plan in plans if asked.match(statement)]
    assert len(in_use) == 2  # one for all classes, one for all handlings
    assert all("ix_change_" in plan for plan in in_use)
    with filled.read() as reader:
        assert set(reader.classifications().values()) == {CLASS_2}
    require_coverage(filled)


@pytest.mark.parametrize("act", ["retract", "restore"])
def test_acts_read_by_index(filled, act):
    ids = named(filled, "rare", "7")
    filled.retract("demo", ids[:1], **WHO)
    with explained(filled) as plans:
        assert getattr(filled, act)("demo", ids, **WHO) is not None
    require_no_whole_table(plans)


@pytest.mark.parametrize("action", DerivedAction)
def test_codes_are_derived_by_index(filled, action):
    first = crops(filled, items("7"))
    filled.add_derived("demo", first, action=DerivedAction.WITHDRAW, **WHO)
    if action is DerivedAction.WITHDRAW:
        filled.add_derived("demo", first, action=DerivedAction.PROPOSE, **WHO)
    with explained(filled) as plans:
        assert filled.add_derived("demo", first, action=action, **WHO) is not None
    require_no_whole_table(plans)


def test_a_rollback_reads_derived_codes_by_index(filled):
    then = filled.head()
    filled.add_derived("demo", crops(filled, items("7")), action=DerivedAction.WITHDRAW, **WHO)
    with explained(filled) as plans:
        assert filled.rollback("demo", then, **WHO) is not None
    require_no_whole_table(plans)


def test_an_exchange_moves_on_by_index(filled):
    """Whatever other exchanges have set aside, and the lists have matched on other days."""
    for name in map("feed-{}".format, range(10)):
        filled.create_list(replace(DEMO, name=f"of-{name}"), author="a person")
        record = filled.add_exchange(name, kind="made-up", list_name=f"of-{name}", settings={})
        filled.save_progress(
            Checkpoint(record.exchange_id, {}, after=0), set_aside(name, MANY // 4)
        )
    today = datetime.now(UTC).date()
    days = [MatchDay("demo", today - timedelta(n), "default", 1, 1, 0) for n in range(MANY)]
    filled.add_match_days(days)
    analyze(filled)
    with explained(filled) as plans:
        filled.save_progress(Checkpoint(record.exchange_id, {}, after=1), set_aside("new", 3))
        filled.remove_exchange("feed-0")
        filled.add_match_days(days[:1])
    require_no_whole_table(plans)


def set_aside(name: str, number: int) -> list[SetAside]:
    """Records of a feed that could not be taken."""
    return [
        SetAside("page", f"record {n}", "field", "why", value(HashKind.SHA256, (name, n)))
        for n in range(number)
    ]


def test_so_does_an_import(filled):
    first, then = items(*map(str, range(5))), filled.head()
    with explained(filled) as plans:
        bring(filled, [Item("new"), *[each.next() for each in first]])
        record = filled.add_exchange("feed", kind="made-up", list_name="demo", settings={})
        filled.save_progress(Checkpoint(record.exchange_id, {}, after=0))
        filled.rollback("demo", then, **WHO)
        filled.remove_exchange("feed")
        filled.begin_import("demo", source()).abort()
    require_no_whole_table(plans)


@pytest.mark.parametrize("catalog_url", ["postgresql"], indirect=True)
def test_a_purge_reads_no_more_than_it_erases(filled, catalog_url):
    """So a retraction that comes meanwhile is not kept waiting for the size of the catalog.

    SQLite does not count what it reads.
    """
    ids = named(filled, "rare")
    read: list[tuple[int, int]] = []
    query = text(
        "SELECT COALESCE(seq_tup_read, 0), COALESCE(idx_tup_fetch, 0)"
        " FROM pg_stat_xact_user_tables WHERE relname = 'entry_versions'"
    )

    def count(connection):
        if has_lock(connection):
            read.append(tuple(connection.execute(query).one()))

    with Catalog.open(catalog_url) as fresh:  # a session counts from its beginning
        event.listen(fresh._engine, "commit", count)
        fresh.purge("demo", ids, **WHO)
    ((in_order, by_index), *_) = read
    assert in_order == 0
    assert by_index < 100
