"""The database server dies at once, as in a power cut: then the last committed revision is live."""

from __future__ import annotations

import io
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from hashlists.catalog import Catalog, bulk, commit, open_change
from hashlists.errors import CatalogError
from loadtest.generate_lists import write_list
from tests.catalog_support import (
    DEMO,
    Item,
    batch,
    bring,
    ids_of,
    in_force,
    items,
    names_in_force,
    require_coverage,
    source,
)
from tests.postgresql_server import PostgresqlServer, find_binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
WHO = {"author": "an operator", "reason": "why"}
ROWS, RECORDS = 1_500, 12_000
STAGED = "the first rows are staged"
#: An importer that says when its first rows are staged and then waits for a line.
CHILD = f"""
import sys
from hashlists import import_process
from hashlists.importing import run
from hashlists.catalog import staging
staging.ROWS_PER_TRANSACTION = run.ROWS_PER_TRANSACTION = {ROWS}
stage = staging.StagedImport.stage

def stage_and_tell(self, batch):
    result = stage(self, batch)
    staging.StagedImport.stage = stage
    print("{STAGED}", flush=True)
    sys.stdin.readline()
    return result

staging.StagedImport.stage = stage_and_tell
sys.exit(import_process.main())
"""


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresqlServer]:
    """A server of its own, since it will be killed; what it has written survives its process."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql), so none can be killed")
    server = PostgresqlServer(binaries)
    yield server
    server.close()


@pytest.fixture
def mortal(own_server) -> PostgresqlServer:
    """That server, running, whatever became of it in the test before."""
    own_server.require_running()
    return own_server


@pytest.fixture
def url(mortal) -> str:
    return mortal.url(mortal.make_database())


@pytest.fixture
def catalog(url) -> Iterator[Catalog]:
    with Catalog.open(url) as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, items("before", "gone"))
        opened.retract("demo", ids_of(opened, "gone"), **WHO)
        yield opened


def rows(catalog: Catalog, table: str, where: str = "true") -> int:
    with catalog._engine.connect() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one()


def require_as_before(catalog: Catalog) -> None:
    """The third revision is live, and nothing else is left after a sweep."""
    assert catalog.head() == 3
    assert set(names_in_force(catalog)) == {"before"}
    catalog.sweep()
    assert rows(catalog, "entry_versions") == rows(catalog, "entries") == 2
    assert rows(catalog, "changes", "state IN ('staging', 'abandoned')") == 0
    require_coverage(catalog)


def crash(server: PostgresqlServer) -> None:
    server.kill()
    server.start()


def test_while_staging(catalog, mortal):
    staged = catalog.begin_import("demo", source())
    staged.stage(batch([Item("before").next(), *items("a", "b")]))
    crash(mortal)
    with pytest.raises(CatalogError):
        staged.stage(batch(items("c")))
    with pytest.raises(CatalogError):
        staged.commit()
    require_as_before(catalog)
    assert bring(catalog, items("a")).revision.number == 4


def test_during_a_copy(catalog, mortal, monkeypatch):
    """The server goes while rows are on their way."""
    copy = bulk.copy_rows

    def die_half_way(to: object, table: object, names: object, given: list, **more: object) -> int:
        def flowing() -> Iterator[object]:
            for number, row in enumerate(given):
                if number == 1:
                    mortal.kill()
                yield row

        return copy(to, table, names, flowing(), **more)

    with catalog.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a", "b")))
        monkeypatch.setattr(bulk, "copy_rows", die_half_way)
        with pytest.raises(CatalogError, match=r"try again|cannot be reached"):
            staged.stage(batch(items("c", "d")))
        monkeypatch.undo()
        mortal.start()
    require_as_before(catalog)


@pytest.mark.parametrize("moment", ["before the number is drawn", "after it"])
def test_during_the_commit(catalog, mortal, monkeypatch, moment):
    before = moment.startswith("before")
    module, name = (open_change, "take_write_lock") if before else (commit, "store_counts")
    step = getattr(module, name)

    def die_then_go_on(*arguments: object) -> None:
        mortal.kill()
        step(*arguments)

    with catalog.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a", "b")))
        monkeypatch.setattr(module, name, die_then_go_on)
        with pytest.raises(CatalogError):
            staged.commit()
        monkeypatch.undo()
        mortal.start()
    require_as_before(catalog)
    assert bring(catalog, items("a")).revision.number == 4


def test_right_after_a_commit_it_is_there(catalog, mortal):
    revision = bring(catalog, items("a", "b")).revision
    crash(mortal)
    assert catalog.head() == revision.number == 4
    assert set(names_in_force(catalog)) == {"before", "a", "b"}
    require_coverage(catalog)


def test_during_a_retraction(catalog, mortal, monkeypatch):
    ids = ids_of(catalog, "before")
    store = commit.store_counts

    def die_then_go_on(*arguments: object) -> None:
        mortal.kill()
        store(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(commit, "store_counts", die_then_go_on)
        with pytest.raises(CatalogError):
            catalog.retract("demo", ids, **WHO)
    mortal.start()
    require_as_before(catalog)
    assert catalog.retract("demo", ids, **WHO).number == 4


@pytest.fixture
def command(url, tmp_path) -> list[object]:
    """Starts an importer of `RECORDS` records into the list."""
    out = io.BytesIO()
    write_list("vics", out, records=RECORDS, seed=9)
    file = tmp_path / "list.json"
    file.write_bytes(out.getvalue())
    arguments = ["--catalog", url, "--file", str(file), "--list", "demo", "--format", "vics"]
    return [sys.executable, "-c", CHILD, *arguments, "--importer", "me"]


@contextmanager
def half_way(command: list[object], catalog: Catalog) -> Iterator[subprocess.Popen[str]]:
    """An importer that has staged some rows and waits."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        try:
            assert f"{STAGED}\n" in iter(child.stdout.readline, "")
            assert 2 < rows(catalog, "entry_versions") < RECORDS
            yield child
        finally:
            child.kill()


@pytest.mark.slow  # the steps of it are killed one by one above
@pytest.mark.timeout(170)
def test_an_importing_process_ends_and_can_be_repeated(catalog, mortal, command):
    with half_way(command, catalog) as child:
        crash(mortal)
        output, _ = child.communicate("go on\n")
    assert child.returncode == 1
    assert '"error"' in output.splitlines()[-1]
    require_as_before(catalog)
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, stdin=subprocess.DEVNULL)
    assert len(in_force(catalog)) == RECORDS + 1
    require_coverage(catalog)


@pytest.mark.timeout(170)
def test_an_importing_process_that_is_killed_is_swept(catalog, command):
    with half_way(command, catalog) as child:
        assert catalog.sweep() == 0  # it lives
        child.kill()
    give_up = time.monotonic() + 60  # the server notices a moment later
    while not catalog.sweep():
        assert time.monotonic() < give_up
        time.sleep(0.01)
    require_as_before(catalog)
