"""`hashwarden catalog`: backups that can be restored, of a catalog in use, and never in clear."""

from __future__ import annotations

import io
import json
import os
import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

from hashlists.catalog import Catalog, backup
from hashlists.encryption.keys import KeySource, shown
from hashlists.encryption.layout import CHUNK_BYTES
from hashlists.encryption.purposes import CATALOG_BACKUP
from hashlists.encryption.stream import encrypt
from hashlists.errors import BackupError, EncryptedFileError
from hashlists.model import HashKind
from matcher import cli
from tests.catalog_support import DEMO, bring, items, names_in_force

ONE, TWO = "11" * 32, "22" * 32


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def run(data, capsys, monkeypatch):
    monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"keys:{ONE}")

    def ran(*arguments, status=0, folder=data):
        got = cli.main(["--data", str(folder), "catalog", *map(str, arguments)])
        captured = capsys.readouterr()
        assert got == status, captured.err
        assert "this is a bug" not in captured.err
        return captured

    return ran


@pytest.fixture
def catalog(data):
    with Catalog.open(f"sqlite:///{data / 'catalog.sqlite3'}") as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, items("a", "b", "c"))
        yield opened


@pytest.fixture
def saved(catalog, run, tmp_path):
    file = tmp_path / "backup"
    run("backup", file)
    return file


def restored(run, file, folder, status=0, *options):
    return run("restore", file, *options, folder=folder, status=status)


def test_a_backup_of_a_catalog_in_use_is_restored_elsewhere(catalog, run, tmp_path):
    with catalog.read():
        told = json.loads(run("backup", tmp_path / "backup", "--json").out)
    bring(catalog, items("d"))
    other = tmp_path / "other"
    again = json.loads(restored(run, tmp_path / "backup", other, 0, "--json").out)
    assert (tmp_path / "backup").stat().st_mode & 0o777 == 0o600
    assert {**again, "file": told["file"]} == told
    with Catalog.open(f"sqlite:///{other / 'catalog.sqlite3'}") as found:
        assert set(names_in_force(found)) == {"a", "b", "c"}
        assert found.head() == told["revision"] == catalog.head() - 1
    assert (other / "catalog.sqlite3").stat().st_mode & 0o777 == 0o600


def test_nothing_of_it_lies_in_clear(saved, data):
    content = saved.read_bytes()
    for each in items("a", "b", "c"):
        for code in each.hashes.values():
            assert code not in content
    assert b"SQLite format" not in content
    left = [each.name for each in data.iterdir() if each.name.startswith(".catalog-copy-")]
    assert left == []


def test_what_a_crash_left_goes_with_the_next_run(catalog, data, run, tmp_path):
    (data / ".catalog-copy-0123").write_bytes(b"in clear")
    run("backup", tmp_path / "backup")
    assert not (data / ".catalog-copy-0123").exists()


def test_a_file_that_is_there_is_not_written_over(saved, run):
    before = saved.read_bytes()
    assert "not written over" in run("backup", saved, status=2).err
    assert saved.read_bytes() == before


def test_a_catalog_that_is_there_is_not_restored_over(saved, data, run):
    before = (data / "catalog.sqlite3").read_bytes()
    assert "move it" in restored(run, saved, data, 2).err
    assert (data / "catalog.sqlite3").read_bytes() == before


def test_a_log_without_its_catalog_is_in_the_way(saved, run, tmp_path):
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    (other / "catalog.sqlite3-wal").write_bytes(b"of another one")
    assert "catalog.sqlite3-wal" in restored(run, saved, other, 2).err


@pytest.mark.parametrize("cut", [0, 7, 40, 1000, -1])
def test_a_backup_that_is_cut_off_restores_nothing(saved, run, tmp_path, cut):
    (tmp_path / "cut").write_bytes(saved.read_bytes()[:cut])
    other = tmp_path / "other"
    assert "nothing was restored" in restored(run, tmp_path / "cut", other, 2).err
    assert not list(other.glob("catalog*"))
    assert not list(other.glob(".catalog-copy-*"))


def test_a_backup_that_was_altered_restores_nothing(saved, run, tmp_path):
    content = bytearray(saved.read_bytes())
    content[len(content) // 2] ^= 1
    saved.write_bytes(content)
    assert "does not open in its place" in restored(run, saved, tmp_path / "other", 2).err
    assert not list((tmp_path / "other").glob("catalog*"))


def test_another_key_restores_nothing_and_an_older_one_all(saved, run, tmp_path, monkeypatch):
    monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"keys:{TWO}")
    name = shown(KeySource(f"keys:{ONE}").newest().name)
    assert f"key {name}, which is not here" in restored(run, saved, tmp_path / "other", 2).err
    monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"keys:{TWO},{ONE}")
    restored(run, saved, tmp_path / "other")


