"""What the files of a delta show of entries that are withdrawn, and of a delta without any row."""

from __future__ import annotations

import base64
import io
import json
from datetime import UTC, datetime

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import FullListRefusedError
from hashlists.exporter import ExportRequest, export_lists, export_to_stream
from hashlists.formats.base import DEFAULT_KEY_KINDS
from hashlists.formats.registry import FORMATS, open_reader, written_format_names
from hashlists.importer import FullList, import_file
from hashlists.inspection import inspect_file
from hashlists.model import KEY_TAGS, Classification, Handling, Harm, HashKind, HashList
from matcher import cli
from tests.catalog_support import DEMO, Item, bring, value
from tests.stix_support import problems

WRITE_OPTIONS = {"vics": {"profile": "US"}}
OWN_LAYOUT = ("csv", "jsonl", "parquet")
READ_OPTIONS = {name: {"columns": "hashwarden"} for name in OWN_LAYOUT}
TELLING = [name for name in written_format_names() if FORMATS[name].tells_retractions]
TELLING_DELTA = [name for name in written_format_names() if FORMATS[name].tells_delta]
#: What stands nowhere else in a file.
SOURCE_ID, NOTE = "77001122", "code-of-its-own"
FULL = Item(
    "full",
    tuple(HashKind),
    extra=((HashKind.PDQ, value(HashKind.PDQ, "more")), (HashKind.MD5, value(HashKind.MD5, "m"))),
    size=990_017,
    classification=Classification("scheme-of-its-own", "US", NOTE),
    handling=Handling(
        "originator-of-its-own", ("unit-a", "unit-b"), datetime(2101, 2, 3, tzinfo=UTC)
    ),
    flags=5,
    flags_known=7,
    source_id=SOURCE_ID,
    verified_count=3,
)


class Keyed(Item):
    """A record whose strongest hash is its key."""

    @property
    def key(self):
        kind = next(kind for kind in DEFAULT_KEY_KINDS if kind in self.kinds)
        return KEY_TAGS[kind] + self.hashes[kind]


def forms(kind, content):
    """A hash in every way that a format may write it."""
    numbers = ",".join(map(str, content))
    raw = base64.b64encode(content).decode()
    return [content, content.hex().encode(), content.hex().upper().encode()] + [
        text.encode() for text in (raw, raw.rstrip("="), *([numbers] if len(content) > 8 else []))
    ]


def shown(data, hashes):
    """How many of the hashes stand in the data in any form."""
    return sum(any(form in data for form in forms(*each)) for each in hashes)


def hashes_of(item):
    return [*item.hashes.items(), *item.extra]


def exported(catalog, format_name, **fields):
    stream = io.BytesIO()
    request = ExportRequest(
        **{
            "list_names": ["demo"],
            "format": format_name,
            "recipients": ["unit-a"],
            "options": WRITE_OPTIONS.get(format_name, {}),
            "derived": True,
            **fields,
        }
    )
    report = export_to_stream(catalog, stream, request)
    return stream.getvalue(), report


def plain(data, format_name):
    """The file without Parquet's compression."""
    if format_name != "parquet":
        return data
    parquet = pytest.importorskip("pyarrow.parquet")
    return repr(parquet.read_table(io.BytesIO(data)).to_pylist()).encode() + b"".join(
        each
        for row in parquet.read_table(io.BytesIO(data)).to_pylist()
        for each in row.values()
        if isinstance(each, bytes)
    )


@pytest.fixture
def demo(tmp_path):
    """A list that had an entry with all there is, and one whose key is its digest, for unit A."""
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as opened:
        opened.create_list(DEMO, author="a person")
        opened.create_list(HashList("back", Harm.TEST, "made up"), author="a person")
        yield opened


@pytest.mark.parametrize("name", written_format_names())
@pytest.mark.parametrize("how", ["retracted", "narrowed"])
def test_a_withdrawal_shows_nothing_of_the_entry(demo, name, how):
    since = bring(demo, [FULL]).revision.number
    whole, _ = exported(demo, name)
    assert shown(plain(whole, name), hashes_of(FULL)) > 0
    if how == "retracted":
        bring(demo, gone=[FULL])
    else:
        bring(demo, [FULL.next(handling=Handling("originator-of-its-own", ("unit-b",)))])
    data, report = exported(demo, name, since=since)
    found = plain(data, name)
    assert report.retracted + report.untold == 1
    assert shown(found, hashes_of(FULL)) == shown(found, hashes_of(FULL.next())) == 0
    for text in (NOTE, SOURCE_ID, "990017", "image/jpeg", "2101-02-03", "2026-01-01", "unit-b"):
        assert text.encode() not in found, text
    assert b"-of-its-own" not in found


