"""Reads answers of StopNCII.org's hash exchange: JSON, one page of `hashRecords`.

StopNCII holds hashes of intimate images that the people shown in them reported themselves. They are
no child-abuse imagery: lists of this format are of the harm `ncii`, and stay apart.

Taken over: the hash (ImagePDQ as PDQ, VideoMD5 as MD5), the status verbatim as the class of scheme
`stopncii`, the time of the last change. A record has no id, and one of the same hash replaces its
predecessor: so the hash is the key. A record whose `hashStatus` is Withdrawn or Deleted withdraws
the entry. A status that is not known is taken over with a note.
The number of providers that answered Blocked, which they say after looking at a match, becomes the
count of verifications. Other answers, tags and regions are left aside.
Never taken over: case numbers, names of providers. Other known kinds of signals are counted and
left out, and one of an unknown kind is malformed (`kind_names`); one that is withdrawn counts
whatever its kind is called, where its value may be that of an entry: of which kind it is, its value
tells.

Of a page `nextPageToken` and `nextSetTimestamp` are kept for the exchange client as `page`; a
report notes that there are more pages. A page is the last where `hasMoreRecords` is false; where it
does not say, a token means that there are more. A record says what is so now, so one page alone may
be imported.

Options:
    check_count: `yes` (default) refuses a page whose `count` is not the number of its records;
        `no` takes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.errors import FormatError
from hashlists.formats.base import (
    Encoding,
    FieldNames,
    FileHeader,
    Format,
    HashColumn,
    Likeness,
    PageInfo,
    RawBatch,
    Sample,
)
from hashlists.formats.encodings import decode_hash
from hashlists.formats.json_stream import JsonArrayStream
from hashlists.formats.kind_names import KindNames, unknown_kind
from hashlists.formats.notes import Notes
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.page_reader import PageReader
from hashlists.formats.pages import (
    check_page_count,
    choose,
    page_token,
    refuse_pickle,
)
from hashlists.formats.picked import pick
from hashlists.model import Harm, HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.formats.chunk import Chunk
    from hashlists.limits import ImportLimits

_KINDS: Final = {"ImagePDQ": HashKind.PDQ, "VideoMD5": HashKind.MD5}
_SIGNALS: Final = KindNames(_KINDS, ["VideoTMK", "Text", "URL", "Unknown"])
#: In whatever case they are written: a withdrawal must not be missed for its spelling.
_IN_FORCE: Final = frozenset({"received", "active"})
_WITHDRAWN: Final = frozenset({"withdrawn", "deleted"})
_NAMES = FieldNames(key="hashValue", category="hashStatus", updated_at="lastModtimestamp")
_TOKEN, _SINCE, _MORE, _COUNT = "nextPageToken", "nextSetTimestamp", "hasMoreRecords", "count"
_AFFIRMATIVE: Final = "Blocked"


class _Feedback(msgspec.Struct, gc=False, rename="camel"):
    source: str | None = None
    feedback_value: str | None = None


class _Record(msgspec.Struct, gc=False, rename="camel"):
    """The members that are taken over; the decoder skips all others."""

    signal_type: str | None = None
    hash_value: str | None = None
    hash_status: str | None = None
    last_modtimestamp: int | float | str | None = None
    feedbacks: list[_Feedback | None] | None = msgspec.field(default=None, name="CSPFeedbacks")
    hash_regions: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class StopNciiReader(PageReader[_Record]):
    """Iterates over a page of records (see `base.ListReader`); the module names the options.

    Raises:
        OptionsError: an option is unknown or wrong.
        FormatError: the file is not such a page.
    """

    format: Final = "stopncii"
    _records: JsonArrayStream[_Record]

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown_options(options, ("check_count",), self.format)
        self._checks_count = choose(options, "check_count", ("yes", "no"), "yes") == "yes"
        refuse_pickle(stream)
        records = JsonArrayStream(
            stream,
            array_key="hashRecords",
            record_type=_Record,
            wanted=(_TOKEN, _SINCE, _MORE, _COUNT),
            limits=limits,
        )
        records.open_array()
        super().__init__(records)

    @property
    def header(self) -> FileHeader:
        """The scheme of the statuses."""
        return FileHeader("stopncii", "1", "stopncii", "")

    def _read_page(self) -> PageInfo:
        """Token of the next page, and the time from which to ask later."""
        members = self._records.members
        if self._checks_count:
            check_page_count(members.get(_COUNT), self._records.records_read)
        token, has_more = page_token(members.get(_TOKEN)), members.get(_MORE)
        if has_more is None:
            has_more = token is not None
        elif not isinstance(has_more, bool):
            raise FormatError(f'"{_MORE}" is neither true nor false')
        return PageInfo(
            next=token if has_more else None,
            checkpoint=page_token(members.get(_SINCE)),
            complete=not has_more,
        )

    def _to_batch(self, chunk: Chunk[_Record]) -> RawBatch:
        notes = Notes()
        records, place_at = pick(chunk, lambda record: _is_known(record, notes))
        kinds = [_kind(record) for record in records]
        statuses = [record.hash_status for record in records]
        words = list(map(_word, records))
        for word in words:
            if word not in _IN_FORCE and word not in _WITHDRAWN:
                notes["record of unknown status, taken over as it is"] += 1
        return RawBatch(
            rows=len(records),
            header=self.header,
            hashes=[
                HashColumn(
                    kind,
                    [
                        record.hash_value if kind is of_row else None
                        for record, of_row in zip(records, kinds, strict=True)
                    ],
                    Encoding.DETECT,
                    f"hashValue ({name})",
                )
                for name, kind in _KINDS.items()
                if kind in kinds
            ],
            place_at=place_at,
            codes=statuses,
            updated_at=[_text(record.last_modtimestamp) for record in records],
            verified_counts=_verified_counts(records),
            stamped=True,
            retracted=[word in _WITHDRAWN for word in words],
            retraction_reasons=statuses,
            faults={
                row: ("signalType", unknown_kind(records[row].signal_type))
                for row, kind in enumerate(kinds)
                if kind is None
            },
            names=_NAMES,
            rejections=chunk.rejections,
            notes=dict(notes),
        )


def _is_known(record: _Record, notes: Notes) -> bool:
    """Whether the record's hash is of a kind that is taken over; counts those that are not."""
    if bytes(record.hash_regions) not in (b"", b"null", b"[]"):
        notes["hash regions left aside"] += 1
    if _kind(record) is not None or not _is_other(record):
        return True
    notes.add_named("record with a signal of another kind left aside", record.signal_type)
    return False


