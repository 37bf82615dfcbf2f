"""Reads answers of NCMEC's Hash Sharing API, version 2: XML, one page of entries.

A page is `<queryResult>` with `<images>` and `<videos>`, each with entries (`<image>`, `<video>`)
and the deletion of entries (`<deletedImage>`, `<deletedVideo>`), in no order of time.

Taken over: the fingerprints md5, sha1, pdna and pdq, the classification verbatim under the scheme
`ncmec`, the entry's id and time stamp. An entry's key is the id of the member that submitted it and
its own id without blanks around it, `42/image1`: only both together are unique. Affirmative
feedback becomes the count of verifications: the members that affirmed any fingerprint, each counted
once, the submitting member not at all, since its own word is the entry itself. Where nobody else
affirmed one, nothing is said.
Never taken over: names of members, reasons, links to large fingerprints (noted, never fetched),
whether an entry is of an image or a video. Negative feedback has no place in an entry: it is noted,
so that an operator can look at the source. So are categorizations, whose layout is not public.

An entry that has nothing but fingerprints behind links or of other known kinds can be matched by
nothing. It is counted and not taken over, and what the list held of it by other fingerprints is
withdrawn, since the source stands by those no longer. One without any fingerprint is malformed, and
so is one whose fingerprints have none but unknown names among them: see `kind_names`.

How a PhotoDNA hash is written is not public either: hex, base64 and decimal numbers are told apart.

A page holds what changed in a range of time, so importing one page alone is fine and never takes
anything away but what it deletes. The link to the next page is kept for the exchange client as
`page`, with the newest time stamp that the page names; a report notes that there are more.

Options:
    check_count: `yes` (default) refuses a page whose `count` is not the number of its entries;
        `no` takes it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.base import (
    Encoding,
    FieldNames,
    FileHeader,
    FileOrigin,
    Format,
    HashColumn,
    Likeness,
    ListWriter,
    PageInfo,
    RawBatch,
    RawHash,
    Sample,
)
from hashlists.formats.delta_mark import FileMark
from hashlists.formats.kind_names import KindNames, unknown_kind
from hashlists.formats.notes import Notes
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.page_reader import PageReader
from hashlists.formats.pages import (
    choose,
    link_target,
)
from hashlists.formats.xml_parser import Element, Layout
from hashlists.formats.xml_stream import Row, Shape, XmlRecordStream
from hashlists.model import Harm, HashKind, Place, Rejection
from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.chunk import Chunk
    from hashlists.formats.xml_parser import Container
    from hashlists.limits import ImportLimits

NAMESPACE: Final = "https://hashsharing.ncmec.org/hashsharing/v2"
#: Name of the processing instruction by which `ncmec_writer` says that a page is a delta.
INSTRUCTION: Final = "hashwarden"
_LAYOUT: Final = Layout(
    namespace=NAMESPACE,
    root="queryResult",
    containers=frozenset({"images", "videos"}),
    asides=frozenset({"paging"}),
    instruction=INSTRUCTION,
)
_DELETED: Final = ("deletedImage", "deletedVideo")
_ENTRIES: Final = ("image", "video", *_DELETED)
#: Tags of fingerprints, in the order of a row's last columns.
FINGERPRINTS: Final = (
    ("md5", HashKind.MD5),
    ("sha1", HashKind.SHA1),
    ("pdna", HashKind.PHOTODNA),
    ("pdq", HashKind.PDQ),
)
_KINDS: Final = KindNames({**dict(FINGERPRINTS), "photodna": HashKind.PHOTODNA})
_COLUMNS: Final = 6 + len(FINGERPRINTS)
#: In feedback of plain shape.
_AFFIRMATIVE = re.compile(r"<affirmativeFeedback.*?</affirmativeFeedback>", re.DOTALL)
_MEMBER = re.compile(r'<member id="([0-9]+)"')
_MEMBER_ID = re.compile(r"[0-9]{1,20}", re.ASCII)
_NAMES = FieldNames(
    key="id", source_id="id", category="classification", updated_at="timestamp"
)  # fmt: skip
_PARTS: Final = ("member", "timestamp", "id", "classification", "fingerprints", "feedback")
_COUNT = re.compile(r"[0-9]{1,18}", re.ASCII)
_MARKED = re.compile(r"""\b(sender|upto|since)=["']([0-9a-z]+)["']""", re.ASCII)
_NEGATIVE_NOTE: Final = "entry with negative feedback, which is not kept"
_UNMATCHABLE_NOTE: Final = (
    "entry known only by fingerprints that cannot be matched, such as links: not in the list"
)
_OPTIONS: Final = ("check_count",)


def _plain_entry() -> re.Pattern[str]:
    """An entry as the documentation writes it: parts in order, ASCII, no surprises."""
    space = r"[ \t\r\n]*+"
    name = r"[ -%'-;=?-~]*+"
    value = r"[!-%'-;=?-~]++"
    hashes = "".join(rf"(?:{space}<{tag}>({value})</{tag}>)?+" for tag, _ in FINGERPRINTS)
    return re.compile(
        rf'{space}<(image|video)>{space}<member id="([0-9]{{1,20}}+)">{name}</member>'
        rf"{space}<timestamp>({value})</timestamp>{space}<id>({value})</id>"
        rf"(?:{space}<classification>({value})</classification>)?+"
        rf"{space}<fingerprints>{hashes}{space}</fingerprints>"
        rf"{_plain_feedback(space, name)}{space}</\1>"
    )


def _plain_feedback(space: str, name: str) -> str:
    """A pattern for feedback as documented; its one group holds the opinions."""

    def attributes(*names: str) -> str:
        return "".join(rf"""(?: {each}="[ !#-%'-;=?-~]*+")?+""" for each in names)

    def opinion(tag: str, inner: str) -> str:
        start = tag + attributes("type", "lastUpdateTimestamp")
        return rf"{space}<{start}>(?:{inner})*+{space}</{tag}>"

    member = rf'{space}<member id="[0-9]{{1,20}}+">{name}</member>'
    members = rf"{space}<members{attributes('timestamp')}>(?:{member})*+{space}</members>"
    reason = rf"{space}<reason{attributes('guid', 'name', 'type')}{space}/>"
    reasons = rf"{space}<reasons>(?:{reason}|{members})*+{space}</reasons>"
    opinions = f"{opinion('affirmativeFeedback', members)}|{opinion('negativeFeedback', reasons)}"
    return (
        rf"(?:{space}<feedback{attributes('lastUpdateTimestamp')}"
        rf"(?:{space}/>|>((?:{opinions})*+){space}</feedback>))?+"
    )


_PLAIN_ENTRY: Final = _plain_entry()


class NcmecReader(PageReader[Row]):
    """Iterates over a page of entries (see `base.ListReader`); the module names the options.

    Raises:
        OptionsError: an option is unknown or wrong.
        FormatError: the file is not such a page.
    """

    format: Final = "ncmec"
    _records: XmlRecordStream

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown_options(options, _OPTIONS, self.format)
        self._checks_count = choose(options, "check_count", ("yes", "no"), "yes") == "yes"
        stream.seek(0)
        self._notes = Notes()
        self._verified: dict[int, int] = {}
        self._extra: list[RawHash] = []
        self._unmatchable: set[int] = set()
        self._unknown: dict[int, str] = {}
        shape = Shape(
            layout=_LAYOUT,
            records=_ENTRIES,
            interpret=self._interpret,
            plain=_PLAIN_ENTRY,
        )
        records = XmlRecordStream(stream, shape, limits)
        records.open_root()
        super().__init__(records)

    @property
    def header(self) -> FileHeader:
        """The version is that of the namespace."""
        return FileHeader("ncmec", "2", "ncmec", "")

    def _read(self) -> Iterator[RawBatch]:
        begun = self._records.instruction
        if begun is not None:
            yield self._of_mark(begun)
        yield from super()._read()
        ended = self._records.instruction
        if begun is None and ended is not None:
            yield self._of_mark(ended)

    def _of_mark(self, instruction: str) -> RawBatch:
        """What Hashwarden says of a page of its own; a delta, unless it says only the rest."""
        mark = FileMark.of(dict(_MARKED.findall(instruction)))
        if not mark.sender and mark.since is None:
            mark = replace(mark, since=0)
        return RawBatch.of_mark(self.header, mark)

    def _to_batch(self, chunk: Chunk[Row]) -> RawBatch:
        rows = len(chunk.records)
        columns: Sequence[Sequence[str | None]] = list(zip(*chunk.records, strict=True))
        kinds, members, times, ids, codes, *hashes, feedback = columns or [()] * _COLUMNS
        if any(feedback):
            self._read_plain_feedback(feedback, members)
        verified, extra, notes = self._verified, self._extra, self._notes
        unmatchable, self._unmatchable = self._unmatchable, set()
        unknown, self._unknown = self._unknown, {}
        self._verified, self._extra, self._notes = {}, [], Notes()
        gone = [kind in _DELETED for kind in kinds]
        return RawBatch(
            rows=rows,
            header=self.header,
            hashes=[
                HashColumn(kind, values, Encoding.DETECT, tag)
                for (tag, kind), values in zip(FINGERPRINTS, hashes, strict=True)
                if any(values)
            ],
            place_at=chunk.place_at,
            extra_hashes=extra,
            key_texts=[f"{member}/{own}" for member, own in zip(members, ids, strict=True)],
            codes=codes,
            source_ids=ids,
            updated_at=times,
            verified_counts=[verified.get(row) for row in range(rows)] if verified else None,
            retracted=gone if any(gone) else None,
            retraction_reasons=kinds if any(gone) else None,
            unmatchable=unmatchable,
            stamped=self._records.instruction is None,
            faults={row: ("fingerprints", unknown_kind(name)) for row, name in unknown.items()},
            names=_NAMES,
            rejections=chunk.rejections,
            notes=dict(notes),
        )

    def _interpret(self, element: Element, row: int, place: Place) -> Row | Rejection:
        """An entry that is not of plain shape."""
        if element.name not in _ENTRIES:
            known = ", ".join(f"<{name}>" for name in _ENTRIES)
            return Rejection(place, "", f"an entry of an unknown kind; known: {known}")
        parts: dict[str, Element] = {}
        for child in element.children:
            if child.name not in _PARTS:
                self._notes.add_named("element of an entry left aside", child.name)
            elif child.name in parts and _counts(child.name, element):
                return Rejection(place, child.name, "the entry has two; which counts is not clear")
            else:
                parts[child.name] = child
        member = parts["member"].attributes.get("id", "").strip() if "member" in parts else ""
        if not _MEMBER_ID.fullmatch(member):
            return Rejection(place, "member", "the entry has no member with a number as its id")
        if not (own := (_text(parts, "id") or "").strip()):
            return Rejection(place, "id", "the entry has no id")
        hashes, others, unknown = self._read_fingerprints(parts.get("fingerprints"), row)
        if not any(hashes) and element.name not in _DELETED:
            if unknown is not None:
                self._unknown[row] = unknown
            elif others:
                self._unmatchable.add(row)
                self._notes[_UNMATCHABLE_NOTE] += 1
        self._read_feedback(element, row, member)
        code = _text(parts, "classification")
        return element.name, member, _text(parts, "timestamp"), own, code, *hashes, None

    def _read_fingerprints(
        self, element: Element | None, row: int
    ) -> tuple[Sequence[str | None], int, str | None]:
        """The first value of each kind, how many were left aside, and a name that is not known.

        Further values of a kind are kept beside the columns.
        """
        hashes: dict[HashKind, str] = {}
        others, unknown = 0, None
        for child in element.children if element is not None else ():
            tag, kind = child.name, _KINDS.kind(child.name)
            if "href" in child.attributes:
                self._notes.add_named("fingerprint behind a link left aside", tag)
                others += 1
            elif kind is None:
                self._notes.add_named("fingerprint of unknown kind left aside", tag)
                others += 1
                unknown = unknown if _KINDS.is_other(tag) else tag
            elif kind in hashes:
                self._extra.append(RawHash(row, kind, child.text, Encoding.DETECT, tag))
            elif child.text.strip():
                hashes[kind] = child.text
        return [hashes.get(kind) for _, kind in FINGERPRINTS], others, unknown

    def _read_feedback(self, entry: Element, row: int, submitter: str) -> None:
        """Feedback that the parser read."""
        affirming: set[str] = set()
        is_denied = False
        for feedback in entry.find_all("feedback"):
            for opinion in feedback.children:
                if opinion.name == "affirmativeFeedback":
                    affirming.update(_members(opinion))
                else:
                    is_denied = is_denied or opinion.name == "negativeFeedback"
        self._take_opinions(row, submitter, affirming, is_denied=is_denied)

    def _read_plain_feedback(
        self, column: Sequence[str | None], submitters: Sequence[str | None]
    ) -> None:
        """Feedback of plain shape, which is text as yet."""
        for row, text in enumerate(column):
            if text:
                opinions = "".join(_AFFIRMATIVE.findall(text))
                affirming = set(_MEMBER.findall(opinions))
                is_denied = "<negativeFeedback" in text
                self._take_opinions(row, submitters[row] or "", affirming, is_denied=is_denied)

    def _take_opinions(
        self, row: int, submitter: str, affirming: set[str], *, is_denied: bool
    ) -> None:
        """Counts other members that affirmed a fingerprint, and notes that some denied one."""
        affirming.discard(submitter)
        if affirming:
            self._verified[row] = len(affirming)
        if is_denied:
            self._notes[_NEGATIVE_NOTE] += 1

    def _check_count(self, container: Container) -> None:
        said = container.attributes.get("count", "").strip()
        if not self._checks_count or not said:
            return
        if not _COUNT.fullmatch(said):
            raise FormatError(
                f"the count of <{container.name}> is no number", place=container.place
            )
        if int(said) != container.records:
            raise FormatError(
                f"<{container.name}> says that it has {said}, but it has "
                f"{counted(container.records, 'entry', 'entries')}; get the page again, or set the "
                "option check_count=no if the source counts in another way",
                place=container.place,
            )

    def _read_page(self) -> PageInfo:
        """Path and query of the next page, and the newest time stamp of this one."""
        for container in self._records.containers:
            self._check_count(container)
        paging = self._records.asides.get("paging")
        link = paging.find("next") if paging is not None else None
        text = link.text.strip() if link is not None else ""
        return PageInfo(
            next=link_target(text) if text else None,
            checkpoint=self._newest(),
            complete=not text,
        )

    def _last_notes(self) -> Mapping[str, int]:
        self._notes.update(self._records.notes)
        return dict(self._notes)

    def _newest(self) -> str | None:
        """The latest `maxTimestamp`, verbatim."""
        times: dict[datetime, str] = {}
        for container in self._records.containers:
            text = container.attributes.get("maxTimestamp", "").strip()
            if not text:
                continue
            try:
                time = datetime.fromisoformat(text)
            except ValueError:
                self._notes["maxTimestamp that is no time, left aside"] += 1
                continue
            times[time if time.tzinfo else time.replace(tzinfo=UTC)] = text
        return times[max(times)] if times else None


def _counts(part: str, entry: Element) -> bool:
    """Whether a second one makes an entry unclear; a deletion needs to name its entry alone."""
    return part in ("member", "id") or (part != "feedback" and entry.name not in _DELETED)


def _text(parts: Mapping[str, Element], name: str) -> str | None:
    """Text of a part, without the white space that comes of breaking lines."""
    text = parts[name].text if name in parts else ""
    return (text.strip() if "\n" in text else text) or None


def _members(opinion: Element) -> Iterator[str]:
    """Ids of the members that share an opinion."""
    for group in opinion.find_all("members"):
        for member in group.find_all("member"):
            number = member.attributes.get("id", "").strip()
            if number:
                yield number


def looks_like(sample: Sample) -> Likeness | None:
    """Tells a page by its outermost element and its namespace."""
    head = sample.head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"<") or b"queryResult" not in head:
        return None
    if NAMESPACE.encode() in head:
        return Likeness(95, "XML in the namespace of NCMEC's Hash Sharing API, version 2")
    if re.search(rb"<queryResult[\s>].*<(?:images|videos)[\s/>]", head, re.DOTALL):
        return Likeness(60, "XML with <queryResult> and <images> or <videos>, as NCMEC's answers")
    return None


def _open_writer(stream: BinaryIO, options: Mapping[str, str], origin: FileOrigin) -> ListWriter:
    from hashlists.formats.ncmec_writer import NcmecWriter  # noqa: PLC0415 - it imports this module

    return NcmecWriter(stream, options, origin)


FORMAT = Format(
    "ncmec",
    "NCMEC Hash Sharing XML",
    open_reader=NcmecReader,
    open_writer=_open_writer,
    looks_like=looks_like,
    harm=Harm.CSAM,
    written_for=Harm.CSAM,
    tells_retractions=True,
    tells_delta=True,
    ending=".xml",
    media_type="application/xml",
)
