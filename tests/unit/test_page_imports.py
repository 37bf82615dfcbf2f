"""Pages of exchanges into a catalog: entries, the same page again, withdrawals by a later one."""

from __future__ import annotations

import json

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import FullListRefusedError
from hashlists.importer import FullList, import_file, import_files
from hashlists.importing.run import UNKNOWN_WITHDRAWAL
from hashlists.model import HashKind
from tests.catalog_support import DEMO
from tests.export_support import value

MORE = "one page of several: what stands on the following pages is not in it"


def ncmec(numbers, gone, *, more):
    entries = "".join(
        f'<image><member id="42">x</member><id>{number}</id><fingerprints>'
        f"<pdq>{value(HashKind.PDQ, number).hex()}</pdq></fingerprints></image>"
        for number in numbers
    )
    deleted = "".join(
        f'<deletedImage><member id="42"/><id>{number}</id></deletedImage>' for number in gone
    )
    paging = "<paging><next>/v2/entries?start=1</next></paging>" if more else ""
    return (
        '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">'
        f"<images>{entries}{deleted}</images>{paging}</queryResult>"
    )


def stopncii(numbers, gone, *, more):
    records = [
        {
            "signalType": "ImagePDQ",
            "hashValue": value(HashKind.PDQ, number).hex(),
            "hashStatus": "Withdrawn" if number in gone else "Active",
        }
        for number in [*numbers, *gone]
    ]
    return json.dumps({"hashRecords": records, "hasMoreRecords": more, "nextPageToken": "x"})


def threatexchange(numbers, gone, *, more):
    records = [
        {
            "id": str(number),
            "type": "HASH_PDQ",
            "indicator": value(HashKind.PDQ, number).hex(),
            "should_delete": number in gone,
            "descriptors": {"data": [{"status": "MALICIOUS", "owner": {"id": "1"}}]},
        }
        for number in [*numbers, *gone]
    ]
    paging = {"cursors": {"after": "x"}, **({"next": "https://x"} if more else {})}
    return json.dumps({"data": records, "paging": paging})


def tat(numbers, gone, *, more):
    records = [
        {
            "id": number,
            "algorithm": "PDQ",
            "hash_digest": value(HashKind.PDQ, number).hex(),
            "ideology": "islamist",
            "deleted": number in gone,
        }
        for number in [*numbers, *gone]
    ]
    return json.dumps({"results": records, "next": "https://x/y" if more else None})


@pytest.mark.parametrize("make", [ncmec, stopncii, threatexchange, tat])
def test_pages_add_and_withdraw_and_touch_nothing_else(make, tmp_path):
    def bring(name, text):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return import_file(
            catalog, path, list_name=DEMO.name, format=make.__name__, importer="a person"
        )

    with Catalog.open(f"sqlite:///{tmp_path}/catalog/catalog.db") as catalog:
        catalog.create_list(DEMO, author="a person")
        first = bring("1", make(range(20), [], more=True))
        assert (first.read, first.added, first.rejected) == (20, 20, 0)
        assert dict(first.notes) == {MORE: 1}
        again = bring("1", make(range(20), [], more=True))
        assert (again.revision, again.unchanged) == (0, 20)
        second = bring("2", make(range(20, 25), [3, 4, 99], more=False))
        assert (second.read, second.added) == (8, 5)
        assert dict(second.notes) == {UNKNOWN_WITHDRAWAL: 1}
        assert catalog.get_list(DEMO.name).coverage.entries == 23
        repeated = bring("2", make(range(20, 25), [3, 4, 99], more=False))
        assert repeated.revision == 0
        listed_again = bring("3", make([3], [], more=False))
        assert listed_again.updated == 1
        assert catalog.get_list(DEMO.name).coverage.entries == 24


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog/catalog.db") as opened:
        opened.create_list(DEMO, author="a person")
        yield opened


