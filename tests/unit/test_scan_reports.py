"""Reports of a scan as files: whole or not at all, closed to others, encrypted where asked for."""

from __future__ import annotations

import errno
import json
import stat
import tracemalloc

import msgspec
import pyarrow.parquet
import pyrage
import pytest

from hashlists.exporting import whole_file as whole_file_module
from matcher.scan.errors import ReportError
from matcher.scan.model import Outcome, Record, Way
from matcher.scan.reports import FILES, FORMATS, writing
from matcher.scan.reports.addresses import moment_text
from matcher.scan.reports.csv import guarded
from tests.scan_report_support import found_record, summary_of

OLD = b"the report of before"


def changed(record, **fields):
    return Record(
        **{**{name: getattr(record, name) for name in record.__struct_fields__}, **fields}
    )


def write(folder, made, formats=FORMATS, **options):
    return writing.write_reports(folder, summary_of(made), iter(made), formats, **options)


def test_every_format_is_a_file_of_its_own_readable_by_its_owner_alone(tmp_path):
    written = write(tmp_path, [found_record(1), found_record(2)])
    assert [path.name for path in written.files] == [*FILES.values(), "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in written.files
    )
    assert {stat.S_IMODE(path.stat().st_mode) for path in written.files} == {0o600}
    assert written.notes == ()


def test_nothing_is_written_that_was_not_asked_for(tmp_path):
    assert [path.name for path in write(tmp_path, [found_record(1)], ["csv"]).files] == [
        "report.csv",
        "summary.json",
    ]
    assert not (tmp_path / "report.html").exists()


def test_reports_with_addresses_are_encrypted_to_recipients_and_the_others_hold_none(tmp_path):
    keys = [pyrage.x25519.Identity.generate() for _ in range(2)]
    made = [found_record(1), changed(found_record(2), source=1)]
    (tmp_path / "plain").mkdir()
    write(tmp_path / "plain", made)
    write(tmp_path, made, recipients=[str(key.to_public()) for key in keys])
    for name, file in FILES.items():
        if name == "html":
            continue
        assert not (tmp_path / file).exists()
        sealed = (tmp_path / f"{file}.age").read_bytes()
        assert b"album" not in sealed
        for key in keys:
            assert pyrage.decrypt(sealed, [key]) == (tmp_path / "plain" / file).read_bytes()
    for file in ("report.html", "summary.json"):
        text = (tmp_path / file).read_text(encoding="utf-8")
        assert not any(word in text for word in ("album", "holiday", "/srv/uploads", "jpg"))


@pytest.mark.parametrize("recipients", [(), "age"])
def test_a_full_disk_leaves_the_reports_of_before(tmp_path, monkeypatch, recipients):
    to = [str(pyrage.x25519.Identity.generate().to_public())] if recipients else []
    names = [f"{name}.age" if to and name != "report.html" else name for name in FILES.values()]
    for name in [*names, "summary.json"]:
        (tmp_path / name).write_bytes(OLD)
    room = 200_000

    class Full(whole_file_module._Unfinished):
        def __init__(self, folder):
            super().__init__(folder)
            self.stream = _Stream(self.stream)

    class _Stream:
        def __init__(self, stream):
            self._stream = stream

        def write(self, data):
            nonlocal room
            room -= len(data)
            if room < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self._stream.write(data)

        def flush(self):
            self._stream.flush()

        def close(self):
            self._stream.close()

    monkeypatch.setattr(whole_file_module, "_Unfinished", Full)
    made = [found_record(number) for number in range(1, 3_000)]
    with pytest.raises(ReportError, match="No space left on device"):
        write(tmp_path, made, recipients=to)
    assert {path.read_bytes() for path in tmp_path.iterdir()} == {OLD}
    assert len(list(tmp_path.iterdir())) == len(names) + 1


