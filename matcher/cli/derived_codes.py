"""Derived codes of a list as `lists enrich` shows them and acts on them, a page at a time.

What is shown never has a hash: the entry, how the code was made, by which digest the entry names
the file, who acted and when. Memory is a page, and what one revision takes, however many there are.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from hashlists.catalog import DerivedAction
from hashlists.catalog.derived import MAX_DERIVED
from hashlists.words import counted
from matcher.cli.output import note, print_json, print_table
from matcher.cli.refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from hashlists.catalog import Catalog, DerivedHash, DerivedRecord

#: Rows of a table for a person.
_SHOWN = 1_000
_FOR_ALL = (DerivedAction.PROPOSE,)
_WITHDRAWABLE = (DerivedAction.PROPOSE, DerivedAction.CONFIRM)


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


def count_proposed(catalog: Catalog, list_name: str) -> int:
    """How many codes wait to be confirmed or withdrawn."""
    return sum(1 for _ in derived_codes(catalog, list_name, _FOR_ALL))


def show_proposed(catalog: Catalog, list_name: str, *, as_json: bool) -> None:
    """Shows what waits to be confirmed or withdrawn."""
    waiting = derived_codes(catalog, list_name, _FOR_ALL)
    if as_json:
        for each in waiting:
            print_json(_record(each))
        return
    rows = [tuple(map(str, _record(each).values())) for each in islice(waiting, _SHOWN)]
    print_table(("entry", "kind", "derivation", "named by", "fits", "at", "author"), rows)
    if more := sum(1 for _ in waiting):
        note(f"... and {counted(more, 'more code')}; --json shows all")
    if rows:
        note(
            f"`lists enrich --list {list_name} --confirm ENTRY... --reason ...` has them matched, "
            "--withdraw refuses them"
        )
    else:
        note("No code waits to be confirmed.")


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
        entry_ids: to the codes of these entries: proposed ones, or, to withdraw them, also those
            that were confirmed. None for all that are proposed, in any entry.
        author: who does it.
        reason: why.

    Returns:
        How many codes, how many were left since their entry names another file by now, and the
        revisions.

    Raises:
        RefusalError: an entry has no such code; then nothing is done.
    """
    confirms = action is DerivedAction.CONFIRM
    actions = _FOR_ALL if confirms or entry_ids is None else _WITHDRAWABLE
    if entry_ids is not None:
        _require_codes(catalog, list_name, actions, entry_ids)
    done = stale = 0
    revisions: list[int] = []
    codes = derived_codes(catalog, list_name, actions, entry_ids)
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
        what = " or ".join(
            {DerivedAction.PROPOSE: "proposed", DerivedAction.CONFIRM: "confirmed"}[each]
            for each in actions
        )
        raise RefusalError(
            f"entry {missing[0]} of list {list_name} has no code that is {what}; nothing was "
            f"changed; see: lists enrich --list {list_name}"
        )


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


__all__ = ["act", "count_proposed", "decide", "derived_codes", "show_proposed"]
