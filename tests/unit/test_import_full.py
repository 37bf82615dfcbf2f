"""Files that are a whole list: what they leave out goes, unless something speaks against it."""

from __future__ import annotations

import hashlib

import pytest

from hashlists.catalog import Catalog
from hashlists.catalog.stage_result import PURGED_RECORDS, PURGED_VALUES
from hashlists.errors import (
    FullListRefusedError,
    ImportConflictError,
    ImportDeclinedError,
    OptionsError,
    TooManyRejectionsError,
)
from hashlists.importer import FullList, import_file, import_files
from hashlists.importing.full import Absent
from hashlists.model import HashKind
from tests.catalog_support import DEMO, require_coverage
from tests.catalog_support import in_force as entries_in_force
from tests.unit.test_import_sets import HOW, csv, md5, write

ALL = tuple(range(10))


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog/catalog.db") as opened:
        opened.create_list(DEMO, author="a person")
        import_file(opened, *write(tmp_path, {"first.csv": csv(*ALL)}), **HOW)
        yield opened


def bring(catalog, folder, data, full, **more):
    return import_files(catalog, write(folder, {"next.csv": data}), full=full, **{**HOW, **more})


def in_force(catalog):
    require_coverage(catalog)
    return catalog.get_list("demo").coverage.entries


def test_what_is_left_out_is_retracted_in_the_same_revision(catalog, tmp_path):
    report = bring(catalog, tmp_path, csv(*ALL[1:], 99), FullList())
    assert (report.revision, report.added, report.retracted, report.unchanged) == (3, 1, 1, 9)
    assert in_force(catalog) == 10
    again = bring(catalog, tmp_path, csv(*ALL[1:], 99), FullList(confirm=_never))
    assert (again.revision, again.retracted, again.unchanged) == (0, 0, 10)


def test_without_the_order_nothing_is_retracted(catalog, tmp_path):
    report = bring(catalog, tmp_path, csv(99), None)
    assert (report.retracted, in_force(catalog)) == (0, 11)


def test_it_is_asked_with_the_numbers(catalog, tmp_path):
    asked = []
    full = FullList(confirm=lambda absent: bool(asked.append(absent)))
    with pytest.raises(ImportDeclinedError, match="nothing was imported"):
        bring(catalog, tmp_path, csv(*ALL[2:], 99), full)
    assert asked == [Absent(2, 10)]
    assert asked[0].share == 0.2
    assert (catalog.head(), in_force(catalog)) == (2, 10)


def test_more_than_were_agreed_to_are_refused(catalog, tmp_path):
    with pytest.raises(ImportDeclinedError, match="more than the 1 agreed to"):
        bring(catalog, tmp_path, csv(*ALL[2:]), FullList(confirmed=1))
    assert bring(catalog, tmp_path, csv(*ALL[2:]), FullList(confirmed=2)).retracted == 2


def test_a_large_share_is_refused_without_force(catalog, tmp_path):
    with pytest.raises(
        FullListRefusedError, match=r"30\.0% of them, above the limit of 20\.0%; .*--force"
    ):
        bring(catalog, tmp_path, csv(*ALL[3:]), FullList())
    assert in_force(catalog) == 10
    assert bring(catalog, tmp_path, csv(*ALL[3:]), FullList(max_share=0.3)).retracted == 3
    assert bring(catalog, tmp_path, csv(0), FullList(force=True)).retracted == 7
    assert in_force(catalog) == 1


def test_rejected_records_may_be_what_is_absent(catalog, tmp_path):
    data = csv(*ALL[1:]) + b"no digest\n"
    with pytest.raises(FullListRefusedError, match="1 record was rejected"):
        bring(catalog, tmp_path, data, FullList(), max_rejected_share=1)
    assert in_force(catalog) == 10
    report = bring(catalog, tmp_path, data, FullList(force=True), max_rejected_share=1)
    assert (report.retracted, report.rejected) == (1, 1)


def test_a_rejected_record_does_no_harm_where_nothing_is_absent(catalog, tmp_path):
    data = csv(*ALL) + b"no digest\n"
    report = bring(catalog, tmp_path, data, FullList(), max_rejected_share=1)
    assert (report.retracted, report.rejected) == (0, 1)


def test_another_format_may_know_records_by_other_keys(catalog, tmp_path):
    empty = b'{"@odata.context": "http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media",'
    more = {"format": "vics", "options": {}}
    with pytest.raises(FullListRefusedError, match="the last import was of the format csv"):
        bring(catalog, tmp_path, empty + b' "value": []}', FullList(max_share=1), **more)
    assert in_force(catalog) == 10


def test_a_set_is_one_list(catalog, tmp_path):
    paths = write(tmp_path, {"a.csv": csv(*ALL[:5]), "b.csv": csv(*ALL[5:9])})
    assert import_files(catalog, paths, full=FullList(), **HOW).retracted == 1


def test_a_dry_run_tells_and_asks_nobody(catalog, tmp_path):
    full = FullList(confirm=_never, confirmed=0)
    report = bring(catalog, tmp_path, csv(*ALL[1:]), full, dry_run=True)
    assert (report.retracted, report.revision) == (1, 0)
    assert (catalog.head(), in_force(catalog)) == (2, 10)
    with pytest.raises(FullListRefusedError):
        bring(catalog, tmp_path, csv(1), full, dry_run=True)


