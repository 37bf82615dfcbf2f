"""What every catalog must do, whatever database it is kept in: lists, imports, reading."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from hashlists.errors import (
    CatalogError,
    EntryNotFoundError,
    ImportConflictError,
    ImportInProgressError,
    InvalidNameError,
    ListExistsError,
    ListNotFoundError,
)
from hashlists.model import (
    ChangeKind,
    EntryFlag,
    Handling,
    Harm,
    HashKind,
    HashList,
    ListState,
)
from tests.catalog_support import (
    CLASS_1,
    CLASS_2,
    DEMO,
    Item,
    batch,
    bring,
    ids_of,
    in_force,
    items,
    names_in_force,
    require_coverage,
    source,
    value,
)

if TYPE_CHECKING:
    from hashlists.catalog import Catalog

OTHER = HashList("other", Harm.NCII, "another source", state=ListState.SHADOW)


@pytest.fixture
def demo(catalog: Catalog) -> Catalog:
    catalog.create_list(DEMO, author="a person")
    return catalog


class TestLists:
    def test_harm_and_source_stay_once_entries_were_imported(self, demo):
        with demo.begin_import("demo", source()) as staged:
            staged.stage(batch(items("a")))
            with pytest.raises(ListExistsError):
                demo.update_list("demo", author="p", reason="", harm=Harm.NCII)
        assert not demo.was_filled("demo")  # it was given up
        bring(demo, items("a"))
        assert demo.was_filled("demo")
        demo.purge("demo", ids_of(demo, "a"), author="p", reason="order")
        for change in ({"harm": Harm.NCII}, {"source": "another"}):
            with pytest.raises(ListExistsError, match="stay as they are"):
                demo.update_list("demo", author="p", reason="", **change)
        same = demo.get_list("demo").hash_list
        assert (same.harm, same.source) == (DEMO.harm, DEMO.source)

    def test_an_empty_catalog_is_at_revision_0(self, catalog):
        assert catalog.head() == 0
        assert catalog.list_lists() == []
        assert catalog.list_revisions() == []
        assert in_force(catalog) == {}

    def test_a_list_may_go_on_to_very_many(self, catalog):
        """More than an index of the database takes, and more than it could compress."""
        recipients = tuple(
            hashlib.sha512(str(number).encode()).hexdigest() for number in range(300)
        )
        made = replace(DEMO, handling=Handling("somebody", recipients))
        assert catalog.create_list(made, author="a person").hash_list == made
        other = replace(made, name="other")
        assert catalog.create_list(other, author="a person").hash_list.handling == made.handling

    def test_a_list_is_given_back_as_it_was_made(self, catalog):
        expires = datetime(2031, 2, 3, 4, 5, 6, 789, tzinfo=UTC)
        made = HashList(
            "a-1",
            Harm.NCII,
            "källa",
            title="T",
            legal_basis="L",
            state=ListState.SHADOW,
            handling=Handling("o", ("x", "y"), expires),
        )
        record = catalog.create_list(made, author="a person")
        assert record == catalog.get_list("a-1")
        assert record.hash_list == made
        assert record.revision == 1
        assert record.coverage.entries == 0
        assert abs(record.created_at - datetime.now(UTC)) < timedelta(minutes=1)

    def test_making_a_list_is_a_revision(self, demo):
        (revision,) = demo.list_revisions()
        assert (revision.number, revision.kind) == (1, ChangeKind.CREATE_LIST)
        assert (revision.list_name, revision.author) == ("demo", "a person")

    def test_a_name_serves_once(self, demo):
        with pytest.raises(ListExistsError):
            demo.create_list(DEMO, author="a person")
        assert demo.head() == 1

    @pytest.mark.parametrize("name", ["a", "a1", "a-b", "a" * 63])
    def test_good_names(self, catalog, name):
        assert catalog.create_list(HashList(name, Harm.TEST, "s"), author="").hash_list.name == name

    @pytest.mark.parametrize(
        "name", ["", "A", "1a", "-a", "a-", "a_b", "a b", "ä", "a" * 64, "a\n"]
    )
    def test_bad_names(self, catalog, name):
        with pytest.raises(InvalidNameError):
            catalog.create_list(HashList(name, Harm.TEST, "s"), author="a person")

    def test_unknown_lists(self, demo):
        with pytest.raises(ListNotFoundError):
            demo.get_list("nosuch")
        with pytest.raises(ListNotFoundError):
            demo.begin_import("nosuch", source())
        with pytest.raises(ListNotFoundError):
            demo.list_revisions("nosuch")
        with pytest.raises(ListNotFoundError):
            demo.retract("nosuch", [1], author="", reason="")

    def test_lists_come_by_name_in_pages(self, catalog):
        for name in ("c", "a", "b"):
            catalog.create_list(HashList(name, Harm.TEST, "s"), author="a person")
        assert [record.hash_list.name for record in catalog.list_lists(limit=2)] == ["a", "b"]
        assert [record.hash_list.name for record in catalog.list_lists(after="b")] == ["c"]

    def test_update(self, demo):
        changed = demo.update_list("demo", author="p", reason="trial over", state=ListState.SHADOW)
        assert changed.hash_list.state is ListState.SHADOW
        assert changed.hash_list.title == "Demo"
        assert changed.revision == 2
        assert demo.list_revisions()[0].kind is ChangeKind.UPDATE_LIST
        assert not demo.was_filled("demo")
        right = demo.update_list(
            "demo", author="p", reason="mistaken", harm=Harm.NCII, source="another"
        )
        assert (right.hash_list.harm, right.hash_list.source) == (Harm.NCII, "another")
        same = demo.update_list("demo", author="p", reason="", state=ListState.SHADOW)
        assert same.revision == 3

    def test_revisions_newest_first_in_pages_by_list(self, demo):
        demo.create_list(OTHER, author="a person")
        bring(demo, items("x"))
        bring(demo, items("y"), list_name="other")
        assert [revision.number for revision in demo.list_revisions()] == [4, 3, 2, 1]
        assert [revision.number for revision in demo.list_revisions("other")] == [4, 2]
        assert [revision.number for revision in demo.list_revisions(before=3, limit=1)] == [2]
        assert demo.get_list("demo").revision == 3


class TestImport:
    def test_nothing_is_seen_before_the_commit(self, demo):
        with demo.begin_import("demo", source()) as staged:
            result = staged.stage(batch(items("x", "y")))
            assert (result.added, result.updated, result.unchanged) == (2, 0, 0)
            assert demo.head() == 1
            assert in_force(demo) == {}
            assert demo.get_list("demo").coverage.entries == 0
            revision = staged.commit()
        assert revision is not None
        assert (revision.number, revision.added, revision.author) == (2, 2, "an importer")
        assert set(names_in_force(demo)) == {"x", "y"}
        require_coverage(demo)

    def test_an_open_reader_keeps_its_revision(self, demo):
        bring(demo, items("x"))
        with demo.read() as reader:
            before = sum(map(len, reader.entry_columns()))
            bring(demo, items("y"))
            assert (reader.revision, demo.head()) == (2, 3)
            assert sum(map(len, reader.entry_columns())) == before == 1
            assert reader.lists()[0].coverage.entries == 1

    def test_a_second_import_writes_only_what_changed(self, demo):
        x, y, z = items("x", "y", "z")
        bring(demo, [x, y])
        imported = bring(demo, [x, y.next(kinds=(HashKind.SHA1,)), z])
        assert imported.counts == (1, 1, 1)
        assert (imported.revision.added, imported.revision.updated) == (1, 1)
        ids = names_in_force(demo)
        assert set(ids) == {"x", "y", "z"}
        assert in_force(demo)[ids["y"]] == {(HashKind.SHA1, value(HashKind.SHA1, ("y", 1)))}
        require_coverage(demo)

    def test_an_entry_keeps_its_id_over_versions(self, demo):
        (x,) = items("x")
        bring(demo, [x])
        (before,) = ids_of(demo, "x")
        bring(demo, [x.next()])
        assert ids_of(demo, "x") == [before]

    def test_nothing_changed_is_no_revision(self, demo):
        bring(demo, items("x", "y"))
        imported = bring(demo, items("x", "y"))
        assert imported.revision is None
        assert imported.counts == (0, 0, 2)
        assert demo.head() == 2

    def test_an_empty_file(self, demo):
        assert bring(demo, []).revision is None
        assert bring(demo, items("x")).counts == (1, 0, 0)

    @pytest.mark.parametrize("filled", [False, True])
    @pytest.mark.parametrize("together", [False, True])
    def test_repetitions_in_one_file(self, demo, filled, together):
        x, y = items("x", "y")
        if filled:
            bring(demo, [x, *items("before")])
        other_x, other_y = x.next(), y.next()
        records = [x, y, x, other_x, other_y, y]
        imported = bring(demo, *([records] if together else [[record] for record in records]))
        assert imported.counts == (1 if filled else 2, 0, 3 if filled else 2)
        assert [str(each.place) for each in imported.rejections] == (
            ["record 4", "record 5"] if together else ["record 1", "record 1"]
        )
        assert in_force(demo)[ids_of(demo, "x")[0]] == {(k, v) for k, v in x.hashes.items()}
        require_coverage(demo)

    def test_a_rejected_repetition_names_no_hash(self, demo):
        (x,) = items("x")
        (rejection,) = bring(demo, [x, x.next()]).rejections
        assert not any(code.hex() in rejection.reason for code in x.next().hashes.values())

    def test_a_change_and_its_contradiction_in_later_batches(self, demo):
        (x,) = items("x")
        bring(demo, [x])
        imported = bring(demo, [x.next()], [x.next()], [x])
        assert imported.counts == (0, 1, 1)
        assert len(imported.rejections) == 1
        assert in_force(demo)[ids_of(demo, "x")[0]] == set(x.next().hashes.items())

    def test_an_unchanged_row_and_its_contradiction_later(self, demo):
        (x,) = items("x")
        bring(demo, [x])
        imported = bring(demo, [x], [x.next()])
        assert imported.counts == (0, 0, 1)
        assert len(imported.rejections) == 1
        assert imported.revision is None

    def test_lists_do_not_mix(self, demo):
        demo.create_list(OTHER, author="a person")
        bring(demo, items("x"))
        bring(demo, items("x", version=7), list_name="other")
        assert len(in_force(demo)) == 2
        assert demo.get_list("demo").coverage.entries == 1
        require_coverage(demo)
        require_coverage(demo, "other")

    def test_abort_leaves_nothing(self, demo):
        bring(demo, items("x"))
        with demo.begin_import("demo", source("key")) as staged:
            staged.stage(batch([*items("y", "z"), Item("x", version=3)]))
        assert demo.head() == 2
        assert bring(demo, items("x", "y")).counts == (1, 0, 1)
        with demo.begin_import("demo", source("key")) as staged:  # the key is free again
            pass
        require_coverage(demo)

    def test_an_ended_import_takes_no_more(self, demo):
        with demo.begin_import("demo", source()) as staged:
            staged.stage(batch(items("x")))
            staged.commit()
            with pytest.raises(CatalogError, match="ended"):
                staged.stage(batch(items("y")))
            with pytest.raises(CatalogError, match="ended"):
                staged.commit()
        assert set(names_in_force(demo)) == {"x"}

    def test_a_failed_stage_cannot_be_committed(self, demo):
        good = batch(items("x"))
        broken = batch(items("y", "z"))
        object.__setattr__(broken, "sizes", [1])  # a bug in a caller: columns of unequal length
        with demo.begin_import("demo", source()) as staged:
            staged.stage(good)
            with pytest.raises(ValueError, match="unequal length"):
                staged.stage(broken)
            with pytest.raises(CatalogError, match="failed"):
                staged.commit()
        assert demo.head() == 1
        assert in_force(demo) == {}

    def test_one_import_of_a_list_at_a_time(self, demo):
        demo.create_list(OTHER, author="a person")
        with demo.begin_import("demo", source()) as staged:
            with pytest.raises(ImportInProgressError):
                demo.begin_import("demo", source())
            bring(demo, items("y"), list_name="other")
            staged.stage(batch(items("x")))
            staged.commit()
        demo.begin_import("demo", source()).abort()

    def test_revisions_are_drawn_at_the_commit(self, demo):
        demo.create_list(OTHER, author="a person")
        with (
            demo.begin_import("demo", source()) as first,
            demo.begin_import("other", source()) as second,
        ):
            first.stage(batch(items("x")))
            second.stage(batch(items("y")))
            assert second.commit().number == 3
            assert set(names_in_force(demo)) == {"y"}
            assert first.commit().number == 4
        assert set(names_in_force(demo)) == {"x", "y"}

    def test_many_rows_over_several_transactions(self, demo, monkeypatch):
        monkeypatch.setattr("hashlists.catalog.staging.ROWS_PER_TRANSACTION", 100)
        records = [Item(str(number)) for number in range(1_234)]
        imported = bring(demo, records[:700], records[700:])
        assert imported.counts == (1_234, 0, 0)
        changed = [record.next() if n % 3 == 0 else record for n, record in enumerate(records)]
        assert bring(demo, changed).counts == (0, 412, 822)
        by_id = in_force(demo, batch_size=97)
        assert len(by_id) == 1_234
        expected = {frozenset(record.hashes.items()) for record in changed}
        assert {frozenset(values) for values in by_id.values()} == expected
        require_coverage(demo)


class TestIdempotency:
    def test_a_finished_import_is_found_by_its_key(self, demo):
        with demo.begin_import("demo", source("key", sha256=b"7" * 32, reason="why")) as staged:
            staged.stage(batch(items("x")))
            staged.commit(lambda number: {"revision": number, "text": "ü"})
        found = demo.find_import("key")
        assert found.list_name == "demo"
        assert found.source == source("key", sha256=b"7" * 32, reason="why")
        assert found.revision == 2
        assert found.report == {"revision": 2, "text": "ü"}

    def test_one_that_changed_nothing_too(self, demo):
        with demo.begin_import("demo", source("key")) as staged:
            assert staged.commit(lambda number: {"revision": number}) is None
        assert demo.find_import("key").revision == 0

    def test_unknown_and_unfinished_keys(self, demo):
        assert demo.find_import("key") is None
        with demo.begin_import("demo", source("key")):
            assert demo.find_import("key") is None
        assert demo.find_import("key") is None

    def test_a_used_key_is_refused(self, demo):
        demo.create_list(OTHER, author="a person")
        with demo.begin_import("demo", source("key")) as staged:
            with pytest.raises(ImportInProgressError):
                demo.begin_import("other", source("key"))
            staged.commit()
        with pytest.raises(ImportConflictError):
            demo.begin_import("demo", source("key"))


class TestEntry:
    def test_everything_comes_back(self, demo):
        handling = Handling("o", ("a",), datetime(2090, 1, 1, tzinfo=UTC))
        extra = ((HashKind.PDQ, value(HashKind.PDQ, "second")),)
        x = Item(
            "x",
            tuple(HashKind),
            extra=extra,
            size=2**40,
            classification=CLASS_2,
            handling=handling,
            flags=int(EntryFlag.SERIES),
            flags_known=int(EntryFlag.SERIES | EntryFlag.BASELINE),
            source_id="id-1",
            verified_count=3,
        )
        bring(demo, [x])
        (entry_id,) = ids_of(demo, "x")
        entry = demo.entry(entry_id)
        assert entry.list_name == "demo"
        assert entry.key == x.key
        assert entry.hashes == x.hashes
        assert entry.extra_hashes == extra
        assert entry.size == 2**40
        assert entry.classification == CLASS_2
        assert entry.handling == handling
        assert entry.flags == EntryFlag.SERIES
        assert entry.flags_known == EntryFlag.SERIES | EntryFlag.BASELINE
        assert (entry.source_id, entry.verified_count) == ("id-1", 3)
        assert (entry.media_type, entry.source_updated_at) == ("image/jpeg", "2026-01-01")

    def test_the_least_that_an_entry_has(self, demo):
        bring(demo, [Item("x", (HashKind.MD5,), size=None, classification=None, flags=0)])
        entry = demo.entry(ids_of(demo, "x")[0])
        assert (entry.size, entry.classification, entry.extra_hashes) == (None, None, ())
        assert entry.flags == EntryFlag(0)

    def test_the_newest_committed_version(self, demo):
        (x,) = items("x")
        bring(demo, [x])
        (entry_id,) = ids_of(demo, "x")
        with demo.begin_import("demo", source()) as staged:
            staged.stage(batch([x.next(), *items("y")]))
            assert demo.entry(entry_id).hashes == x.hashes
            with pytest.raises(EntryNotFoundError):
                demo.entry(entry_id + 1)
            staged.commit()
        assert demo.entry(entry_id).hashes == x.next().hashes

    def test_unknown(self, demo):
        with pytest.raises(EntryNotFoundError):
            demo.entry(12_345)


class TestEntryColumns:
    def test_shapes_and_values(self, demo):
        demo.create_list(OTHER, author="a person")
        extra = tuple((HashKind.PDQ, value(HashKind.PDQ, n)) for n in range(2))
        x = Item("x", (HashKind.MD5,), classification=None, size=None, flags=0)
        y = Item(
            "y", (HashKind.PDQ, HashKind.PHOTODNA), extra=extra, classification=CLASS_2, flags=255
        )
        bring(demo, [x, y])
        bring(demo, items("z", kinds=(HashKind.PDQ,)), list_name="other")
        with demo.read() as reader:
            lists = {record.hash_list.name: record.list_id for record in reader.lists()}
            classes = reader.classifications()
            (columns,) = reader.entry_columns()
        assert len(columns) == 3
        assert columns.entry_ids.dtype == np.int64
        assert (np.diff(columns.entry_ids) > 0).all()
        assert columns.list_ids.dtype == np.int32
        assert columns.list_ids.tolist() == [lists["demo"], lists["demo"], lists["other"]]
        assert columns.classification_ids.dtype == np.int32
        assert columns.classification_ids[0] == 0
        assert [classes[key] for key in columns.classification_ids[1:].tolist()] == [
            CLASS_2,
            CLASS_1,
        ]
        assert columns.flags.dtype == np.uint16
        assert columns.flags.tolist() == [0, 255, 1]
        assert columns.sizes.dtype == np.int64
        assert columns.sizes.tolist() == [-1, 100, 100]
        assert set(columns.codes) == {HashKind.MD5, HashKind.PDQ, HashKind.PHOTODNA}
        rows, values = columns.codes[HashKind.PDQ]
        assert rows.dtype == np.int64
        assert (values.dtype, values.shape) == (np.uint8, (4, 32))
        assert rows.tolist() == [1, 1, 1, 2]
        assert values[0].tobytes() == y.hashes[HashKind.PDQ]
        assert (values[1].tobytes(), values[2].tobytes()) == (extra[0][1], extra[1][1])

    @pytest.mark.parametrize("batch_size", [1, 2, 3, 1_000])
    def test_any_batch_size_gives_the_same(self, demo, batch_size):
        records = items(*"abcdefg")
        bring(demo, records)
        for _ in range(3):
            records = [record.next() for record in records]
            bring(demo, records)
        expected = {frozenset(record.hashes.items()) for record in records}
        found = in_force(demo, batch_size=batch_size)
        assert {frozenset(values) for values in found.values()} == expected
        with demo.read() as reader:
            ids = [
                i for c in reader.entry_columns(batch_size=batch_size) for i in c.entry_ids.tolist()
            ]
        assert ids == sorted(ids)
        assert len(ids) == 7

    def test_batch_size_is_positive(self, demo):
        with demo.read() as reader, pytest.raises(ValueError, match="batch_size"):
            reader.entry_columns(batch_size=0)

    def test_expired_entries_come_out_for_a_week_and_say_so(self, demo):
        now = datetime.now(UTC).replace(microsecond=0)
        moments = {
            "older": now - timedelta(days=7, seconds=1),
            "old": now - timedelta(days=6),
            "new": now + timedelta(days=1),
        }
        records = [Item(name, handling=Handling("o", (), at)) for name, at in moments.items()]
        bring(demo, [*records, Item("x")])
        assert set(names_in_force(demo)) == {"new", "x"}
        require_coverage(demo)
        with demo.read() as reader:
            (columns,) = reader.entry_columns()
            (looked_up,) = reader.entry_columns(entry_ids=reader.changed_ids(0))
        expected = [int(moments[name].timestamp()) for name in ("old", "new")] + [0]
        assert columns.expires.tolist() == looked_up.expires.tolist() == expected

    def test_what_expired_before_1970_is_never_taken_for_endless(self, demo, monkeypatch):
        """Whatever the clock says: seconds are unsigned there, and 0 means never."""
        monkeypatch.setattr("hashlists.catalog.catalog.now_microseconds", lambda: 0)
        moments = [datetime(1969, 12, 31, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC)]
        bring(demo, [Item(str(at), handling=Handling("o", (), at)) for at in moments])
        with demo.read() as reader:
            (columns,) = reader.entry_columns()
        assert columns.expires.tolist() == [1, 1]

    def test_an_old_version_does_not_return_when_the_new_one_expires(self, demo):
        (x,) = items("x")
        bring(demo, [x])
        past = Handling("o", (), datetime.now(UTC) - timedelta(seconds=1))
        bring(demo, [x.next(handling=past)])
        assert in_force(demo) == {}
        require_coverage(demo)
