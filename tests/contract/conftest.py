"""Every kind of catalog under one contract: another database is one more parameter here."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from hashlists.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog: migrating one for every test would take longer than the tests."""
    file = tmp_path_factory.mktemp("template") / "catalog.db"
    with Catalog.open(f"sqlite:///{file}") as catalog:
        assert catalog.wipe_deleted()
    return file


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """URL of a new, empty catalog in SQLite."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    shutil.copyfile(sqlite_template, folder / "catalog.db")
    (folder / "catalog.db").chmod(0o600)
    return f"sqlite:///{folder}/catalog.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def catalog_url(request: pytest.FixtureRequest) -> str:
    """URL of a new, empty catalog."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def catalog(catalog_url: str) -> Iterator[Catalog]:
    """A new, empty catalog."""
    with Catalog.open(catalog_url) as opened:
        yield opened
