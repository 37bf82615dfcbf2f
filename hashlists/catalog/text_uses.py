"""How many versions of each change have each classification and handling, and which none has.

Invariants: every transaction that writes versions counts them here, and the one that erases any
takes them off; so a text that nothing is counted of, and that no list has or had, is used by
nobody, and is dropped with its last use. Counts of a change that is being removed may be too high
meanwhile, never too low. They are kept by change, so that two imports write no common row.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, exists, func, or_, select, update

from hashlists.catalog.bulk import or_add, upsert
from hashlists.catalog.interning import droppable
from hashlists.catalog.schema import (
    change_classifications,
    change_handlings,
    classifications,
    entry_versions,
    handlings,
    hash_lists,
    list_handlings,
)
from hashlists.catalog.states import chunks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import Column, ColumnElement, Connection, Table


@dataclass(frozen=True, slots=True, eq=False)
class _Text:
    """A kind of text: its id, where its uses are counted, and where versions name it."""

    id: Column[Any]
    uses: Table
    named: Column[Any]

    @property
    def used_id(self) -> Column[Any]:
        return self.uses.c[self.id.name]


_CLASSIFICATION = _Text(
    classifications.c.classification_id,
    change_classifications,
    entry_versions.c.classification_id,
)
_HANDLING = _Text(handlings.c.handling_id, change_handlings, entry_versions.c.handling_id)
_TEXTS = (_CLASSIFICATION, _HANDLING)

#: By kind of text: versions by (change, text).
Uses = dict[_Text, Counter[tuple[int, int]]]


def count_uses(
    connection: Connection,
    change_id: int,
    *,
    classification_ids: Iterable[int | None],
    handling_ids: Iterable[int],
) -> None:
    """Counts versions that this transaction gave to a change; their texts are interned by it."""
    for text, ids in ((_CLASSIFICATION, classification_ids), (_HANDLING, handling_ids)):
        counted = Counter(ids)
        rows = [
            {"change_id": change_id, text.id.name: text_id, "versions": versions}
            for text_id, versions in sorted(pair for pair in counted.items() if pair[0])
        ]
        if rows:
            _add(connection, text, rows)


def _add(connection: Connection, text: _Text, rows: Sequence[Mapping[str, Any]]) -> None:
    connection.execute(or_add(upsert(connection, text.uses), "versions"), rows)


def uses_by(connection: Connection, entry_ids: Sequence[int]) -> Uses:
    """What all versions of those entries use."""
    uses: Uses = {text: Counter() for text in _TEXTS}
    for chunk in chunks(entry_ids):
        for text in _TEXTS:
            query = (
                select(entry_versions.c.change_id, text.named, func.count())
                .where(entry_versions.c.entry_id.in_(chunk), text.named.is_not(None))
                .group_by(entry_versions.c.change_id, text.named)
            )
            for change_id, text_id, versions in connection.execute(query):
                uses[text][change_id, text_id] += versions
    return uses


def take_off(connection: Connection, uses: Uses) -> None:
    """Takes off what erased versions used, and drops the texts that nobody uses any more."""
    for text, counted in uses.items():
        rows = [
            {"of_change": change_id, "of_text": text_id, "number": number}
            for (change_id, text_id), number in sorted(counted.items())
        ]
        if rows:
            _subtract(connection, text, rows)
            _drop_unused(connection, text, sorted({row["of_text"] for row in rows}))


def _subtract(connection: Connection, text: _Text, rows: Sequence[Mapping[str, Any]]) -> None:
    table = text.uses.c
    this = (table.change_id == bindparam("of_change"), text.used_id == bindparam("of_text"))
    less = update(text.uses).values(versions=table.versions - bindparam("number"))
    connection.execute(less.where(*this), rows)
    named = [{"of_change": row["of_change"], "of_text": row["of_text"]} for row in rows]
    connection.execute(delete(text.uses).where(*this, table.versions <= 0), named)


def forget_uses(connection: Connection, change_id: int, *, at_most: int) -> bool:
    """Forgets what a removed change used, and drops the texts that nobody uses any more.

    Returns:
        Whether it used any of which this forgot, `at_most` of each kind of text.
    """
    forgotten = False
    for text in _TEXTS:
        used = text.uses.c.change_id == change_id
        query = select(text.used_id).where(used).order_by(text.used_id).limit(at_most)
        ids = connection.execute(query).scalars().all()
        if ids:
            forgotten = True
            connection.execute(delete(text.uses).where(used, text.used_id <= ids[-1]))
            _drop_unused(connection, text, ids)
    return forgotten


def _drop_unused(connection: Connection, text: _Text, ids: Sequence[int]) -> None:
    """Whether a text is used is asked once nobody can begin to use it any more."""
    unused = ~exists().where(text.used_id == text.id)
    if text is _HANDLING:
        unused &= _no_list_has()
    free = [{"free": each} for each in droppable(connection, text.id, ids)]
    if free:
        connection.execute(delete(text.id.table).where(text.id == bindparam("free"), unused), free)


def _no_list_has() -> ColumnElement[bool]:
    """Nor ever had."""
    tables = hash_lists, list_handlings
    return ~or_(*(exists().where(each.c.handling_id == handlings.c.handling_id) for each in tables))
