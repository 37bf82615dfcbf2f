"""Codes made here from entries' own files: they count with their entry, and apart from its own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hashlists.catalog import (
    DerivedAction,
    DerivedHash,
    DerivedRecord,
    ExportSelection,
    FileCode,
    derived,
)
from hashlists.catalog import acts as operator
from hashlists.errors import DerivedHashError, EntryNotFoundError, ListNotFoundError
from hashlists.model import ChangeKind, EntrySelection, ExtraHash, HashKind
from tests.catalog_support import (
    DEMO,
    Item,
    batch,
    bring,
    ids_of,
    in_force,
    items,
    require_coverage,
    source,
    value,
)

PROPOSE, CONFIRM, WITHDRAW = DerivedAction
WHO = {"author": "an operator", "reason": "our own file"}
CROP, WHOLE = value(HashKind.PDQ, "crop"), value(HashKind.PDQ, "whole")


@pytest.fixture
def demo(catalog):
    catalog.create_list(DEMO, author="a person")
    bring(catalog, [Item("x", (HashKind.MD5, HashKind.SHA256)), Item("y")])
    return catalog


def made(catalog, name="x", *, code=CROP, item=None, of=HashKind.MD5, **fields):
    (entry_id,) = ids_of(catalog, name)
    digest = (item or Item(name, (HashKind.MD5, HashKind.SHA256))).hashes[of]
    row = DerivedHash(entry_id, HashKind.PDQ, code, "crop:0.02", of, digest)
    return replace(row, **fields)


def act(catalog, *rows, action=CONFIRM, list_name="demo"):
    return catalog.add_derived(list_name, rows, action=action, **WHO)


def codes(catalog, name="x"):
    (entry_id,) = ids_of(catalog, name)
    return {code for kind, code in in_force(catalog)[entry_id] if kind is HashKind.PDQ}


def test_only_what_is_confirmed_is_matched(demo):
    row = made(demo)
    revision = act(demo, row, action=PROPOSE)
    assert (revision.kind, revision.author, revision.reason) == (
        ChangeKind.ENRICH,
        "an operator",
        "our own file",
    )
    assert codes(demo) == set()
    assert demo.list_derived("demo", action=PROPOSE) == [DerivedRecord(row, PROPOSE)]
    act(demo, row)
    assert codes(demo) == {CROP}
    assert demo.list_derived("demo", action=PROPOSE) == []
    act(demo, row, action=WITHDRAW)
    assert codes(demo) == set()
    assert demo.list_derived("demo") == [DerivedRecord(row, WITHDRAW)]


def test_what_stands_like_that_already_makes_no_revision(demo):
    row = made(demo)
    assert act(demo, row, action=WITHDRAW) is None
    for action, again in ((PROPOSE, PROPOSE), (CONFIRM, CONFIRM), (WITHDRAW, WITHDRAW)):
        assert act(demo, row, row, action=action) is not None
        assert act(demo, row, action=again) is None
    act(demo, row)
    assert act(demo, row, action=PROPOSE) is None  # it stays confirmed
    assert codes(demo) == {CROP}


def test_the_entry_tells_how_it_was_made(demo):
    act(demo, made(demo), made(demo, code=WHOLE, derivation="file"))
    entry = demo.entry(*ids_of(demo, "x"))
    assert set(zip(entry.extra_hashes, entry.extra_derivations, strict=True)) == {
        ((HashKind.PDQ, CROP), "crop:0.02"),
        ((HashKind.PDQ, WHOLE), "file"),
    }


def test_they_stay_beside_the_sources_own_codes(demo):
    act(demo, made(demo, "y", item=Item("y")))
    assert codes(demo, "y") == {Item("y").hashes[HashKind.PDQ], CROP}


def test_followers_are_told(demo):
    since = demo.head()
    act(demo, made(demo))
    with demo.read() as reader:
        assert reader.changed_ids(since).tolist() == ids_of(demo, "x")
        assert reader.changed_count(since) >= 1
        (columns,) = reader.entry_columns(entry_ids=reader.changed_ids(since))
    rows, found = columns.codes[HashKind.PDQ]
    assert (rows.tolist(), found.tobytes()) == ([0], CROP)
    places, names = columns.derived[HashKind.PDQ]
    assert (places.tolist(), names) == ([0], ("crop:0.02",))


def test_followers_are_told_how_each_code_was_made(demo):
    """By its source, in a file that says so, or here."""
    extra = value(HashKind.PDQ, "further")
    z = Item("z", (HashKind.MD5, HashKind.PDQ), extra=((HashKind.PDQ, extra),))
    told = replace(batch([z, Item("a")]), extra_hashes=[])
    with demo.begin_import("demo", source()) as staged:
        more = [ExtraHash(0, HashKind.PDQ, CROP, "crop:0.05"), ExtraHash(0, HashKind.PDQ, extra)]
        staged.stage(replace(told, extra_hashes=more))
        staged.commit()
    act(demo, made(demo, "z", item=z, code=WHOLE, derivation="file"))
    act(demo, made(demo, "z", item=z, code=extra, derivation="crop:0.1"))
    act(demo, made(demo))
    found = {}
    with demo.read() as reader:
        for columns in reader.entry_columns():
            owners, values = columns.codes[HashKind.PDQ]
            derived = dict(zip(*map(list, columns.derived[HashKind.PDQ]), strict=True))
            for place, (row, code) in enumerate(zip(owners.tolist(), values, strict=True)):
                entry_id = int(columns.entry_ids[row])
                found.setdefault(entry_id, set()).add((code.tobytes(), derived.get(place)))
    (x,), (y,), (z_id,) = (ids_of(demo, name) for name in "xyz")
    assert found[x] == {(CROP, "crop:0.02")}
    assert found[y] == {(Item("y").hashes[HashKind.PDQ], None)}
    assert found[z_id] == {
        (z.hashes[HashKind.PDQ], None),
        (extra, None),
        (CROP, "crop:0.05"),
        (WHOLE, "file"),
        (extra, "crop:0.1"),
    }


def test_coverage_and_exports_tell_of_the_sources_codes_alone(demo):
    before = demo.get_list("demo").coverage
    act(demo, made(demo))
    assert demo.get_list("demo").coverage == before
    with demo.read() as reader:
        (out,) = reader.export(ExportSelection(("demo",), None))
    assert out.entries.extra_hashes == []


def sent(demo, name="x", **chosen):
    """The derived hashes of an export, each beside how it was made; and the export."""
    with demo.read() as reader:
        export = reader.export(ExportSelection(("demo",), None, **chosen))
        batches = list(export)
    return [
        (each.value, each.derivation)
        for batch in batches
        for each in batch.entries.extra_hashes
        if batch.entries.keys[each.row] == Item(name).key
    ], export


def test_an_export_sends_them_where_it_is_asked_marked_as_derived(demo):
    act(demo, made(demo), made(demo, code=WHOLE, derivation="file"))
    act(demo, made(demo, "y", item=Item("y")), action=PROPOSE)
    found, export = sent(demo)
    assert (found, export.without_derived) == ([], 1)
    found, export = sent(demo, derived=True)
    assert sorted(found) == sorted([(CROP, "crop:0.02"), (WHOLE, "file")])
    assert export.without_derived == 0
    assert sent(demo, "y", derived=True)[0] == []
    assert sent(demo, derived=True, kinds={HashKind.MD5})[0] == []


def keys_sent(demo, **chosen):
    """The entries of an export of PDQ hashes, those withdrawn apart; and the export."""
    with demo.read() as reader:
        export = reader.export(
            ExportSelection(
                ("demo",), chosen.pop("recipients", None), kinds={HashKind.PDQ}, **chosen
            )
        )
        batches = list(export)
    told = [
        (key, gone)
        for each in batches
        for key, gone in zip(each.entries.keys, each.retracted, strict=True)
    ]
    return {key for key, gone in told if not gone}, {key for key, gone in told if gone}, export


def test_derived_hashes_choose_entries_by_their_kind(demo):
    """Where they are wanted; else it is told how many entries stay without."""
    x, y = Item("x").key, Item("y").key
    before = demo.head()
    act(demo, made(demo))
    then = demo.head()
    assert keys_sent(demo, derived=True)[:2] == ({x, y}, set())
    assert sent(demo, derived=True, kinds={HashKind.PDQ})[0] == [(CROP, "crop:0.02")]
    found, _, export = keys_sent(demo)
    assert (found, export.without_derived) == ({y}, 1)
    assert keys_sent(demo, derived=True, since=before)[:2] == ({x}, set())
    assert keys_sent(demo, derived=True, classifications=[])[:2] == (set(), set())
    with demo.read() as reader:
        other = reader.export(ExportSelection(("demo",), None, kinds={HashKind.PHASH}))
        assert (list(other), other.without_derived) == ([], 0)
    act(demo, made(demo), action=WITHDRAW)
    assert keys_sent(demo, derived=True)[:2] == ({y}, set())
    assert keys_sent(demo, derived=True, upto=then)[:2] == ({y}, set())
    assert keys_sent(demo, derived=True, since=then)[:2] == (set(), {x})
    assert keys_sent(demo, since=then)[2].without_derived == 0


def test_an_entry_that_a_derived_hash_would_choose_is_held_back_as_others_are(demo):
    act(demo, made(demo))
    _, _, export = keys_sent(demo, derived=True, recipients=("nobody",))
    assert (export.held_back.unreleasable, export.without_derived) == (2, 0)
    _, _, export = keys_sent(demo, recipients=("nobody",))
    assert (export.held_back.unreleasable, export.without_derived) == (1, 0)


def test_a_hash_that_its_source_marked_as_derived_chooses_too(demo):
    z = Item("z", (HashKind.MD5,))
    with demo.begin_import("demo", source()) as staged:
        staged.stage(
            replace(batch([z]), extra_hashes=[ExtraHash(0, HashKind.PDQ, CROP, "crop:0.05")])
        )
        staged.commit()
    assert keys_sent(demo, derived=True)[0] == {z.key, Item("y").key}
    found, _, export = keys_sent(demo)
    assert (found, export.without_derived) == ({Item("y").key}, 1)


def test_a_rollback_counts_what_came_later_with_codes_once(demo):
    to = demo.head()
    bring(demo, [Item("later", (HashKind.MD5, HashKind.SHA256))])
    act(demo, made(demo, "later"))
    act(demo, made(demo))
    would = demo.preview_rollback("demo", to)
    assert (would.withdrawn, would.reverted, would.retracted) == (1, 1, 0)
    done = operator.roll_back(demo, "demo", to, **WHO)
    assert (done.withdrawn, done.reverted) == (1, 1)
    assert (done.revision.retracted, done.revision.updated) == (1, 1)


def test_an_export_never_sends_what_does_not_count(demo):
    act(demo, made(demo))
    then = demo.head()
    assert sent(demo, derived=True, upto=then - 1)[0] == []
    assert sent(demo, derived=True, upto=then)[0] == [(CROP, "crop:0.02")]
    act(demo, made(demo), action=WITHDRAW)
    assert sent(demo, derived=True)[0] == []
    assert sent(demo, derived=True, upto=then)[0] == []  # it was found to be wrong since
    act(demo, made(demo))
    bring(demo, [Item("x", (HashKind.MD5, HashKind.SHA256)).next()])
    assert sent(demo, derived=True)[0] == []


def test_a_withdrawal_is_told_without_them(demo):
    act(demo, made(demo))
    since = demo.head()
    demo.retract("demo", ids_of(demo, "x"), **WHO)
    found, export = sent(demo, derived=True, since=since)
    assert (found, export.without_derived) == ([], 0)


def test_a_code_that_the_source_gives_too_is_sent_once_as_its_own(demo):
    y = Item("y")
    act(demo, made(demo, "y", item=y, code=y.hashes[HashKind.PDQ]))
    assert sent(demo, "y", derived=True)[0] == []


def test_they_outlive_an_import_that_changes_other_things(demo):
    act(demo, made(demo))
    x = Item("x", (HashKind.MD5, HashKind.SHA256))
    bring(demo, [replace(x, size=7)])
    assert codes(demo) == {CROP}


def test_they_count_no_longer_once_the_entry_has_another_digest(demo):
    x = Item("x", (HashKind.MD5, HashKind.SHA256))
    act(demo, made(demo))
    bring(demo, [x.next()])
    assert codes(demo) == set()
    assert demo.entry(*ids_of(demo, "x")).extra_hashes == ()
    act(demo, made(demo, item=x.next()))  # the same code, made from the new file
    assert codes(demo) == {CROP}


def test_a_further_digest_of_the_entry_serves_too(demo):
    extra = value(HashKind.MD5, "second")
    bring(demo, [Item("z", (HashKind.SHA256,), extra=((HashKind.MD5, extra),))])
    act(demo, made(demo, "z", item=Item("z", (HashKind.MD5,)), of_digest=extra))
    assert codes(demo, "z") == {CROP}


def test_they_are_retracted_and_restored_with_their_entry(demo):
    act(demo, made(demo))
    ids = ids_of(demo, "x")
    demo.retract("demo", ids, **WHO)
    assert ids[0] not in in_force(demo)
    demo.restore("demo", ids, **WHO)
    assert codes(demo) == {CROP}


def test_a_rollback_takes_back_what_came_later(demo):
    first, second = made(demo), made(demo, code=WHOLE)
    then = act(demo, first).number
    act(demo, second)
    act(demo, first, action=WITHDRAW)
    assert codes(demo) == {WHOLE}
    would = demo.preview_rollback("demo", then)
    assert (would.reverted, would.changes) == (1, True)
    done = operator.roll_back(demo, "demo", then, **WHO)
    assert done.revision.updated == 1
    assert codes(demo) == {CROP}
    assert demo.rollback("demo", then, **WHO) is None
    require_coverage_of_source(demo)


def require_coverage_of_source(demo):
    for row in (record.derived for record in demo.list_derived("demo", action=CONFIRM)):
        act(demo, row, action=WITHDRAW)
    require_coverage(demo)


def test_a_purge_leaves_nothing_of_them_and_bars_them(demo):
    act(demo, made(demo))
    other = made(demo, "y", item=Item("y"))
    report = operator.purge(demo, "demo", EntrySelection(entry_ids=ids_of(demo, "x")), **WHO)
    assert report.values == 3
    assert demo.list_derived("demo") == []
    with pytest.raises(DerivedHashError, match="was purged"):
        act(demo, other)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"of_digest": bytes(16)}, "does not have the digest"),
        ({"of_kind": HashKind.SHA1}, "MD5, SHA-1 or SHA-256"),
        ({"of_kind": HashKind.PDQ}, "MD5, SHA-1 or SHA-256"),
        ({"kind": HashKind.MD5, "value": bytes(16)}, "no kind that is computed here"),
        ({"kind": HashKind.PHOTODNA, "value": bytes(144)}, "no kind that is computed here"),
        ({"value": bytes(31)}, "has 32 bytes"),
        ({"derivation": ""}, "printable characters"),
        ({"derivation": "x" * 33}, "printable characters"),
    ],
)
def test_what_cannot_be_a_code_of_the_entry_changes_nothing(demo, wrong, told):
    before = demo.head()
    with pytest.raises(DerivedHashError, match=told) as caught:
        act(demo, made(demo), made(demo, **wrong))
    assert "derived code 2" in str(caught.value)
    assert (demo.head(), demo.list_derived("demo")) == (before, [])


def test_entries_are_of_the_list(demo):
    demo.create_list(replace(DEMO, name="other"), author="p")
    with pytest.raises(EntryNotFoundError):
        act(demo, made(demo), list_name="other")
    with pytest.raises(ListNotFoundError):
        act(demo, made(demo), list_name="nosuch")
    with pytest.raises(ListNotFoundError):
        demo.list_derived("nosuch")
    act(demo, made(demo))
    assert demo.list_derived("other") == []


def test_sparse_and_dense_batches_find_the_same(demo):
    bring(demo, items(*map(str, range(40))))
    act(demo, made(demo, "7", item=Item("7")))
    everything = in_force(demo)
    assert everything == in_force(demo, batch_size=3)
    with demo.read() as reader:
        ids = reader.changed_ids(0)
        (columns,) = reader.entry_columns(entry_ids=ids[[0, 8, 9, -1]])
    assert len(columns.codes[HashKind.PDQ][0]) in (3, 4)


# --- staged with the entries that they are of -----------------------------------------------------


def of_file(item, code=CROP, derivation="crop:0.02", of=HashKind.SHA256):
    return item.key, FileCode(HashKind.PDQ, code, derivation, of, item.hashes[of])


def contribute(catalog, item, *codes, list_name="demo"):
    """The item and its codes, as one import."""
    with catalog.begin_import(list_name, source()) as staged:
        staged.stage(batch([item]))
        result = staged.stage_derived([of_file(item, *each) for each in codes])
        revision = staged.commit()
    return result, revision


NEW = Item("new", (HashKind.SHA256, HashKind.PDQ))


def test_they_come_with_their_entry_in_one_revision(demo):
    since = demo.head()
    result, revision = contribute(demo, NEW, (CROP,), (WHOLE, "crop:0.05"))
    assert (result.codes, result.barred, result.updated) == (2, 0, 0)
    assert (revision.number, revision.added, revision.updated) == (since + 1, 1, 0)
    assert codes(demo, "new") == {NEW.hashes[HashKind.PDQ], CROP, WHOLE}
    assert {each.action for each in demo.list_derived("demo")} == {CONFIRM}
    bring(demo, [replace(NEW, size=9)])
    assert codes(demo, "new") == {NEW.hashes[HashKind.PDQ], CROP, WHOLE}
    require_coverage_of_source(demo)


def test_codes_of_an_entry_that_stands_already_are_a_revision_that_followers_see(demo):
    contribute(demo, NEW)
    since = demo.head()
    result, revision = contribute(demo, NEW, (CROP,))
    assert (result.updated, revision.updated) == (1, 1)
    with demo.read() as reader:
        assert reader.changed_ids(since).tolist() == ids_of(demo, "new")
        assert reader.changed_count(since) >= 1
    result, revision = contribute(demo, NEW, (CROP,))
    assert (result.codes, result.updated, revision) == (1, 0, None)


def test_what_is_staged_twice_is_written_once(demo):
    with demo.begin_import("demo", source()) as staged:
        for _ in range(2):
            staged.stage(batch([NEW]))
            staged.stage_derived([of_file(NEW), of_file(NEW)])
        staged.commit()
    assert len(demo.list_derived("demo")) == 1
    assert codes(demo, "new") == {NEW.hashes[HashKind.PDQ], CROP}


def test_an_aborted_import_leaves_none_of_them(demo):
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch([NEW]))
        staged.stage_derived([of_file(NEW)])
    assert demo.list_derived("demo") == []
    assert demo.sweep() == 0
    contribute(demo, NEW)
    assert codes(demo, "new") == {NEW.hashes[HashKind.PDQ]}


def test_codes_of_what_was_not_listed_are_passed_by(demo):
    x = Item("x", (HashKind.MD5, HashKind.SHA256))
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch([NEW]))
        result = staged.stage_derived([of_file(x), of_file(Item("nobody"), of=HashKind.MD5)])
        staged.commit()
    assert (result.codes, demo.list_derived("demo")) == (0, [])


def test_a_staged_code_that_can_be_none_is_refused(demo):
    key, code = of_file(NEW)
    with demo.begin_import("demo", source()) as staged:
        staged.stage(batch([NEW]))
        with pytest.raises(DerivedHashError, match=r"derived code 2: .*32 bytes"):
            staged.stage_derived([(key, code), (key, replace(code, value=b"short"))])


def test_a_purged_value_does_not_come_back_as_a_staged_code(demo):
    act(demo, made(demo))
    operator.purge(demo, "demo", EntrySelection(entry_ids=ids_of(demo, "x")), **WHO)
    result, _ = contribute(demo, NEW, (CROP,), (WHOLE,))
    assert (result.codes, result.barred) == (1, 1)
    assert codes(demo, "new") == {NEW.hashes[HashKind.PDQ], WHOLE}


def test_a_list_that_is_filled_for_the_first_time_takes_them(catalog):
    catalog.create_list(DEMO, author="a person")
    with catalog.begin_import("demo", source()) as staged:
        for name in ("n1", "n2", "n3"):
            item = Item(name, (HashKind.SHA256,))
            staged.stage(batch([item]))
            staged.stage_derived([of_file(item, value(HashKind.PDQ, name))])
        staged.commit()
    for name in ("n1", "n2", "n3"):
        assert codes(catalog, name) == {value(HashKind.PDQ, name)}


def test_pages_of_codes_are_whole_and_tell_who_acted(demo, monkeypatch):
    monkeypatch.setattr(derived, "_LISTED_ENTRIES", 2)
    names = [str(number) for number in range(7)]
    bring(demo, items(*names))
    rows = [
        made(demo, name, item=Item(name), code=value(HashKind.PDQ, (name, part)))
        for name in names
        for part in range(2)
    ]
    act(demo, *rows[:8])
    act(demo, *rows[8:], action=PROPOSE)
    bring(demo, [Item("6").next()])
    found, after = [], 0
    while page := demo.list_derived("demo", after=after, limit=3):
        assert len(page) <= 4
        found += page
        after = page[-1].derived.entry_id
    assert found == demo.list_derived("demo")
    assert {each.derived for each in found} == set(rows)
    assert {(each.author, each.fits) for each in found} == {
        ("an operator", True),
        ("an operator", False),
    }
    assert all(each.at is not None for each in found)
    (last,) = ids_of(demo, "6")
    assert {each.derived.entry_id for each in found if not each.fits} == {last}
    proposed = demo.list_derived("demo", action=PROPOSE, limit=1)
    assert {each.action for each in proposed} == {PROPOSE}
    assert proposed[0].derived.entry_id == ids_of(demo, "4")[0]
    chosen = [*ids_of(demo, "1", "3", "6"), 10**15, *range(10**6, 10**6 + 9)]
    told = demo.list_derived("demo", entry_ids=chosen)
    assert {each.derived.entry_id for each in told} == set(ids_of(demo, "1", "3", "6"))
    assert demo.list_derived("demo", entry_ids=chosen, after=last) == []
    assert demo.list_derived("demo", entry_ids=[]) == []
