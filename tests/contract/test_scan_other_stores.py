"""Buckets that are not of S3: listed by the storage library, against a simulated server."""

from __future__ import annotations

import http.client
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

import pytest

from matcher.scan.errors import SourceError
from matcher.scan.model import FailureReason, FetchError, Listed
from matcher.scan.sources import SourceOptions, open_source
from matcher.scan.sources.addresses import place_of
from matcher.scan.sources.keys import markers_named
from tests.gcs_simulator import BUCKET, gcs_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from matcher.scan.sources.base import Source

SMALL = SourceOptions(page_objects=2, listing_tries=1)
NAMES = ("a b.jpg", "a.jpg", "a/z.jpg", "deep/er/x.jpg", "pic1.jpg", "pic2.jpg", "ünï.jpg")


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable]:
    """Stores an object, whatever its key."""
    import json

    with gcs_server(monkeypatch, tmp_path):
        account = json.loads((tmp_path / "account.json").read_text())
        server = urlsplit(account["gcs_base_url"]).netloc

        def store(key: str, data: bytes) -> None:
            connection = http.client.HTTPConnection(server)
            connection.request("PUT", f"/{BUCKET}/{quote(key, safe='')}", data)
            assert connection.getresponse().status == 200
            connection.close()

        yield store


def opened(url: str = f"gs://{BUCKET}", prefix: str = "") -> Source:
    return open_source(place_of(url), prefix=prefix, options=SMALL)


async def pages_of(source: Source, after: str = "") -> list:
    return [page async for page in source.list(after)]


async def keys(source: Source, after: str = "") -> list[str]:
    return [each.key for page in await pages_of(source, after) for each in page.objects]


async def test_lists_reads_and_goes_on(put: Callable) -> None:
    for name in NAMES:
        put(name, name.encode())
    source = opened()
    pages = await pages_of(source)
    found = [each for page in pages for each in page.objects]
    assert [each.key for each in found] == list(NAMES)
    done = 0
    for page in pages:
        done += len(page.objects)
        assert await keys(source, page.cursor) == list(NAMES[done:])
    for each in found:
        read = await source.fetch(each, max_bytes=100)
        assert read.data == each.key.encode()
        assert read.listed.size == each.size
    with pytest.raises(FetchError) as caught:
        await source.fetch(Listed("gone.jpg"), max_bytes=100)
    assert caught.value.reason is FailureReason.VANISHED
    await source.close()


async def test_prefixes(put: Callable) -> None:
    for name in NAMES:
        put(name, b"x")
    assert await keys(opened(prefix="pic")) == ["pic1.jpg", "pic2.jpg"]
    assert await keys(opened(prefix="deep/e")) == ["deep/er/x.jpg"]
    assert await keys(opened(f"gs://{BUCKET}/deep")) == ["er/x.jpg"]
    assert await keys(opened(prefix="pic"), "pic1.jpg") == ["pic2.jpg"]
    assert await keys(opened(prefix="none")) == []


async def test_markers_of_folders_are_counted(put: Callable) -> None:
    for name in ("x-a.jpg", "x/", "x/b.jpg", "y/", "y/c.jpg"):
        put(name, b"" if name.endswith("/") else b"data")
    for size in (1, 2, 10):
        source = open_source(place_of(f"gs://{BUCKET}"), options=SourceOptions(page_objects=size))
        pages = await pages_of(source)
        found = [each.key for page in pages for each in page.objects]
        assert [each for each in found if each != "y"] == ["x-a.jpg", "x/b.jpg", "y/c.jpg"]
        assert sum(page.skipped.get("folder_marker", 0) for page in pages) + ("y" in found) == 2
        await source.close()


async def test_a_key_that_is_no_path_is_told(put: Callable) -> None:
    put("a.jpg", b"x")
    put("b//c.jpg", b"x")
    with pytest.raises(SourceError, match="an empty part, `"):
        await keys(opened())
    with pytest.raises(FetchError) as caught:
        await opened().fetch(Listed("b//c.jpg"), max_bytes=10)
    assert caught.value.reason is FailureReason.UNREADABLE


async def test_a_store_that_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with gcs_server(monkeypatch, tmp_path):
        source = opened()
    with pytest.raises(SourceError, match="listing it: the store cannot be reached"):
        await keys(source)


async def test_settings_that_make_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", "/nowhere/account.json")
    with pytest.raises(SourceError, match="settings of the store are missing or make no sense"):
        await keys(opened())
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    source = open_source(place_of("az://container", endpoint="https://127.0.0.1:9"), options=SMALL)
    with pytest.raises(SourceError, match="settings of the store are missing or make no sense"):
        await keys(source)


def test_an_empty_object_is_no_marker_where_nothing_tells_so() -> None:
    found = [Listed("a", 0), Listed("a-b", 5), Listed("b", 0), Listed("b/c", 1), Listed("d", 0)]
    assert [each.key for each in markers_named(found, "")] == ["a", "a-b", "b/", "b/c", "d"]
    assert [each.key for each in markers_named([Listed("x", 0)], "x-y")] == ["x/"]
    assert [each.key for each in markers_named([Listed("x", 1)], "x-y")] == ["x"]
