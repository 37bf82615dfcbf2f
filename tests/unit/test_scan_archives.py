"""Members of archives: what is taken out, what is not, and what they may cost."""

from __future__ import annotations

import gzip
import importlib
import io
import random
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
import zlib
from pathlib import Path

import pytest

from matcher.hashing.digests import digest_bytes
from matcher.model import NotHashableReason
from matcher.scan.model import Content, FailureReason, Listed
from matcher.scan.sources.archives import (
    ArchiveLimits,
    ArchiveProblem,
    Member,
    is_archive,
    members,
)

FILES = {
    "one.jpg": b"the first picture " * 10,
    "folder/two.png": bytes(range(256)) * 40,
    "ünï/日本.gif": b"third",
    "empty.bin": b"",
}


def content(data: bytes | None, key: str = "some/archive.zip") -> Content:
    return Content(Listed(key), data)


def taken(data: bytes, key: str = "archive.zip", **limits: int) -> tuple[dict, list]:
    """The members by name, and the problems."""
    found = list(members(content(data, key), ArchiveLimits(**limits)))
    good = {each.path: each.data for each in found if isinstance(each, Member)}
    return good, [each for each in found if isinstance(each, ArchiveProblem)]


def make_zip(files=FILES, method=zipfile.ZIP_DEFLATED, *, folders: bool = True) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        if folders:
            archive.writestr("folder/", b"")
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def make_tar(files=FILES, *, form=tarfile.PAX_FORMAT, mtime: float = 1_000_000_000) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(data), mtime
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        fifo = tarfile.TarInfo("fifo")
        fifo.type = tarfile.FIFOTYPE
        archive.addfile(fifo)
    return out.getvalue()


