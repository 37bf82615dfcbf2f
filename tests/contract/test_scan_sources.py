"""What holds of every source of a scan: its order, its cursors, and what it reads."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from matcher.hashing.digests import digest_bytes
from matcher.scan.model import FailureReason, FetchError, Listed
from matcher.scan.sources import SourceOptions, open_source
from matcher.scan.sources.addresses import place_of
from tests.s3_server import S3Server, give_credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from matcher.scan.document import Place
    from matcher.scan.sources.base import Source

NAMES = (
    "plain.jpg",
    "ünï code.jpg",
    "日本/写真.jpg",
    "a%2Fb.jpg",
    "100%.jpg",
    " lead.jpg",
    "trail .jpg",
    "q?x=1&y.jpg",
    "plus+.jpg",
    "semi;colon,comma.jpg",
    "a/z.jpg",
    "a/b/c/d.jpg",
    "a.jpg",
    "a-b.jpg",
    "a0.jpg",
    "#hash.jpg",
    "~tilde.jpg",
    "[brackets]{braces}.jpg",
    "<less>&amp;.jpg",
    "back\\slash.jpg",
    "sub/x.jpg",
    "subway.jpg",
    "/".join(["long" * 50] * 4) + ".jpg",
    "UPPER.JPG",
    "e\u0301.jpg",
    "\U0001f600.jpg",
    "empty.jpg",
)
SMALL = SourceOptions(page_objects=4)


def content_of(name: str) -> bytes:
    return b"" if name.startswith("empty") else name.encode() * 7


def fill(folder: Path, names: tuple[str, ...] = NAMES) -> dict[str, bytes]:
    """Objects, as files."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content_of(name))
    return {name: content_of(name) for name in names}


class Held:
    """A place that holds objects, and the folder in which they lie."""

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.folder = folder
        self.contents: Mapping[str, bytes] = fill(folder)

    def open(self, prefix: str = "", options: SourceOptions = SMALL) -> Source:
        return open_source(self.place, prefix=prefix, options=options)


