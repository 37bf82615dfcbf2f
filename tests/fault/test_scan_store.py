"""A store that fails, refuses, stalls and cuts off, and keys that are no paths."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pytest

from matcher.hashing.digests import digest_bytes
from matcher.scan.errors import SourceError
from matcher.scan.model import FailureReason, FetchError, Listed
from matcher.scan.sources import SourceOptions, open_source
from matcher.scan.sources.addresses import place_of
from tests.faulty_proxy import ALWAYS, LISTING, Fault, FaultyProxy, vanish
from tests.s3_server import SECRET_KEY, S3Server, give_credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from matcher.scan.sources.base import Source

DATA = bytes(range(256)) * 40
IMPATIENT = SourceOptions(page_objects=2, connect_seconds=5, idle_seconds=1)


@pytest.fixture
def bucket(s3_store: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    give_credentials(monkeypatch, tmp_path)
    folder = s3_store.bucket("faulty")
    for name in ("a.jpg", "b.jpg", "folder/c.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(DATA)
    return folder


@pytest.fixture
def proxy(s3_store: S3Server, bucket: Path) -> Iterator[FaultyProxy]:
    with FaultyProxy(s3_store.endpoint) as running:
        yield running


@pytest.fixture
async def source(proxy: FaultyProxy) -> AsyncIterator[Source]:
    opened = open_source(place_of("s3://faulty", endpoint=proxy.endpoint), options=IMPATIENT)
    yield opened
    await opened.close()


async def failure(source: Source, key: str = "a.jpg", max_bytes: int = 1 << 20) -> FetchError:
    with pytest.raises(FetchError) as caught:
        await source.fetch(Listed(key), max_bytes=max_bytes)
    assert SECRET_KEY not in str(caught.value)
    assert "http" not in str(caught.value)
    assert key not in str(caught.value)
    return caught.value


ANSWERS = [
    (500, "InternalError", FailureReason.STORE_ERROR, True, False),
    (502, "", FailureReason.STORE_ERROR, True, False),
    (503, "SlowDown", FailureReason.THROTTLED, True, True),
    (503, "", FailureReason.THROTTLED, True, True),
    (429, "", FailureReason.THROTTLED, True, True),
    (400, "RequestTimeout", FailureReason.TIMED_OUT, True, False),
    (504, "", FailureReason.TIMED_OUT, True, False),
    (400, "ExpiredToken", FailureReason.FORBIDDEN, True, False),
    (401, "", FailureReason.FORBIDDEN, False, False),
    (403, "AccessDenied", FailureReason.FORBIDDEN, False, False),
    (403, "InvalidObjectState", FailureReason.ARCHIVED, False, False),
    (409, "BlobArchived", FailureReason.ARCHIVED, False, False),
    (404, "NoSuchKey", FailureReason.VANISHED, False, False),
    (410, "", FailureReason.VANISHED, False, False),
    (400, "KMS.DisabledException", FailureReason.STORE_ERROR, False, False),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: f"{each[0]}-{each[1]}")
@pytest.mark.parametrize("key", ["a.jpg", "no//path.jpg"])  # by either library
async def test_what_an_answer_means(
    source: Source, proxy: FaultyProxy, key: str, answer: tuple
) -> None:
    status, code, reason, transient, throttled = answer
    proxy.add(Fault(key, status=status, code=code))
    error = await failure(source, key)
    assert (error.reason, error.transient, error.throttled) == (reason, transient, throttled)
    assert str(status) in str(error)
    assert proxy.asked(key) == 1


async def test_another_try_does_better(source: Source, proxy: FaultyProxy) -> None:
    proxy.add(Fault("a.jpg", status=500), Fault("a.jpg", status=503), Fault("a.jpg", cut_after=9))
    for reason in (
        FailureReason.STORE_ERROR,
        FailureReason.THROTTLED,
        FailureReason.CUT_OFF,
    ):
        assert (await failure(source)).reason is reason
    assert (await source.fetch(Listed("a.jpg"), max_bytes=1 << 20)).data == DATA
    assert proxy.asked("a.jpg") == 4


@pytest.mark.parametrize("max_bytes", [1 << 20, 10])
@pytest.mark.parametrize("cut_after", [0, 1, len(DATA) - 1])
async def test_a_body_that_is_cut_off(
    source: Source, proxy: FaultyProxy, max_bytes: int, cut_after: int
) -> None:
    proxy.add(Fault("a.jpg", cut_after=cut_after))
    error = await failure(source, max_bytes=max_bytes)
    assert (error.reason, error.transient) == (FailureReason.CUT_OFF, True)


@pytest.mark.parametrize("fault", [Fault("a.jpg", wait=30), Fault("a.jpg", stall_after=100)])
async def test_a_store_that_stalls(source: Source, proxy: FaultyProxy, fault: Fault) -> None:
    proxy.add(fault)
    error = await failure(source)
    assert (error.reason, error.transient) == (FailureReason.TIMED_OUT, True)


async def test_an_object_that_vanishes_after_it_was_listed(
    source: Source, proxy: FaultyProxy
) -> None:
    proxy.add(vanish("b.jpg"))
    found = [each async for page in source.list() for each in page.objects]
    results = await asyncio.gather(
        *(source.fetch(each, max_bytes=1 << 20) for each in found), return_exceptions=True
    )
    assert [isinstance(each, FetchError) for each in results] == [False, True, False]


async def test_a_store_that_is_away(source: Source, proxy: FaultyProxy) -> None:
    assert [page async for page in source.list()]
    proxy.stop()
    error = await failure(source)
    assert (error.reason, error.transient) == (FailureReason.STORE_ERROR, True)
    error = await failure(source, "no//path.jpg")
    assert (error.reason, error.transient) == (FailureReason.STORE_ERROR, True)


async def test_listing_is_tried_again_by_itself(source: Source, proxy: FaultyProxy) -> None:
    proxy.add(Fault(LISTING, skip=1, status=503, code="SlowDown"), Fault(LISTING, status=500))
    found = [each.key async for page in source.list() for each in page.objects]
    assert found == ["a.jpg", "b.jpg", "folder/c.jpg"]


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "s3:ListBucket"),
        (403, "InvalidAccessKeyId", "the access key is not known"),
        (403, "SignatureDoesNotMatch", "the secret key is another one"),
        (404, "NoSuchBucket", "there is no such bucket"),
        (400, "ExpiredToken", "the credentials have run out"),
        (418, "Teapot", "see to the credentials and the endpoint"),
    ],
)
async def test_why_a_bucket_cannot_be_listed(
    source: Source, proxy: FaultyProxy, status: int, code: str, words: str
) -> None:
    proxy.add(Fault(LISTING, times=ALWAYS, status=status, code=code))
    with pytest.raises(SourceError, match=words) as caught:
        [page async for page in source.list()]
    assert "s3://faulty" in str(caught.value)
    assert SECRET_KEY not in str(caught.value)


def listing(*keys: str, token: str = "") -> bytes:
    """A page as S3 gives it; with a token it is not the last one."""
    items = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-03-04T05:06:07.000Z</LastModified>"
        f'<ETag>"e"</ETag><Size>{size}</Size></Contents>'
        for key, size in ((each, 0 if each.endswith("marker/") else 9) for each in keys)
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><EncodingType>url</EncodingType>'
        f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>{items}"
        f"<NextContinuationToken>{token}</NextContinuationToken></ListBucketResult>"
    ).encode()


#: As S3 encodes them in a listing, and as they are.
NO_PATHS = {
    "%01control.jpg": "\x01control.jpg",
    "./dot.jpg": "./dot.jpg",
    "/lead.jpg": "/lead.jpg",
    "a/../b.jpg": "a/../b.jpg",
    "a//b.jpg": "a//b.jpg",
    "full/": "full/",
    "line%0Aend.jpg": "line\nend.jpg",
    "tab%09.jpg": "tab\t.jpg",
    "with+space+and%2Bplus": "with space and+plus",
    "%E2%82%AC.jpg": "€.jpg",
}


async def test_keys_that_are_no_paths_are_listed_and_read(
    source: Source, proxy: FaultyProxy
) -> None:
    keys = sorted(NO_PATHS, key=lambda each: NO_PATHS[each].encode())
    proxy.add(Fault(LISTING, body=listing(*keys)), Fault(LISTING, body=listing()))
    found = [each async for page in source.list() for each in page.objects]
    assert [each.key for each in found] == [NO_PATHS[each] for each in keys]
    for each in found:
        # The server below refuses some of them, so the answer is the proxy's, of a like object.
        proxy.add(Fault(each.key, status=200, answer=DATA))
        assert (await source.fetch(each, max_bytes=1 << 20)).data == DATA
        assert proxy.asked(each.key) == 1
    proxy.add(Fault("a//b.jpg", status=200, answer=DATA))
    read = await source.fetch(Listed("a//b.jpg"), max_bytes=10)
    assert read.digests == digest_bytes(DATA)


async def test_bodies_of_such_keys_are_cut_off_and_stall_like_others(
    source: Source, proxy: FaultyProxy
) -> None:
    key = "a//b.jpg"
    proxy.add(Fault(key, status=200, answer=DATA, cut_after=100))
    assert (await failure(source, key)).reason is FailureReason.CUT_OFF
    proxy.add(Fault(key, status=200, answer=DATA, stall_after=100))
    assert (await failure(source, key)).reason is FailureReason.TIMED_OUT
    proxy.add(Fault(key, wait=30))
    assert (await failure(source, key)).reason is FailureReason.TIMED_OUT
    proxy.add(Fault(key, status=503, retry_after=7))
    assert (await failure(source, key)).after_seconds == 7


async def test_folder_markers_are_counted(source: Source, proxy: FaultyProxy) -> None:
    proxy.add(
        Fault(LISTING, body=listing("a/marker/", "a/marker/x.jpg")),
        Fault(LISTING, body=listing("b/marker/")),
        Fault(LISTING, body=listing()),
    )
    pages = [page async for page in source.list()]
    assert [each.key for page in pages for each in page.objects] == ["a/marker/x.jpg"]
    assert [page.skipped for page in pages] == [{"folder_marker": 1}, {"folder_marker": 1}]
    assert [page.cursor for page in pages] == ["a/marker/x.jpg", "b/marker/"]


@pytest.mark.parametrize(
    "pages",
    [[("b", "a")], [("a", "a")], [("a", "b"), ("b", "c")], [("b",), ("a",)]],
)
async def test_a_store_that_lists_in_no_order_is_noticed(
    source: Source, proxy: FaultyProxy, pages: list[tuple[str, ...]]
) -> None:
    proxy.add(*(Fault(LISTING, body=listing(*keys)) for keys in pages))
    with pytest.raises(SourceError, match="does not list in the order of keys"):
        [page async for page in source.list()]


async def test_an_empty_page_is_not_the_end_where_more_is_to_come(
    source: Source, proxy: FaultyProxy
) -> None:
    pages = (listing(token="one"), listing(token="two"), listing("a.jpg"), listing())
    proxy.add(*(Fault(LISTING, status=200, answer=each) for each in pages))
    found = [each.key async for page in source.list() for each in page.objects]
    assert found == ["a.jpg"]
    assert proxy.asked(LISTING) == len(pages)


@pytest.mark.parametrize("token", ["", "same"])
async def test_a_store_that_does_not_say_from_where_more_is_to_come(
    source: Source, proxy: FaultyProxy, token: str
) -> None:
    page = listing(token="x").replace(b">x<", f">{token}<".encode())
    proxy.add(Fault(LISTING, times=ALWAYS, status=200, answer=page))
    with pytest.raises(SourceError, match="not from where"):
        [page async for page in source.list()]


@pytest.mark.parametrize("page", [b"<html>this is a gateway's page", b"<html><body/></html>"])
async def test_a_listing_that_is_none(source: Source, proxy: FaultyProxy, page: bytes) -> None:
    proxy.add(Fault(LISTING, skip=1, times=ALWAYS, body=page))
    with pytest.raises(SourceError, match="s3://faulty: listing it"):
        [page async for page in source.list()]


# --------------------------------------------------------------------------- opening, credentials


async def test_without_credentials(proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    place = place_of("s3://faulty", endpoint=proxy.endpoint)
    source = open_source(place)
    with pytest.raises(SourceError, match="no credentials are found"):
        [page async for page in source.list()]
    error = await failure(source)
    assert error.transient
    await source.close()
    public = open_source(place, options=SourceOptions(anonymous=True))
    # The server itself gives nothing to nobody.
    proxy.add(Fault(LISTING, status=200, answer=listing("a.jpg")))
    proxy.add(Fault(LISTING, status=200, answer=listing()))
    proxy.add(Fault("a.jpg", status=200, answer=DATA))
    found = [each async for page in public.list() for each in page.objects]
    assert (await public.fetch(found[0], max_bytes=1 << 20)).data == DATA
    assert not proxy.signed.total()
    await public.close()


async def test_credentials_of_a_profile(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    (tmp_path / "credentials").write_text(
        f"[scanner]\naws_access_key_id = test-access\naws_secret_access_key = {SECRET_KEY}\n"
    )
    (tmp_path / "config").write_text(f"[profile scanner]\nendpoint_url = {proxy.endpoint}\n")
    monkeypatch.setenv("AWS_PROFILE", "scanner")
    source = open_source(place_of("s3://faulty"))
    assert len([each async for page in source.list() for each in page.objects]) == 3
    assert (await source.fetch(Listed("a.jpg"), max_bytes=1 << 20)).data == DATA
    await source.close()


async def test_an_endpoint_of_the_environment(
    proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    source = open_source(place_of("s3://faulty"))
    assert (await source.fetch(Listed("a.jpg"), max_bytes=1 << 20)).data == DATA
    await source.close()


async def test_a_profile_that_is_missing(bucket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    source = open_source(place_of("s3://faulty"))
    with pytest.raises(SourceError, match="nobody"):
        [page async for page in source.list()]
    await source.close()


async def test_plain_http_elsewhere_is_only_spoken_on_purpose(bucket: Path) -> None:
    source = open_source(place_of("s3://faulty", endpoint="http://store.invalid:9000"))
    with pytest.raises(SourceError, match="plain HTTP on another machine"):
        [page async for page in source.list()]
    await source.close()


async def test_a_store_that_is_nowhere(bucket: Path) -> None:
    place = place_of("s3://faulty", endpoint="http://127.0.0.1:9")
    source = open_source(place, options=SourceOptions(connect_seconds=1, listing_tries=2))
    with pytest.raises(SourceError, match="cannot be reached"):
        [page async for page in source.list()]
    await source.close()