def test_a_dry_run_tells_what_would_change_though_it_would_be_refused(catalog, tmp_path):
    refusals = []
    how = {"dry_run": True, "tell_refusal": refusals.append}
    report = bring(catalog, tmp_path, csv(1, 77), FullList(), **how)
    assert (report.added, report.unchanged, report.retracted, report.absent) == (1, 1, 9, 9)
    (refusal,) = refusals
    assert isinstance(refusal, FullListRefusedError)
    assert "9 of 10 entries in force are not in the file" in str(refusal)
    bad = csv(*ALL[1:]) + b"no digest\nnor this\n"
    report = bring(catalog, tmp_path, bad, FullList(), **how)
    assert (report.rejected, report.retracted) == (2, 1)
    assert [type(each) for each in refusals[1:]] == [TooManyRejectionsError, FullListRefusedError]
    assert (catalog.head(), in_force(catalog)) == (2, 10)


def test_what_can_be_no_whole_list_is_tried_as_an_addition(catalog, tmp_path):
    refusals = []
    head = b'{"format":"hashwarden","version":1,"since":3}\n'
    data = head + b'{"md5":"%s"}\n{"records":1}\n' % md5(99).encode()
    how = {"dry_run": True, "tell_refusal": refusals.append, "format": "jsonl", "options": {}}
    report = bring(catalog, tmp_path, data, FullList(force=True), **how)
    assert (report.added, report.retracted) == (1, 0)
    assert "the files are a delta" in str(refusals[0])


def test_only_a_dry_run_tells_in_place_of_refusing(catalog, tmp_path):
    with pytest.raises(FullListRefusedError):
        bring(catalog, tmp_path, csv(1), FullList(), tell_refusal=_never)
    with pytest.raises(TooManyRejectionsError):
        bring(catalog, tmp_path, csv() + b"no digest\n", None, tell_refusal=_never)
    assert (catalog.head(), in_force(catalog)) == (2, 10)


def test_the_order_is_a_part_of_what_a_key_stands_for(catalog, tmp_path):
    bring(catalog, tmp_path, csv(*ALL[1:]), None, idempotency_key="k")
    with pytest.raises(ImportConflictError):
        bring(catalog, tmp_path, csv(*ALL[1:]), FullList(), idempotency_key="k")
    first = bring(catalog, tmp_path, csv(*ALL[1:]), FullList(), idempotency_key="l")
    again = bring(catalog, tmp_path, csv(*ALL[1:]), FullList(confirm=_never), idempotency_key="l")
    assert (first.retracted, again.retracted, again.repeated) == (1, 1, True)


def test_what_comes_back_is_told_as_updated(catalog, tmp_path):
    bring(catalog, tmp_path, csv(*ALL[1:]), FullList())
    assert bring(catalog, tmp_path, csv(*ALL), FullList()).updated == 1
    assert in_force(catalog) == 10


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_shares_are_shares(share):
    with pytest.raises(OptionsError, match="from 0 to 1"):
        FullList(max_share=share)


def _never(absent):
    raise AssertionError(absent)


def test_what_shares_a_code_with_a_purged_entry_is_no_reject_and_no_loss(tmp_path):
    """Two copies of a picture, of which one is purged: the list's own file goes on counting."""

    def row(number):
        code = hashlib.sha256(f"made up {max(number, 1)}".encode()).hexdigest()
        return f"{md5(number)},{code}\n"

    data = ("md5,pdq\n" + "".join(map(row, range(30)))).encode()
    how = {**HOW, "options": {"columns.md5": "md5", "columns.pdq": "pdq"}}
    with Catalog.open(f"sqlite:///{tmp_path}/other/catalog.db") as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, tmp_path, data, None, **how)
        opened.purge("demo", [min(entries_in_force(opened))], author="a person", reason="made up")
        for full in (None, FullList()):
            report = bring(opened, tmp_path, data, full, **how)
            assert (report.rejected, report.unchanged, report.absent) == (0, 29, 0)
            assert report.notes == {PURGED_RECORDS: 1}
            assert in_force(opened) == 29
        rest = data.replace(row(29).encode(), b"")
        assert bring(opened, tmp_path, rest, FullList(), **how).retracted == 1


def test_codes_that_are_left_out_are_told(catalog, tmp_path):
    code = hashlib.sha256(b"made up").hexdigest()
    how = {**HOW, "options": {"columns.md5": "md5", "columns.pdq": "pdq"}}
    bring(catalog, tmp_path, f"md5,pdq\n{md5(77)},{code}\n".encode(), None, **how)
    catalog.purge("demo", [max(entries_in_force(catalog))], author="a person", reason="made up")
    report = bring(catalog, tmp_path, f"md5,pdq\n{md5(78)},{code}\n".encode(), None, **how)
    assert (report.added, report.rejected, report.notes) == (1, 0, {PURGED_VALUES: 1})
    assert report.coverage.by_kind == {HashKind.MD5: 1}
