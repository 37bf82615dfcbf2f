"""Fills a catalog with made-up entries of one PDQ code each, the same for the same number.

    python -m loadtest.catalogs sqlite:////tmp/catalog.sqlite3 --first 0 --count 10000000

The code of entry `i` can be worked out from `i` alone, so that a prober can ask for any of them,
and writers in several processes need not agree on anything but numbers. Prints the moment of the
commit, in seconds since 1970.
"""

from __future__ import annotations

import argparse
import hashlib
from typing import TYPE_CHECKING

import numpy as np

from hashlists.catalog import Catalog, ImportSource
from hashlists.model import (
    NO_ONWARD_SHARING,
    Classification,
    EntryBatch,
    Harm,
    HashKind,
    HashList,
    Place,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hashlists.model import Revision

LIST = "made-up"
_SEED = 20
_BATCH = 30_000
_CLASSIFICATION = Classification("vics", "US", "1")


def codes(first: int, count: int) -> NDArray[np.uint8]:
    """PDQ codes `(count, 32) uint8` of the entries `first` to `first + count - 1`.

    Philox is a counter-based generator (Salmon et al., SC 2011): one step gives 256 bits.
    """
    words = np.random.Philox(key=_SEED, counter=first).random_raw(4 * count)
    return words.astype("<u8").view(np.uint8).reshape(count, HashKind.PDQ.nbytes)


def create_list(catalog: Catalog) -> None:
    """Adds the list that everything here goes into."""
    catalog.create_list(HashList(LIST, Harm.TEST, "nobody"), author="loadtest")


def add(catalog: Catalog, first: int, count: int) -> Revision:
    """Adds entries `first` to `first + count - 1`, as one revision."""
    digest = hashlib.sha256(f"{first} {count}".encode()).digest()
    source = ImportSource("made-up", digest, count, "loadtest")
    with catalog.begin_import(LIST, source) as staged:
        for start in range(first, first + count, _BATCH):
            staged.stage(_batch(start, min(_BATCH, first + count - start)))
        revision = staged.commit()
    if revision is None or revision.added != count:
        raise SystemExit("the catalog did not take the entries as new ones")
    return revision


def _batch(first: int, count: int) -> EntryBatch:
    raw = codes(first, count).tobytes()
    width = HashKind.PDQ.nbytes
    values = [raw[at : at + width] for at in range(0, len(raw), width)]
    return EntryBatch(
        keys=[b"\x00%d" % number for number in range(first, first + count)],
        hashes={HashKind.PDQ: values},
        extra_hashes=(),
        sizes=[None] * count,
        classifications=[_CLASSIFICATION] * count,
        handlings=[NO_ONWARD_SHARING] * count,
        flags=[0] * count,
        flags_known=[0] * count,
        verified_counts=[None] * count,
        media_types=[None] * count,
        source_ids=[str(number) for number in range(first, first + count)],
        source_updated_at=[None] * count,
        content_digests=[value[:16] for value in values],
        place_at=lambda row: Place("record", first + row),
    )


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", help="the catalog's; its list is made where it is missing")
    parser.add_argument("--first", type=int, default=0, help="number of the first entry")
    parser.add_argument("--count", type=int, required=True, help="how many")
    options = parser.parse_args()
    with Catalog.open(options.url) as catalog:
        if LIST not in {each.hash_list.name for each in catalog.list_lists()}:
            create_list(catalog)
        print(add(catalog, options.first, options.count).committed_at.timestamp())


if __name__ == "__main__":
    main()
