"""Builds snapshots from the catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists import snapshot as snapshots
from matcher.follow.rows import RowNumbers
from matcher.index.build import IndexBuilder

if TYPE_CHECKING:
    from pathlib import Path

    from hashlists.catalog import Catalog

CATALOG_ID = "catalog_id"
VALID_UNTIL = "valid_until"  # seconds since 1970-01-01 UTC, or null


def build_snapshot(catalog: Catalog, snapshots_dir: Path) -> Path:
    """Builds a snapshot of the catalog's newest revision and makes it the current one.

    Its manifest names the catalog and the moment at which the next entries expire.

    Returns:
        Its folder.

    Raises:
        CatalogError: the catalog cannot be read.
        SnapshotError: the snapshot cannot be written, or there are too many lists for one.
    """
    with catalog.read() as reader:
        builder = IndexBuilder()
        rows = RowNumbers(reader)
        for columns in reader.entry_columns():
            builder.add(rows.number(columns))
        expiry = reader.next_expiry()
        parameters = {
            CATALOG_ID: reader.catalog_id,
            VALID_UNTIL: None if expiry is None else expiry.timestamp(),
        }
        with snapshots.SnapshotWriter(snapshots_dir, revision=reader.revision) as writer:
            builder.write(writer, lists=rows.lists, classifications=rows.classifications())
            # Allowed to be older: the catalog may have been restored from a backup.
            return writer.publish(parameters=parameters, allow_older=True)


__all__ = ["build_snapshot"]
