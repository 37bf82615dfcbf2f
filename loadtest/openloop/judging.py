"""Whether an answer is the right one for its file: decision, reason, picture and listed entry.

An answer that belongs to another request is noticed: it tells another width and height, or another
entry. Nothing here repeats a hash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from matcher import wire
from matcher.model import Basis, Decision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from loadtest.corpus.model import CorpusFile
    from matcher._proto.hashwarden.match.v1 import match_pb2 as pb


def fault_of(result: pb.MatchResult, file: CorpusFile, entries: Mapping[str, str]) -> str:
    """What is wrong with an answer; empty where it is right.

    Args:
        result: what the server answered.
        file: what it was sent.
        entries: the server's id of the entry of each listed file, by name.
    """
    decision = wire.DECISION_OF.get(result.decision)
    if decision != file.decision:
        return f"{decision} for {file.decision}"
    if file.reason:
        reason = wire.REASON_OF.get(result.not_hashable.reason)
        return "" if reason == file.reason else f"{reason} for {file.reason}"
    seen = (result.image.format, result.image.width, result.image.height)
    if seen != (file.format, file.width, file.height):
        return "another picture's format, width or height"
    if decision is not Decision.MATCH:
        return ""
    if result.matches[0].entry != entries[file.listed]:
        return "another picture's entry"
    basis = Basis.EXACT if file.name == file.listed else Basis.NEAR
    found = wire.BASIS_OF.get(result.matches[0].basis)
    return "" if found is basis else f"a match by {found} for one by {basis}"
