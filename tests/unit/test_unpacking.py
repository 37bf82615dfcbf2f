"""Packed list files: what is read, and what is refused before it can do harm."""

from __future__ import annotations

import gzip
import importlib
import io
import os
import random
import sqlite3
import stat
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

import pytest
import zstandard

from hashlists.errors import FormatError
from hashlists.formats.unpacking import descriptor_of, named, open_parts
from hashlists.formats.unpacking import stream as unpacking_stream
from hashlists.limits import ImportLimits
from tests.archive_support import overlapping_zip, zipped

TEXT = b"md5,size\n" + bytes(random.Random(1).choices(b"0123456789abcdef\n", k=300_000))


def gz(data):
    return gzip.compress(data, mtime=0)


def zst(data, **more):
    return zstandard.ZstdCompressor(**more).compress(data)


def streamed_zst(data):
    """A frame that does not tell its size, in several blocks, with a checksum."""
    out = io.BytesIO()
    packer = zstandard.ZstdCompressor(write_checksum=True)
    with packer.stream_writer(out, closefd=False) as sink:
        for at in range(0, len(data), 50_000):
            sink.write(data[at : at + 50_000])
            sink.flush(zstandard.FLUSH_BLOCK)
    return out.getvalue()


PACKED = {
    "gzip": gz(TEXT),
    "gzip of two members": gz(TEXT[:1000]) + gz(TEXT[1000:]),
    "gzip padded with zeros": gz(TEXT) + bytes(512),
    "zstd": zst(TEXT),
    "zstd of two frames": zst(TEXT[:1000]) + zst(TEXT[1000:]),
    "zstd with a skippable frame": b"\x53\x2a\x4d\x18\x05\x00\x00\x00hello" + zst(TEXT),
    "zstd streamed": streamed_zst(TEXT),
    "zip": zipped({"a.csv": TEXT}),
    "zip stored": zipped({"a.csv": TEXT}, method=zipfile.ZIP_STORED, comment=b"a comment"),
}

#: Where a file may end, too.
WHOLE_BEFORE = {
    "gzip of two members": len(gz(TEXT[:1000])),
    "zstd of two frames": len(zst(TEXT[:1000])),
    "zstd with a skippable frame": 13,
}


def read_all(data, **more):
    return [(part.name, part.stream.read()) for part in open_parts(io.BytesIO(data), **more)]


def refused(data, match, *, limits=None):
    with pytest.raises(FormatError, match=match):
        read_all(data, limits=limits or ImportLimits())