@pytest.mark.parametrize("name", TELLING)
def test_where_a_digest_is_the_key_it_alone_is_told(demo, name):
    item = Keyed("digest", tuple(HashKind), handling=FULL.handling)
    since = bring(demo, [item]).revision.number
    bring(demo, gone=[item])
    found = plain(exported(demo, name, since=since)[0], name)
    key = [(HashKind.SHA256, item.hashes[HashKind.SHA256])]
    assert shown(found, hashes_of(item)) == shown(found, key) == (name in OWN_LAYOUT)


@pytest.mark.parametrize("name", TELLING)
def test_the_recipient_finds_the_entry_by_what_is_told(demo, tmp_path, name):
    items = [FULL, Keyed("digest", tuple(HashKind), handling=FULL.handling)]
    since = bring(demo, items).revision.number
    for step, gone in enumerate(([], items)):
        if gone:
            bring(demo, gone=gone)
        path = tmp_path / f"{step}.out"
        path.write_bytes(exported(demo, name, since=since if gone else 0)[0])
        report = import_file(
            demo, path, list_name="back", format=name, importer="a person",
            options=READ_OPTIONS.get(name),
        )  # fmt: skip
        assert (report.added, report.retracted) == ((0, 2) if gone else (2, 0))
        assert "withdrawals of entries that the list never held, by that key" not in report.notes
    assert demo.get_list("back").coverage.entries == 0


@pytest.mark.parametrize("name", OWN_LAYOUT)
def test_a_perceptual_hash_that_is_the_key_is_told_as_a_digest_is(demo, tmp_path, name):
    """Nothing else names such an entry, which its recipient was given by that very hash."""
    items = [
        Keyed(f"of {kind}", (kind,), handling=FULL.handling)
        for kind in HashKind
        if not kind.is_digest
    ]
    since = bring(demo, items).revision.number
    path = tmp_path / "whole.out"
    path.write_bytes(exported(demo, name)[0])
    import_file(
        demo, path, list_name="back", format=name, importer="a person",
        options=READ_OPTIONS[name],
    )  # fmt: skip
    bring(demo, gone=items)
    data, report = exported(demo, name, since=since)
    assert (report.entries, report.retracted) == (0, len(items))
    found = plain(data, name)
    assert all(shown(found, hashes_of(each)) == 1 for each in items)
    path = tmp_path / "delta.out"
    path.write_bytes(data)
    delta = import_file(
        demo, path, list_name="back", format=name, importer="a person",
        options=READ_OPTIONS[name],
    )  # fmt: skip
    assert (delta.added, delta.retracted, delta.rejected) == (0, len(items), 0)
    assert delta.notes == {}


def test_a_bundle_withdraws_by_the_ids_of_the_earlier_one(demo):
    since = bring(demo, [FULL]).revision.number
    whole = json.loads(exported(demo, "stix")[0])
    bring(demo, [FULL.next()])
    bring(demo, gone=[FULL])
    delta = json.loads(exported(demo, "stix", since=since)[0])
    (listed,) = (each for each in whole["objects"] if each["type"] == "file")
    (gone,) = (each for each in delta["objects"] if each["type"] == "indicator")
    ((extension, says),) = gone["extensions"].items()
    assert says["entry_id"] == listed["extensions"][extension]["entry_id"]
    assert gone["pattern"] == f"[file:extensions.'{extension}'.entry_id = '{says['entry_id']}']"
    assert (gone["revoked"], says["reason"], says["harm"]) == (True, "withdrawn", "test")
    assert problems(delta) == []


