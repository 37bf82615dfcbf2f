"""Reads lists for an export: all that is in force, or what changed, at one revision.

Invariants: everything comes from one read transaction, and from one revision (`upto`); of each
entry its newest version then. Memory is a batch, and a few bits for each id that the catalog ever
gave to an entry or a handling. What was purged is gone, whatever revision is asked for. Nothing
here writes, and nothing judges what a format can carry.

A delta is the difference of two exports, one at `since` and one at `upto`, under what entries say
of their handling; what it shows in force at an earlier revision must be in force and released today
as well. What was in use at `since` is judged by the moment of that commit, all else by the present.
So it withdraws whatever the recipient was given and would be given no longer: what was retracted,
and also what has expired, is released to others now (be it that its list came to say something else
of handling), or belongs to another class. Such a row names the entry and says nothing of it, since
whoever asks may claim any `since`; why, it says to others only where the source gave the reason. Of
what the recipient could never have, nothing is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import bindparam, func, select

from hashlists.catalog import touched
from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.expired import Span, expired_ids
from hashlists.catalog.export_derived import DerivedHashes
from hashlists.catalog.export_rows import AT, VERSIONS, Judge, Told, export_batch
from hashlists.catalog.id_set import IdSet
from hashlists.catalog.list_handling import ListHandling
from hashlists.catalog.lists import find_list
from hashlists.catalog.records import read_catalog_id
from hashlists.catalog.rehandled import rehandled_ids
from hashlists.catalog.schema import (
    VERSIONS_PER_CHANGE,
    Action,
    Origin,
    changes,
    entry_versions,
    purged_entries,
    retractions,
    revisions,
)
from hashlists.catalog.states import EntryState, entry_states, read_head
from hashlists.errors import RevisionNotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row

    from hashlists.catalog.export_rows import HeldBack, Version
    from hashlists.model import Classification, ExportBatch, Handling, HashKind

#: Entries of a delta that are looked up at a time.
_LOOKED_UP = 5_000
_ENTRY, _CHANGE, _VERSION = AT["entry_id"], AT["change_id"], AT["version_id"]
#: Why an entry is withdrawn whose end of use passed.
EXPIRED = "expired: the time of its use is over"


@dataclass(frozen=True, slots=True)
class ExportSelection:
    """What is to go out, and to whom.

    Attributes:
        list_names: the lists, in the order in which they go out.
        recipients: an entry goes out only where its handling names every one of them; None where
            it stays with whoever keeps this catalog, so that no handling stands against it.
        since: for a delta the revision that the recipient has; 0 for all.
        upto: the revision to show; None for the newest.
        classifications: only entries of these, None among them for those without; None for all.
        kinds: only hashes of these kinds, and entries that have any, derived ones where those are
            wanted; None for all.
        derived: whether derived hashes go out, too, marked as such.
    """

    list_names: Sequence[str]
    recipients: Sequence[str] | None
    since: int = 0
    upto: int | None = None
    classifications: Collection[Classification | None] | None = None
    kinds: Collection[HashKind] | None = None
    derived: bool = False

    def __post_init__(self) -> None:
        if self.recipients is not None and (
            isinstance(self.recipients, str) or not all(self.recipients) or not self.recipients
        ):
            raise ValueError("recipients are a sequence of names, or None for nobody else")
        if self.since < 0 or (self.upto is not None and self.upto < self.since):
            raise ValueError("a delta goes from a revision to the same or a later one")


class Export:
    """The batches of an export, and, once they are exhausted, what was not in them.

    Attributes:
        revision: the one that it shows.
        catalog_id: the catalog's own identity, as `CatalogReader` has it.
        purged: entries that were purged after `since`: the recipient may have them still, and
            nothing is left here to name them by. 0 where all is exported.
        held_back: what was chosen and did not go out. A delta counts only what changed, or
            expired, since.
    """

    def __init__(
        self, connection: Connection, selection: ExportSelection, *, now: int, batch_size: int
    ) -> None:
        """Made by `CatalogReader.export`."""
        newest = read_head(connection)
        self.revision = newest if selection.upto is None else selection.upto
        if max(self.revision, selection.since) > newest:
            raise RevisionNotFoundError(
                f"the newest revision is {newest}; there is no"
                f" {max(self.revision, selection.since)} yet"
            )
        self.catalog_id = read_catalog_id(connection)
        self._connection = connection
        self._newest = newest
        self._selection = selection
        self._batch_size = batch_size
        self._lists = [find_list(connection, name) for name in dict.fromkeys(selection.list_names)]
        self._derived = DerivedHashes(connection, upto=self.revision, wanted=selection.derived)
        self._judge = Judge(
            connection,
            now=now,
            recipients=selection.recipients,
            classifications=selection.classifications,
            kinds=selection.kinds,
            derived=self._derived,
        )
        self._span = Span(self._committed_at(selection.since), now) if selection.since else None
        self.purged = self._count_purged() if selection.since else 0
        self._batches = self._all()

    @property
    def held_back(self) -> HeldBack:
        """What was chosen and did not go out, as far as batches were taken."""
        return self._judge.held_back

    @property
    def without_derived(self) -> int:
        """Entries whose derived hashes nobody asked for, as far as batches were taken.

        They went out without those, or not at all where `kinds` chose none of their other hashes.
        """
        return self._derived.entries + self._judge.without_derived

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ExportBatch:
        return next(self._batches)

    def _all(self) -> Iterator[ExportBatch]:
        with catalog_errors():
            for row in self._lists:
                self._held = ListHandling.read(self._connection, row.list_id)
                self._judge.turn_to(self._held, upto=self.revision, newest=self._newest)
                parts = self._changed(row, self._span) if self._span else self._in_force(row)
                for part in parts:
                    if told := self._released_still(part):
                        yield export_batch(
                            self._connection,
                            told,
                            list_name=row.name,
                            judge=self._judge,
                            kinds=self._selection.kinds,
                            derived=self._derived,
                        )

    def _released_still(self, told: list[Told]) -> list[Told]:
        """What of an earlier revision may go out today: in force still, and still released.

        Else somebody could ask for a revision before a retraction, or before an entry was narrowed.
        """
        if self._selection.recipients is None or self.revision == self._newest or not told:
            return told
        ids = [each.entry_id for each in told]
        states = {
            entry_id: state
            for start in range(0, len(ids), _LOOKED_UP)
            for entry_id, state in entry_states(
                self._connection, sorted(ids[start : start + _LOOKED_UP]), upto=self._newest
            ).items()
        }
        wanted = sorted({state.version_id for state in states.values() if state.in_force})
        newest = [each for part in _BY_VERSION.run(self._connection, wanted) for each in part]
        going = zip(newest, self._judge.goes_out(newest, revision=self._newest), strict=True)
        self._judge.count(newest)
        released = {version[_ENTRY] for version, goes in going if goes}
        # What is shown next is what the judge must have seen last.
        self._judge.goes_out([each.version for each in told if each.version is not None])
        return [each for each in told if each.retracted or each.entry_id in released]

    def _in_force(self, row: Row[Any]) -> Iterator[list[Told]]:
        """Newest change first: the first version of an entry that comes up is its newest."""
        committed = self._changes_of(row)
        done = self._retracted(committed)
        for change_id, revision in reversed(committed):
            for versions in self._versions_of(change_id):
                newest = [each for each in versions if each[_ENTRY] not in done]
                for each in newest:
                    done.add(each[_ENTRY])
                going = zip(newest, self._judge.goes_out(newest), strict=True)
                self._judge.count(newest)
                yield [Told(each[_ENTRY], each, revision) for each, goes in going if goes]

    def _changes_of(self, row: Row[Any]) -> list[tuple[int, int]]:
        """Ids and revisions of a list's changes, in the order of their commits."""
        query = (
            select(changes.c.change_id, changes.c.revision)
            .where(changes.c.list_id == row.list_id, changes.c.revision <= self.revision)
            .order_by(changes.c.revision)
        )
        return [(change_id, revision) for change_id, revision in self._connection.execute(query)]

    def _retracted(self, committed: Sequence[tuple[int, int]]) -> IdSet:
        """The entries that anyone holds retracted after these changes."""
        held = {origin: IdSet() for origin in Origin}
        table = retractions.c
        for change_id, _ in committed:
            query = select(table.entry_id, table.origin, table.action).where(
                table.change_id == change_id
            )
            result = self._connection.execute(query, execution_options={"stream_results": True})
            for entry_id, origin, action in result:
                ids = held[Origin(origin)]
                if action == Action.RETRACT:
                    ids.add(entry_id)
                elif entry_id in ids:
                    ids.remove(entry_id)
        return held[Origin.SOURCE].union(held[Origin.OPERATOR])

    def _versions_of(self, change_id: int) -> Iterator[Sequence[Version]]:
        first = change_id * VERSIONS_PER_CHANGE
        version = entry_versions.c.version_id
        query = VERSIONS.where(version >= first, version < first + VERSIONS_PER_CHANGE)
        # As plain SQL, so that no value passes through SQLAlchemy's converters.
        compiled = query.order_by(version).compile(
            dialect=self._connection.dialect, compile_kwargs={"literal_binds": True}
        )
        result = self._connection.exec_driver_sql(
            str(compiled), execution_options={"stream_results": True}
        )
        yield from result.partitions(self._batch_size)

    # A delta

    def _changed(self, row: Row[Any], span: Span) -> Iterator[list[Told]]:
        connection, since = self._connection, self._selection.since
        of_list = {"upto": self.revision, "list_id": row.list_id}
        changed = IdSet.of(touched.changed_parts(connection, since, **of_list))
        rehandled = rehandled_ids(connection, row.list_id, self._held, span, since=since)
        may_have_another = changed.union(rehandled)
        expired = expired_ids(connection, row.list_id, span, upto=since)
        for part in may_have_another.union(expired).arrays(min(self._batch_size, _LOOKED_UP)):
            entry_ids = part.tolist()
            then = entry_states(connection, entry_ids, upto=since)
            now = entry_states(connection, entry_ids, upto=self.revision)
            as_it_was = frozenset(may_have_another.missing_of(part).tolist())
            yield self._difference(then, now, span, as_it_was)

    def _difference(
        self,
        then: Mapping[int, EntryState],
        now: Mapping[int, EntryState],
        span: Span,
        as_it_was: Collection[int],
    ) -> list[Told]:
        """What became of some entries, by entry id; some have the versions that they had."""
        ids = sorted({state.version_id for states in (then, now) for state in states.values()})
        versions = {
            version[_VERSION]: version
            for part in _BY_VERSION.run(self._connection, ids)
            for version in part
        }
        had = self._shown(then, versions, at=span.began, revision=self._selection.since)
        has = self._shown(now, versions)  # and so seen last by the judge
        standing = {key: versions[each.version_id] for key, each in now.items() if each.in_force}
        self._judge.count(standing.values())
        newest = {each: versions[now[each].version_id] for each in had.keys() | has.keys()}
        given_by = self._revisions(newest.values())
        gone = had.keys() - has.keys()
        acts = self._last_retractions([each for each in gone if each not in standing])
        said_by_list = self._held.changed_at(self.revision)
        told = []
        for entry_id, version in sorted(newest.items()):
            revision, reason = acts.get(entry_id) or (given_by[version[_CHANGE]], None)
            if entry_id in has:
                # Of one that did not change, an earlier version may have expired.
                if entry_id not in as_it_was or had.get(entry_id) != has[entry_id]:
                    told.append(Told(entry_id, version, revision))
            else:
                if entry_id in standing:
                    revision = max(revision, said_by_list)
                    reason = EXPIRED if self._judge.has_expired(version) else reason
                told.append(Told(entry_id, None, revision, reason))
        return told

    def _shown(
        self,
        states: Mapping[int, EntryState],
        versions: Mapping[int, Version],
        *,
        at: int | None = None,
        revision: int | None = None,
    ) -> dict[int, Handling]:
        """Entries in force with a version that goes out, or went out then, and what held of it."""
        standing = [versions[state.version_id] for state in states.values() if state.in_force]
        going = zip(standing, self._judge.goes_out(standing, at=at, revision=revision), strict=True)
        return {version[_ENTRY]: self._judge.handling(version) for version, goes in going if goes}

    def _committed_at(self, revision: int) -> int:
        """When, in microseconds since 1970."""
        query = select(revisions.c.committed_at).where(revisions.c.number == revision)
        return int(self._connection.execute(query).scalar_one())

    def _revisions(self, versions: Iterable[Version]) -> dict[int, int]:
        wanted = sorted({version[_CHANGE] for version in versions})
        parts = _REVISIONS.run(self._connection, wanted)
        return {change_id: revision for part in parts for change_id, revision in part}

    def _last_retractions(self, entry_ids: Sequence[int]) -> dict[int, tuple[int, str | None]]:
        """By entry the revision of its last retraction, and why, where that may be told.

        What an operator wrote may name people and cases, and was written for the record here.
        """
        parts = _RETRACTIONS.run(self._connection, entry_ids, upto=self.revision)
        stays_here = self._selection.recipients is None
        return {
            entry_id: (revision, ((stays_here or origin == Origin.SOURCE) and reason) or None)
            for part in parts
            for entry_id, revision, origin, reason in part
        }

    def _count_purged(self) -> int:
        query = (
            select(func.count())
            .select_from(
                purged_entries.join(changes, changes.c.change_id == purged_entries.c.change_id)
            )
            .where(changes.c.list_id.in_([row.list_id for row in self._lists]))
            .where(changes.c.revision > self._selection.since)
        )
        return int(self._connection.execute(query).scalar_one())


_BY_VERSION = BulkSelect(entry_versions.c.version_id, VERSIONS)
_REVISIONS = BulkSelect(changes.c.change_id, select(changes.c.change_id, changes.c.revision))
_RETRACTIONS = BulkSelect(
    retractions.c.entry_id,
    select(retractions.c.entry_id, changes.c.revision, retractions.c.origin, retractions.c.reason)
    .join(changes, changes.c.change_id == retractions.c.change_id)
    .where(changes.c.revision <= bindparam("upto"), retractions.c.action == Action.RETRACT)
    .order_by(changes.c.revision),  # the last one stays
)
