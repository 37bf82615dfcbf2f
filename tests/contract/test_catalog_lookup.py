"""What every catalog must do to find entries by their source's words, and to preview acts."""

from __future__ import annotations

import pytest

from hashlists.catalog import acts, lookup
from hashlists.errors import EntryNotFoundError, ListNotFoundError, RevisionNotFoundError
from hashlists.model import ChangeKind, EntrySelection, Harm, HashKind, HashList
from tests.catalog_support import (
    DEMO,
    Item,
    batch,
    bring,
    ids_of,
    in_force,
    items,
    names_in_force,
    source,
    value,
)

WHO = {"author": "an operator", "reason": "why"}
DIGESTS = (HashKind.MD5, HashKind.SHA1, HashKind.SHA256)


@pytest.fixture
def demo(catalog):
    catalog.create_list(DEMO, author="a person")
    return catalog


@pytest.fixture
def three(demo):
    bring(
        demo,
        [
            Item("x", kinds=DIGESTS, source_id="S1"),
            Item("y", kinds=DIGESTS, source_id="S2"),
            Item("z", kinds=DIGESTS, source_id="S2", extra=((HashKind.SHA1, bytes(20)),)),
        ],
    )
    return demo


def found(catalog, *, entry_ids=(), source_ids=(), digests=(), name="demo"):
    ids = catalog.find_entries(name, EntrySelection(entry_ids, source_ids, digests))
    return sorted(catalog.entry(entry_id).key[1:].decode() for entry_id in ids)


def digest(kind, name, version=0):
    return value(kind, (name, version))


class TestFindEntries:
    def test_by_any_name(self, three):
        assert found(three, entry_ids=ids_of(three, "x", "x")) == ["x"]
        assert found(three, source_ids=["S1"]) == ["x"]
        assert found(three, source_ids=["S2"]) == ["y", "z"]
        assert found(three, source_ids=["x", "S1"]) == ["x"]  # the key, and the id
        for kind in DIGESTS:
            assert found(three, digests=[digest(kind, "y")]) == ["y"]
        assert found(three, digests=[bytes(20)]) == ["z"]
        everything = {"source_ids": ["S1"], "digests": [digest(HashKind.MD5, "y"), bytes(20)]}
        assert found(three, **everything, entry_ids=ids_of(three, "x")) == ["x", "y", "z"]
        assert found(three) == []

    def test_what_is_out_of_force_is_found_too(self, three):
        three.retract("demo", ids_of(three, "x"), **WHO)
        assert found(three, source_ids=["S1"], digests=[digest(HashKind.MD5, "x")]) == ["x"]

    def test_only_the_newest_version_counts(self, three):
        bring(three, [Item("x", kinds=DIGESTS, version=1, source_id="S9")])
        assert found(three, source_ids=["S9"]) == ["x"]
        for gone in ({"source_ids": ["S1"]}, {"digests": [digest(HashKind.SHA1, "x")]}):
            with pytest.raises(EntryNotFoundError):
                found(three, **gone)

    def test_other_lists_do_not_count(self, three):
        three.create_list(HashList("other", Harm.TEST, "a source"), author="a person")
        bring(three, [Item("w", kinds=DIGESTS, source_id="S1")], list_name="other")
        assert found(three, source_ids=["S1"]) == ["x"]
        assert found(three, source_ids=["S1"], name="other") == ["w"]
        for chosen in (
            {"entry_ids": ids_of(three, "x")},
            {"source_ids": ["x"]},
            {"digests": [digest(HashKind.MD5, "x")]},
        ):
            with pytest.raises(EntryNotFoundError, match="'other'"):
                found(three, **chosen, name="other")
        with pytest.raises(ListNotFoundError):
            found(three, source_ids=["S1"], name="nobody")

    def test_what_is_only_staged_does_not_count(self, three):
        with three.begin_import("demo", source()) as staged:
            staged.stage(batch([Item("new", kinds=DIGESTS, source_id="S7")]))
            for chosen in (
                {"source_ids": ["S7"]},
                {"source_ids": ["new"]},
                {"digests": [digest(HashKind.MD5, "new")]},
            ):
                with pytest.raises(EntryNotFoundError):
                    found(three, **chosen)

    def test_many_values(self, demo, monkeypatch):
        monkeypatch.setattr(lookup, "_VALUES_A_PASS", 100)
        many = [Item(f"n{n}", kinds=(HashKind.MD5,), source_id=f"S{n}") for n in range(1_500)]
        bring(demo, many)
        everything = sorted(in_force(demo))
        for chosen in (
            EntrySelection(source_ids=[item.source_id for item in many]),
            EntrySelection(digests=[item.hashes[HashKind.MD5] for item in many]),
            EntrySelection(source_ids=[item.name for item in many]),
            EntrySelection(entry_ids=everything[::-1]),
        ):
            assert demo.find_entries("demo", chosen) == everything

    def test_errors_name_the_first_and_how_many_more(self, three):
        (known,) = ids_of(three, "x")
        md5 = digest(HashKind.MD5, "nobody")
        for chosen, told in (
            ({"entry_ids": [known, 900, 800]}, "no entry 800 (nor 1 more of those given)"),
            ({"entry_ids": [2**70, -1]}, "no entry -1 (nor 1 more"),
            ({"source_ids": ["S1", "S8"]}, "no entry with the source id S8; nothing"),
            ({"source_ids": ["S1", md5.hex()]}, "source id that stands at place 2"),
            ({"source_ids": ["1b4e28ba-2fa1-11d2-883f-0016d3cca427"]}, "1b4e28ba-2fa1"),
            ({"source_ids": ["a\nb"]}, "source id that stands at place 1"),
            ({"digests": [md5, bytes(32)]}, "digest that stands at place 1 of those given (nor 1"),
        ):
            with pytest.raises(EntryNotFoundError) as caught:
                found(three, **chosen)
            assert told in str(caught.value)
            assert "nothing was changed" in str(caught.value)
            assert md5.hex() not in str(caught.value)

    def test_what_is_no_digest_is_refused(self, three):
        with pytest.raises(ValueError, match="16, 20 or 32 bytes"):
            found(three, digests=[bytes(17)])


