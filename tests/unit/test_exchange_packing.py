"""Answers of exchanges that are packed: once, and within bounds."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib

import pytest

from hashlists.errors import ExchangePageError
from hashlists.exchanges.http import Http, HttpLimits
from hashlists.exchanges.packing import unpacked
from tests.exchange_servers import SECRETS, Fault, Feed, serve

MIB = 1024 * 1024
PATH = "77/threat_updates/"
HEADERS = {"Authorization": f"Bearer {SECRETS['threatexchange']['access_token']}"}
CONTENT = bytes(range(256)) * 1000


def pieces(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


def packed_zeros(mib):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(mib)) + packer.flush()


@pytest.mark.parametrize("size", [1000, 70_000, 10 * MIB])
@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", "identity, gzip", " , gzip"])
def test_what_is_packed_once_is_unpacked_in_bounded_pieces(coding, size):
    found = list(unpacked(pieces(gzip.compress(CONTENT), size), coding, piece_bytes=4096))
    assert b"".join(found) == CONTENT
    assert max(map(len, found)) <= 4096


@pytest.mark.parametrize("coding", ["", "identity", "identity, identity"])
def test_what_is_plain_stays_as_it_is(coding):
    assert list(unpacked([b"ab", b"c"], coding, piece_bytes=1)) == [b"ab", b"c"]


@pytest.mark.parametrize("coding", ["gzip, gzip", "br", "deflate", "gzip, br", "zstd", "odd name"])
def test_whatever_else_is_refused(coding):
    with pytest.raises(ExchangePageError, match="otherwise than once with gzip"):
        unpacked([], coding, piece_bytes=4096)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"not packed", "as it says"),
        (b"", "ends before"),
        (gzip.compress(CONTENT)[:-1], "ends before"),
        (gzip.compress(CONTENT) + b"\0", "goes on behind"),
        (gzip.compress(CONTENT)[:-8] + bytes(8), "as it says"),
    ],
)
def test_what_is_packed_badly(data, told):
    with pytest.raises(ExchangePageError, match=told):
        list(unpacked(pieces(data, 1000), "gzip", piece_bytes=4096))


@pytest.mark.parametrize(
    ("coding", "packings", "told"),
    [
        ("gzip", 1, "longer than"),
        ("gzip, gzip", 2, "once with gzip"),
        ("gzip,gzip,gzip", 3, "once with gzip"),
    ],
)
def test_few_bytes_never_take_much_memory(coding, packings, told):
    body = packed_zeros(200)
    for _ in range(packings - 1):
        body = gzip.compress(body)
    with serve(Feed("threatexchange")) as server:
        server.faults = [Fault(body=body, headers={"Content-Encoding": coding})]
        tracemalloc.start()
        try:
            with (
                Http(server.url, limits=HttpLimits(answer_bytes=4 * MIB)) as http,
                pytest.raises(ExchangePageError, match=told),
                http.ask(PATH, [("start_time", "0")], headers=HEADERS),
            ):
                pass
            assert tracemalloc.get_traced_memory()[1] < 20 * MIB
        finally:
            tracemalloc.stop()


def test_an_answer_that_packs_nothing_without_end_is_bounded_too():
    block = b"\x00\x00\x00\xff\xff"  # of length 0, stored
    body = gzip.compress(b"")[:10] + block * 2000
    with serve(Feed("threatexchange")) as server:
        server.faults = [Fault(body=body, headers={"Content-Encoding": "gzip"})]
        with (
            Http(server.url, limits=HttpLimits(answer_bytes=1000)) as http,
            pytest.raises(ExchangePageError, match="longer than 1000 bytes"),
            http.ask(PATH, [("start_time", "0")], headers=HEADERS),
        ):
            pass
