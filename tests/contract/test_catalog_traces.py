"""A purge erases from the files of the database, not only from its tables."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import make_url

from hashlists.catalog import (
    Checkpoint,
    DerivedAction,
    DerivedHash,
    SetAside,
    on_sqlite,
    wipe,
)
from hashlists.errors import CatalogError
from hashlists.model import Classification, Handling, HashKind
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
    value,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashlists.catalog import Catalog

ROOT = Path(__file__).parents[2]
WHO = {"author": "an operator", "reason": "why"}


@pytest.fixture
def all_bytes(catalog_url: str, request: pytest.FixtureRequest) -> Callable[[], bytes]:
    """Everything that the database keeps in files, but for a server's write-ahead log."""
    if catalog_url.startswith("sqlite"):
        folder = Path(catalog_url.removeprefix("sqlite:///")).parent
        return lambda: b"".join(file.read_bytes() for file in sorted(folder.iterdir()))
    server = request.getfixturevalue("postgresql_server")

    def read() -> bytes:
        server.run_sql("CHECKPOINT")
        query = "SELECT oid FROM pg_database WHERE datname = current_database()"
        ((oid,),) = server.run_sql(query, database=make_url(catalog_url).database)
        folders = [server.data / "base" / str(oid), server.data / "base" / "pgsql_tmp"]
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        return b"".join(file.read_bytes() for file in files)

    return read


@pytest.fixture
def analyze(catalog: Catalog) -> Callable[[], None]:
    """Lets the database gather the statistics that it gathers by itself sooner or later."""

    def run() -> None:
        engine = catalog._engine.execution_options(isolation_level="AUTOCOMMIT", catalog_begins=())
        with engine.connect() as connection:
            connection.exec_driver_sql("ANALYZE")

    return run if catalog._engine.dialect.name == "postgresql" else lambda: None


def made_up(name: str) -> Item:
    """A record that shares nothing with any other."""
    return Item(
        name,
        tuple(HashKind),
        extra=((HashKind.PDQ, value(HashKind.PDQ, f"{name} more")),),
        classification=Classification("scheme-of-" + name, "profile-of-" + name, "code-" + name),
        handling=Handling("originator-of-" + name, ("recipient-of-" + name,)),
        source_id="source-id-of-" + name,
    )


def traces(record: Item) -> dict[str, bytes]:
    """Whatever of a record could be found in a file."""
    return {
        "key": record.key[1:],  # the name; it is in all texts too
        "digest": record.digest,
        **{str(kind): code for kind, code in record.hashes.items()},
        **{f"further {number}": code for number, (_, code) in enumerate(record.extra)},
    }


def derive(catalog: Catalog, records: list[Item], action: DerivedAction) -> None:
    """Proposes, confirms or withdraws a code of a crop for each record."""
    rows = [
        DerivedHash(
            *(entry_id, HashKind.PDQ, crop_of(record), "crop:0.02"),
            *(HashKind.SHA256, record.hashes[HashKind.SHA256]),
        )
        for record, entry_id in zip(records, ids_of(catalog, *names_of(records)), strict=True)
    ]
    assert catalog.add_derived("demo", rows, action=action, **WHO) is not None


def crop_of(record: Item) -> bytes:
    """Of each version another one, as the file is another."""
    return value(HashKind.PDQ, f"crop {record.version} of {record.name}")


def names_of(records: list[Item]) -> list[str]:
    return [record.name for record in records]


def found(record: Item, blob: bytes) -> list[str]:
    return [what for what, trace in traces(record).items() if trace in blob]


NAMES = [f"somebody-{number:03}" for number in range(24)]


