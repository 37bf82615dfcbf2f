"""The built-in list of the published harmless test image, which every catalog holds.

It is imported like any other list, so it proves the importer too. The image ships with the
package; its hashes are published and may be shown to anyone.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.errors import ListExistsError
from hashlists.importer import import_file
from hashlists.model import TEST_LIST_NAME, Harm, HashList
from matcher.demo_data import PublishedTestImage, published_test_image

if TYPE_CHECKING:
    from hashlists.catalog import Catalog

_IMPORT_KEY = "hashwarden-test-image-1"
_AUTHOR = "hashwarden"


def ensure_test_list(catalog: Catalog) -> bool:
    """Puts the published test image's hashes on their own list, where they are not there yet.

    Returns:
        Whether they were not there, so that the catalog has revisions more than before.

    Raises:
        CatalogError: the catalog cannot be written.
    """
    if catalog.find_import(_IMPORT_KEY) is not None:
        return False
    built_in = HashList(
        name=TEST_LIST_NAME,
        harm=Harm.TEST,
        source="Hashwarden",
        title="Published harmless test image",
        legal_basis="A generated picture of nothing; no personal data.",
    )
    with contextlib.suppress(ListExistsError):  # a start that was cut off between the two steps
        catalog.create_list(built_in, author=_AUTHOR)
    with tempfile.TemporaryDirectory(prefix="hashwarden-") as folder:
        file = Path(folder) / "test-image.csv"
        file.write_text(_as_csv(published_test_image()), encoding="utf-8")
        import_file(
            catalog,
            file,
            list_name=TEST_LIST_NAME,
            format="csv",
            options={f"columns.{name}": name for name in ("md5", "sha1", "sha256", "pdq", "size")},
            importer=_AUTHOR,
            reason="built-in list",
            idempotency_key=_IMPORT_KEY,
        )
    return True


def _as_csv(image: PublishedTestImage) -> str:
    values = [image.hashes[kind].hex() for kind in image.hashes]
    header = [kind.value for kind in image.hashes]
    row = ",".join([*values, str(len(image.data))])
    return f"{','.join([*header, 'size'])}\n{row}\n"
