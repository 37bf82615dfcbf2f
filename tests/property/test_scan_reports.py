"""Whatever the records: every report has each once, and the totals are theirs."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pyarrow.parquet
from hypothesis import given, settings

from hashlists.formats.csv_cells import FORMULA_STARTS, unguarded
from matcher.scan.model import MatchRecord, Outcome, Record, Way
from matcher.scan.reports import FORMATS, write_reports
from matcher.scan.reports.addresses import moment, within
from matcher.scan.reports.page import adds_up
from matcher.scan.reports.rows import Row
from tests.scan_report_support import PLACES, RECORDS, summary_of

LONG_HEX = re.compile(r"[0-9a-f]{32}")


def expected(record: Record) -> Record:
    """The record without what no such report has; its time as a calendar has it."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    found = moment(record.modified)
    kept = found.timestamp() if found else None
    gone = dict.fromkeys(("md5", "sha1", "sha256", "etag"), "")
    return Record(**{**fields, **gone, "modified": kept})


def as_record(row: dict[str, object], modified: datetime | None) -> Record:
    place = [each.url for each in PLACES].index(row.pop("place"))
    raw = row.pop("raw_name")
    row.pop("address")
    return Record(
        **{
            **row,
            "source": place,
            "outcome": Outcome(row["outcome"]),
            "way": Way(row["way"]),
            "raw": raw,
            "modified": modified.timestamp() if modified else None,
        }
    )


def from_json_lines(content: bytes) -> list[Record]:
    read = []
    for line in content.splitlines():
        row = msgspec.json.decode(line, type=Row)
        assert set(json.loads(line)) <= set(Row.__struct_fields__)
        fields = {name: getattr(row, name) for name in Row.__struct_fields__}
        read.append(
            as_record(fields, datetime.fromisoformat(row.modified) if row.modified else None)
        )
    return read


def from_csv(content: bytes) -> list[Record]:
    read = []
    for cells in csv.DictReader(io.StringIO(content.decode(), newline="")):
        row = {name: unguarded(cell) for name, cell in cells.items()}
        matches = msgspec.json.decode(row["matches"] or "[]", type=tuple[MatchRecord, ...])
        if matches:
            assert row["list"] == matches[0].list
            assert row["severity"] == matches[0].severity
            assert row["distance"] == (
                "" if matches[0].distance is None else str(matches[0].distance)
            )
        fields = {
            **{name: row[name] for name in Row.__struct_fields__},
            **{name: int(row[name]) for name in ("attempts", "revision", "total_matches")},
            "size": int(row["size"]) if row["size"] else None,
            "gaps": tuple(row["gaps"].split()),
            "raw_name": base64.b64decode(row["raw_name"]),
            "matches": matches,
        }
        modified = datetime.fromisoformat(row["modified"]) if row["modified"] else None
        read.append(as_record(fields, modified))
    return read


def from_parquet(content: bytes) -> list[Record]:
    read = []
    for row in pyarrow.parquet.read_table(io.BytesIO(content)).to_pylist():
        fields = {
            name: (b"" if name == "raw_name" else "") if value is None else value
            for name, value in row.items()
        }
        fields["size"], fields["gaps"] = row["size"], tuple(row["gaps"] or ())
        fields["matches"] = tuple(map(a_match, row["matches"] or ()))
        read.append(as_record(fields, row["modified"]))
    return read


def a_match(row: dict[str, object]) -> MatchRecord:
    names = [row.pop(name) for name in ("scheme", "profile", "category")]
    return MatchRecord(**row, classification=None if names[0] is None else tuple(names))


def readings(folder: Path) -> dict[str, list[Record]]:
    return {
        "jsonl": from_json_lines((folder / "report.jsonl").read_bytes()),
        "csv": from_csv((folder / "report.csv").read_bytes()),
        "parquet": from_parquet((folder / "report.parquet").read_bytes()),
    }


@settings(max_examples=25)
@given(RECORDS)
def test_what_is_written_and_read_back_is_the_same_in_every_format(records):
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_reports(folder, summary_of(records), iter(records), FORMATS)
        for read in readings(folder).values():
            assert read == [expected(record) for record in records]
        lines = (folder / "report.jsonl").read_bytes().splitlines()
        for line, record in zip(lines, records, strict=True):
            place = PLACES[record.source].url
            address = json.loads(line)["address"]
            assert address.removeprefix(place).removeprefix("/") == within(record).removeprefix("/")
            assert address.startswith(place)


@settings(max_examples=25)
@given(RECORDS)
def test_only_vics_has_digests_and_no_cell_is_a_formula(records):
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_reports(folder, summary_of(records), iter(records), FORMATS)
        for file in folder.iterdir():
            if file.name != "report.vics.json":
                assert not LONG_HEX.search(file.read_bytes().decode("latin-1")), file.name
        text = (folder / "report.csv").read_bytes().decode()
        for row in csv.reader(io.StringIO(text, newline="")):
            assert not any(cell.startswith((*FORMULA_STARTS, "\n")) for cell in row)


@settings(max_examples=25)
@given(RECORDS)
def test_totals_add_up(records):
    summary = summary_of(records)
    assert adds_up(summary)
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_reports(folder, summary, iter(records), ["html"])
        told = json.loads((folder / "summary.json").read_bytes())
        page = (folder / "report.html").read_text(encoding="utf-8")
    objects = [record for record in records if not record.member]
    assert sum(told["outcomes"].values()) == told["totals"]["listed"] == len(objects)
    assert sum(told["member_outcomes"].values()) == told["totals"]["members"]
    assert told["totals"]["members"] == len(records) - len(objects)
    assert told["scan"]["adds_up"]
    assert "It adds up." in page
    shown = {row["outcome"]: row["number"] for row in tiles(page)}
    assert sum(shown.values()) == len(objects)
    assert shown == {
        str(outcome): sum(record.outcome is outcome for record in objects) for outcome in Outcome
    }


def tiles(page: str) -> list[dict[str, object]]:
    found = re.findall(r'<li class="(\w+)"><b>([\d,]+)</b>', page)
    return [{"outcome": name, "number": int(text.replace(",", ""))} for name, text in found]
