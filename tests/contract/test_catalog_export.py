"""What leaves the catalog: all of a list or what changed, and only to whom it may go.

What a delta tells of entries whose time of use ends stands in `test_catalog_export_expiry`.
"""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from hashlists.catalog import ExportSelection
from hashlists.errors import EntryNotFoundError, ListNotFoundError, RevisionNotFoundError
from hashlists.model import (
    NO_ONWARD_SHARING,
    Classification,
    ExportBatch,
    ExtraHash,
    Handling,
    HashKind,
    Retraction,
)
from tests.catalog_support import (
    CLASS_1,
    CLASS_2,
    DEMO,
    Item,
    batch,
    bring,
    ids_of,
    items,
    source,
    value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hashlists.catalog import Catalog, Export

WHO = {"author": "an operator", "reason": "why"}
PAST, FUTURE = datetime(2001, 1, 1, tzinfo=UTC), datetime(2101, 1, 1, tzinfo=UTC)
FOR_A, FOR_B = Handling("us", ("a",)), Handling("us", ("b",))
FOR_BOTH = Handling("us", ("a", "b"), FUTURE)
#: How a withdrawal is told: nothing is said of the entry.
GONE = (True, b"")


@pytest.fixture
def demo(catalog: Catalog) -> Catalog:
    catalog.create_list(DEMO, author="a person")
    return catalog


def exported(
    catalog: Catalog,
    *list_names: str,
    recipients: Iterable[str] | None = None,
    batch_size: int = 30_000,
    **chosen: object,
) -> tuple[list[ExportBatch], Export]:
    to = None if recipients is None else tuple(recipients)
    selection = ExportSelection(list_names or ("demo",), to, **chosen)
    with catalog.read() as reader:
        export = reader.export(selection, batch_size=batch_size)
        return list(export), export


def told(batches: list[ExportBatch]) -> dict[str, tuple[bool, bytes]]:
    """Record name -> whether it is withdrawn, and its content."""
    rows = [
        (key[1:].decode(), retracted, digest)
        for each in batches
        for key, retracted, digest in zip(
            each.entries.keys, each.retracted, each.entries.content_digests, strict=True
        )
    ]
    assert len({name for name, _, _ in rows}) == len(rows)  # nothing is told twice
    return {name: (retracted, digest) for name, retracted, digest in rows}


def shown(catalog: Catalog, **chosen: object) -> dict[str, tuple[bool, bytes]]:
    return told(exported(catalog, **chosen)[0])


def listed(*records: Item) -> dict[str, tuple[bool, bytes]]:
    return {record.name: (False, record.digest) for record in records}


class TestAll:
    def test_every_field_comes_out_as_it_went_in(self, demo):
        handling = Handling("somebody", ("x", "y"), FUTURE)
        full = Item(
            "full",
            (HashKind.MD5, HashKind.SHA1, HashKind.PDQ, HashKind.PHOTODNA),
            extra=((HashKind.PDQ, value(HashKind.PDQ, 2)), (HashKind.MD5, value(HashKind.MD5, 3))),
            classification=CLASS_2,
            handling=handling,
            flags=5,
            flags_known=7,
            source_id="S1",
            verified_count=3,
        )
        bare = Item("bare", (HashKind.SHA256,), size=None, classification=None)
        revision = bring(demo, [full, bare]).revision
        (out,), export = exported(demo)
        entries = out.entries
        assert entries.keys == [full.key, bare.key]
        for kind in HashKind:
            values = entries.hashes.get(kind, [None, None])
            assert list(values) == [full.hashes.get(kind), bare.hashes.get(kind)]
        assert entries.extra_hashes == [ExtraHash(0, *each) for each in full.extra]
        assert list(entries.sizes) == [100, None]
        assert entries.classifications == [CLASS_2, None]
        assert entries.handlings == [handling, bare.handling]
        assert (list(entries.flags), list(entries.flags_known)) == ([5, 1], [7, 3])
        assert list(entries.verified_counts) == [3, None]
        assert list(entries.media_types) == ["image/jpeg"] * 2
        assert list(entries.source_ids) == ["S1", None]
        assert list(entries.source_updated_at) == ["2026-01-01"] * 2
        assert list(entries.content_digests) == [full.digest, bare.digest]
        assert str(entries.place_at(1)) == "row 2"
        assert list(out.entry_ids) == ids_of(demo, "full", "bare")
        assert out.list_names == ["demo"] * 2
        assert out.revisions == [revision.number] * 2
        assert (out.retracted, out.reasons) == ([False] * 2, [None] * 2)
        assert (export.revision, export.purged, export.held_back.entries) == (2, 0, 0)

    def test_how_a_code_was_derived_is_told(self, demo):
        plain = batch([Item("x")])
        derived = ExtraHash(0, HashKind.PDQ, value(HashKind.PDQ, "crop"), "crop:0.02")
        with demo.begin_import("demo", source()) as staged:
            staged.stage(_with_extras(plain, [derived]))
            staged.commit()
        (out,), _ = exported(demo, derived=True)
        assert out.entries.extra_hashes == [derived]
        (out,), export = exported(demo)
        assert (out.entries.extra_hashes, export.without_derived) == ([], 1)
        (entry_id,) = ids_of(demo, "x")
        entry = demo.entry(entry_id)
        assert entry.extra_derivations == ("crop:0.02",)
        bring(demo, [Item("x").next()])
        demo.rollback("demo", 2, **WHO)
        assert demo.entry(entry_id).extra_derivations == ("crop:0.02",)

    def test_of_each_entry_the_newest_version_unless_it_is_retracted(self, demo):
        a, b, c, d = items("a", "b", "c", "d")
        bring(demo, [a, b, c, d])
        bring(demo, [a.next(), b], gone=[c])
        demo.retract("demo", ids_of(demo, "d"), **WHO)
        with demo.begin_import("demo", source()) as staged:
            staged.stage(batch([b.next(), Item("unseen")]))
            assert shown(demo) == listed(a.next(), b)
        demo.restore("demo", _all_ids(demo, "c"), **WHO)
        assert shown(demo) == listed(a.next(), b, c)

    def test_an_entry_that_two_hold_retracted_comes_back_only_from_both(self, demo):
        (x,) = items("x")
        bring(demo, [x])
        demo.retract("demo", ids_of(demo, "x"), **WHO)
        bring(demo, gone=[x])
        bring(demo, [x])
        assert shown(demo) == {}

    def test_as_it_was_at_an_earlier_revision(self, demo):
        a, b, c = items("a", "b", "c")
        bring(demo, [a, b])  # 2
        bring(demo, [a.next(), c], gone=[b])  # 3
        demo.retract("demo", ids_of(demo, "a"), **WHO)  # 4
        assert shown(demo, upto=0) == shown(demo, upto=1) == {}
        assert shown(demo, upto=2) == listed(a, b)
        assert shown(demo, upto=3) == listed(a.next(), c)
        assert shown(demo, upto=4) == shown(demo) == listed(c)
        demo.purge("demo", ids_of(demo, "c"), **WHO)  # 5
        assert shown(demo, upto=3) == listed(a.next())  # what was purged stays gone

    def test_only_the_lists_that_were_asked_for_in_their_order(self, demo):
        for name in ("other", "third"):
            demo.create_list(_named(name), author="p")
            bring(demo, items(name), list_name=name)
        bring(demo, items("x"))
        batches, _ = exported(demo, "other", "demo", "other")
        assert [each.list_names for each in batches] == [["other"], ["demo"]]
        assert list(told(batches)) == ["other", "x"]

    def test_batches_are_no_larger_than_asked(self, demo):
        bring(demo, items(*map(str, range(10))), items(*map(str, range(10, 25))))
        batches, _ = exported(demo, batch_size=4)
        assert max(map(len, batches)) == 4
        assert len(told(batches)) == 25

    def test_by_classification(self, demo):
        a, b = Item("a", classification=CLASS_1), Item("b", classification=CLASS_2)
        none = Item("none", classification=None)
        bring(demo, [a, b, none])
        assert shown(demo, classifications=[CLASS_2]) == listed(b)
        assert shown(demo, classifications=[CLASS_1, None]) == listed(a, none)
        assert shown(demo, classifications=[Classification("vics", "US", "9")]) == {}

    def test_by_kind(self, demo):
        extra = ((HashKind.PDQ, value(HashKind.PDQ, 5)), (HashKind.SHA1, value(HashKind.SHA1, 6)))
        both = Item("both", (HashKind.MD5, HashKind.PDQ), extra=extra)
        bring(demo, [both, Item("other", (HashKind.PHOTODNA,))])
        (out,), _ = exported(demo, kinds=[HashKind.PDQ])
        assert out.entries.hashes.keys() == {HashKind.PDQ}
        assert out.entries.extra_hashes == [ExtraHash(0, *extra[0])]


class TestRecipients:
    def test_only_what_names_all_of_them(self, demo):
        a, b, both = (
            Item(str(n), handling=each) for n, each in enumerate((FOR_A, FOR_B, FOR_BOTH))
        )
        bring(demo, [a, b, both, Item("nobody")])
        batches, export = exported(demo, recipients=["a"])
        assert told(batches) == listed(a, both)
        assert (export.held_back.by_recipient, export.held_back.unreleasable) == ({"a": 2}, 2)
        batches, export = exported(demo, recipients=["a", "b"])
        assert told(batches) == listed(both)
        assert export.held_back.by_recipient == {"a": 2, "b": 2}
        assert (export.held_back.unreleasable, export.held_back.entries) == (3, 3)
        assert len(shown(demo)) == 4

    def test_nobody_gets_what_has_expired(self, demo):
        gone = Handling("us", ("a",), PAST)
        bring(demo, [Item("gone", handling=gone), Item("kept", handling=FOR_BOTH)])
        for recipients in (None, ["a"]):
            batches, export = exported(demo, recipients=recipients)
            assert list(told(batches)) == ["kept"]
            assert (export.held_back.expired, export.held_back.unreleasable) == (1, 0)

    def test_what_was_not_chosen_is_not_held_back(self, demo):
        bring(demo, [Item("x", classification=CLASS_2), Item("y", kinds=(HashKind.SHA1,))])
        chosen = {"classifications": [CLASS_1], "kinds": [HashKind.MD5]}
        batches, export = exported(demo, recipients=["a"], **chosen)
        assert (batches, export.held_back.entries) == ([], 0)

    def test_an_older_version_for_a_recipient_does_not_stand_in(self, demo):
        x = Item("x", handling=FOR_A)
        bring(demo, [x])
        bring(demo, [x.next(handling=FOR_B)])
        assert shown(demo, recipients=["a"]) == {}

    @pytest.mark.parametrize("recipients", [(), ("",), "a"])
    def test_recipients_are_names(self, recipients):
        with pytest.raises(ValueError, match="sequence of names"):
            ExportSelection(("demo",), recipients)


class TestDelta:
    def test_what_came_changed_and_went(self, demo):
        a, b, c, d = items("a", "b", "c", "d")
        bring(demo, [a, b, c, d])
        since = demo.head()
        bring(demo, [a.next(), Item("new")], gone=[b])
        went = demo.retract("demo", ids_of(demo, "c"), **WHO)
        batches, _ = exported(demo, since=since)
        (out,) = batches
        assert told(batches) == {
            **listed(a.next(), Item("new")),
            "b": GONE,
            "c": GONE,
        }
        by_name = {key[1:].decode(): row for row, key in enumerate(out.entries.keys)}
        assert [out.reasons[by_name[name]] for name in "abc"] == [None, "withdrawn", "why"]
        assert [out.revisions[by_name[name]] for name in "abc"] == [3, 3, went.number]
        assert shown(demo, since=demo.head()) == {}

    @pytest.mark.parametrize(("recipients", "why"), [(["a"], None), (None, "why")])
    def test_an_operators_reason_stays_here(self, demo, recipients, why):
        a, b, c = (Item(name, handling=FOR_A) for name in "abc")
        bring(demo, [a, b])
        since = demo.head()
        bring(demo, [c], gone=[b])
        upto = demo.head()
        demo.retract("demo", ids_of(demo, "a"), **WHO)

        def reasons(**chosen: int) -> dict[bytes, str | None]:
            (out,), _ = exported(demo, recipients=recipients, **chosen)
            return dict(zip(out.entries.keys, out.reasons, strict=True))

        assert reasons(since=since) == {a.key: why, b.key: "withdrawn", c.key: None}
        demo.rollback("demo", upto - 1, **WHO)
        assert reasons(since=upto)[c.key] == f"rolled back to revision {upto - 1}"

    def test_only_up_to_a_revision(self, demo):
        a, b = items("a", "b")
        bring(demo, [a])  # 2
        bring(demo, [b])  # 3
        bring(demo, [a.next()], gone=[b])  # 4
        assert shown(demo, since=2, upto=3) == listed(b)
        assert shown(demo, since=2) == listed(a.next())  # b was never there for who has 2

    def test_who_never_had_it_is_told_nothing(self, demo):
        x = Item("x", handling=FOR_B)
        bring(demo, [x])
        since = demo.head()
        bring(demo, gone=[x])
        assert shown(demo, since=since, recipients=["a"]) == {}
        assert shown(demo, since=since, recipients=["b"]) == {"x": GONE}

    def test_a_withdrawal_names_the_entry_and_says_nothing_of_it(self, demo):
        """Whoever asks may claim any `since`, and gets no hash of what is gone for it."""
        kinds = (HashKind.MD5, HashKind.PDQ, HashKind.PHOTODNA)
        extra = ((HashKind.PDQ, value(HashKind.PDQ, 2)),)
        full = Item(
            "full", kinds, extra=extra, handling=FOR_A, source_id="S1", verified_count=3, flags=5
        )
        narrowed, kept = replace(full, name="narrowed"), replace(full, name="kept")
        bring(demo, [full, narrowed, kept])
        since = demo.head()
        went = bring(demo, [narrowed.next(handling=FOR_B), kept.next()], gone=[full]).revision
        (out,), _ = exported(demo, since=since, recipients=["a"])
        entries = out.entries
        at = entries.keys.index(kept.key)
        assert [row for row, gone in enumerate(out.retracted) if not gone] == [at]
        assert {each.row for each in entries.extra_hashes} == {at}
        assert entries.hashes.keys() == {*kinds}
        for row in {0, 1, 2} - {at}:
            assert [values[row] for values in entries.hashes.values()] == [None] * 3
            assert (entries.sizes[row], entries.media_types[row]) == (None, None)
            assert (entries.classifications[row], entries.handlings[row]) == (
                None,
                NO_ONWARD_SHARING,
            )
            assert (entries.flags[row], entries.flags_known[row]) == (0, 0)
            assert (entries.verified_counts[row], entries.source_ids[row]) == (None, None)
            assert (entries.source_updated_at[row], entries.content_digests[row]) == (None, b"")
        gone = entries.keys.index(full.key)
        assert (out.list_names[gone], out.revisions[gone]) == ("demo", went.number)
        assert out.reasons[gone] == "withdrawn"

    def test_what_is_released_no_longer_is_withdrawn(self, demo):
        """Nothing that came after tells the recipient more than it has."""
        x, y = Item("x", handling=FOR_A), Item("y", handling=FOR_A, classification=CLASS_1)
        bring(demo, [x, y])
        since = demo.head()
        bring(demo, [x.next(handling=FOR_B), y.next(classification=CLASS_2)])
        batches, export = exported(demo, since=since, recipients=["a"], classifications=[CLASS_1])
        assert told(batches) == {"x": GONE, "y": GONE}
        assert [each.reasons for each in batches] == [[None, None]]
        assert [each.revisions for each in batches] == [[3, 3]]
        assert export.held_back.by_recipient == {"a": 1}

    @pytest.mark.parametrize("since", [0, 1])
    def test_an_earlier_revision_shows_only_what_may_go_out_today(self, demo, since):
        x, y, z = (Item(name, handling=FOR_A) for name in "xyz")
        bring(demo, [x, y, z])
        then = demo.head()
        bring(demo, [x.next(handling=FOR_B)], gone=[y])
        chosen = {"since": since, "upto": then}
        assert shown(demo, recipients=["a"], **chosen) == listed(z)
        assert shown(demo, **chosen) == listed(x, y, z)  # of one's own

    def test_purged_entries_are_a_number(self, demo):
        demo.create_list(_named("other"), author="p")
        bring(demo, items("a", "b", "c"))
        bring(demo, items("x"), list_name="other")
        since = demo.head()
        demo.purge("demo", ids_of(demo, "a", "b"), **WHO)
        demo.purge("other", ids_of(demo, "x"), **WHO)
        batches, export = exported(demo, since=since)
        assert (batches, export.purged) == ([], 2)
        assert exported(demo, "demo", "other", since=since)[1].purged == 3
        assert exported(demo, since=demo.head())[1].purged == 0

    def test_a_delta_applied_to_an_export_gives_the_next(self, demo):
        rng = random.Random(7)
        handlings = (FOR_A, FOR_B, FOR_BOTH, Handling("us", ("a",), PAST))
        known: dict[str, Item] = {}
        for step in range(14):
            _act_at_random(demo, rng, known, handlings, step)
        head = demo.head()
        chosen = {"recipients": ["a"], "classifications": [CLASS_1]}
        at = {upto: shown(demo, upto=upto, **chosen) for upto in range(1, head + 1)}
        assert any(at.values())
        for since in range(1, head, 3):
            for upto in range(since, head + 1, 2):
                state = dict(at[since])
                for name, (gone, digest) in shown(
                    demo, since=since, upto=upto, batch_size=7, **chosen
                ).items():
                    state[name] = (False, digest)
                    if gone:
                        del state[name]
                assert state == at[upto], (since, upto)


class TestRefusals:
    def test_unknown_lists(self, demo):
        with pytest.raises(ListNotFoundError):
            exported(demo, "demo", "nosuch")

    @pytest.mark.parametrize("chosen", [{"since": 2}, {"upto": 2}])
    def test_revisions_to_come(self, demo, chosen):
        with pytest.raises(RevisionNotFoundError, match="the newest revision is 1"):
            exported(demo, **chosen)

    @pytest.mark.parametrize("chosen", [{"since": -1}, {"since": 2, "upto": 1}])
    def test_ranges_that_are_none(self, chosen):
        with pytest.raises(ValueError, match="a delta goes"):
            ExportSelection(("demo",), None, **chosen)

    def test_batches_of_nothing(self, demo):
        with pytest.raises(ValueError, match="batch_size"):
            exported(demo, batch_size=0)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_list(demo):
    for part in range(6):
        bring(demo, items(*(f"{part}-{n}" for n in range(2_000))))
    with demo.read() as reader:
        export = reader.export(ExportSelection(("demo",), None), batch_size=200)
        next(export)
        tracemalloc.start()
        rows = sum(len(each) for each in export)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert rows == 11_800
    assert peak < 4_000_000  # all rows at once take more than 12 MB


def _act_at_random(
    catalog: Catalog,
    rng: random.Random,
    known: dict[str, Item],
    handlings: tuple[Handling, ...],
    step: int,
) -> None:
    for name in sorted({str(rng.randrange(30)) for _ in range(12)}):
        fields = {
            "handling": rng.choice(handlings),
            "classification": rng.choice((CLASS_1, CLASS_2)),
        }
        known[name] = known[name].next(**fields) if name in known else Item(name, **fields)
    names = rng.sample(sorted(known), 6)
    match step % 5:
        case 0 | 1 | 2:
            gone = [known[name] for name in names[:2]]
            with catalog.begin_import("demo", source()) as staged:
                staged.stage(batch([known[name] for name in names[2:]]))
                staged.stage_retractions([Retraction(each.key, "gone") for each in gone])
                staged.commit()
        case 3:
            standing = sorted(shown(catalog))
            catalog.retract("demo", _all_ids(catalog, *rng.sample(standing, 2)), **WHO)
        case _:
            catalog.rollback("demo", max(catalog.head() - 3, 1), **WHO)


def _all_ids(catalog: Catalog, *names: str) -> list[int]:
    """Also of those that are retracted."""
    return sorted(
        entry_id
        for entry_id in range(1, 200)
        if (found := _name_of(catalog, entry_id)) is not None and found in names
    )


def _name_of(catalog: Catalog, entry_id: int) -> str | None:
    try:
        return catalog.entry(entry_id).key[1:].decode()
    except EntryNotFoundError:
        return None


def _named(name: str):
    return replace(DEMO, name=name)


def _with_extras(plain, extras):
    return replace(plain, extra_hashes=extras)
