"""A catalog stays the one that was opened, whatever is found in its place later."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, update

from hashlists.catalog import Catalog
from hashlists.catalog.engine import open_engine, writer
from hashlists.catalog.schema import CATALOG_ID_NAME, meta
from hashlists.errors import CatalogError, OtherCatalogError
from hashlists.model import Harm, HashList

NEW = HashList("new", Harm.CSAM, "us")


def identity(catalog):
    with catalog.read() as reader:
        return reader.catalog_id


@pytest.fixture
def replaced(catalog, catalog_url):
    """A way to have another catalog at the URL, as after a new one was made there."""

    def act(change=None):
        catalog._engine.dispose()  # as of a server or a file that went away
        engine = open_engine(catalog_url)
        with writer(engine).begin() as connection:
            here = meta.c.name == CATALOG_ID_NAME
            connection.execute(
                delete(meta).where(here)
                if change is None
                else update(meta).where(here).values(value=change)
            )
        engine.dispose()

    return act


@pytest.mark.parametrize("change", [b"\7" * 16, None], ids=["another", "none"])
def test_another_in_its_place_is_neither_read_nor_changed(catalog, replaced, change):
    own = bytes.fromhex(identity(catalog))
    replaced(change)
    for act in (catalog.head, catalog.sweep, lambda: catalog.create_list(NEW, author="us")):
        with pytest.raises(OtherCatalogError, match="put the right one back"):
            act()
    if change is not None:
        replaced(own)
        assert catalog.create_list(NEW, author="us").hash_list == NEW


def test_only_the_one_of_that_identity_is_opened(catalog, catalog_url):
    own = identity(catalog)
    with Catalog.open(catalog_url, make=False, catalog_id=own) as again:
        assert identity(again) == own
    with pytest.raises(OtherCatalogError):
        Catalog.open(catalog_url, catalog_id="0" * 32)


def test_an_empty_sqlite_file_is_no_catalog_unless_one_is_to_be_made(tmp_path):
    file = tmp_path / "catalog.sqlite3"
    file.touch(0o600)
    with pytest.raises(CatalogError, match="is empty"):
        Catalog.open(f"sqlite:///{file}", make=False)
    Catalog.open(f"sqlite:///{file}").close()
