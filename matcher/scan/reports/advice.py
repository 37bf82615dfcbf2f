"""What the reasons for which an object has no answer mean, and what to do about each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from matcher.model import NotHashableReason
from matcher.scan.model import FailureReason, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Advice:
    """Of one reason.

    Attributes:
        means: what happened.
        do: what a person can do about it.
    """

    means: str
    do: str


_BY_BYTES: Final = "It was still looked up by its digests."
_FAILED: Mapping[FailureReason, Advice] = {
    FailureReason.VANISHED: Advice(
        "It was listed, and gone when it was to be read.",
        "Find out who deletes or moves there; if objects are moved, scan their new place.",
    ),
    FailureReason.FORBIDDEN: Advice(
        "This account may not read it.",
        "Give the account the right to read, then scan these objects again.",
    ),
    FailureReason.THROTTLED: Advice(
        "The store asked for patience until all tries were used up.",
        "Scan these objects again at a quieter time, or with fewer fetches at once.",
    ),
    FailureReason.STORE_ERROR: Advice(
        "The store failed, time and again.",
        "Look at the store's state, then scan these objects again.",
    ),
    FailureReason.CUT_OFF: Advice(
        "Fewer bytes came than the store had told.",
        "Scan these objects again; if it stays so, they are damaged where they are stored.",
    ),
    FailureReason.TIMED_OUT: Advice(
        "It did not come in time.",
        "Scan these objects again; allow more time if they are large or the line is slow.",
    ),
    FailureReason.UNREADABLE: Advice(
        "It cannot be opened or read from the disk.",
        "Check its permissions and the disk's health, then scan these objects again.",
    ),
    FailureReason.ARCHIVED: Advice(
        "It lies in cold storage.",
        "Restore it from cold storage, which may cost money and take hours, then scan it.",
    ),
    FailureReason.ARCHIVE_DAMAGED: Advice(
        "What is within the archive cannot be listed or taken out.",
        "Repair or unpack it by hand in a safe place, and scan what comes out.",
    ),
    FailureReason.ARCHIVE_LIMIT: Advice(
        "What is within the archive passes a limit, as an archive bomb would.",
        "Unpack it with care in a safe place, and scan what comes out.",
    ),
    FailureReason.SERVER: Advice(
        "The server that should have matched it gave no answer.",
        "Check the server, then scan these objects again.",
    ),
    FailureReason.DECODERS_AWAY: Advice(
        "No decoder could be started on this machine.",
        "Run hashwarden doctor on it, then scan these objects again.",
    ),
}
_NOT_HASHABLE: Mapping[NotHashableReason, Advice] = {
    NotHashableReason.UNSUPPORTED: Advice(
        f"It is no picture of a format that is decoded. {_BY_BYTES}",
        "Nothing, for documents and the like; look at videos by other means.",
    ),
    NotHashableReason.MALFORMED: Advice(
        f"It looks like a picture, and cannot be decoded. {_BY_BYTES}",
        "If there are many, find out what wrote them; a sample may be looked at by hand.",
    ),
    NotHashableReason.OVER_LIMIT: Advice(
        f"It passes a limit of bytes, pixels, frames, time or memory. {_BY_BYTES}",
        "Scan these objects again with higher limits, on a machine that can spare the memory.",
    ),
    NotHashableReason.FEATURELESS: Advice(
        f"It is a picture with too little in it to tell it from others. {_BY_BYTES}",
        "Nothing: plain areas and the like cannot be known by how they look.",
    ),
    NotHashableReason.ENCRYPTED: Advice(
        f"It is encrypted. {_BY_BYTES}",
        "If its owner gives the key, decrypt it in a safe place, and scan it.",
    ),
    NotHashableReason.DECODER_FAILED: Advice(
        f"The decoder ended over it. {_BY_BYTES}",
        "Keep a sample for the maintainers if the law allows it; it may be an attack.",
    ),
}
_UNKNOWN: Final = Advice(
    "This version knows no more of it.", "See the detail of each object in the report."
)
#: By "outcome: reason", as tallies count them.
ADVICE: Mapping[str, Advice] = {
    **{f"{Outcome.FAILED}: {reason}": advice for reason, advice in _FAILED.items()},
    **{f"{Outcome.NOT_HASHABLE}: {reason}": advice for reason, advice in _NOT_HASHABLE.items()},
}


def advice_for(outcome: str, reason: str) -> Advice:
    """What a reason means; of a match by digests alone as of what is not hashable."""
    told = outcome if outcome == Outcome.FAILED else Outcome.NOT_HASHABLE
    return ADVICE.get(f"{told}: {reason}", _UNKNOWN)


__all__ = ["ADVICE", "Advice", "advice_for"]
