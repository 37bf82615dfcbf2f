"""Snapshots: what is written comes back, and nothing that was not verified is handed out."""

from __future__ import annotations

import errno
import gc
import hashlib
import json
import os
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest

from hashlists.errors import SnapshotError
from hashlists.snapshot import (
    SnapshotWriter,
    current_name,
    current_revision,
    open_current,
    open_snapshot,
    reader,
    sweep,
)
from hashlists.snapshot import manifest as manifests
from hashlists.snapshot import writer as writing


def publish(root: Path, revision: int = 1, **keywords: bool) -> Path:
    with SnapshotWriter(root, revision=revision) as writer:
        writer.add_array("pdq.codes", np.arange(96, dtype=np.uint8).reshape(3, 32))
        writer.add_array("entries.size", np.array([-1, revision], np.int64))
        writer.add_array("empty", np.empty((0, 32), np.uint8))
        writer.add_document("lists", [{"name": "one"}, None, 1.5])
        return writer.publish({"built": "test"}, **keywords)


def rewrite_manifest(folder: Path, change) -> None:
    """Changes a manifest and gives it a right digest again, as a forger would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_bytes())
    del manifest["sha256"]
    change(manifest)
    manifest["sha256"] = manifests.digest_of_manifest(manifest)
    path.write_bytes(manifests.manifest_bytes(manifest))


def refused(folder: Path, *words: str) -> str:
    with pytest.raises(SnapshotError) as caught:
        open_snapshot(folder)
    message = str(caught.value)
    for word in (folder.name, *words):
        assert word in message
    return message


class TestRoundTrip:
    def test_what_is_written_is_opened(self, tmp_path):
        folder = publish(tmp_path / "snapshots", revision=7)
        opened = open_current(tmp_path / "snapshots")
        assert opened is not None
        assert (opened.path, opened.revision) == (folder, 7)
        assert opened.documents == {"lists": [{"name": "one"}, None, 1.5]}
        assert opened.manifest["parameters"] == {"built": "test"}
        assert opened.arrays["pdq.codes"].tolist() == np.arange(96).reshape(3, 32).tolist()
        assert opened.arrays["entries.size"].tolist() == [-1, 7]
        assert opened.arrays["empty"].shape == (0, 32)
        assert current_revision(tmp_path / "snapshots") == 7
        assert current_name(tmp_path / "snapshots") == folder.name

    def test_an_empty_snapshot(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=0) as writer:
            writer.publish({})
        opened = open_current(tmp_path)
        assert opened is not None
        assert (dict(opened.arrays), dict(opened.documents), opened.revision) == ({}, {}, 0)

    def test_arrays_cannot_be_written_to(self, tmp_path):
        opened = open_snapshot(publish(tmp_path))
        for array in opened.arrays.values():
            with pytest.raises(ValueError):
                array[...] = 0
        with pytest.raises(ValueError):
            opened.arrays["pdq.codes"].flags.writeable = True
        with pytest.raises(TypeError):
            opened.arrays["other"] = None

    def test_big_endian_and_strided_arrays_keep_their_values(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            writer.add_array("big", np.array([1, 258], ">u4"))
            writer.add_array("strided", np.arange(12, dtype=np.int32).reshape(3, 4).T[::2])
            writer.add_array("scalar", np.array(5, np.float64))
            folder = writer.publish({})
        arrays = open_snapshot(folder).arrays
        assert arrays["big"].tolist() == [1, 258]
        assert arrays["strided"].tolist() == np.arange(12).reshape(3, 4).T[::2].tolist()
        assert arrays["scalar"].shape == ()
        assert arrays["scalar"] == 5

    def test_only_the_owner_can_read(self, tmp_path):
        before = os.umask(0)
        try:
            folder = publish(tmp_path / "snapshots")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "snapshots").stat().st_mode) == 0o700
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = [*folder.iterdir(), tmp_path / "snapshots" / "current"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}

    def test_the_text_of_a_snapshot_shows_no_content(self, tmp_path):
        opened = open_snapshot(publish(tmp_path))
        assert "lists" not in repr(opened)
        assert "array" not in repr(opened)

    def test_a_mapping_outlives_the_removal_of_its_file(self, tmp_path):
        opened = open_snapshot(publish(tmp_path))
        shutil.rmtree(opened.path)
        assert int(opened.arrays["pdq.codes"].sum()) == 95 * 96 // 2


class TestWriter:
    @pytest.mark.parametrize(
        "name",
        ["", ".", "..", "a/b", "../a", "A", "a..b", ".a", "a.", "a\n", "ä", "manifest", "a" * 41],
    )
    def test_names_that_could_leave_the_folder_are_refused(self, tmp_path, name):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            with pytest.raises(ValueError):
                writer.add_array(name, np.zeros(1, np.uint8))
            with pytest.raises(ValueError):
                writer.add_document(name, {})

    def test_a_name_is_used_once(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            writer.add_array("a", np.zeros(1, np.uint8))
            with pytest.raises(ValueError, match="already"):
                writer.add_document("a", {})

    @pytest.mark.parametrize(
        "array",
        [
            np.array(["text"]),
            np.array([object()]),
            np.zeros(1, np.complex128),
            np.zeros(1, "M8[s]"),
            np.zeros((1,) * 9, np.uint8),
        ],
        ids=["text", "object", "complex", "date", "axes"],
    )
    def test_only_plain_numbers_are_written(self, tmp_path, array):
        with SnapshotWriter(tmp_path, revision=1) as writer, pytest.raises(ValueError):
            writer.add_array("a", array)

    @pytest.mark.parametrize("obj", [float("nan"), {1, 2}, b"bytes"], ids=["nan", "set", "bytes"])
    def test_only_json_is_written(self, tmp_path, obj):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            with pytest.raises(ValueError):
                writer.add_document("a", obj)
            with pytest.raises(ValueError):
                writer.publish({"a": obj})
        assert list(tmp_path.iterdir()) == []

    def test_without_publishing_nothing_is_left(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            writer.add_array("a", np.zeros(10, np.uint8))
            writer.abort()
            writer.abort()
        assert list(tmp_path.iterdir()) == []
        assert open_current(tmp_path) is None

    def test_an_error_in_the_block_leaves_nothing(self, tmp_path):
        writer = SnapshotWriter(tmp_path, revision=1)
        with pytest.raises(ValueError), writer:
            writer.add_array("a", np.array([object()]))
        assert list(tmp_path.iterdir()) == []

    def test_a_closed_writer_says_so(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            folder = writer.publish({})
            with pytest.raises(ValueError, match="closed"):
                writer.add_array("a", np.zeros(1, np.uint8))
            with pytest.raises(ValueError, match="closed"):
                writer.publish({})
        assert open_snapshot(folder).revision == 1

    @pytest.mark.parametrize("revision", [-1, 2**63])
    def test_revisions_have_a_range(self, tmp_path, revision):
        with pytest.raises(ValueError, match="revision"):
            SnapshotWriter(tmp_path, revision=revision)

    def test_an_older_revision_is_not_published_by_accident(self, tmp_path):
        newer = publish(tmp_path, 5)
        with pytest.raises(SnapshotError, match="allow_older"):
            publish(tmp_path, 4)
        assert open_current(tmp_path).path == newer
        again = publish(tmp_path, 5)
        assert again != newer
        older = publish(tmp_path, 4, allow_older=True)
        assert open_current(tmp_path).path == older

    def test_a_damaged_pointer_is_written_over(self, tmp_path):
        publish(tmp_path, 5)
        (tmp_path / "current").write_text("damaged")
        publish(tmp_path, 1)
        assert current_revision(tmp_path) == 1

    def test_a_failure_to_lock_leaves_nothing(self, tmp_path, monkeypatch):
        opened = writing.open_folder

        def open_folder(folder: Path) -> int:
            if folder.name.startswith(".writing-"):
                raise OSError("no more files")
            return opened(folder)

        monkeypatch.setattr(writing, "open_folder", open_folder)
        with pytest.raises(OSError, match="no more files"):
            SnapshotWriter(tmp_path, revision=1)
        assert list(tmp_path.iterdir()) == []


class TestParts:
    def test_parts_are_one_array(self, tmp_path):
        parts = [
            np.arange(6, dtype=">u4").reshape(3, 2),
            np.empty((0, 2), ">u4"),
            np.ones((1, 2), ">u4"),
        ]
        with SnapshotWriter(tmp_path, revision=1) as writer:
            writer.add_array_in_parts("rows", iter(parts), dtype=">u4", row_shape=(2,))
            writer.add_array_in_parts("none", [], dtype=np.int64)
            mapped = writer.map_array("rows")
            assert mapped.tolist() == np.concatenate(parts).tolist()
            assert not mapped.flags.writeable
            assert writer.map_array("none").shape == (0,)
            folder = writer.publish({})
        arrays = open_snapshot(folder).arrays
        assert arrays["rows"].tolist() == np.concatenate(parts).tolist()
        assert arrays["rows"].dtype == np.dtype("<u4")
        assert (arrays["none"].shape, arrays["none"].dtype) == ((0,), np.int64)

    @pytest.mark.parametrize(
        "part",
        [np.zeros((1, 2), np.uint8), np.zeros((1, 3), np.uint32), np.zeros(2, np.uint32)],
        ids=["dtype", "width", "axes"],
    )
    def test_a_part_of_another_form_leaves_nothing(self, tmp_path, part):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            with pytest.raises(ValueError, match="part"):
                writer.add_array_in_parts("a", [part], dtype=np.uint32, row_shape=(2,))
            writer.add_array("a", np.zeros(1, np.uint8))
            folder = writer.publish({})
        assert open_snapshot(folder).arrays["a"].tolist() == [0]

    def test_only_what_was_written_is_mapped(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            with pytest.raises(ValueError, match="no array"):
                writer.map_array("a")
            writer.add_array("a", np.zeros(1, np.uint8))
            writer.publish({})
            with pytest.raises(ValueError, match="closed"):
                writer.map_array("a")


class TestLinks:
    """Arrays that two snapshots share."""

    def linked(
        self, root: Path, source, name: str = "pdq.codes", origin: str | None = None
    ) -> Path:
        with SnapshotWriter(root, revision=2) as writer:
            writer.link_array(name, source, origin)
            writer.add_array("own", np.ones(3, np.uint8))
            return writer.publish({})

    def test_a_link_is_the_same_file_and_the_same_array(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        folder = self.linked(tmp_path, source)
        file = folder / "pdq.codes.bin"
        assert file.samefile(source.path / "pdq.codes.bin")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        shared = open_current(tmp_path, held=source)
        assert shared.arrays["pdq.codes"] is source.arrays["pdq.codes"]
        alone = open_current(tmp_path)
        assert alone.arrays["pdq.codes"] is not source.arrays["pdq.codes"]
        assert alone.arrays["pdq.codes"].tolist() == source.arrays["pdq.codes"].tolist()

    def test_under_another_name(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        opened = open_snapshot(self.linked(tmp_path, source, "other", "pdq.codes"), held=source)
        assert opened.arrays["other"] is source.arrays["pdq.codes"]

    def test_what_is_held_is_not_read_again(self, tmp_path, monkeypatch):
        source = open_snapshot(publish(tmp_path))
        folder = self.linked(tmp_path, source)
        checked = []
        monkeypatch.setattr(
            reader, "_check_digest", lambda _, record, __: checked.append(record.file)
        )
        open_snapshot(folder, held=source)
        assert checked == ["own.bin"]

    def test_the_source_may_be_swept_meanwhile(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        shutil.rmtree(source.path)
        opened = open_snapshot(self.linked(tmp_path, source))
        assert opened.arrays["pdq.codes"].tolist() == source.arrays["pdq.codes"].tolist()

    def test_a_link_outlives_the_sweep_of_its_source(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        folder = self.linked(tmp_path, source)
        sweep(tmp_path, keep_previous=False)
        assert not source.path.exists()
        assert open_snapshot(folder).arrays["pdq.codes"].shape == (3, 32)

    def test_from_another_root_it_is_copied(self, tmp_path):
        source = open_snapshot(publish(tmp_path / "one"))
        folder = self.linked(tmp_path / "two", source)
        assert (folder / "pdq.codes.bin").stat().st_nlink == 1
        opened = open_snapshot(folder, held=source)
        assert opened.arrays["pdq.codes"] is not source.arrays["pdq.codes"]
        assert opened.arrays["pdq.codes"].tolist() == source.arrays["pdq.codes"].tolist()

    @pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
    def test_where_linking_is_refused_it_is_copied(self, tmp_path, monkeypatch, number):
        source = open_snapshot(publish(tmp_path))

        def refused(*arguments, **keywords):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "link", refused)
        folder = self.linked(tmp_path, source)
        assert (folder / "pdq.codes.bin").stat().st_nlink == 1
        opened = open_snapshot(folder)
        assert opened.arrays["pdq.codes"].tolist() == source.arrays["pdq.codes"].tolist()

    def test_another_error_is_told(self, tmp_path, monkeypatch):
        source = open_snapshot(publish(tmp_path))

        def failing(*arguments, **keywords):
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "link", failing)
        with pytest.raises(OSError, match="Input/output"):
            self.linked(tmp_path, source)

    def test_a_file_that_was_put_in_its_place_is_not_linked(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        file = source.path / "pdq.codes.bin"
        file.rename(tmp_path / "kept")
        file.write_bytes(bytes(96))
        opened = open_snapshot(self.linked(tmp_path, source))
        assert opened.arrays["pdq.codes"].tolist() == source.arrays["pdq.codes"].tolist()

    def test_a_file_that_was_written_over_is_neither_linked_nor_copied(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        with (source.path / "pdq.codes.bin").open("r+b") as file:
            file.write(b"\xff")
        os.utime(source.path / "pdq.codes.bin", ns=(1, 1))
        with pytest.raises(SnapshotError, match="changed after it was verified"):
            self.linked(tmp_path, source)

    def test_a_held_file_that_was_touched_is_verified_again(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        folder = self.linked(tmp_path, source)
        with (source.path / "pdq.codes.bin").open("r+b") as file:
            file.write(b"\xff")
        os.utime(source.path / "pdq.codes.bin", ns=(1, 1))
        with pytest.raises(SnapshotError, match="digest"):
            open_snapshot(folder, held=source)

    @pytest.mark.parametrize(
        "change", [{"sha256": "0" * 64}, {"shape": [32, 3]}, {"dtype": "|i1"}], ids=str
    )
    def test_a_record_that_says_otherwise_is_not_taken_over(self, tmp_path, change):
        source = open_snapshot(publish(tmp_path))
        folder = self.linked(tmp_path, source)
        rewrite_manifest(folder, lambda manifest: manifest["arrays"]["pdq.codes"].update(change))
        if "sha256" in change:
            with pytest.raises(SnapshotError, match="digest"):
                open_snapshot(folder, held=source)
        else:
            opened = open_snapshot(folder, held=source)
            assert opened.arrays["pdq.codes"] is not source.arrays["pdq.codes"]

    def test_empty_arrays_are_not_shared(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        opened = open_snapshot(self.linked(tmp_path, source, "empty"), held=source)
        assert opened.arrays["empty"] is not source.arrays["empty"]
        assert opened.arrays["empty"].shape == (0, 32)

    def test_names_are_checked(self, tmp_path):
        source = open_snapshot(publish(tmp_path))
        with SnapshotWriter(tmp_path, revision=2) as writer:
            with pytest.raises(ValueError, match="no array"):
                writer.link_array("missing", source)
            with pytest.raises(ValueError, match="cannot name"):
                writer.link_array("../x", source, "pdq.codes")
            writer.link_array("pdq.codes", source)
            with pytest.raises(ValueError, match="already"):
                writer.link_array("pdq.codes", source)


class TestThreads:
    """Much to read is verified by two threads."""

    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(reader, "_WORTH_A_THREAD", 1)
        return publish(tmp_path)

    def test_all_is_verified(self, folder):
        assert open_snapshot(folder).arrays["pdq.codes"].shape == (3, 32)

    @pytest.mark.parametrize("file", ["pdq.codes.bin", "entries.size.bin"])
    def test_damage_is_found(self, folder, file):
        data = bytearray((folder / file).read_bytes())
        data[-1] ^= 1
        (folder / file).write_bytes(data)
        refused(folder, file, "digest")


class TestRefusals:
    def test_nothing_published(self, tmp_path):
        assert open_current(tmp_path) is None
        assert open_current(tmp_path / "missing") is None
        assert current_revision(tmp_path / "missing") is None
        assert current_name(tmp_path / "missing") is None

    def test_a_missing_folder(self, tmp_path):
        refused(tmp_path / "snapshot-x", "cannot be read")

    def test_a_file_in_place_of_the_folder(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        refused(tmp_path / "file", "cannot be read")
        with pytest.raises(SnapshotError, match="the folder of snapshots"):
            open_current(tmp_path / "file")

    def test_an_empty_folder(self, tmp_path):
        (tmp_path / "empty").mkdir()
        refused(tmp_path / "empty", "manifest.json", "is missing")

    @pytest.mark.parametrize("content", [b"[]", b'{"format": "other"}', b"null", b"1"])
    def test_a_foreign_manifest(self, tmp_path, content):
        folder = publish(tmp_path)
        (folder / "manifest.json").write_bytes(content)
        refused(folder, "manifest.json", "not the manifest of a Hashwarden snapshot")

    @pytest.mark.parametrize("content", [b"", b"\x00", b"[" * 100_000, b'{"a": 1', b"\xff\xfe"])
    def test_an_unreadable_manifest(self, tmp_path, content):
        folder = publish(tmp_path)
        (folder / "manifest.json").write_bytes(content)
        refused(folder, "manifest.json", "is not readable JSON")

    @pytest.mark.parametrize(
        "content",
        [
            b'{"format": "hashwarden-snapshot", "version": 1, "a": NaN}',
            b'{"format": "hashwarden-snapshot", "version": 1, "a": 1e999}',
            b'{"format": "hashwarden-snapshot", "version": 1, "a": '
            + b"[" * 700
            + b"]" * 700
            + b"}",
        ],
        ids=["nan", "infinity", "nested"],
    )
    def test_a_manifest_that_no_writer_wrote(self, tmp_path, content):
        folder = publish(tmp_path)
        (folder / "manifest.json").write_bytes(content)
        refused(folder, "manifest.json", "damaged")

    @pytest.mark.parametrize("version", [3, 0, "1", None, True, 1.0])
    def test_another_version(self, tmp_path, version):
        folder = publish(tmp_path)
        rewrite_manifest(folder, lambda manifest: manifest.update(version=version))
        refused(folder, "manifest.json", "version", "rebuild")

    def test_a_huge_manifest_is_not_read(self, tmp_path, monkeypatch):
        folder = publish(tmp_path)
        monkeypatch.setattr(manifests, "MAX_MANIFEST_BYTES", 100)
        refused(folder, "manifest.json", "too long")

    def test_manifest_bytes_must_be_canonical(self, tmp_path):
        folder = publish(tmp_path)
        path = folder / "manifest.json"
        path.write_bytes(path.read_bytes() + b" ")
        refused(folder, "manifest.json", "damaged")

    @pytest.mark.parametrize("file", ["pdq.codes.bin", "empty.bin", "lists.json"])
    def test_a_missing_file(self, tmp_path, file):
        folder = publish(tmp_path)
        (folder / file).unlink()
        refused(folder, file, "is missing")

    def test_a_file_that_is_not_listed(self, tmp_path):
        folder = publish(tmp_path)
        (folder / "sha1.leads.bin").write_bytes(b"")
        refused(folder, "sha1.leads.bin", "not in the manifest")

    @pytest.mark.parametrize("file", ["pdq.codes.bin", "lists.json"])
    def test_cut_off_and_too_long_files(self, tmp_path, file):
        folder = publish(tmp_path)
        path = folder / file
        data = path.read_bytes()
        path.write_bytes(data[:-1])
        refused(folder, file, "cut off", f"{len(data) - 1} bytes")
        path.write_bytes(b"")
        refused(folder, file, "cut off")
        path.write_bytes(data + b"\x00")
        refused(folder, file, "too long")
        path.write_bytes(data)
        assert open_snapshot(folder).revision == 1

    def test_content_where_none_should_be(self, tmp_path):
        folder = publish(tmp_path)
        (folder / "empty.bin").write_bytes(b"\x00")
        refused(folder, "empty.bin", "too long")

    def test_swapped_files(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            writer.add_array("a", np.zeros(8, np.uint8))
            writer.add_array("b", np.ones(8, np.uint8))
            folder = writer.publish({})
        shutil.copy(folder / "a.bin", folder / "b.bin")
        refused(folder, "b.bin", "digest")

    def test_links_pipes_and_folders_are_not_followed(self, tmp_path):
        folder = publish(tmp_path)
        path = folder / "pdq.codes.bin"
        shutil.copy(path, tmp_path / "elsewhere")
        path.unlink()
        path.symlink_to(tmp_path / "elsewhere")
        refused(folder, "pdq.codes.bin", "cannot be read")
        path.unlink()
        os.mkfifo(path)
        refused(folder, "pdq.codes.bin", "not a regular file")
        path.unlink()
        path.mkdir()
        refused(folder, "pdq.codes.bin", "not a regular file")

    @pytest.mark.parametrize(
        ("section", "name", "change", "word"),
        [
            ("arrays", "pdq.codes", {"file": "../../secret"}, "may not have"),
            ("arrays", "pdq.codes", {"file": "entries.size.bin"}, "may not have"),
            ("arrays", "pdq.codes", {"file": None}, "may not have"),
            ("documents", "lists", {"file": "manifest.json"}, "may not have"),
            ("arrays", "pdq.codes", {"shape": [4, 32]}, "cannot hold"),
            ("arrays", "pdq.codes", {"dtype": "<u2"}, "cannot hold"),
            ("arrays", "pdq.codes", {"dtype": "|O"}, "dtype"),
            ("arrays", "pdq.codes", {"dtype": ">u4"}, "dtype"),
            ("arrays", "pdq.codes", {"dtype": ["|u1"]}, "dtype"),
            ("arrays", "pdq.codes", {"shape": [-3, -32]}, "malformed shape"),
            ("arrays", "pdq.codes", {"shape": [96.0]}, "malformed shape"),
            ("arrays", "pdq.codes", {"shape": 96}, "malformed shape"),
            ("arrays", "pdq.codes", {"shape": [1] * 9}, "malformed shape"),
            ("arrays", "pdq.codes", {"shape": [True, 96]}, "malformed shape"),
            ("arrays", "pdq.codes", {"shape": [2**64, 0]}, "malformed shape"),
            ("arrays", "empty", {"shape": [0, 2**62, 2**62]}, "cannot be mapped"),
            ("arrays", "pdq.codes", {"bytes": -1}, "malformed size"),
            ("arrays", "pdq.codes", {"bytes": "96"}, "malformed size"),
            ("arrays", "pdq.codes", {"sha256": "0" * 63}, "malformed size"),
            ("arrays", "pdq.codes", {"sha256": None}, "malformed size"),
            ("arrays", "pdq.codes", {"sha256": "0" * 64}, "digest"),
            ("documents", "lists", {"bytes": 3}, "too long"),
        ],
    )
    def test_manifests_that_lie_with_a_right_digest(self, tmp_path, section, name, change, word):
        folder = publish(tmp_path)
        rewrite_manifest(folder, lambda manifest: manifest[section][name].update(change))
        refused(folder, word)

    @pytest.mark.parametrize(
        ("change", "word"),
        [
            (lambda m: m.update(arrays=[]), "no arrays"),
            (lambda m: m.pop("documents"), "no documents"),
            (lambda m: m.update(revision=-1), "no revision"),
            (lambda m: m["arrays"].update({"../x": {}}), "malformed record"),
            (lambda m: m["arrays"].update({"x": 3}), "malformed record"),
            (lambda m: m["arrays"].pop("pdq.codes"), "not in the manifest"),
            (
                lambda m: m["documents"].update(
                    manifest={"file": "manifest.json", "bytes": 1, "sha256": "0" * 64},
                ),
                "may not have",
            ),
        ],
    )
    def test_malformed_manifests_with_a_right_digest(self, tmp_path, change, word):
        folder = publish(tmp_path)
        rewrite_manifest(folder, change)
        refused(folder, word)

    def test_a_document_that_is_not_json(self, tmp_path):
        folder = publish(tmp_path)
        data = b"{not json"
        (folder / "lists.json").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        rewrite_manifest(
            folder,
            lambda m: m["documents"]["lists"].update(bytes=len(data), sha256=digest),
        )
        refused(folder, "lists.json", "not readable JSON")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_stays_open(tmp_path):
    """A builder publishes for years: each file it left open would bring it nearer to its limit."""
    publish(tmp_path, 1)
    gc.collect()  # what other tests left
    before = open_files()
    for revision in range(2, 12):
        publish(tmp_path, revision)
        with SnapshotWriter(tmp_path, revision=revision):
            pass
        sweep(tmp_path)
        open_current(tmp_path)
    assert open_files() == before


class TestPointer:
    @pytest.mark.parametrize(
        "change",
        [
            {"snapshot": "../elsewhere"},
            {"snapshot": "snapshot-000000000001-0000000000000000/.."},
            {"snapshot": 3},
            {"revision": "1"},
            {"manifest_sha256": "short"},
            {"previous": "../elsewhere"},
            {"extra": 1},
        ],
    )
    def test_a_forged_pointer_is_refused(self, tmp_path, change):
        publish(tmp_path)
        path = tmp_path / "current"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(SnapshotError, match="current"):
            open_current(tmp_path)

    @pytest.mark.parametrize("content", [b"", b"[]", b"{", b"x" * 5000])
    def test_a_damaged_pointer_is_refused_and_nothing_is_swept(self, tmp_path, content):
        folder = publish(tmp_path)
        (tmp_path / "current").write_bytes(content)
        with pytest.raises(SnapshotError, match="current"):
            open_current(tmp_path)
        with pytest.raises(SnapshotError):
            current_revision(tmp_path)
        sweep(tmp_path)
        assert open_snapshot(folder).revision == 1

    def test_the_published_one_is_damaged(self, tmp_path):
        folder = publish(tmp_path)
        (folder / "pdq.codes.bin").write_bytes(bytes(96))
        with pytest.raises(SnapshotError, match="pdq"):
            open_current(tmp_path)

    def test_the_published_folder_holds_another_snapshot(self, tmp_path):
        first, second = publish(tmp_path, 1), publish(tmp_path, 2)
        shutil.rmtree(second)
        shutil.copytree(first, second)
        with pytest.raises(SnapshotError, match="not the published one"):
            open_current(tmp_path)

    def test_a_snapshot_replaced_while_it_is_opened(self, tmp_path, monkeypatch):
        publish(tmp_path, 1)
        opened = reader.open_snapshot

        def slow(path: Path, **held):
            monkeypatch.setattr(reader, "open_snapshot", opened)
            publish(tmp_path, 2)
            publish(tmp_path, 3)
            sweep(tmp_path)
            return opened(path, **held)

        monkeypatch.setattr(reader, "open_snapshot", slow)
        assert open_current(tmp_path).revision == 3

    def test_a_snapshot_that_is_replaced_again_and_again(self, tmp_path, monkeypatch):
        publish(tmp_path, 1)

        def never(path: Path, **held):
            publish(tmp_path, 1)
            raise SnapshotError("gone")

        monkeypatch.setattr(reader, "open_snapshot", never)
        with pytest.raises(SnapshotError, match="faster"):
            open_current(tmp_path)

    def test_a_pointer_that_vanishes_while_it_is_followed(self, tmp_path, monkeypatch):
        publish(tmp_path, 1)

        def vanish(path: Path, **held):
            (tmp_path / "current").unlink()
            raise SnapshotError("gone")

        monkeypatch.setattr(reader, "open_snapshot", vanish)
        assert open_current(tmp_path) is None


class TestSweep:
    def test_the_current_and_the_one_before_stay(self, tmp_path):
        folders = [publish(tmp_path, revision) for revision in (1, 2, 3)]
        sweep(tmp_path)
        assert [folder.exists() for folder in folders] == [False, True, True]
        assert open_current(tmp_path).revision == 3

    def test_after_a_purge_the_one_before_goes_too(self, tmp_path):
        folders = [publish(tmp_path, revision) for revision in (1, 2)]
        sweep(tmp_path, keep_previous=False)
        assert [folder.exists() for folder in folders] == [False, True]

    @pytest.mark.parametrize(
        ("before", "after", "stays"),
        [
            ({}, {}, True),
            ({"catalog_id": "a", "purge_mark": "1"}, {"catalog_id": "a", "purge_mark": "1"}, True),
            ({"catalog_id": "a", "purge_mark": "1"}, {"catalog_id": "a", "purge_mark": "2"}, False),
            ({"catalog_id": "a", "purge_mark": "1"}, {"catalog_id": "a", "purge_mark": ""}, False),
            ({"catalog_id": "a", "purge_mark": ""}, {"catalog_id": "b", "purge_mark": ""}, False),
        ],
    )
    def test_the_one_before_goes_where_something_was_purged_since(
        self, tmp_path, before, after, stays
    ):
        folders = []
        for revision, parameters in enumerate((before, after)):
            with SnapshotWriter(tmp_path, revision=revision) as writer:
                folders.append(writer.publish(parameters))
        sweep(tmp_path)
        assert [folder.exists() for folder in folders] == [stays, True]

    def test_what_cannot_be_told_free_of_it_goes(self, tmp_path):
        folders = [publish(tmp_path, revision) for revision in (1, 2)]
        (folders[0] / "manifest.json").write_bytes(b"{}")
        sweep(tmp_path)
        assert [folder.exists() for folder in folders] == [False, True]

    def test_beside_a_damaged_one_the_one_before_stays(self, tmp_path):
        folders = [publish(tmp_path, revision) for revision in (1, 2)]
        (folders[1] / "manifest.json").unlink()
        sweep(tmp_path)
        assert all(folder.exists() for folder in folders)

    def test_a_living_writer_is_left_alone(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            writer.add_array("a", np.zeros(1, np.uint8))
            sweep(tmp_path)
            writer.publish({})
        assert open_current(tmp_path).revision == 1

    def test_leftovers_go_and_strangers_stay(self, tmp_path):
        folder = publish(tmp_path)
        (tmp_path / ".writing-dead").mkdir()
        (tmp_path / ".writing-dead" / "a.bin").write_bytes(b"x")
        (tmp_path / ".current-dead").write_bytes(b"x")
        (tmp_path / "notes.txt").write_bytes(b"x")
        (tmp_path / "other").mkdir()
        target = tmp_path / "other"
        (tmp_path / "snapshot-000000000000-0123456789abcdef").symlink_to(target)
        sweep(tmp_path)
        assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
            [
                "current",
                folder.name,
                "notes.txt",
                "other",
                "snapshot-000000000000-0123456789abcdef",
            ],
        )

    def test_unpublished_snapshots_go(self, tmp_path):
        folder = publish(tmp_path)
        (tmp_path / "current").unlink()
        sweep(tmp_path)
        assert not folder.exists()

    def test_a_missing_root_is_no_error(self, tmp_path):
        sweep(tmp_path / "missing")
