"""Reads MISP events: digests of files, alone or as file objects.

A file is one event (`{"Event": {...}}`, with or without that wrapping), an array of events, or an
answer of a MISP server (`{"response": ...}`); events and their arrays may be larger than memory.

Taken over: attributes of type md5, sha1 and sha256, also after a file's name, which is dropped; and
objects of the template `file` and of our own (docs/misp), whose hashes are one entry, with size and
media type. All other types and templates are left aside and noted, `cert-pl-phishing` too, whose
perceptual hash is one of pages. Never taken over: names of files, comments, samples, the texts and
reports of events.
Key: the uuid of the attribute, or of the object. An answer to a search for attributes tells those
of objects without their objects; what withdraws an object or a hash of one withdraws those, too.
Retractions: `deleted`, whatever the type or template, for the uuid may be that of an entry. What is
not meant for detection (`to_ids` is false) is withdrawn, too, since an earlier version of it may
have been, unless option `to_ids=any` takes it over; and a file that its source calls harmless or
trusted (`state`). An attribute of another known type withdraws what the list held by its uuid, and
so does an object whose last hash is gone. Types and templates that are not known withdraw nothing;
where the value looks like one of our digests the record is rejected, since its type may be one of
ours in another spelling (`kind_names`).
Class: machine tags of the taxonomies in the option `taxonomies`, of the attribute or object, else
of the event; `copine-scale:level-5` is code `level-5` of scheme `copine-scale`.
Handling: `sharing` says whom TLP tags allow. A distribution other than "all communities" allows
nobody unless an option names recipients. All of them must allow it: the attribute's, the object's
and the event's, which an answer to a search tells in each item. "As the event" allows nobody where
the event says no distribution. The originator is the organisation that made the event (`Orgc`).

Time stamps are taken over, and order nothing (`RawBatch.stamped`): that of an attribute does not
tell when the event, whose tags and distribution count for it, changed, nor that of an object when
an attribute was taken from it.

A feed is a folder: one file for each event, a `manifest.json` that only names them, and
`hashes.csv` with MD5 of attributes' values. The last two hold no hash of any file: they are
refused, or left aside and noted where they come with the events in one set.
The document is read twice, since MISP writes an event's tags behind what they are about.
"""

from __future__ import annotations

import re
from array import array
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.advice import INSPECT
from hashlists.formats.base import BatchReader, FileHeader, Format, Likeness, RawBatch
from hashlists.formats.chunk import join
from hashlists.formats.json_tree import EACH, Entered, JsonTreeStream, Member, Path, Records
from hashlists.formats.misp_records import (
    TEMPLATE,
    Attribute,
    BatchMaker,
    Context,
    MispObject,
    Rules,
    read_context,
)
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.sharing import SHARING_OPTIONS, Sharing, split_names
from hashlists.formats.unreadable import take_sample, why_no_event

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hashlists.formats.base import Sample
    from hashlists.formats.chunk import Chunk
    from hashlists.formats.paged_set import PagedSet
    from hashlists.limits import ImportLimits

_LIMITED_DISTRIBUTIONS: Final = ("1", "2", "4")
_DISTRIBUTION_OPTIONS: Final = tuple(f"distribution.{each}" for each in _LIMITED_DISTRIBUTIONS)
_OPTIONS: Final = ("objects", "taxonomies", "to_ids", *_DISTRIBUTION_OPTIONS, *SHARING_OPTIONS)
#: Where an event, or the answer to a search for attributes, may stand.
_EVENTS: Final[tuple[Path, ...]] = (
    (),
    ("Event",),
    (EACH,),
    (EACH, "Event"),
    ("response",),
    ("response", "Event"),
    ("response", EACH),
    ("response", EACH, "Event"),
)
_MEMBERS: Final = ("Orgc", "Tag", "distribution", "info")
_BOM: Final = b"\xef\xbb\xbf"
_WRAPPED = re.compile(rb'\s*(?:\[\s*)?(?:\{\s*"response"\s*:\s*(?:\[\s*)?)?\{\s*"Event"\s*:\s*\{')
_FOUND = re.compile(rb'\s*\{\s*"response"\s*:\s*\{\s*"Attribute"\s*:\s*\[')
_OBJECTS_FOUND = re.compile(rb'\s*\{\s*"response"\s*:\s*\[\s*\{\s*"Object"\s*:\s*\{')
_LEFT_ASIDE: Final = "manifest.json or hashes.csv of a MISP feed left aside"


