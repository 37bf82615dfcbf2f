"""Makes sure that a list is not emptied because a file was not understood.

What a source lists by nothing that can be matched any longer is withdrawn. Where that is much of a
list, it is more likely that the source writes its hashes in a new way: so it is refused then, as a
whole list is that leaves out as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.errors import WithdrawalsRefusedError
from hashlists.importing.full import MAX_ABSENT_SHARE
from hashlists.words import counted, one_or_many

if TYPE_CHECKING:
    from collections.abc import Callable


def require_few_unmatchable(
    unmatchable: int, before: int, refuse: Callable[[WithdrawalsRefusedError], None]
) -> None:
    """Judges how much of a list would go.

    Args:
        unmatchable: entries that are withdrawn since nothing of theirs can be matched.
        before: all that were in force until now.
        refuse: told why, where they are too many.
    """
    if unmatchable <= MAX_ABSENT_SHARE * before:
        return
    refuse(
        WithdrawalsRefusedError(
            f"{unmatchable:,} of {counted(before, 'entry', 'entries')} in force"
            f" {one_or_many(unmatchable, 'is', 'are')} listed by nothing that can be matched now,"
            f" and would be withdrawn; that is {unmatchable / max(before, 1):.1%} of them, above"
            f" the limit of {MAX_ABSENT_SHARE:.1%}, so nothing was imported: look for hashes that"
            " are written in a new way, or in a list of known-good files for those that are called"
            " malicious. Where the source has no others left, do it again with --force"
        )
    )


__all__ = ["require_few_unmatchable"]
