"""The list that an exchange is to fill: one that is there and fits, or one to be made with it.

An exchange withdraws what it lists no longer, and what it brings may decide about people, so a list
begins in shadow and holds entries of one kind of harm. Nothing is made here.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from hashlists.errors import HarmMismatchError, ListNotFoundError
from hashlists.model import Harm, HashList, ListState
from matcher.cli.importing import another_list
from matcher.cli.refusal import RefusalError

if TYPE_CHECKING:
    from hashlists.formats.base import Format
    from matcher.cli.context import Session
    from matcher.cli.describing import Described
    from matcher.cli.mistakes import Mistakes


def list_to_make(
    session: Session,
    kind: str,
    name: str,
    described: Described,
    mistakes: Mistakes,
    *,
    live: bool,
) -> HashList | None:
    """The list that is to be made with an exchange; None where it is there, or cannot be made.

    Args:
        session: of the command.
        kind: of the exchange.
        name: of the list.
        described: what was said of it.
        mistakes: takes why an exchange of the kind may not fill it.
        live: whether it may decide already.
    """
    from hashlists.exchanges.registry import format_of  # noqa: PLC0415
    from hashlists.formats.registry import find_format  # noqa: PLC0415  brings numpy

    format_ = find_format(format_of(kind))
    held = _held_list(session, name)
    with mistakes.gathered():
        if held is None:
            return _described_list(kind, format_, name, described)
        if differing := described.contradicted_by(held):
            raise another_list(name, differing, None, by="exchanges add")
        _require_fit(kind, format_, held)
    if held is not None:
        with mistakes.gathered():
            _require_shadow(held, allowed=live)
    return None


def _held_list(session: Session, name: str) -> HashList | None:
    """The list of that name; None where there is none, or no catalog either."""
    session.require_no_replica()
    if not session.has_catalog:
        return None
    with session.catalog() as catalog, suppress(ListNotFoundError):
        return catalog.get_list(name).hash_list
    return None


def _described_list(kind: str, format_: Format, name: str, described: Described) -> HashList:
    """The list that an exchange of the kind is to fill, which is not there yet.

    Raises:
        RefusalError: of what harm it is was not said, or is another than the kind tells.
    """
    if described.harm is None and format_.harm is None:
        raise RefusalError(
            f"{kind} does not say what kind of harm its hashes are about, and there is no "
            f"list {name} yet: add --harm"
        )
    harm = format_.harm if described.harm is None else Harm(described.harm)
    if format_.harm not in (None, harm) and harm is not Harm.TEST:
        raise RefusalError(
            f"what {kind} tells is of harm {format_.harm}, and so is the list that it fills: "
            "leave --harm out"
        )
    source = described.source or kind
    made = replace(described, harm=harm, source=source, state=ListState.SHADOW)
    return made.to_list(name, at_server=False)


def _require_fit(kind: str, format_: Format, held: HashList) -> None:
    """Refuses a list of another harm than that of what the kind tells.

    Raises:
        RefusalError: it is.
    """
    from hashlists.formats.harm import require_harm  # noqa: PLC0415

    try:
        require_harm(format_, held.name, held.harm)
    except HarmMismatchError:
        raise RefusalError(
            f"what {kind} tells is of harm {format_.harm}, and the list {held.name} is of harm "
            f"{held.harm}; they are kept apart: name another list with --list, one that is not "
            "there yet is created"
        ) from None


def _require_shadow(held: HashList, *, allowed: bool) -> None:
    if held.state is ListState.LIVE and not allowed:
        raise RefusalError(
            f"the list {held.name} is live, so what is fetched would decide at once: name a list "
            "that is not there yet, which begins in shadow, or add --live if that is meant"
        )


__all__ = ["list_to_make"]
