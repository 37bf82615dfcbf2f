"""Derived codes of a list as `lists enrich` shows them and acts on them, a page at a time.

What is shown never has a hash: the entry, how the code was made, by which digest the entry names
the file, who acted and when. Memory is a page, and what one revision takes, however many there are.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from hashlists.catalog import DerivedAction
from hashlists.catalog.derived import MAX_DERIVED
from hashlists.words import counted, one_or_many
from matcher.cli.output import note, print_json, print_table
from matcher.cli.refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from hashlists.catalog import Catalog, DerivedHash, DerivedRecord

#: Rows of a table for a person.
_SHOWN = 1_000
PROPOSED = (DerivedAction.PROPOSE,)
CONFIRMED = (DerivedAction.CONFIRM,)
PROPOSED_OR_CONFIRMED = (*PROPOSED, *CONFIRMED)
_WORDS = {DerivedAction.PROPOSE: "proposed", DerivedAction.CONFIRM: "confirmed"}


def derived_codes(
    catalog: Catalog,
    list_name: str,
    actions: Collection[DerivedAction],
    entry_ids: Collection[int] | None = None,
) -> Iterator[DerivedRecord]:
    """Those codes of a list whose newest act is one of these, by entry."""
    after = 0
    action = next(iter(actions)) if len(actions) == 1 else None
    while page := catalog.list_derived(list_name, action=action, entry_ids=entry_ids, after=after):
        yield from (each for each in page if each.action in actions)
        after = page[-1].derived.entry_id


def count_codes(catalog: Catalog, list_name: str, actions: Collection[DerivedAction]) -> int:
    """How many codes of a list there are whose newest act is one of these."""
    return sum(1 for _ in derived_codes(catalog, list_name, actions))


def show_proposed(catalog: Catalog, list_name: str, *, as_json: bool) -> None:
    """Shows what waits to be confirmed or withdrawn."""
    if _show(catalog, list_name, PROPOSED, as_json=as_json):
        note(
            f"`lists enrich --list {list_name} --confirm ENTRY... --reason ...` has them matched, "
            "--withdraw refuses them"
        )
    elif not as_json:
        note("No code waits to be confirmed.")
        tell_confirmed(catalog, list_name)


def show_confirmed(catalog: Catalog, list_name: str, *, as_json: bool) -> None:
    """Shows what was confirmed, or made by `lists add`."""
    if _show(catalog, list_name, CONFIRMED, as_json=as_json):
        note(
            f"`lists enrich --list {list_name} --withdraw ENTRY... --reason ...` has them matched "
            "no longer"
        )
    elif not as_json:
        note("No code is confirmed.")


def tell_confirmed(catalog: Catalog, list_name: str) -> None:
    """Says how many codes are confirmed, and where they are seen; nothing where none is."""
    if number := count_codes(catalog, list_name, CONFIRMED):
        note(
            f"{counted(number, 'code is', 'codes are')} confirmed; `lists enrich --list "
            f"{list_name} --confirmed` shows {one_or_many(number, 'it', 'them')}, and --withdraw "
            "with --all --confirmed, or with each ENTRY, has "
            f"{one_or_many(number, 'it', 'them')} matched no longer"
        )


def _show(
    catalog: Catalog, list_name: str, actions: Collection[DerivedAction], *, as_json: bool
) -> bool:
    """Prints the codes; returns whether a table of any was printed, of which more can be said."""
    codes = derived_codes(catalog, list_name, actions)
    if as_json:
        for each in codes:
            print_json(_record(each))
        return False
    rows = [tuple(map(str, _record(each).values())) for each in islice(codes, _SHOWN)]
    print_table(("entry", "kind", "derivation", "named by", "fits", "at", "author"), rows)
    if more := sum(1 for _ in codes):
        note(f"... and {counted(more, 'more code')}; --json shows all")
    return bool(rows)


def _record(each: DerivedRecord) -> dict[str, Any]:
    row = each.derived
    return {
        "entry": row.entry_id,
        "kind": row.kind.value,
        "derivation": row.derivation,
        "named_by": row.of_kind.value,
        "fits": each.fits,
        "at": each.at.isoformat() if each.at else None,
        "author": each.author,
    }


def decide(
    catalog: Catalog,
    list_name: str,
    action: DerivedAction,
    of: Collection[DerivedAction],
    entry_ids: Sequence[int] | None,
    *,
    author: str,
    reason: str,
) -> tuple[int, int, list[int]]:
    """Confirms or withdraws codes, in revisions of bounded size.

    Args:
        catalog: holds the list.
        list_name: the list.
        action: what is done.
        of: to codes whose newest act is one of these.
        entry_ids: to those of these entries; None for all, in any entry.
        author: who does it.
        reason: why.

    Returns:
        How many codes, how many were left since their entry names another file by now, and the
        revisions.

    Raises:
        RefusalError: an entry has no such code; then nothing is done.
    """
    confirms = action is DerivedAction.CONFIRM
    if entry_ids is not None:
        _require_codes(catalog, list_name, of, entry_ids)
    done = stale = 0
    revisions: list[int] = []
    codes = derived_codes(catalog, list_name, of, entry_ids)
    while part := list(islice(codes, MAX_DERIVED)):
        rows = [each.derived for each in part if each.fits or not confirms]
        stale += len(part) - len(rows)
        done += len(rows)
        revisions += act(catalog, list_name, rows, author=author, reason=reason, action=action)
    return done, stale, revisions


def _require_codes(
    catalog: Catalog,
    list_name: str,
    actions: Collection[DerivedAction],
    entry_ids: Sequence[int],
) -> None:
    having = {
        each.derived.entry_id for each in derived_codes(catalog, list_name, actions, entry_ids)
    }
    missing = [each for each in dict.fromkeys(entry_ids) if each not in having]
    if missing:
        what = words_of(actions)
        raise RefusalError(
            f"entry {missing[0]} of list {list_name} has no code that is {what}; nothing was "
            f"changed; see: lists enrich --list {list_name}"
        )


def words_of(actions: Iterable[DerivedAction]) -> str:
    """What codes are whose newest act is one of these."""
    return " or ".join(_WORDS[each] for each in actions)


def act(
    catalog: Catalog,
    list_name: str,
    rows: Sequence[DerivedHash],
    *,
    author: str,
    reason: str,
    action: DerivedAction,
) -> list[int]:
    """Does it to all rows, in revisions of bounded size; the numbers of those."""
    made = [
        catalog.add_derived(
            list_name,
            rows[start : start + MAX_DERIVED],
            author=author,
            reason=reason,
            action=action,
        )
        for start in range(0, len(rows), MAX_DERIVED)
    ]
    return [each.number for each in made if each is not None]


__all__ = [
    "CONFIRMED",
    "PROPOSED",
    "PROPOSED_OR_CONFIRMED",
    "act",
    "count_codes",
    "decide",
    "derived_codes",
    "show_confirmed",
    "show_proposed",
    "tell_confirmed",
    "words_of",
]
