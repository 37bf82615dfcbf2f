"""What a file of ours says of itself: whose it is, what it shows, and whether it is a delta.

Each format has its own place for it; what stands there is read in one way.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST = 2**63 - 1
_LETTERS: Final = 20
_SENDER = re.compile(rf"[a-p]{{{_LETTERS}}}")
#: Names under which the parts stand, wherever they have names.
SENDER: Final = "sender"
UPTO: Final = "upto"
SINCE: Final = "since"


@dataclass(frozen=True, slots=True)
class FileMark:
    """What the file says.

    Attributes:
        sender: of `sender_id`; empty where it does not say.
        upto: the sender's revision that it shows; 0 where it does not say.
        since: the one that a delta starts from, 0 where that cannot be read; None for no delta.
    """

    sender: str = ""
    upto: int = 0
    since: int | None = None

    @classmethod
    def of(cls, said: Mapping[str, object]) -> FileMark:
        """What stands under the names of the parts, as text or number, if anything does."""
        sender, upto, since = (said.get(name) for name in (SENDER, UPTO, SINCE))
        if isinstance(sender, bytes):
            sender = sender.decode("ascii", "replace")
        is_sender = isinstance(sender, str) and _SENDER.fullmatch(sender) is not None
        return cls(
            str(sender) if is_sender else "",
            revision_of(upto),
            None if since is None else revision_of(since),
        )

    @property
    def says_anything(self) -> bool:
        """Whether there is something to hand on."""
        return bool(self.sender) or self.since is not None


def sender_id(catalog_id: str, list_names: Iterable[str]) -> str:
    """Tells the lists of a catalog from all others, and shows nothing of either.

    Letters alone, so that nobody takes it for a hash. Empty where there is no catalog.
    """
    if not catalog_id:
        return ""
    named = "\n".join(["hashwarden sender", catalog_id, *sorted(list_names)])
    digest = hashlib.sha256(named.encode()).hexdigest()[:_LETTERS]
    return "".join(chr(ord("a") + int(digit, 16)) for digit in digest)


def revision_of(said: object) -> int:
    """The revision that a mark names, as a number or its digits; 0 for anything else.

    A mark that cannot be read is one all the same: the file is a delta of an unknown beginning.
    """
    if isinstance(said, bytes):
        said = said.decode("ascii", "replace")
    if isinstance(said, str):
        said = int(said) if len(said) <= len(str(_MOST)) and _is_digits(said) else 0
    is_number = isinstance(said, int) and not isinstance(said, bool)
    return said if is_number and 0 < said <= _MOST else 0  # type: ignore[operator, return-value]


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


__all__ = ["SENDER", "SINCE", "UPTO", "FileMark", "revision_of", "sender_id"]
