"""Puts a page into an import, and tells which of its records were set aside."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hashlists.catalog import SetAside, StageResult
from hashlists.exchanges.identity import of_place

if TYPE_CHECKING:
    from hashlists.catalog import StagedImport
    from hashlists.exchanges.asking import Page
    from hashlists.model import Rejection


def aside_of(page: Page) -> list[SetAside]:
    """The malformed records of a page."""
    return [replace(each, page=page.words) for each in page.read.set_aside]


def stage_page(staged: StagedImport, page: Page, aside: list[SetAside]) -> StageResult:
    """Stages a page.

    Args:
        staged: the import.
        page: the page.
        aside: gets what the catalog does not take, e.g. a record at odds with another of its key.

    Returns:
        What became of it, its rejections included.

    Raises:
        CatalogError: the database failed.
    """
    result = StageResult()
    for entries in page.read.entries:
        result.add(staged.stage(entries))
    if page.read.retractions:
        result.add(staged.stage_retractions(page.read.retractions))
    aside += [_refused(page, each) for each in result.rejections]
    return result


def _refused(page: Page, rejection: Rejection) -> SetAside:
    known_by = of_place(page.read.sha256, rejection)
    return SetAside(page.words, str(rejection.place), rejection.field, rejection.reason, known_by)


__all__ = ["aside_of", "stage_page"]
