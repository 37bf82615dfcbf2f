"""What every reader of an exchange format gives and every writer takes, and what tells a format.

A reader knows its format and nothing of hashes: it finds records, names their fields and keeps
their values as written. `hashlists.validate` knows hashes and nothing of formats. Between the two
stands `RawBatch`. Columns rather than one object per record, since a list has millions of records.

Invariants: a reader never holds more than a few blocks of its file; it raises `FormatError` when
the file as a whole cannot be trusted, and hands on a `Rejection` when only one record cannot.
Nothing here decodes, judges or stores a hash.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from hashlists.model import (
    KEY_TAGS,
    TEXT_KEY_TAG,
    EntryFlag,
    ExportBatch,
    Harm,
    HashKind,
    Place,
    PlaceAt,
    Rejection,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from hashlists.formats.delta_mark import FileMark
    from hashlists.limits import ImportLimits


class Encoding(StrEnum):
    """How a hash is written as text.

    `HEX` takes either case, `BASE64` and `BASE32` the standard alphabets of RFC 4648, `DECIMAL`
    one number of 0..255 per byte between commas, and `DETECT` tells these apart by their shape,
    which for a kind of known length is never ambiguous. `RAW` is no text: the values are bytes, as
    tables with binary columns hold them.
    """

    HEX = "hex"
    BASE64 = "base64"
    BASE32 = "base32"
    DECIMAL = "decimal"
    DETECT = "detect"
    RAW = "raw"


#: The order in which a value serves as an entry's key, when its format names no other.
DEFAULT_KEY_KINDS: tuple[HashKind, ...] = (
    HashKind.SHA256,
    HashKind.SHA1,
    HashKind.MD5,
    HashKind.PDQ,
    HashKind.PHOTODNA,
    HashKind.PHASH,
    HashKind.DHASH,
    HashKind.AHASH,
    HashKind.WHASH,
)
#: What stands before the source's own key in the notation of `tagged_key`.
TEXT_KEY_PREFIX = "id:"
_KINDS_OF_TAGS = {tag: kind for kind, tag in KEY_TAGS.items()}


def tagged_key(key: bytes) -> str:
    """An entry's key as text: `id:` and the source's own key, or `KIND:` and a hash in hex."""
    tag, value = key[:1], key[1:]
    if tag == TEXT_KEY_TAG:
        return TEXT_KEY_PREFIX + value.decode()
    return f"{_KINDS_OF_TAGS[tag]}:{value.hex()}"


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says of itself.

    Attributes:
        format: name of the reader, e.g. `vics`.
        version: version of the format, verbatim; empty where it has none.
        scheme: scheme of the classifications, e.g. `vics`.
        profile: profile of the scheme, e.g. a country's; empty where none is named.
    """

    format: str
    version: str
    scheme: str
    profile: str


@dataclass(frozen=True, slots=True)
class HashColumn:
    """One hash kind over all rows of a batch, as written.

    Attributes:
        kind: the kind.
        values: one string or None per row, or one bytes or None where the encoding is `RAW`; what
            is empty counts as None.
        encoding: how the strings are written.
        field: what the format calls the column, for rejections.
    """

    kind: HashKind
    values: Sequence[str | bytes | None] = field(repr=False)
    encoding: Encoding
    field: str


@dataclass(frozen=True, slots=True)
class RawHash:
    """A further value of a kind for one row, e.g. a second PDQ code of another crop.

    Attributes:
        derivation: how it was made from the same file, as in `model.Entry.extra_derivations`.
    """

    row: int
    kind: HashKind
    value: str | bytes = field(repr=False)
    encoding: Encoding
    field: str
    derivation: str | None = None


@dataclass(frozen=True, slots=True)
class FlagColumn:
    """One flag over all rows: JSON booleans, 0 or 1, words such as `true` or `N`, or None."""

    flag: EntryFlag
    values: Sequence[bool | int | str | None]
    field: str


@dataclass(frozen=True, slots=True)
class FieldNames:
    """What the format calls the plain columns, for rejections."""

    key: str = "key"
    source_id: str = "source_id"
    category: str = "category"
    size: str = "size"
    media_type: str = "media_type"
    updated_at: str = "updated_at"
    verified_count: str = "verified_count"
    handling: str = "handling"


