"""Folders as they are found: links, pipes, foreign names, and files that change meanwhile."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.hashing.digests import digest_bytes
from matcher.scan.errors import SourceError
from matcher.scan.model import FailureReason, FetchError, Listed
from matcher.scan.sources import SourceOptions, folder, open_source
from matcher.scan.sources.addresses import place_of
from matcher.scan.sources.walker import Walker, open_root

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from matcher.scan.sources.base import Source


@pytest.fixture
def top(tmp_path: Path) -> Path:
    made = tmp_path / "top"
    made.mkdir()
    (made / "a.jpg").write_bytes(b"picture a")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.jpg").write_bytes(b"not of this scan")
    return made


@pytest.fixture
async def source(top: Path) -> AsyncIterator[Source]:
    opened = open_source(place_of(str(top)))
    yield opened
    await opened.close()


async def looked(source: Source, after: str = "") -> tuple[list[str], dict[str, int]]:
    """The keys, and what was passed over."""
    keys: list[str] = []
    skipped: dict[str, int] = {}
    async for page in source.list(after):
        keys += [each.key for each in page.objects]
        for reason, number in page.skipped.items():
            skipped[reason] = skipped.get(reason, 0) + number
    return keys, skipped


async def failure(source: Source, key: str | Listed, max_bytes: int = 1000) -> FetchError:
    listed = key if isinstance(key, Listed) else Listed(key)
    with pytest.raises(FetchError) as caught:
        await source.fetch(listed, max_bytes=max_bytes)
    return caught.value


# ------------------------------------------------------------------------------------------ links


async def test_links_to_files_of_the_tree_are_followed(top: Path, source: Source) -> None:
    (top / "deep").mkdir()
    (top / "deep" / "link.jpg").symlink_to("../a.jpg")
    (top / "absolute.jpg").symlink_to(top / "a.jpg")
    (top / "twice.jpg").symlink_to("deep/link.jpg")
    keys, skipped = await looked(source)
    assert keys == ["a.jpg", "absolute.jpg", "deep/link.jpg", "twice.jpg"]
    assert skipped == {}
    for key in keys:
        assert (await source.fetch(Listed(key), max_bytes=100)).data == b"picture a"


async def test_links_that_lead_elsewhere_are_not(top: Path, source: Source) -> None:
    (top / "out.jpg").symlink_to("../outside/secret.jpg")
    (top / "out-absolute.jpg").symlink_to(top.parent / "outside" / "secret.jpg")
    (top / "out-folder").symlink_to("../outside")
    (top / "in-folder").symlink_to("deep")
    (top / "deep").mkdir()
    (top / "deep" / "b.jpg").write_bytes(b"b")
    (top / "deep" / "cycle").symlink_to("..")
    (top / "deep" / "top-itself").symlink_to(top)
    (top / "round.jpg").symlink_to("round.jpg")
    (top / "nowhere.jpg").symlink_to("missing.jpg")
    (top / "system.jpg").symlink_to("/dev/zero")
    (top.parent / "top-2").mkdir()
    (top.parent / "top-2" / "near.jpg").write_bytes(b"a name that begins like the folder's")
    (top / "near.jpg").symlink_to("../top-2/near.jpg")
    keys, skipped = await looked(source)
    assert keys == ["a.jpg", "deep/b.jpg"]
    assert skipped == {
        "link_leaves_tree": 7,
        "link_to_folder": 1,
        "link_broken": 2,
    }


async def test_a_file_that_becomes_a_link_leads_nowhere_else(top: Path, source: Source) -> None:
    assert (await looked(source))[0] == ["a.jpg"]
    (top / "a.jpg").unlink()
    (top / "a.jpg").symlink_to("../outside/secret.jpg")
    error = await failure(source, "a.jpg")
    assert (error.reason, error.transient) == (FailureReason.UNREADABLE, False)
    (top / "a.jpg").unlink()
    (top / "a.jpg").symlink_to("b.jpg")
    (top / "b.jpg").write_bytes(b"within the tree")
    assert (await source.fetch(Listed("a.jpg"), max_bytes=100)).data == b"within the tree"


async def test_a_folder_that_becomes_a_link_leads_nowhere_else(top: Path, source: Source) -> None:
    (top / "deep").mkdir()
    (top / "deep" / "secret.jpg").write_bytes(b"of this scan")
    assert (await looked(source))[0] == ["a.jpg", "deep/secret.jpg"]
    shutil.rmtree(top / "deep")
    (top / "deep").symlink_to("../outside")
    assert (await failure(source, "deep/secret.jpg")).reason is FailureReason.UNREADABLE
    assert (await looked(source)) == (["a.jpg"], {"link_leaves_tree": 1})


@pytest.mark.parametrize("key", ["../outside/secret.jpg", "..", ".", "", "/etc/passwd", "a.jpg/x"])
async def test_keys_that_lead_out_read_nothing(source: Source, key: str) -> None:
    assert (await failure(source, key)).reason in {
        FailureReason.UNREADABLE,
        FailureReason.VANISHED,
    }


async def test_the_folder_itself_may_be_reached_by_a_link(top: Path) -> None:
    (top.parent / "link").symlink_to("top")
    (top / "same.jpg").symlink_to("a.jpg")
    source = open_source(place_of(str(top.parent / "link")))
    assert (await looked(source)) == (["a.jpg", "same.jpg"], {})
    assert (await source.fetch(Listed("same.jpg"), max_bytes=100)).data == b"picture a"
    await source.close()


# ----------------------------------------------------------------------------- what is no picture


async def test_pipes_and_sockets_are_passed_over_and_never_wait(top: Path, source: Source) -> None:
    os.mkfifo(top / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(top / "socket.jpg"))
        keys, skipped = await looked(source)
    assert (keys, skipped) == (["a.jpg"], {"special_file": 2})
    assert (await failure(source, "pipe.jpg")).reason is FailureReason.UNREADABLE
    assert (await failure(source, "socket.jpg")).reason is FailureReason.UNREADABLE


async def test_names_that_are_no_text(top: Path, source: Source) -> None:
    names = [
        b"\xff.jpg",
        b"a\xfe\\b.jpg",
        "ü.jpg".encode("latin-1"),
        b"new\nline.jpg",
        b"\\xff.jpg",
    ]
    names.append(b"dir\xe9/inner.jpg")
    (top / os.fsdecode(b"dir\xe9")).mkdir()
    for name in names:
        (top / os.fsdecode(name)).write_bytes(name)
    pages = [page async for page in source.list()]
    found = {(each.raw or each.key.encode()): each for page in pages for each in page.objects}
    assert set(found) == {*names, b"a.jpg"}
    assert found[b"\xff.jpg"].key == r"\xff.jpg"
    assert found[b"dir\xe9/inner.jpg"].key == r"dir\xe9/inner.jpg"
    assert found[b"\\xff.jpg"].raw == b""
    for name in names:
        read = await source.fetch(found[name], max_bytes=100)
        assert read.data == name
        assert read.listed == found[name]
    options = SourceOptions(page_objects=1)
    single = open_source(place_of(str(top)), options=options)
    order = list(found)
    cursors = [page.cursor async for page in single.list()]
    for number, cursor in enumerate(cursors, 1):
        rest = [each async for page in single.list(cursor) for each in page.objects]
        assert [each.raw or each.key.encode() for each in rest] == order[number:]
    await single.close()


async def test_a_tree_deeper_than_paths_may_be_long(top: Path, source: Source) -> None:
    handle = os.open(top, os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("deeper", dir_fd=handle)
        below = os.open("deeper", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = below
    file = os.open("z.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=handle)
    os.write(file, b"deep down")
    os.close(file)
    os.close(handle)
    keys, skipped = await looked(source)
    assert skipped == {}
    assert keys == ["a.jpg", "deeper/" * 1200 + "z.jpg"]
    assert (await source.fetch(Listed(keys[1]), max_bytes=100)).data == b"deep down"
    subprocess.run(["rm", "-rf", str(top / "deeper")], check=True)  # noqa: ASYNC221  # others cannot


# ------------------------------------------------------------------- what cannot be read, or moves


async def test_a_folder_that_cannot_be_listed_is_counted(
    top: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("closed", "gone"):
        (top / name).mkdir()
        (top / name / "x.jpg").write_bytes(b"x")
    (top / "z.jpg").write_bytes(b"z")
    numbers = {
        (top / "closed").stat().st_ino: errno.EACCES,
        (top / "gone").stat().st_ino: errno.ENOENT,
    }
    listdir = os.listdir

    def refuse(handle: int) -> list[str]:
        number = numbers.get(os.fstat(handle).st_ino)
        if number:
            raise OSError(number, os.strerror(number))
        return listdir(handle)

    monkeypatch.setattr(os, "listdir", refuse)
    keys, skipped = await looked(source)
    assert keys == ["a.jpg", "z.jpg"]
    assert skipped == {"unreadable_folder": 1, "gone_while_listing": 1}
    monkeypatch.setattr(os, "listdir", lambda _: (_ for _ in ()).throw(PermissionError(13, "no")))
    with pytest.raises(SourceError, match="cannot be listed"):
        await looked(source)


async def test_an_entry_that_goes_or_cannot_be_looked_at(
    source: Source, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "b.jpg").write_bytes(b"b")
    looked_at = os.stat

    def refuse(path: object, **options: object) -> os.stat_result:
        if path in {b"a.jpg", b"b.jpg"}:
            raise OSError(errno.ENOENT if path == b"a.jpg" else errno.EIO, "x")
        return looked_at(path, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "stat", refuse)
    assert await looked(source) == ([], {"gone_while_listing": 1, "unreadable_name": 1})


@pytest.mark.parametrize(
    "said",
    [
        (errno.EACCES, FailureReason.FORBIDDEN, False, False),
        (errno.EPERM, FailureReason.FORBIDDEN, False, False),
        (errno.EIO, FailureReason.UNREADABLE, True, False),
        (errno.ESTALE, FailureReason.UNREADABLE, True, False),
        (errno.EMFILE, FailureReason.UNREADABLE, True, True),
        (errno.ENXIO, FailureReason.UNREADABLE, False, False),
    ],
)
async def test_what_the_system_says(
    source: Source, monkeypatch: pytest.MonkeyPatch, said: tuple
) -> None:
    number, reason, transient, throttled = said

    def refuse(*_: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(folder.os, "read", refuse)
    error = await failure(source, "a.jpg")
    assert (error.reason, error.transient, error.throttled) == (reason, transient, throttled)
    assert "a.jpg" not in str(error)


async def test_a_file_that_grows_is_taken_as_it_was_read(
    top: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, grown = os.read, []

    def grow(handle: int, size: int) -> bytes:
        if not grown:
            grown.append((top / "a.jpg").write_bytes(b"picture a, and more of it"))
        return read(handle, size)

    monkeypatch.setattr(folder.os, "read", grow)
    content = await source.fetch(Listed("a.jpg"), max_bytes=100)
    assert content.data == b"picture a, and more of it"
    assert content.listed.size == len(content.data)
    (top / "a.jpg").write_bytes(b"picture a")
    grown.clear()
    content = await source.fetch(Listed("a.jpg"), max_bytes=10)
    assert content.data is None
    assert content.digests == digest_bytes(b"picture a, and more of it")


@pytest.mark.parametrize("max_bytes", [100, 3])
async def test_a_file_that_shrinks_is_tried_again(
    top: Path, source: Source, monkeypatch: pytest.MonkeyPatch, max_bytes: int
) -> None:
    read = os.read

    def shrink(handle: int, size: int) -> bytes:
        os.truncate(top / "a.jpg", 4)
        return read(handle, size)

    monkeypatch.setattr(folder.os, "read", shrink)
    error = await failure(source, "a.jpg", max_bytes)
    assert (error.reason, error.transient) == (FailureReason.CUT_OFF, True)


# ---------------------------------------------------------------------------------------- opening


async def test_one_file_is_a_place_of_one_object(top: Path) -> None:
    (top / "b.jpg").write_bytes(b"another")
    source = open_source(place_of(str(top / "a.jpg")))
    assert await looked(source) == (["a.jpg"], {})
    assert (await source.fetch(Listed("a.jpg"), max_bytes=100)).data == b"picture a"
    assert source.url == str(top / "a.jpg")
    await source.close()


def test_places_that_are_none(top: Path) -> None:
    os.mkfifo(top / "pipe")
    for path, words in (
        (top / "missing", "No such file or directory: give a folder"),
        (top / "pipe", "is no folder and no file"),
        (top / "a.jpg" / "x", "Not a directory"),
    ):
        with pytest.raises(SourceError, match=words):
            open_source(place_of(str(path)))


async def test_a_closed_folder_is_told(source: Source) -> None:
    await source.close()
    with pytest.raises((SourceError, RuntimeError)):
        await looked(source)


# ------------------------------------------------------------------------------ beside an oracle


def oracle(top: Path) -> list[tuple[bytes, ...]]:
    """All files, by another walk and a sort of whole paths."""
    found = []
    for place, _, files in os.walk(os.fsencode(top)):
        for name in files:
            path = os.path.relpath(place + b"/" + name, os.fsencode(top))
            found.append(tuple(path.split(b"/")))
    return sorted(found)


NAMES = st.sampled_from(["a", "a.b", "a-b", "a0", "b", "B", "\u00fc", "~", " "])


@given(st.lists(st.lists(NAMES, min_size=1, max_size=4), max_size=12), st.integers(1, 5))
def test_walks_like_an_oracle_from_anywhere(
    tmp_path_factory: pytest.TempPathFactory, paths: list[list[str]], page: int
) -> None:
    top = tmp_path_factory.mktemp("tree")
    for parts in paths:
        path = top.joinpath(*parts[:-1], parts[-1] + ".jpg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    root = open_root(top)
    try:
        expected = oracle(top)
        assert [each.parts for each in Walker(root, top).walk()] == expected
        for number, after in enumerate(expected, 1):
            assert [each.parts for each in Walker(root, top).walk(after)] == expected[number:]
        for after in ((b"a",), (b"a", b"zzz"), (b"a.b", b"a", b"a.jpg"), (b"~~",)):
            rest = [each for each in expected if each > after and each[: len(after)] != after]
            assert [each.parts for each in Walker(root, top).walk(after)] == rest
    finally:
        os.close(root)
    shutil.rmtree(top)


async def test_a_file_that_was_replaced_is_told_from_the_one_before_whatever_time_it_bears(
    top: Path, source: Source
) -> None:
    (before,) = [each async for page in source.list() for each in page.objects]
    assert (await source.fetch(before, max_bytes=100)).listed == before
    state = (top / "a.jpg").stat()
    (top / "a.jpg").write_bytes(b"picture b")
    while True:  # until the clock of the file system has ticked
        os.utime(top / "a.jpg", ns=(state.st_atime_ns, state.st_mtime_ns))
        if (top / "a.jpg").stat().st_ctime_ns != state.st_ctime_ns:
            break
    (after,) = [each async for page in source.list() for each in page.objects]
    assert (before.key, before.size, before.modified) == (after.key, after.size, after.modified)
    assert before.version != after.version
    assert (await source.fetch(before, max_bytes=100)).listed == after