ARCHIVES = {
    "stored.zip": make_zip(method=zipfile.ZIP_STORED),
    "deflated.zip": make_zip(),
    "pax.tar": make_tar(),
    "gnu.tar": make_tar(form=tarfile.GNU_FORMAT),
    "ustar.tar": make_tar(form=tarfile.USTAR_FORMAT),
    "packed.tar.gz": gzip.compress(make_tar()),
    "two-streams.tgz": gzip.compress(make_tar()[:5000]) + gzip.compress(make_tar()[5000:]),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_takes_out_each_file(name: str) -> None:
    good, problems = taken(ARCHIVES[name], name)
    assert good == FILES
    assert problems == []


def test_tar_tells_times_and_zip_does_not() -> None:
    of_tar = list(members(content(ARCHIVES["pax.tar"]), ArchiveLimits()))
    assert {each.modified for each in of_tar} == {1_000_000_000.0}
    of_zip = list(members(content(ARCHIVES["stored.zip"]), ArchiveLimits()))
    assert {each.modified for each in of_zip} == {None}


@pytest.mark.parametrize("mtime", [-5, float("1e300")])
def test_times_that_are_none_are_left_out(mtime: float) -> None:
    data = make_tar({"a": b"x"}, mtime=mtime)
    (member,) = members(content(data, "a.tar"), ArchiveLimits())
    assert isinstance(member, Member)
    assert member.modified is None


def test_a_gz_file_holds_one_member() -> None:
    good, problems = taken(gzip.compress(b"picture"), "folder/photo.jpg.gz")
    assert (good, problems) == ({"photo.jpg": b"picture"}, [])
    good, _ = taken(gzip.compress(b"picture"), ".gz")
    assert good == {"(unnamed)": b"picture"}
    good, _ = taken(gzip.compress(b"a") + gzip.compress(b"b"), "strange.zip")
    assert good == {"strange.zip": b"ab"}


def test_what_is_an_archive_by_its_name() -> None:
    assert all(map(is_archive, ("a.zip", "A.ZIP", "b/c.tar", "c.tar.gz", "d.TGZ", "e.jpg.gz")))
    assert not any(map(is_archive, ("a.jpg", "zip", "a.zip.txt", "a.tar.bz2", "a.docx")))


def test_an_archive_beyond_the_limit_is_not_opened() -> None:
    for asked in (content(None), content(b"x" * 11)):
        (problem,) = members(asked, ArchiveLimits(archive_bytes=10))
        assert isinstance(problem, ArchiveProblem)
        assert problem.reason is FailureReason.ARCHIVE_LIMIT
        assert "10 bytes" in problem.detail


def test_what_is_no_archive() -> None:
    for data in (b"", b"no archive at all" * 100, b"PK", bytes(512), bytes(2048)):
        good, (problem,) = taken(data)
        assert good == {}
        assert problem.reason is FailureReason.ARCHIVE_DAMAGED


@pytest.mark.parametrize("name", ARCHIVES)
def test_limit_of_entries_keeps_what_came_before(name: str) -> None:
    good, (problem,) = taken(ARCHIVES[name], name, members=3)
    assert list(good.items()) == list(FILES.items())[:2]
    assert (problem.reason, problem.path) == (FailureReason.ARCHIVE_LIMIT, "")
    entries = 5 if name.endswith(".zip") else 7
    assert taken(ARCHIVES[name], name, members=entries) == (FILES, [])


@pytest.mark.parametrize("name", ["deflated.zip", "gnu.tar"])
def test_limit_of_all_bytes_is_exact(name: str) -> None:
    total = sum(map(len, FILES.values()))
    assert taken(ARCHIVES[name], name, total_bytes=total) == (FILES, [])
    good, (problem,) = taken(ARCHIVES[name], name, total_bytes=total - 1)
    assert list(good) == ["one.jpg", "folder/two.png"]
    assert problem.reason is FailureReason.ARCHIVE_LIMIT
    assert str(total - 1) in problem.detail


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_large_member_is_digested(name: str) -> None:
    found = list(members(content(ARCHIVES[name], name), ArchiveLimits(member_bytes=1000)))
    large = {each.path: each for each in found if isinstance(each, Member)}["folder/two.png"]
    assert large.data is None
    assert large.digests == digest_bytes(FILES["folder/two.png"])
    assert large.size == len(FILES["folder/two.png"])


def bomb_zip(size: int) -> bytes:
    return make_zip({"zeros.bin": bytes(size), "after.jpg": b"after"}, folders=False)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("zip", bomb_zip(40 << 20)),
        ("gz", gzip.compress(bytes(40 << 20))),
        ("tgz", gzip.compress(make_tar({"zeros": bytes(40 << 20)}))),
    ],
)
def test_bombs_cost_no_more_than_the_limit(name: str, data: bytes) -> None:
    limits = ArchiveLimits(slack_bytes=1 << 20, ratio=10, member_bytes=1 << 20)
    tracemalloc.start()
    try:
        found = list(members(content(data, f"bomb.{name}"), limits))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found[-1].reason is FailureReason.ARCHIVE_LIMIT
    assert peak < 8 << 20


def test_members_that_overlap_count_each_time() -> None:
    """A directory that names one packed member many times."""
    single = make_zip({"a": bytes(1 << 20)}, folders=False)
    at = single.index(b"PK\x01\x02")
    entry = single[at : single.index(b"PK\x05\x06")]
    many = entry * 500
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 500, 500, len(many), at, 0)
    good, (problem,) = taken(single[:at] + many + end, slack_bytes=8 << 20, ratio=1)
    assert problem.reason is FailureReason.ARCHIVE_LIMIT
    assert set(good) == {"a"}


def test_a_directory_that_would_fill_memory_is_not_read() -> None:
    entries = make_zip({f"{number:05}" + "n" * 200: b"" for number in range(6000)}, folders=False)
    good, (problem,) = taken(entries, members=10)
    assert good == {}
    assert problem.reason is FailureReason.ARCHIVE_LIMIT
    assert "directory" in problem.detail