class TestOpened:
    def test_a_plain_file_is_one_part(self):
        stream = io.BytesIO(TEXT)
        parts = open_parts(stream, "list.csv")
        (part,) = parts
        assert (parts.compression, parts.names, part.name) == ("", ("list.csv",), "list.csv")
        assert part.stream is stream
        assert part.packed_bytes == part.packed_read(10**9) == len(TEXT)
        assert part.packed_read(17) == 17

    @pytest.mark.parametrize("name", PACKED)
    def test_what_is_packed_is_what_comes_out(self, name):
        parts = open_parts(io.BytesIO(PACKED[name]))
        ((_, data),) = [(part, part.stream.read()) for part in parts]
        assert data == TEXT
        assert parts.compression == name.split()[0]

    @pytest.mark.parametrize("name", PACKED)
    def test_seeking(self, name):
        chance = random.Random(name)
        for part in open_parts(io.BytesIO(PACKED[name])):
            stream = part.stream
            assert stream.seekable()
            assert stream.readable()
            for _ in range(12):
                at = chance.randrange(len(TEXT) + 10)
                assert stream.seek(at) == min(at, len(TEXT))
                assert stream.read(5) == TEXT[at : at + 5]
            assert stream.seek(0, io.SEEK_END) == len(TEXT)
            assert stream.seek(-3, io.SEEK_END) == len(TEXT) - 3
            assert stream.read() == TEXT[-3:]
            stream.seek(10)
            assert stream.seek(5, io.SEEK_CUR) == 15
            with pytest.raises(ValueError):
                stream.seek(-1)

    @pytest.mark.parametrize("name", ["gzip", "zstd", "zip"])
    def test_progress_counts_packed_bytes(self, name):
        data = PACKED[name]
        for part in open_parts(io.BytesIO(data)):
            seen = [part.packed_read(part.stream.tell())]
            while part.stream.read(1000):
                seen.append(part.packed_read(part.stream.tell()))
            assert seen == sorted(seen)
            assert 0.9 * len(data) < seen[-1] <= part.packed_bytes <= len(data)

    def test_members_come_by_name(self):
        data = zipped({"b.csv": b"2", "a/c.csv": b"1", "c.csv": b"3"})
        assert read_all(data, name="set.zip") == [
            ("set.zip/a/c.csv", b"1"),
            ("set.zip/b.csv", b"2"),
            ("set.zip/c.csv", b"3"),
        ]

    def test_what_systems_add_is_left_aside_and_told(self):
        members = {"a.csv": b"1", "x/": b"", "__MACOSX/._a.csv": b"x", "x/.DS_Store": b"x"}
        parts = open_parts(io.BytesIO(zipped(members)))
        assert list(parts.names) == ["a.csv"]
        assert parts.notes == {
            "folder in the archive left aside": 1,
            "resource fork in the archive left aside": 1,
            "system file in the archive left aside": 1,
        }

    def test_names_that_point_elsewhere_are_only_names(self, tmp_path):
        names = {"/etc/passwd", "../../outside", "C:\\x"}
        parts = dict(read_all(zipped(dict.fromkeys(names, b"1"))))
        assert len(parts) == 3
        assert not list(tmp_path.iterdir())

    def test_names_are_fit_to_be_shown(self):
        digest = "0123456789abcdef" * 2
        members = {f"{digest}.csv": b"1", "a\x1b[31m\n\u202eb": b"2", "x" * 39 + "/y" * 200: b"3"}
        names = [name for name, _ in read_all(zipped(members))]
        assert "(hash).csv" in names
        assert all(len(name) <= 123 and name.isprintable() for name in names)

    def test_a_file_of_nothing(self):
        assert read_all(b"") == [("", b"")]
        assert read_all(gz(b"")) == [("", b"")]


