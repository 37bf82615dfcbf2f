"""Streams the records of an XML document: `<root><container><record/>...</container>...</root>`.

The parser is expat, kept from all that makes XML dangerous: a document type is refused where it
begins, so there are no entities to expand and nothing to load; it never reads another file or
address. Depth, the length of a record, of a tag or comment, and the number of different names are
limited, so that memory is bounded by a few blocks and the longest record allowed.

Expat calls Python for every tag and text, some forty times for a record, which is most of the
time. So records of plain shape are lifted out before expat sees them: a pattern takes a whole
record, from its start tag to its end tag, with no entity, comment, CDATA section or character
beyond ASCII. That is sound only between two records of a container, where such a text can mean one
thing and taking it away leaves a document as good as before. When that is so is not guessed: expat
itself names the byte at which a record's end tag begins, and nothing behind that tag was fed. Every
other record goes to expat, with the same outcome, so that the pattern decides about speed alone.

Invariants: every byte up to the end of the file is accounted for, so a file that was cut off or has
something behind its end raises `FormatError`. Knows nothing of hash lists.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn
from xml.parsers import expat

from hashlists.errors import FormatError
from hashlists.formats.json_stream import Chunk
from hashlists.model import Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hashlists.limits import ImportLimits

#: A record: one text or None for each of the columns that its format has.
Row = tuple[str | None, ...]

_ROOT_DEPTH, _CONTAINER_DEPTH, _RECORD_DEPTH = 1, 2, 3
#: So many bytes tell what a file is.
_HEAD_BYTES: Final = 64
_ENCODINGS: Final = ("utf-8", "us-ascii")
_SAFE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,39}")
_FOREIGN: Final = (
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"PK\x03\x04", "is a ZIP archive; unpack it first"),
    (b"\xff\xfe", "is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "is UTF-16; save it as UTF-8"),
    (b"<\x00", "is UTF-16; save it as UTF-8"),
    (b"\x00<", "is UTF-16; save it as UTF-8"),
    (b"{", "is JSON, not XML"),
    (b"[", "is JSON, not XML"),
)


@dataclass(slots=True)
class Element:
    """An element that was read to its end; text between its children is not kept.

    Attributes:
        name: without namespace.
        attributes: by name; those of a namespace as `<namespace> <name>`.
        text: of an element without children.
        children: in file order.
    """

    name: str
    attributes: dict[str, str] = field(repr=False)
    text: str = field(default="", repr=False)
    children: list[Element] = field(default_factory=list, repr=False)

    def find(self, name: str) -> Element | None:
        """The first child of that name."""
        return next((child for child in self.children if child.name == name), None)

    def find_all(self, name: str) -> Iterator[Element]:
        """All children of that name."""
        return (child for child in self.children if child.name == name)


@dataclass(slots=True)
class Container:
    """An element whose children are the records.

    Attributes:
        name: without namespace.
        attributes: by name.
        place: of its first record, were there one.
        records: found in it so far.
    """

    name: str
    attributes: dict[str, str] = field(repr=False)
    place: Place
    records: int = 0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a document should look like, and what becomes of a record.

    Attributes:
        namespace: of all its elements; a document that names none at all is taken, too.
        root: name of the outermost element.
        containers: names of the elements in it whose children are records.
        asides: names of elements beside them that are kept; there may be one of each.
        records: usual names of records.
        interpret: makes a row of an element; told which row of the chunk it will be, and its place.
        plain: takes one record of plain shape with the white space before it; its groups are the
            row, the first of them the name in its start tag. It must match ASCII alone, no `&`, and
            `<` and `>` only of tags without a prefix. None: every record goes to the parser.
    """

    namespace: str
    root: str
    containers: frozenset[str]
    asides: frozenset[str]
    records: tuple[str, ...]
    interpret: Callable[[Element, int, Place], Row | Rejection]
    plain: re.Pattern[str] | None = None