def _is_other(record: _Record) -> bool:
    """Whether its signal is of another known kind; a withdrawal of no entry is as good as that."""
    return _SIGNALS.is_other(record.signal_type) or _word(record) in _WITHDRAWN


def _kind(record: _Record) -> HashKind | None:
    """The kind of the record's hash; where it withdraws, the value tells it whatever its name."""
    named = _SIGNALS.kind(record.signal_type)
    if _word(record) not in _WITHDRAWN or (named and _is_hash(record.hash_value, named)):
        return named
    return next((each for each in _KINDS.values() if _is_hash(record.hash_value, each)), named)


def _is_hash(text: str | None, kind: HashKind) -> bool:
    try:
        decode_hash(text or "", kind, Encoding.DETECT)
    except ValueError:
        return False
    return True


def _word(record: _Record) -> str:
    """The status in whatever case it is written."""
    return (record.hash_status or "").strip().lower()


def _text(value: float | str | None) -> str | None:
    return None if value is None else str(value)


def _verified_counts(records: Sequence[_Record]) -> Sequence[int | None] | None:
    counts = [_count_blocked(record.feedbacks) for record in records]
    return counts if any(counts) else None


def _count_blocked(feedbacks: Sequence[_Feedback | None] | None) -> int | None:
    """How many providers answered that they looked and blocked; None where nobody did."""
    sources = {
        each.source for each in feedbacks or () if each and each.feedback_value == _AFFIRMATIVE
    }
    return len(sources) or None


def looks_like(sample: Sample) -> Likeness | None:
    """Tells a page by the names of its members."""
    head = sample.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"{") or b'"hashRecords"' not in head:
        return None
    if b'"signalType"' in head and b'"hashStatus"' in head:
        return Likeness(90, "JSON with hashRecords that have signalType and hashStatus")
    return Likeness(60, "JSON with hashRecords, as StopNCII's answers")


FORMAT = Format(
    "stopncii",
    "StopNCII JSON",
    open_reader=StopNciiReader,
    looks_like=looks_like,
    tells_retractions=True,
    harm=Harm.NCII,
)