class TestPreviews:
    def test_standing(self, three):
        x, y, _ = ids_of(three, "x", "y", "z")
        bring(three, [Item("x", kinds=DIGESTS, version=1)], gone=[Item("y")])
        three.retract("demo", [x], **WHO)
        standing = three.standing([x, x, y, 900])
        assert (standing.entries, standing.in_force) == (2, 0)
        assert (standing.retracted_here, standing.versions) == (1, 3)

    def test_a_rollback_does_what_its_preview_says(self, three):
        to = three.head()
        three.retract("demo", ids_of(three, "y"), **WHO)
        bring(three, [Item("x", kinds=DIGESTS, version=1)], items("later", "gone"))
        three.purge("demo", ids_of(three, "gone"), **WHO)
        would = three.preview_rollback("demo", to)
        counts = (would.withdrawn, would.reverted, would.retracted, would.restored, would.purged)
        assert counts == (1, 1, 0, 1, 1)
        assert three.head() == to + 3
        done = acts.roll_back(three, "demo", to, **WHO)
        revision = done.revision
        assert (revision.updated, revision.retracted, revision.restored) == (1, 1, 1)
        assert set(names_in_force(three)) == {"x", "y", "z"}
        again = acts.roll_back(three, "demo", to, **WHO)
        assert (again.revision, again.changes) == (None, False)
        forth = acts.roll_back(three, "demo", to + 3, **WHO)
        assert (forth.retracted, forth.reverted, forth.restored) == (1, 1, 1)

    def test_a_revision_before_the_list_is_refused(self, three):
        for number in (0, 99):
            with pytest.raises(RevisionNotFoundError):
                three.preview_rollback("demo", number)


class TestActs:
    @pytest.mark.parametrize("act", [acts.retract, acts.restore, acts.purge])
    def test_a_dry_run_changes_nothing(self, three, act):
        before = three.head()
        three_named = EntrySelection(source_ids=["S1", "S2"])
        report = act(three, "demo", three_named, **WHO, dry_run=True)
        assert (report.revision, report.entries) == (None, 3)
        assert three.head() == before
        done = act(three, "demo", three_named, **WHO)
        assert done.entries == 3
        if act is acts.restore:
            assert (report.changed, done.changed, done.revision) == (0, 0, None)
        elif act is acts.retract:
            assert report.changed == done.changed == done.revision.retracted == 3
        else:
            assert (report.versions, report.in_force) == (done.versions, done.in_force) == (3, 3)
            assert done.values == 10


class TestEntryRecord:
    def test_all_that_happened_is_told_in_order(self, demo):
        bring(demo, [Item("x"), Item("y")])
        (entry_id,) = ids_of(demo, "x")
        bring(demo, [Item("x").next()])
        before = demo.head()
        demo.retract("demo", [entry_id], **WHO)
        bring(demo, gone=items("x"))
        assert demo.entry_record(entry_id).retracted_by == ("source", "operator")
        demo.restore("demo", [entry_id], author="another", reason="back")
        demo.rollback("demo", before - 1, **WHO)
        record = demo.entry_record(entry_id)
        assert record.entry == demo.entry(entry_id)
        assert record.retracted_by == ()
        told = [(each.what, each.origin, each.kind) for each in record.history]
        assert told == [
            ("added", "", ChangeKind.IMPORT),
            ("changed", "", ChangeKind.IMPORT),
            ("retracted", "operator", ChangeKind.RETRACT),
            ("retracted", "source", ChangeKind.IMPORT),
            ("restored", "operator", ChangeKind.RESTORE),
            ("restored", "source", ChangeKind.RESTORE),
            ("changed", "", ChangeKind.ROLLBACK),
        ]
        assert [each.revision for each in record.history] == [2, 3, 4, 5, 6, 6, 7]
        assert (record.history[2].author, record.history[2].reason) == ("an operator", "why")
        assert (record.history[5].author, record.history[5].reason) == ("another", "back")

    def test_what_is_not_committed_is_not_told(self, demo):
        bring(demo, items("x"))
        (entry_id,) = ids_of(demo, "x")
        with demo.begin_import("demo", source()) as staged:
            staged.stage(batch([Item("x").next()]))
            assert len(demo.entry_record(entry_id).history) == 1

    def test_what_is_not_there_is_told_apart_from_what_was_purged(self, demo):
        bring(demo, items("x"))
        (entry_id,) = ids_of(demo, "x")
        demo.purge("demo", [entry_id], **WHO)
        with pytest.raises(EntryNotFoundError, match=r"was purged by revision 3; nothing"):
            demo.entry_record(entry_id)
        for unknown in (entry_id + 1, 0):
            with pytest.raises(EntryNotFoundError, match=f"there is no entry {unknown}$"):
                demo.entry_record(unknown)
