"""The words of the list side as types: frozen, typed, without behaviour that touches files or SQL.

Bulk work moves in columns (`EntryBatch`), since one Python object per record would cost more than
everything else an import does; single entries (`Entry`) serve the edges. Nothing here validates:
`hashlists.validate` is the only maker of an `EntryBatch` from foreign data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag, StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime


class HashKind(StrEnum):
    """A hash algorithm whose values a list may hold."""

    PDQ = "pdq"
    PHASH = "phash"
    DHASH = "dhash"
    AHASH = "ahash"
    WHASH = "whash"
    PHOTODNA = "photodna"
    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"

    @property
    def nbytes(self) -> int:
        """Bytes of one value."""
        return _NBYTES[self]

    @property
    def is_digest(self) -> bool:
        """True for cryptographic digests, which match copies of a file only exactly."""
        return self in DIGEST_KINDS

    @property
    def is_perceptual_code(self) -> bool:
        """True for the kinds that Hashwarden computes itself and compares by Hamming distance."""
        return self in CODE_KINDS


_NBYTES: Mapping[HashKind, int] = {
    HashKind.PDQ: 32,
    HashKind.PHASH: 8,
    HashKind.DHASH: 8,
    HashKind.AHASH: 8,
    HashKind.WHASH: 8,
    HashKind.PHOTODNA: 144,
    HashKind.MD5: 16,
    HashKind.SHA1: 20,
    HashKind.SHA256: 32,
}
#: Strongest first: the order in which a digest serves as an entry's key.
DIGEST_KINDS: tuple[HashKind, ...] = (HashKind.SHA256, HashKind.SHA1, HashKind.MD5)
#: By its bytes, which are another number for each.
DIGEST_KIND_OF_LENGTH = {kind.nbytes: kind for kind in DIGEST_KINDS}
CODE64_KINDS: tuple[HashKind, ...] = (
    HashKind.PHASH,
    HashKind.DHASH,
    HashKind.AHASH,
    HashKind.WHASH,
)
CODE_KINDS: tuple[HashKind, ...] = (HashKind.PDQ, *CODE64_KINDS)
#: First byte of an entry's key that is a hash; its value follows.
KEY_TAGS: Mapping[HashKind, bytes] = {
    HashKind.SHA256: b"\x01",
    HashKind.SHA1: b"\x02",
    HashKind.MD5: b"\x03",
    HashKind.PDQ: b"\x04",
    HashKind.PHOTODNA: b"\x05",
    HashKind.PHASH: b"\x06",
    HashKind.DHASH: b"\x07",
    HashKind.AHASH: b"\x08",
    HashKind.WHASH: b"\x09",
}
#: First byte of a key that is the source's own; its text in UTF-8 follows.
TEXT_KEY_TAG = b"\x00"


class Harm(StrEnum):
    """The kind of harm that a whole list is about; lists of different harms stay apart."""

    CSAM = "csam"
    NCII = "ncii"
    TERRORISM = "terrorism"
    KNOWN_GOOD = "known_good"
    TEST = "test"


#: The built-in list of the published harmless test image. Every policy counts it, so that whoever
#: integrates can see at any time that the whole way from upload to answer works.
TEST_LIST_NAME = "hashwarden-test"


class ListState(StrEnum):
    """`SHADOW` lists are matched and counted and decide nothing; `LIVE` lists decide."""

    SHADOW = "shadow"
    LIVE = "live"


class EntryFlag(IntFlag):
    """What a source says of an entry beside its class. Guarded by role, never shown to platforms.

    A flag is stored as two bits: known (the source said something) and set (it said yes), so that
    an export can tell "no" from "not said".
    """

    VICTIM_IDENTIFIED = 1
    OFFENDER_IDENTIFIED = 2
    SERIES = 4
    SELF_GENERATED = 8
    DISTRIBUTED = 16
    SUSPECTED = 32
    PRECATEGORIZED = 64
    BASELINE = 128


NO_FLAGS = EntryFlag(0)


@dataclass(frozen=True, slots=True)
class Classification:
    """A class as its source issued it, kept verbatim, e.g. `("vics", "US", "1")`."""

    scheme: str
    profile: str
    code: str

    @property
    def words(self) -> str:
        """What it says, for people: "vics US 1"; what is empty is left out."""
        return " ".join(filter(None, (self.scheme, self.profile, self.code)))


@dataclass(frozen=True, slots=True)
class Handling:
    """Who made an entry known and to whom it may go on. The default allows no onward sharing.

    Attributes:
        originator: who issued the entry; empty when the list's source did.
        releasable_to: names of recipients to whom it may be released; empty means nobody.
        expires_at: when the entry must no longer be used; None means no such day was set.
    """

    originator: str = ""
    releasable_to: tuple[str, ...] = ()
    expires_at: datetime | None = None


NO_ONWARD_SHARING = Handling()


@dataclass(frozen=True, slots=True)
class SaidHandling:
    """What somebody said of handling; None where nothing was said.

    Attributes:
        originator, releasable_to, expires_at: as in `Handling`; no end cannot be said.
    """

    originator: str | None = None
    releasable_to: tuple[str, ...] | None = None
    expires_at: datetime | None = None

    def over(self, other: Handling) -> Handling:
        """What was said, and what `other` says of the rest."""
        return Handling(
            originator=other.originator if self.originator is None else self.originator,
            releasable_to=(
                other.releasable_to if self.releasable_to is None else self.releasable_to
            ),
            expires_at=other.expires_at if self.expires_at is None else self.expires_at,
        )


@dataclass(frozen=True, slots=True)
class ApartFromList:
    """How many entries in force hold to another handling than their list says now.

    Attributes:
        originator, releasable_to, expires_at: in that field of `Handling`.
    """

    originator: int = 0
    releasable_to: int = 0
    expires_at: int = 0


NOTHING_SAID = SaidHandling()
#: Recipients of an entry whose record names none, in a file that tells what records said: who reads
#: it takes them for none that were named, where an empty sequence would mean nobody.
AS_ITS_LIST: Final = ("(as its list says)",)


@dataclass(frozen=True, slots=True)
class Entry:
    """One known item of a list, as the catalog holds it.

    Attributes:
        entry_id: the catalog's own id; opaque, stable over versions, shown in answers.
        list_name: the list it stands in.
        key: identity within the list (`validate` says how it is formed); may be a hash.
        hashes: at most one value of each kind, raw bytes.
        extra_hashes: further values, e.g. a second PDQ code of another crop.
        extra_derivations: for each of `extra_hashes` how it was made here from the same file, e.g.
            `crop:0.02`; None for what the source itself gave.
        size: bytes of the file, where the source says so.
        flags: the flags that are set.
        flags_known: the flags that the source said anything about.
        verified_count: how many reviewers verified it, where the source says so.
        source_id: the source's own id, e.g. a VICS `MediaID`.
        source_updated_at: the source's own time stamp, verbatim.
    """

    entry_id: int
    list_name: str
    key: bytes = field(repr=False)
    hashes: Mapping[HashKind, bytes] = field(repr=False)
    extra_hashes: tuple[tuple[HashKind, bytes], ...] = field(default=(), repr=False)
    extra_derivations: tuple[str | None, ...] = ()
    size: int | None = None
    classification: Classification | None = None
    handling: Handling = NO_ONWARD_SHARING
    flags: EntryFlag = NO_FLAGS
    flags_known: EntryFlag = NO_FLAGS
    verified_count: int | None = None
    media_type: str | None = None
    source_id: str | None = None
    source_updated_at: str | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a list file something stands, in words a person can follow.

    Attributes:
        unit: "record" (JSON, XML), "line" (CSV, text) or "row" (tables in databases and Parquet).
        number: counted from 1, as an editor counts.
        offset: bytes from the start of the (uncompressed) file, where known.
        part: name of the file, where an archive or a set of several files was read.
    """

    unit: str
    number: int
    offset: int | None = None
    part: str = ""

    def __str__(self) -> str:
        """E.g. `record 17`, or `line 18 (byte 2049) of part-2.csv`."""
        at = "" if self.offset is None else f" (byte {self.offset})"
        within = f" of {self.part}" if self.part else ""
        return f"{self.unit} {self.number}{at}{within}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """A record that was not imported. Its `reason` never repeats a hash.

    Attributes:
        place: where it stands.
        field: the field at fault, as the format names it; empty when the record as a whole is.
        reason: what is wrong and what would be right.
    """

    place: Place
    field: str
    reason: str


#: Later than every time of a record: of withdrawals that no record of the source takes back.
FOR_GOOD: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Retraction:
    """A source's own word that an entry is no longer on its list.

    Attributes:
        key: of the entry.
        reason: why, as the source says it.
        unmatchable: the source lists it still, but by nothing that could be matched; so the list
            need not have held it.
        told_at: when the source made it, by its own clock, in microseconds since 1970; `FOR_GOOD`
            where the source must not list the entry again; None where it does not say.
    """

    key: bytes = field(repr=False)
    reason: str = ""
    unmatchable: bool = False
    told_at: int | None = None


class PlaceAt(Protocol):
    """Gives the place of row `i` of a batch.

    Places are only worked out when one is needed; what they were worked out from is then let go.
    """

    def __call__(self, row: int, /) -> Place:
        """The place of row `row`, counted from 0."""
        ...


class ExtraHash(NamedTuple):
    """A value beyond the first of its kind for one row of a batch.

    Attributes:
        row: of the batch.
        kind: of the value.
        value: raw bytes, `kind.nbytes` of them.
        derivation: how it was made here from the same file, e.g. `crop:0.02`; None for a value that
            the source itself gave.
    """

    row: int
    kind: HashKind
    value: bytes
    derivation: str | None = None


@dataclass(frozen=True, slots=True)
class EntryBatch:
    """`N` validated entries of one list, as columns of equal length.

    A kind that no row carries is absent from `hashes`. Rows are in file order.

    Attributes:
        keys: identity of each row within its list.
        hashes: for each kind present, raw bytes of exactly `kind.nbytes`, or None.
        extra_hashes: values beyond the first of a kind.
        sizes: file size in bytes, or None.
        classifications: interned objects, or None.
        handlings: interned objects: what records say, over the handling with which their list was
            made, or in an export what holds.
        flags, flags_known: `EntryFlag` bits as plain integers.
        verified_counts, media_types, source_ids, source_updated_at: as in `Entry`.
        content_digests: 16 bytes over everything above but the key; equal means unchanged, but for
            who said what of handling.
        place_at: where each row stood in its file.
        said_handlings: interned objects: what each record itself says; None where it is not known
            what of `handlings` that is.
        stamped: rows of which `source_updated_at` tells which of two records of an entry its source
            made later; None where that holds of none.
    """

    keys: Sequence[bytes]
    hashes: Mapping[HashKind, Sequence[bytes | None]]
    extra_hashes: Sequence[ExtraHash]
    sizes: Sequence[int | None]
    classifications: Sequence[Classification | None]
    handlings: Sequence[Handling]
    flags: Sequence[int]
    flags_known: Sequence[int]
    verified_counts: Sequence[int | None]
    media_types: Sequence[str | None]
    source_ids: Sequence[str | None]
    source_updated_at: Sequence[str | None]
    content_digests: Sequence[bytes]
    place_at: PlaceAt = field(repr=False)
    said_handlings: Sequence[SaidHandling] | None = None
    stamped: Sequence[bool] | None = None

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, slots=True)
class ExportBatch:
    """`N` entries as an export writes them: what their newest version says, and where they stand.

    Attributes:
        entries: all that is known of each, one row an entry; a row's place is its row here.
        entry_ids: the catalog's ids.
        list_names: the list that each stands in.
        revisions: the revision that gave each what it holds, or that withdrew it; of one that
            expired, the last that changed it.
        retracted: whether the entry is withdrawn. Its row then has the key and nothing else: no
            hash, class, handling, flag, size, type, id or time of the source.
        reasons: why it was withdrawn; None where it is not, or nobody said.
        key_ids: the source's own id of each entry, of those that are withdrawn, too, which tells
            whether it is a part of the key; never to be written for itself. None: as in `entries`.
    """

    entries: EntryBatch
    entry_ids: Sequence[int]
    list_names: Sequence[str]
    revisions: Sequence[int]
    retracted: Sequence[bool]
    reasons: Sequence[str | None]
    key_ids: Sequence[str | None] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.entries)


@dataclass(frozen=True, slots=True)
class HashList:
    """A named set of entries from one source, of one kind of harm.

    Attributes:
        name: lower-case letters, digits and dashes; what policies and answers call it.
        source: the body that issues it.
        legal_basis: why it may be held and matched here, in the operator's words.
        handling: what holds of an entry as far as its record says nothing of its own.
    """

    name: str
    harm: Harm
    source: str
    title: str = ""
    legal_basis: str = ""
    state: ListState = ListState.LIVE
    handling: Handling = NO_ONWARD_SHARING


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many of a list's entries carry each kind of hash.

    A list of digests and PhotoDNA alone matches uploads only as exact copies: Hashwarden computes
    no PhotoDNA. Its owner must know, so this stands in every report.
    """

    entries: int
    by_kind: Mapping[HashKind, int]
    near_matchable: int

    @property
    def near_matchable_share(self) -> float:
        """Entries with at least one PDQ or 64-bit code, as a share of all (0 for an empty list)."""
        return self.near_matchable / self.entries if self.entries else 0.0