def test_nothing_of_what_was_purged_is_left(catalog, all_bytes, analyze):
    catalog.create_list(DEMO, author="a person")
    records = [made_up(name) for name in NAMES]
    later = [record.next() for record in records[:12]]
    bring(catalog, records)
    derive(catalog, records, DerivedAction.CONFIRM)
    bring(catalog, later)
    derive(catalog, later, DerivedAction.PROPOSE)
    derive(catalog, later[:6], DerivedAction.CONFIRM)
    derive(catalog, later[4:8], DerivedAction.WITHDRAW)
    catalog.retract("demo", ids_of(catalog, *NAMES[:4]), **WHO)
    staged = catalog.begin_import("demo", source())
    staged.stage(batch([record.next().next() for record in records[:10]]))
    staged.abort()
    analyze()
    blob = all_bytes()
    assert found(records[0], blob) == list(traces(records[0]))  # the search itself works
    assert [record for record in [*records, *later] if crop_of(record) not in blob] == []
    gone_ids = [each for each in range(1, len(NAMES) + 1) if _name(catalog, each) in GONE]
    assert catalog.purge("demo", gone_ids, **WHO).traces_wiped
    blob = all_bytes()
    for record in [*records, *later]:
        if record.name in GONE:
            assert (found(record, blob), crop_of(record) in blob) == ([], False)
    assert found(records[-1], blob) == list(traces(records[-1]))
    assert crop_of(records[-1]) in blob
    require_coverage(catalog)
    with catalog.read() as reader:
        assert {each.code[5:] for each in reader.classifications().values()} == set(NAMES) - GONE


GONE = {*NAMES[:8], *NAMES[14:18]}


def _name(catalog: Catalog, entry_id: int) -> str:
    return catalog.entry(entry_id).key[1:].decode()


def test_what_an_exchange_had_set_aside_goes_with_it(catalog, all_bytes):
    """It is deleted when the exchange is, or when it came again, and wiped with the next purge."""
    catalog.create_list(DEMO, author="a person")
    bring(catalog, [made_up("x-gone"), made_up("y-kept")])
    gone, renewed = value(HashKind.SHA256, "a record"), value(HashKind.SHA256, "another record")

    def set_aside(name: str, record_sha256: bytes, reason: str, *, after: int) -> None:
        exchange = catalog.get_exchange(name).exchange_id
        catalog.save_progress(
            Checkpoint(exchange, {}, after=after),
            [SetAside("page 1", "record 1", "field", reason, record_sha256)],
        )

    catalog.create_list(replace(DEMO, name="of-other"), author="a person")
    for name, list_name in (("feed", "demo"), ("other", "of-other")):
        catalog.add_exchange(name, kind="made-up", list_name=list_name, settings={})
    set_aside("feed", gone, "the-reason-for-the-first", after=0)
    set_aside("other", renewed, "the-reason-at-first", after=0)
    set_aside("other", renewed, "the-reason-now", after=1)
    catalog.remove_exchange("feed")
    assert catalog.purge("demo", ids_of(catalog, "x-gone"), **WHO).traces_wiped
    blob = all_bytes()
    left = (b"the-reason-for-the-first", b"the-reason-at-first")
    assert [trace for trace in (gone, *left) if trace in blob] == []
    assert renewed not in blob  # but an HMAC of it
    assert b"the-reason-now" in blob


def test_texts_that_others_have_stay(catalog):
    catalog.create_list(DEMO, author="a person")
    catalog.create_list(replace(DEMO, name="other"), author="a person")
    shared = made_up("shared")
    bring(catalog, [shared, *items("x", classification=shared.classification)])
    bring(catalog, [shared], list_name="other")
    ids = [each for each in range(1, 4) if _name(catalog, each) == "shared"]
    catalog.purge("demo", ids[:1], **WHO)
    entry = catalog.entry(ids[1])
    assert (entry.classification, entry.handling) == (shared.classification, shared.handling)
    catalog.purge("other", ids[1:], **WHO)
    with catalog.read() as reader:  # x still has it
        assert shared.classification in reader.classifications().values()
    catalog.purge("demo", ids_of(catalog, "x"), **WHO)
    with catalog.read() as reader:
        assert shared.classification not in reader.classifications().values()


def test_texts_of_an_import_under_way_stay(catalog):
    catalog.create_list(DEMO, author="a person")
    catalog.create_list(replace(DEMO, name="other"), author="a person")
    record = made_up("shared")
    bring(catalog, [record])
    with catalog.begin_import("other", source()) as staged:
        staged.stage(batch([record]))
        catalog.purge("demo", ids_of(catalog, "shared"), **WHO)
        staged.commit()
    entry = catalog.entry(ids_of(catalog, "shared")[0])
    assert (entry.classification, entry.handling) == (record.classification, record.handling)


