"""Reads answers of Meta's ThreatExchange `threat_updates`: JSON, one page of `data`.

A record is an indicator, e.g. one hash, with the descriptors in which members give their opinion of
it. Taken over: the hash, the indicator's id as the key, the time of the last change, and one class
of scheme `threatexchange`: the statuses of all descriptors, sorted and joined by `+`, verbatim,
e.g. `MALICIOUS` or `MALICIOUS+NON_MALICIOUS`. Members that disagree thus make a class of their own,
which means review until an operator maps it, and never hides either opinion. With the option `tags`
the tags decide instead where they can. What a privacy group shares, and so the kind of harm, the
format does not say. The owner of the descriptors, a number, becomes the originator where there is
but one.

An entry is withdrawn by `should_delete`, by having no descriptors left (the source sends that too),
and where every descriptor says NON_MALICIOUS: that is the members' correction, and matching on it
would accuse the innocent. The option `non_malicious` keeps such entries, as a class.

Never taken over: names, descriptions, reactions. Indicators of other known types, e.g. addresses or
TMK hashes, are counted and left out; one that is withdrawn counts whatever its type, for its id may
be that of an entry, and what the list held by the id of one that is left out is withdrawn. One of
an unknown type is malformed, and withdraws nothing: see `kind_names`.

Of a page the cursor of the next one is kept for the exchange client as `page`, never its address,
which holds an access token, and the latest `last_updated`; a report notes that there are more.
The source forgets withdrawals, after 30 days by Meta's pages: a copy that was not updated for so
long must be fetched anew as a whole.

Options:
    tags: tags between commas, e.g. `a1,a2`. The first of them that any descriptor of a record
        carries becomes its class, under the profile `tag`; a record with none keeps its statuses.
    non_malicious: `withdraw` (default) or `keep`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import msgspec

from hashlists.errors import FormatError, OptionsError
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
from hashlists.formats.json_stream import JsonArrayStream
from hashlists.formats.kind_names import OTHER_HASHES, KindNames, unknown_kind
from hashlists.formats.notes import Notes
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.page_reader import PageReader
from hashlists.formats.pages import (
    choose,
    link_query,
    page_token,
    refuse_pickle,
)
from hashlists.formats.picked import pick
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.formats.chunk import Chunk
    from hashlists.limits import ImportLimits

SCHEME: Final = "threatexchange"
TAG_PROFILE: Final = "tag"
#: Types of indicators that are hashes which a list can hold.
INDICATOR_TYPES: Final = {
    "HASH_PDQ": HashKind.PDQ,
    "HASH_MD5": HashKind.MD5,
    "HASH_VIDEO_MD5": HashKind.MD5,
    "HASH_SHA1": HashKind.SHA1,
    "HASH_SHA256": HashKind.SHA256,
    "HASH_PHOTODNA": HashKind.PHOTODNA,
}
#: Types that are no hashes of files, by Meta's page of them.
_OTHER_TYPES: Final = (
    "ADJUST_TOKEN API_KEY AS_NUMBER BANNER CMD_LINE COOKIE_NAME CRX DEBUG_STRING DEST_PORT"
    " DIRECTORY_QUERIED DOMAIN EMAIL_ADDRESS FILE_CREATED FILE_DELETED FILE_MOVED FILE_NAME"
    " FILE_OPENED FILE_READ FILE_WRITTEN GET_PARAM HASH_PDQ_OCR HASH_TEXT_TLSH HASH_VIDEO_TMK"
    " HTML_ID HTTP_REQUEST IP_ADDRESS IP_SUBNET ISP LATITUDE LAUNCH_AGENT LOCATION LONGITUDE"
    " MALWARE_NAME MEMORY_ALLOC MEMORY_PROTECT MEMORY_WRITTEN MUTANT_CREATED MUTEX NAME_SERVER"
    " OTHER_FILE_OP PASSWORD PASSWORD_SALT PAYLOAD_DATA PAYLOAD_TYPE POST_DATA PROTOCOL RAW_TEXT"
    " REFERER REGISTRAR REGISTRY_KEY REG_KEY_CREATED REG_KEY_DELETED REG_KEY_ENUMERATED"
    " REG_KEY_MONITORED REG_KEY_OPENED REG_KEY_VALUE_CREATED REG_KEY_VALUE_DELETED"
    " REG_KEY_VALUE_MODIFIED REG_KEY_VALUE_QUERIED SIGNATURE SOURCE_PORT TELEPHONE TEXT_STRING"
    " TREND_QUERY URI USER_AGENT VOLUME_QUERIED WEBSTORAGE_KEY WEB_PAYLOAD WHOIS_ADDR1"
    " WHOIS_ADDR2 WHOIS_NAME XPI"
)
_TYPES: Final = KindNames(
    INDICATOR_TYPES,
    [*_OTHER_TYPES.split(), *(f"HASH_{each}" for each in OTHER_HASHES.split())],
)
_NAMES = FieldNames(key="id", source_id="id", category="status", updated_at="last_updated")
_SECONDS = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,9})?", re.ASCII)
_LATEST: Final = 10**10 - 1
_HARMLESS: Final = "NON_MALICIOUS"
#: What an address may limit the changes by.
_BOUNDS: Final = ("start_time", "stop_time", "since", "until")


class _Tag(msgspec.Struct, gc=False):
    text: str | None = None


class _Tags(msgspec.Struct, gc=False):
    data: list[_Tag | None] | None = None


class _Owner(msgspec.Struct, gc=False):
    id: int | str | None = None


class _Descriptor(msgspec.Struct, gc=False):
    owner: _Owner | None = None
    status: str | None = None
    # Either a list of words or an object with a list of objects: told apart by `_tags`.
    tags: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class _Descriptors(msgspec.Struct, gc=False):
    data: list[_Descriptor | None] | None = None


class _Record(msgspec.Struct, gc=False):
    """The members that are taken over, under the source's names; the decoder skips all others."""

    id: int | str | None = None
    indicator: str | None = None
    type: str | None = None
    last_updated: int | float | str | None = None
    should_delete: bool | None = None
    descriptors: _Descriptors | None = None


