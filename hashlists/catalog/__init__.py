"""The catalog: the SQL database of record for lists, entries, revisions and retractions."""

from __future__ import annotations

from hashlists.catalog.catalog import Catalog
from hashlists.catalog.derived import DerivedAction, DerivedHash, DerivedRecord, FileCode
from hashlists.catalog.entry_columns import EntryColumns
from hashlists.catalog.exchange_records import (
    Checkpoint,
    ExchangeRecord,
    ExchangeState,
    SetAside,
    SetAsideRecord,
)
from hashlists.catalog.export import Export, ExportSelection
from hashlists.catalog.reader import CatalogReader
from hashlists.catalog.records import FinishedImport, ImportSource, ListRecord
from hashlists.catalog.stage_result import StageResult
from hashlists.catalog.staged_derived import DerivedResult
from hashlists.catalog.staging import StagedImport
from hashlists.model import MatchDay, PurgeReport

__all__ = [
    "Catalog",
    "CatalogReader",
    "Checkpoint",
    "DerivedAction",
    "DerivedHash",
    "DerivedRecord",
    "DerivedResult",
    "EntryColumns",
    "ExchangeRecord",
    "ExchangeState",
    "Export",
    "ExportSelection",
    "FileCode",
    "FinishedImport",
    "ImportSource",
    "ListRecord",
    "MatchDay",
    "PurgeReport",
    "SetAside",
    "SetAsideRecord",
    "StageResult",
    "StagedImport",
]
