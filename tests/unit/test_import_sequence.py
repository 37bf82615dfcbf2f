"""Files that Hashwarden wrote are taken in their order, and of one sender alone."""

from __future__ import annotations

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import FileOrderError, FormatError
from hashlists.exporter import ExportRequest, export_lists
from hashlists.formats.delta_mark import FileMark, sender_id
from hashlists.importer import FullList, import_files
from hashlists.importing.sequence import SECOND_SENDER, WITHOUT_BASE
from matcher import cli
from tests.catalog_support import DEMO, bring, items
from tests.unit.test_import_older import FIRST, LATER, ncmec

FORMATS = ("csv", "jsonl", "parquet", "stix", "ncmec")
TABLES = FORMATS[:3]


class Sender:
    """A catalog with a list, and its files."""

    def __init__(self, catalog, folder, name):
        self.catalog, self.name, self._folder = catalog, name, folder
        catalog.create_list(DEMO, author="a person")

    def file(self, step, since=0, upto=None, fmt="jsonl"):
        path = self._folder / f"{self.name}-{step}"
        wanted = ExportRequest(
            list_names=["demo"], format=fmt, recipients=None, since=since, upto=upto
        )
        export_lists(self.catalog, path, wanted)
        return path


@pytest.fixture
def opened(tmp_path):
    """Opens catalogs that are closed at the end."""
    catalogs = []

    def open_one(name):
        catalogs.append(Catalog.open(f"sqlite:///{tmp_path / name}.db"))
        return catalogs[-1]

    yield open_one
    for each in catalogs:
        each.close()


@pytest.fixture
def sender(opened, tmp_path):
    return Sender(opened("one"), tmp_path, "one")


@pytest.fixture
def taker(opened):
    catalog = opened("taker")
    catalog.create_list(DEMO, author="a person")
    return catalog


def take(catalog, *paths, fmt="jsonl", **more):
    return import_files(
        catalog, paths, list_name="demo", format=fmt, importer="a person",
        options={"columns": "hashwarden"} if fmt in TABLES else {}, **more,
    )  # fmt: skip


def in_force(catalog):
    return catalog.get_list("demo").coverage.entries


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_older_file_undoes_nothing(sender, taker, fmt):
    bring(sender.catalog, items("a", "b"))
    begun = sender.catalog.head()
    bring(sender.catalog, gone=items("a"))
    middle = sender.catalog.head()
    bring(sender.catalog, items("a"))
    files = [
        sender.file("whole", upto=begun, fmt=fmt),
        sender.file("first", since=begun, upto=middle, fmt=fmt),
        sender.file("second", since=middle, fmt=fmt),
    ]
    counts = []
    for each in files:
        take(taker, each, fmt=fmt)
        counts.append(in_force(taker))
    assert counts == [2, 1, 2]
    for older in files[:2]:
        with pytest.raises(FileOrderError, match=r"would undo what .*--force"):
            take(taker, older, fmt=fmt)
        assert in_force(taker) == 2
    assert take(taker, files[2], fmt=fmt).unchanged == 1  # the same one again
    report = take(taker, files[1], fmt=fmt, force=True)
    assert (report.retracted, in_force(taker)) == (1, 1)
    assert any("--force" in note for note in report.notes)
    assert take(taker, files[2], fmt=fmt).updated == 1  # follows what was forced


def test_a_gap_is_told(sender, taker):
    bring(sender.catalog, items("a"))
    begun = sender.catalog.head()
    bring(sender.catalog, items("b"))
    middle = sender.catalog.head()
    bring(sender.catalog, items("c"))
    take(taker, sender.file("whole", upto=begun))
    late = sender.file("late", since=middle)
    with pytest.raises(FileOrderError, match=f"ask for one since {begun}"):
        take(taker, late)
    assert in_force(taker) == 1
    refused = []
    report = take(taker, late, dry_run=True, tell_refusal=refused.append)
    assert (report.added, [type(each) for each in refused]) == (1, [FileOrderError])
    assert take(taker, sender.file("early", since=begun, upto=middle)).added == 1
    assert take(taker, late).added == 1
    assert take(taker, sender.file("both", since=begun)).unchanged == 2


def test_a_delta_alone_is_no_list(sender, taker):
    bring(sender.catalog, items("a"))
    begun = sender.catalog.head()
    bring(sender.catalog, items("b"))
    delta = sender.file("delta", since=begun)
    with pytest.raises(FileOrderError, match="never had the whole list"):
        take(taker, delta)
    assert not taker.was_filled("demo")
    assert take(taker, delta, force=True).added == 1


def test_one_of_an_earlier_version_is_noted(sender, taker):
    bring(sender.catalog, items("a"))
    begun = sender.catalog.head()
    bring(sender.catalog, items("b"))
    delta = sender.file("delta", since=begun)
    said = delta.read_bytes().replace(b'"sender":', b'"x":').replace(b'"upto":', b'"y":')
    delta.write_bytes(said)
    assert take(taker, delta).notes == {WITHOUT_BASE: 1}
    assert take(taker, delta).notes == {}


