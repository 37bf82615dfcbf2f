"""Since when each list that decides is as it is."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import CatalogError
from hashlists.model import Harm, HashList, ListState
from matcher.errors import NotReadyError
from matcher.index.holder import Holder
from matcher.service import list_ages
from matcher.service.list_ages import ListAges


def served(*lists):
    holder = Holder()
    known = [SimpleNamespace(name=n, harm=harm, state=state) for n, harm, state in lists]
    holder.swap(SimpleNamespace(index=SimpleNamespace(lists=known)))
    return holder


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path / 'c.sqlite3'}") as catalog:
        catalog.create_list(HashList("one", Harm.CSAM, "s"), author="a")
        yield catalog


LISTS = (
    ("one", Harm.CSAM, ListState.LIVE),
    ("two", Harm.CSAM, ListState.SHADOW),
    ("hashwarden-test", Harm.TEST, ListState.LIVE),
)


async def test_lists_that_decide_have_an_age(catalog):
    at = catalog.list_revisions("one", limit=1)[0].committed_at.timestamp()
    now = at + 5
    ages = ListAges(SimpleNamespace(opened=lambda: catalog), served(*LISTS), now=lambda: now)
    assert ages.seconds == {}
    await ages.look()
    assert ages.seconds == {"one": pytest.approx(5)}
    now = at - 60  # the clock was set back
    assert ages.seconds == {"one": 0}
    ages.close()


async def test_what_is_known_stays_known_while_the_catalog_is_away(catalog):
    away = SimpleNamespace(opened=lambda: catalog)
    ages = ListAges(away, served(*LISTS))
    await ages.look()

    def fail():
        raise CatalogError("away")

    away.opened = fail
    with pytest.raises(CatalogError):
        await ages.look()
    assert set(ages.seconds) == {"one"}
    ages.close()


async def test_it_goes_on_looking(catalog, monkeypatch):
    monkeypatch.setattr(list_ages, "LOOK_SECONDS", 0.01)
    holder = Holder()
    ages = ListAges(SimpleNamespace(opened=lambda: catalog), holder)
    with pytest.raises(NotReadyError):
        await ages.look()
    ages.start()
    holder.swap(served(*LISTS).current)
    async with asyncio.timeout(30):
        while not ages.seconds:  # noqa: ASYNC110 - it has no event for a test
            await asyncio.sleep(0.01)
    ages.close()