def test_a_header_that_would_fill_memory_is_not_read() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(tarfile.TarInfo("n" * (2 << 20)))
    for data in (out.getvalue(), gzip.compress(out.getvalue())):
        _, (problem,) = taken(data, "a.tar")
        assert problem.reason is FailureReason.ARCHIVE_LIMIT
        assert "header" in problem.detail


def sparse_tar() -> bytes:
    """A member with a hole of a tebibyte, in the old form of GNU."""
    info = tarfile.TarInfo("hole")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[483:495] = b"\x80" + (1 << 40).to_bytes(11, "big")
    block[386:410] = b"\x80" + (1 << 40).to_bytes(11, "big") + b"%011o\0" % 0
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(1024)


def test_a_hole_counts_as_its_bytes() -> None:
    _, (problem,) = taken(sparse_tar(), "a.tar", slack_bytes=4 << 20, ratio=1)
    assert problem.reason is FailureReason.ARCHIVE_LIMIT


def test_hostile_names_are_only_names() -> None:
    names = ["../../etc/passwd", "/absolute", "a\nb", "C:\\x", "a/../../b", "x" * 5000]
    for made in (make_zip, make_tar):
        good, problems = taken(made(dict.fromkeys(names, b"x")))
        assert problems == []
        assert list(good) == [each[:1024] for each in names]


def test_names_that_are_no_text_and_names_that_are_none() -> None:
    data = bytearray(make_tar({"AAAA": b"x"}, form=tarfile.GNU_FORMAT))
    at = data.index(b"AAAA")
    data[at : at + 4] = b"a\xff\xfeb"
    header = data[at : at + 512]
    header[148:156] = b" " * 8
    data[at + 148 : at + 156] = b"%06o\0 " % sum(header)
    good, problems = taken(bytes(data), "a.tar")
    assert (good, problems) == ({"a\\xff\\xfeb": b"x"}, [])
    unnamed = make_zip({"N": b"x"}, folders=False).replace(b"N", b"\0")
    good, problems = taken(unnamed)
    assert (good, problems) == ({"(unnamed)": b"x"}, [])


def patched(data: bytes, offset_local: int, offset_central: int, value: int) -> bytes:
    """The first member's header, changed in both of its places."""
    changed = bytearray(data)
    struct.pack_into("<H", changed, offset_local, value)
    struct.pack_into("<H", changed, changed.index(b"PK\x01\x02") + offset_central, value)
    return bytes(changed)


def test_an_encrypted_member_spares_its_neighbours() -> None:
    data = patched(make_zip(folders=False), 6, 8, 1)
    good, (problem,) = taken(data)
    assert list(good) == list(FILES)[1:]
    assert (problem.reason, problem.path) == (NotHashableReason.ENCRYPTED, "one.jpg")


@pytest.mark.parametrize("method", [9, 12, 14, 93, 99])
def test_a_member_packed_in_another_way(method: int) -> None:
    good, (problem,) = taken(patched(make_zip(folders=False), 8, 10, method))
    assert list(good) == list(FILES)[1:]
    assert (problem.reason, problem.path) == (NotHashableReason.UNSUPPORTED, "one.jpg")


def test_a_damaged_member_spares_its_neighbours() -> None:
    data = bytearray(make_zip(folders=False, method=zipfile.ZIP_STORED))
    at = data.index(FILES["one.jpg"])
    data[at] ^= 1
    good, (problem,) = taken(bytes(data))
    assert list(good) == list(FILES)[1:]
    assert (problem.reason, problem.path) == (FailureReason.ARCHIVE_DAMAGED, "one.jpg")


def test_links_in_a_zip_are_no_pictures() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link.jpg")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    assert taken(out.getvalue()) == ({}, [])


