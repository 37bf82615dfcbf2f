"""Keeps a holder at the catalog's newest revision.

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

from hashlists import snapshot as snapshots
from hashlists.errors import HashlistsError, SnapshotError
from hashlists.model import ChangeKind
from matcher.builtin_list import ensure_test_list
from matcher.follow.build import CATALOG_ID, VALID_UNTIL, build_snapshot
from matcher.index.holder import Holder
from matcher.index.match_index import MatchIndex
from matcher.pipeline import Generation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from hashlists.catalog import Catalog
    from matcher.policy.rules import Policy

_log = logging.getLogger(__name__)
_LOOKED_BACK = 1000  # revisions
_LONGEST_WAIT_SECONDS = 60.0


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
        behind: the catalog is known to show something else than what is served.
        problem: why the newest revision is not served; empty when it is.
    """

    seconds_since_contact: float
    behind: bool
    problem: str


class Follower:
    """Keeps a holder at the catalog's newest revision.

    `refresh` may be called from any thread, one at a time. It raises only while nothing is held
    yet; afterwards any failure is logged once and told by `state`. A look at the catalog is tried
    again at the next call. What could not be built is built again after 2 s, 4 s and so on up to a
    minute, or as soon as the catalog has moved on.
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
        self._failures = 0  # in a row, at building or opening
        self._failed: tuple[int, str] | None = None  # revision and catalog of the last of them
        self._retry_at = 0.0
        self._lock = threading.Lock()

    def state(self) -> FollowerState:
        """How well the holder follows the catalog."""
        since = float("inf") if self._contact is None else self._clock() - self._contact
        held = -1 if self._held is None else self._held.revision
        behind = self._head != held or self._failed is not None
        return FollowerState(since, behind, self._problem)

    def refresh(self) -> bool:
        """Serves the newest revision where it is not served yet.

        Returns:
            True when another revision is served than before.

        Raises:
            HashlistsError, OSError: nothing is held yet and nothing could be opened.
            PolicyError: nothing is held yet and the default policy does not fit the lists.
        """
        with self._lock:
            try:
                return self._advance()
            except Exception as error:  # what is held goes on answering, whatever failed
                told, self._problem = self._problem, f"{type(error).__name__}: {error}"
                if self._held is None and not self._serve_published():
                    raise
                if self._problem != told:  # once, not at every look
                    unforeseen = not isinstance(error, HashlistsError | OSError)
                    _log.warning(
                        "the newest revision is not served: %s", self._problem, exc_info=unforeseen
                    )
                return False

    def _advance(self) -> bool:
        with self._catalog.read() as reader:
            self._head, catalog_id = reader.revision, reader.catalog_id
        self._contact = self._clock()
        if self._held is not None and self._shows(self._held, catalog_id):
            self._succeeded()
            return False
        wanted = self._head, catalog_id
        if wanted == self._failed and self._clock() < self._retry_at:
            return False
        try:
            self._swap(*self._open_or_build(catalog_id))
        except Exception:
            self._failures += 1
            wait = min(2.0**self._failures, _LONGEST_WAIT_SECONDS)
            self._failed, self._retry_at = wanted, self._clock() + wait
            raise
        self._succeeded()
        return True

    def _succeeded(self) -> None:
        self._problem, self._failures, self._failed = "", 0, None

    def _shows(self, snapshot: snapshots.Snapshot, catalog_id: str) -> bool:
        """Whether a snapshot is what the catalog says now."""
        parameters = snapshot.manifest["parameters"]
        until = parameters.get(VALID_UNTIL)
        return (
            snapshot.revision == self._head
            and parameters.get(CATALOG_ID) == catalog_id
            and (until is None or self._time() < until)
        )

    def _open_or_build(self, catalog_id: str) -> tuple[snapshots.Snapshot, MatchIndex]:
        before = self._published_revision()
        # Only then: opening verifies every byte, mostly of what is held already.
        published = self._open_published() if before == self._head else None
        if published is not None and self._shows(published, catalog_id):
            try:
                return published, MatchIndex.open(published)
            except SnapshotError as error:  # e.g. another build's layout
                _log.warning("the published snapshot is built anew: %s", error)
        path = build_snapshot(self._catalog, self._snapshots_dir)
        opened = snapshots.open_snapshot(path)
        index = MatchIndex.open(opened)
        snapshots.sweep(self._snapshots_dir, keep_previous=not self._purged_since(before))
        return opened, index

    def _purged_since(self, before: int) -> bool:
        """Whether a snapshot of that revision may still hold what was purged for good."""
        newer = self._catalog.list_revisions(limit=_LOOKED_BACK)
        reached = any(each.number <= before for each in newer)
        return not reached or any(
            each.kind is ChangeKind.PURGE and each.number > before for each in newer
        )

    def _published_revision(self) -> int:
        """0 where nothing was published, or the pointer to it is damaged."""
        try:
            return snapshots.current_revision(self._snapshots_dir) or 0
        except SnapshotError as error:
            _log.warning("the published snapshot is built anew: %s", error)
            return 0

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
        self._swap(published, MatchIndex.open(published))
        return True

    def _swap(self, snapshot: snapshots.Snapshot, index: MatchIndex) -> None:
        generation = Generation(index, self._policies, self._default_policy)
        if self._held is None:
            generation.check_policies()
        for problem in generation.policy_problems():
            _log.warning("near matches only mean review for now: %s", problem)
        self._holder.swap(generation)
        self._held = snapshot
