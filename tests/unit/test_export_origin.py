"""What a file says of the list that it comes from, and where it may therefore go."""

from __future__ import annotations

import contextlib
import csv
import io

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import FormatError, FullListRefusedError, HarmMismatchError
from hashlists.exporter import ExportRequest, export_lists, export_to_stream
from hashlists.formats.losses import SHARED_KEY
from hashlists.formats.registry import FORMATS, open_reader, written_format_names
from hashlists.importer import FullList, import_file, import_files
from hashlists.limits import ImportLimits
from hashlists.model import Harm, HashKind, HashList
from tests.catalog_support import DEMO, Item, bring, items

#: Formats whose files say what harm they are about.
CARRIES_HARM = ("csv", "jsonl", "parquet", "stix")


class SameHash(Item):
    """A record with the hashes of that name, under another key."""

    @property
    def key(self):
        return b"\x00another"


def request(**fields):
    return ExportRequest(**{"format": "jsonl", "recipients": None, **fields})


def named(harm, more="full"):
    """The name of a list of that harm."""
    return f"{harm.replace('_', '-')}-{more}"


def read_back(catalog, path, list_name, name, **more):
    """Imports a file of that format."""
    own = {"columns": "hashwarden"} if name in ("csv", "jsonl", "parquet") else {}
    return import_file(
        catalog, path, list_name=list_name, format=name, options=own, importer="a person", **more
    )


def without_harm(path, name):
    """Takes the column out of a file of the own layout, as earlier versions wrote none."""
    if name == "jsonl":
        path.write_bytes(path.read_bytes().replace(b'"harm":"csam",', b""))
    elif name == "csv":
        rows = list(csv.reader(path.read_text().splitlines()))
        at = rows[0].index("harm")
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows(row[:at] + row[at + 1 :] for row in rows)
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        parquet.write_table(parquet.read_table(path).drop_columns(["harm"]), path)
    assert b"harm" not in path.read_bytes()