class _Nothing(msgspec.Struct, gc=False):
    """A record of which nothing matters yet."""


class MispReader(BatchReader):
    """Iterates over MISP events (see `base.ListReader` and `paged_set.PagedReader`).

    Options:
        to_ids: `required` (default), or `any` to take over what is not meant for detection, too.
        objects: names of further templates whose digests are those of one file, between commas.
        taxonomies: namespaces of tags that are the class, the weightiest first; `copine-scale`.
        tlp.clear, tlp.green, tlp.amber: names of recipients whom the tag allows.
        distribution.1, distribution.2, distribution.4: the same for this community, connected
            communities and sharing groups.

    Raises:
        OptionsError: an option is unknown or has no such value.
        FormatError: the file holds no MISP events.
    """

    format: Final = "misp"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        self._rules = _read_options(options)
        self._stream = stream
        self._limits = limits
        self._header = FileHeader("misp", "", "", "")
        self._bytes_read = 0
        self._companion = why_no_event(take_sample(stream).head)
        self._in_set = False
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """The format alone: an event names neither a version nor a scheme for all of it."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes consumed in the pass that yields batches."""
        return self._bytes_read

    def join(self, pages: PagedSet) -> None:  # noqa: ARG002  # events are no pages of one another
        """Says that the file comes with others, as in a feed, whose companions are left aside."""
        self._in_set = True

    def _open(self, attribute: type, item: type) -> JsonTreeStream:
        self._stream.seek(0)
        arrays = {(*each, "Attribute"): attribute for each in _EVENTS}
        arrays.update({(*each, "Object"): item for each in _EVENTS})
        members = [(*each, name) for each in _EVENTS for name in _MEMBERS]
        return JsonTreeStream(self._stream, arrays=arrays, members=members, limits=self._limits)

    def _read(self) -> Iterator[RawBatch]:
        if self._companion is not None:
            if not self._in_set:
                raise FormatError(f"the file is {self._companion}")
            yield RawBatch.of_notes(self._header, {_LEFT_ASIDE: 1})
            return
        contexts = self._read_contexts()
        for context, chunk in self._gathered(contexts):
            batch = BatchMaker(chunk, context, self._rules).make(self._header)
            if batch.rows or batch.rejections or batch.notes:
                yield batch

    def _gathered(self, contexts: _Contexts) -> Iterator[tuple[Context, Chunk[object]]]:
        """Records by their context; short arrays and single objects are put together to a block."""
        document = self._open(Attribute, MispObject)
        entered = _Entered()
        chunks: list[Chunk[object]] = []
        context, begun = Context(), 0
        for found in document.walk():
            self._bytes_read = document.bytes_read
            if isinstance(found, Entered):
                entered.add(found.path)
            elif isinstance(found, Records):
                of_these = contexts[entered.number(found.path[:-1])]
                is_enough = self._bytes_read - begun >= self._limits.block_bytes
                if chunks and (is_enough or of_these is not context):
                    yield context, join(chunks)
                    chunks = []
                if not chunks:
                    context, begun = of_these, self._bytes_read
                chunks.append(found.chunk)
        if chunks:
            yield context, join(chunks)
        self._bytes_read = document.bytes_read

    def _read_contexts(self) -> _Contexts:
        """What each event says of its contents; reads the document through."""
        contexts = _Contexts(self._rules, self._limits)
        is_misp = False
        for found in self._open(_Nothing, _Nothing).walk():
            if isinstance(found, Entered):
                contexts.enter(found.path)
                is_misp = is_misp or found.path[-1:] == ("Event",)
            else:
                is_misp = True
                if isinstance(found, Member):
                    contexts.take(found)
        contexts.close()
        if not is_misp:
            raise FormatError(
                'the file holds no MISP event: neither "Event" nor the members of one were found; '
                + INSPECT
            )
        return contexts


