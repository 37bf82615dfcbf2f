"""Keeps a holder at the catalog's newest revision, while everything around it may fail.

At each look, in this order: open a newly published snapshot, if there is one; read what changed in
one read transaction; swap the view that follows from both; ask for a build where one is needed.
The decisions stand in `Follower._follow` and `Follower._need_for`; what a view is and how it
advances, in `view`; how a new snapshot takes over what changed after it, in `adopting`; who builds,
in `building`.

Invariants:

* What is served goes on being served, whatever fails, and never goes back to an older revision of
  the same history. Failures are told by `state`, logged once, and tried again.
* Nothing waits for a build but the very first start. Retractions wait for none at all, nor do ends
  of use.
* A snapshot counts only for the history whose marks it carries.
* One catalog is followed: that of what is served, and before anything is, of what is published.
  Another one in its place, an empty one above all, is a problem and not the newest revision.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.errors import CatalogError, OtherCatalogError, SnapshotError, SnapshotStoreError
from hashlists.snapshot.origin import catalog_of, require_same
from matcher.follow.adopting import carried, caught_up, standing
from matcher.follow.building import Puller
from matcher.follow.choosing import Need, fits_in_memory, wants_full_build, withdraws
from matcher.follow.ending import SECONDS_KNOWN, with_ends_ahead
from matcher.follow.makers import make_builder
from matcher.follow.making import Making
from matcher.follow.opening import Opener
from matcher.follow.problems import Concern, Problems
from matcher.follow.view import View
from matcher.follow.withdrawing import Withdrawals
from matcher.pipeline import Generation

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from hashlists.catalog import CatalogReader
    from hashlists.snapshot.vault import Vault
    from matcher.follow.building import SnapshotSource
    from matcher.follow.child import Publication
    from matcher.follow.readable import Readable
    from matcher.follow.view import Sealed
    from matcher.index.holder import Holder
    from matcher.policy.rules import Policy

_log = logging.getLogger(__name__)
_BUSY_SECONDS = 0.2
#: More are not read before what was taken out of force is hidden,
_FEW_CHANGES = 1_000
#: and while they are read, that is looked for again.
_WITHDRAWING_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class FollowerState:
    """What health and answers tell of following.

    Attributes:
        seconds_since_contact: since the catalog (without one: the store of snapshots) last
            answered; infinite before it ever did.
        behind: the catalog is known to show something else than what is served.
        problem: why the newest revision is not served, or soon may not be; empty when all is well.
        revision: the revision that is served; -1 before any is.
        snapshot: name of the snapshot beneath it.
        live_entries: entries that changed after that snapshot, and are served from memory.
        building: a newer snapshot is being made or fetched by this process.
        builds, build_failures: how many this process made or fetched, and failed to, until now; a
            look at a store that shows nothing new counts as well.
        build_seconds: how long all of them took together.
    """

    seconds_since_contact: float
    behind: bool
    problem: str
    revision: int = -1
    snapshot: str = ""
    live_entries: int = 0
    building: bool = False
    builds: int = 0
    build_failures: int = 0
    build_seconds: float = 0.0


class Follower:
    """Follows a catalog, a store of snapshots, or both.

    `refresh` may be called from any thread, one at a time. It raises only while nothing is held
    yet; afterwards any failure is logged once and told by `state`. A look at the catalog is tried
    again at the next call; what could not be built or opened is tried again after 2 s, 4 s and so
    on up to a minute.

    Args:
        catalog: may be away; None to serve nothing but what is published or pulled.
        snapshots_dir: where snapshots lie.
        policies: by name.
        holder: what is swapped.
        default_policy: the name that an empty one stands for.
        catalog_url: of the catalog, for the child process that builds; empty to build in the
            calling thread, which then waits for it.
        live_entries: changed entries that one revision may bring without waiting for a build.
        source: where snapshots are pulled from instead of being built here.
        publication: where built snapshots go besides.
        clock: seconds that never go back.
        wall_clock: seconds since 1970 UTC, by which entries expire.
        wake: called, by some other thread, when a look is worth while at once.
        vault: the keys of encrypted snapshots; None: what is built is not encrypted.
    """

    def __init__(
        self,
        catalog: Readable | None,
        snapshots_dir: Path,
        policies: Mapping[str, Policy],
        holder: Holder[Generation],
        *,
        default_policy: str = "default",
        catalog_url: str = "",
        live_entries: int = 50_000,
        lock_index: bool = False,
        source: SnapshotSource | None = None,
        publication: Publication | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        wake: Callable[[], None] = lambda: None,
        vault: Vault | None = None,
    ) -> None:
        self._catalog = catalog
        self._snapshots_dir = snapshots_dir
        self._policies = policies
        self._holder = holder
        self._default_policy = default_policy
        self._live_entries = live_entries
        self._clock = clock
        self._time = wall_clock
        self._problems = Problems()
        self._source = source
        builder = None
        if catalog is not None and source is None:
            builder = make_builder(catalog, snapshots_dir, catalog_url, publication, vault)
        self._making = Making(
            snapshots_dir,
            builder,
            None if source is None else Puller(source),
            problems=self._problems,
            clock=clock,
            publication=publication,
        )
        # Where builds happen in the calling thread, so does everything.
        background = bool(catalog_url) or builder is None
        self._opener = Opener(
            snapshots_dir,
            self._problems,
            clock,
            background=background,
            lock=lock_index,
            prepare=self._caught_up,
            on_opened=wake,
            vault=vault,
        )
        self._withdrawals = Withdrawals(
            catalog, snapshots_dir, self._problems, background=background
        )
        self._view: View | None = None
        self._due: int | None = None  # when the next entry expires
        self._shown_at = 0  # the moment that the holder's generation is of
        self._policy_problems: tuple[str, ...] = ()
        self._contact: float | None = None
        self._head = 0
        # A view, and the mark of the revision whose withdrawals it hides.
        self._hidden_early: tuple[View, str | None] | None = None
        # Likewise of its ends of use, and until when these are known.
        self._ends_ahead: tuple[View, str | None] | None = None
        self._ends_known_to = 0
        self._withdrawn_at = 0.0  # by the clock
        self._need = Need.NONE
        self._is_other = False  # the catalog that was read last
        self._lock = threading.Lock()

    def state(self) -> FollowerState:
        """How well the holder follows."""
        view = self._view
        since = self._seconds_since_contact()
        making = self._making
        return FollowerState(
            seconds_since_contact=since,
            behind=self._is_behind(view),
            problem=self._problems.text,
            revision=self._revision,
            snapshot="" if view is None else view.sealed.name,
            live_entries=0 if view is None else len(view.delta),
            building=making.running,
            builds=making.builds,
            build_failures=making.failures,
            build_seconds=making.seconds,
        )

    def is_stale(self, after_seconds: float) -> bool:
        """Whether what is served may be out of date; from any thread, and for every answer.

        Args:
            after_seconds: without word from the source.
        """
        return self._is_behind(self._view) or self._seconds_since_contact() > after_seconds

    def _is_behind(self, view: View | None) -> bool:
        if view is None:
            return True
        if self._catalog is None and self._opener.refused:
            return True  # and nothing else tells what it has
        return self._need is Need.NOW or self._head != view.revision

    def refresh(self) -> bool:
        """Serves the newest revision where it is not served yet.

        Returns:
            True when something else is served than before.

        Raises:
            HashlistsError, OSError: nothing is held yet and nothing could be opened.
            PolicyError: nothing is held yet and the default policy does not fit the lists.
        """
        with self._lock:
            before = self._view, self._shown_at
            try:
                self._look()
                if self._view is None:
                    self._wait_for_first()
                elif self._ask_for_build() and self._making.collect():  # built in this thread
                    self._look()
                self._expire()
                self._opener.sweep()
            except Exception as error:  # what is held goes on answering, whatever failed
                if self._view is None:
                    raise
                self._problems.note(Concern.FOLLOWING, error)
            else:
                self._problems.solved(Concern.FOLLOWING)
            return (self._view, self._shown_at) != before

    def close(self) -> None:
        """Ends a build or opening that is under way; `refresh` must not be called any more."""
        self._making.close()
        self._opener.wait()
        with self._lock:  # a look that is under way ends, and what it withdrew is kept
            self._withdrawals.close()

    def _seconds_since_contact(self) -> float:
        if self._catalog is None:
            return float("inf") if self._source is None else self._source.seconds_since_contact
        return float("inf") if self._contact is None else self._clock() - self._contact

    @property
    def _revision(self) -> int:
        return -1 if self._view is None else self._view.revision

    # One look

    def _look(self) -> None:
        self._making.collect()
        fresh = self._opener.other_than(None if self._view is None else self._view.sealed)
        if self._catalog is None:
            self._need = Need.NONE
            if fresh is None and self._view is None and self._opener.refused:
                older = self._opener.older()
                fresh = None if older is None else View.of(older)
            if fresh is not None:
                self._head = fresh.revision
                self._serve(self._withdrawals.applied(fresh))
            return
        try:
            with self._catalog.read() as reader:
                self._heard(reader, fresh)
                view = self._follow(reader, fresh)
        except Exception as error:  # noqa: BLE001 - whatever it is, the catalog cannot be followed
            self._is_other = isinstance(error, OtherCatalogError)
            self._problems.note(Concern.CATALOG, error)
            self._serve_other(self._without_catalog(fresh, error))
        else:
            self._is_other = False
            self._problems.solved(Concern.CATALOG)
            self._serve_other(view)
            self._withdrawals.keep()

    def _heard(self, reader: CatalogReader, fresh: View | None = None) -> None:
        """The catalog has answered.

        Raises:
            OtherCatalogError: it is not the one that is followed.
        """
        view = fresh if self._view is None else self._view
        if view is None:
            require_same(reader.catalog_id, catalog_of(self._snapshots_dir))
        else:
            require_same(reader.catalog_id, view.sealed.lineage.catalog_id)
        self._head, self._contact = reader.revision, self._clock()

    def _follow(self, reader: CatalogReader, fresh: View | None) -> View | None:
        """The best view of what the reader shows; None where there is none of its history."""
        served = self._view
        starts = self._starts(reader, fresh)
        for start in starts:
            if fits_in_memory(start, reader, live_entries=self._live_entries, served=served):
                advanced = self._advanced(start, reader)
                if advanced is not None:
                    return advanced
                break
        else:
            self._problems.solved(Concern.CHANGES)
            self._need = Need.NOW
        if not starts:
            return fresh if self._source is not None else served
        # The newest there is (never older than what is served, and a newly built snapshot rather
        # than the same from memory), less what must not match any more.
        return self._hide_early(max(starts, key=lambda each: each.revision), reader)

    def _starts(self, reader: CatalogReader, fresh: View | None) -> Sequence[View]:
        """What of the reader's history there is to start from, the best first."""
        starts = standing([fresh, self._view], reader)
        if len(starts) > 1:
            try:
                starts[0] = carried(starts[0], starts[1], reader)
            except Exception as error:  # noqa: BLE001 - e.g. memory; retractions do not wait for it
                self._problems.note(Concern.CHANGES, error)
        return starts

    def _caught_up(self, sealed: Sealed) -> View:
        """See `caught_up`; called by the thread that opened the snapshot."""
        return caught_up(sealed, self._catalog, live_entries=self._live_entries, served=self._view)

    def _advanced(self, start: View, reader: CatalogReader) -> View | None:
        """The view at the reader's revision; None where that fails."""
        if reader.changed_count(start.revision) > _FEW_CHANGES:
            self._withdraw(reader)
        before, self._withdrawn_at = self._view, self._clock()
        try:
            view = start.advanced(reader, pause=self._withdraw_meanwhile)
        except Exception as error:  # noqa: BLE001 - whatever it is, retractions do not wait for it
            self._problems.note(Concern.CHANGES, error)
            if not isinstance(error, CatalogError):
                self._need = Need.NOW  # what memory cannot take, a build may
            return None
        self._problems.solved(Concern.CHANGES)
        self._need = self._need_for(view)
        if self._view is None or self._view is before:
            return view
        return view.in_place_of(self._view)  # less what was withdrawn meanwhile

    def _withdraw(self, reader: CatalogReader) -> None:
        """Hides what is out of force by now, before anything else is read."""
        served = self._view
        if served is not None and served.stands(reader):
            self._serve_other(self._less_withdrawn(served, reader))

    def _withdraw_meanwhile(self) -> None:
        """The same in a short transaction of its own, now and then while much is read."""
        if self._clock() - self._withdrawn_at < _WITHDRAWING_SECONDS or self._catalog is None:
            return
        with suppress(Exception), self._catalog.read() as reader:  # a look tells what is wrong
            self._heard(reader)
            self._withdraw(reader)
        self._withdrawn_at = self._clock()

    def _hide_early(self, view: View, reader: CatalogReader) -> View:
        """The view, less what by the reader's revision is out of force, or soon ends."""
        mark, now = reader.revision_mark(reader.revision), int(self._time())
        if view is self._view and self._ends_ahead == (view, mark) and now < self._ends_known_to:
            return view  # it was swapped, and nothing has happened since
        hidden = self._less_withdrawn(view, reader)
        if view is self._view:
            self._serve_other(hidden)  # no retraction waits for the ends
        before = self._view
        try:
            ending = with_ends_ahead(hidden, reader, now, pause=self._withdraw_meanwhile)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was withdrawn is hidden
            self._problems.note(Concern.CHANGES, error)
            return hidden
        if self._view is not None and self._view is not before:
            ending = ending.without_more(self._view)
        self._hidden_early = ending, mark
        self._ends_ahead, self._ends_known_to = self._hidden_early, now + SECONDS_KNOWN
        return ending

    def _less_withdrawn(self, view: View, reader: CatalogReader) -> View:
        """The view, less what the reader's revision no longer has in force."""
        mark = reader.revision_mark(reader.revision)
        if self._hidden_early == (self._view, mark) and view is self._view:
            return view
        gone = reader.out_of_force_since(view.revision)
        hidden = view.without(gone, by=reader.revision)
        self._hidden_early = hidden, mark
        return hidden

    def _need_for(self, view: View) -> Need:
        many = len(view.delta) > self._live_entries // 2
        wanted = many or self._is_untold(view) or view.purged or self._wants_full_build(view)
        return Need.SOON if wanted else Need.NONE

    def _wants_full_build(self, view: View) -> bool:
        calm = self._need is not Need.NOW and len(view.delta) <= self._live_entries
        return wants_full_build(view, int(self._time()), calm=calm)

    def _is_untold(self, view: View) -> bool:
        """Whether replicas are to have a snapshot of what is served here from memory alone."""
        if not self._making.publishes or view.revision == view.sealed.snapshot.revision:
            return False
        return self._making.may_publish or withdraws(view)

    def _without_catalog(self, fresh: View | None, error: Exception) -> View | None:
        """What to serve while the catalog is away: what is newest of the same catalog."""
        served = self._view
        if served is None:
            if fresh is None and (older := self._opener.older()) is not None:
                fresh = View.of(older)
            if fresh is None:
                if self._source is not None:
                    return None  # it may have one
                raise error
            return self._withdrawals.applied(fresh)
        if fresh is None or fresh.sealed.lineage.catalog_id != served.sealed.lineage.catalog_id:
            return served
        # A retraction that was seen is not forgotten for a snapshot that was begun before it.
        if fresh.revision < served.revision:
            return served
        return self._withdrawals.applied(fresh).in_place_of(served)

    # Serving

    def _serve_other(self, view: View | None) -> None:
        """Serves a view where it is not what is served already."""
        if view is not None and view is not self._view:
            self._serve(view)
            self._withdrawals.owe()

    def _serve(self, view: View) -> None:
        now = int(self._time())
        generation = Generation(view.index(now), self._policies, self._default_policy)
        if self._view is None:
            generation.check_policies()
        problems = generation.policy_problems()
        for problem in problems:
            if problem not in self._policy_problems:
                _log.warning("near matches only mean review for now: %s", problem)
        self._policy_problems = problems
        self._holder.swap(generation)
        if self._view is not None and view.revision < self._view.revision:
            _log.error(
                "revision %d is served after revision %d: an older state of the catalog was "
                "restored, and what came after it does not match any more; import that again",
                view.revision,
                self._view.revision,
            )
        before = None if self._view is None else self._view.sealed
        adopted = view.sealed is not before
        self._view, self._due, self._shown_at = view, view.due(now), now
        # They would keep a snapshot that was swept away in memory.
        if self._hidden_early is not None and self._hidden_early[0] is not view:
            self._hidden_early = None
        if self._ends_ahead is not None and self._ends_ahead[0] is not view:
            self._ends_ahead = None
        if adopted:
            self._opener.adopted(self._source)
        if before is not None and before.lineage.purge_mark != view.sealed.lineage.purge_mark:
            # Another process may have built it, and failed to publish it: what was purged must go.
            self._making.publish_again()

    def _expire(self) -> None:
        """Hides what has expired since the last swap, and shows it again if the clock was wrong."""
        now = int(self._time())
        due = self._due is not None and now >= self._due
        if self._view is not None and (due or now < self._shown_at):
            self._serve(self._view)

    # Building

    def _ask_for_build(self) -> bool:
        """Sees to it that a newer snapshot is made where one is needed; whether one was begun."""
        if self._opener.busy or self._is_other:
            return False  # a newer one is there already, or it would be of another catalog
        if self._source is not None:
            return self._making.pull(repair=self._opener.refused)
        full = self._view is not None and self._wants_full_build(self._view)
        return self._making.build(needed=self._need is not Need.NONE, full=full)

    def _wait_for_first(self) -> None:
        """Has a first snapshot made, here or in another process, and serves it.

        Raises:
            CatalogAwayError, SnapshotStoreError: there may be one later.
            HashlistsError, OSError: there is none to be had.
        """
        if not self._making.is_possible:
            raise SnapshotError(
                "no snapshot is published yet, and no catalog is there to build from"
            )
        while self._view is None:
            made = self._making.make_first()
            if not made:
                time.sleep(_BUSY_SECONDS)  # another process is at it
            self._look()
            if made and self._view is None:
                if self._source is not None and not self._opener.refused:
                    raise SnapshotStoreError("another process is pulling the first snapshot")
                told = self._problems.text or "none was published yet"
                raise SnapshotError(f"no snapshot can be served: {told}")


__all__ = ["Follower", "FollowerState"]