def test_a_reader_that_keeps_old_rows_is_told(catalog, catalog_url, all_bytes, monkeypatch):
    """It holds a snapshot, and no lock on a table that is rewritten."""
    catalog.create_list(DEMO, author="a person")
    bring(catalog, [made_up("x-gone"), made_up("y-kept")])
    ids = ids_of(catalog, "x-gone")
    with catalog._engine.connect() as connection:
        connection.exec_driver_sql("SELECT * FROM head").all()  # keeps its snapshot to the end
        if catalog_url.startswith("sqlite"):
            monkeypatch.setattr(on_sqlite, "_PAUSES_SECONDS", (0.0,))
            with catalog._engine.connect() as pooled:
                pooled.connection.cursor().execute("PRAGMA busy_timeout = 1")
        assert not catalog.purge("demo", ids, **WHO).traces_wiped
    assert not names_in_force(catalog).keys() & {"x-gone"}
    assert catalog.wipe_deleted()
    assert found(made_up("x-gone"), all_bytes()) == []


@pytest.fixture
def demo(catalog):
    catalog.create_list(DEMO, author="a person")
    bring(catalog, [made_up("x-gone"), made_up("y-gone"), made_up("z-kept")])
    return catalog


class TestOwed:
    """Once committed a purge is done, and what is left to do is known until it is done."""

    def test_a_wiped_purge_owes_nothing(self, demo):
        assert not demo.wipe_owed
        demo.purge("demo", ids_of(demo, "x-gone"), **WHO)
        assert not demo.wipe_owed
        assert demo.wipe_deleted()
        assert not demo.wipe_owed

    def test_rewriting_that_fails_fails_no_purge(self, demo, monkeypatch, all_bytes):
        def fail(_engine: object) -> bool:
            raise CatalogError("the disk is gone")

        before, ids = demo.head(), ids_of(demo, "x-gone")
        with monkeypatch.context() as patch:
            patch.setattr(wipe, "rewrite_files", fail)
            done = demo.purge("demo", ids, **WHO)
            assert (done.traces_wiped, done.entries, done.revision.number) == (False, 1, before + 1)
            assert demo.wipe_owed
            with pytest.raises(CatalogError, match="disk is gone"):
                demo.wipe_deleted()
        assert demo.wipe_owed
        assert demo.wipe_deleted()
        assert not demo.wipe_owed
        assert found(made_up("x-gone"), all_bytes()) == []

    def test_one_that_was_purged_during_a_wipe_is_owed_still(self, demo, monkeypatch):
        x, y = ids_of(demo, "x-gone", "y-gone")
        rewritten = []

        def purge_another(_engine: object) -> bool:
            rewritten.append(True)
            if len(rewritten) > 1:
                return False
            assert not demo.purge("demo", [y], **WHO).traces_wiped
            return True

        monkeypatch.setattr(wipe, "rewrite_files", purge_another)
        assert demo.purge("demo", [x], **WHO).traces_wiped
        assert demo.wipe_owed

    def test_a_process_killed_after_the_commit_leaves_it_owed(self, demo, catalog_url, all_bytes):
        (entry_id,) = ids_of(demo, "x-gone")
        child = f"""
import os, signal, sys
from hashlists.catalog import Catalog, wipe
wipe.rewrite_files = lambda _engine: os.kill(os.getpid(), signal.SIGKILL)
with Catalog.open(sys.argv[1]) as catalog:
    catalog.purge("demo", [{entry_id}], author="a", reason="r")
"""
        command = [sys.executable, "-c", child, catalog_url]
        before = demo.head()
        assert subprocess.run(command, check=False, cwd=ROOT).returncode == -signal.SIGKILL
        assert demo.head() == before + 1
        assert set(names_in_force(demo)) == {"y-gone", "z-kept"}
        assert demo.wipe_owed
        assert found(made_up("x-gone"), all_bytes()) != []
        assert demo.wipe_deleted()
        assert not demo.wipe_owed
        assert found(made_up("x-gone"), all_bytes()) == []
