"""Rows of entry versions as an export writes them, and which of them may go out at all.

Invariants: what has expired never goes out, and what a recipient is not named for never reaches a
batch. An entry that is told as withdrawn comes without its version, so that nothing of what it said
can go out: a row of it has the entry's key and number alone. What handlings and classifications say
is looked up once for each id, and handlings are forgotten after the next batch, so memory does not
grow with the export. Which versions are offered is decided by `export`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.list_handling import read_sayings, stricter
from hashlists.catalog.records import to_microseconds
from hashlists.catalog.schema import (
    KIND_BITS,
    classifications,
    entries,
    entry_versions,
    extra_hashes,
)
from hashlists.model import (
    AS_ITS_LIST,
    NO_ONWARD_SHARING,
    Classification,
    EntryBatch,
    ExportBatch,
    ExtraHash,
    Handling,
    HashKind,
    Place,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from sqlalchemy import Connection

    from hashlists.catalog.export_derived import DerivedHashes
    from hashlists.catalog.list_handling import ListHandling
    from hashlists.model import SaidHandling

    #: One row of `VERSIONS`.
    Version = Sequence[Any]

_PLAIN = tuple(column.name for column in entry_versions.columns if column.name not in KIND_BITS)
#: The whole of each version, as all functions here take it.
VERSIONS = select(
    *(entry_versions.c[name] for name in _PLAIN),
    *(entry_versions.c[kind.value] for kind in KIND_BITS),
)
#: Where `entry_versions.change_id` and others stand in a row.
AT: Mapping[str, int] = {
    name: place for place, name in enumerate((*_PLAIN, *(kind.value for kind in KIND_BITS)))
}
_ENTRY, _VERSION, _KINDS = AT["entry_id"], AT["version_id"], AT["kinds"]
_CLASS, _HANDLING = AT["classification_id"], AT["handling_id"]
#: The row of an entry that is told as withdrawn, but for its id.
_BARE: Mapping[str, Any] = {
    **dict.fromkeys(AT),
    "kinds": 0,
    "flags": 0,
    "flags_known": 0,
    "content_digest": b"",
}

#: What stands in an own copy for all that a record left to its list.
_NOTHING_OF_ITS_LIST = Handling(releasable_to=AS_ITS_LIST)

_KEYS = BulkSelect(entries.c.entry_id, select(entries.c.entry_id, entries.c.source_key))
_SOURCE_IDS = BulkSelect(
    entry_versions.c.entry_id,
    select(entry_versions.c.entry_id, entry_versions.c.source_id).order_by(
        entry_versions.c.version_id
    ),
)
_EXTRAS = BulkSelect(
    extra_hashes.c.version_id,
    select(
        extra_hashes.c.version_id,
        extra_hashes.c.kind,
        extra_hashes.c.value,
        extra_hashes.c.derivation,
    ).order_by(extra_hashes.c.version_id, extra_hashes.c.ordinal),
)


@dataclass(slots=True)
class HeldBack:
    """Entries that were chosen and did not go out.

    Attributes:
        by_recipient: how many a recipient was not named for; one may count for several recipients.
        unreleasable: how many different ones that were.
        expired: how many must no longer be used by anyone; they count here alone.
    """

    by_recipient: Counter[str] = field(default_factory=Counter)
    unreleasable: int = 0
    expired: int = 0

    @property
    def entries(self) -> int:
        """All of them."""
        return self.unreleasable + self.expired


class Judge:
    """Tells of versions whether they are chosen, and whether they may go out.

    What their list says of handling counts as it did at the revision that is exported, and as it
    does now: the stricter holds.

    Attributes:
        held_back: what was chosen and did not go out.
        without_derived: entries that derived hashes alone would have chosen, by their kinds, where
            nobody asked for those.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        now: int,
        recipients: Sequence[str] | None,
        classifications: Collection[Classification | None] | None,
        kinds: Collection[HashKind] | None,
        derived: DerivedHashes,
    ) -> None:
        """Takes what `ExportSelection` has, and the present in microseconds since 1970."""
        self.held_back = HeldBack()
        self.without_derived = 0
        self._now = now
        self._recipients = recipients
        self._kinds = None if kinds is None else frozenset(kinds)
        self._kind_bits = sum(KIND_BITS[kind] for kind in self._kinds or ())
        self._derived = derived
        self._with_derived: set[int] = set()
        self._texts = _Texts(connection)
        self._list: tuple[ListHandling, int, int] | None = None
        self._holding: dict[int, Handling] = {}
        self._classes: set[int | None] | None = None
        if classifications is not None:
            wanted = set(classifications)
            self._classes = {key for key, each in self._texts.classes.items() if each in wanted}

    def turn_to(self, held: ListHandling, *, upto: int, newest: int) -> None:
        """Judges versions of this list from now on, for an export of revision `upto`."""
        self._list = held, upto, newest

    def handling(self, version: Version) -> Handling:
        """What holds of a version that is among those last given to `goes_out`."""
        return self._holding[version[_HANDLING]]

    def told_handling(self, version: Version) -> Handling:
        """What an export says of it; in an own copy that is what its record said, no more.

        Of versions that did not keep the two apart, all that holds.
        """
        said = self._texts.sayings[version[_HANDLING]]
        if self._recipients is not None or isinstance(said, Handling):
            return self.handling(version)
        return said.over(_NOTHING_OF_ITS_LIST)

    def classification(self, version: Version) -> Classification | None:
        """Of any version."""
        return self._texts.classes[version[_CLASS]]

    def goes_out(
        self, versions: Sequence[Version], *, at: int | None = None, revision: int | None = None
    ) -> list[bool]:
        """For each version whether it is chosen and may go out; nothing is counted.

        Args:
            versions: to be judged.
            at: moment by which they may have expired, as microseconds since 1970; None: now.
            revision: what their list said then counts alone; None: as for all that goes out.
        """
        self._texts.look_up({version[_HANDLING] for version in versions})
        self._holding = {
            key: self._holds(said, revision) for key, said in self._texts.sayings.items()
        }
        self._with_derived = self._find_with_derived(versions, revision)
        moment = self._now if at is None else at
        refused = {key: self._refused(each, moment) for key, each in self._holding.items()}
        return [
            self._is_chosen(version) and refused[version[_HANDLING]] is None for version in versions
        ]

    def count(self, versions: Iterable[Version]) -> None:
        """Counts those that are chosen, and were among the last that do not go out."""
        for version in versions:
            refused = self._refused(self.handling(version), self._now)
            is_chosen = self._is_chosen(version)
            if refused is None or not is_chosen:
                lacks = not is_chosen and version[_ENTRY] in self._with_derived
                self.without_derived += refused is None and lacks
                continue
            self.held_back.by_recipient.update(refused)
            self.held_back.unreleasable += bool(refused)
            self.held_back.expired += not refused

    def has_expired(self, version: Version) -> bool:
        """Of a version that is among those last given to `goes_out`."""
        return _is_over(self.handling(version), self._now)

    def _holds(self, said: Handling | SaidHandling, revision: int | None) -> Handling:
        assert self._list is not None
        held, upto, newest = self._list
        if revision is not None:
            return held.holds(said, revision)
        return stricter(held.holds(said, upto), held.holds(said, newest))

    def _is_chosen(self, version: Version) -> bool:
        by_derived = self._derived.wanted and version[_ENTRY] in self._with_derived
        return self._is_in_class(version) and (self._has_kind(version) or by_derived)

    def _is_in_class(self, version: Version) -> bool:
        return self._classes is None or version[_CLASS] in self._classes

    def _has_kind(self, version: Version) -> bool:
        return self._kinds is None or bool(version[_KINDS] & self._kind_bits)

    def _find_with_derived(self, versions: Sequence[Version], revision: int | None) -> set[int]:
        """The entries that nothing but derived hashes chooses, or would choose."""
        if self._kinds is None:
            return set()
        others = [each for each in versions if self._is_in_class(each) and not self._has_kind(each)]
        return self._derived.holders(others, kinds=self._kinds, revision=revision)

    def _refused(self, handling: Handling, moment: int) -> Sequence[str] | None:
        """Recipients that it does not name; none where it has expired; None where it goes out."""
        if _is_over(handling, moment):
            return ()
        missing = [each for each in self._recipients or () if each not in handling.releasable_to]
        return missing or None


