"""Which history of which catalog a snapshot belongs to.

A revision number alone names no state: another catalog, or one restored from a backup and moved
on, gives the same numbers to other commits. So a snapshot carries the catalog's id and the marks
of the commits behind its revisions, and counts as a starting point only where these still stand.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from hashlists.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.catalog import CatalogReader
    from hashlists.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Lineage:
    """What a snapshot's manifest says of the catalog behind it, in its parameters.

    Attributes:
        catalog_id: the catalog's identity.
        revision_mark: the mark of the snapshot's revision.
        base_revision: the revision of its base segment, at most its own.
        base_mark: the mark of that.
        erased_before: snapshots with an older base may hold what was purged by now, and must go;
            0 where nothing was purged.
    """

    catalog_id: str
    revision_mark: str
    base_revision: int
    base_mark: str
    erased_before: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> Lineage:
        """Reads it from a snapshot's manifest.

        Raises:
            SnapshotError: the manifest says nothing of it, or nonsense.
        """
        parameters: Mapping[str, Any] = snapshot.manifest["parameters"]
        values: dict[str, Any] = {name: parameters.get(name) for name in _NAMES}
        texts = [values[name] for name in ("catalog_id", "revision_mark", "base_mark")]
        numbers = [values[name] for name in ("base_revision", "erased_before")]
        if not (
            all(isinstance(each, str) for each in texts)
            and all(type(each) is int and 0 <= each <= snapshot.revision for each in numbers)
        ):
            raise SnapshotError(
                f"snapshot {snapshot.path.name}: its manifest does not say which catalog it is of;"
                " build it anew"
            )
        return cls(**values)

    def parameters(self) -> dict[str, str | int]:
        """As the manifest keeps it."""
        return asdict(self)

    def stands(self, revision: int, reader: CatalogReader) -> bool:
        """Whether the state of that snapshot is still part of the catalog's history.

        Args:
            revision: the snapshot's.
            reader: the catalog now.
        """
        return reader.catalog_id == self.catalog_id and still_stands(
            revision, self.revision_mark, reader
        )


def still_stands(revision: int, mark: str, reader: CatalogReader) -> bool:
    """Whether the catalog's revision of that number is the one with that mark."""
    return revision <= reader.revision and reader.revision_mark(revision) == mark


_NAMES = tuple(each.name for each in fields(Lineage))

__all__ = ["Lineage", "still_stands"]
