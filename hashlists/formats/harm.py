"""Which lists a format's entries may go into: what is known to be harmless stays by itself.

A list of known-good files never counts and never cancels, and a list of abuse always counts; an
entry in the wrong one is a missed match, or an innocent picture that matches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.errors import HarmMismatchError
from hashlists.model import Harm

if TYPE_CHECKING:
    from hashlists.formats.base import Format


def require_harm(found: Format, list_name: str, harm: Harm) -> None:
    """Checks that entries of a format may stand in a list.

    A format that says nothing of harm, such as CSV or checksums, fits every list: the operator said
    what the list is about when making it. One that does say fits lists of that harm, and, unless it
    is of known-good files, lists of harm `test`, where feeds are tried out.

    Raises:
        HarmMismatchError: they may not.
    """
    told = found.harm
    if told is None or told is harm or (harm is Harm.TEST and told is not Harm.KNOWN_GOOD):
        return
    raise HarmMismatchError(
        f"{found.name} holds entries of harm {told}, but the list {list_name!r} is of harm {harm};"
        f" they are kept apart. Import into another list: hashwarden lists create NAME"
        f" --harm {told} --source WHO"
    )


__all__ = ["require_harm"]
