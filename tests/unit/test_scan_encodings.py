"""Objects that lie encoded in a store are judged as browsers show them."""

from __future__ import annotations

import gzip
import zlib

import botocore.session
import pytest
from moto.server import ThreadedMotoServer

from matcher.hashing.digests import digest_bytes
from matcher.scan.document import Place
from matcher.scan.engines.orders import Orders, engine_of
from matcher.scan.model import Batch, Listed, Outcome
from matcher.scan.sources import SourceOptions, open_source
from matcher.scan.sources.encodings import shown
from tests.scan_support import generation_of, picture

PLAIN = bytes(range(256)) * 40
LIMIT = len(PLAIN)


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("", PLAIN),
        ("identity", PLAIN),
        ("gzip", gzip.compress(PLAIN)),
        ("X-GZip", gzip.compress(PLAIN)),
        ("deflate", zlib.compress(PLAIN)),
        ("deflate, gzip", gzip.compress(zlib.compress(PLAIN))),
    ],
)
def test_encodings_are_taken_off(encoding, packed):
    assert shown(packed, encoding, max_bytes=LIMIT) == PLAIN


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("br", PLAIN),  # not ours to take off
        ("gzip", PLAIN),  # it is none
        ("gzip", gzip.compress(PLAIN)[:-9]),  # cut off
    ],
)
def test_what_cannot_be_taken_off_stays_as_it_lies(encoding, packed):
    assert shown(packed, encoding, max_bytes=LIMIT) == packed


@pytest.mark.parametrize("plain", [PLAIN + b"x", bytes(100 << 20)])
def test_what_would_be_too_large_is_told(plain):
    assert shown(gzip.compress(plain), "gzip", max_bytes=LIMIT) is None


@pytest.fixture
def store(monkeypatch):
    """A server of S3 that keeps encodings."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "of-no-worth",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.parametrize("key", ["picture.jpg", "a//picture.jpg"])
async def test_a_store_tells_how_its_objects_are_encoded(store, key):
    """Whichever library asks for a key like that."""
    client = botocore.session.Session().create_client("s3", endpoint_url=store)
    client.create_bucket(Bucket="bucket")
    packed = gzip.compress(PLAIN)
    client.put_object(Bucket="bucket", Key=key, Body=packed, ContentEncoding="gzip")
    client.close()
    source = open_source(
        Place("s3://bucket/", endpoint=store), options=SourceOptions(allow_http=True)
    )
    content = await source.fetch(Listed(key, len(packed)), max_bytes=LIMIT)
    too_large = await source.fetch(Listed(key, len(packed)), max_bytes=LIMIT - 1)
    await source.close()
    assert content.data == PLAIN
    assert content.listed.size == len(packed)
    assert too_large.data is None
    assert too_large.digests == digest_bytes(packed)


async def test_a_scan_makes_room_for_what_comes_out(store, tmp_path):
    """The listing tells how large it is as it lies."""
    file = picture(1, size=(400, 300), image_format="BMP")
    client = botocore.session.Session().create_client("s3", endpoint_url=store)
    client.create_bucket(Bucket="bucket")
    packed = gzip.compress(file)
    client.put_object(Bucket="bucket", Key="1.bmp", Body=packed, ContentEncoding="gzip")
    client.close()
    generation_of(tmp_path / "snapshots", [file])
    orders = Orders(
        places=(Place("s3://bucket/", endpoint=store),),
        image_bytes=1 << 20,
        decode_sandbox="off",
        allow_http=True,
        revision=7,
    )
    async with engine_of(orders, tmp_path / "snapshots") as engine:
        result = await engine.scan(Batch(1, 0, (Listed("1.bmp", len(packed)),)))
    assert [each.outcome for each in result.records] == [Outcome.MATCHED]
