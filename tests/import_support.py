"""What tests of imports have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hashlists.importer import import_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hashlists.catalog import Catalog
    from hashlists.importer import ImportReport


def importing(
    catalog: Catalog, folder: Path, list_name: str, **usual: Any
) -> Callable[..., ImportReport]:
    """Imports a text in a format into a list, by way of a file in that folder.

    Args:
        catalog: has the list.
        folder: takes the file, which the next one replaces.
        list_name: the list.
        usual: what is asked of every import, unless one is given otherwise.
    """
    path = folder / "file"

    def give(text: str, fmt: str, **more: Any) -> ImportReport:
        path.write_text(text, encoding="utf-8")
        chosen = {"list_name": list_name, "format": fmt, "importer": "a person"} | usual | more
        return import_file(catalog, path, **chosen)

    return give


__all__ = ["importing"]
