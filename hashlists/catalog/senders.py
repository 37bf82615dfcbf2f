"""Of whom a list was given files that say whose they are, and up to which revision of theirs.

It is kept in the reports of imports, in the transaction that makes them seen, so that it is never
ahead of what the list holds, nor behind it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from sqlalchemy import select

from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.schema import ChangeState, changes, imports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Engine

_KEY: Final = "sent_by"


def sender_document(sender: str, upto: int, *, alone: bool) -> dict[str, object]:
    """What an import keeps of its sender, as a part of its report; nothing where there is none.

    Args:
        sender: tells it from all others.
        upto: the sender's revision that was imported.
        alone: whether nothing of any other sender was left.
    """
    return {_KEY: {"sender": sender, "upto": upto, "alone": alone}} if sender else {}


def read_senders(engine: Engine, list_id: int) -> Mapping[str, int]:
    """The revision that was last imported of each sender; of none before one was alone."""
    query = (
        select(imports.c.report)
        .join(changes, changes.c.change_id == imports.c.change_id)
        .where(changes.c.list_id == list_id)
        .where(changes.c.state.in_([ChangeState.COMMITTED, ChangeState.EMPTY]))
        .where(imports.c.report.contains(f'"{_KEY}": {{', autoescape=True))
        .order_by(changes.c.change_id.desc())
    )
    found: dict[str, int] = {}
    with catalog_errors(), engine.connect() as connection:
        for report in connection.execute(query).scalars():
            sent = json.loads(report)[_KEY]
            found.setdefault(sent["sender"], sent["upto"])
            if sent["alone"]:
                break
    return found


__all__ = ["read_senders", "sender_document"]
