"""Expat, kept from all that makes XML dangerous, as a reader of records.

A document type is refused where it begins, so there are no entities to expand and nothing to load;
no other file or address is ever read. Depth, the length of a record, of a tag or comment, the
number of elements of a record and of different names are limited, so that memory is bounded by what
is fed at a time and the longest record allowed. Only UTF-8 is read.

Knows nothing of files and blocks: `hashlists.formats.xml_stream` feeds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NoReturn, Protocol
from xml.parsers import expat

from hashlists.errors import FormatError
from hashlists.formats.advice import GET_AGAIN, GET_OR_INSPECT, INSPECT
from hashlists.formats.notes import Notes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hashlists.limits import ImportLimits
    from hashlists.model import Place

_ROOT_DEPTH, _CONTAINER_DEPTH, _RECORD_DEPTH = 1, 2, 3
_ENCODINGS: Final = ("utf-8", "us-ascii")


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
class Layout:
    """Where a document has its records.

    Attributes:
        namespace: of all its elements; a document that names none at all is taken, too.
        root: name of the outermost element.
        containers: names of the elements in it whose children are records.
        asides: names of elements beside them that are kept; there may be one of each.
        instruction: name of a processing instruction whose text is kept.
    """

    namespace: str
    root: str
    containers: frozenset[str]
    asides: frozenset[str]
    instruction: str = ""


class Sink(Protocol):
    """Takes what the parser finds. Bytes are counted over what was fed."""

    def take(self, element: Element, at: int) -> None:
        """A record whose start tag begins at byte `at`."""
        ...

    def reject(self, problem: str, at: int) -> None:
        """A record that goes beyond a limit; what is left of it is skipped."""
        ...

    def place(self, at: int) -> Place:
        """The place of a byte, for errors."""
        ...


class GuardedParser:
    """Finds the records of a document that is fed in pieces.

    Attributes:
        containers: met so far.
        asides: kept so far, by name.
        notes: elements beside the containers that are not known, and how often they came.
        instruction: text of the layout's processing instruction; None where none came so far.
        has_root: whether the outermost element has begun.
        in_plain_container: whether what comes next stands in a container whose name has no prefix,
            so that names without a prefix in it are of the layout's namespace.
        record_end_at: byte at which the end tag of the last record that ended begins.
        fed: bytes fed so far.
    """

    def __init__(self, layout: Layout, limits: ImportLimits, sink: Sink) -> None:
        self.containers: list[Container] = []
        self.asides: dict[str, Element] = {}
        self.notes = Notes()
        self.instruction: str | None = None
        self.has_root = False
        self.in_plain_container = False
        self.record_end_at = -1
        self.fed = 0
        self._layout = layout
        self._limits = limits
        self._sink = sink
        self._names = _Names(layout.namespace, limits.max_names)
        self._seen = 0
        self._depth = 0
        self._skipped_depth = 0
        self._in_container = False
        self._stack: list[Element] = []
        self._texts: list[str] = []
        self._element_at = 0
        self._elements = 0
        self._parser = self._make_parser()

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the document.

        Raises:
            FormatError: they are not XML of the layout, or go beyond a limit.
        """
        self.fed += len(data)
        self._parse(data, is_final=False)
        self._seen = max(self._seen, self._parser.CurrentByteIndex)
        limit = self._limits.max_record_bytes
        if self.fed - self._seen > limit:
            self._fail(f"a tag or comment exceeds {limit} bytes", self._seen)
        if self._stack:
            self._has_room(self.fed)
        if not self._stack:
            self._texts.clear()

    def finish(self) -> None:
        """Says that nothing follows.

        Raises:
            FormatError: the document has not ended.
        """
        self._parse(b"", is_final=True)

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
        if hasattr(parser, "SetReparseDeferralEnabled"):  # pragma: no cover - Python 3.13 has it
            # Else an end tag may wait until more is fed. Long tags and comments, against whose cost
            # the waiting helps, are limited here.
            parser.SetReparseDeferralEnabled(False)  # noqa: FBT003 - its only argument
        parser.XmlDeclHandler = self._on_declaration
        parser.StartDoctypeDeclHandler = self._on_document_type
        parser.ProcessingInstructionHandler = self._on_instruction
        parser.StartNamespaceDeclHandler = self._on_namespace
        parser.StartElementHandler = self._on_start
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._texts.append
        return parser

    def _on_declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            self._fail(
                "the file says that it is not UTF-8; save it as UTF-8, with a first line that says "
                'so, too: iconv -f ENCODING -t UTF-8 FILE | sed \'1s/encoding="[^"]*"//\' > '
                "NEW_FILE"
            )

    def _on_document_type(self, *_: object) -> None:
        self._fail(
            "the file has a document type (<!DOCTYPE ...>), which may define entities that expand "
            "without end or read other files; lists have none, so it is refused"
        )

    def _on_instruction(self, target: str, text: str) -> None:
        if target == self._layout.instruction:
            self.instruction = text

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
        self.has_root = True
        if local != self._layout.root:
            self._fail(
                f"the outermost element is not <{self._layout.root}> of {self._layout.namespace}; "
                f"this is a document of another kind; {INSPECT}"
            )

    def _open_part(self, local: str, attributes: dict[str, str], *, is_prefixed: bool) -> None:
        """What stands directly in the root: records, something to keep, or something unknown."""
        if local in self._layout.containers:
            self._in_container = True
            self.in_plain_container = not is_prefixed
            place = self._sink.place(self._parser.CurrentByteIndex)
            self.containers.append(Container(local, attributes, place))
        elif local in self._layout.asides:
            if local in self.asides:
                self._fail(f"a second <{local}>; which one counts is not clear")
            self._open_element(local, attributes)
        else:
            self.notes.add_named("element of unknown meaning left aside", local)
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
                self.record_end_at = self._parser.CurrentByteIndex
        elif self._stack:
            element = self._stack.pop()
            if not element.children:
                element.text = "".join(self._texts)
            self._texts.clear()
            if not self._stack:
                self._close_element(element)
        elif self._depth == _ROOT_DEPTH:
            self._in_container = self.in_plain_container = False

    def _close_element(self, element: Element) -> None:
        self.record_end_at = self._parser.CurrentByteIndex
        if not self._has_room(self.record_end_at):
            self._skipped_depth = 0
        elif self._in_container:
            self._sink.take(element, self._element_at)
        else:
            self.asides[element.name] = element

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
        self._sink.reject(f"the record {problem}", self._element_at)
        self._stack.clear()
        self._skipped_depth = _RECORD_DEPTH

    def _fail(self, problem: str, index: int | None = None) -> NoReturn:
        at = self._parser.CurrentByteIndex if index is None else index
        raise FormatError(problem, place=self._sink.place(at)) from None


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
        return f"the file ends here, before its outermost element does; it was cut off: {GET_AGAIN}"
    if code == expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT]:
        return f"the outermost element is closed, but the file goes on; {GET_OR_INSPECT}"
    if code == expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]:
        return "an entity that is not one of XML's own (&amp; and the like); no others are taken"
    return f"not XML: {expat.ErrorString(code)}; {GET_OR_INSPECT}"
