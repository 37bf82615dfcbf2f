"""Proof, before a server calls itself ready, that matching works here and now.

Golden vectors check the hashers on this machine's numpy and BLAS. Then the published harmless
test image takes the whole way from bytes to decision, and must match the built-in list that every
catalog holds. Whoever integrates may send the same image, to see that their side works.
"""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.importer import import_file

from hashlists.errors import ListExistsError
from hashlists.model import TEST_LIST_NAME, Harm, HashList
from matcher.demo_data import PublishedTestImage, published_test_image
from matcher.errors import SelfTestError
from matcher.hashing import golden
from matcher.hashing.digests import digest_bytes
from matcher.model import Decision, DecodeRequest
from matcher.pipeline import Generation, MatchOptions, hash_items, match_items
from matcher.policy.rules import default_policy

if TYPE_CHECKING:
    from hashlists.catalog import Catalog
    from matcher.decode.pool import DecodePool

_IMPORT_KEY = "hashwarden-test-image-1"
_AUTHOR = "hashwarden"
_POLICY = "self-test"


def ensure_test_list(catalog: Catalog) -> None:
    """Puts the published test image's hashes on their own list, where they are not there yet.

    Raises:
        CatalogError: the catalog cannot be written.
    """
    if catalog.find_import(_IMPORT_KEY) is not None:
        return
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


def _as_csv(image: PublishedTestImage) -> str:
    values = [image.hashes[kind].hex() for kind in image.hashes]
    header = [kind.value for kind in image.hashes]
    row = ",".join([*values, str(len(image.data))])
    return f"{','.join([*header, 'size'])}\n{row}\n"


def check(generation: Generation, pool: DecodePool) -> None:
    """Takes the published test image from bytes to a decision, beside the golden vectors.

    Raises:
        SelfTestError: hashing or matching gives other results than it must; do not serve.
    """
    try:
        golden.check()
    except Exception as error:
        raise SelfTestError(f"golden vectors: {error}") from error
    image = published_test_image()
    request = DecodeRequest()
    decoded = pool.submit(image.data, request).result()
    (hashes,) = hash_items([digest_bytes(image.data)], [decoded], [request])
    computed = {**hashes.digests, **(hashes.views[0].codes if hashes.views else {})}
    for kind, expected in image.hashes.items():
        if computed.get(kind) != expected:
            raise SelfTestError(f"the published test image has another {kind.value} than it must")
    judged = Generation(generation.index, {_POLICY: default_policy()}, _POLICY)
    for probe, basis in ((hashes, "exact"), (replace(hashes, digests={}), "near")):
        (result,) = match_items(judged, [probe], [MatchOptions()])
        if not any(match.list_name == TEST_LIST_NAME for match in result.matches):
            raise SelfTestError(f"the published test image has no {basis} match")
        if result.decision is not Decision.MATCH:
            raise SelfTestError(f"the published test image's {basis} match decides nothing")
