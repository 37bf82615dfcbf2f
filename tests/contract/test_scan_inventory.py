"""An S3 Inventory as the listing: CSV and Parquet, here and in a bucket, whole and damaged."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pyarrow as pa
import pytest
from pyarrow import parquet

from hashlists.errors import UnknownFormatError
from matcher.scan.errors import SourceError
from matcher.scan.model import FailureReason, FetchError, Listed
from matcher.scan.sources import SourceOptions, inventory_rows, open_source
from matcher.scan.sources.addresses import place_of
from tests.s3_server import S3Server, give_credentials

if TYPE_CHECKING:
    from pathlib import Path

    from matcher.scan.sources.base import Source

BUCKET = "listed"
MOMENT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
#: Not in the order of keys, as inventories are not.
NAMES = (
    "z last.jpg", "a+b.jpg", "ünï/日本.jpg", "100%.jpg", "a%2Fb.jpg", "deep/er/x.jpg", "deep/y.jpg",
    "new\nline.jpg", 'quote",comma.jpg', "#1.jpg", "b.jpg",
)  # fmt: skip
CSV_SCHEMA = (
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass"
)
SMALL = SourceOptions(page_objects=3)


@dataclass
class Inventory:
    """What is written into the files: rows as (key, latest, delete marker, size)."""

    rows: list[tuple[str, bool, bool, int]] = field(
        default_factory=lambda: [(name, True, False, 10 + len(name)) for name in NAMES]
    )
    bucket: str = BUCKET

    def csv(self, rows=None, *, quoting=quote) -> bytes:
        out = io.StringIO(newline="")
        writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n")
        for key, latest, marker, size in self.rows if rows is None else rows:
            flags = [str(latest).lower(), str(marker).lower()]
            moment = "2026-03-04T05:06:07.000Z"
            cells = [self.bucket, quoting(key), "v1", *flags, "" if marker else size, moment]
            writer.writerow([*cells, "" if marker else "abc", "STANDARD"])
        return gzip.compress(out.getvalue().encode())

    def parquet(self, rows=None) -> bytes:
        rows = self.rows if rows is None else rows
        table = pa.table(
            {
                "bucket": [self.bucket] * len(rows),
                "key": [each[0] for each in rows],
                "version_id": ["v1"] * len(rows),
                "is_latest": [each[1] for each in rows],
                "is_delete_marker": [each[2] for each in rows],
                "size": pa.array([None if each[2] else each[3] for each in rows], pa.int64()),
                "last_modified_date": pa.array([MOMENT] * len(rows), pa.timestamp("ms")),
                "e_tag": [None if each[2] else "abc" for each in rows],
                "storage_class": ["STANDARD"] * len(rows),
            }
        )
        out = io.BytesIO()
        parquet.write_table(table, out, row_group_size=4)
        return out.getvalue()

    def write(self, folder: Path, form: str, *, halves: bool = True) -> Path:
        """The files, in two parts, beside a manifest as S3 writes it."""
        data = folder / "inventory" / "data"
        data.mkdir(parents=True, exist_ok=True)
        at = len(self.rows) // 2 if halves else len(self.rows)
        files = []
        for number, rows in enumerate((self.rows[:at], self.rows[at:])):
            content = self.csv(rows) if form == "CSV" else self.parquet(rows)
            name = f"part-{number}.{'csv.gz' if form == 'CSV' else 'parquet'}"
            (data / name).write_bytes(content)
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            files.append(
                {"key": f"inventory/data/{name}", "size": len(content), "MD5checksum": digest}
            )
        manifest = {
            "sourceBucket": self.bucket,
            "destinationBucket": "arn:aws:s3:::inventories",
            "version": "2016-11-30",
            "creationTimestamp": "1514944800000",
            "fileFormat": form,
            "fileSchema": CSV_SCHEMA if form == "CSV" else "message s3.inventory {  required ... }",
            "files": files,
        }
        place = folder / "inventory" / "2026-03-05T01-00Z"
        place.mkdir(exist_ok=True)
        (place / "manifest.json").write_text(json.dumps(manifest))
        return place / "manifest.json"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give_credentials(monkeypatch, tmp_path)


def opened(
    inventory: Path | str,
    url: str = f"s3://{BUCKET}",
    *,
    prefix: str = "",
    endpoint: str = "",
    options=SMALL,
) -> Source:
    place = place_of(url, inventory=str(inventory), endpoint=endpoint)
    return open_source(place, prefix=prefix, options=options)


async def pages_of(source: Source, after: str = "") -> list:
    try:
        return [page async for page in source.list(after)]
    finally:
        await source.close()


async def listed(source: Source, after: str = "") -> list[Listed]:
    return [each for page in await pages_of(source, after) for each in page.objects]


def skipped(pages: list) -> dict[str, int]:
    total: dict[str, int] = {}
    for page in pages:
        for reason, number in page.skipped.items():
            total[reason] = total.get(reason, 0) + number
    return total


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
async def test_lists_what_the_files_tell(tmp_path: Path, form: str) -> None:
    manifest = Inventory().write(tmp_path, form)
    assert await listed(opened(manifest)) == [
        Listed(name, 10 + len(name), MOMENT.timestamp(), "abc") for name in NAMES
    ]


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
@pytest.mark.parametrize("page_objects", [1, 2, 3, 5, 100])
async def test_goes_on_behind_each_cursor(tmp_path: Path, form: str, page_objects: int) -> None:
    manifest = Inventory().write(tmp_path, form)
    options = SourceOptions(page_objects=page_objects)
    pages = await pages_of(opened(manifest, options=options))
    everything = [each for page in pages for each in page.objects]
    count = 0
    for page in pages:
        count += len(page.objects)
        assert len(page.objects) <= page_objects
        assert await listed(opened(manifest), page.cursor) == everything[count:]


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
async def test_an_inventory_in_a_bucket_and_its_objects(s3_store: S3Server, form: str) -> None:
    bucket = s3_store.bucket(BUCKET)
    for name in ("deep/y.jpg", "b.jpg"):
        (bucket / name).parent.mkdir(exist_ok=True)
        (bucket / name).write_bytes(name.encode())
    Inventory().write(s3_store.bucket("inventories"), form)
    url = "s3://inventories/inventory/2026-03-05T01-00Z/manifest.json"
    source = opened(url, endpoint=s3_store.endpoint)
    found = {each.key: each for page in [p async for p in source.list()] for each in page.objects}
    assert set(found) == set(NAMES)
    read = await source.fetch(found["deep/y.jpg"], max_bytes=100)
    assert read.data == b"deep/y.jpg"
    assert read.listed.size == 10
    with pytest.raises(FetchError) as caught:
        await source.fetch(found["100%.jpg"], max_bytes=100)
    assert caught.value.reason is FailureReason.VANISHED
    await source.close()
    await source.close()


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
async def test_what_is_no_object_now_is_left_out_and_counted(tmp_path: Path, form: str) -> None:
    rows = [
        ("a.jpg", False, False, 3),
        ("a.jpg", True, False, 5),
        ("gone.jpg", True, True, 0),
        ("gone.jpg", False, False, 9),
        ("folder/", True, False, 0),
        ("folder/with-content/", True, False, 4),
    ]
    pages = await pages_of(opened(Inventory(rows).write(tmp_path, form)))
    assert [(each.key, each.size) for page in pages for each in page.objects] == [
        ("a.jpg", 5),
        ("folder/with-content/", 4),
    ]
    assert skipped(pages) == {"older_version": 2, "delete_marker": 1, "folder_marker": 1}


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
async def test_keys_are_those_below_the_url_and_prefix(tmp_path: Path, form: str) -> None:
    manifest = Inventory().write(tmp_path, form)
    below = await listed(opened(manifest, f"s3://{BUCKET}/deep"))
    assert [each.key for each in below] == ["er/x.jpg", "y.jpg"]
    begun = await listed(opened(manifest, f"s3://{BUCKET}/deep", prefix="er"))
    assert [each.key for each in begun] == ["er/x.jpg"]
    begun = await listed(opened(manifest, prefix="a"))
    assert [each.key for each in begun] == ["a+b.jpg", "a%2Fb.jpg"]


async def test_spaces_may_stand_as_plus_signs(tmp_path: Path) -> None:
    whole = tmp_path / "one.csv.gz"
    header = b"Bucket,Key\n"
    rows = "".join(f'"{BUCKET}","{quote_plus(name)}"\n' for name in NAMES).encode()
    for content in (header + rows, gzip.compress(header + rows), rows):
        whole.write_bytes(content)
        assert [each.key for each in await listed(opened(whole))] == list(NAMES)


async def test_one_file_without_its_manifest(tmp_path: Path) -> None:
    file = tmp_path / "one.parquet"
    file.write_bytes(Inventory().parquet())
    assert [each.key for each in await listed(opened(file))] == list(NAMES)
    file = tmp_path / "one.csv"
    file.write_text(f"Key,Bucket,ETag,Size\nk.jpg,{BUCKET},x,7\n")
    assert await listed(opened(file)) == [Listed("k.jpg", 7, None, "x")]
    file.write_text("")
    assert await listed(opened(file)) == []


async def test_files_may_lie_beside_their_manifest(tmp_path: Path) -> None:
    manifest = Inventory().write(tmp_path, "CSV")
    for name in ("part-0.csv.gz", "part-1.csv.gz"):
        (tmp_path / "inventory" / "data" / name).rename(manifest.parent / name)
    assert len(await listed(opened(manifest))) == len(NAMES)
    (manifest.parent / "part-1.csv.gz").unlink()
    await refused(opened(manifest), "part-1.csv.gz is missing")


async def refused(source: Source, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        await listed(source)


async def test_an_inventory_of_another_bucket(tmp_path: Path) -> None:
    other = Inventory(bucket="another").write(tmp_path, "CSV")
    await refused(opened(other), "lists another bucket than listed")
    file = tmp_path / "one.parquet"
    file.write_bytes(Inventory(bucket="another").parquet())
    await refused(opened(file), "lists another bucket than listed")


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
async def test_a_file_that_is_another_than_the_manifest_tells(tmp_path: Path, form: str) -> None:
    manifest = Inventory().write(tmp_path, form)
    (file,) = (tmp_path / "inventory" / "data").glob("part-1.*")
    content = file.read_bytes()
    for damaged in (content[:-1], content + b"x", bytes(len(content))):
        file.write_bytes(damaged)
        source = opened(manifest)
        pages = source.list()
        first = [await anext(pages) for _ in range(2)]
        assert [each.key for page in first for each in page.objects] == list(NAMES[:5])
        with pytest.raises(SourceError, match=r"part-1.*is damaged, or another file"):
            await anext(pages)
        await source.close()


@pytest.mark.parametrize("form", ["CSV", "Parquet"])
async def test_a_file_that_is_cut_off_anywhere(tmp_path: Path, form: str) -> None:
    inventory = Inventory()
    content = inventory.csv() if form == "CSV" else inventory.parquet()
    file = tmp_path / ("one.csv.gz" if form == "CSV" else "one.parquet")
    if form == "CSV":
        text = b"Bucket,Key,V,IsLatest,IsDeleteMarker,Size,LastModifiedDate,ETag,S\n"
        content = gzip.compress(text + gzip.decompress(content))
    for cut in range(4, len(content), max(1, len(content) // 40)):
        file.write_bytes(content[:cut])
        await refused(opened(file), "cut off or damaged|no columns|is damaged")


async def test_damaged_bytes_end_in_rows_or_a_clear_error(tmp_path: Path) -> None:
    for name, content in (("p.parquet", Inventory().parquet()), ("c.csv.gz", Inventory().csv())):
        file = tmp_path / name
        for at in range(0, len(content), max(1, len(content) // 60)):
            changed = bytearray(content)
            changed[at] ^= 0x55
            file.write_bytes(changed)
            with suppress(SourceError):
                await listed(opened(file))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Name,Place,Size\na,b,c\n", "what its columns are is not told"),
        (f"Bucket,Key,Size\n{BUCKET},k\n", "row 1 has 2 cells, not 3"),
        (f"Bucket,Key,Size\n{BUCKET},k,many\n", "row 1 is none of an inventory"),
        (f"Bucket,Key,Size\n{BUCKET},k,-4\n", "row 1 is none of an inventory"),
        (f"Bucket,Key,Size\n{BUCKET},,4\n", "row 1 is none of an inventory"),
        (f"Bucket,Key,Is_Latest\n{BUCKET},k,perhaps\n", "row 1 is none of an inventory"),
        (f"Bucket,Key,LastModifiedDate\n{BUCKET},k,soon\n", "row 1 is none of an inventory"),
        (f'Bucket,Key\n{BUCKET},"k\n', "cut off or damaged"),
        (f"Bucket,Key\n{BUCKET},%ff%fe\n", "cut off or damaged"),
        (f"{BUCKET},k,true,false,7\n", "give the inventory's manifest.json"),
    ],
)
async def test_rows_that_are_none(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "one.csv"
    file.write_text(text)
    await refused(opened(file), words)


async def test_parquet_files_of_something_else(tmp_path: Path) -> None:
    file = tmp_path / "one.parquet"
    parquet.write_table(pa.table({"name": ["x"]}), file)
    await refused(opened(file), "no columns Bucket and Key")
    parquet.write_table(pa.table({"bucket": [BUCKET], "key": [7]}), file)
    await refused(opened(file), "row 1 is none of an inventory")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("", "is no manifest"),
        ("{", "is no manifest"),
        ("[]", "is no manifest"),
        ('{"sourceBucket": "listed"}', "is no manifest"),
        (
            '{"sourceBucket": "listed", "fileFormat": "ORC", "fileSchema": "", "files": []}',
            "is in ORC, which is not read",
        ),
        (
            '{"sourceBucket": "listed", "fileFormat": "XML", "fileSchema": "", "files": []}',
            "a format that is not read",
        ),
    ],
)
async def test_manifests_that_are_none(tmp_path: Path, manifest: str, words: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(manifest)
    await refused(opened(file), words)


async def test_other_files_that_are_not_read(tmp_path: Path) -> None:
    for name, words in (("x.orc", "is in ORC"), ("x.csv", "is in ORC")):
        (tmp_path / name).write_bytes(b"ORC\x00\x01")
        await refused(opened(tmp_path / name), words)
    await refused(opened(tmp_path / "nothing.json"), "No such file")
    await refused(opened("gs://bucket/manifest.json"), "by its path, or by an s3")
    (tmp_path / "folder.json").mkdir()
    await refused(opened(tmp_path / "folder.json"), "Is a directory")


async def test_an_inventory_that_is_missing_in_its_bucket(s3_store: S3Server) -> None:
    s3_store.bucket("inventories")
    source = opened("s3://inventories/x/manifest.json", endpoint=s3_store.endpoint)
    await refused(source, "a file of the inventory: the store answers 404 NoSuchKey")


async def test_without_the_library_of_parquet(tmp_path: Path, monkeypatch) -> None:
    def missing():
        raise UnknownFormatError("Parquet is not installed here: install the extra parquet")

    monkeypatch.setattr(inventory_rows, "pyarrow_modules", missing)
    file = tmp_path / "one.parquet"
    file.write_bytes(Inventory().parquet())
    await refused(opened(file), "install the extra parquet")


async def test_cursors_of_something_else(tmp_path: Path) -> None:
    manifest = Inventory().write(tmp_path, "CSV")
    with pytest.raises(SourceError, match="none of an inventory"):
        await listed(opened(manifest), "a/key.jpg")


@pytest.mark.parametrize("alone", [False, True])
async def test_no_other_inventory_goes_on_behind_a_place_in_one(
    tmp_path: Path, alone: bool
) -> None:
    def written(inventory: Inventory) -> Path:
        if not alone:
            return inventory.write(tmp_path, "Parquet")
        file = tmp_path / "one.parquet"
        file.write_bytes(inventory.parquet())
        return file

    place = written(Inventory())
    pages = await pages_of(opened(place))
    rest = [each for page in pages[1:] for each in page.objects]
    assert await listed(opened(place), pages[0].cursor) == rest
    written(Inventory(rows=[("new.jpg", True, False, 1), *Inventory().rows]))
    with pytest.raises(SourceError, match="another inventory than the one"):
        await listed(opened(place), pages[0].cursor)


def test_an_inventory_is_in_no_order(tmp_path: Path) -> None:
    source = opened(tmp_path / "manifest.json")
    with pytest.raises(SourceError, match="no order of keys"):
        source.order("k")
    assert source.url == f"s3://{BUCKET}/"


def test_an_inventory_belongs_to_a_bucket_of_s3(tmp_path: Path) -> None:
    for text in (str(tmp_path), "gs://bucket", "az://bucket"):
        with pytest.raises(SourceError, match="lists buckets of S3"):
            place_of(text, inventory="manifest.json")


async def test_listing_may_be_given_up(tmp_path: Path) -> None:
    source = opened(Inventory().write(tmp_path, "CSV"))
    async for _ in source.list():
        break
    await source.close()