class XmlRecordStream:
    """Reads a document of a `Shape` by `chunks()`.

    Attributes:
        containers: met so far.
        asides: kept so far, by name.
        notes: elements beside the containers that are not known, and how often they came.
        bytes_read: bytes taken from the stream so far.
        records_read: records so far, rejected ones included.
    """

    def __init__(self, stream: BinaryIO, shape: Shape, limits: ImportLimits) -> None:
        self.containers: list[Container] = []
        self.asides: dict[str, Element] = {}
        self.notes: Counter[str] = Counter()
        self.bytes_read = 0
        self.records_read = 0
        self._stream = stream
        self._shape = shape
        self._limits = limits
        names = "|".join(map(re.escape, shape.records))
        self._record_end = re.compile(rf"</(?:{names})[ \t\r\n]*+>".encode())
        self._rest = b""
        self._ended = False
        self._done = False
        self._has_root = False
        # What expat was given: the position of its next byte in the file is `fed + lifted`.
        self._fed = 0
        self._lifted = 0
        self._seen = 0
        self._at_rest = False
        # Where expat stands in the document.
        self._names = _Names(shape.namespace, limits.max_names)
        self._depth = 0
        self._skipped_depth = 0
        self._in_container = False
        self._may_lift = False
        self._stack: list[Element] = []
        self._texts: list[str] = []
        self._element_at = 0
        self._elements = 0
        self._record_end_at = -1
        # The chunk in hand.
        self._rows: list[Row] = []
        self._places: list[tuple[int, int]] = []
        self._rejections: list[Rejection] = []
        self._parser = self._make_parser()

    def open_root(self) -> None:
        """Reads up to the outermost element.

        Raises:
            FormatError: not XML of that shape.
        """
        window = self._read_block(at_least=_HEAD_BYTES)
        _refuse_foreign(window)
        pos = 0
        while not self._has_root:  # as far as the end of a tag, so that no record is taken yet
            if pos == len(window):
                window, pos = self._read_block(), 0
                if not window:
                    self._finish()
            end = window.find(b">", pos) + 1 or len(window)
            self._feed(window[pos:end])
            pos = end
        self._rest = window[pos:]

    def chunks(self) -> Iterator[Chunk[Row]]:
        """Yields all records, then reads the rest of the file.

        Raises:
            FormatError: the file is cut off, not XML, not of the shape, has a document type, goes
                beyond a limit, or goes on behind its end.
        """
        while not self._done:
            self._rows, self._places, self._rejections = [], [], []
            window = self._rest + self._read_block()
            if window:
                self._take(window)
            else:
                self._finish()
            yield Chunk(self._rows, _Places(self._places), self._rejections)

    def _take(self, window: bytes) -> None:
        """Takes records in turns: those of plain shape, then one by way of the parser."""
        text = window.decode("latin-1")  # one character for each byte
        pos = 0
        while pos < len(window):
            if self._at_rest:
                pos = self._lift(text, pos)
            found = self._record_end.search(window, pos)
            if found is None and self._at_rest and self._may_wait(len(window) - pos):
                break
            end = found.end() if found else len(window)
            self._feed(window[pos:end])
            self._at_rest = found is not None and self._stands_behind(found)
            pos = end
        self._rest = window[pos:]

    def _may_wait(self, size: int) -> bool:
        """Whether the beginning of a record should be held back until the rest of it is there."""
        return not self._ended and size < self._limits.block_bytes

    def _stands_behind(self, end_tag: re.Match[bytes]) -> bool:
        """Whether what was fed ends with a record's end tag, by expat's own word."""
        size = end_tag.end() - end_tag.start()
        return self._may_lift and self._record_end_at == self._fed - size

    def _lift(self, text: str, pos: int) -> int:
        """Takes records of plain shape; returns where the first other one begins."""
        plain = self._shape.plain
        if plain is None:
            return pos
        start, before = pos, len(self._rows)
        offset = self._fed + self._lifted - pos
        number = self.records_read
        longest = self._limits.max_record_bytes
        while (match := plain.match(text, pos)) is not None and match.end() - pos <= longest:
            number += 1
            self._rows.append(match.groups())
            self._places.append((number, offset + match.start(1) - 1))
            pos = match.end()
        self._lifted += pos - start
        self.records_read = number
        self.containers[-1].records += len(self._rows) - before
        return pos

    def _read_block(self, at_least: int = 1) -> bytes:
        block = self._stream.read(max(self._limits.block_bytes, at_least))
        self.bytes_read += len(block)
        self._ended = not block
        return block

    def _feed(self, data: bytes) -> None:
        self._fed += len(data)
        self._parse(data, is_final=False)
        self._seen = max(self._seen, self._parser.CurrentByteIndex)
        if self._fed - self._seen > self._limits.max_record_bytes:
            self._fail(
                f"a tag or comment exceeds {self._limits.max_record_bytes} bytes", self._seen
            )
        if self._stack:
            self._has_room(self._fed)
        if not self._stack:
            self._texts.clear()

    def _finish(self) -> None:
        """Tells the parser that nothing follows."""
        self._parse(b"", is_final=True)
        self._done = True

    def _parse(self, data: bytes, *, is_final: bool) -> None:
        try:
            self._parser.Parse(data, is_final)
        except expat.ExpatError as error:
            self._fail(_describe(error.code, is_final=is_final), self._parser.ErrorByteIndex)
        except _TooManyNamesError:
            self._fail(f"more than {self._limits.max_names} different names of elements")

    def _make_parser(self) -> expat.XMLParserType:
        # Naming the encoding here makes expat take the file for nothing else, whatever it says.
        parser = expat.ParserCreate("UTF-8", " ")
        parser.namespace_prefixes = True
        parser.buffer_text = True
        parser.XmlDeclHandler = self._on_declaration
        parser.StartDoctypeDeclHandler = self._on_document_type
        parser.StartNamespaceDeclHandler = self._on_namespace
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._texts.append
        return parser

    def _on_declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            self._fail("the file says that it is not UTF-8; save it as UTF-8")

    def _on_document_type(self, *_: object) -> None:
        self._fail(
            "the file has a document type (<!DOCTYPE ...>), which may define entities that expand "
            "without end or read other files; lists have none, so it is refused"
        )

    def _on_namespace(self, prefix: str | None, uri: str | None) -> None:
        self._names.learn(f"{prefix} {uri}")

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        local, is_prefixed = self._names[name]
        for each in attributes:
            self._names.learn(each)
        if self._depth > self._limits.max_depth:
            self._fail(f"elements nest more than {self._limits.max_depth} deep")
        if self._skipped_depth:
            return
        if self._stack:
            self._nest_element(Element(local, attributes))
        elif self._depth == _ROOT_DEPTH:
            self._open_root(local)
        elif self._depth == _CONTAINER_DEPTH:
            self._open_part(local, attributes, is_prefixed=is_prefixed)
        else:
            self._open_element(local, attributes)

    def _open_root(self, local: str) -> None:
        self._has_root = True
        if local != self._shape.root:
            self._fail(
                f"the outermost element is not <{self._shape.root}> of {self._shape.namespace}; "
                "this is a document of another kind"
            )

    def _open_part(self, local: str, attributes: dict[str, str], *, is_prefixed: bool) -> None:
        """What stands directly in the root: records, something to keep, or something unknown."""
        if local in self._shape.containers:
            self._in_container = True
            self._may_lift = not is_prefixed
            place = Place("record", self.records_read + 1, self._offset)
            self.containers.append(Container(local, attributes, place))
        elif local in self._shape.asides:
            if local in self.asides:
                self._fail(f"a second <{local}>; which one counts is not clear")
            self._open_element(local, attributes)
        else:
            shown = f"<{local}>" if _SAFE_NAME.fullmatch(local) else "of an odd name"
            self.notes[f"element of unknown meaning left aside: {shown}"] += 1
            self._skipped_depth = self._depth

    def _open_element(self, local: str, attributes: dict[str, str]) -> None:
        self._element_at = self._parser.CurrentByteIndex
        self._elements = 1
        self._stack.append(Element(local, attributes))
        self._texts.clear()

    def _nest_element(self, element: Element) -> None:
        self._elements += 1
        if self._elements > self._limits.max_batch_objects:
            self._drop(f"has more than {self._limits.max_batch_objects} elements")
            return
        self._stack[-1].children.append(element)
        self._stack.append(element)
        self._texts.clear()

    def _on_end(self, _name: str) -> None:
        self._depth -= 1
        if self._skipped_depth:
            if self._depth < self._skipped_depth:
                self._skipped_depth = 0
                self._record_end_at = self._parser.CurrentByteIndex
        elif self._stack:
            element = self._stack.pop()
            if not element.children:
                element.text = "".join(self._texts)
            self._texts.clear()
            if not self._stack:
                self._close_element(element)
        elif self._depth == _ROOT_DEPTH:
            self._in_container = self._may_lift = False

    def _close_element(self, element: Element) -> None:
        self._record_end_at = self._parser.CurrentByteIndex
        if not self._has_room(self._record_end_at):
            self._skipped_depth = 0
        elif self._in_container:
            self._close_record(element)
        else:
            self.asides[element.name] = element

    def _close_record(self, element: Element) -> None:
        place = self._begin_record()
        outcome = self._shape.interpret(element, len(self._rows), place)
        if isinstance(outcome, Rejection):
            self._rejections.append(outcome)
        else:
            self._rows.append(outcome)
            self._places.append((place.number, place.offset or 0))

    def _begin_record(self) -> Place:
        self.records_read += 1
        self.containers[-1].records += 1
        return Place("record", self.records_read, self._element_at + self._lifted)

    def _has_room(self, at: int) -> bool:
        """Whether the element in hand is not too long; drops it if it is."""
        limits = self._limits
        limit = limits.max_record_bytes if self._in_container else limits.max_member_bytes
        if at - self._element_at <= limit:
            return True
        self._drop(f"is longer than {limit} bytes")
        return False

    def _drop(self, problem: str) -> None:
        """Rejects the record in hand and skips what is left of it."""
        if not self._in_container:
            self._fail(f"an element beside the records {problem}", self._element_at)
        self._rejections.append(Rejection(self._begin_record(), "", f"the record {problem}"))
        self._stack.clear()
        self._skipped_depth = _RECORD_DEPTH

    @property
    def _offset(self) -> int:
        """Where in the file stands what the parser is at."""
        return max(0, self._parser.CurrentByteIndex) + self._lifted

    def _place(self, index: int) -> Place:
        return Place("record", self.records_read + 1, max(0, index) + self._lifted)

    def _fail(self, problem: str, index: int | None = None) -> NoReturn:
        at = self._parser.CurrentByteIndex if index is None else index
        raise FormatError(problem, place=self._place(at)) from None