@dataclass(frozen=True, slots=True)
class RawBatch:
    """`rows` records of a list file as raw columns, in file order.

    Every column has `rows` values, or is None when the file has no such column.

    Attributes:
        rows: number of records in the columns; `rejections` come on top.
        header: what the file says of itself; scheme and profile of the classifications.
        hashes: at most one column of each kind.
        extra_hashes: values beyond the first of a kind.
        key_kinds: the first of these kinds that a row carries gives its key.
        key_texts: the key as the source wrote it; takes the place of `key_kinds`.
        tagged_keys: keys in the notation of `tagged_key`, which holds keys of every sort side by
            side; None and "" leave the row to `key_kinds`.
        codes: codes of the classification, verbatim; None and "" mean that there is none.
        schemes, profiles: of each row's classification; None for that of `header`.
        sizes: file sizes in bytes, as whole numbers (488.0 is one) or their decimal text.
        flags: at most one column of each flag.
        source_ids, media_types, updated_at, verified_counts: as in `EntryBatch`, unchecked.
        originators: who made each entry known; None where the record does not say.
        releasable_to: to whom each may be released; None where the record does not say, which
            leaves it to the list; empty for nobody.
        expires_at: until when each may be used, in RFC 3339; None where the record does not say.
        retracted: rows by which the source withdraws the entry; such a row needs a key alone.
        retraction_reasons: why, in the source's words.
        unmatchable: further rows, by which the source lists an entry still, but by nothing that
            could be matched, such as a hash of an unknown kind, or no longer as known-good. Such a
            row needs a key alone. The source stands by nothing that the list holds of the entry, so
            it is withdrawn; that the list holds nothing of it is no surprise.
        stamped: whether `updated_at` tells of each row which of two records of an entry its source
            made later, be it listed or withdrawn.
        unstamped: rows of which it does not, all the same.
        for_good: rows that withdraw an entry which the source must not list again.
        names: what the format calls the plain columns.
        place_at: where each row stood.
        rejections: records found unreadable by the reader, in file order; not in the columns.
        faults: rows that the reader itself found at fault, with field and reason.
        notes: what was left aside without harm, e.g. a hash of unknown name, and how often.
        harms: the kinds of harm that its rows say they are about; empty where they do not say.
        list_names: the lists that its rows say they stood in, where the file does not keep lists
            apart.
        open_ended: whether the last row may be cut off, since the file ends with it and without a
            line end. Any fault of that row is then one of the file.
        delta: whether the file says that it holds what changed, not all that there is.
        since: the sender's revision that a delta starts from; 0 where that is not told.
        sender, upto: whose file it is and which revision it shows, as in `delta_mark.FileMark`.
    """

    rows: int
    header: FileHeader
    hashes: Sequence[HashColumn]
    place_at: PlaceAt = field(repr=False)
    extra_hashes: Sequence[RawHash] = ()
    key_kinds: Sequence[HashKind] = DEFAULT_KEY_KINDS
    key_texts: Sequence[str | None] | None = field(default=None, repr=False)
    tagged_keys: Sequence[str | None] | None = field(default=None, repr=False)
    codes: Sequence[int | str | None] | None = None
    sizes: Sequence[float | str | None] | None = None
    flags: Sequence[FlagColumn] = ()
    source_ids: Sequence[int | str | None] | None = None
    media_types: Sequence[str | None] | None = None
    updated_at: Sequence[str | None] | None = None
    verified_counts: Sequence[int | str | None] | None = None
    schemes: Sequence[str | None] | None = None
    profiles: Sequence[str | None] | None = None
    originators: Sequence[str | None] | None = None
    releasable_to: Sequence[Sequence[str] | None] | None = None
    expires_at: Sequence[str | None] | None = None
    retracted: Sequence[bool] | None = None
    retraction_reasons: Sequence[str | None] | None = None
    unmatchable: Collection[int] = frozenset()
    stamped: bool = False
    unstamped: Collection[int] = frozenset()
    for_good: Collection[int] = frozenset()
    names: FieldNames = FieldNames()
    rejections: Sequence[Rejection] = ()
    faults: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    harms: Collection[str] = frozenset()
    list_names: Collection[str] = frozenset()
    delta: bool = False
    since: int = 0
    sender: str = ""
    upto: int = 0
    open_ended: bool = False

    def __len__(self) -> int:
        return self.rows

    @property
    def withdrawn(self) -> frozenset[int]:
        """Rows by which an entry goes: retracted, or listed by nothing that could be matched."""
        told = frozenset(row for row, gone in enumerate(self.retracted or ()) if gone)
        return told.union(self.unmatchable)

    @classmethod
    def of_delta(cls, header: FileHeader, since: int) -> RawBatch:
        """A batch without records that says that its file is a delta."""
        return cls(0, header, (), _no_place, delta=True, since=since)

    @classmethod
    def of_mark(cls, header: FileHeader, mark: FileMark) -> RawBatch:
        """A batch without records that hands on what the file says of itself."""
        return cls(
            *(0, header, (), _no_place),
            delta=mark.since is not None,
            since=mark.since or 0,
            sender=mark.sender,
            upto=mark.upto,
        )

    @classmethod
    def of_notes(cls, header: FileHeader, notes: Mapping[str, int]) -> RawBatch:
        """A batch without records that hands on notes alone."""
        return cls(0, header, (), _no_place, notes=notes)


