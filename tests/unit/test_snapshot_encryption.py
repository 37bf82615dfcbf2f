"""Encrypted snapshots: nothing in clear on disk, sealed memory, keys that change."""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hashlists.encryption.keys import KeySource, shown
from hashlists.encryption.layout import encrypted_bytes
from hashlists.errors import EncryptionKeyError, SnapshotError, SnapshotLockedError
from hashlists.snapshot import (
    SnapshotWriter,
    lock_in_memory,
    open_current,
    open_snapshot,
    sweep,
    vault,
)
from hashlists.snapshot import manifest as manifests
from hashlists.snapshot.vault import SEALS, Vault

if TYPE_CHECKING:
    from pathlib import Path

ONE, TWO = "11" * 32, "22" * 32
CODES = np.random.default_rng(5).integers(0, 256, (40_000, 32), np.uint8)


def keys(*found: str) -> Vault:
    return Vault(KeySource("keys:" + ",".join(found or (ONE,))))


def publish(root: Path, revision: int = 1, *, using: Vault | None = None) -> Path:
    with SnapshotWriter(root, revision=revision, vault=using) as writer:
        writer.add_array("pdq.codes", CODES)
        writer.add_array_in_parts(
            "entries.size", iter(np.split(np.arange(100_000), 10)), dtype=np.int64
        )
        writer.add_array("empty", np.empty((0, 32), np.uint8))
        writer.add_document("lists", [{"name": "a secret name"}])
        return writer.publish({"built": "test"})