def test_without_keys_there_is_no_backup(catalog, run, tmp_path, monkeypatch):
    monkeypatch.delenv("HASHWARDEN_ENCRYPTION_KEYS")
    assert "encryption_keys" in run("backup", tmp_path / "backup", status=2).err
    assert not (tmp_path / "backup").exists()


def test_without_a_catalog_there_is_no_backup(run, tmp_path):
    assert "no catalog" in run("backup", tmp_path / "backup", status=2).err


def test_a_catalog_of_postgresql_is_dumped_otherwise(run, tmp_path, monkeypatch):
    monkeypatch.setenv("HASHWARDEN_CATALOG_URL", "postgresql://db/catalog")
    assert "pg_dump" in run("backup", tmp_path / "backup", status=2).err


def test_a_catalog_of_postgresql_is_restored_otherwise(saved, run, monkeypatch):
    monkeypatch.setenv("HASHWARDEN_CATALOG_URL", "postgresql://db/catalog")
    assert "pg_dump" in run("restore", saved, status=2).err


@pytest.mark.parametrize("what", ["page", "all"])
def test_a_damaged_catalog_makes_no_backup(data, run, tmp_path, what):
    file = data / "catalog.sqlite3"
    with Catalog.open(f"sqlite:///{file}") as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, items(*map(str, range(200))))
    content = bytearray(file.read_bytes())
    first = (
        content.index(items("7")[0].hashes[HashKind.PDQ]) // 8192 * 8192 if what == "page" else 0
    )
    last = first + 8192 if what == "page" else len(content)
    content[first:last] = b"x" * (last - first)
    file.write_bytes(content)
    assert "cannot be read" in run("backup", tmp_path / "backup", status=2).err
    assert not (tmp_path / "backup").exists()
    assert not list(data.glob(".catalog-copy-*"))


def test_both_stand_in_the_audit(saved, data, capsys):
    assert cli.main(["--data", str(data), "audit", "show", "--json"]) == 0
    acts = [json.loads(line)["act"] for line in capsys.readouterr().out.splitlines()]
    assert acts.count("catalog.backup") == 2