class _Entered:
    """Numbers the objects that a document enters, in file order."""

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[Path, int] = {}

    def add(self, path: Path) -> int:
        """The number of an object that begins."""
        number = self._count
        self._count += 1
        self._numbers[path] = number
        return number

    def number(self, path: Path) -> int:
        """Of the object that now is open at this path."""
        return self._numbers[path]


class _Contexts:
    """The context of each object by its number: 4 bytes each, since most are the same."""

    def __init__(self, rules: Rules, limits: ImportLimits) -> None:
        self._rules = rules
        self._limits = limits
        self._known: dict[Context, int] = {Context(): 0}
        self._list: list[Context] = [Context()]
        self._numbers = array("i")
        self._entered = _Entered()
        #: Members of the objects that are open, by path; at most one is at each.
        self._open: dict[Path, dict[str, object]] = {}

    def __getitem__(self, number: int) -> Context:
        return self._list[self._numbers[number]]

    def enter(self, path: Path) -> None:
        """An object begins; the one before it at its path has ended."""
        self._end(path)
        self._entered.add(path)
        self._numbers.append(0)

    def take(self, member: Member) -> None:
        """A member of an open object."""
        self._open.setdefault(member.path[:-1], {})[member.path[-1]] = member.value

    def close(self) -> None:
        """The document has ended."""
        for path in list(self._open):
            self._end(path)

    def _end(self, path: Path) -> None:
        members = self._open.pop(path, None)
        if members is None:
            return
        context = read_context(
            members.get("Orgc"), members.get("Tag"), members.get("distribution"), self._rules
        )
        at = self._known.setdefault(context, len(self._list))
        if at == len(self._list):
            self._list.append(context)
        if at > self._limits.max_references:
            raise FormatError(
                f"the events of the file have more than {self._limits.max_references} different"
                " origins, classes and distributions (max_references); split the file"
            )
        self._numbers[self._entered.number(path)] = at


def _read_options(options: Mapping[str, str]) -> Rules:
    refuse_unknown_options(options, _OPTIONS, "misp")
    purpose = options.get("to_ids", "required")
    if purpose not in ("required", "any"):
        raise OptionsError(f"to_ids={purpose[:64]!r} is not known; it may be required or any")
    return Rules(
        any_purpose=purpose == "any",
        templates=frozenset({"file", TEMPLATE, *split_names(options.get("objects", ""))}),
        taxonomies=tuple(
            name.lower() for name in split_names(options.get("taxonomies", "copine-scale"))
        ),
        sharing=Sharing(options),
        distributions={
            each: split_names(options[f"distribution.{each}"])
            for each in _LIMITED_DISTRIBUTIONS
            if f"distribution.{each}" in options
        },
    )


def _looks_like(sample: Sample) -> Likeness | None:
    head = sample.head.removeprefix(_BOM)
    companion = why_no_event(head)
    if companion is not None:
        return Likeness(92, f"it is {companion}")
    if _WRAPPED.match(head):
        return Likeness(95, 'it holds MISP events ("Event")')
    if _FOUND.match(head):
        return Likeness(90, "it is a MISP server's answer to a search for attributes")
    if _OBJECTS_FOUND.match(head):
        return Likeness(90, "it is a MISP server's answer to a search for objects")
    if head.lstrip()[:1] in (b"{", b"[") and b'"Orgc"' in head and b'"info"' in head:
        return Likeness(70, "it has the members of a MISP event, though not as one")
    return None


FORMAT = Format(
    "misp",
    "MISP events",
    open_reader=MispReader,
    looks_like=_looks_like,
    tells_retractions=True,
)
