"""Hits as objects and hits as columns: the same hits in both forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from matcher.policy.binding import ListInfo
from matcher.policy.columns import HitColumns, Query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.policy.decide import Candidate


def to_columns(hits: Sequence[Candidate]) -> HitColumns:
    """The hits in the form in which an index gives many of them."""
    queries = list(dict.fromkeys(Query(h.kind, h.view, h.quality) for h in hits))
    lists = list(dict.fromkeys((h.list_name, h.harm, h.list_state) for h in hits))
    made = list(dict.fromkeys(h.derivation for h in hits))
    classes = [None, *dict.fromkeys(h.classification for h in hits if h.classification)]
    return HitColumns(
        queries=queries,
        lists=[ListInfo(*each, {}) for each in lists],
        classifications=classes,
        query_rows=np.array(
            [queries.index(Query(h.kind, h.view, h.quality)) for h in hits], np.int64
        ),
        distances=np.array([h.distance for h in hits], np.uint32),
        entry_ids=np.array([h.entry_id for h in hits], np.int64),
        list_rows=np.array(
            [lists.index((h.list_name, h.harm, h.list_state)) for h in hits], np.uint16
        ),
        classification_rows=np.array([classes.index(h.classification) for h in hits], np.uint32),
        flags=np.array([h.flags for h in hits], np.uint16),
        sizes=np.array([-1 if h.entry_size is None else h.entry_size for h in hits], np.int64),
        derivations=made,
        derivation_rows=np.array([made.index(h.derivation) for h in hits], np.uint32),
    )