class ChangeKind(StrEnum):
    """What a revision did."""

    CREATE_LIST = "create_list"
    IMPORT = "import"
    RETRACT = "retract"
    RESTORE = "restore"
    ROLLBACK = "rollback"
    PURGE = "purge"
    UPDATE_LIST = "update_list"
    PROMOTE = "promote"
    DEMOTE = "demote"
    HANDLING = "handling"
    ENRICH = "enrich"


@dataclass(frozen=True, slots=True)
class Revision:
    """One committed change of the catalog. Numbers are global and in commit order.

    Attributes:
        handling: what the list says of handling from then on; None where it says what it said.
    """

    number: int
    kind: ChangeKind
    list_name: str | None
    author: str
    reason: str
    committed_at: datetime
    added: int = 0
    updated: int = 0
    retracted: int = 0
    restored: int = 0
    handling: Handling | None = None


@dataclass(frozen=True, slots=True)
class MatchDay:
    """One list on one day, as one policy saw it.

    Attributes:
        list_name: the list, in shadow or live.
        day: in UTC.
        policy: by which the uploads were judged.
        uploads: that were judged while the list counted for the policy.
        exact: those of them that have a digest of an entry.
        near: those of the others that are near an entry.
    """

    list_name: str
    day: date
    policy: str
    uploads: int
    exact: int
    near: int

    @property
    def share(self) -> float:
        """Uploads that matched as a share of all, 0..1."""
        return (self.exact + self.near) / self.uploads if self.uploads else 0.0


