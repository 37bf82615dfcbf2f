"""What every match leaves behind, sealed, for a while: so that it can be explained and undone.

A database of its own: neither an import nor the catalog's absence keeps it waiting, and a replica,
which has no catalog, keeps its own.

- `model`: a record, and its form at rest.
- `schema`, `store`: the tables, and what is asked of them.
- `ageing`, `sweeping`: the time that records grow old by, and the end of those that have.
- `standing`: how the entries of a record stand now, and how it would be judged now.
"""

from __future__ import annotations

from matcher.records.model import MatchRecord, RecordedEntry, RecordedMatch, Reported
from matcher.records.store import RecordFilter, RecordStore, StoredRecord

__all__ = [
    "MatchRecord",
    "RecordFilter",
    "RecordStore",
    "RecordedEntry",
    "RecordedMatch",
    "Reported",
    "StoredRecord",
]