def bring_all(catalog, folder, make, *texts, full=None):
    paths = [folder / f"{number}.page" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    how = {"list_name": DEMO.name, "format": make.__name__, "importer": "a person"}
    return import_files(catalog, paths, full=full, **how)


@pytest.mark.parametrize("make", [ncmec, stopncii, threatexchange, tat])
class TestSets:
    def test_more_pages_are_noted_once_and_only_where_the_last_is_missing(
        self, make, catalog, tmp_path
    ):
        first = make(range(3), [], more=True)
        second = make(range(3, 6), [], more=True)
        last = make(range(6, 9), [], more=False)
        assert dict(bring_all(catalog, tmp_path, make, first, second).notes) == {MORE: 1}
        assert dict(bring_all(catalog, tmp_path, make, first, second, last).notes) == {}

    @pytest.mark.parametrize("force", [False, True])
    def test_without_the_last_page_they_are_no_whole_list(self, make, force, catalog, tmp_path):
        bring_all(catalog, tmp_path, make, make(range(10), [], more=False))
        full = FullList(force=force)
        pages = [make(range(5), [], more=True), make(range(5, 9), [], more=True)]
        with pytest.raises(FullListRefusedError, match="last page is not among them"):
            bring_all(catalog, tmp_path, make, *pages, full=full)
        assert catalog.get_list(DEMO.name).coverage.entries == 10
        whole = [pages[0], make(range(5, 9), [], more=False)]
        assert bring_all(catalog, tmp_path, make, *whole, full=full).retracted == 1


API = "https://api.example/x"
WHOLE = FullList(force=True)


def tat_page(numbers, **members):
    return json.dumps({**json.loads(tat(numbers, [], more=False)), **members})


def threatexchange_page(numbers, **paging):
    document = json.loads(threatexchange(numbers, [], more=False))
    document["paging"].update(paging)
    return json.dumps(document)


PARTS = {
    "ThreatExchange's last page": (
        threatexchange,
        [threatexchange_page(range(9), previous=API)],
        "pages before them",
    ),
    "ThreatExchange's changes since a moment": (
        threatexchange,
        [
            threatexchange_page(range(5), next=f"{API}?start_time=1700000000"),
            threatexchange_page(range(5, 9)),
        ],
        "only what changed after some moment",
    ),
    "TAT's last page": (tat, [tat_page(range(9), previous=API)], "pages before them"),
    "TAT's changes since a checkpoint": (
        tat,
        [tat_page(range(9), previous=f"{API}?after=1700000000,7&limit=5")],
        "only what changed after some moment",
    ),
    "TAT's first page and another whole list": (
        tat,
        [tat_page(range(5), previous=None, next=API), tat_page(range(5, 9), previous=None)],
        "the page behind one of them",
    ),
    "TAT's first and last page without those between": (
        tat,
        [
            tat_page(range(5), previous=None, next=API, count=10),
            tat_page(range(5, 9), previous=API, count=10),
        ],
        "they hold 9 of 10 records",
    ),
}


@pytest.mark.parametrize(("make", "texts", "why"), PARTS.values(), ids=list(PARTS))
def test_pages_that_show_that_they_are_a_part_are_no_whole_list(
    make, texts, why, catalog, tmp_path
):
    bring_all(catalog, tmp_path, make, make(range(10), [], more=False))
    with pytest.raises(FullListRefusedError, match=why) as raised:
        bring_all(catalog, tmp_path, make, *texts, full=WHOLE)
    assert API not in str(raised.value)
    assert catalog.get_list(DEMO.name).coverage.entries == 10
    assert bring_all(catalog, tmp_path, make, *texts).unchanged == 9


def test_all_pages_of_a_set_are_a_whole_list(catalog, tmp_path):
    bring_all(catalog, tmp_path, tat, tat(range(10), [], more=False))
    whole = [
        tat_page(range(5), previous=None, next=API, count=9),
        tat_page(range(5, 9), previous=API, count=9),
    ]
    assert bring_all(catalog, tmp_path, tat, *whole, full=FullList()).retracted == 1


def linked(number):
    """An entry of NCMEC's that is known only by what its server keeps."""
    return (
        f'<video><member id="42">x</member><id>{number}</id><fingerprints>'
        '<tmk-pdqf rel="self" href="/v2/x"/></fingerprints></video>'
    )


def test_entries_that_nothing_can_match_neither_fail_an_import_nor_stay(catalog, tmp_path):
    bring_all(catalog, tmp_path, ncmec, ncmec(range(10), [], more=False))
    videos = "".join(map(linked, [*range(100, 150), 4]))
    known = [number for number in range(10) if number != 4]
    text = ncmec(known, [], more=False).replace("</images>", f"</images><videos>{videos}</videos>")
    report = bring_all(catalog, tmp_path, ncmec, text, full=FullList())
    assert (report.read, report.rejected, report.retracted, report.absent) == (60, 0, 1, 0)
    assert UNKNOWN_WITHDRAWAL not in report.notes
    note = next(each for each in report.notes if "cannot be matched" in each)
    assert report.notes[note] == 51
    assert bring_all(catalog, tmp_path, ncmec, text, full=FullList()).revision == 0
    back = bring_all(catalog, tmp_path, ncmec, ncmec(range(10), [], more=False))
    assert (back.updated, back.unchanged) == (1, 9)