class _TooManyNamesError(Exception):
    """A document has more different names than any list needs."""


class _Names(dict[str, tuple[str, bool]]):
    """From a name as expat gives it to the bare name, and whether a prefix was written before it.

    Expat and its Python side keep every name that they ever met, so there may not be too many.
    An element of another namespace gets a name that no shape has.
    """

    def __init__(self, namespace: str, limit: int) -> None:
        super().__init__()
        self._namespace = namespace
        self._limit = limit

    def learn(self, name: str) -> None:
        """Counts a name of something else than an element."""
        if name not in self:
            self[name]

    def __missing__(self, name: str) -> tuple[str, bool]:
        if len(self) >= self._limit:
            raise _TooManyNamesError
        namespace, local, prefix = (*_split_name(name), "")[:3]
        if namespace not in ("", self._namespace):
            local = f"{{{namespace}}}{local}"
        self[name] = found = (local, bool(prefix))
        return found


def _split_name(name: str) -> tuple[str, ...]:
    """Namespace, local name and prefix, which expat parts by spaces, as far as there are any."""
    parts = tuple(name.split(" "))
    return parts if len(parts) > 1 else ("", name)


class _Places:
    """Places by the number of the record and its byte."""

    __slots__ = ("_places",)

    def __init__(self, places: list[tuple[int, int]]) -> None:
        self._places = places

    def __call__(self, row: int, /) -> Place:
        number, offset = self._places[row]
        return Place("record", number, offset)


def _refuse_foreign(start: bytes) -> None:
    """Names the usual files that are not XML."""
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise FormatError("the file is empty")
    for magic, problem in _FOREIGN:
        if head.startswith(magic):
            raise FormatError(f"the file {problem}")
    if not head.startswith(b"<"):
        raise FormatError("the file is not XML: it does not begin with <")


_CUT_OFF: Final = frozenset(
    expat.errors.codes[name]
    for name in (
        expat.errors.XML_ERROR_NO_ELEMENTS,
        expat.errors.XML_ERROR_UNCLOSED_TOKEN,
        expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
        expat.errors.XML_ERROR_PARTIAL_CHAR,
    )
)


def _describe(code: int, *, is_final: bool) -> str:
    if is_final and code in _CUT_OFF:
        return "the file ends here, before its outermost element does; it was cut off"
    if code == expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]:
        return "the outermost element is closed, but the file goes on"
    if code == expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]:
        return "an entity that is not one of XML's own (&amp; and the like); no others are taken"
    return f"not XML: {expat.ErrorString(code)}"
