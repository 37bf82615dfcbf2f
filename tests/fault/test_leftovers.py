"""Imports that are killed while files of theirs have names: the next import removes those."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashlists.catalog import Catalog
from hashlists.formats.unpacking.private_folder import private_folder, remove_leftovers
from hashlists.importer import import_file
from tests.catalog_support import DEMO

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ROWS = 4_000
HOW = {"list_name": DEMO.name, "format": "digests", "importer": "a person"}
WAIT = "print('waiting', flush=True); sys.stdin.read()"
#: Tries to import into a list that is not there, and waits while rows are staged.
TRIAL = f"""
import sys
from pathlib import Path
from hashlists.catalog import Catalog
from hashlists.importer import import_file
from hashlists.importing import run
run.ROWS_PER_TRANSACTION = 1_000
seen = 0
def wait(entries):
    global seen
    seen += len(entries)
    if seen > 3_000:
        {WAIT}
with Catalog.open("sqlite:///" + sys.argv[1]) as catalog:
    import_file(catalog, Path(sys.argv[2]), list_name="absent", format="digests", importer="x",
                dry_run=True, prepare_list=print, observers=[wait], spool_dir=Path(sys.argv[3]))
"""
#: Gives what was packed a name, and waits meanwhile.
NAMED = f"""
import io, sys
from pathlib import Path
from hashlists.formats.unpacking import named
with named(io.BytesIO(b"of a list"), Path(sys.argv[3])) as path:
    {WAIT}
"""


@contextmanager
def waiting(script: str, *arguments: Path) -> Iterator[subprocess.Popen[str]]:
    """The script as a process that waits, killed at the end if not before."""
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as child:  # fmt: skip
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "waiting\n"
            yield child
        finally:
            child.kill()


def digests(path: Path, rows: int) -> Path:
    values = (hashlib.sha1(b"%d" % row, usedforsecurity=False).hexdigest() for row in range(rows))
    path.write_text("\n".join(values) + "\n", encoding="ascii")
    return path


@pytest.mark.parametrize("script", [TRIAL, NAMED])
def test_the_next_import_removes_what_a_killed_one_left(script, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    database = tmp_path / "catalog.db"
    with Catalog.open(f"sqlite:///{database}") as catalog:
        catalog.create_list(DEMO, author="a person")
        long, short = digests(tmp_path / "long.txt", ROWS), digests(tmp_path / "short.txt", 2)
        with waiting(script, database, long, spool) as child:
            (folder,) = spool.iterdir()
            assert list(folder.iterdir())
            import_file(catalog, short, spool_dir=spool, **HOW)
            assert list(spool.iterdir()) == [folder]  # in use
            child.kill()
            child.wait()
            assert list(folder.iterdir())
        import_file(catalog, short, spool_dir=spool, **HOW)
    assert not list(spool.iterdir())


def test_folders_of_others_and_plain_files_stay(tmp_path, monkeypatch):
    mine = tmp_path / "hashwarden-private-a"
    mine.mkdir()
    plain = tmp_path / "hashwarden-private-b"
    plain.write_bytes(b"")
    link = tmp_path / "hashwarden-private-c"
    link.symlink_to(tmp_path.parent)
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: os.getuid() + 1)
        remove_leftovers(tmp_path)
    assert mine.exists()
    remove_leftovers(tmp_path)
    assert (mine.exists(), plain.exists(), link.is_symlink()) == (False, True, True)
    assert tmp_path.parent.exists()


def test_one_that_was_swept_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    import fcntl  # patched here alone

    lock, swept = fcntl.flock, []

    def sweep_first(descriptor: int, how: int) -> None:
        if not swept:
            (folder,) = tmp_path.iterdir()
            folder.rmdir()
            swept.append(folder)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    with private_folder(tmp_path) as folder:
        assert folder.is_dir()
        assert folder not in swept
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not list(tmp_path.iterdir())
