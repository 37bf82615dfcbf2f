"""What checking uploads again by their tokens costs: opening a token, and looking it up.

Run: `python -m loadtest.tokens [ENTRIES [VIEWS]]`. Entries with an MD5 and a PDQ code, and tokens
of uploads with three digests and a code for each view, all drawn at random from a seed; no server.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from hashlists.model import DIGEST_KINDS, Harm, HashKind, ListState
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.segment import Segment
from matcher.model import ImageHashes, ViewHashes
from matcher.pipeline import DEFAULT_OPTIONS, Generation, match_items
from matcher.policy.rules import default_policy
from matcher.sealing import KeySource
from matcher.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Callable

_TOKENS = 5_000
_AT_ONCE = 1_000


def main() -> None:
    """Prints CPU time a token for each step."""
    entries = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    views = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    rng = np.random.default_rng(1)
    generation = _generation(entries, rng)
    tokens, now = Tokens(KeySource("keys:" + "ab" * 32), days=1), time.time()
    uploads = [_upload(views, rng) for _ in range(_TOKENS)]
    sealed: list[bytes] = []
    _measure("seal", lambda: sealed.extend(tokens.seal(each, "c", now=now) for each in uploads))
    opened: list[ImageHashes] = []
    _measure("open", lambda: opened.extend(tokens.open(each, "c", now=now) for each in sealed))

    def look_up() -> None:
        for start in range(0, _TOKENS, _AT_ONCE):
            some = opened[start : start + _AT_ONCE]
            match_items(generation, some, [DEFAULT_OPTIONS] * len(some))

    for _ in range(3):
        _measure(f"look up among {entries:,} entries", look_up)
    print(f"a token has {len(sealed[0])} bytes")


def _measure(name: str, step: Callable[[], None]) -> None:
    start = time.process_time()
    step()
    print(f"{name}: {(time.process_time() - start) / _TOKENS * 1e6:.1f} us a token")


def _generation(entries: int, rng: np.random.Generator) -> Generation:
    owners = np.arange(entries, dtype=np.int64)
    rows = IndexRows(
        catalog_ids=owners + 1,
        list_rows=np.zeros(entries, np.uint16),
        classification_rows=np.zeros(entries, np.uint32),
        flags=np.zeros(entries, np.uint16),
        sizes=np.full(entries, -1, np.int64),
        expires=np.zeros(entries, np.uint32),
        codes={
            kind: (owners, rng.integers(0, 256, (entries, kind.nbytes), dtype=np.uint8))
            for kind in (HashKind.MD5, HashKind.PDQ)
        },
        derived={},
    )
    builder = IndexBuilder()
    builder.add(rows)
    segment = Segment.from_arrays(
        builder.arrays(), lists=1, classifications=1, derivations=builder.derivations
    )
    counts = {HashKind.MD5: entries, HashKind.PDQ: entries}
    lists = (IndexedList("new", Harm.CSAM, ListState.LIVE, entries, counts),)
    index = MatchIndex(revision=1, lists=lists, classifications=(None,), segments=[segment])
    return Generation(index, {"default": default_policy()})


def _upload(views: int, rng: np.random.Generator) -> ImageHashes:
    digests = {kind: rng.bytes(kind.nbytes) for kind in DIGEST_KINDS}
    codes = [{HashKind.PDQ: rng.bytes(HashKind.PDQ.nbytes)} for _ in range(views)]
    return ImageHashes(digests, 1_000, tuple(ViewHashes("upright", 100, each) for each in codes))


if __name__ == "__main__":
    main()