@dataclass(frozen=True, slots=True)
class EntryEvent:
    """What one revision did to an entry.

    Attributes:
        revision: its number.
        what: "added", "changed", "retracted" or "restored".
        origin: whose retraction was made or lifted, "source" or "operator"; else empty. An entry
            is in force once neither holds it retracted.
        kind: of the revision: an import may retract, and a rollback change or restore.
        author: who committed it.
        reason: why, in the words of whoever did it.
    """

    revision: int
    committed_at: datetime
    what: str
    origin: str
    kind: ChangeKind
    author: str
    reason: str


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """An entry, how it stands, and how it came to.

    Attributes:
        entry: its newest version, in force or not.
        retracted_by: who holds it retracted: "source", "operator", both or nobody.
        history: oldest first.
    """

    entry: Entry
    retracted_by: tuple[str, ...]
    history: tuple[EntryEvent, ...]


@dataclass(frozen=True, slots=True)
class EntrySelection:
    """Entries of one list as an operator names them; all that are named in any way are meant.

    Attributes:
        entry_ids: the catalog's ids, as matches show them.
        source_ids: the source's own ids or keys, as its correction notices name them. One that
            several entries carry means all of them.
        digests: raw MD5 (16 bytes), SHA-1 (20) or SHA-256 (32) values. One that several entries
            carry means all of them.
    """

    entry_ids: Sequence[int] = ()
    source_ids: Sequence[str] = ()
    digests: Sequence[bytes] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.entry_ids) + len(self.source_ids) + len(self.digests)


