"""The only place that joins catalog and index: follows revisions, builds snapshots, swaps them in.

A follower reads the catalog's newest revision; where it moved, a snapshot is built from one read
transaction, published, opened with its digests checked, and swapped into the holder whole. While
the catalog is away, or a snapshot turns out damaged, what is held goes on answering.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hashlists import snapshot as snapshots
from hashlists.errors import HashlistsError, SnapshotError
from hashlists.model import ChangeKind
from matcher.builtin_list import ensure_test_list
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.holder import Holder
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.pipeline import Generation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hashlists.catalog import Catalog, CatalogReader, EntryColumns
    from hashlists.model import Classification
    from matcher.policy.rules import Policy

_log = logging.getLogger(__name__)
_CATALOG_ID = "catalog_id"
_LOOKED_BACK = 1000  # revisions
_VALID_UNTIL = "valid_until"  # seconds since 1970-01-01 UTC, or null


def build_snapshot(catalog: Catalog, snapshots_dir: Path) -> Path:
    """Builds a snapshot of the catalog's newest revision and makes it the current one.

    Its manifest names the catalog and the moment at which the next entries expire.

    Returns:
        Its folder.

    Raises:
        CatalogError: the catalog cannot be read.
        SnapshotError: the snapshot cannot be written.
    """
    with catalog.read() as reader:
        builder = IndexBuilder()
        rows = _RowNumbers.of(reader)
        for columns in reader.entry_columns():
            builder.add(rows.number(columns))
        expiry = reader.next_expiry()
        parameters = {
            _CATALOG_ID: reader.catalog_id,
            _VALID_UNTIL: None if expiry is None else expiry.timestamp(),
        }
        with snapshots.SnapshotWriter(snapshots_dir, revision=reader.revision) as writer:
            builder.write(writer, lists=rows.lists, classifications=rows.classifications)
            # Allowed to be older: the catalog may have been restored from a backup.
            return writer.publish(parameters=parameters, allow_older=True)


@dataclass(frozen=True)
class _RowNumbers:
    """Catalog ids of lists and classifications -> dense row numbers of a snapshot."""

    lists: tuple[IndexedList, ...]
    classifications: tuple[Classification | None, ...]
    list_rows: Mapping[int, int]
    classification_rows: Mapping[int, int]

    @classmethod
    def of(cls, reader: CatalogReader) -> _RowNumbers:
        records = reader.lists()
        by_id = sorted(reader.classifications().items())
        return cls(
            lists=tuple(
                IndexedList(
                    name=record.hash_list.name,
                    harm=record.hash_list.harm,
                    state=record.hash_list.state,
                    entries=record.coverage.entries,
                    counts=dict(record.coverage.by_kind),
                )
                for record in records
            ),
            classifications=(None, *(each for _, each in by_id)),
            list_rows={record.list_id: row for row, record in enumerate(records)},
            classification_rows={0: 0} | {cid: row for row, (cid, _) in enumerate(by_id, 1)},
        )

    def number(self, columns: EntryColumns) -> IndexRows:
        return IndexRows(
            catalog_ids=columns.entry_ids,
            list_rows=_renumber(columns.list_ids, self.list_rows),
            classification_rows=_renumber(columns.classification_ids, self.classification_rows),
            flags=columns.flags,
            sizes=columns.sizes,
            codes=columns.codes,
        )


def _renumber(
    ids: np.ndarray[tuple[int], np.dtype[np.int32]], rows: Mapping[int, int]
) -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    distinct, inverse = np.unique(ids, return_inverse=True)
    return np.array([rows[each] for each in distinct.tolist()], dtype=np.uint16)[inverse]


def open_generation(
    catalog: Catalog,
    snapshots_dir: Path,
    policies: Mapping[str, Policy],
    *,
    default_policy: str = "default",
) -> Generation:
    """Brings the snapshot up to the catalog's newest revision and opens it, for one-shot use.

    Raises:
        CatalogError, SnapshotError: it cannot be read or built.
        PolicyError: the default policy does not fit the lists.
    """
    ensure_test_list(catalog)
    holder: Holder[Generation] = Holder()
    Follower(catalog, snapshots_dir, policies, holder, default_policy=default_policy).refresh()
    return holder.current


@dataclass(frozen=True, slots=True)
class FollowerState:
    """What health and answers tell of following.

    Attributes:
        seconds_since_contact: since the catalog last answered; infinite before it ever did.
        behind: the catalog is known to hold another revision than the one served.
        problem: why the newest revision is not served; empty when it is.
    """

    seconds_since_contact: float
    behind: bool
    problem: str


class Follower:
    """Keeps a holder at the catalog's newest revision.

    `refresh` may be called from any thread, one at a time. It raises only while nothing is held
    yet; afterwards a failure is logged, told by `state`, and tried again at the next call.
    """

    def __init__(
        self,
        catalog: Catalog,
        snapshots_dir: Path,
        policies: Mapping[str, Policy],
        holder: Holder[Generation],
        *,
        default_policy: str = "default",
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._snapshots_dir = snapshots_dir
        self._policies = policies
        self._holder = holder
        self._default_policy = default_policy
        self._clock = clock
        self._time = wall_clock
        self._held: snapshots.Snapshot | None = None
        self._contact: float | None = None
        self._head = 0
        self._problem = ""
        self._lock = threading.Lock()

    def state(self) -> FollowerState:
        """How well the holder follows the catalog."""
        since = float("inf") if self._contact is None else self._clock() - self._contact
        held = -1 if self._held is None else self._held.revision
        return FollowerState(since, self._head != held, self._problem)

    def refresh(self) -> bool:
        """Serves the newest revision where it is not served yet.

        Returns:
            True when another revision is served than before.

        Raises:
            HashlistsError: nothing is held yet and nothing could be opened.
            PolicyError: nothing is held yet and the default policy does not fit the lists.
        """
        with self._lock:
            try:
                return self._advance()
            except (HashlistsError, OSError) as error:
                told, self._problem = self._problem, f"{type(error).__name__}: {error}"
                if self._held is None and not self._serve_published():
                    raise
                if self._problem != told:  # once, not at every look
                    _log.warning("the newest revision is not served: %s", self._problem)
                return False

    def _advance(self) -> bool:
        with self._catalog.read() as reader:
            self._head, catalog_id = reader.revision, reader.catalog_id
        self._contact = self._clock()
        if self._held is not None and self._shows(self._held, catalog_id):
            self._problem = ""
            return False
        self._swap(self._open_or_build(catalog_id))
        self._problem = ""
        return True

    def _shows(self, snapshot: snapshots.Snapshot, catalog_id: str) -> bool:
        """Whether a snapshot is what the catalog says now."""
        parameters = snapshot.manifest["parameters"]
        until = parameters.get(_VALID_UNTIL)
        return (
            snapshot.revision == self._head
            and parameters.get(_CATALOG_ID) == catalog_id
            and (until is None or self._time() < until)
        )

    def _open_or_build(self, catalog_id: str) -> snapshots.Snapshot:
        published = self._open_published()
        if published is not None and self._shows(published, catalog_id):
            return published
        path = build_snapshot(self._catalog, self._snapshots_dir)
        opened = snapshots.open_snapshot(path)
        snapshots.sweep(self._snapshots_dir, keep_previous=not self._purged_since(published))
        return opened

    def _purged_since(self, published: snapshots.Snapshot | None) -> bool:
        """Whether an older snapshot may still hold what was purged for good."""
        before = 0 if published is None else published.revision
        newer = self._catalog.list_revisions(limit=_LOOKED_BACK)
        reached = any(each.number <= before for each in newer)
        return not reached or any(
            each.kind is ChangeKind.PURGE and each.number > before for each in newer
        )

    def _open_published(self) -> snapshots.Snapshot | None:
        try:
            return snapshots.open_current(self._snapshots_dir)
        except SnapshotError as error:
            _log.warning("the published snapshot is built anew: %s", error)
            return None

    def _serve_published(self) -> bool:
        """Serves what was published earlier, for a start while the catalog is away."""
        published = self._open_published()
        if published is None:
            return False
        self._swap(published)
        return True

    def _swap(self, snapshot: snapshots.Snapshot) -> None:
        generation = Generation(MatchIndex.open(snapshot), self._policies, self._default_policy)
        if self._held is None:
            generation.check_policies()
        for problem in generation.policy_problems():
            _log.warning("near matches only mean review for now: %s", problem)
        self._holder.swap(generation)
        self._held = snapshot
