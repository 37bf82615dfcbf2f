"""Proof, before a server calls itself ready, that matching works here and now.

Golden vectors check the hashers on this machine's numpy and BLAS. Then the published harmless
test image takes the whole way from bytes to decision, and must match the built-in list that every
catalog holds. Whoever integrates may send the same image, to see that their side works.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hashlists.model import TEST_LIST_NAME
from matcher.demo_data import published_test_image
from matcher.errors import SelfTestError
from matcher.hashing import golden
from matcher.hashing.digests import digest_bytes
from matcher.model import Decision, DecodeRequest
from matcher.pipeline import Generation, MatchOptions, hash_items, match_items
from matcher.policy.rules import default_policy

if TYPE_CHECKING:
    from matcher.decode.pool import DecodePool

_POLICY = "self-test"


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
    # Its own list alone: what other lists hold must never keep a server from starting.
    alone = replace(default_policy(), lists=(TEST_LIST_NAME,))
    judged = Generation(generation.index, {_POLICY: alone}, _POLICY)
    for probe, basis in ((hashes, "exact"), (replace(hashes, digests={}), "near")):
        (result,) = match_items(judged, [probe], [MatchOptions()])
        if not any(match.list_name == TEST_LIST_NAME for match in result.matches):
            raise SelfTestError(f"the published test image has no {basis} match")
        if result.decision is not Decision.MATCH:
            raise SelfTestError(f"the published test image's {basis} match decides nothing")