def test_rows_of_one_hash_are_counted_where_it_is_the_key(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as opened:
        opened.create_list(HashList("one", Harm.TEST, "made up"), author="a person")
        first, other = items("a", "b", kinds=(HashKind.MD5,))
        bring(opened, [first, SameHash("a", kinds=(HashKind.MD5,)), other], list_name="one")
        target = tmp_path / "out.csv"
        report = export_lists(opened, target, request(list_names=["one"], format="icse"))
        assert (report.entries, report.losses[SHARED_KEY]) == (3, 1)
        opened.create_list(HashList("back", Harm.TEST, "made up"), author="a person")
        assert read_back(opened, target, "back", "icse", max_rejected_share=1.0).added == 2


def test_the_formats_that_tell_the_harm():
    told = [name for name in written_format_names() if FORMATS[name].written_for is None]
    assert tuple(told) == CARRIES_HARM


class TestHarm:
    """What a list is about goes with it, or it does not go."""

    @pytest.fixture(scope="class")
    @classmethod
    def listed(cls, tmp_path_factory):
        """A list of each harm with two entries, and one that no test fills."""
        url = f"sqlite:///{tmp_path_factory.mktemp('harms') / 'catalog.db'}"
        with Catalog.open(url) as opened:
            for harm in Harm:
                for name in (named(harm), named(harm, "empty")):
                    opened.create_list(HashList(name, harm, "a source"), author="a person")
                bring(opened, items("x", "y", kinds=(HashKind.MD5,)), list_name=named(harm))
            yield opened

    @pytest.mark.parametrize("name", written_format_names())
    def test_formats_that_tell_no_harm_are_written_for_their_own(self, listed, name):
        options = {"profile": "US"} if name == "vics" else {}
        for harm in Harm:
            wanted = request(list_names=[named(harm)], format=name, options=options)
            if name in CARRIES_HARM or harm in (Harm.CSAM, Harm.TEST):
                assert export_to_stream(listed, io.BytesIO(), wanted).entries == 2
                continue
            with pytest.raises(HarmMismatchError, match="csv, jsonl, parquet or stix"):
                export_to_stream(listed, io.BytesIO(), wanted)

    @pytest.mark.parametrize("name", CARRIES_HARM)
    def test_a_file_goes_into_lists_of_its_harm(self, listed, tmp_path, name):
        before = listed.head()
        for harm in (Harm.CSAM, Harm.NCII, Harm.KNOWN_GOOD, Harm.TEST):
            target = tmp_path / harm
            export_lists(listed, target, request(list_names=[named(harm)], format=name))
            for other in Harm:
                into = named(other, "empty")
                if other is harm or (other is Harm.TEST and harm is not Harm.KNOWN_GOOD):
                    assert read_back(listed, target, into, name, dry_run=True).added == 2
                    continue
                with pytest.raises(HarmMismatchError, match=f"entries of harm {harm}, but"):
                    read_back(listed, target, into, name, dry_run=other is Harm.TERRORISM)
        assert listed.head() == before

    @pytest.mark.parametrize("name", CARRIES_HARM)
    def test_withdrawals_tell_it_too(self, listed, tmp_path, name):
        own = named(Harm.NCII, name)
        listed.create_list(HashList(own, Harm.NCII, "a source"), author="a person")
        before = bring(listed, items("x", "y"), list_name=own).revision.number
        bring(listed, list_name=own, gone=items("x", "y"))
        target = tmp_path / "out"
        wanted = request(list_names=[own], format=name, since=before)
        assert export_lists(listed, target, wanted).retracted == 2
        with pytest.raises(HarmMismatchError, match="entries of harm ncii"):
            read_back(listed, target, named(Harm.CSAM, "empty"), name)

    def test_a_harm_that_is_not_known_here_fits_no_list(self, listed, tmp_path):
        target = tmp_path / "out"
        export_lists(listed, target, request(list_names=[named(Harm.CSAM)]))
        target.write_bytes(target.read_bytes().replace(b'"harm":"csam"', b'"harm":"arson"', 1))
        with pytest.raises(HarmMismatchError, match="does not know") as caught:
            read_back(listed, target, named(Harm.CSAM, "empty"), "jsonl")
        assert "arson" not in str(caught.value)

    def test_a_harm_that_comes_late_in_a_file_counts(self, listed, tmp_path, monkeypatch):
        monkeypatch.setattr("hashlists.importing.run.ROWS_PER_TRANSACTION", 1)
        target = tmp_path / "out"
        export_lists(listed, target, request(list_names=[named(Harm.CSAM)]))
        head, first, last, end = target.read_bytes().splitlines(keepends=True)
        last = last.replace(b'"harm":"csam"', b'"harm":"ncii"')
        target.write_bytes(head + first + last + end)
        with pytest.raises(HarmMismatchError, match="entries of harm ncii"):
            import_file(
                listed, target, list_name=named(Harm.CSAM, "empty"), format="jsonl",
                importer="a person", limits=ImportLimits(max_batch_rows=1),
            )  # fmt: skip

    @pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
    def test_a_file_of_an_earlier_version_says_nothing(self, listed, tmp_path, name):
        target = tmp_path / "out"
        export_lists(listed, target, request(list_names=[named(Harm.CSAM)], format=name))
        without_harm(target, name)
        into = named(Harm.NCII, "empty")
        assert read_back(listed, target, into, name, dry_run=True).added == 2


class TestListsOfOneFile:
    """Entries of several lists are never taken for one list's."""

    @pytest.fixture
    def two(self, tmp_path):
        """The same two entries in both lists; one of them withdrawn from one list."""
        with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as opened:
            both = items("x", "y", kinds=(HashKind.MD5,))
            for name in ("one", "two", "back"):
                opened.create_list(HashList(name, Harm.CSAM, "a source"), author="a person")
                if name != "back":
                    bring(opened, both, list_name=name)
            bring(opened, list_name="one", gone=both[:1])
            yield opened

    @pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
    def test_files_of_several_lists_are_not_one_import(self, two, tmp_path, name):
        files = []
        for each in ("one", "two"):
            files.append(tmp_path / f"{each}.out")
            export_lists(two, files[-1], request(list_names=[each], format=name))
        with pytest.raises(FormatError, match="of several lists"):
            import_files(
                two, files, list_name="back", format=name, importer="a person",
                options={"columns": "hashwarden"},
            )  # fmt: skip
        assert not two.was_filled("back")

    def test_nor_is_a_file_that_holds_several(self, two, tmp_path):
        target = tmp_path / "out.csv"
        export_lists(two, target, request(list_names=["two"], format="csv"))
        text = target.read_text()
        assert text.count(",two,") == 2
        target.write_text(text.replace(",two,", ",one,", 1))
        with pytest.raises(FormatError, match="of several lists"):
            read_back(two, target, "back", "csv")

    def test_a_delta_of_several_lists_withdraws_what_the_one_withdrew(self, two, tmp_path):
        since = two.head() - 1
        for at, said in enumerate(({"upto": since}, {"since": since})):
            target = tmp_path / str(at)
            wanted = request(list_names=["one", "two"], format="stix", **said)
            export_lists(two, target, wanted)
            read_back(two, target, "back", "stix")
        assert two.get_list("back").coverage.entries == 3


class TestDelta:
    """What changed is never taken for all that there is."""

    @pytest.fixture
    def grown(self, tmp_path):
        """A list that had two entries and then three, and the revision of the two."""
        with Catalog.open(f"sqlite:///{tmp_path / 'catalog.db'}") as opened:
            for name in ("one", "back"):
                opened.create_list(HashList(name, Harm.CSAM, "a source"), author="a person")
            since = bring(opened, items("x", "y"), list_name="one").revision.number
            bring(opened, items("z"), list_name="one")
            yield opened, since

    @pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
    def test_it_is_no_whole_list_forced_or_not(self, grown, tmp_path, name):
        catalog, since = grown
        whole, delta = tmp_path / "whole", tmp_path / "delta"
        export_lists(catalog, whole, request(list_names=["one"], format=name))
        wanted = request(list_names=["one"], format=name, since=since)
        assert export_lists(catalog, delta, wanted).entries == 1
        assert read_back(catalog, whole, "back", name, full=FullList()).added == 3
        for force in (False, True):
            with pytest.raises(FullListRefusedError, match="the files are a delta"):
                read_back(catalog, delta, "back", name, full=FullList(force=force))
        assert read_back(catalog, delta, "back", name).unchanged == 1
        assert read_back(catalog, whole, "back", name, full=FullList()).unchanged == 3
        assert catalog.get_list("back").coverage.entries == 3

    @pytest.mark.parametrize("name", ["csv", "jsonl", "parquet"])
    def test_nor_is_it_where_its_columns_are_declared_by_hand(self, grown, tmp_path, name):
        catalog, since = grown
        declared = {"columns.key": "key", "columns.md5": "md5", "columns.pdq": "pdq"}
        for at, said in enumerate(({}, {"since": since})):
            target = tmp_path / str(at)
            export_lists(catalog, target, request(list_names=["one"], format=name, **said))
            with target.open("rb") as stream:
                reader = open_reader(stream, format=name, options=declared)
                assert any(batch.delta for batch in reader) is bool(said)
        assert read_back(catalog, tmp_path / "0", "back", name).added == 3
        for force in (False, True):
            with pytest.raises(FullListRefusedError, match="the files are a delta"):
                import_file(
                    catalog, target, list_name="back", format=name, options=declared,
                    importer="a person", full=FullList(force=force), max_rejected_share=1.0,
                )  # fmt: skip
        assert catalog.get_list("back").coverage.entries == 3

    @pytest.mark.parametrize("name", ["csv", "jsonl", "parquet", "stix", "ncmec"])
    @pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 2)])
    def test_it_is_imported_alone(self, grown, tmp_path, name, order):
        catalog, since = grown
        files = []
        for at, said in enumerate(({}, {"since": since}, {"since": since - 1})):
            files.append(tmp_path / str(at))
            export_lists(catalog, files[at], request(list_names=["one"], format=name, **said))
        own = {"columns": "hashwarden"} if name in {"csv", "jsonl", "parquet"} else {}
        with pytest.raises(FormatError, match=r"is a delta.*one after the other"):
            import_files(
                catalog, [files[at] for at in order], list_name="back", format=name,
                options=own, importer="a person", max_rejected_share=1.0,
            )  # fmt: skip
        assert not catalog.was_filled("back")