class TestRandomAccess:
    @pytest.mark.parametrize("name", ["gzip", "zstd", "zip"])
    def test_a_database_opens_from_what_was_packed(self, name, tmp_path):
        file = tmp_path / "x.db"
        with sqlite3.connect(file) as database:
            database.execute("create table t (a)")
            database.execute("insert into t values (7)")
        database.close()
        data = file.read_bytes()
        packed = {"gzip": gz(data), "zstd": zst(data), "zip": zipped({"x.db": data})}[name]
        for part in open_parts(io.BytesIO(packed), spool_dir=tmp_path):
            part.stream.seek(3)
            with part.named() as path:
                assert path.parent.stat().st_mode & 0o777 == 0o700
                opened = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
                opened.execute("pragma schema_version")
            assert not path.exists()
            assert opened.execute("select a from t").fetchall() == [(7,)]
            opened.close()
            assert part.stream.tell() == 3
            descriptor = part.descriptor()
            assert stat.S_ISREG(os.fstat(descriptor).st_mode)
            assert os.fstat(descriptor).st_nlink == 0
        assert [each.name for each in tmp_path.iterdir()] == ["x.db"]
        with pytest.raises(OSError):
            os.fstat(descriptor)

    def test_a_plain_file_is_not_copied(self, tmp_path):
        file = tmp_path / "a"
        file.write_bytes(b"abc")
        with file.open("rb") as stream:
            for part in open_parts(stream):
                assert part.descriptor() == stream.fileno()
                with part.named() as path:
                    assert path == file

    def test_what_is_in_memory_is_copied_once_and_goes_with_its_stream(self):
        stream = io.BytesIO(b"abc")
        stream.seek(2)
        descriptor = descriptor_of(stream)
        with named(stream) as path:
            assert path.read_bytes() == b"abc"
        assert (descriptor_of(stream), stream.tell()) == (descriptor, 2)
        del stream
        with pytest.raises(OSError):
            os.fstat(descriptor)

    def test_file_systems_without_nameless_files(self, monkeypatch, tmp_path):
        def unsupported(*_, **__):
            raise OSError(95, "Operation not supported")

        monkeypatch.setattr(unpacking_stream.os, "open", unsupported)
        for part in open_parts(io.BytesIO(gz(TEXT)), spool_dir=tmp_path):
            monkeypatch.undo()
            with part.named() as path:
                assert path.read_bytes() == TEXT
        assert not list(tmp_path.iterdir())

    def test_a_bomb_is_not_written_to_disk(self, monkeypatch):
        monkeypatch.setattr(unpacking_stream, "RATIO_COUNTS_FROM", 1000)
        for part in open_parts(io.BytesIO(gz(bytes(5_000_000)))):
            with pytest.raises(FormatError, match="200 times its size"):
                part.descriptor()
            break

    def test_a_full_disk(self, monkeypatch):
        def full(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(unpacking_stream.shutil, "copyfileobj", full)
        for part in open_parts(io.BytesIO(gz(TEXT))):
            with pytest.raises(FormatError, match="No space left"):
                part.descriptor()
            break


class TestRefused:
    @pytest.mark.parametrize("name", [name for name in PACKED if "padded" not in name])
    def test_cut_off_anywhere(self, name):
        data = PACKED[name]
        chance = random.Random(name)
        lengths = {*range(5, 40), *range(len(data) - 30, len(data) - 1)}
        for length in [*lengths, *(chance.randrange(5, len(data)) for _ in range(10))]:
            if length == WHOLE_BEFORE.get(name):
                continue
            refused(data[:length], "cut off|damaged|behind|does not fit")

    @pytest.mark.parametrize("name", ["gzip", "zstd streamed", "zip", "zip stored"])
    def test_a_damaged_byte(self, name):
        data = bytearray(PACKED[name])
        data[len(data) // 2] ^= 0x10
        refused(bytes(data), "cut off or damaged|damaged")

    @pytest.mark.parametrize("name", ["gzip", "zstd", "zip"])
    def test_something_behind_the_end(self, name):
        refused(PACKED[name] + b"more", "damaged|behind")

    def test_a_reader_that_stops_early_does_not_hide_the_damage(self):
        for data in (PACKED["gzip"][:-1], PACKED["zip"].replace(TEXT[:9], b"")):
            parts = iter(open_parts(io.BytesIO(data[:-3] if data[:2] != b"PK" else data)))
            assert next(parts).stream.read(5) == TEXT[:5]
            if data[:2] != b"PK":
                with pytest.raises(FormatError, match="cut off"):
                    next(parts)
            parts.close()

    @pytest.mark.parametrize("pack", [gz, zst, lambda data: zipped({"a": data})])
    def test_bombs(self, pack, monkeypatch):
        monkeypatch.setattr(unpacking_stream, "RATIO_COUNTS_FROM", 100_000)
        bomb = pack(bytes(20_000_000))
        read = 0
        with pytest.raises(FormatError, match="200 times its size"):  # noqa: PT012
            for part in open_parts(io.BytesIO(bomb)):
                while data := part.stream.read(65536):
                    read += len(data)
        assert read < 200 * len(bomb) + 2**20
        most = ImportLimits(max_unpacked_bytes=1_000_000, max_unpacked_ratio=10**6)
        refused(bomb, "max_unpacked_bytes", limits=most)

    def test_many_small_members_count_together(self, monkeypatch):
        monkeypatch.setattr(unpacking_stream, "RATIO_COUNTS_FROM", 100_000)
        data = zipped({f"{n}": bytes(1_000_000) for n in range(20)})
        refused(data, "200 times its size")

    def test_reading_twice_counts_once(self):
        limits = ImportLimits(max_unpacked_bytes=len(TEXT))
        for part in open_parts(io.BytesIO(gz(TEXT)), limits=limits):
            for _ in range(3):
                part.stream.seek(0)
                assert part.stream.read() == TEXT

    def test_overlapping_members(self):
        refused(overlapping_zip(), "overlap")
        assert len(read_all(overlapping_zip(members=1))) == 1

    def test_archives_within_archives(self):
        inner = zipped({"a": b"1"})
        for data in (gz(inner), zst(gz(b"x")), zipped({"a.zip": inner}), gz(b"\xfd7zXZ\x00")):
            refused(data, "itself packed")
        tar = bytes(257) + b"ustar\x0000" + bytes(300)
        refused(gz(tar), "itself packed")
        refused(tar, "packed with tar")

    @pytest.mark.parametrize(
        ("head", "name"),
        [
            (b"BZh91AY&SY", "bzip2"),
            (b"\xfd7zXZ\x00", "xz"),
            (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
            (b"Rar!\x1a\x07\x00", "RAR"),
        ],
    )
    def test_other_ways_to_pack_are_named(self, head, name):
        refused(head + bytes(100), f"packed with {name}")

    def test_encrypted_members(self):
        data = bytearray(zipped({"a": b"1"}))
        directory = data.index(b"PK\x01\x02")
        data[directory + 8] |= 1
        refused(bytes(data), "encrypted")

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_other_methods(self, method):
        refused(zipped({"a": b"1"}, method=method), "stored or deflated")

    def test_links(self):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            info = zipfile.ZipInfo("a")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
        refused(out.getvalue(), "a link")

    def test_no_file_twice_the_same_or_too_many(self):
        refused(zipped({}), "holds no file")
        refused(zipped({"x/": b""}), "holds no file")
        refused(zipped({"a": b"1", "b": b"2"}), "max_parts", limits=ImportLimits(max_parts=1))
        data = zipped({"a": b"1", "b": b"2"}).replace(b"b", b"a")
        refused(data, "the same name|cut off")

    def test_a_file_without_a_name(self):
        refused(zipped({"a": b"1"}).replace(b"a", b"\x00"), "has no name")

    def test_a_directory_without_measure(self):
        data = zipped({f"{n:0200d}": b"" for n in range(2000)})
        limits = ImportLimits(max_parts=100)
        refused(data, "directory of the ZIP archive is longer", limits=limits)

    def test_a_directory_that_lies(self):
        data = bytearray(zipped({"a": b"1" * 50}, method=zipfile.ZIP_STORED))
        directory = data.index(b"PK\x01\x02")
        longer = bytes(data[: directory + 20]) + struct.pack("<L", 5000) + data[directory + 24 :]
        refused(bytes(longer), "does not fit")
        data[:2] = b"PK"
        data[2:4] = b"\x05\x06"
        refused(bytes(data), "does not fit|cut off")
        refused(b"PK\x07\x08" + bytes(100), "cut off or damaged")

    def test_zstd_with_a_dictionary(self):
        samples = [bytes(random.Random(n).choices(b"abcdef0123", k=400)) for n in range(200)]
        trained = zstandard.train_dictionary(2000, samples)
        refused(zst(TEXT, dict_data=trained), "packed with a dictionary")

    def test_zstd_with_a_huge_window(self):
        parameters = zstandard.ZstdCompressionParameters(window_log=28)
        out = io.BytesIO()
        packer = zstandard.ZstdCompressor(compression_params=parameters)
        with packer.stream_writer(out, closefd=False) as sink:
            sink.write(TEXT)
        refused(out.getvalue(), "window")

    def test_zstd_blocks_that_are_none(self):
        header = zst(b"")[:-3]
        for kind, size in ((3, 1), (0, 2**20)):
            block = (1 | kind << 1 | size << 3).to_bytes(3, "little")
            refused(header + block + bytes(2**20), "damaged")

    def test_no_error_repeats_content(self):
        word = b"SECRETWORDSECRETWORD"
        for data in (gz(word)[:-9] + word, zst(word) + word, zipped({"a": word})[:-5] + word):
            with pytest.raises(FormatError) as caught:
                read_all(data)
            assert "SECRET" not in str(caught.value)


def test_mutated_archives_end_in_bytes_or_a_typed_error(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "fuzz"))
    fuzzer = importlib.import_module("fuzz_unpacking")
    findings, outcomes = fuzzer.fuzz(inputs=1500, seed=11)
    assert findings == []
    assert set(outcomes) == {"read", "refused"}
    assert [fuzzer.read(data) for data in fuzzer.corpus()] == ["read"] * 4


def test_temporary_files_go_where_they_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    for part in open_parts(io.BytesIO(gz(TEXT)), spool_dir=tmp_path):
        with part.named() as path:
            assert path.read_bytes() == TEXT
            assert tmp_path in path.parents
    assert zlib.crc32(TEXT)
