"""Reads the text files of python-threatexchange: hashes alone, or with labels.

There are two layouts. `local`, which its `local_file` exchange reads: one `<signal type> <value>` a
line, e.g. `pdq` and its hex digits, or the value alone where the tool was configured for one type.
`simple`, which its older command kept one file of for each type, `simple.HASH_PDQ.te`: CSV without
header, `indicator,first_descriptor_id,added_on,"label label"`, the type in the file's name alone.

Taken over: the hash, which is the key too, and in `simple` the time and, with the option `tags`,
one label as the class. Signals of other types are counted and left out. Neither layout can say that
an entry is withdrawn. The tool's own state, a Python pickle, is refused: reading one can run code.

Options:
    layout: `local` (default) or `simple`.
    type: signal type of every value, e.g. `pdq` or `HASH_PDQ`; needed for `simple`, and for `local`
        where lines hold values alone.
    tags: labels between commas; the first that a line of `simple` carries becomes its class, of
        scheme `threatexchange` and profile `tag`.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.advice import EMPTY, INSPECT, cut_line
from hashlists.formats.base import (
    BatchReader,
    Encoding,
    FieldNames,
    FileHeader,
    Format,
    HashColumn,
    Likeness,
    RawBatch,
    Sample,
)
from hashlists.formats.byte_lines import ByteLine, ByteLines
from hashlists.formats.notes import Notes
from hashlists.formats.options import refuse_unknown_options
from hashlists.formats.pages import choose, refuse_pickle
from hashlists.formats.threatexchange import INDICATOR_TYPES, SCHEME, TAG_PROFILE, parse_tags
from hashlists.formats.unreadable import take_sample
from hashlists.model import HashKind, Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.limits import ImportLimits

_TYPES: Final[Mapping[str, HashKind]] = {
    **{name.lower(): kind for name, kind in INDICATOR_TYPES.items()},
    "pdq": HashKind.PDQ,
    "md5": HashKind.MD5,
    "video_md5": HashKind.MD5,
    "sha1": HashKind.SHA1,
    "sha256": HashKind.SHA256,
    "photodna": HashKind.PHOTODNA,
}
_UNENDED_NOTE: Final = "last line without line end taken as whole"
_BOM: Final = b"\xef\xbb\xbf"
_NAMES = FieldNames(key="value", category="label", updated_at="added_on")
_SIMPLE_NAME = re.compile(r"simple\.(?P<type>[A-Za-z0-9_]+)\.te")
_LOCAL_LINE = re.compile(
    rb"(?P<type>[A-Za-z][A-Za-z0-9_]{1,30}) +(?P<value>[0-9A-Za-z+/=,]{24,575})\r?"
)
#: A signal's type; a name of another shape, such as a digest, shows that the file is another.
_TYPE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+]{1,30}", re.ASCII)
_MIN_CELLS, _MAX_CELLS = 1, 4


class _Line(NamedTuple):
    """What a line says."""

    place: Place
    kind: HashKind
    value: str
    added_on: str | None = None
    labels: tuple[str, ...] = ()


class ThreatExchangeTextReader(BatchReader):
    """Iterates over a text file (see `base.ListReader`); the module names the options.

    Raises:
        OptionsError: an option is unknown, wrong or missing.
        FormatError: the file is no text, or a pickle.
    """

    format: Final = "threatexchange-text"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        refuse_unknown_options(options, ("layout", "tags", "type"), self.format)
        self._is_simple = choose(options, "layout", ("local", "simple"), "local") == "simple"
        self._type = _parse_type(options, is_needed=self._is_simple)
        self._tags = parse_tags(options)
        refuse_pickle(stream)
        _refuse_foreign(stream)
        if not self._is_simple and self._type is None:
            _require_signals(stream)
        self._max_line = limits.max_line_chars
        self._source = ByteLines(stream, limits, max_line=self._max_line)
        self._notes = Notes()
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """The scheme of the labels."""
        return FileHeader(self.format, "", SCHEME, TAG_PROFILE)

    @property
    def bytes_read(self) -> int:
        """Bytes consumed so far."""
        return self._source.bytes_read

    def _read(self) -> Iterator[RawBatch]:
        while taken := self._source.take():
            lines: list[_Line] = []
            rejections: list[Rejection] = []
            for each in taken:
                outcome = self._parse(each)
                if isinstance(outcome, Rejection):
                    if not each.is_ended:
                        problem = f"does not hold a whole record ({outcome.reason})"
                        raise cut_line(problem, outcome.place, unit="line")
                    rejections.append(outcome)
                elif outcome is not None:
                    lines.append(outcome)
            is_ended = taken[-1].is_ended
            if not is_ended:
                self._notes[_UNENDED_NOTE] += 1
            yield self._to_batch(lines, rejections, open_ended=not is_ended and bool(lines))

    def _parse(self, line: ByteLine) -> _Line | Rejection | None:
        """What a line says; None where its signal is of another type."""
        place = Place("line", line.number, line.offset)
        if line.text is None:
            return Rejection(place, "", f"the line exceeds {self._max_line} bytes")
        try:
            text = line.text.decode().strip()
        except UnicodeDecodeError:
            return Rejection(place, "", "the line is not UTF-8 text")
        return self._parse_cells(place, text) if self._is_simple else self._parse_pair(place, text)

    def _parse_pair(self, place: Place, text: str) -> _Line | Rejection | None:
        """What a line of the layout `local` says."""
        if self._type is not None:
            return _Line(place, self._type, text)
        name, space, value = text.partition(" ")
        if not space or not _TYPE_NAME.fullmatch(name):
            return Rejection(
                place, "", 'expected "<signal type> <value>"; for values alone, say option type=...'
            )
        kind = _TYPES.get(name.lower())
        if kind is None:
            self._notes.add_named("signal of another type left aside", name)
            return None
        return _Line(place, kind, value.strip())

    def _parse_cells(self, place: Place, text: str) -> _Line | Rejection:
        try:
            cells = next(csv.reader([text], strict=True), [])
        except csv.Error as error:
            return Rejection(place, "", f"not a row of this table: {error}")
        if not _MIN_CELLS <= len(cells) <= _MAX_CELLS:
            return Rejection(place, "", f"{len(cells)} cells; at most {_MAX_CELLS} are expected")
        value, _, added_on, labels = (*cells, *[""] * (_MAX_CELLS - len(cells)))
        assert self._type is not None
        return _Line(place, self._type, value, added_on or None, tuple(labels.split()))

    def _to_batch(
        self, lines: Sequence[_Line], rejections: Sequence[Rejection], *, open_ended: bool = False
    ) -> RawBatch:
        notes, self._notes = self._notes, Notes()
        return RawBatch(
            rows=len(lines),
            header=self.header,
            hashes=[
                HashColumn(
                    kind,
                    [line.value if line.kind is kind else None for line in lines],
                    Encoding.DETECT,
                    f"value ({kind})",
                )
                for kind in dict.fromkeys(line.kind for line in lines)
            ],
            place_at=lambda row: lines[row].place,
            codes=[self._code(line) for line in lines] if self._tags else None,
            updated_at=[line.added_on for line in lines],
            names=_NAMES,
            rejections=rejections,
            notes=dict(notes),
            open_ended=open_ended,
        )

    def _code(self, line: _Line) -> str | None:
        return next((tag for tag in self._tags if tag in line.labels), None)


def _parse_type(options: Mapping[str, str], *, is_needed: bool) -> HashKind | None:
    name = options.get("type")
    if name is None:
        if is_needed:
            raise OptionsError(
                "the layout simple needs the option type, as the file's name has it: "
                "simple.HASH_PDQ.te is of type=HASH_PDQ"
            )
        return None
    if name.lower() not in _TYPES:
        known = ", ".join(sorted(_TYPES))
        raise OptionsError(f"unknown signal type {name!r}; known types: {known}")
    return _TYPES[name.lower()]


def _refuse_foreign(stream: BinaryIO) -> None:
    """Tells files that are plainly no lines of text, and leaves the stream at its start."""
    head = stream.read(4096)
    stream.seek(0)
    if not head:
        raise FormatError(f"the file is {EMPTY}")
    if b"\x00" in head:
        raise FormatError(f"the file is not UTF-8 text; {INSPECT}")
    if head.removeprefix(_BOM).lstrip()[:1] in (b"{", b"[", b"<"):
        raise FormatError(f"the file is JSON or XML, not lines of signals; {INSPECT}")


def _require_signals(stream: BinaryIO) -> None:
    """Refuses a file that surely is another, before each of its lines is left aside unheard.

    Raises:
        FormatError: none of the first lines begins with a type of hash.
    """
    names = {
        line.split()[0].decode("ascii", "replace").lower()
        for line in take_sample(stream).head.removeprefix(_BOM).split(b"\n")
        if line.strip()
    }
    if names.isdisjoint(_TYPES):
        raise FormatError(
            'none of the first lines begins with a type of hash; expected "<signal type> <value>", '
            "or for values alone the option type=...; " + INSPECT
        )


def looks_like(sample: Sample) -> Likeness | None:
    """Tells it by its name, or by its first lines."""
    lines = sample.head.removeprefix(_BOM).split(b"\n")[: 20 if sample.whole else -1][:20]
    named = _SIMPLE_NAME.fullmatch(sample.name)
    if named and named["type"].lower() in _TYPES and b"\x00" not in sample.head:
        options = {"layout": "simple", "type": named["type"]}
        return Likeness(70, "a name as python-threatexchange gives its files", options)
    matches = [_LOCAL_LINE.fullmatch(line) for line in lines if line.strip()]
    if matches and all(match and match["type"].decode().lower() in _TYPES for match in matches):
        return Likeness(60, "lines of a signal type and a value")
    return None


FORMAT = Format(
    "threatexchange-text",
    "python-threatexchange text files",
    open_reader=ThreatExchangeTextReader,
    looks_like=looks_like,
)