def _no_place(_row: int, /) -> Place:
    raise AssertionError("a batch without rows has no places")


@dataclass(frozen=True, slots=True)
class PageInfo:
    """Where a page of an exchange's answer stands among its pages.

    A reader of such a format has it as its attribute `page`, to be trusted once the reader is
    exhausted. A page is never the whole list, whatever it says: it holds what changed within a
    range of time.

    Attributes:
        next: what to ask for to get the next page, verbatim; of an address its path and query
            alone. None on the last page. It may be a secret of the exchange: never shown or logged.
        checkpoint: from where to go on once all pages were read; None where the page does not say.
        complete: whether this page is the last one.
        follows: whether pages stand before this one; None where the page does not say.
        is_delta: whether the page says that it holds only what changed after some moment.
        total: how many records all pages hold, as the page says; None where it does not.
        records: how many this page holds, those that were left aside included; told with `total`.
    """

    next: str | None = field(default=None, repr=False)
    checkpoint: str | None = None
    complete: bool = True
    follows: bool | None = None
    is_delta: bool = False
    total: int | None = None
    records: int = 0


class ListReader(Protocol):
    """An iterator of `RawBatch` over one open, seekable binary stream, which it does not close.

    The header is known before the first batch. The file counts as whole only once the iterator is
    exhausted without an error: a file that was cut off shows so at its end.

    Attributes:
        format: name of the format, as in `registry.format_names`.
        header: what the file says of itself.
        bytes_read: bytes of the stream consumed so far, for progress.
    """

    @property
    def format(self) -> str:
        """Name of the format."""
        ...

    @property
    def header(self) -> FileHeader:
        """What the file says of itself."""
        ...

    @property
    def bytes_read(self) -> int:
        """Bytes consumed so far."""
        ...

    def __iter__(self) -> Iterator[RawBatch]: ...

    def __next__(self) -> RawBatch: ...


class BatchReader:
    """Iterates over the batches that a reader makes, one after the other, in `_batches`."""

    _batches: Iterator[RawBatch]

    def __iter__(self) -> Iterator[RawBatch]:
        return self

    def __next__(self) -> RawBatch:
        return next(self._batches)