@dataclass(frozen=True, slots=True)
class EntryActReport:
    """What retracting or restoring entries did, or would do.

    Attributes:
        revision: the revision that it made; None where nothing changed, or where it was only asked
            what would.
        entries: different entries that were named.
        changed: those of them that changed, or would.
    """

    revision: Revision | None
    entries: int
    changed: int

    @property
    def unchanged(self) -> int:
        """Those that stood like that already."""
        return self.entries - self.changed


@dataclass(frozen=True, slots=True)
class RollbackReport:
    """What a rollback did, or would do, by what had happened to the entries meanwhile.

    Attributes:
        revision: the revision that it made; None where nothing changed, or where it was only asked
            what would.
        to_revision: the revision whose state it brings back.
        withdrawn: entries that came later, and are in force no longer.
        reverted: entries that were changed later, and have their earlier content again.
        retracted: entries that were retracted then, and are so again.
        restored: entries that were in force then, and are so again.
        purged: entries that were purged since; they stay erased.
        exchange: the exchange that fills the list, all of which is fetched anew next, so that it
            brings back what it lists; None where none does, or nothing changes.
    """

    revision: Revision | None
    to_revision: int
    withdrawn: int
    reverted: int
    retracted: int
    restored: int
    purged: int
    exchange: str | None = None

    @property
    def changes(self) -> bool:
        """Whether there is anything to roll back."""
        return bool(self.withdrawn or self.reverted or self.retracted or self.restored)


@dataclass(frozen=True, slots=True)
class PurgeReport:
    """What a purge did, or would do.

    Attributes:
        revision: the revision that tells followers to drop the entries; None where it was only
            asked what would be purged: then `values` and `tombstones` are 0.
        entries: entries erased.
        versions: versions erased, over all revisions.
        values: hash values erased, over all versions.
        tombstones: keyed fingerprints left against re-import.
        traces_wiped: False when a reader, a writer or a full disk kept the database's file from
            being rewritten, so that it still holds traces: call `Catalog.wipe_deleted` again.
        in_force: those of the entries that were in force until then.
    """

    revision: Revision | None
    entries: int
    versions: int
    values: int
    tombstones: int
    traces_wiped: bool
    in_force: int = 0