class _Cursors(msgspec.Struct, gc=False):
    after: str | None = None


class _Paging(msgspec.Struct, gc=False):
    cursors: _Cursors | None = None
    next: str | None = None
    previous: Any = None


_TAG_WORDS = msgspec.json.Decoder(list[str | None])
_TAG_OBJECTS = msgspec.json.Decoder(_Tags)


class ThreatExchangeReader(PageReader[_Record]):
    """Iterates over a page of indicators (see `base.ListReader`); the module names the options.

    Raises:
        OptionsError: an option is unknown or wrong.
        FormatError: the file is not such a page.
    """

    format: Final = "threatexchange"
    _records: JsonArrayStream[_Record]

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown_options(options, ("non_malicious", "tags"), self.format)
        choice = choose(options, "non_malicious", ("withdraw", "keep"), "withdraw")
        self._withdraws_harmless = choice == "withdraw"
        self._tags = parse_tags(options)
        refuse_pickle(stream)
        records = JsonArrayStream(
            stream, array_key="data", record_type=_Record, wanted=("paging",), limits=limits
        )
        records.open_array()
        self._newest: float | None = None
        super().__init__(records)

    @property
    def header(self) -> FileHeader:
        """The scheme of the statuses."""
        return FileHeader(self.format, "", SCHEME, "")

    def _read_page(self) -> PageInfo:
        """Cursor of the next page, and the latest change on this one."""
        try:
            paging = msgspec.convert(self._records.members.get("paging"), _Paging | None)
        except msgspec.ValidationError:
            raise FormatError(
                '"paging" does not tell the next page as ThreatExchange does'
            ) from None
        paging = paging or _Paging()
        has_more = bool(paging.next)
        cursor = paging.cursors.after if paging.cursors else None
        if has_more and not cursor:
            raise FormatError('"paging" names a next page, but not its cursor "after"')
        return PageInfo(
            next=page_token(cursor) if has_more else None,
            checkpoint=None if self._newest is None else str(int(self._newest)),
            complete=not has_more,
            follows=True if paging.previous else None,
            is_delta=any(map(_asks_for_changes, (paging.next, paging.previous))),
        )

    def _to_batch(self, chunk: Chunk[_Record]) -> RawBatch:
        self._note_newest(chunk.records)
        notes = Notes()
        records, place_at = pick(chunk, lambda record: self._is_known(record, notes))
        kinds = [_TYPES.kind(record.type) for record in records]
        ids = [None if record.id is None else str(record.id) for record in records]
        reasons = [self._withdrawal(record) for record in records]
        classes = [self._class(record) for record in records]
        left = [row for row, kind in enumerate(kinds) if kind is None and reasons[row] is None]
        others = {row for row in left if _TYPES.is_other(records[row].type)}
        return RawBatch(
            rows=len(records),
            header=self.header,
            hashes=[
                HashColumn(
                    kind,
                    [
                        record.indicator if kind is of_row else None
                        for record, of_row in zip(records, kinds, strict=True)
                    ],
                    Encoding.DETECT,
                    f"indicator ({kind})",
                )
                for kind in dict.fromkeys(INDICATOR_TYPES.values())
                if kind in kinds
            ],
            place_at=place_at,
            key_texts=ids,
            codes=[code for _, code in classes],
            schemes=[SCHEME] * len(records),
            profiles=[profile for profile, _ in classes],
            source_ids=ids,
            updated_at=[
                None if record.last_updated is None else str(record.last_updated)
                for record in records
            ],
            originators=[_owner(record) for record in records],
            stamped=True,
            retracted=[reason is not None for reason in reasons],
            retraction_reasons=reasons,
            unmatchable=others,
            faults={
                row: ("type", unknown_kind(records[row].type)) for row in left if row not in others
            },
            names=_NAMES,
            rejections=chunk.rejections,
            notes=dict(notes),
        )

    def _note_newest(self, records: Sequence[_Record]) -> None:
        times = [each.last_updated for each in records]
        numbers = [time for time in map(_number, times) if time is not None]
        self._newest = max(numbers, default=self._newest)

    def _is_known(self, record: _Record, notes: Notes) -> bool:
        """Whether the record says anything of an entry; counts those of other types.

        A withdrawal needs the indicator's id alone, and so does one of another type.
        """
        if not _TYPES.is_other(record.type) or self._withdrawal(record) is not None:
            return True
        notes.add_named("indicator of another type left aside", record.type)
        return record.id not in (None, "")

    def _withdrawal(self, record: _Record) -> str | None:
        """Why the record withdraws its entry; None where it does not."""
        if record.should_delete:
            return "should_delete"
        descriptors = _descriptors(record)
        if not descriptors:
            return "no descriptors"
        if self._withdraws_harmless and all(each.status == _HARMLESS for each in descriptors):
            return _HARMLESS
        return None

    def _class(self, record: _Record) -> tuple[str, str | None]:
        """Profile and code."""
        if self._tags:
            carried = {tag for each in _descriptors(record) for tag in _tag_words(each.tags)}
            code = next((tag for tag in self._tags if tag in carried), None)
            if code is not None:
                return TAG_PROFILE, code
        statuses = {each.status for each in _descriptors(record) if each.status}
        return "", "+".join(sorted(statuses)) or None


