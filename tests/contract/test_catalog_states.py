"""Lists in shadow and live: who put them there, and that nothing unseen is promoted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hashlists.errors import ImportInProgressError, ListChangedError, ListNotFoundError
from hashlists.model import ChangeKind, ListState
from tests.catalog_support import DEMO, batch, bring, items, source

WHO = {"author": "an operator", "reason": "looked at for a week"}


@pytest.fixture
def shadow(catalog):
    catalog.create_list(replace(DEMO, state=ListState.SHADOW), author="a person")
    bring(catalog, items("a"))
    return catalog


def test_promoting_is_a_revision_with_its_reason(shadow):
    record = shadow.promote_list("demo", **WHO)
    assert (record.hash_list.state, record.revision) == (ListState.LIVE, 3)
    newest = shadow.list_revisions()[0]
    assert (newest.number, newest.kind, newest.list_name) == (3, ChangeKind.PROMOTE, "demo")
    assert (newest.author, newest.reason) == ("an operator", "looked at for a week")
    with shadow.read() as reader:
        assert reader.lists()[0].hash_list.state is ListState.LIVE
        assert reader.changed_ids(2).tolist() == []


def test_a_live_list_needs_no_promotion(shadow):
    shadow.promote_list("demo", **WHO)
    assert shadow.promote_list("demo", **WHO) == shadow.get_list("demo")
    assert shadow.head() == 3


def test_demoting_is_the_way_back(shadow):
    assert shadow.demote_list("demo", **WHO).revision == 2  # it is in shadow
    shadow.promote_list("demo", **WHO)
    record = shadow.demote_list("demo", **WHO)
    assert (record.hash_list.state, record.revision) == (ListState.SHADOW, 4)
    assert shadow.list_revisions()[0].kind is ChangeKind.DEMOTE


def test_only_what_was_looked_at_is_promoted(shadow):
    seen = shadow.get_list("demo").revision
    bring(shadow, items("b"))
    with pytest.raises(ListChangedError, match="is at revision 3, not 2"):
        shadow.promote_list("demo", if_revision=seen, **WHO)
    assert shadow.get_list("demo").hash_list.state is ListState.SHADOW
    shadow.create_list(replace(DEMO, name="other"), author="p")  # is no change of this list
    assert shadow.promote_list("demo", if_revision=3, **WHO).revision == 5


def test_nothing_is_promoted_while_an_import_is_under_way(shadow):
    with shadow.begin_import("demo", source()) as staged:
        staged.stage(batch(items("b")))
        with pytest.raises(ImportInProgressError):
            shadow.promote_list("demo", **WHO)
        assert shadow.demote_list("demo", **WHO).hash_list.state is ListState.SHADOW
    assert shadow.promote_list("demo", **WHO).hash_list.state is ListState.LIVE


def test_a_live_list_is_demoted_at_once_also_during_an_import(shadow):
    shadow.promote_list("demo", **WHO)
    with shadow.begin_import("demo", source()) as staged:
        staged.stage(batch(items("b")))
        assert shadow.demote_list("demo", **WHO).hash_list.state is ListState.SHADOW
        staged.commit()
    assert shadow.get_list("demo").hash_list.state is ListState.SHADOW


def test_unknown_lists(catalog):
    with pytest.raises(ListNotFoundError):
        catalog.promote_list("nosuch", **WHO)
    with pytest.raises(ListNotFoundError):
        catalog.demote_list("nosuch", **WHO)
