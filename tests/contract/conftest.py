"""Every kind of catalog under one contract: another database is one more parameter here."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from hashlists.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def _sqlite(folder: Path, template: Path) -> str:
    folder.mkdir()
    shutil.copyfile(template, folder / "catalog.db")
    (folder / "catalog.db").chmod(0o600)
    return f"sqlite:///{folder}/catalog.db"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog: migrating one for every test would take longer than the tests."""
    file = tmp_path_factory.mktemp("template") / "catalog.db"
    with Catalog.open(f"sqlite:///{file}") as catalog:
        assert catalog.wipe_deleted()
    return file


@pytest.fixture(params=[pytest.param(_sqlite, id="sqlite")])
def catalog_url(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> str:
    """URL of a new, empty catalog."""
    make: Callable[[Path, Path], str] = request.param
    return make(tmp_path / "catalog", sqlite_template)


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    """A new, empty catalog."""
    with Catalog.open(catalog_url) as opened:
        yield opened