def _is_over(handling: Handling, moment: int) -> bool:
    return handling.expires_at is not None and to_microseconds(handling.expires_at) <= moment


class _Texts:
    """What versions refer to by id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        table = classifications.c
        query = select(table.classification_id, table.scheme, table.profile, table.code)
        self.classes: dict[int | None, Classification | None] = {None: None}
        self.classes.update(
            (key, Classification(scheme, profile, code))
            for key, scheme, profile, code in connection.execute(query)
        )
        self.sayings: dict[int, Handling | SaidHandling] = {}

    def look_up(self, handling_ids: Collection[int]) -> None:
        """Knows these handlings afterwards, and no others."""
        missing = handling_ids - self.sayings.keys()
        self.sayings.update(read_sayings(self._connection, missing))
        self.sayings = {each: self.sayings[each] for each in handling_ids}


@dataclass(frozen=True, slots=True)
class Told:
    """An entry that an export tells of.

    Attributes:
        entry_id: of the entry.
        version: the row that is told; None where the entry is told as withdrawn.
        revision: that gave the entry this content, or took it out of what is exported; of one that
            expired, that of its newest content.
        reason: why it was withdrawn; None where nobody said.
    """

    entry_id: int
    version: Version | None
    revision: int
    reason: str | None = None

    @property
    def retracted(self) -> bool:
        """Whether it is told as withdrawn."""
        return self.version is None


def export_batch(
    connection: Connection,
    told: Sequence[Told],
    *,
    list_name: str,
    judge: Judge,
    kinds: Collection[HashKind] | None,
    derived: DerivedHashes,
) -> ExportBatch:
    """Puts together what is told of entries of one list; `judge` has seen all the versions last."""
    rows = [each.version or _bare(each.entry_id) for each in told]
    columns = dict(zip(AT, zip(*rows, strict=True), strict=True))
    keys = dict(pair for part in _KEYS.run(connection, columns["entry_id"]) for pair in part)
    wanted = set(KIND_BITS if kinds is None else kinds)
    batch = EntryBatch(
        keys=[keys[entry_id] for entry_id in columns["entry_id"]],
        hashes={
            kind: columns[kind.value]
            for kind in KIND_BITS
            if kind in wanted and any(value is not None for value in columns[kind.value])
        },
        extra_hashes=derived.apply(
            columns["entry_id"],
            {kind: columns[kind.value] for kind in KIND_BITS},
            extra_hashes_of(connection, columns["version_id"]),
            retracted=[each.retracted for each in told],
            kinds=wanted,
        ),
        sizes=columns["size"],
        classifications=[judge.classification(row) for row in rows],
        handlings=[
            NO_ONWARD_SHARING if each.version is None else judge.told_handling(each.version)
            for each in told
        ],
        flags=columns["flags"],
        flags_known=columns["flags_known"],
        verified_counts=columns["verified_count"],
        media_types=columns["media_type"],
        source_ids=columns["source_id"],
        source_updated_at=columns["source_updated_at"],
        content_digests=columns["content_digest"],
        place_at=lambda row: Place("row", row + 1),
    )
    return ExportBatch(
        entries=batch,
        entry_ids=columns["entry_id"],
        list_names=[list_name] * len(rows),
        revisions=[each.revision for each in told],
        retracted=[each.retracted for each in told],
        reasons=[each.reason for each in told],
        key_ids=_key_ids(connection, told, columns["source_id"]),
    )


def _key_ids(
    connection: Connection, told: Sequence[Told], source_ids: Sequence[str | None]
) -> list[str | None]:
    """Their sources' own ids, also of those of which nothing but the key is told."""
    withdrawn = [each.entry_id for each in told if each.retracted]
    before = dict(pair for part in _SOURCE_IDS.run(connection, withdrawn) for pair in part)
    return [
        before.get(each.entry_id) if each.retracted else source_id
        for each, source_id in zip(told, source_ids, strict=True)
    ]


def _bare(entry_id: int) -> Version:
    return tuple({**_BARE, "entry_id": entry_id}.values())


def extra_hashes_of(connection: Connection, version_ids: Sequence[int | None]) -> list[ExtraHash]:
    """What versions have beside one hash of each kind, each with the place of its version here."""
    row_of = {each: row for row, each in enumerate(version_ids) if each is not None}
    found = [
        ExtraHash(row_of[version_id], HashKind(kind), value, derivation)
        for part in _EXTRAS.run(connection, sorted(row_of))
        for version_id, kind, value, derivation in part
    ]
    return sorted(found, key=lambda each: each.row)  # stable: in their order within a row