def test_a_picture_that_calls_itself_a_link_or_a_folder_is_taken_out() -> None:
    picture = bytes(range(256)) * 8
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("link.jpg")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, picture)
        archive.writestr("folder.jpg/", picture)
    assert taken(out.getvalue()) == ({"link.jpg": picture, "folder.jpg/": picture}, [])


def test_entries_of_a_tar_whose_type_is_unknown_are_files_as_for_who_unpacks_it() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, form, data in (
            ("odd", b"Z", b"a picture"),
            ("label", b"V", b""),
            ("link", tarfile.SYMTYPE, b""),
            ("usual", tarfile.REGTYPE, b"another"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.size = form, len(data)
            archive.addfile(info, io.BytesIO(data))
    assert taken(out.getvalue()) == ({"odd": b"a picture", "usual": b"another"}, [])


@pytest.mark.parametrize("name", ["gnu.tar", "packed.tar.gz"])
def test_a_tar_that_is_cut_off_keeps_what_came_before(name: str) -> None:
    whole = ARCHIVES["gnu.tar"]
    for cut in (700, 1500, 2048 + 512, len(FILES["folder/two.png"]) + 2560, 13 * 1024):
        data = whole[:cut]
        good, problems = taken(gzip.compress(data) if name.endswith("gz") else data, name)
        assert [each.reason for each in problems] == [FailureReason.ARCHIVE_DAMAGED]
        assert all(FILES[path] == kept for path, kept in good.items())
        assert list(good) == list(FILES)[: len(good)]


def test_a_tar_with_a_damaged_header_in_the_middle_is_told() -> None:
    """The library takes it for the archive's end."""
    data = bytearray(ARCHIVES["gnu.tar"])
    data[data.index(b"folder/two.png")] ^= 1
    good, (problem,) = taken(bytes(data), "a.tar")
    assert list(good) == ["one.jpg"]
    assert problem.reason is FailureReason.ARCHIVE_DAMAGED


def test_a_gzip_stream_that_is_cut_off_or_damaged() -> None:
    data = gzip.compress(random.Random(1).randbytes(100_000))
    damaged = bytearray(data)
    damaged[50_000] ^= 0xFF
    for each in (data[:50_000], data[:-4], bytes(damaged), data[:12], b"\x1f\x8b\x08"):
        good, (problem,) = taken(each, "photo.jpg.gz")
        assert good == {}
        assert problem.reason is FailureReason.ARCHIVE_DAMAGED


def test_archives_within_archives_stay_closed() -> None:
    inner = {"inner.zip": ARCHIVES["deflated.zip"], "inner.tgz": ARCHIVES["packed.tar.gz"]}
    assert taken(make_zip(inner)) == (inner, [])
    assert taken(gzip.compress(ARCHIVES["deflated.zip"]), "a.zip.gz") == (
        {"a.zip": ARCHIVES["deflated.zip"]},
        [],
    )


def test_taking_out_goes_one_by_one() -> None:
    many = make_zip({str(number): bytes(1 << 20) for number in range(30)}, folders=False)
    tracemalloc.start()
    try:
        count = sum(1 for _ in members(content(many), ArchiveLimits(slack_bytes=1 << 30)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 30
    assert peak < 8 << 20


def test_a_deflated_stream_with_much_behind_it() -> None:
    """What stands behind a gzip stream and is none is damage, not a loop."""
    data = gzip.compress(b"x") + zlib.compress(b"y") * 10
    good, (problem,) = taken(data, "a.gz")
    assert good == {}
    assert problem.reason is FailureReason.ARCHIVE_DAMAGED


def test_mutated_archives_end_in_members_and_typed_problems(monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "fuzz"))
    fuzzer = importlib.import_module("fuzz_scan_archives")
    findings, outcomes = fuzzer.fuzz(inputs=1500, seed=11)
    assert findings == []
    assert set(outcomes) >= {"whole", "archive_damaged", "archive_limit"}
    assert [fuzzer.read(data) for data in fuzzer.corpus()] == ["whole"] * 9