def parse_tags(options: Mapping[str, str]) -> Sequence[str]:
    """The tags of the option `tags`, in order.

    Raises:
        OptionsError: it is there, but names none.
    """
    tags = [tag for tag in map(str.strip, options.get("tags", "").split(",")) if tag]
    if "tags" in options and not tags:
        raise OptionsError("the option tags must name tags between commas")
    return tags


def _number(time: float | str | None) -> float | None:
    """Seconds since 1970; None for what is no time of this or the next two centuries."""
    if isinstance(time, str):
        time = float(time) if _SECONDS.fullmatch(time) else None
    return time if time is not None and 0 <= time <= _LATEST else None


def _asks_for_changes(link: object) -> bool:
    """Whether a link to another page asks for what changed after some moment, or up to one."""
    query = link_query(link)
    return any(value != "0" for name in _BOUNDS for value in query.get(name, ()))


def _descriptors(record: _Record) -> Sequence[_Descriptor]:
    found = record.descriptors.data if record.descriptors is not None else None
    return [each for each in found or () if each is not None]


def _owner(record: _Record) -> str | None:
    """The number of the one member that owns all descriptors."""
    owners = {each.owner.id for each in _descriptors(record) if each.owner is not None}
    only = owners.pop() if len(owners) == 1 else None
    return None if only is None else str(only)


def _tag_words(raw: msgspec.Raw) -> Sequence[str]:
    """The tags of a descriptor; what is none of the two known shapes has none."""
    try:
        return [word for word in _TAG_WORDS.decode(raw) if word]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return [each.text for each in _TAG_OBJECTS.decode(raw).data or () if each and each.text]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def looks_like(sample: Sample) -> Likeness | None:
    """Tells a page by the names of its members."""
    head = sample.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"{") or b'"indicator"' not in head:
        return None
    if b'"should_delete"' in head or b'"descriptors"' in head:
        return Likeness(90, "JSON whose records have indicator and should_delete or descriptors")
    return Likeness(40, "JSON whose records have indicator")


FORMAT = Format(
    "threatexchange",
    "ThreatExchange threat_updates JSON",
    open_reader=ThreatExchangeReader,
    looks_like=looks_like,
    tells_retractions=True,
)