def test_records_that_are_not_those_of_the_sums_are_no_report(tmp_path):
    made = [found_record(1), found_record(2)]
    for given in (made[:1], [*made, found_record(3)]):
        with pytest.raises(ReportError, match=r"\d records, and sums of 2"):
            writing.write_reports(tmp_path, summary_of(made), given, ["jsonl"])
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_records_leaves_nothing_and_passes_through(tmp_path):
    def broken():
        yield found_record(1)
        raise LookupError("as of a damaged state")

    with pytest.raises(LookupError):
        writing.write_reports(tmp_path, summary_of([found_record(1)]), broken(), FORMATS)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_told_with_a_way_out(tmp_path, monkeypatch):
    made = [found_record(1)]
    with pytest.raises(ReportError, match="no report 'pdf'; there are jsonl, csv"):
        write(tmp_path, made, ["pdf"])
    with pytest.raises(ReportError, match="no public key of age"):
        write(tmp_path, made, ["csv"], recipients=["age1nobody"])
    with pytest.raises(ReportError, match="whose categories"):
        write(tmp_path, made, ["vics"], vics_profile="no/profile")
    with pytest.raises(ReportError, match="was not written"):
        write(tmp_path / "absent", made, ["csv"])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ReportError, match="install the extra parquet"):
        write(tmp_path, made)
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_a_report_is_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(OLD)
    (tmp_path / "report.csv").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ReportError, match="symbolic link"):
        write(tmp_path, [found_record(1)], ["csv"])
    assert (tmp_path / "elsewhere").read_bytes() == OLD


def test_sealed_records_leave_the_page_alone(tmp_path):
    summary = summary_of([found_record(1)])
    writing.write_reports(tmp_path, summary, None, ["html"])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "encrypted, so that this page cannot show them" in page
    assert "1-1" not in page
    with pytest.raises(ReportError, match="holds a key"):
        writing.write_reports(tmp_path, summary, None, ["html", "jsonl"])


def test_the_same_records_give_the_same_bytes(tmp_path):
    made = [found_record(number) for number in range(1, 9)]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, made)
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_addresses_join_place_key_and_member(tmp_path):
    made = [
        changed(found_record(1), key="/lead", member=""),
        changed(found_record(2), source=1, key="a.zip", member="in/b %.jpg", raw=b"\xff"),
    ]
    write(tmp_path, made, ["jsonl"])
    rows = [json.loads(line) for line in (tmp_path / "report.jsonl").read_bytes().splitlines()]
    assert [row["address"] for row in rows] == [
        "s3://holiday-bucket/2026//lead",
        "/srv/uploads/a.zip!/in/b %.jpg",
    ]
    assert rows[1]["raw_name"] == "/w=="
    assert "raw_name" not in rows[0]
    assert rows[0]["modified"] == "2023-11-14T22:13:20.250000Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.0, "1970-01-01T00:00:00Z"),
        (-1.5, "1969-12-31T23:59:58.500000Z"),
        (float("nan"), ""),
        (float("inf"), ""),
        (1e12, ""),
        (1e300, ""),
    ],
)
def test_times_that_no_calendar_has_are_left_out(seconds, text):
    assert moment_text(seconds) == text


def test_parquet_is_written_in_groups_of_rows(tmp_path, monkeypatch):
    monkeypatch.setattr("hashlists.formats.parquet_groups._ROWS_IN_GROUP", 3_000)
    made = [found_record(number) for number in range(1, 9_001)]
    write(tmp_path, made, ["parquet"])
    groups = pyarrow.parquet.ParquetFile(tmp_path / "report.parquet").metadata
    assert groups.num_rows == 9_000
    assert groups.num_row_groups == 3


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\ta", "\ra", "\na", "'a", "\uff1d1"])
def test_a_cell_that_would_be_a_formula_gets_an_apostrophe(text):
    assert guarded(text) == "'" + text
    assert guarded(f"a{text}") == f"a{text}"


def test_memory_does_not_grow_with_the_number_of_records(tmp_path):
    def peak(number):
        plain = Record("1-1", 0, "key", Outcome.NO_KNOWN_MATCH, Way.FETCHED)
        summary = summary_of([plain])
        summary.tally.objects = number
        tracemalloc.start()
        try:
            some = (plain for _ in range(number))
            writing.write_reports(tmp_path, summary, some, ["jsonl", "csv", "vics", "html"])
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(10)
    assert peak(40_000) < 1.5 * peak(10_000) + 1_000_000


def test_the_fields_that_are_documented_are_those_that_are_written(tmp_path):
    from pathlib import Path

    from matcher.scan.reports.csv import COLUMNS
    from matcher.scan.reports.rows import FIELDS

    page = Path(__file__).parents[2].joinpath("docs/scan-reports.md").read_text(encoding="utf-8")
    for name in {*FIELDS, *COLUMNS}:
        assert f"`{name}`" in page, name
    for name in FILES.values():
        assert f"`{name}`" in page, name
    write(tmp_path, [found_record(1)], ["html"])
    for name in msgspec.json.decode((tmp_path / "summary.json").read_bytes()):
        assert f"`{name}`" in page, name
