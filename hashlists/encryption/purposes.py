"""What files are encrypted for: what was for one purpose does not open for another.

So that whoever has the file of another purpose at hand is told what it is, the purposes stand here
together. They are part of the format, and none is ever changed.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

SNAPSHOT_FILE: Final = b"snapshot file"
CATALOG_BACKUP: Final = b"catalog backup"
CATALOG_DUMP: Final = b"catalog dump"

#: What a file of each purpose is, and what takes it.
MEANINGS: Final[Mapping[bytes, str]] = MappingProxyType(
    {
        SNAPSHOT_FILE: "a file of a snapshot, which servers open by themselves",
        CATALOG_BACKUP: "a backup of the catalog: `hashwarden catalog restore FILE` takes it",
        CATALOG_DUMP: "what `hashwarden catalog encrypt` made: `hashwarden catalog decrypt` "
        "opens it",
    }
)

__all__ = ["CATALOG_BACKUP", "CATALOG_DUMP", "MEANINGS", "SNAPSHOT_FILE"]