@dataclass(frozen=True, slots=True)
class Sample:
    """The beginning of a file, by which formats are told apart.

    Attributes:
        head: its first bytes, at most 64 KiB, unpacked where the file is compressed.
        name: the file's own name, without folders; a hint, never proof.
        whole: whether `head` is all there is.
    """

    head: bytes = field(repr=False)
    name: str = ""
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Likeness:
    """Why a file looks like one of a format.

    Attributes:
        score: 0..100; 90 and more where the file names its format itself, about 50 where its shape
            fits, about 20 where nothing speaks against it.
        why: what was seen, in words; never a hash.
        options: options of the reader that fit the file, as far as it shows.
    """

    score: int
    why: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileOrigin:
    """What holds of all that a file has, and of one that has nothing.

    Attributes:
        harm: the kind of harm that all its lists are about; None where that is not to be written.
        since: for a delta the revision that the recipient has; 0 for all that is in force.
        catalog_id: of the catalog that the entries are of, which no two share and no file shows:
            it keeps ids apart that are made here. Empty where there is none.
        sender: of `delta_mark.sender_id`; empty where there is none.
        upto: the revision that the file shows.
    """

    harm: Harm | None = None
    since: int = 0
    catalog_id: str = field(default="", repr=False)
    sender: str = ""
    upto: int = 0


#: A whole list of a harm that is not told.
NO_ORIGIN: Final = FileOrigin()


class ListWriter(Protocol):
    """Writes entries in one format to a binary stream, which it does not close.

    What the format cannot carry is counted, never dropped in silence. A writer holds no more than
    a few batches, whatever it writes.

    Attributes:
        losses: what could not be written, by the names of `losses`, and of how many entries, e.g.
            `{"media type": 12}`; complete after `finish`.
        left_out: entries in force that could not be written at all; each is in `losses`, too.
    """

    @property
    def losses(self) -> Mapping[str, int]:
        """What could not be written, and of how many entries."""
        ...

    @property
    def left_out(self) -> int:
        """Entries in force that could not be written at all."""
        ...

    def write(self, batch: ExportBatch) -> None:
        """Writes the entries of a batch, in order.

        Raises:
            OptionsError: the batch holds what the options do not allow for.
            OSError: the stream takes no more.
        """
        ...

    def finish(self) -> None:
        """Writes what stands at the end; nothing may be written afterwards."""
        ...


@dataclass(frozen=True, slots=True)
class Format:
    """An exchange format: how it is told, read and written.

    Attributes:
        name: as `--format` takes it.
        title: as people call it.
        open_reader: opens a stream with options and limits; None where it is only written.
        open_writer: opens a writer on a stream with options, and what the file is to say of itself;
            None where it is only read.
        looks_like: None for a file that surely is of another format.
        tells_retractions: whether a file says which entries are withdrawn. Where not, an entry
            that a later whole file lacks is a candidate only.
        tells_delta: whether a file says that it holds what changed since a revision, so that nobody
            takes it for the whole list.
        known_good: its entries are known to be harmless; they go into lists of that harm alone.
        may_be_known_good: known-good files are handed on in it, too, beside abuse; the option
            `known_good` says which (`harm.require_harm`).
        harm: the only kind of harm that its entries are about; None where the format does not say.
        written_for: the only kind of harm, beside `test`, that it is written for, since whoever
            reads it takes its entries for such; None where a file says itself what it is about.
        keeps_lists_apart: whether an entry's identity in the file tells its list, so that entries
            of several lists in one file are never taken for one another.
        keeps_senders_apart: whether the id of every entry that is written tells the catalog, so
            that files of several may go into one list and none withdraws what another lists.
        ending: what names of files that are written end with, e.g. `.json`.
        media_type: of files that are written, as IANA or the format's own standard names it.
    """

    name: str
    title: str
    open_reader: Callable[[BinaryIO, Mapping[str, str], ImportLimits], ListReader] | None = None
    open_writer: Callable[[BinaryIO, Mapping[str, str], FileOrigin], ListWriter] | None = None
    looks_like: Callable[[Sample], Likeness | None] = lambda _: None
    tells_retractions: bool = False
    tells_delta: bool = False
    known_good: bool = False
    may_be_known_good: bool = False
    harm: Harm | None = None
    written_for: Harm | None = None
    keeps_lists_apart: bool = False
    keeps_senders_apart: bool = False
    ending: str = ""
    media_type: str = "application/octet-stream"

    def __post_init__(self) -> None:
        """Known-good formats name their harm, too."""
        if self.known_good:
            object.__setattr__(self, "harm", Harm.KNOWN_GOOD)