class TestNothingChanged:
    """A delta without any row is one all the same."""

    @pytest.fixture
    def unchanged(self, demo):
        bring(demo, [FULL])
        bring(demo, [FULL], list_name="back")
        return demo, demo.head()

    @pytest.mark.parametrize("name", TELLING_DELTA)
    def test_it_is_no_whole_list_forced_or_not(self, unchanged, tmp_path, name):
        catalog, since = unchanged
        for step, chosen in enumerate(({"since": since}, {"classifications": []})):
            path = tmp_path / f"{step}.out"
            data, report = exported(catalog, name, **chosen)
            path.write_bytes(data)
            assert (report.entries, report.retracted) == (0, 0)
            reader = open_reader(io.BytesIO(data), format=name, options=READ_OPTIONS.get(name))
            batches = list(reader)
            assert any(batch.delta for batch in batches) is bool(report.since)
            assert max((batch.since for batch in batches), default=0) == report.since
        for force in (False, True):
            with pytest.raises(FullListRefusedError, match="the files are a delta"):
                import_file(
                    catalog, tmp_path / "0.out", list_name="back", format=name,
                    importer="a person", options=READ_OPTIONS.get(name),
                    full=FullList(force=force),
                )  # fmt: skip
        assert catalog.get_list("back").coverage.entries == 1

    @pytest.mark.parametrize("name", TELLING_DELTA)
    def test_an_inspection_says_so_first(self, unchanged, tmp_path, name, capsys):
        catalog, since = unchanged
        bring(catalog, items := [Item("a"), Item("b")])
        middle = catalog.head()
        bring(catalog, gone=items)
        for earlier, number in ((since, 0), (middle, 2), (0, 0)):
            path = tmp_path / f"{earlier}.out"
            path.write_bytes(exported(catalog, name, since=earlier, recipients=None)[0])
            reading = inspect_file(path, max_records=1).parts[0].reading
            assert (reading.delta, reading.since) == (bool(earlier), earlier)
            reading = inspect_file(path, max_records=None).parts[0].reading
            assert reading.withdrawn == number
            assert not reading.refused
            assert cli.main(["lists", "inspect", str(path), "--json"]) in (0, 2)
            told = json.loads(capsys.readouterr().out)["parts"][0]["reading"]
            assert (told["delta"], told["since"]) == (bool(earlier), earlier or None)
            cli.main(["lists", "inspect", str(path)])
            words = f"holds\tchanges since revision {earlier}: not the whole list"
            assert (words in capsys.readouterr().out) is bool(earlier)

    def test_an_inspection_suggests_to_import_it_alone(self, unchanged, tmp_path, capsys):
        catalog, since = unchanged
        paths = [tmp_path / name for name in ("delta.jsonl", "one.jsonl", "two.jsonl")]
        for path, earlier in zip(paths, (since, 0, 0), strict=True):
            bring(catalog, [Item(path.name)])
            path.write_bytes(exported(catalog, "jsonl", since=earlier, recipients=None)[0])
        files = list(map(str, paths))
        cli.main(["lists", "inspect", *files])
        told = capsys.readouterr().err.splitlines()
        commands = [line.split(" --")[0] for line in told if "lists import" in line]
        assert [each.split()[-2:] for each in commands] == [files[1:], ["import", files[0]]]

    @pytest.mark.parametrize("name", TELLING_DELTA)
    def test_it_says_since_when(self, unchanged, name):
        catalog, since = unchanged
        data, report = exported(catalog, name, since=since)
        assert report.warnings == ()
        if name == "parquet":
            parquet = pytest.importorskip("pyarrow.parquet")
            told = parquet.read_schema(io.BytesIO(data)).metadata[b"hashwarden.since"].decode()
        else:
            told = {
                "csv": f",delta_since_{since}\r\n",
                "jsonl": f'"since":{since}}}\n',
                "stix": f'"since":{since}}}',
                "ncmec": f' since="{since}"?>',
            }[name]
            assert told in data.decode()
        assert str(since) in told

    def test_of_a_bundle_everything_is_valid(self, unchanged):
        catalog, since = unchanged
        assert problems(json.loads(exported(catalog, "stix", since=since)[0])) == []

    @pytest.mark.parametrize("name", ["icse", "vics"])
    def test_formats_that_cannot_say_it_are_warned_of(self, unchanged, name):
        catalog, since = unchanged
        assert name not in TELLING_DELTA
        _, report = exported(catalog, name, since=since)
        (warning,) = report.warnings
        assert warning.startswith(f"nothing in a file of {name} says that it holds only what")
        assert exported(catalog, name)[1].warnings == ()


@pytest.mark.parametrize("name", ["icse", "ncmec", "vics"])
def test_what_lost_its_last_hash_for_the_format_is_withdrawn(demo, name):
    md5, both = (HashKind.MD5,), (HashKind.MD5, HashKind.DHASH)
    kept, lost = (
        Item(f"42/{own}", kinds, handling=Handling("", ("unit-a",)), source_id=own)
        for own, kinds in (("kept", md5), ("lost", both))
    )
    bring(demo, [kept, lost])
    since = demo.head()
    bring(demo, [lost.next(kinds=(HashKind.DHASH,))])
    data, report = exported(demo, name, since=since)
    told = FORMATS[name].tells_retractions
    assert (report.entries, report.left_out) == (0, 1)
    assert (report.retracted, report.untold) == ((1, 0) if told else (0, 1))
    assert (b"<id>lost</id>" in data) is told
    assert any("no hash left" in each for each in report.warnings) is not told
    _, whole = exported(demo, name)
    assert (whole.entries, whole.left_out, whole.retracted, whole.untold) == (1, 1, 0, 0)


def test_a_file_with_a_name_says_it_too(demo, tmp_path):
    bring(demo, [FULL])
    target = tmp_path / "delta.csv"
    request = ExportRequest(list_names=["demo"], format="csv", recipients=None, since=demo.head())
    assert export_lists(demo, target, request).since == demo.head()
    assert target.read_text().count("\n") == 1