class TestPieces:
    """What goes through the pipes of other programs."""

    @pytest.fixture
    def piped(self, data, capfdbinary, monkeypatch):
        monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"keys:{ONE}")

        def ran(command, content, status=0):
            monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
            got = cli.main(["--data", str(data), "catalog", command])
            captured = capfdbinary.readouterr()
            assert got == status, captured.err
            return captured.out, captured.err

        return ran

    def test_what_is_encrypted_is_decrypted(self, piped):
        content = os.urandom(1000) * 900
        encrypted, _ = piped("encrypt", content)
        assert content[:100] not in encrypted
        assert piped("decrypt", encrypted)[0] == content

    @pytest.fixture
    def recorded(self, data, capfdbinary):
        def ends(command):
            assert cli.main(["--data", str(data), "audit", "show", "--json"]) == 0
            shown_records = map(json.loads, capfdbinary.readouterr().out.splitlines())
            acts = [each for each in shown_records if each["act"] == f"catalog.{command}"]
            assert [each["outcome"] for each in acts[::2]] == ["begun"] * (len(acts) // 2)
            return [(each["outcome"], each["details"]) for each in acts[1::2]]

        return ends

    def test_both_stand_in_the_audit(self, piped, recorded):
        encrypted, _ = piped("encrypt", b"dump" * 1000)
        piped("decrypt", encrypted)
        key = shown(KeySource(f"keys:{ONE}").newest().name)
        for command, nbytes in (("encrypt", len(encrypted)), ("decrypt", 4000)):
            ((outcome, details),) = recorded(command)
            assert outcome == "done"
            assert (details["key"], details["nbytes"]) == (key, nbytes)

    def test_what_came_out_of_a_dump_that_is_cut_off_stands_there_too(self, piped, recorded):
        encrypted, _ = piped("encrypt", b"x" * (3 * CHUNK_BYTES))
        text, _ = piped("decrypt", encrypted[:-1], status=2)
        ((outcome, details),) = recorded("decrypt")
        assert (outcome, details["nbytes"]) == ("failed", len(text))
        assert details["reason_code"] == EncryptedFileError.reason
        assert len(text) >= CHUNK_BYTES

    def test_nothing_is_decrypted_that_cannot_be_recorded(self, piped, data):
        encrypted, _ = piped("encrypt", b"dump" * 1000)
        (data / "access.sqlite3").write_bytes(b"no database, but as long as one" * 4096)
        for command in ("encrypt", "decrypt"):
            assert piped(command, encrypted, status=2)[0] == b""

    def test_a_backup_is_no_dump_and_the_command_for_it_is_named(
        self, piped, catalog, data, tmp_path
    ):
        saved = tmp_path / "saved"
        backup.back_up(data / "catalog.sqlite3", saved, KeySource(f"keys:{ONE}"))
        text, told = piped("decrypt", saved.read_bytes(), status=2)
        assert (text, b"catalog restore FILE` takes it" in told) == (b"", True)

    @pytest.mark.parametrize("nbytes", [1, 3 * CHUNK_BYTES])
    def test_a_dump_is_no_backup_and_the_command_for_it_is_named(self, piped, tmp_path, nbytes):
        dump = io.BytesIO(piped("encrypt", b"x" * nbytes)[0])
        with pytest.raises(EncryptedFileError, match="catalog decrypt` opens it; nothing was"):
            backup.restore(dump, tmp_path / "catalog.sqlite3", KeySource(f"keys:{ONE}"))
        assert not (tmp_path / "catalog.sqlite3").exists()

    def test_a_dump_that_is_cut_off_ends_in_an_error(self, piped):
        encrypted, _ = piped("encrypt", b"dump" * 1000)
        assert b"cut off" in piped("decrypt", encrypted[:-1], status=2)[1]
        assert b"cut off" in piped("decrypt", b"", status=2)[1]


class TestNewKey:
    @pytest.fixture
    def file(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"file:{tmp_path / 'keys' / 'own'}")
        return tmp_path / "keys" / "own"

    def test_a_first_key_is_made_then_others_before_it(self, run, file, monkeypatch):
        monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"file:{file}")
        assert "first key" in run("new-key").err
        first = file.read_text()
        assert "older keys" in run("new-key").err
        assert file.read_text().endswith(first)
        assert len(file.read_text().split()) == 2

    def test_a_missing_file_is_not_made_by_a_backup(
        self, run, file, catalog, tmp_path, monkeypatch
    ):
        monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"file:{file}")
        assert "cannot be read" in run("backup", tmp_path / "backup", status=2).err
        assert not file.exists()

    def test_keys_that_were_given_are_no_file(self, run):
        assert "names no file" in run("new-key", status=2).err


class TestContent:
    """Backups that were encrypted with the right key, and are none all the same."""

    def restore(self, tmp_path, content):
        keys = KeySource(f"keys:{ONE}")
        file = b"".join(encrypt([content], keys.newest(), CATALOG_BACKUP))
        return backup.restore(io.BytesIO(file), tmp_path / "catalog.sqlite3", keys)

    def line(self, **changes):
        said = {
            "format": backup.FORMAT,
            "version": 1,
            "catalog_id": "00",
            "revision": 1,
            "schema": "0001",
            "created_at": "2026-01-01",
            "nbytes": 5,
        }
        return json.dumps(said | changes).encode() + b"\n"

    @pytest.mark.parametrize("content", [b"", b"\n", b"{}\n", b"x" * 9000, b'{"format": 1}\n'])
    def test_no_backup(self, tmp_path, content):
        with pytest.raises(BackupError, match="no backup of a catalog"):
            self.restore(tmp_path, content)

    def test_a_later_build(self, tmp_path):
        with pytest.raises(BackupError, match="later build"):
            self.restore(tmp_path, self.line(version=2))
        with pytest.raises(BackupError, match="newer version"):
            self.restore(tmp_path, self.line(schema="9999") + b"12345")

    def test_no_sound_database(self, tmp_path):
        with pytest.raises(BackupError, match="no sound database"):
            self.restore(tmp_path, self.line() + b"12345")
        with closing(sqlite3.connect(tmp_path / "other")) as other:
            other.execute("CREATE TABLE head (revision)")
        with pytest.raises(BackupError, match="no sound database"):
            self.restore(tmp_path, self.line() + (tmp_path / "other").read_bytes())
        assert not (tmp_path / "catalog.sqlite3").exists()

    def test_another_members_of_the_line(self, tmp_path):
        with pytest.raises(BackupError, match="no backup of a catalog"):
            self.restore(tmp_path, self.line(more=1))

    def test_of_another_purpose(self, tmp_path):
        keys = KeySource(f"keys:{ONE}")
        file = b"".join(encrypt([self.line()], keys.newest(), b"another"))
        with pytest.raises(EncryptedFileError):
            backup.restore(io.BytesIO(file), tmp_path / "catalog.sqlite3", keys)