@pytest.fixture(params=["folder", "file-url", "s3", "s3-prefix"])
def held(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Held:
    if request.param in {"folder", "file-url"}:
        folder = tmp_path / "pictures"
        folder.mkdir()
        return Held(place_of(str(folder) if request.param == "folder" else folder.as_uri()), folder)
    server: S3Server = request.getfixturevalue("s3_store")
    give_credentials(monkeypatch, tmp_path)
    folder = server.bucket("contract")
    if request.param == "s3-prefix":
        (folder / "aside.jpg").write_bytes(b"not below the prefix")
        folder = folder / "some folder"
        folder.mkdir()
        return Held(place_of("s3://contract/some folder", endpoint=server.endpoint), folder)
    return Held(place_of("s3://contract", endpoint=server.endpoint), folder)


@pytest.fixture
async def source(held: Held) -> AsyncIterator[Source]:
    opened = held.open()
    yield opened
    await opened.close()


async def listed(source: Source, after: str = "") -> list[Listed]:
    return [each async for page in source.list(after) for each in page.objects]


async def test_lists_each_object_once_in_its_order(held: Held, source: Source) -> None:
    found = await listed(source)
    assert sorted(each.key for each in found) == sorted(held.contents)
    assert {each.key: each.size for each in found} == {
        name: len(data) for name, data in held.contents.items()
    }
    orders = [source.order(each.key) for each in found]
    assert all(one < two for one, two in itertools.pairwise(orders))
    assert await listed(source) == found


async def test_goes_on_behind_each_cursor(source: Source) -> None:
    pages = [page async for page in source.list()]
    assert len(pages) > 3
    assert all(page.cursor and len(page.objects) <= SMALL.page_objects for page in pages)
    assert len({page.cursor for page in pages}) == len(pages)
    for number, page in enumerate(pages, 1):
        rest = [each for other in pages[number:] for each in other.objects]
        assert await listed(source, page.cursor) == rest


async def test_goes_on_behind_each_object(held: Held) -> None:
    source = held.open(options=SourceOptions(page_objects=1))
    pages = [page async for page in source.list()]
    everything = [each for page in pages for each in page.objects]
    await source.close()
    again = held.open()
    for number, page in enumerate(pages, 1):
        assert await listed(again, page.cursor) == everything[number:]
    await again.close()


async def test_a_cursor_holds_when_objects_come_and_go(held: Held, source: Source) -> None:
    page = await anext(aiter(source.list()))
    last = page.objects[-1].key
    rest = {each.key for each in await listed(source, page.cursor)}
    (held.folder / last).unlink()
    (held.folder / "zzz-new.jpg").write_bytes(b"new")
    assert {each.key for each in await listed(source, page.cursor)} == rest | {"zzz-new.jpg"}


async def test_reads_what_is_there(held: Held, source: Source) -> None:
    found = await listed(source)
    contents = await asyncio.gather(*(source.fetch(each, max_bytes=10_000) for each in found))
    read = {each.key: content.data for each, content in zip(found, contents, strict=True)}
    assert read == held.contents
    assert all(each.digests is None for each in contents)


async def test_what_was_read_is_told_as_it_was_listed(source: Source) -> None:
    for each in await listed(source):
        assert (await source.fetch(each, max_bytes=10_000)).listed == each


async def test_beyond_the_limit_an_object_is_digested(held: Held, source: Source) -> None:
    for each in await listed(source):
        data = held.contents[each.key]
        read = await source.fetch(each, max_bytes=len(data) - 1 if data else 0)
        if data:
            assert read.data is None
            assert read.digests == digest_bytes(data)
        else:
            assert (read.data, read.digests) == (b"", None)


async def test_at_the_limit_an_object_is_kept(held: Held, source: Source) -> None:
    for each in await listed(source):
        read = await source.fetch(each, max_bytes=each.size or 0)
        assert read.data == held.contents[each.key]


async def test_an_object_that_vanished(held: Held, source: Source) -> None:
    found = await listed(source)
    (held.folder / "a/z.jpg").unlink()
    gone = next(each for each in found if each.key == "a/z.jpg")
    with pytest.raises(FetchError) as caught:
        await source.fetch(gone, max_bytes=100)
    assert caught.value.reason is FailureReason.VANISHED
    assert not caught.value.transient


async def test_an_object_that_became_another(held: Held, source: Source) -> None:
    found = await listed(source)
    (held.folder / "a.jpg").write_bytes(b"another, and longer than it was before")
    changed = next(each for each in found if each.key == "a.jpg")
    read = await source.fetch(changed, max_bytes=100)
    assert read.data == b"another, and longer than it was before"
    assert read.listed.size == len(read.data)
    assert read.listed != changed


@pytest.mark.parametrize("prefix", ["a", "a/", "a/b", "sub", "sub/", "日本", "plain.jpg"])
async def test_lists_what_begins_with_a_prefix(held: Held, prefix: str) -> None:
    source = held.open(prefix)
    found = await listed(source)
    assert {each.key for each in found} == {
        name for name in held.contents if name.startswith(prefix)
    }
    for number, each in enumerate(found):
        pages = [page async for page in held.open(prefix, SourceOptions(page_objects=1)).list()]
        assert await listed(source, pages[number].cursor) == found[number + 1 :]
        assert (await source.fetch(each, max_bytes=10_000)).data == held.contents[each.key]
    await source.close()


async def test_an_empty_place(held: Held) -> None:
    source = held.open("nothing begins so")
    assert await listed(source) == []
    await source.close()


async def test_listing_may_be_given_up(held: Held) -> None:
    source = held.open()
    async for _ in source.list():
        break
    await source.close()
    await source.close()


async def test_tells_its_url(held: Held, source: Source) -> None:
    assert source.url == held.place.url
    assert "secret" not in source.url
