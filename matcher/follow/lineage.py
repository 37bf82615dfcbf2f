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
        purge_mark: the mark of the last purge by then, empty for none: what was built after other
            purges must go (`hashlists.snapshot.purges`).
    """

    catalog_id: str
    revision_mark: str
    base_revision: int
    base_mark: str
    purge_mark: str

    @classmethod
    def of(cls, snapshot: Snapshot) -> Lineage:
        """Reads it from a snapshot's manifest.

        Raises:
            SnapshotError: the manifest says nothing of it, or nonsense.
        """
        return cls.stated(snapshot.path.name, snapshot.manifest)

    @classmethod
    def stated(cls, name: str, manifest: Mapping[str, Any]) -> Lineage:
        """Reads it from the manifest of the snapshot of that name.

        Raises:
            SnapshotError: the manifest says nothing of it, or nonsense.
        """
        parameters: Mapping[str, Any] = manifest["parameters"]
        values: dict[str, Any] = {name: parameters.get(name) for name in _NAMES}
        base = values["base_revision"]
        texts = [values[name] for name in _NAMES if name != "base_revision"]
        if not (
            all(isinstance(each, str) for each in texts)
            and type(base) is int
            and 0 <= base <= manifest["revision"]
        ):
            raise SnapshotError(
                f"snapshot {name}: its manifest does not say which catalog it is of; build it anew"
            )
        return cls(**values)

    @classmethod
    def now(cls, reader: CatalogReader, *, base: Lineage | None = None) -> Lineage:
        """That of what is built from `reader`, anew or upon the base of another snapshot."""
        mark = reader.revision_mark(reader.revision)
        assert mark is not None  # the reader's own revision
        return cls(
            reader.catalog_id,
            mark,
            reader.revision if base is None else base.base_revision,
            mark if base is None else base.base_mark,
            reader.purge_mark,
        )

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
