"""Several files, archives and trials: one import, one revision, or nothing at all."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import (
    DigestMismatchError,
    FormatError,
    ImportConflictError,
    ListNotFoundError,
    OptionsError,
    TooManyRejectionsError,
)
from hashlists.importer import import_file, import_files
from hashlists.importing import run
from hashlists.importing.report import from_document, to_document
from hashlists.limits import ImportLimits
from hashlists.model import Retraction
from tests.archive_support import zipped
from tests.catalog_support import DEMO, names_in_force

HOW = {"format": "csv", "options": {"columns.md5": "md5"}, "importer": "us", "list_name": "demo"}
CONTEXT = "http://github.com/ICMEC/ProjectVic/DataModels/1.2.xml#Media"


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog/catalog.db") as opened:
        opened.create_list(DEMO, author="a person")
        yield opened


def md5(number):
    return hashlib.md5(f"made up {number}".encode(), usedforsecurity=False).hexdigest()


def csv(*numbers):
    return ("md5\n" + "".join(f"{md5(number)}\n" for number in numbers)).encode()


def write(folder, files):
    paths = []
    for name, data in files.items():
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    return paths


class TestSets:
    def test_several_files_are_one_revision(self, catalog, tmp_path):
        files = {"b.csv": csv(1, 2), "a.csv": csv(3), "c.csv.gz": gzip.compress(csv(4, 5))}
        told = []
        paths = write(tmp_path, files)
        report = import_files(catalog, paths, progress=lambda *each: told.append(each), **HOW)
        assert (report.revision, report.read, report.added) == (2, 5, 5)
        total = sum(len(data) for data in files.values())
        assert told == sorted(told)
        assert told[-1][2] == 5
        assert {each[1] for each in told} == {total}
        assert told[-1][0] <= total
        each = b"".join(hashlib.sha256(data).digest() for data in files.values())
        assert report.sha256 == hashlib.sha256(each).hexdigest()

    def test_an_archive_is_one_too(self, catalog, tmp_path):
        members = {"a.csv": csv(1), "x/b.csv": csv(2, 3), "__MACOSX/._a.csv": b"x"}
        (path,) = write(tmp_path, {"set.zip": zipped(members)})
        report = import_file(catalog, path, **HOW)
        assert (report.revision, report.added) == (2, 3)
        assert report.notes == {"resource fork in the archive left aside": 1}
        assert report.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    @pytest.mark.parametrize("bad", ["missing", "cut", "foreign", "columns"])
    def test_one_bad_file_and_nothing_is_imported(self, catalog, tmp_path, bad):
        data = {
            "missing": b"",
            "cut": gzip.compress(csv(3))[:-3],
            "foreign": b"\xff\xfe\x00",
            "columns": b"other\n",
        }[bad]
        paths = write(tmp_path, {"a.csv": csv(1, 2), "bad.csv": data})
        if bad == "missing":
            paths[1].unlink()
        with pytest.raises((FormatError, OptionsError), match=r"^bad\.csv"):
            import_files(catalog, paths, **HOW)
        assert catalog.head() == 1
        assert names_in_force(catalog) == {}

    def test_a_bad_member_is_named(self, catalog, tmp_path):
        members = {"a.csv": csv(1), "readme.txt": b"Dear colleague,\n"}
        paths = write(tmp_path, {"set.zip": zipped(members), "z.csv": csv(2)})
        with pytest.raises(OptionsError, match=r"^set\.zip/readme\.txt: "):
            import_files(catalog, paths, **HOW)
        with pytest.raises(OptionsError, match=r"^readme\.txt: "):
            import_files(catalog, paths[:1], **HOW)

    @pytest.mark.parametrize("name", ["vics", "ncmec", "misp", "stix", "icse", "jsonl"])
    def test_a_member_that_is_no_list_says_how_to_leave_it_out(self, catalog, tmp_path, name):
        members = {"README.txt": b"Dear colleague,\n", "list": b"{}"}
        (several,) = write(tmp_path, {"set.zip": zipped(members)})
        (alone,) = write(tmp_path, {"one.zip": zipped({"README.txt": members["README.txt"]})})
        how = {"list_name": "demo", "format": name, "importer": "a person"}
        with pytest.raises((FormatError, OptionsError), match=r"README\.txt.*zip --delete"):
            import_file(catalog, several, **how)
        with pytest.raises((FormatError, OptionsError)) as caught:
            import_file(catalog, alone, **how)
        assert "zip --delete" not in str(caught.value)

    def test_a_list_that_is_cut_off_is_not_to_be_left_out(self, catalog, tmp_path):
        members = {"a.csv": csv(1), "b.csv": csv(*range(2, 5000))[:-3]}
        (path,) = write(tmp_path, {"set.zip": zipped(members)})
        with pytest.raises(FormatError, match="cut off") as caught:
            import_file(catalog, path, **HOW)
        assert "zip --delete" not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "data"),
        [
            ("icse.csv", b"MD5;SHA1\nx;y\n"),
            ("stix.json", b'{"type": "bundle", "objects": []}'),
            ("page.xml", b"<queryResult/>"),
        ],
    )
    def test_a_file_of_another_format_is_not_to_be_fetched_again(
        self, catalog, tmp_path, name, data
    ):
        hash_set = json.dumps({"odata.metadata": CONTEXT, "value": [{"MD5": md5(1)}]}).encode()
        how = {"list_name": "demo", "format": "vics", "importer": "a person"}
        set_ = write(tmp_path, {"set.json": hash_set, name: data})
        with pytest.raises(FormatError, match=f"{name}: .*; it does not look like vics") as caught:
            import_files(catalog, set_, **how)
        assert str(caught.value).endswith("lists inspect tells what format a file looks like)")
        assert "get the file again" not in str(caught.value)
        for cut in (b"", b"<html>", hash_set[:-9], gzip.compress(hash_set)[:-9]):
            set_[1].write_bytes(cut)
            with pytest.raises(FormatError, match="again") as caught:
                import_files(catalog, set_, **how)
            assert "does not look like" not in str(caught.value)

    def test_rejections_name_their_part(self, catalog, tmp_path):
        paths = write(
            tmp_path, {"a.csv": csv(1), "b.zip": zipped({"c.csv": csv(2) + b'nohex\n"x",y\n'})}
        )
        report = import_files(catalog, paths, max_rejected_share=1, idempotency_key="k", **HOW)
        places = [str(each.place) for each in report.rejections]
        assert places == ["line 3 of b.zip/c.csv", "line 4 of b.zip/c.csv"]
        again = import_files(catalog, paths, max_rejected_share=1, idempotency_key="k", **HOW)
        assert again.repeated
        assert again.rejections == report.rejections
        with pytest.raises(TooManyRejectionsError, match=r"line 3 of b\.zip/c\.csv: md5"):
            import_files(catalog, paths, max_rejected_share=0.1, **HOW)

    def test_one_key_in_two_files(self, catalog, tmp_path):
        rows = [b"md5,size\n" + f"{md5(1)},{size}\n".encode() for size in (1, 1, 2)]
        paths = write(tmp_path, {"a": rows[0], "b": rows[1] + b"\n", "c": rows[2]})
        how = {**HOW, "options": {"columns.md5": "md5", "columns.size": "size"}}
        report = import_files(catalog, paths, max_rejected_share=1, **how)
        assert (report.added, report.unchanged, report.rejected) == (1, 1, 1)
        assert str(report.rejections[0].place) == "line 2 of c"

    def test_the_key_covers_all_files_in_order(self, catalog, tmp_path):
        paths = write(tmp_path, {"a": csv(1), "b": csv(2)})
        first = import_files(catalog, paths, idempotency_key="k", **HOW)
        assert import_files(catalog, paths, idempotency_key="k", **HOW).repeated
        for other in (paths[::-1], paths[:1]):
            with pytest.raises(ImportConflictError):
                import_files(catalog, other, idempotency_key="k", **HOW)
        digest = bytes.fromhex(first.sha256)
        assert import_files(catalog, paths, expected_sha256=digest, **HOW).unchanged == 2
        with pytest.raises(DigestMismatchError):
            import_files(catalog, paths[::-1], expected_sha256=digest, **HOW)

    def test_no_file_none_twice_and_not_too_many(self, catalog, tmp_path):
        paths = write(tmp_path, {"a": csv(1), "b": csv(1), "c": csv(2)})
        with pytest.raises(FormatError, match="no file"):
            import_files(catalog, [], **HOW)
        with pytest.raises(FormatError, match="a and b are the same file"):
            import_files(catalog, paths, **HOW)
        with pytest.raises(FormatError, match="max_parts"):
            import_files(catalog, paths[1:], limits=ImportLimits(max_parts=1), **HOW)

    def test_a_file_that_changes_is_named(self, catalog, tmp_path):
        paths = write(tmp_path, {"a": csv(1), "b": csv(2)})

        def change(*_):
            paths[1].write_bytes(csv(3, 4))

        with pytest.raises(FormatError, match=r"^b: the file changed"):
            import_files(catalog, paths, progress=change, **HOW)
        assert catalog.head() == 1

    def test_an_earlier_report_is_still_read(self, catalog, tmp_path):
        (path,) = write(tmp_path, {"a": csv(1) + b"nohex\n"})
        report = import_file(catalog, path, max_rejected_share=1, idempotency_key="k", **HOW)
        finished = catalog.find_import("k")
        document = to_document(report)
        del document["retracted"]
        document["rejections"] = [each[:5] for each in document["rejections"]]
        earlier = type(finished)(
            finished.list_name, finished.source, finished.revision, json.loads(json.dumps(document))
        )
        assert from_document(earlier).rejections == report.rejections
        assert from_document(earlier).retracted == 0


def page(*numbers, following=None, count=None):
    document = {"odata.metadata": CONTEXT, "value": [{"MD5": md5(each)} for each in numbers]}
    if following:
        document["odata.nextLink"] = following
    if count is not None:
        document["odata.count"] = count
    return json.dumps(document).encode()


class TestPages:
    """VICS pages: together they are the set, alone they are not."""

    def bring(self, catalog, tmp_path, *pages):
        paths = write(tmp_path, {f"{number}.json": each for number, each in enumerate(pages)})
        return import_files(catalog, paths, **{**HOW, "format": "vics", "options": {}})

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
    def test_all_pages_make_the_set(self, catalog, tmp_path, order):
        pages = [page(1, 2, following="x?2", count=5), page(3, 4, following="x?3"), page(5)]
        assert self.bring(catalog, tmp_path, *[pages[each] for each in order]).added == 5

    def test_counts_of_their_own_will_do(self, catalog, tmp_path):
        assert self.bring(catalog, tmp_path, page(1, count=1), page(2, 3, count=2)).added == 3

    @pytest.mark.parametrize(
        ("pages", "match"),
        [
            ([page(1, following="x")], "one page of several"),
            ([page(1, following="x"), page(2, following="y")], "last page is not among them"),
            ([page(1, following="x"), page(2, following="x"), page(3)], "the same next page"),
            ([page(1, following="x", count=3), page(2)], "says 3 records"),
            ([page(1, count=3), page(2), page(3)], "says 3 records"),
            ([page(1, count=3)], "says 3 records"),
        ],
    )
    def test_a_set_with_a_page_missing_is_refused(self, catalog, tmp_path, pages, match):
        with pytest.raises(FormatError, match=match):
            self.bring(catalog, tmp_path, *pages)
        assert catalog.head() == 1


class TestTrials:
    def test_a_trial_tells_what_would_change_and_changes_nothing(self, catalog, tmp_path):
        first, second = write(tmp_path, {"a": csv(1, 2, 3), "b": csv(3, 4) + b"nohex\n"})
        import_file(catalog, first, **HOW)
        more = {"max_rejected_share": 1, "idempotency_key": "k"}
        tried = import_file(catalog, second, dry_run=True, **more, **HOW)
        assert (tried.revision, tried.added, tried.unchanged, tried.rejected) == (0, 1, 1, 1)
        assert catalog.head() == 2
        assert catalog.sweep() == 0
        assert catalog.find_import("k") is None
        done = import_file(catalog, second, **more, **HOW)
        assert not done.repeated
        for name in ("added", "updated", "unchanged", "rejected", "coverage", "rejections"):
            assert getattr(done, name) == getattr(tried, name)

    def test_a_list_that_is_not_there_counts_as_empty(self, catalog, tmp_path):
        (path,) = write(tmp_path, {"a": csv(1, 2)})
        how = {**HOW, "list_name": "new"}

        def never():
            raise AssertionError

        spool = tmp_path / "spool"
        spool.mkdir()
        tried = import_file(catalog, path, dry_run=True, prepare_list=never, spool_dir=spool, **how)
        assert (tried.added, tried.coverage.entries) == (2, 2)
        assert list(spool.iterdir()) == []
        with pytest.raises(ListNotFoundError):
            catalog.get_list("new")
        with pytest.raises(ListNotFoundError):
            import_file(catalog, path, dry_run=True, **how)

    def test_a_bad_file_is_told_in_a_trial(self, catalog, tmp_path):
        (path,) = write(tmp_path, {"a": b"md5\nnohex\n"})
        with pytest.raises(TooManyRejectionsError):
            import_file(catalog, path, dry_run=True, **HOW)

    def test_retractions_are_told(self, catalog, tmp_path, monkeypatch):
        first, second = write(tmp_path, {"a": csv(1, 2), "b": csv(2)})
        import_file(catalog, first, **HOW)
        key = b"\x03" + bytes.fromhex(md5(1))
        validate = run.validate

        def withdrawing(raw, **more):
            good = validate(raw, **more)
            return type(good)(good.entries, [Retraction(key)], good.rejections)

        monkeypatch.setattr(run, "validate", withdrawing)
        assert import_file(catalog, second, dry_run=True, **HOW).retracted == 1
        assert catalog.head() == 2
        assert import_file(catalog, second, **HOW).retracted == 1


def test_observers_see_every_entry_once(catalog, tmp_path):
    numbers = list(range(60))
    paths = write(tmp_path, {"a": csv(*numbers[:50]), "b": csv(*numbers[50:])})
    seen, batches = [], []

    def observe(batch):
        seen.extend(batch.keys)

    import_files(
        catalog,
        paths,
        observers=[observe, batches.append],
        limits=ImportLimits(max_batch_rows=7),
        **HOW,
    )
    assert seen == [b"\x03" + bytes.fromhex(md5(each)) for each in numbers]
    assert sum(map(len, batches)) == 60
    assert len(batches) > 5
