"""At a replica a command says that it is one, and what to do; it makes and changes nothing."""

from __future__ import annotations

import pytest

from matcher import cli
from tests.snapshot_store_support import Keys


@pytest.fixture
def run(tmp_path, capsys, monkeypatch):
    """Runs a command at a machine that pulls from a store."""
    keys = Keys(tmp_path)
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_PULL_URL", f"file://{tmp_path}/store")
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_VERIFY_KEY", str(keys.public))

    def ran(*arguments, status=2):
        got = cli.main(["--data", str(tmp_path / "data"), *arguments])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured

    return ran


OF_THE_CATALOG = {
    "show": ("lists", "show"),
    "revisions": ("lists", "revisions"),
    "create": ("lists", "create", "demo", "--harm", "test", "--source", "Us"),
    "retract": ("lists", "retract", "demo", "1", "--reason", "why"),
    "purge": ("lists", "purge", "demo", "1", "--reason", "why", "--yes"),
    "wipe": ("lists", "wipe"),
    "build": ("index", "build"),
}


@pytest.mark.parametrize("arguments", OF_THE_CATALOG.values(), ids=OF_THE_CATALOG)
def test_what_needs_the_catalog_names_where_it_is(run, tmp_path, arguments):
    told = run(*arguments).err
    assert told.startswith("error: this machine is a replica without a catalog")
    assert f"file://{tmp_path}/store" in told
    assert "snapshot_pull_url, environment" in told
    assert "on the machine that publishes there" in told
    assert not (tmp_path / "data").exists()


def test_an_import_makes_no_catalog(run, tmp_path):
    (tmp_path / "list.csv").write_text(f"md5\n{'0' * 31}1\n")
    describe = ("--list", "demo", "--harm", "test", "--source", "Us", "--column", "md5=md5")
    told = run("lists", "import", str(tmp_path / "list.csv"), *describe).err
    assert "this machine is a replica without a catalog" in told
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("what", ["match", "lookup"])
def test_matching_names_the_server_to_ask(run, tmp_path, what):
    (tmp_path / "file").write_bytes(b"no image")
    given = str(tmp_path / "file") if what == "match" else f"md5:{'0' * 32}"
    told = run(what, given).err
    assert "this machine is a replica" in told
    assert "--server 127.0.0.1:50051" in told
    assert not (tmp_path / "data").exists()


def test_a_catalog_that_was_left_there_changes_nothing(run, tmp_path, monkeypatch):
    pull_url = "HASHWARDEN_SNAPSHOT_PULL_URL"
    with monkeypatch.context() as patch:
        patch.delenv(pull_url)
        run(*OF_THE_CATALOG["create"], status=0)
    assert "this machine is a replica" in run("lists", "show").err
    assert "this machine is a replica" in run("lookup", f"md5:{'0' * 32}").err
