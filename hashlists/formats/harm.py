"""Which lists entries may go into, and which formats they may go out in, by kind of harm.

What is known to be harmless stays by itself, and so does each kind of harm.

A list of known-good files never counts and never cancels, and a list of abuse always counts; an
entry in the wrong one is a missed match, or an innocent picture that matches.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from hashlists.errors import HarmMismatchError
from hashlists.model import Harm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from hashlists.formats.base import Format

#: Its value `yes` says of files whose format may hold either that they are known-good ones.
KNOWN_GOOD_OPTION: Final = "known_good"
_WORDS: Final = frozenset(Harm)
_NO_OPTIONS: Final[Mapping[str, str]] = MappingProxyType({})


def told_by(found: Format, options: Mapping[str, str]) -> Harm | None:
    """What files of a format are about, read with these options; None where it does not say."""
    is_good = found.may_be_known_good and options.get(KNOWN_GOOD_OPTION) == "yes"
    return Harm.KNOWN_GOOD if is_good else found.harm


def require_harm(
    found: Format,
    list_name: str,
    harm: Harm,
    options: Mapping[str, str] = _NO_OPTIONS,
    *,
    planned: bool = False,
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
        planned: the list is yet to be made of that harm, so that another can still be said.

    Raises:
        HarmMismatchError: they may not.
    """
    told = told_by(found, options)
    if found.may_be_known_good and harm is Harm.KNOWN_GOOD is not told:
        raise HarmMismatchError(
            f"{found.name} is mostly of abuse, and the list {list_name!r} {_is_of(planned)} harm"
            " known_good, in which nothing ever matches. Where the files are a set of known-good"
            f" ones, say so with --option {KNOWN_GOOD_OPTION}=yes; else"
            f" {_advice(Harm.CSAM, planned)}"
        )
    if told is not None and not _fits(told, harm):
        raise _mismatch(found.name, told, list_name, harm, planned=planned)


def require_told_harms(
    told: Iterable[str], list_name: str, harm: Harm, *, planned: bool = False
) -> None:
    """Checks that entries that say themselves what harm they are about may stand in a list.

    Args:
        told: what they say; a word that is not known here fits no list.
        list_name: the list.
        harm: what it is about.
        planned: as for `require_harm`.

    Raises:
        HarmMismatchError: they may not; the message repeats no word that is not known.
    """
    for word in sorted(told):
        if word not in _WORDS:
            raise HarmMismatchError(
                "the file holds entries of a kind of harm that this version does not know; import "
                "it with the version that wrote it, or a later one"
            )
        if not _fits(Harm(word), harm):
            raise _mismatch("the file", Harm(word), list_name, harm, planned=planned)


def require_written_harm(found: Format, harm: Harm) -> None:
    """Checks that lists of a harm may be written in a format.

    Raises:
        HarmMismatchError: whoever read the file would take its entries for another harm's.
    """
    if found.written_for in (None, harm) or harm is Harm.TEST:
        return
    carriers = "csv, jsonl, parquet or stix, whose files say what harm they are about"
    raise HarmMismatchError(
        f"lists of harm {harm} are not written as {found.name}, since whoever reads such a file "
        f"takes its entries for {found.written_for}; export to {carriers}"
    )


def _fits(told: Harm, harm: Harm) -> bool:
    return told is harm or (harm is Harm.TEST and told is not Harm.KNOWN_GOOD)


def _mismatch(
    what: str, told: Harm, list_name: str, harm: Harm, *, planned: bool
) -> HarmMismatchError:
    advice = _advice(told, planned)
    return HarmMismatchError(
        f"{what} holds entries of harm {told}, but the list {list_name!r} {_is_of(planned)} harm"
        f" {harm}; they are kept apart. {advice[0].upper()}{advice[1:]}"
    )


def _is_of(planned: bool) -> str:  # noqa: FBT001 - the word that fits
    return "would be of" if planned else "is of"


def _advice(told: Harm, planned: bool) -> str:  # noqa: FBT001 - as above
    if planned:
        return f"say --harm {told}, or import into another list"
    return (
        f"import into another list; --harm {told} and --source WHO make one that is not there yet"
    )


__all__ = [
    "KNOWN_GOOD_OPTION",
    "require_harm",
    "require_told_harms",
    "require_written_harm",
    "told_by",
]
