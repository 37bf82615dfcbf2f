"""What a scan has planned, what it has finished, and what that adds up to: one file.

- `schema`, `database`, `lock`: the tables, the file, and who may write it.
- `packing`: what lies in the tables, packed, and sealed where it must be.
- `state`: planning and finishing, each in one transaction; `running`: the runs of a scan.
- `summary`: what it has come to, from sums that are kept up with.
- `kept`: hashes that let objects be looked up again.
"""

from __future__ import annotations

from matcher.scan.state.database import require_free
from matcher.scan.state.kept import Forgotten, KeptBatch, scan_sealer
from matcher.scan.state.state import Position, ScanState
from matcher.scan.state.summary import Run, RunEnd, ScanSummary, Work

__all__ = [
    "Forgotten",
    "KeptBatch",
    "Position",
    "Run",
    "RunEnd",
    "ScanState",
    "ScanSummary",
    "Work",
    "require_free",
    "scan_sealer",
]
