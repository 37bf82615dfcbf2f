"""Which lists a format's entries may go into: what is known to be harmless stays by itself.

A list of known-good files never counts and never cancels, and a list of abuse always counts; an
entry in the wrong one is a missed match, or an innocent picture that matches.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hashlists.errors import HarmMismatchError
from hashlists.model import Harm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.formats.base import Format

#: Its value `yes` says of files whose format may hold either that they are known-good ones.
KNOWN_GOOD_OPTION: Final = "known_good"
_NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})


def require_harm(
    found: Format, list_name: str, harm: Harm, options: Mapping[str, str] = _NO_OPTIONS
) -> None:
    """Checks that entries of a format may stand in a list.

    A format that says nothing of harm, such as CSV or checksums, fits every list: the operator said
    what the list is about when making it. One that does say fits lists of that harm, and, unless it
    is of known-good files, lists of harm `test`, where feeds are tried out. A format in which both
    abuse and known-good files are handed on is taken for abuse, unless its option says otherwise.

    Args:
        found: the format.
        list_name: the list.
        harm: of the list.
        options: with which the files are read.

    Raises:
        HarmMismatchError: they may not.
    """
    told = found.harm
    if found.may_be_known_good and options.get(KNOWN_GOOD_OPTION) == "yes":
        told = Harm.KNOWN_GOOD
    elif found.may_be_known_good and harm is Harm.KNOWN_GOOD:
        raise HarmMismatchError(
            f"{found.name} is mostly of abuse, and the list {list_name!r} is of harm known_good, in"
            " which nothing ever matches. Where the files are a set of known-good ones, say so with"
            f" --option {KNOWN_GOOD_OPTION}=yes; else import into another list: hashwarden lists"
            " create NAME --harm csam --source WHO"
        )
    if told is None or told is harm or (harm is Harm.TEST and told is not Harm.KNOWN_GOOD):
        return
    raise HarmMismatchError(
        f"{found.name} holds entries of harm {told}, but the list {list_name!r} is of harm {harm};"
        f" they are kept apart. Import into another list: hashwarden lists create NAME"
        f" --harm {told} --source WHO"
    )


__all__ = ["KNOWN_GOOD_OPTION", "require_harm"]