def test_where_no_key_is_another_senders_lists_go_side_by_side(sender, opened, tmp_path, taker):
    fmt = "stix"
    other = Sender(opened("two"), tmp_path, "two")
    for each in (sender, other):
        bring(each.catalog, items("a", "b"))
    assert take(taker, sender.file("whole", fmt=fmt), fmt=fmt).notes == {}
    assert take(taker, other.file("whole", fmt=fmt), fmt=fmt).notes == {}
    since = sender.catalog.head()
    bring(sender.catalog, gone=items("a"))
    assert take(taker, sender.file("delta", since=since, fmt=fmt), fmt=fmt).retracted == 1
    assert in_force(taker) == 3
    bring(other.catalog, gone=items("a"))
    bring(other.catalog, gone=items("b"))
    late = other.file("late", since=other.catalog.head() - 1, fmt=fmt)
    with pytest.raises(FileOrderError, match="ask for one since"):
        take(taker, late, fmt=fmt)


def test_what_two_senders_have_of_ncmec_has_one_key(sender, opened, tmp_path, taker):
    """Member and id are NCMEC's own, whoever hands the entry on."""
    page = tmp_path / "page"
    page.write_text(ncmec(FIRST), encoding="utf-8")
    other = Sender(opened("two"), tmp_path, "two")
    for each in (sender, other):
        take(each.catalog, page, fmt="ncmec")
    assert take(taker, sender.file("whole", fmt="ncmec"), fmt="ncmec").added == 1
    report = take(taker, other.file("whole", fmt="ncmec"), fmt="ncmec")
    assert (report.unchanged, report.notes) == (1, {SECOND_SENDER: 1})
    since = sender.catalog.head()
    page.write_text(ncmec(LATER, gone=True), encoding="utf-8")
    assert take(sender.catalog, page, fmt="ncmec").retracted == 1
    delta = sender.file("delta", since=since, fmt="ncmec")
    with pytest.raises(FileOrderError, match="what the one withdraws the other may hold"):
        take(taker, delta, fmt="ncmec")
    assert in_force(taker) == 1
    assert take(taker, delta, fmt="ncmec", force=True).retracted == 1


@pytest.mark.parametrize("fmt", TABLES)
def test_what_one_sender_withdraws_another_keeps(sender, opened, tmp_path, taker, fmt):
    other = Sender(opened("two"), tmp_path, "two")
    for each in (sender, other):
        bring(each.catalog, items("a", "b"))
    assert take(taker, sender.file("whole", fmt=fmt), fmt=fmt).notes == {}
    assert take(taker, other.file("whole", fmt=fmt), fmt=fmt).notes == {SECOND_SENDER: 1}
    since = sender.catalog.head()
    bring(sender.catalog, gone=items("a"))
    delta = sender.file("delta", since=since, fmt=fmt)
    with pytest.raises(FileOrderError, match="another sender"):
        take(taker, delta, fmt=fmt)
    assert in_force(taker) == 2
    again = sender.file("again", fmt=fmt)
    assert take(taker, again, fmt=fmt, full=FullList(max_share=1.0)).retracted == 1
    bring(sender.catalog, gone=items("b"))
    last = sender.file("last", since=sender.catalog.head() - 1, fmt=fmt)
    assert take(taker, last, fmt=fmt).retracted == 1  # the other is gone


def test_files_of_two_senders_or_revisions_are_no_set(sender, opened, tmp_path, taker):
    other = Sender(opened("two"), tmp_path, "two")
    bring(sender.catalog, items("a"))
    bring(other.catalog, items("b"))
    old = sender.file("old")
    bring(sender.catalog, items("c"))
    for more in (sender.file("new"), other.file("other")):
        with pytest.raises(FormatError, match="one after the other"):
            take(taker, old, more)
    assert not taker.was_filled("demo")


def test_another_list_of_the_same_catalog_is_another_sender(sender):
    names = [["demo"], ["more"], ["demo", "more"], ["more", "demo"]]
    ids = [sender_id("some catalog", each) for each in names]
    assert len(set(ids)) == 3
    assert ids[2] == ids[3]
    assert sender_id("", ["demo"]) == ""
    assert sender_id("another catalog", ["demo"]) not in ids


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, FileMark()),
        ({"sender": "a" * 20, "upto": "7"}, FileMark("a" * 20, 7)),
        ({"sender": b"p" * 20, "upto": b"7", "since": b"3"}, FileMark("p" * 20, 7, 3)),
        ({"sender": "q" * 20, "upto": 7}, FileMark("", 7)),
        ({"sender": ["a"], "since": "x"}, FileMark(since=0)),
    ],
)
def test_what_a_mark_may_say(said, expected):
    assert FileMark.of(said) == expected
    assert expected.says_anything is bool(expected.sender or expected.since is not None)


def test_the_command_takes_it_where_it_is_forced(sender, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HASHWARDEN_DATA", str(tmp_path / "data"))
    bring(sender.catalog, items("a"))
    begun = sender.catalog.head()
    bring(sender.catalog, items("b"))
    whole, delta = sender.file("whole", upto=begun), sender.file("delta", since=begun)
    words = ["--list", "got", "--format", "jsonl", "--harm", "test", "--source", "B"]
    order = ["lists", "import", str(delta), *words]
    assert cli.main(order) == 2
    assert "import that first" in capsys.readouterr().err
    assert cli.main([*order, "--plan"]) == 2
    assert cli.main(["lists", "import", str(whole), *words]) == 0
    assert cli.main(order) == 0
    assert cli.main(["lists", "import", str(whole), *words]) == 2
    assert cli.main(["lists", "import", str(whole), *words, "--force"]) == 0
    assert "taken by --force" in capsys.readouterr().err