def names_of_files(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def rewrite_manifest(folder: Path, change) -> None:
    """Changes a manifest and gives it a right digest again, as a forger would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["sha256"]
    change(manifest)
    manifest["sha256"] = manifests.digest_of_manifest(manifest)
    path.write_bytes(manifests.manifest_bytes(manifest))


def test_what_is_written_is_opened(tmp_path):
    folder = publish(tmp_path, 7, using=keys())
    opened = open_current(tmp_path, vault=keys())
    assert (opened.path, opened.revision) == (folder, 7)
    assert opened.documents == {"lists": [{"name": "a secret name"}]}
    assert (opened.arrays["pdq.codes"] == CODES).all()
    assert (opened.arrays["entries.size"] == np.arange(100_000)).all()
    assert opened.arrays["empty"].shape == (0, 32)
    assert opened.manifest["version"] == manifests.ENCRYPTED_VERSION


def test_nothing_lies_in_clear(tmp_path):
    files = names_of_files(publish(tmp_path, using=keys()))
    for content in files.values():
        assert CODES[1000].tobytes() not in content
        assert b"a secret name" not in content
        assert bytes.fromhex(ONE) not in content
    assert len(files["pdq.codes.bin"]) == encrypted_bytes(CODES.nbytes)


def test_arrays_lie_in_memory_that_nobody_can_change(tmp_path):
    opened = open_snapshot(publish(tmp_path, using=keys()), vault=keys())
    for array in opened.arrays.values():
        with pytest.raises(ValueError):
            array[...] = 0
        if array.size:  # of an empty one there is nothing to change
            with pytest.raises(ValueError):
                array.flags.writeable = True


def test_the_memory_is_sealed(tmp_path):
    folder = publish(tmp_path, using=keys())
    handle = os.open(folder / "pdq.codes.bin", os.O_RDONLY)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    record = manifests.ArrayRecord.parse(
        folder, "pdq.codes", manifest["arrays"]["pdq.codes"], encrypted=True
    )
    lock = keys().lock_of(folder, manifest)
    memory = lock.memory(folder, handle, record.content, record.nbytes)
    try:
        assert fcntl.fcntl(memory, fcntl.F_GET_SEALS) & SEALS == SEALS
        with pytest.raises(OSError):
            os.write(memory, b"x")
        with pytest.raises(OSError):
            os.ftruncate(memory, 1)
        with pytest.raises(OSError):
            mmap.mmap(memory, CODES.nbytes)
    finally:
        os.close(memory)
        os.close(handle)


def test_it_can_be_locked_in_memory(tmp_path):
    opened = open_snapshot(publish(tmp_path, using=keys()), vault=keys())
    try:
        locked = lock_in_memory(opened)
    except OSError:
        pytest.skip("this user may lock no memory")
    assert locked >= CODES.nbytes


def test_an_array_that_was_written_can_be_read_again(tmp_path):
    with SnapshotWriter(tmp_path, revision=1, vault=keys()) as writer:
        writer.add_array("pdq.codes", CODES)
        assert (writer.map_array("pdq.codes") == CODES).all()


class TestKeys:
    def test_without_keys_it_stays_shut(self, tmp_path):
        folder = publish(tmp_path, using=keys())
        with pytest.raises(SnapshotLockedError, match="no keys are set"):
            open_snapshot(folder)
        with pytest.raises(SnapshotLockedError, match="no keys are set"):
            open_current(tmp_path)

    def test_the_wrong_key_says_which_is_the_right_one(self, tmp_path):
        folder = publish(tmp_path, using=keys(ONE))
        name = shown(KeySource(f"keys:{ONE}").newest().name)
        with pytest.raises(SnapshotLockedError, match=f"key {name}, which is not here") as caught:
            open_snapshot(folder, vault=keys(TWO))
        assert TWO not in str(caught.value)

    def test_keys_that_cannot_be_read(self, tmp_path):
        folder = publish(tmp_path / "snapshots", using=keys())
        away = Vault(KeySource(f"file:{tmp_path / 'missing'}"))
        with pytest.raises(SnapshotLockedError, match="the keys cannot be read"):
            open_snapshot(folder, vault=away)
        with pytest.raises(EncryptionKeyError, match="the keys cannot be read"):
            SnapshotWriter(tmp_path / "snapshots", revision=2, vault=away)

    def test_older_keys_go_on_opening(self, tmp_path):
        folder = publish(tmp_path, using=keys(ONE))
        assert open_snapshot(folder, vault=keys(TWO, ONE)).revision == 1

    def test_a_command_gives_keys(self, tmp_path):
        given = Vault(KeySource(f"command:echo {ONE}"))
        assert open_snapshot(publish(tmp_path, using=given), vault=keys(ONE)).revision == 1
        assert open_current(tmp_path, vault=Vault(KeySource(f"command:echo {ONE}"))) is not None

    def test_keys_open_what_lies_in_clear(self, tmp_path):
        assert open_snapshot(publish(tmp_path), vault=keys()).revision == 1


class TestLinks:
    def linked(self, root, held, using):
        with SnapshotWriter(root, revision=2, vault=using) as writer:
            writer.link_array("pdq.codes", held)
            return writer.publish({})

    def test_under_the_same_key_the_very_file_and_memory_are_taken_over(self, tmp_path):
        first = publish(tmp_path, using=keys())
        held = open_snapshot(first, vault=keys())
        second = self.linked(tmp_path, held, keys())
        assert (second / "pdq.codes.bin").samefile(first / "pdq.codes.bin")
        opened = open_snapshot(second, held=held, vault=keys())
        assert opened.arrays["pdq.codes"] is held.arrays["pdq.codes"]

    @pytest.mark.parametrize("using", [keys(TWO, ONE), None])
    def test_under_another_key_or_none_it_is_written_anew(self, tmp_path, using):
        held = open_snapshot(publish(tmp_path, using=keys(ONE)), vault=keys(ONE))
        second = self.linked(tmp_path, held, using)
        assert (second / "pdq.codes.bin").stat().st_nlink == 1
        opened = open_snapshot(second, held=held, vault=using and keys(TWO))
        assert (opened.arrays["pdq.codes"] == CODES).all()

    def test_what_lay_in_clear_is_encrypted(self, tmp_path):
        held = open_snapshot(publish(tmp_path))
        second = self.linked(tmp_path, held, keys())
        assert (open_snapshot(second, vault=keys()).arrays["pdq.codes"] == CODES).all()
        assert CODES[1000].tobytes() not in (second / "pdq.codes.bin").read_bytes()

    def test_what_was_written_over_meanwhile_is_not_encrypted(self, tmp_path):
        first = publish(tmp_path)
        held = open_snapshot(first)
        with (first / "pdq.codes.bin").open("r+b") as stream:
            stream.write(b"changed")
        with pytest.raises(SnapshotError, match="changed after it was"):
            self.linked(tmp_path, held, keys())


class TestSweep:
    def test_one_in_clear_does_not_stay_beside_an_encrypted_one(self, tmp_path):
        clear, hidden = publish(tmp_path, 1), publish(tmp_path, 2, using=keys())
        sweep(tmp_path)
        assert (clear.exists(), hidden.exists()) == (False, True)

    def test_one_under_an_older_key_stays(self, tmp_path):
        old, new = publish(tmp_path, 1, using=keys(ONE)), publish(tmp_path, 2, using=keys(TWO, ONE))
        sweep(tmp_path)
        assert (old.exists(), new.exists()) == (True, True)


class TestDamage:
    def refused(self, folder, *words):
        with pytest.raises(SnapshotError) as caught:
            open_snapshot(folder, vault=keys())
        for word in (folder.name, *words):
            assert word in str(caught.value)

    def test_a_file_that_is_cut_off(self, tmp_path):
        folder = publish(tmp_path, using=keys())
        os.truncate(folder / "pdq.codes.bin", 1000)
        self.refused(folder, "pdq.codes.bin", "is cut off")

    @pytest.mark.parametrize("at", [3, 10, 30, 100, -5])
    @pytest.mark.parametrize("file", ["pdq.codes.bin", "lists.json", "empty.bin"])
    def test_a_byte_that_changed(self, tmp_path, file, at):
        folder = publish(tmp_path, using=keys())
        content = bytearray((folder / file).read_bytes())
        content[at if at < len(content) else -1] ^= 4
        (folder / file).write_bytes(content)
        self.refused(folder, file)

    def test_files_that_changed_places_under_a_forged_manifest(self, tmp_path):
        folder = publish(tmp_path, using=keys())
        other = publish(tmp_path, 2, using=keys())
        content = (other / "pdq.codes.bin").read_bytes()
        (folder / "pdq.codes.bin").write_bytes(content)
        self.refused(folder, "pdq.codes.bin", "digest differs")
        record = json.loads((other / "manifest.json").read_bytes())["arrays"]["pdq.codes"]
        rewrite_manifest(folder, lambda found: found["arrays"].update({"pdq.codes": record}))
        self.refused(folder, "manifest.json", "is not authentic")

    @pytest.mark.parametrize(
        "said",
        [None, {}, "key", {"key": "x", "mac": "0" * 64}, {"key": "0" * 16, "mac": 5}],
    )
    def test_a_manifest_that_does_not_say_how(self, tmp_path, said):
        folder = publish(tmp_path, using=keys())
        rewrite_manifest(folder, lambda manifest: manifest.update(encryption=said))
        self.refused(folder, "manifest.json", "how it is encrypted")

    def test_a_manifest_in_clear_that_names_a_key(self, tmp_path):
        folder = publish(tmp_path)
        mac = {"key": "0" * 16, "mac": "0" * 64}
        rewrite_manifest(folder, lambda manifest: manifest.update(encryption=mac))
        self.refused(folder, "manifest.json", "how it is encrypted")

    def test_another_mark_of_the_right_key(self, tmp_path):
        folder = publish(tmp_path, using=keys())
        rewrite_manifest(folder, lambda found: found["encryption"].update(mac="0" * 64))
        self.refused(folder, "manifest.json", "is not authentic")

    def test_no_memory_is_an_error_of_the_snapshot(self, tmp_path, monkeypatch):
        folder = publish(tmp_path, using=keys())

        def refuse(*_):
            raise OSError(12, "Cannot allocate memory")

        monkeypatch.setattr(vault.os, "posix_fallocate", refuse)
        self.refused(folder, "decrypted into memory (Cannot allocate memory)")