@pytest.mark.parametrize("name", ["stix", "ncmec"])
def test_two_installations_whose_lists_have_one_name_withdraw_each_their_own(tmp_path, name):
    """Where ids are made by the writer: also the numbers of their entries are the same."""
    with contextlib.ExitStack() as stack:
        one, other, taker = (
            stack.enter_context(Catalog.open(f"sqlite:///{tmp_path}/{each}.db"))
            for each in ("one", "other", "taker")
        )
        for catalog in (one, other, taker):
            catalog.create_list(DEMO, author="a person")
        bring(one, items("a", "b"))
        bring(other, items("a", "z"))
        since = one.head(), other.head()

        def carry(catalog, step, **more):
            path = tmp_path / f"{step}.out"
            export_lists(catalog, path, request(list_names=["demo"], format=name, **more))
            forced = name == "ncmec"  # its deltas beside another sender are refused otherwise
            return read_back(taker, path, "demo", name, force=forced)

        assert [carry(each, number).added for number, each in enumerate((one, other))] == [2, 2]
        assert carry(one, "again").unchanged == 2
        bring(other, gone=items("a"))
        assert carry(other, "delta", since=since[1]).retracted == 1
        assert taker.get_list("demo").coverage.entries == 3
        bring(one, gone=items("a"))
        assert carry(one, "last", since=since[0]).retracted == 1
        assert taker.get_list("demo").coverage.entries == 2
