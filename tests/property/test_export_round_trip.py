"""Lists that go from one catalog to another, by way of every format that is written.

What must come back is what the table in docs/formats.md says; where that says *in part*, the rules
below say for which entries.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hashlists.catalog import Catalog, ExportSelection
from hashlists.catalog.records import to_microseconds
from hashlists.exporter import ExportRequest, export_lists
from hashlists.formats import losses
from hashlists.formats.base import DEFAULT_KEY_KINDS
from hashlists.formats.csv_cells import guarded
from hashlists.formats.icse_columns import BASELINE_CLASS
from hashlists.formats.registry import find_format, written_format_names
from hashlists.importer import import_file
from hashlists.model import AS_ITS_LIST, Classification, EntryFlag, Harm, HashKind, HashList
from hashlists.validate import KEY_TAGS, TEXT_KEY_TAG
from tests import export_support as support

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
YES, NO, IN_PART = "yes", "no", "in part"
#: What the table says of no entry.
OF_THE_FILE = ("withdrawals", "that it is a delta")
WRITE_OPTIONS = {"vics": {"profile": "US"}}
READ_OPTIONS = {name: {"columns": "hashwarden"} for name in ("csv", "jsonl", "parquet")}
#: Entries that a format can hold have a hash of one of these.
NEEDED = {
    "vics": {HashKind.MD5},
    "icse": {HashKind.MD5, HashKind.SHA1, HashKind.PHOTODNA},
    "ncmec": {HashKind.MD5, HashKind.SHA1, HashKind.PHOTODNA, HashKind.PDQ},
}
MOST = 8
LATER = datetime(2100, 1, 1, tzinfo=UTC)
ANYTHING = object()


def carried():
    """The table: format -> field -> yes, no or in part."""
    section = PAGE.read_text(encoding="utf-8").partition("## What an export carries\n")[2]
    lines = [line for line in section.partition("\n## ")[0].splitlines() if line.startswith("|")]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    formats = [name.strip("`") for name in head[1:]]
    return {name: {row[0]: row[1 + column] for row in rows} for column, name in enumerate(formats)}


CARRIED = carried()


def flag(row, which):
    """Yes, no, or nothing."""
    return bool(row.flags & which) if row.flags_known & which else None


FIELDS = {
    "key": lambda row: row.key,
    **{kind.value: lambda row, kind=kind: row.hashes.get(kind) for kind in HashKind},
    "further hashes": lambda row: sorted(x for x in row.extra if x[2] is None),
    "derived hashes": lambda row: sorted(x for x in row.extra if x[2] is not None),
    "size": lambda row: row.size,
    "media type": lambda row: row.media_type,
    "classification": lambda row: row.classification,
    **{
        each.name.lower().replace("_", " "): lambda row, each=each: flag(row, each)
        for each in EntryFlag
    },
    "verified count": lambda row: row.verified_count,
    "source id": lambda row: row.source_id,
    "updated at": lambda row: row.updated_at,
    "originator": lambda row: row.handling.originator,
    "releasable to": lambda row: row.handling.releasable_to,
    "expires at": lambda row: row.handling.expires_at,
}
#: About no field.
OTHER_LOSSES = (
    losses.NO_HASH,
    losses.SHARED_KEY,
    losses.REASONS,
    losses.NOT_ASKED_FOR,
    losses.PRECATEGORIZED_ASSUMED,
)
NAMES_OF_LOSSES = {*FIELDS, losses.WITHDRAWALS, *OTHER_LOSSES}
EMPTY = {"further hashes": [], "derived hashes": [], "originator": "", "releasable to": ()}


def strongest(*kinds):
    return lambda row: next(
        KEY_TAGS[kind] + row.hashes[kind] for kind in kinds if kind in row.hashes
    )


def vics_class(row):
    found = row.classification
    return found if found == Classification("vics", "US", "1") else None


def vics_id(row):
    carried = re.fullmatch("0|[1-9][0-9]{0,8}", row.source_id or "", re.ASCII)
    return row.source_id if carried else ANYTHING


def is_baseline(row):
    return row.classification == BASELINE_CLASS or bool(row.flags & EntryFlag.BASELINE)


def ncmec_key(row):
    """Where it is made of member and the source's id, as the reader of NCMEC's makes it."""
    own = f"/{row.source_id}".encode()
    is_own = row.key.startswith(TEXT_KEY_TAG) and re.match(rb"[0-9]{1,20}/.", row.key[1:])
    return row.key if is_own and row.key.endswith(own) else ANYTHING


def ncmec_id(row):
    key = ncmec_key(row)
    return ANYTHING if key is ANYTHING else key[1:].decode().partition("/")[2]


#: What comes back where the table says in part.
PARTS = {
    ("stix", "key"): lambda _: ANYTHING,
    ("vics", "key"): strongest(HashKind.MD5),
    ("vics", "classification"): vics_class,
    ("vics", "precategorized"): lambda row: bool(row.flags & EntryFlag.PRECATEGORIZED),
    ("vics", "source id"): vics_id,
    ("vics", "updated at"): lambda row: row.updated_at if "T" in (row.updated_at or "") else None,
    ("icse", "key"): strongest(HashKind.SHA1, HashKind.MD5, HashKind.PHOTODNA),
    ("icse", "classification"): lambda row: BASELINE_CLASS if is_baseline(row) else None,
    ("icse", "baseline"): lambda row: is_baseline(row) or flag(row, EntryFlag.BASELINE),
    ("icse", "source id"): lambda row: (
        row.source_id if guarded(row.source_id or "") == row.source_id else None
    ),
    ("ncmec", "key"): ncmec_key,
    ("ncmec", "classification"): lambda row: (
        row.classification if row.classification == Classification("ncmec", "", "A1") else None
    ),
    ("ncmec", "source id"): ncmec_id,
    ("ncmec", "updated at"): lambda row: row.updated_at,
}


def expected(row, format_name):
    """What must come back of an entry, by field."""
    found = {}
    for field, says in CARRIED[format_name].items():
        if field in OF_THE_FILE:
            continue
        if says == YES:
            found[field] = FIELDS[field](row)
        elif says == NO:
            found[field] = EMPTY.get(field)
        else:
            found[field] = PARTS[format_name, field](row)
    return found


def named(row):
    """The row without recipients where its record named none, and left them to its list."""
    if row.handling.releasable_to != AS_ITS_LIST:
        return row
    return dataclasses.replace(row, handling=dataclasses.replace(row.handling, releasable_to=()))


@st.composite
def entries(draw, number):
    """One entry as any source may have brought it."""
    row = draw(support.rows(number))
    texts = st.sampled_from(["2023-06-07T02:31:49.83Z", "2023-06-07", None])
    classes = ("vics", "US", "1"), ("vics", "UK", "1"), ("ncmec", "", "A1"), ("other", "", "1")
    handling = row.handling
    if handling.expires_at is not None:  # what has expired never goes out
        handling = dataclasses.replace(handling, expires_at=LATER)
    own_key, case_key = (
        TEXT_KEY_TAG + f"{text}{number}".encode() for text in ("42/own", "2024/case")
    )
    key = draw(st.sampled_from([row.key, row.key, own_key, case_key]))
    ids = [None, row.source_id, str(number), "007", "=1"]
    return dataclasses.replace(
        row,
        key=key,
        classification=draw(
            st.sampled_from(
                [None, BASELINE_CLASS, row.classification, *(Classification(*x) for x in classes)]
            )
        ),
        source_id=f"own{number}" if key == own_key else draw(st.sampled_from(ids)),
        updated_at=draw(texts),
        handling=handling,
    )


@st.composite
def lists(draw, kind=None):
    """Entries: rather more of them than examples; with a hash of `kind`, where one is named."""
    count = draw(st.integers(1, MOST))
    rows = [draw(entries(number)) for number in range(count)]
    if kind is not None:
        rows = [
            dataclasses.replace(row, hashes={**row.hashes, kind: support.value(kind, number)})
            for number, row in enumerate(rows)
        ]
    assume(len({row.key for row in rows}) == count)
    return rows


numbers = itertools.count()


@pytest.fixture(scope="module")
def catalogs(tmp_path_factory):
    """Two catalogs, and a folder for what goes between them."""
    folder = tmp_path_factory.mktemp("catalogs")
    with (
        Catalog.open(f"sqlite:///{folder / 'one.db'}") as one,
        Catalog.open(f"sqlite:///{folder / 'other.db'}") as other,
    ):
        yield one, other, folder


class Way:
    """A new list in both catalogs, and a format between them."""

    def __init__(self, catalogs, format_name):
        self.one, self.other, self.folder = catalogs
        self.format = format_name
        self.list = f"list-{next(numbers)}"
        for catalog in (self.one, self.other):
            catalog.create_list(HashList(self.list, Harm.TEST, "a source"), author="a person")

    def bring(self, rows, retracted=None):
        """Imports entries into the first catalog."""
        data, _ = support.write([support.export_batch(rows, retracted=retracted)], "jsonl")
        file = self.folder / f"{next(numbers)}.jsonl"
        file.write_bytes(data)
        self._import(self.one, file, "jsonl")
        return self.one.head()

    def carry(self, into=None, **fields):
        """Exports from the first catalog and imports into the second, into another list if told."""
        file = self.folder / f"{next(numbers)}.out"
        request = ExportRequest(
            list_names=[self.list],
            format=self.format,
            options=WRITE_OPTIONS.get(self.format, {}),
            derived=True,
            **{"recipients": None, **fields},
        )
        report = export_lists(self.one, file, request)
        self._import(self.other, file, self.format, into)
        return report

    def _import(self, catalog, file, format_name, into=None):
        report = import_file(
            catalog,
            file,
            list_name=into or self.list,
            format=format_name,
            importer="a person",
            options=READ_OPTIONS.get(format_name),
        )
        assert report.rejections == ()

    def held(self, catalog, list_name=None):
        """The entries of a list, by the number that their hashes were made of."""
        chosen = ExportSelection([list_name or self.list], None, derived=True)
        with catalog.read() as reader:
            batches = list(reader.export(chosen))
        rows = [named(row) for batch in batches for row in support.rows_of(batch.entries)]
        found = {number_of(row): row for row in rows}
        assert len(found) == len(rows)
        return found

    def check(self, report_losses):
        """What the second catalog holds is what the format carries of the first."""
        assert report_losses.keys() <= NAMES_OF_LOSSES
        rows = self.held(self.one)
        needed = NEEDED.get(self.format)
        kept = {
            number: row
            for number, row in rows.items()
            if needed is None or needed & row.hashes.keys()
        }
        found = self.held(self.other)
        assert found.keys() == kept.keys()
        for number, row in kept.items():
            for field, value in expected(row, self.format).items():
                if value is not ANYTHING:
                    assert FIELDS[field](found[number]) == value, field
                said = FIELDS[field](row)
                if value not in (ANYTHING, said) and said not in (None, "", (), []):
                    assert report_losses[field] > 0, field
        return len(rows), len(kept)


NUMBERS = {support.value(kind, seed): seed for kind in HashKind for seed in range(MOST)}


def number_of(row):
    return next(NUMBERS[value] for value in row.hashes.values())


FORMATS = sorted(written_format_names())


def test_the_table_is_about_every_written_format_and_every_field():
    assert sorted(CARRIED) == FORMATS
    for name, says in CARRIED.items():
        assert set(says) == {*FIELDS, *OF_THE_FILE}
        assert set(says.values()) <= {YES, NO, IN_PART}
        format_ = find_format(name)
        told = (format_.tells_retractions, format_.tells_delta)
        assert [says[each] for each in OF_THE_FILE] == [YES if each else NO for each in told]
    in_part = {
        (name, field) for name in CARRIED for field in FIELDS if CARRIED[name][field] == IN_PART
    }
    assert in_part == PARTS.keys()
    assert set(DEFAULT_KEY_KINDS) == set(HashKind)


def test_a_loss_has_the_name_of_the_table_or_one_that_the_page_explains():
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert all(f"`{name}`" in page for name in OTHER_LOSSES)
    assert set(losses.FLAGS.values()) <= FIELDS.keys()
    named = (getattr(losses, name) for name in losses.__all__)
    assert {name for name in named if isinstance(name, str)} <= NAMES_OF_LOSSES


few = settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("format_name", FORMATS)
@few
@given(rows=lists())
def test_what_a_format_carries_arrives(catalogs, format_name, rows):
    way = Way(catalogs, format_name)
    way.bring(rows)
    report = way.carry()
    total, kept = way.check(report.losses)
    assert total == len(rows)
    assert (report.entries, report.left_out, report.retracted) == (kept, total - kept, 0)


@pytest.mark.parametrize("format_name", FORMATS)
@few
@given(rows=lists(HashKind.MD5), data=st.data())
def test_a_delta_brings_the_other_catalog_to_the_same_state(catalogs, format_name, rows, data):
    way = Way(catalogs, format_name)
    before = way.bring(rows)
    way.carry()
    gone = [data.draw(st.booleans()) for _ in rows]
    changed = [dataclasses.replace(row, size=7 + (row.size or 0) % 2) for row in rows]
    way.bring(changed, retracted=gone)
    report = way.carry(since=before)
    if CARRIED[format_name]["withdrawals"] == YES:
        assert (report.retracted, report.untold) == (sum(gone), 0)
        way.check(report.losses)
    else:
        assert (report.retracted, report.untold) == (0, sum(gone))
        assert report.losses.get("withdrawals", 0) == sum(gone)
        assert len(report.warnings) == 1 + any(gone)  # that it is a delta cannot be told either
        assert len(way.held(way.other)) == len(rows)


TELLING = [name for name in FORMATS if CARRIED[name]["withdrawals"] == YES]
STEPS = 3


def for_the_unit(row, *, released):
    """The entry as one that may, or may not, go to the unit that gets the files."""
    handling = dataclasses.replace(row.handling, releasable_to=("unit",) if released else ())
    return dataclasses.replace(row, handling=handling)


@pytest.mark.parametrize("format_name", TELLING)
@settings(few, max_examples=2)
@given(rows=lists(HashKind.MD5), data=st.data())
def test_a_whole_list_and_all_deltas_in_order_give_the_newest_whole_list(
    catalogs, format_name, rows, data
):
    """Whatever came, changed, went, came back, was narrowed or released, or expired at last."""
    way, since = Way(catalogs, format_name), 0
    anew = f"{way.list}-anew"
    way.other.create_list(HashList(anew, Harm.TEST, "a source"), author="a person")
    coins = st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))
    for step in range(STEPS):
        released = data.draw(coins)
        changed = [
            for_the_unit(dataclasses.replace(row, size=step + 1), released=each)
            for row, each in zip(rows, released, strict=True)
        ]
        way.bring(changed, retracted=data.draw(coins))
        since = way.carry(since=since, recipients=["unit"]).revision
    over = to_microseconds(LATER + timedelta(days=1))
    with mock.patch("hashlists.catalog.catalog.now_microseconds", return_value=over):
        way.carry(since=since, recipients=["unit"])
        way.carry(into=anew, recipients=["unit"])
        assert way.held(way.other) == way.held(way.other, anew)
