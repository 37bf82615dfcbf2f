"""Lists go out alike, and lists tell what they did alike, here and over the network."""

from __future__ import annotations

import asyncio
import gzip
import stat
from dataclasses import replace
from datetime import timedelta

import pyrage
import pytest
import pytest_asyncio

from hashlists.catalog import Catalog
from hashlists.catalog.match_days import today
from hashlists.errors import HashlistsError
from hashlists.exporter import export_lists, export_to_stream
from hashlists.exporting.request import Compression, ExportRequest
from hashlists.model import Handling, Harm, HashKind, HashList, MatchDay
from matcher import settings
from matcher.cli.context import Session
from matcher.cli.keeping import LocalKeeper, RemoteKeeper
from matcher.client import AsyncClient, Client
from matcher.errors import ServerError
from matcher.service.server import running
from tests.catalog_support import CLASS_1, CLASS_2, DEMO, bring, items, value

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOR_A = Handling("us", ("unit-a",))
FOR_BOTH = Handling("us", ("unit-a", "unit-b"))
DAYS = [
    MatchDay("demo", today() - timedelta(days=back), policy, 100 + back, back, 1)
    for back in range(60, -1, -1)
    for policy in ("default", "strict")
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Entries for nobody, for A and for both; one for A withdrawn since revision 3."""
    folder = tmp_path_factory.mktemp("data")
    with Catalog.open(f"sqlite:///{folder / 'catalog.sqlite3'}") as catalog:
        catalog.create_list(DEMO, author="a person")
        catalog.create_list(HashList("ncii", Harm.NCII, "a source"), author="a person")
        later = items("gone", handling=FOR_A)
        bring(
            catalog,
            items("n1", "n2", classification=CLASS_2)
            + items("a1", "a2", handling=FOR_A, classification=CLASS_2)
            + items("a3", handling=FOR_A, classification=None)
            + items("b1", "b2", handling=FOR_BOTH, kinds=(HashKind.MD5, HashKind.PHOTODNA)),
            later,
        )
        bring(catalog, gone=later)
        catalog.add_match_days(DAYS)
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(data):
    one_address = {"listen": "127.0.0.1:0", "lists_listen": "same"}
    free = {**one_address, "admin_listen": "off", "decode_workers": 1}
    async with running(settings.load_settings(data, environ={}, overrides=free)) as server:
        await asyncio.wait_for(server.ready, 60)
        yield server


class Here:
    """The catalog of this machine."""

    def __init__(self, data, _):
        self.url = f"sqlite:///{data / 'catalog.sqlite3'}"

    async def to_file(self, path, request, **options):
        return await asyncio.to_thread(self._to_file, path, request, **options)

    def _to_file(self, path, request, **options):
        with Catalog.open(self.url) as catalog:
            return export_lists(catalog, path, request, **options)

    async def to_stream(self, stream, request):
        with Catalog.open(self.url) as catalog:
            return export_to_stream(catalog, stream, request)

    async def stats(self, name, days):
        with Catalog.open(self.url) as catalog:
            return LocalKeeper(catalog, Session(None)).match_days(name, days)


class There:
    """A server, asked by the blocking client."""

    def __init__(self, _, address):
        self.address = address

    async def to_file(self, path, request, **options):
        with Client(self.address) as client:
            return await asyncio.to_thread(client.export_list, path, request, **options)

    async def to_stream(self, stream, request):
        with Client(self.address) as client:
            return await asyncio.to_thread(client.export_to_stream, stream, request)

    async def stats(self, name, days):
        with Client(self.address) as client:
            keeper = RemoteKeeper(client, "a person")
            return await asyncio.to_thread(keeper.match_days, name, days)


class ThereByLoop:
    """A server, asked by the client for asyncio."""

    def __init__(self, _, address):
        self.address = address

    async def to_file(self, path, request, **options):
        async with AsyncClient(self.address) as client:
            return await client.export_list(path, request, **options)

    async def to_stream(self, stream, request):
        async with AsyncClient(self.address) as client:
            return await client.export_to_stream(stream, request)

    async def stats(self, name, days):
        async with AsyncClient(self.address) as client:
            return [each async for each in client.list_stats(name, days=days)]


#: Each export over the network takes a process of its own, so what both clients share is tried with
#: one of them.
BY_NETWORK = [There, ThereByLoop]
EVERYWHERE = [Here, *BY_NETWORK]


@pytest.fixture(scope="module", params=EVERYWHERE)
def lists(request, data, server):
    return request.param(data, server.address)


@pytest.fixture(scope="module")
def there(data, server):
    return There(data, server.address)


@pytest.fixture(scope="module")
def here(data):
    return Here(data, "")


def wanted(**fields):
    return ExportRequest(
        **{"list_names": ["demo"], "format": "jsonl", "recipients": ["unit-a"], **fields}
    )


def same(report):
    """The report without the only thing that two exports differ in."""
    return replace(report, seconds=0.0)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("out.jsonl.gz", {"recipients": ["unit-a", "unit-b"]}),
        ("out.csv.zst", {"format": "csv", "since": 3, "upto": 4}),
        ("out.bin", {"format": "icse", "since": 2, "compression": Compression.ZSTD}),
        (
            "out.json",
            {"format": "vics", "options": {"profile": "US"}, "classifications": [CLASS_1, None]},
        ),
        ("out.xml", {"format": "ncmec", "kinds": [HashKind.MD5]}),
        ("out.json", {"format": "stix", "classifications": [CLASS_2]}),
        ("out.parquet", {"format": "parquet", "recipients": ["nobody"]}),
    ],
)
async def test_the_same_bytes_and_report(there, here, tmp_path, name, fields):
    if fields.get("format") == "parquet":
        pytest.importorskip("pyarrow")
    mine, theirs = tmp_path / f"here.{name}", tmp_path / name
    expected = await here.to_file(mine, wanted(**fields))
    report = await there.to_file(theirs, wanted(**fields))
    assert same(report) == same(expected)
    assert theirs.read_bytes() == mine.read_bytes()
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o600


async def test_what_goes_out_and_what_is_held_back(lists, tmp_path):
    identity = pyrage.x25519.Identity.generate()
    both = wanted(
        format="icse",
        recipients=["unit-a", "unit-b"],
        encrypt_to=[str(identity.to_public())],
    )
    report = await lists.to_file(tmp_path / "out.csv.gz.age", both)
    assert (report.entries, report.unreleasable, report.held_back, report.expired) == (2, 5, 5, 0)
    assert report.by_recipient == {"unit-a": 2, "unit-b": 5}
    assert (report.losses["originator"], report.losses["releasable to"]) == (2, 2)
    assert report.encrypted_to == tuple(both.encrypt_to)
    assert (report.ending, report.media_type) == (".csv.gz.age", "application/octet-stream")
    sealed = (tmp_path / "out.csv.gz.age").read_bytes()
    content = gzip.decompress(pyrage.decrypt(sealed, [identity])).decode().lower()
    kept, gone = (
        [value(HashKind.MD5, (name, 0)).hex() in content for name in names]
        for names in (("b1", "b2"), ("n1", "a1", "gone"))
    )
    assert all(kept)
    assert not any(gone)


async def test_withdrawals_are_told_or_warned_of(there, here, tmp_path):
    for each in (here, there):
        with (tmp_path / "out").open("wb", buffering=0) as stream:
            report = await each.to_stream(stream, wanted(format="icse", since=3))
            assert not stream.closed
        assert (report.untold, report.retracted, report.since) == (1, 0, 3)
        assert len(report.warnings) == 2  # and that nothing says that it is a delta
        told = (report.compression, report.ending, report.media_type)
        assert told == ("none", ".csv", "text/csv")
        assert report.bytes == (tmp_path / "out").stat().st_size


async def test_what_is_wrong_leaves_no_file(there, here, tmp_path):
    for each in (here, there):
        with pytest.raises((HashlistsError, ServerError)) as caught:
            await each.to_file(tmp_path / "out", wanted(list_names=["demo", "ncii"]))
        assert caught.value.reason == "LIST_HARM_MISMATCH"
        assert list(tmp_path.iterdir()) == []


async def test_a_file_that_is_there_stays(lists, tmp_path):
    target = tmp_path / "out.jsonl"
    target.write_text("mine")
    with pytest.raises(HashlistsError) as caught:
        await lists.to_file(target, wanted())
    assert (caught.value.reason, target.read_text()) == ("EXPORT_TARGET_REFUSED", "mine")
    with pytest.raises(HashlistsError) as caught:
        await lists.to_file(tmp_path / "out.jsonl.age", wanted())
    assert caught.value.reason == "LIST_OPTIONS_INVALID"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("days", [1, 30, 60, 3660])
async def test_what_a_list_did(lists, days):
    assert await lists.stats("demo", days) == DAYS[-2 * days :]


async def test_what_no_list_did(lists):
    assert await lists.stats("ncii", 30) == []
    with pytest.raises((HashlistsError, ServerError)) as caught:
        await lists.stats("nosuch", 30)
    assert caught.value.reason == "LIST_NOT_FOUND"
