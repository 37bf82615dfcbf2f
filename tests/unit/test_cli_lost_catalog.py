"""A catalog whose file is gone is not replaced by an empty one while its lists are served."""

from __future__ import annotations

import shutil

import pytest

from hashlists.catalog import Catalog
from hashlists.snapshot import current_name
from matcher import cli

OWN = ("--harm", "test", "--source", "Us")


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def run(data, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(data), *map(str, arguments)])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured

    return ran


@pytest.fixture
def file(run, data):
    """Of a catalog that is gone; a snapshot of it is published."""
    run("lists", "create", "own", *OWN)
    run("index", "build")
    file = data / "catalog.sqlite3"
    file.unlink()
    return file


def told(file):
    return f"error: the catalog {file} is gone, while a snapshot of its lists is in "


def test_nothing_makes_an_empty_one(run, file, tmp_path):
    listed = tmp_path / "list.csv"
    listed.write_text("md5\n" + "0123456789abcdef" * 2 + "\n")
    broken = tmp_path / "broken.csv"
    broken.write_text("nothing\n")
    for act in (
        ("lists", "create", "new", *OWN),
        ("lists", "import", listed, "--list", "new", *OWN),
        ("lists", "import", broken, "--list", "new", *OWN),
        ("lists", "show"),
        ("index", "build"),
    ):
        assert run(*act, status=2).err.startswith(told(file))
        assert not file.exists()


def test_the_doctor_says_what_to_do(run, file):
    out = run("doctor", status=1).out
    assert "catalog restore" in out
    assert "`hashwarden lists import` makes it" not in out


def test_a_damaged_pointer_is_of_something_that_was_there(run, file, data):
    name = current_name(data / "snapshots")
    assert name
    (data / "snapshots" / "current").write_text("nonsense")
    assert run("lists", "create", "new", *OWN, status=2).err.startswith(told(file))


def test_whoever_begins_anew_moves_the_snapshots_away(run, file, data):
    shutil.move(data / "snapshots", data / "away")
    run("lists", "create", "new", *OWN)
    with Catalog.open(f"sqlite:///{file}") as catalog:
        assert catalog.get_list("new").hash_list.name == "new"
