"""The importer over real files: all or nothing, reported in full, and safe to repeat."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hashlists.catalog import Catalog, StagedImport
from hashlists.errors import (
    CatalogError,
    DigestMismatchError,
    FormatError,
    ImportConflictError,
    ListChangedError,
    ListNotFoundError,
    OptionsError,
    TooManyRejectionsError,
    UnknownFormatError,
)
from hashlists.import_process import main
from hashlists.importer import import_file, report_to_dict
from hashlists.importing import request, run
from hashlists.importing.merging import merge
from hashlists.limits import ImportLimits
from hashlists.model import ExtraHash, Handling, Harm, HashKind, HashList, Retraction
from loadtest.generate_lists import write_list
from tests.catalog_support import DEMO, Item, batch, items, names_in_force

COLUMNS = {"columns.md5": "md5", "columns.size": "size"}
WHO = {"list_name": "demo", "importer": "an importer"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/catalog/catalog.db"


@pytest.fixture
def catalog(url):
    with Catalog.open(url) as opened:
        opened.create_list(DEMO, author="a person")
        yield opened


@pytest.fixture
def vics(tmp_path):
    """300 made-up records."""
    out = io.BytesIO()
    write_list("vics", out, records=300, seed=5)
    path = tmp_path / "list.json"
    path.write_bytes(out.getvalue())
    return path


def md5(number: object) -> str:
    return hashlib.md5(f"made up {number}".encode(), usedforsecurity=False).hexdigest()


def write_csv(path, rows):
    path.write_text("md5,size\n" + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def good_rows(number, start=0):
    return [f"{md5(n)},{n + 1}" for n in range(start, start + number)]


def bring_csv(catalog, path, **more):
    return import_file(catalog, path, format="csv", options=COLUMNS, **WHO, **more)


class TestReport:
    def test_a_first_import(self, catalog, vics):
        report = import_file(catalog, vics, format="vics", reason="monthly", **WHO)
        assert (report.revision, report.read, report.added) == (2, 300, 300)
        assert (report.updated, report.unchanged, report.rejected) == (0, 0, 0)
        assert report.sha256 == hashlib.sha256(vics.read_bytes()).hexdigest()
        assert report.coverage.entries == report.coverage.near_matchable == 300
        assert report.coverage == catalog.get_list("demo").coverage
        assert not report.repeated
        assert report.seconds > 0
        (revision, _) = catalog.list_revisions()
        assert (revision.author, revision.reason) == ("an importer", "monthly")

    def test_the_same_file_again_changes_nothing_and_says_so(self, catalog, vics):
        import_file(catalog, vics, format="vics", **WHO)
        report = import_file(catalog, vics, format="vics", **WHO)
        assert (report.revision, report.unchanged, report.added) == (0, 300, 0)
        assert not report.repeated
        assert catalog.head() == 2

    def test_every_record_is_in_one_of_the_counts(self, catalog, tmp_path):
        bring_csv(catalog, write_csv(tmp_path / "a.csv", good_rows(10)))
        rows = [*good_rows(12), f"{md5(0)},1", f"{md5(1)},999", "nohex,3", f"{md5(2)}x,3"]
        report = bring_csv(catalog, write_csv(tmp_path / "b.csv", rows), max_rejected_share=1)
        assert (report.read, report.added, report.updated) == (16, 2, 0)
        assert (report.unchanged, report.rejected) == (11, 3)
        assert {each.place.number for each in report.rejections} == {15, 16, 17}
        assert report.coverage.entries == 12

    def test_conflicts_count_against_the_share(self, catalog, tmp_path):
        rows = [f"{md5(0)},{size}" for size in (1, 2)]
        path = write_csv(tmp_path / "a.csv", rows)
        with pytest.raises(TooManyRejectionsError, match="1 of 2 records"):
            bring_csv(catalog, path, max_rejected_share=0.4)
        assert bring_csv(catalog, path, max_rejected_share=0.5).rejected == 1

    def test_only_the_first_rejections_are_spelt_out(self, catalog, tmp_path):
        path = write_csv(tmp_path / "a.csv", [f"bad{n},1" for n in range(20)])
        limits = ImportLimits(max_reported_rejections=7)
        report = bring_csv(catalog, path, max_rejected_share=1, limits=limits)
        assert (report.rejected, len(report.rejections)) == (20, 7)
        assert report.revision == 0

    def test_as_a_dictionary(self, catalog, tmp_path):
        rows = [*good_rows(3), "nohex,1"]
        path = write_csv(tmp_path / "a.csv", rows)
        report = bring_csv(catalog, path, max_rejected_share=0.25)
        shown = json.loads(json.dumps(report_to_dict(report)))
        assert shown["revision"] == 2
        assert (shown["read"], shown["added"], shown["rejected"]) == (4, 3, 1)
        assert shown["coverage"]["by_kind"]["md5"] == 3
        assert shown["coverage"]["share_by_kind"]["md5"] == 1.0
        assert shown["coverage"]["near_matchable_share"] == 0.0
        (rejection,) = shown["rejections"]
        assert set(rejection) == {"place", "field", "reason"}
        assert "line 5" in rejection["place"]
        assert "nohex" not in json.dumps(shown)

    def test_kept_retracted(self, catalog, vics):
        import_file(catalog, vics, format="vics", **WHO)
        ids = sorted(names_in_force_ids(catalog))[:3]
        catalog.retract("demo", ids, author="an operator", reason="wrong")
        report = import_file(catalog, vics, format="vics", **WHO)
        assert (report.kept_retracted, report.unchanged, report.revision) == (3, 300, 0)

    def test_progress(self, catalog, tmp_path):
        path = write_csv(tmp_path / "a.csv", good_rows(50))
        told: list[tuple[int, int, int]] = []
        limits = ImportLimits(max_batch_rows=10)
        bring_csv(catalog, path, limits=limits, progress=lambda *each: told.append(each))
        assert len(told) >= 5
        assert told == sorted(told)
        assert told[-1][1:] == (path.stat().st_size, 50)
        assert all(done <= total for done, total, _ in told)


def names_in_force_ids(catalog):
    with catalog.read() as reader:
        return [each for columns in reader.entry_columns() for each in columns.entry_ids.tolist()]


class TestNothingIsImported:
    """After every error: the revision as before, no staged row left, the list free for the next."""

    @pytest.fixture(autouse=True)
    def _nothing_changed(self, catalog, tmp_path):
        yield
        assert catalog.head() == 1
        assert names_in_force(catalog) == {}
        assert catalog.sweep() == 0
        path = write_csv(tmp_path / "afterwards.csv", good_rows(2))
        assert bring_csv(catalog, path).added == 2

    def test_a_file_cut_off_anywhere(self, catalog, tmp_path, vics):
        whole = vics.read_bytes()
        path = tmp_path / "cut.json"
        for length in (0, 1, 60, len(whole) // 2, len(whole) - 4):
            path.write_bytes(whole[:length])
            with pytest.raises(FormatError):
                import_file(catalog, path, format="vics", **WHO)

    def test_the_error_names_the_place(self, catalog, tmp_path, vics):
        path = tmp_path / "broken.json"
        lines = vics.read_bytes().split(b"\n")
        path.write_bytes(b"\n".join([*lines[:200], b"]]", *lines[200:]]))
        with pytest.raises(FormatError, match=r"record (199|200|201)"):
            import_file(catalog, path, format="vics", **WHO)

    def test_too_many_rejections(self, catalog, tmp_path):
        path = write_csv(tmp_path / "a.csv", [*good_rows(8), "nohex,1", "nohex,2"])
        with pytest.raises(TooManyRejectionsError, match=r"2 of 10 records.*line 10") as caught:
            bring_csv(catalog, path, max_rejected_share=0.19)
        assert "nohex" not in str(caught.value)

    def test_another_digest(self, catalog, vics):
        with pytest.raises(DigestMismatchError):
            import_file(catalog, vics, format="vics", expected_sha256=bytes(32), **WHO)

    def test_no_such_file_list_format_option_or_share(self, catalog, tmp_path, vics):
        with pytest.raises(FormatError, match="cannot be read"):
            import_file(catalog, tmp_path / "missing", format="vics", **WHO)
        with pytest.raises(FormatError, match="cannot be read"):
            import_file(catalog, tmp_path, format="vics", **WHO)
        with pytest.raises(ListNotFoundError):
            import_file(catalog, vics, format="vics", list_name="nosuch", importer="")
        with pytest.raises(UnknownFormatError):
            import_file(catalog, vics, format="nosuch", **WHO)
        with pytest.raises(OptionsError):
            import_file(catalog, vics, format="vics", options={"nosuch": "x"}, **WHO)
        for share in (-0.1, 1.1, float("nan")):
            with pytest.raises(OptionsError, match="share"):
                import_file(catalog, vics, format="vics", max_rejected_share=share, **WHO)

    def test_a_file_that_changes_meanwhile(self, catalog, tmp_path):
        path = write_csv(tmp_path / "a.csv", good_rows(5))

        def append(*_: int) -> None:
            with path.open("a") as more:
                more.write(f"{md5('more')},1\n")

        with pytest.raises(FormatError, match="changed while it was read"):
            bring_csv(catalog, path, progress=append)

    def test_a_file_overwritten_meanwhile(self, catalog, tmp_path):
        path = write_csv(tmp_path / "a.csv", good_rows(5))
        before = path.stat().st_mtime_ns
        with pytest.raises(FormatError, match="changed while it was read"):
            bring_csv(catalog, path, progress=lambda *_: os.utime(path, ns=(before, before + 1)))

    def test_an_interruption(self, catalog, tmp_path):
        def interrupt(*_: int) -> None:
            raise KeyboardInterrupt

        path = write_csv(tmp_path / "a.csv", good_rows(5))
        with pytest.raises(KeyboardInterrupt):
            bring_csv(catalog, path, progress=interrupt)

    def test_a_read_error(self, catalog, tmp_path, monkeypatch):
        def fail(*_: object) -> None:
            raise OSError(5, "Input/output error")

        path = write_csv(tmp_path / "a.csv", good_rows(5))
        with monkeypatch.context() as patch:
            patch.setattr(request.hashlib, "file_digest", fail)
            with pytest.raises(FormatError, match="Input/output error"):
                bring_csv(catalog, path)


class TestIdempotency:
    def test_the_first_report_again(self, catalog, tmp_path):
        path = write_csv(tmp_path / "a.csv", [*good_rows(9), "nohex,1"])
        more = {"idempotency_key": "key", "max_rejected_share": 0.5}
        first = bring_csv(catalog, path, **more)
        catalog.retract("demo", names_in_force_ids(catalog)[:1], author="", reason="")
        again = bring_csv(catalog, path, **more)
        assert again.repeated
        assert again.revision == first.revision == 2
        for name in ("read", "added", "rejected", "coverage", "rejections", "sha256", "format"):
            assert getattr(again, name) == getattr(first, name)
        assert catalog.head() == 3

    def test_also_where_nothing_had_changed(self, catalog, vics):
        import_file(catalog, vics, format="vics", **WHO)
        first = import_file(catalog, vics, format="vics", idempotency_key="key", **WHO)
        again = import_file(catalog, vics, format="vics", idempotency_key="key", **WHO)
        assert (first.repeated, again.repeated) == (False, True)
        assert again.revision == first.revision == 0

    def test_another_file_or_list_is_a_conflict(self, catalog, tmp_path):
        path = write_csv(tmp_path / "a.csv", good_rows(2))
        bring_csv(catalog, path, idempotency_key="key")
        catalog.create_list(HashList("other", Harm.TEST, "s"), author="a person")
        with pytest.raises(ImportConflictError):
            import_file(
                catalog,
                path,
                list_name="other",
                format="csv",
                options=COLUMNS,
                importer="",
                idempotency_key="key",
            )
        with pytest.raises(ImportConflictError):
            bring_csv(catalog, write_csv(path, good_rows(3)), idempotency_key="key")

    @pytest.mark.parametrize(
        "other",
        [
            {"options": {**COLUMNS, "scheme": "other"}},
            {"options": {"columns.md5": "md5"}},
            {"max_rejected_share": 0.5},
            {"format": "vics"},
        ],
    )
    def test_another_way_to_import_is_a_conflict(self, catalog, tmp_path, other):
        """Or whoever corrects a mapping would be told that all is well, and get nothing."""
        path = write_csv(tmp_path / "a.csv", good_rows(2))
        same = {"format": "csv", "options": COLUMNS, "idempotency_key": "key", **WHO}
        assert import_file(catalog, path, **same).added == 2
        with pytest.raises(ImportConflictError, match="another format, other options"):
            import_file(catalog, path, **{**same, **other})
        in_other_order = dict(reversed(COLUMNS.items()))
        assert import_file(catalog, path, **{**same, "options": in_other_order}).repeated

    def test_a_failed_import_can_be_repeated_under_its_key(self, catalog, tmp_path):
        path = write_csv(tmp_path / "a.csv", [*good_rows(1), "nohex,1"])
        with pytest.raises(TooManyRejectionsError):
            bring_csv(catalog, path, idempotency_key="key", max_rejected_share=0)
        report = bring_csv(catalog, path, idempotency_key="key", max_rejected_share=0.5)
        assert (report.added, report.repeated) == (1, False)


class TestClassifications:
    def bring(self, catalog, path, notes, **more):
        hashed = (hashlib.md5(str(n).encode()).hexdigest() for n in range(len(notes)))
        rows = "".join(f"{md5},{note}\n" for md5, note in zip(hashed, notes, strict=True))
        path.write_text("md5,note\n" + rows)
        options = {"columns.md5": "md5", "columns.category": "note", "scheme": "made-up"}
        return import_file(catalog, path, format="csv", options=options, **more, **WHO)

    def known(self, catalog):
        with catalog.read() as reader:
            return {each.code for each in reader.classifications().values()}

    def test_too_many_are_refused(self, catalog, tmp_path):
        few = ImportLimits(max_classifications=3, max_batch_rows=2)
        with pytest.raises(FormatError, match=r"more than 3 different.*columns\.category"):
            self.bring(catalog, tmp_path / "a.csv", "aabbcd", limits=few)
        assert (catalog.head(), self.known(catalog)) == (1, set())
        assert self.bring(catalog, tmp_path / "a.csv", ["a", "", "b", "c"], limits=few).added == 4

    def test_a_refused_import_leaves_none(self, catalog, tmp_path, monkeypatch):
        monkeypatch.setattr(run, "ROWS_PER_TRANSACTION", 2)
        batches = ImportLimits(max_batch_rows=2)
        self.bring(catalog, tmp_path / "a.csv", ["a"])
        with pytest.raises(TooManyRejectionsError):
            self.bring(
                catalog, tmp_path / "a.csv", ["b", "a", "c,", "d", "e", "f,"], limits=batches
            )
        assert self.known(catalog) == {"a"}


class TestMerge:
    def test_rows_kinds_extras_and_places(self):
        first = batch([*items("a", "b", kinds=(HashKind.MD5,))])
        c = Item("c", (HashKind.PDQ,), extra=((HashKind.PDQ, bytes(32)),))
        second = batch([c], first_place=7)
        third = batch(items("d"), first_place=20)
        merged = merge([first, second, batch([]), third])
        assert merged.keys == [*first.keys, *second.keys, *third.keys]
        md5s = [*first.hashes[HashKind.MD5], None, *third.hashes[HashKind.MD5]]
        assert merged.hashes[HashKind.MD5] == md5s
        assert merged.hashes[HashKind.PDQ][:2] == [None, None]
        assert merged.extra_hashes == [ExtraHash(2, HashKind.PDQ, bytes(32))]
        assert [merged.place_at(row).number for row in range(4)] == [1, 2, 7, 20]

    def test_one_stays_as_it_is(self):
        only = batch(items("a"))
        assert merge([only]) is only

    def test_batches_fill_transactions(self, catalog, tmp_path, monkeypatch):
        sizes: list[int] = []
        monkeypatch.setattr(run, "ROWS_PER_TRANSACTION", 25)

        def counted(some):
            sizes.append(sum(map(len, some)))
            return merge(some)

        monkeypatch.setattr(run, "merge", counted)
        path = write_csv(tmp_path / "a.csv", good_rows(60))
        assert bring_csv(catalog, path, limits=ImportLimits(max_batch_rows=10)).added == 60
        assert sum(sizes) == 60
        assert max(sizes) <= 25
        assert len(sizes) < 6


def test_retractions_are_staged(catalog, tmp_path, monkeypatch):
    path = write_csv(tmp_path / "a.csv", good_rows(3))
    bring_csv(catalog, path)
    key = catalog.entry(names_in_force_ids(catalog)[0]).key
    validate = run.validate

    def with_retraction(raw, **more):
        good = validate(raw, **more)
        return type(good)(good.entries, [Retraction(key, "withdrawn")], good.rejections)

    monkeypatch.setattr(run, "validate", with_retraction)
    report = bring_csv(catalog, write_csv(path, good_rows(2, start=1)))
    assert (report.read, report.unchanged) == (3, 2)
    assert catalog.list_revisions()[0].retracted == 1
    assert len(names_in_force_ids(catalog)) == 2


@pytest.mark.parametrize("gone", ["deleted", "of a type that cannot be matched"])
def test_withdrawals_wait_for_no_entry(catalog, tmp_path, monkeypatch, gone):
    """However many a file has in a row, no more are held than entries would be."""
    path = tmp_path / "tat.json"
    record = {"id": 0, "algorithm": "SHA512", "deleted": gone == "deleted"}
    listed = {"id": 10**6, "algorithm": "MD5", "hash_digest": md5(1), "deleted": False}
    path.write_text(json.dumps({"results": [*({**record, "id": n} for n in range(100)), listed]}))
    monkeypatch.setattr(run, "ROWS_PER_TRANSACTION", 30)
    held = []
    stage = StagedImport.stage_retractions

    def watched(self, retractions):
        held.append(len(retractions))
        return stage(self, retractions)

    monkeypatch.setattr(StagedImport, "stage_retractions", watched)
    catalog.create_list(HashList("terror", Harm.TERRORISM, "made up"), author="test")
    report = import_file(
        catalog, path, list_name="terror", format="tat", importer="a person",
        limits=ImportLimits(max_batch_rows=10, block_bytes=1024),
    )  # fmt: skip
    assert (report.read, report.added, sum(held)) == (101, 1, 100)
    assert max(held) <= 30


class TestProgram:
    def run(self, capsys, *arguments: object) -> tuple[int, list[dict]]:
        status = main([str(each) for each in arguments])
        return status, [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    def test_progress_and_report(self, capsys, catalog, url, vics):
        digest = hashlib.sha256(vics.read_bytes()).hexdigest()
        status, lines = self.run(
            capsys,
            *("--catalog", url, "--file", vics, "--list", "demo", "--format", "vics"),
            *("--importer", "me", "--reason", "why", "--idempotency-key", "k"),
            *("--sha256", digest, "--max-rejected-share", "0.5"),
        )
        assert status == 0
        assert lines[0]["progress"].keys() == {"bytes_read", "total_bytes", "records_read"}
        assert lines[-1]["report"]["added"] == 300
        assert catalog.find_import("k").source.reason == "why"

    def test_an_error(self, capsys, catalog, url, vics):
        status, lines = self.run(
            capsys,
            *("--catalog", url, "--file", vics, "--list", "nosuch", "--format", "vics"),
            *("--importer", "me"),
        )
        assert status == 1
        (line,) = lines
        assert line["error"]["reason"] == "LIST_NOT_FOUND"
        assert "nosuch" in line["error"]["message"]

    def test_options(self, capsys, catalog, url, tmp_path):
        path = write_csv(tmp_path / "a.csv", good_rows(2))
        arguments = ("--catalog", url, "--file", path, "--list", "demo", "--format", "csv")
        status, lines = self.run(
            capsys, *arguments, "--importer", "me", "--option", "columns.md5=md5"
        )
        assert (status, lines[-1]["report"]["added"]) == (0, 2)
        with pytest.raises(SystemExit):
            main([*map(str, arguments), "--importer", "me", "--option", "nonsense"])
        assert "KEY=VALUE" in capsys.readouterr().err

    def test_an_unusable_catalog(self, capsys, tmp_path, vics):
        status, lines = self.run(
            capsys,
            *("--catalog", "nonsense", "--file", vics, "--list", "l", "--format", "vics"),
            *("--importer", "me"),
        )
        assert status == 1
        assert lines[0]["error"]["reason"] == CatalogError.reason


def test_a_list_is_prepared_after_the_file_has_proved_good(catalog, tmp_path):
    def create():
        catalog.create_list(replace(catalog.get_list("demo").hash_list, name="new"), author="us")

    def bring_new(path, **more):
        options = {"columns.md5": "md5"}
        return import_file(
            catalog, path, list_name="new", format="csv", options=options, importer="us", **more
        )

    file = tmp_path / "a.csv"
    for text, error in [
        ("other\n", OptionsError),
        ("md5\nnone\n", TooManyRejectionsError),
        (f'md5\n{md5(1)}\n"{md5(2)}', FormatError),
    ]:
        file.write_text(text)
        with pytest.raises(error):
            bring_new(file, prepare_list=create)
        with pytest.raises(ListNotFoundError):
            catalog.get_list("new")
    file.write_text(f"md5\n{md5(1)}\n")
    with pytest.raises(ListNotFoundError):
        bring_new(file)
    assert bring_new(file, prepare_list=create).added == 1


def test_entries_never_take_over_another_handling_than_their_list_has(catalog, tmp_path):
    file = tmp_path / "a.csv"
    file.write_text(f"md5\n{md5(1)}\n")
    made = replace(catalog.get_list("demo").hash_list, name="new", handling=Handling("us", ("b",)))
    how = {
        "list_name": "new",
        "format": "csv",
        "options": {"columns.md5": "md5"},
        "importer": "us",
        "prepare_list": lambda: catalog.create_list(made, author="us"),
    }
    with pytest.raises(ListChangedError, match="import them again"):
        import_file(catalog, file, **how)
    assert catalog.get_list("new").coverage.entries == 0
    assert import_file(catalog, file, **how | {"prepare_list": None}).added == 1
    assert import_file(catalog, file, **how | {"prepare_list": None}).unchanged == 1


def test_what_was_left_aside_is_told(catalog, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text(f"md5,size\n{md5(1)},1\n{md5(2)},2")  # valid, without a last line end
    report = import_file(catalog, path, format="csv", options=COLUMNS, idempotency_key="k", **WHO)
    assert report.added == 2
    assert sum(report.notes.values()) == 1
    again = import_file(catalog, path, format="csv", options=COLUMNS, idempotency_key="k", **WHO)
    assert again.notes == report.notes
    assert report_to_dict(report)["notes"] == dict(report.notes)


def test_a_pipe_is_refused_in_words(catalog):
    source, sink = os.pipe()
    os.close(sink)
    with os.fdopen(source), pytest.raises(FormatError, match="a pipe cannot be imported"):
        import_file(
            catalog,
            Path(f"/dev/fd/{source}"),
            list_name="demo",
            format="csv",
            options={"columns.md5": "md5"},
            importer="us",
        )


def test_the_module_run_as_a_program_says_what_to_run_instead():
    done = subprocess.run(
        [sys.executable, "-m", "hashlists.importer", "list.json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "hashwarden lists import" in done.stderr
