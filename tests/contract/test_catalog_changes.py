"""What every catalog must do: retract, restore, roll back, purge, also beside a running import."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.errors import (
    EntryNotFoundError,
    ImportInProgressError,
    RevisionNotFoundError,
)
from hashlists.model import ChangeKind, Handling, Harm, HashKind, HashList, Retraction
from tests.catalog_support import (
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

WHO = {"author": "an operator", "reason": "why"}


@pytest.fixture
def demo(catalog):
    catalog.create_list(DEMO, author="a person")
    return catalog


@pytest.fixture
def xyz(demo):
    bring(demo, items("x", "y", "z"))
    return demo


class TestRetract:
    def test_takes_out_of_force(self, xyz):
        revision = xyz.retract("demo", ids_of(xyz, "x", "y"), **WHO)
        assert (revision.kind, revision.number, revision.retracted) == (ChangeKind.RETRACT, 3, 2)
        assert (revision.author, revision.reason) == ("an operator", "why")
        assert set(names_in_force(xyz)) == {"z"}
        require_coverage(xyz)

    def test_twice_is_once(self, xyz):
        ids = ids_of(xyz, "x")
        xyz.retract("demo", [*ids, *ids], **WHO)
        assert xyz.retract("demo", ids, **WHO) is None
        assert xyz.head() == 3

    def test_what_is_retracted_can_still_be_explained(self, xyz):
        (entry_id,) = ids_of(xyz, "x")
        xyz.retract("demo", [entry_id], **WHO)
        assert xyz.entry(entry_id).list_name == "demo"

    def test_all_or_none(self, xyz):
        xyz.create_list(HashList("other", Harm.TEST, "s"), author="a person")
        bring(xyz, items("w"), list_name="other")
        for wrong in (999, *ids_of(xyz, "w")):
            with pytest.raises(EntryNotFoundError, match="nothing was changed"):
                xyz.retract("demo", [*ids_of(xyz, "x"), wrong], **WHO)
        assert set(names_in_force(xyz)) == {"w", "x", "y", "z"}

    def test_staged_entries_are_unknown(self, xyz):
        with xyz.begin_import("demo", source()) as staged:
            staged.stage(batch(items("new")))
            with pytest.raises(EntryNotFoundError):
                xyz.retract("demo", [max(in_force(xyz)) + 1], **WHO)

    def test_nothing_to_retract(self, xyz):
        assert xyz.retract("demo", [], **WHO) is None

    def test_an_import_does_not_bring_it_back(self, xyz):
        xyz.retract("demo", ids_of(xyz, "x", "y"), **WHO)
        x, y, z = items("x", "y", "z")
        imported = bring(xyz, [x, y.next(), z])
        assert imported.counts == (0, 1, 2)
        assert imported.kept_retracted == 2
        assert set(names_in_force(xyz)) == {"z"}
        require_coverage(xyz)

    def test_restore(self, xyz):
        ids = ids_of(xyz, "x", "y")
        xyz.retract("demo", ids, **WHO)
        bring(xyz, [Item("x").next()])
        revision = xyz.restore("demo", ids, **WHO)
        assert (revision.kind, revision.restored) == (ChangeKind.RESTORE, 2)
        assert set(names_in_force(xyz)) == {"x", "y", "z"}
        assert in_force(xyz)[ids[0]] == set(Item("x").next().hashes.items())
        assert xyz.restore("demo", ids, **WHO) is None
        require_coverage(xyz)

    def test_restore_unknown(self, xyz):
        with pytest.raises(EntryNotFoundError):
            xyz.restore("demo", [999], **WHO)

    def test_more_than_one_lookup_takes(self, demo):
        records = [Item(str(number)) for number in range(2_500)]
        bring(demo, records)
        ids = sorted(in_force(demo))
        assert demo.retract("demo", ids[:2_400], **WHO).retracted == 2_400
        assert sorted(in_force(demo)) == ids[2_400:]
        require_coverage(demo)


class TestSourceRetraction:
    def test_comes_with_an_import(self, xyz):
        imported = bring(xyz, items("w"), gone=items("x", "unknown"))
        assert (imported.revision.added, imported.revision.retracted) == (1, 1)
        assert imported.results[-1].retracted == 1
        assert set(names_in_force(xyz)) == {"w", "y", "z"}
        require_coverage(xyz)

    def test_is_undone_when_the_source_lists_it_again(self, xyz):
        bring(xyz, gone=items("x", "y"))
        imported = bring(xyz, [Item("x"), Item("y").next()])
        assert imported.counts == (0, 2, 0)
        assert (imported.revision.updated, imported.revision.restored) == (1, 2)
        assert set(names_in_force(xyz)) == {"x", "y", "z"}
        require_coverage(xyz)

    def test_twice_is_once(self, xyz):
        gone = items("x")
        bring(xyz, gone=gone)
        assert bring(xyz, gone=gone).revision is None
        assert bring(xyz, gone=[*items("y"), *items("y")]).revision.retracted == 1
        require_coverage(xyz)

    def test_does_not_lift_an_operators(self, xyz):
        xyz.retract("demo", ids_of(xyz, "x"), **WHO)
        bring(xyz, gone=items("x"))
        imported = bring(xyz, items("x"))
        assert imported.kept_retracted == 1
        assert "x" not in names_in_force(xyz)
        require_coverage(xyz)

    def test_an_operator_restores_it(self, xyz):
        ids = ids_of(xyz, "x")
        bring(xyz, gone=items("x"))
        xyz.retract("demo", ids, **WHO)
        assert xyz.restore("demo", ids, **WHO).restored == 1
        assert "x" in names_in_force(xyz)
        require_coverage(xyz)

    @pytest.mark.parametrize("known", [False, True])
    @pytest.mark.parametrize("changed", [False, True])
    def test_a_file_that_lists_and_retracts(self, demo, known, changed):
        (x,) = items("x")
        bring(demo, [x] if known else items("other"))
        listed = x.next() if changed else x
        gone = [Retraction(x.key, "withdrawn")]
        with demo.begin_import("demo", source()) as staged:
            staged.stage(batch([listed]))
            result = staged.stage_retractions(gone)
            assert (result.retracted, len(result.rejections)) == (0, 1)
            assert str(result.rejections[0].place) == "retraction 1"
            staged.commit()
        assert "x" in names_in_force(demo)
        require_coverage(demo)

    @pytest.mark.parametrize("changed", [False, True])
    @pytest.mark.parametrize("operators", [False, True])
    def test_a_file_that_retracts_and_then_lists(self, xyz, changed, operators):
        if operators:
            xyz.retract("demo", ids_of(xyz, "x"), **WHO)
        x = Item("x").next() if changed else Item("x")
        with xyz.begin_import("demo", source()) as staged:
            assert staged.stage_retractions([Retraction(x.key, "")]).retracted == 1
            staged.stage(batch([x]))
            revision = staged.commit()
        assert (revision is None) == (not changed)
        assert ("x" in names_in_force(xyz)) == (not operators)
        require_coverage(xyz)


class TestBesideAnImport:
    """An operator acts while an import stages; the import was measured before the act."""

    @pytest.mark.parametrize("before_staging", [False, True])
    @pytest.mark.parametrize("changed", [False, True])
    def test_retract(self, xyz, before_staging, changed):
        x = Item("x").next() if changed else Item("x")
        ids = ids_of(xyz, "x")
        with xyz.begin_import("demo", source()) as staged:
            if before_staging:
                xyz.retract("demo", ids, **WHO)
            staged.stage(batch([x, *items("y", "new")]))
            if not before_staging:
                xyz.retract("demo", ids, **WHO)
            assert set(names_in_force(xyz)) == {"y", "z"}
            staged.commit()
        assert set(names_in_force(xyz)) == {"y", "z", "new"}
        require_coverage(xyz)

    @pytest.mark.parametrize("changed", [False, True])
    def test_restore(self, xyz, changed):
        ids = ids_of(xyz, "x")
        xyz.retract("demo", ids, **WHO)
        with xyz.begin_import("demo", source()) as staged:
            staged.stage(batch([Item("x", version=int(changed)), *items("new")]))
            xyz.restore("demo", ids, **WHO)
            staged.commit()
        assert set(names_in_force(xyz)) == {"x", "y", "z", "new"}
        require_coverage(xyz)

    def test_retract_and_restore(self, xyz):
        ids = ids_of(xyz, "x")
        with xyz.begin_import("demo", source()) as staged:
            staged.stage(batch([Item("x").next(kinds=(HashKind.SHA1,))]))
            xyz.retract("demo", ids, **WHO)
            xyz.restore("demo", ids, **WHO)
            staged.commit()
        require_coverage(xyz)

    def test_restore_of_what_the_source_lists_again(self, xyz):
        ids = ids_of(xyz, "x")
        bring(xyz, gone=items("x"))
        with xyz.begin_import("demo", source()) as staged:
            staged.stage(batch([Item("x").next()]))
            xyz.restore("demo", ids, **WHO)
            staged.commit()
        assert "x" in names_in_force(xyz)
        require_coverage(xyz)

    def test_retract_beside_a_source_retraction(self, xyz):
        ids = ids_of(xyz, "x")
        with xyz.begin_import("demo", source()) as staged:
            staged.stage_retractions([Retraction(Item("x").key, "")])
            xyz.retract("demo", ids, **WHO)
            staged.commit()
        assert set(names_in_force(xyz)) == {"y", "z"}
        require_coverage(xyz)

    def test_purge_and_rollback_wait(self, xyz):
        ids = ids_of(xyz, "x")
        with xyz.begin_import("demo", source()):
            with pytest.raises(ImportInProgressError):
                xyz.purge("demo", ids, **WHO)
            with pytest.raises(ImportInProgressError):
                xyz.rollback("demo", 1, **WHO)
        xyz.purge("demo", ids, **WHO)


class TestRollback:
    def test_to_before_an_import(self, xyz):
        before = in_force(xyz)
        bring(xyz, [Item("x").next(kinds=(HashKind.SHA1,)), *items("new")])
        revision = xyz.rollback("demo", 2, **WHO)
        assert (revision.kind, revision.number) == (ChangeKind.ROLLBACK, 4)
        assert (revision.updated, revision.retracted) == (1, 1)
        assert in_force(xyz) == before
        require_coverage(xyz)

    def test_a_rollback_can_be_rolled_back(self, xyz):
        bring(xyz, [Item("x").next(), *items("new")])
        after = in_force(xyz)
        xyz.rollback("demo", 1, **WHO)
        assert in_force(xyz) == {}
        xyz.rollback("demo", 3, **WHO)
        assert in_force(xyz) == after
        require_coverage(xyz)

    def test_a_corrected_file_brings_back_what_was_rolled_back(self, xyz):
        bring(xyz, items("new"))
        xyz.rollback("demo", 2, **WHO)
        bring(xyz, items("new"))
        assert "new" in names_in_force(xyz)

    def test_retractions_are_as_they_were(self, xyz):
        ids = ids_of(xyz, "x", "y")
        xyz.retract("demo", ids[:1], **WHO)
        xyz.restore("demo", ids[:1], **WHO)
        xyz.retract("demo", ids[1:], **WHO)
        xyz.rollback("demo", 3, **WHO)
        assert set(names_in_force(xyz)) == {"y", "z"}
        assert bring(xyz, items("x")).kept_retracted == 1  # the operator's, not the source's
        xyz.rollback("demo", 4, **WHO)
        assert set(names_in_force(xyz)) == {"x", "y", "z"}
        require_coverage(xyz)

    def test_further_values_come_along(self, demo):
        extra = ((HashKind.PDQ, value(HashKind.PDQ, 1)), (HashKind.PDQ, value(HashKind.PDQ, 2)))
        bring(demo, [Item("x", extra=extra), Item("y", extra=extra[:1])])
        before = in_force(demo)
        bring(demo, [Item("x").next(), Item("y").next()])
        demo.rollback("demo", 2, **WHO)
        assert in_force(demo) == before

    def test_nothing_to_do(self, xyz):
        assert xyz.rollback("demo", 2, **WHO) is None
        assert xyz.head() == 2
        bring(xyz, items("new"))  # the list is free again

    def test_other_lists_stay(self, xyz):
        xyz.create_list(HashList("other", Harm.TEST, "s"), author="a person")
        bring(xyz, items("w"), list_name="other")
        xyz.rollback("demo", 1, **WHO)
        assert set(names_in_force(xyz)) == {"w"}

    @pytest.mark.parametrize("number", [0, -1, 3, 99])
    def test_unknown_revisions(self, xyz, number):
        with pytest.raises(RevisionNotFoundError):
            xyz.rollback("demo", number, **WHO)

    def test_before_the_list_existed(self, xyz):
        xyz.create_list(HashList("other", Harm.TEST, "s"), author="a person")
        with pytest.raises(RevisionNotFoundError):
            xyz.rollback("other", 2, **WHO)


class TestPurge:
    def test_erases_every_version(self, xyz):
        (entry_id,) = ids_of(xyz, "x")
        bring(xyz, [Item("x").next(extra=((HashKind.PDQ, value(HashKind.PDQ, 9)),))])
        report = xyz.purge("demo", [entry_id], **WHO)
        assert (report.entries, report.versions, report.values) == (1, 2, 5)
        assert report.tombstones == 6
        assert report.traces_wiped
        assert (report.revision.kind, report.revision.retracted) == (ChangeKind.PURGE, 1)
        assert set(names_in_force(xyz)) == {"y", "z"}
        with pytest.raises(EntryNotFoundError):
            xyz.entry(entry_id)
        with pytest.raises(EntryNotFoundError):
            xyz.restore("demo", [entry_id], **WHO)
        require_coverage(xyz)

    def test_purges_what_is_retracted(self, xyz):
        ids = ids_of(xyz, "x")
        xyz.retract("demo", ids, **WHO)
        assert xyz.purge("demo", ids, **WHO).revision.retracted == 0
        require_coverage(xyz)

    def test_an_import_does_not_bring_it_back(self, xyz):
        xyz.purge("demo", ids_of(xyz, "x"), **WHO)
        x, y = items("x", "y")
        same_file = Item("x2", (HashKind.SHA1,), extra=((HashKind.MD5, x.hashes[HashKind.MD5]),))
        imported = bring(xyz, [x, y, x.next(), same_file, *items("new")])
        assert imported.counts == (1, 0, 1)
        assert imported.barred == ["record 1", "record 3", "record 4"]
        assert (imported.rejections, imported.left_out) == ([], 0)
        assert all("purged" in each.reason for each in imported.results[0].barred)
        assert set(names_in_force(xyz)) == {"y", "z", "new"}
        require_coverage(xyz)

    def test_another_file_with_the_same_code_comes_without_it(self, xyz):
        """Two files may look alike: the other is no part of what was purged."""
        xyz.purge("demo", ids_of(xyz, "x"), **WHO)
        pdq = (HashKind.PDQ, Item("x").hashes[HashKind.PDQ])
        alike = [
            Item("a", (HashKind.SHA1,), extra=(pdq,)),
            Item("nothing-else", (), extra=(pdq,)),
        ]
        for again in range(2):
            imported = bring(xyz, alike)
            assert imported.counts == ((1, 0, 0) if not again else (0, 0, 1))
            assert (imported.rejections, imported.barred) == ([], ["record 2"])
            assert imported.left_out == 1
        assert set(names_in_force(xyz)) == {"y", "z", "a"}
        (number,) = ids_of(xyz, "a")
        assert in_force(xyz)[number] == set(alike[0].hashes.items())
        require_coverage(xyz)

    def test_the_next_value_takes_the_place_of_the_first(self, xyz):
        xyz.purge("demo", ids_of(xyz, "x"), **WHO)
        further = (HashKind.PDQ, value(HashKind.PDQ, "further"))
        records = batch([Item("a", (HashKind.PDQ,), extra=(further,))])
        purged = {HashKind.PDQ: [Item("x").hashes[HashKind.PDQ]]}
        with xyz.begin_import("demo", source()) as staged:
            result = staged.stage(replace(records, hashes=purged))
            staged.commit()
        assert (result.added, result.left_out) == (1, 1)
        (number,) = ids_of(xyz, "a")
        assert in_force(xyz)[number] == {further}
        assert xyz.get_list("demo").coverage.near_matchable == 3
        require_coverage(xyz)

    def test_an_entry_that_shares_all_with_it_stays_as_it_is(self, demo):
        """Whatever its source says of it next: nobody purged that one."""

        def bring_sharing(*records):
            shared = {kind: [value(kind, 1)] * len(records) for kind in Item("x").kinds}
            extra = ((HashKind.PDQ, value(HashKind.PDQ, 2)),)
            records = [replace(each, extra=extra) for each in records]
            with demo.begin_import("demo", source()) as staged:
                result = staged.stage(replace(batch(records), hashes=shared))
                staged.commit()
            return (result.added, result.updated, result.unchanged), len(result.barred)

        one, two = items("one", "two")
        bring_sharing(one, two)
        demo.purge("demo", ids_of(demo, "one"), **WHO)
        before = in_force(demo)
        assert bring_sharing(one, two) == ((0, 0, 1), 1)
        assert bring_sharing(two.next()) == ((0, 1, 0), 0)
        assert in_force(demo) == before
        assert list(names_in_force(demo)) == ["two"]
        require_coverage(demo)

    def test_a_barred_record_names_its_entry(self, xyz):
        """One that now says what was purged is not taken, and is not gone at its source either."""
        gone = Item("x").hashes[HashKind.MD5]
        xyz.purge("demo", ids_of(xyz, "x"), **WHO)
        with xyz.begin_import("demo", source()) as staged:
            result = staged.stage(batch([Item("y", (), extra=((HashKind.MD5, gone),))]))
            absent = staged.absent()
            assert (len(result.barred), len(absent)) == (1, 1)
            staged.stage_absent(absent, reason="gone")
            staged.commit()
        assert set(names_in_force(xyz)) == {"y"}
        require_coverage(xyz)

    def test_what_a_file_bars_and_withdraws_is_withdrawn(self, xyz):
        gone = Item("x").hashes[HashKind.MD5]
        xyz.purge("demo", ids_of(xyz, "x"), **WHO)
        bring(xyz, [Item("y", (), extra=((HashKind.MD5, gone),))], gone=items("y"))
        assert set(names_in_force(xyz)) == {"z"}
        require_coverage(xyz)

    def test_nor_does_a_rollback(self, xyz):
        bring(xyz, [Item("x").next()])
        xyz.purge("demo", ids_of(xyz, "x"), **WHO)
        xyz.rollback("demo", 2, **WHO)
        assert set(names_in_force(xyz)) == {"y", "z"}

    def test_holds_for_its_list_only(self, xyz):
        xyz.create_list(HashList("other", Harm.TEST, "s"), author="a person")
        xyz.purge("demo", ids_of(xyz, "x"), **WHO)
        assert bring(xyz, items("x"), list_name="other").counts == (1, 0, 0)

    def test_ids_are_never_given_again(self, xyz):
        ids = ids_of(xyz, "x", "y", "z")
        xyz.purge("demo", ids, **WHO)
        bring(xyz, items("a", "b", "c"))
        assert not set(ids) & set(in_force(xyz))

    def test_all_or_none(self, xyz):
        with pytest.raises(EntryNotFoundError):
            xyz.purge("demo", [*ids_of(xyz, "x"), 999], **WHO)
        assert set(names_in_force(xyz)) == {"x", "y", "z"}
        require_coverage(xyz)


def test_coverage_over_all_changes(demo):
    """The kept sums stay right through every kind of change, with kinds and expiry mixed."""
    past = Handling("o", (), datetime.now(UTC) - timedelta(seconds=1))
    a, b, c, d = items("a", "b", "c", "d")
    bring(demo, [a, b.next(kinds=(HashKind.PHOTODNA,)), c.next(handling=past), d])
    require_coverage(demo)
    bring(demo, [a.next(kinds=(HashKind.SHA256,)), c.next(), d.next(handling=past)], gone=[b])
    require_coverage(demo)
    demo.retract("demo", ids_of(demo, "a"), **WHO)
    require_coverage(demo)
    demo.rollback("demo", 2, **WHO)
    require_coverage(demo)
    demo.purge("demo", ids_of(demo, "a"), **WHO)
    require_coverage(demo)
    demo.rollback("demo", 3, **WHO)
    require_coverage(demo)
