"""Catalogs of earlier versions keep what they hold, whichever database has them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from alembic import command

from hashlists.catalog import Catalog
from hashlists.catalog.backup import back_up, restore
from hashlists.catalog.engine import migrator, open_engine
from hashlists.catalog.migrate import alembic_config, fill
from hashlists.catalog.schema import SCHEMA_VERSION
from hashlists.encryption.keys import KeySource
from hashlists.model import Handling, HashKind, SaidHandling
from tests.catalog_support import (
    DEMO,
    Item,
    bring,
    ids_by_name,
    ids_of,
    require_counted_uses,
    require_coverage,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHO = {"author": "an operator", "reason": "why"}
END = datetime(2100, 1, 1, tzinfo=UTC)
_END = int(END.timestamp()) * 1_000_000
_MD5 = value(HashKind.MD5, 1).hex()
_VERSIONS = 2**32

#: Two lists, the first filled, and one of its entries classified anew by a change that had begun
#: before the one that filled it.
_HELD = f"""
UPDATE head SET revision = 4;
INSERT INTO handlings (handling_id, digest, document, expires_at) VALUES
(1, x'01', '["us",["a","b"],null]', NULL),
(2, x'02', '["",[],null]', NULL),
(3, x'03', '["us",["z"],{_END}]', {_END});
INSERT INTO classifications (classification_id, scheme, profile, code) VALUES
(1, 'vics', 'US', '1'), (2, 'vics', 'US', '2');
INSERT INTO hash_lists
(list_id, name, harm, source, title, legal_basis, state, handling_id, created_at) VALUES
(1, 'demo', 'test', 's', '', '', 'live', 1, 0), (2, 'other', 'test', 's', '', '', 'live', 2, 0);
INSERT INTO changes (change_id, list_id, kind, author, reason, state, revision, started_at,
heartbeat_at, owner) VALUES
(1, 1, 'create_list', 'a', '', 'committed', 1, 0, 0, 'o'),
(2, 2, 'create_list', 'a', '', 'committed', 2, 0, 0, 'o'),
(3, 1, 'import', 'a', '', 'committed', 4, 0, 0, 'o'),
(4, 1, 'import', 'a', '', 'committed', 3, 0, 0, 'o');
INSERT INTO revisions
(number, change_id, committed_at, added, updated, retracted, restored, mark) VALUES
(1, 1, 0, 0, 0, 0, 0, x'01'), (2, 2, 0, 0, 0, 0, 0, x'02'), (3, 4, 0, 3, 0, 0, 0, x'03'),
(4, 3, 0, 0, 1, 0, 0, x'04');
INSERT INTO entries (entry_id, list_id, change_id, source_key) VALUES
(1, 1, 4, x'0078'), (2, 1, 4, x'0079'), (3, 1, 4, x'007a');
INSERT INTO entry_versions (version_id, entry_id, change_id, kinds, flags, flags_known,
classification_id, handling_id, content_digest, md5) VALUES
({4 * _VERSIONS}, 1, 4, 1, 0, 0, 1, 1, x'00', x'{_MD5}'),
({4 * _VERSIONS + 1}, 2, 4, 1, 0, 0, 1, 1, x'00', x'{_MD5}'),
({4 * _VERSIONS + 2}, 3, 4, 1, 0, 0, NULL, 3, x'00', x'{_MD5}'),
({3 * _VERSIONS}, 1, 3, 1, 0, 0, 2, 1, x'01', x'{_MD5}');
UPDATE counters SET value = 4 WHERE name = 'entry_id';
INSERT INTO list_counts (list_id, kinds, handling_id, entries) VALUES (1, 1, 1, 2), (1, 1, 3, 1)
"""
#: What migration 0005 counts of it.
_USES = """
INSERT INTO change_handlings (handling_id, change_id, versions) VALUES
(1, 3, 1), (1, 4, 2), (3, 4, 1);
INSERT INTO change_classifications (classification_id, change_id, versions) VALUES
(1, 4, 2), (2, 3, 1)
"""
_SET_ASIDE = """
INSERT INTO exchanges (exchange_id, name, kind, list_id, settings, state, created_at) VALUES
(1, 'feed', 'k', 2, '{{}}', 'active', 0);
INSERT INTO exchange_set_aside
(set_aside_id, exchange_id, seen_at, page, place, field, reason, record_sha256) VALUES
(1, 1, 0, 'p', 'record 1', '', 'bad', x'{}')
"""
_SERIALS = ("handlings_handling_id", "classifications_classification_id", "hash_lists_list_id")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of a database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalog.db"
        return
    server = request.getfixturevalue("postgresql_server")
    name = server.make_database()
    yield server.url(name)
    server.run_sql(f"DROP DATABASE {name} WITH (FORCE)")


def make(url: str, version: str, *scripts: str) -> None:
    """A catalog of an earlier version, which holds something."""
    engine = open_engine(url)
    with migrator(engine).begin() as connection:
        command.upgrade(alembic_config(connection), version)
        fill(connection)
        for statement in ";".join(scripts).split(";"):
            if engine.dialect.name == "postgresql":
                statement = re.sub(r"x'([0-9a-f]+)'", r"'\\x\1'", statement)  # noqa: PLW2901
            connection.exec_driver_sql(statement)
        if engine.dialect.name == "postgresql":
            for given in (*_SERIALS, "changes_change_id"):
                connection.exec_driver_sql(f"SELECT setval('{given}_seq', 10)")
    engine.dispose()


def rows(catalog: Catalog, query: str) -> list[tuple[object, ...]]:
    with catalog._engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


pytestmark = pytest.mark.usefixtures("real_migrations", "nobody_follows")


def test_what_versions_use_is_counted_by_change(url):
    """Else a purge would take a text for unused, and drop what other entries have."""
    make(url, "0004", _HELD)
    with Catalog.open(url) as catalog:
        require_counted_uses(catalog)
        query = "SELECT {0}_id, change_id, versions FROM change_{0}s ORDER BY 1, 2"
        assert rows(catalog, query.format("classification")) == [(1, 4, 2), (2, 3, 1)]
        assert rows(catalog, query.format("handling")) == [(1, 3, 1), (1, 4, 2), (3, 4, 1)]
        catalog.purge("demo", ids_of(catalog, "x"), **WHO)
        assert rows(catalog, query.format("classification")) == [(1, 4, 1)]
        assert rows(catalog, query.format("handling")) == [(1, 4, 1), (3, 4, 1)]
        assert rows(catalog, "SELECT classification_id FROM classifications") == [(1,)]
        require_counted_uses(catalog)
        require_coverage(catalog)


def test_a_list_has_said_from_the_first_what_it_says(url):
    make(url, "0006", _HELD, _USES)
    with Catalog.open(url) as catalog:
        query = "SELECT change_id, list_id, handling_id FROM list_handlings ORDER BY change_id"
        assert rows(catalog, query) == [(1, 1, 1), (2, 2, 2)]
        for record in catalog.list_lists():
            assert record.first_handling == record.hash_list.handling
        require_coverage(catalog)
        catalog.change_handling("demo", SaidHandling(releasable_to=("b", "c")), **WHO)
        held = {name: catalog.entry(each).handling for name, each in ids_by_name(catalog).items()}
        narrowed = Handling("us", ("b",))
        assert held == {"x": narrowed, "y": narrowed, "z": Handling("us", ("z",), END)}
        bring(catalog, [Item("new", handling=Handling("us", ("b", "c")))])
        require_coverage(catalog)


def test_what_was_set_aside_is_fetched_anew(url):
    """Whether a fingerprint is keyed nobody can tell; twice keyed it would never be known again."""
    record = bytes(range(32))
    make(url, "0006", _HELD, _USES, _SET_ASIDE.format(record.hex()))
    before = datetime.now(UTC)
    with Catalog.open(url) as catalog:
        assert list(catalog.list_set_aside("feed")) == []
        due = catalog.get_exchange("feed").full_due_at
        assert due is not None
        assert before - timedelta(seconds=1) < due < datetime.now(UTC) + timedelta(seconds=1)
        assert catalog.wipe_owed  # what was deleted is in the files still


def test_a_catalog_without_such_records_owes_no_wipe(url):
    make(url, "0006", _HELD, _USES)
    with Catalog.open(url) as catalog:
        assert not catalog.wipe_owed
        assert rows(catalog, "SELECT full_due_at FROM exchanges WHERE full_due_at > 0") == []
        made = catalog.create_list(replace(DEMO, name="new"), author="a person")
        assert made.first_handling == DEMO.handling


def test_a_backup_of_an_earlier_version_is_brought_up_to_date(tmp_path):
    file, keys = tmp_path / "catalog.sqlite3", KeySource("keys:" + "11" * 32)
    make(f"sqlite:///{file}", "0007", "SELECT 1")
    assert back_up(file, tmp_path / "backup", keys).schema == "0007"
    restored = tmp_path / "restored" / "catalog.sqlite3"
    with (tmp_path / "backup").open("rb") as backup:
        restore(backup, restored, keys)
    with Catalog.open(f"sqlite:///{restored}") as catalog:
        assert catalog.head() == 0
    assert back_up(restored, tmp_path / "newer", keys).schema == SCHEMA_VERSION
