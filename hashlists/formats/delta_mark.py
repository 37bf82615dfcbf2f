"""The mark by which a file says that it is a delta: the revision that it starts from.

Each format has its own place for it; what stands there is read in one way.
"""

from __future__ import annotations

_MOST = 2**63 - 1


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


__all__ = ["revision_of"]
