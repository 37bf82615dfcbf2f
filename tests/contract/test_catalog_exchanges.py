"""Feeds: a page, its checkpoint and what was set aside count together or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.catalog import (
    Catalog,
    Checkpoint,
    ExchangeState,
    SetAside,
    exchanges,
)
from hashlists.errors import (
    CatalogError,
    ExchangeConflictError,
    ExchangeExistsError,
    ExchangeNotFoundError,
    InvalidNameError,
    ListExistsError,
    ListFedError,
    ListNotFoundError,
)
from hashlists.model import ChangeKind, Handling
from tests.catalog_support import DEMO, batch, bring, items, names_in_force, source

SETTINGS = {"environment": "test", "hosts": ["b", "a"], "nested": {"x": None}}
MADE = {"kind": "made-up", "list_name": "demo", "settings": SETTINGS}
FULL_AT = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def demo(catalog: Catalog) -> Catalog:
    catalog.create_list(DEMO, author="a person")
    catalog.add_exchange("feed", **MADE)
    return catalog


def add_another(catalog: Catalog, name: str):
    """An exchange with a list of its own."""
    catalog.create_list(replace(DEMO, name=f"of-{name}"), author="a person")
    return catalog.add_exchange(name, **{**MADE, "list_name": f"of-{name}"})


def bad(number: int, *, page: str = "page 1", reason: str = "no hash") -> SetAside:
    return SetAside(page, f"record {number}", "hash", reason, number.to_bytes(32, "big"))


def fetch(catalog: Catalog, *names: str, document: object, after: int, set_aside=(), **more):
    exchange_id = catalog.get_exchange("feed").exchange_id
    with catalog.begin_import("demo", source(exchange_id=exchange_id)) as staged:
        staged.stage(batch(items(*names)))
        checkpoint = Checkpoint(exchange_id, {"next": document}, after, **more)
        return staged.commit(checkpoint=checkpoint, set_aside=set_aside)


class TestKeeping:
    def test_an_exchange_is_given_back_as_it_was_added(self, demo):
        found = demo.get_exchange("feed")
        assert (found.name, found.kind, found.list_name) == ("feed", "made-up", "demo")
        assert (found.settings, found.state) == (SETTINGS, ExchangeState.ACTIVE)
        assert (found.full_at, found.checkpoint, found.number, found.saved_at) == (
            *(None, None),
            *(0, None),
        )
        assert found.set_aside == 0
        assert abs(found.created_at - datetime.now(UTC)) < timedelta(minutes=1)

    def test_they_come_by_name(self, demo):
        added = add_another(demo, "a-feed")
        assert demo.list_exchanges() == [added, demo.get_exchange("feed")]

    def test_pausing_and_other_settings(self, demo):
        before = demo.get_exchange("feed")
        paused = demo.update_exchange("feed", state=ExchangeState.PAUSED)
        assert paused == replace(before, state=ExchangeState.PAUSED)
        assert demo.update_exchange("feed") == paused
        other = demo.update_exchange("feed", settings={"x": 1})
        assert other == demo.get_exchange("feed") == replace(paused, settings={"x": 1})

    def test_a_removed_one_is_gone_with_all_its_own(self, demo):
        other = add_another(demo, "other")
        first = demo.get_exchange("feed").exchange_id
        fetch(demo, "a", document="2", after=0, set_aside=[bad(1)])
        demo.remove_exchange("feed")
        assert demo.list_exchanges() == [other]
        assert list(names_in_force(demo)) == ["a"]
        again = demo.add_exchange("feed", **MADE)
        assert (again.checkpoint, again.set_aside) == (None, 0)
        assert again.exchange_id not in (first, other.exchange_id)

    def test_refusals(self, demo):
        with pytest.raises(ExchangeExistsError):
            demo.add_exchange("feed", **MADE)
        with pytest.raises(InvalidNameError, match="an exchange's name"):
            demo.add_exchange("Feed", **MADE)
        with pytest.raises(ListNotFoundError):
            demo.add_exchange("x", **{**MADE, "list_name": "nosuch"})
        for call in (demo.get_exchange, demo.remove_exchange, demo.list_set_aside):
            with pytest.raises(ExchangeNotFoundError):
                call("nosuch")
        with pytest.raises(ExchangeNotFoundError):
            demo.update_exchange("nosuch", state=ExchangeState.PAUSED)


class TestWithItsList:
    """An exchange and the list that it fills come together, or neither does."""

    HANDLED = replace(DEMO, name="new", handling=Handling("Us", ("them",)))

    def add(self, catalog, name="other", hash_list=HANDLED):
        return catalog.add_exchange_with_list(
            name, kind="made-up", hash_list=hash_list, settings=SETTINGS, author="a person"
        )

    def test_both_are_there(self, demo):
        before = demo.head()
        added = self.add(demo)
        assert added == demo.get_exchange("other")
        assert (added.list_name, added.settings) == ("new", SETTINGS)
        made = demo.get_list("new")
        assert (made.hash_list, made.revision) == (self.HANDLED, before + 1)
        (revision,) = demo.list_revisions("new")
        assert (revision.kind, revision.author) == (ChangeKind.CREATE_LIST, "a person")

    @pytest.mark.parametrize(
        ("name", "hash_list", "error"),
        [
            ("feed", HANDLED, ExchangeExistsError),
            ("Other", HANDLED, InvalidNameError),
            ("other", replace(HANDLED, name="New"), InvalidNameError),
            ("other", DEMO, ListExistsError),
        ],
    )
    def test_nothing_is(self, demo, name, hash_list, error):
        before = demo.head(), demo.list_lists(), demo.list_exchanges()
        with pytest.raises(error):
            self.add(demo, name, hash_list)
        assert (demo.head(), demo.list_lists(), demo.list_exchanges()) == before

    def test_nothing_is_where_the_name_is_taken_meanwhile(self, demo, monkeypatch):
        prepare = exchanges.prepare_list

        def and_meanwhile(engine, hash_list):
            prepared = prepare(engine, hash_list)
            add_another(demo, "other")
            return prepared

        monkeypatch.setattr(exchanges, "prepare_list", and_meanwhile)
        with pytest.raises(ExchangeExistsError):
            self.add(demo)
        with pytest.raises(ListNotFoundError):
            demo.get_list("new")
        assert demo.get_exchange("other").list_name == "of-other"


class TestWhatAnExchangeFills:
    """A full fetch withdraws what the exchange does not list, so nothing else may be there."""

    def test_a_list_has_one_exchange(self, demo):
        with pytest.raises(ExchangeExistsError, match="filled by the exchange feed already"):
            demo.add_exchange("other", **MADE)
        assert [each.name for each in demo.list_exchanges()] == ["feed"]

    def test_the_database_takes_no_second_one_either(self, demo, monkeypatch):
        monkeypatch.setattr(exchanges, "exchange_of_list", lambda *_: None)
        with pytest.raises(CatalogError):
            demo.add_exchange("other", **MADE)
        assert [each.name for each in demo.list_exchanges()] == ["feed"]

    def test_imports_from_elsewhere_are_refused(self, demo):
        fetch(demo, "a", document="2", after=0)
        other = add_another(demo, "other")
        for of in (None, other.exchange_id):
            with pytest.raises(ListFedError, match="a list of their own"):
                demo.begin_import("demo", source(exchange_id=of))
        fetch(demo, "b", document="3", after=1)  # nothing is left of what was refused
        assert set(names_in_force(demo)) == {"a", "b"}

    def test_once_it_is_removed_they_are_not(self, demo):
        fetch(demo, "a", document="2", after=0)
        demo.remove_exchange("feed")
        bring(demo, items("mine"))
        assert set(names_in_force(demo)) == {"a", "mine"}

    def test_a_list_with_entries_from_elsewhere_takes_none(self, catalog):
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items("mine"))
        with pytest.raises(ListFedError, match="as made-up"):
            catalog.add_exchange("feed", **{**MADE, "kind": "other"})
        assert catalog.list_exchanges() == []
        catalog.add_exchange("feed", **MADE)  # of the same format: an earlier one of that kind

    def test_nor_does_one_into_which_they_are_being_imported(self, catalog):
        catalog.create_list(DEMO, author="a person")
        with catalog.begin_import("demo", source()) as staged:
            staged.stage(batch(items("mine")))
            with pytest.raises(ListFedError):
                catalog.add_exchange("feed", **{**MADE, "kind": "other"})
            staged.commit()
        with catalog.begin_import("demo", source()):  # given up: it brings nothing
            pass


class TestRollback:
    def test_all_is_owed_anew(self, demo):
        first = fetch(demo, "a", document="2", after=0)
        fetch(demo, "b", document="3", after=1)
        assert demo.get_exchange("feed").full_due_at is None
        assert demo.preview_rollback("demo", first.number).exchange == "feed"
        demo.rollback("demo", first.number, author="a person", reason="odd page")
        owed = demo.get_exchange("feed")
        assert abs(owed.full_due_at - datetime.now(UTC)) < timedelta(minutes=1)
        fetch(demo, "b", document="4", after=owed.number)
        assert demo.get_exchange("feed").full_due_at == owed.full_due_at
        fetch(demo, "b", document="5", after=owed.number + 1, full_at=FULL_AT)
        assert demo.get_exchange("feed").full_due_at is None

    def test_a_fetch_under_way_does_not_go_on(self, demo):
        """It would move behind what the rollback took out, and might say that all was fetched."""
        first = fetch(demo, "a", document="2", after=0)
        fetch(demo, "b", document="3", after=1)
        demo.rollback("demo", first.number, author="a person", reason="odd page")
        with pytest.raises(ExchangeConflictError):
            fetch(demo, "c", document="4", after=2, full_at=FULL_AT)
        assert set(names_in_force(demo)) == {"a"}
        assert demo.get_exchange("feed").full_due_at is not None

    def test_one_that_changes_nothing_owes_nothing(self, demo):
        first = fetch(demo, "a", document="2", after=0)
        assert demo.rollback("demo", first.number, author="a person", reason="r") is None
        found = demo.get_exchange("feed")
        assert (found.full_due_at, found.number) == (None, 1)

    def test_other_exchanges_owe_nothing(self, demo):
        created = demo.head()
        fetch(demo, "a", document="2", after=0)
        other = add_another(demo, "other")
        demo.rollback("demo", created, author="a person", reason="r")
        assert demo.get_exchange("other") == other
        assert demo.preview_rollback("of-other", demo.head()).exchange is None

    def test_one_that_was_never_fetched_owes_nothing_for_it(self, demo):
        """But for what its list held already when it was added."""
        demo.remove_exchange("feed")
        created = demo.head()
        assert demo.add_exchange("feed", **MADE).full_due_at is None
        demo.remove_exchange("feed")
        bring(demo, items("a"))
        owed = demo.add_exchange("feed", **MADE).full_due_at
        assert owed is not None
        demo.rollback("demo", created, author="a person", reason="r")
        assert demo.get_exchange("feed").full_due_at == owed


class TestProgress:
    def test_a_page_and_its_checkpoint_count_together(self, demo):
        revision = fetch(demo, "a", document="2", after=0)
        found = demo.get_exchange("feed")
        assert (revision.added, found.checkpoint, found.number) == (1, {"next": "2"}, 1)
        assert found.saved_at is not None
        assert found.full_at is None
        fetch(demo, "b", document="3", after=1, full_at=FULL_AT)
        found = demo.get_exchange("feed")
        assert (found.checkpoint, found.number, found.full_at) == ({"next": "3"}, 2, FULL_AT)
        fetch(demo, "c", document="4", after=2)
        assert demo.get_exchange("feed").full_at == FULL_AT

    def test_it_moves_where_nothing_changed(self, demo):
        fetch(demo, "a", document="2", after=0)
        assert fetch(demo, "a", document="3", after=1) is None
        assert demo.get_exchange("feed").checkpoint == {"next": "3"}

    def test_it_moves_without_a_page(self, demo):
        exchange_id = demo.get_exchange("feed").exchange_id
        demo.save_progress(Checkpoint(exchange_id, {"next": "2"}, 0), [bad(1)])
        found = demo.get_exchange("feed")
        assert (found.checkpoint, found.set_aside) == ({"next": "2"}, 1)
        with pytest.raises(ExchangeConflictError):
            demo.save_progress(Checkpoint(exchange_id, {"next": "3"}, 0))

    def test_a_page_that_is_given_up_moves_nothing(self, demo):
        exchange_id = demo.get_exchange("feed").exchange_id

        def fail(_number: int) -> dict[str, object]:
            raise RuntimeError

        checkpoint = Checkpoint(exchange_id, {}, 0)
        with demo.begin_import("demo", source(exchange_id=exchange_id)) as staged:
            staged.stage(batch(items("a")))
            with pytest.raises(RuntimeError):
                staged.commit(fail, checkpoint=checkpoint, set_aside=[bad(1)])
        found = demo.get_exchange("feed")
        assert (found.checkpoint, found.set_aside, names_in_force(demo)) == (None, 0, {})

    @pytest.mark.parametrize("after", [0, 2])
    def test_of_two_fetches_the_one_that_is_behind_changes_nothing(self, demo, after):
        fetch(demo, "a", document="2", after=0)
        with pytest.raises(ExchangeConflictError, match="nothing of this page"):
            fetch(demo, "b", document="old", after=after, set_aside=[bad(1)])
        found = demo.get_exchange("feed")
        assert (found.checkpoint, found.number, found.set_aside) == ({"next": "2"}, 1, 0)
        assert list(names_in_force(demo)) == ["a"]
        fetch(demo, "b", document="3", after=1)  # the way is free for the next one

    def test_an_exchange_that_is_removed_meanwhile_takes_no_page(self, demo):
        exchange_id = demo.get_exchange("feed").exchange_id
        with demo.begin_import("demo", source(exchange_id=exchange_id)) as staged:
            staged.stage(batch(items("a")))
            demo.remove_exchange("feed")
            with pytest.raises(ExchangeNotFoundError, match="nothing of this page"):
                staged.commit(checkpoint=Checkpoint(exchange_id, {}, 0))
        assert names_in_force(demo) == {}

    def test_nothing_is_set_aside_without_a_checkpoint(self, demo):
        exchange_id = demo.get_exchange("feed").exchange_id
        staged = demo.begin_import("demo", source(exchange_id=exchange_id))
        with pytest.raises(ValueError, match="with a checkpoint"):
            staged.commit(set_aside=[bad(1)])
        staged.abort()


class TestSetAside:
    def test_they_come_newest_first(self, demo):
        fetch(demo, document="2", after=0, set_aside=[bad(1), bad(2)])
        fetch(demo, document="3", after=1, set_aside=[bad(3, page="page 2")])
        found = demo.list_set_aside("feed")
        assert [each.record for each in found] == [bad(3, page="page 2"), bad(2), bad(1)]
        assert found[0].seen_at >= found[1].seen_at
        assert [each.record for each in demo.list_set_aside("feed", limit=1)] == [
            bad(3, page="page 2")
        ]
        assert demo.get_exchange("feed").set_aside == 3

    def test_one_that_comes_again_is_kept_once(self, demo):
        fetch(demo, document="2", after=0, set_aside=[bad(1), bad(2), bad(1)])
        again = bad(1, page="page 7", reason="still no hash")
        fetch(demo, document="3", after=1, set_aside=[again])
        assert [each.record for each in demo.list_set_aside("feed")] == [again, bad(2)]

    def test_other_exchanges_have_their_own(self, demo):
        add_another(demo, "other")
        fetch(demo, document="2", after=0, set_aside=[bad(1)])
        assert demo.list_set_aside("other") == []

    def test_they_are_known_by_nothing_that_could_be_guessed(self, demo):
        """The same record is known by the same bytes, but not by those that were given."""
        fetch(demo, document="2", after=0, set_aside=[bad(1), bad(2)])
        known = {each.record.record_sha256 for each in demo.list_set_aside("feed")}
        assert len(known) == 2
        assert not known & {bad(1).record_sha256, bad(2).record_sha256}
        fetch(demo, document="3", after=1, set_aside=[bad(1), bad(2)])
        assert {each.record.record_sha256 for each in demo.list_set_aside("feed")} == known

    @pytest.mark.parametrize(
        ("mended", "left"), [((), [1, 2]), ((1,), [2]), ((1, 2, 5), []), (None, [])]
    )
    def test_those_that_were_mended_are_forgotten(self, demo, mended, left):
        fetch(demo, document="2", after=0, set_aside=[bad(1), bad(2)])
        known = None if mended is None else [bad(number).record_sha256 for number in mended]
        exchange = demo.get_exchange("feed")
        checkpoint = Checkpoint(exchange.exchange_id, {}, exchange.number)
        with demo.begin_import("demo", source(exchange_id=exchange.exchange_id)) as staged:
            staged.commit(checkpoint=checkpoint, set_aside=[bad(3)], mended=known)
        places = {each.record.place for each in demo.list_set_aside("feed")}
        assert places == {f"record {number}" for number in (*left, 3)}

    def test_only_the_newest_are_kept(self, demo, monkeypatch):
        monkeypatch.setattr(exchanges, "MAX_SET_ASIDE", 3)
        fetch(demo, document="2", after=0, set_aside=[bad(n) for n in range(3)])
        fetch(demo, document="3", after=1, set_aside=[bad(8), bad(9)])
        names = [each.record.place for each in demo.list_set_aside("feed")]
        assert names == ["record 9", "record 8", "record 2"]
        fetch(demo, document="4", after=2, set_aside=[bad(n) for n in range(20, 30)])
        assert len(demo.list_set_aside("feed")) == 3
