"""The files of one import, open together, and the raw batches of all their parts in order.

Batches say where they stand: once there are several parts, places name theirs, and so does any
error of a reader. A set whose files are pages of one another must be whole.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, TypeAlias

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.advice import fit_for_set
from hashlists.formats.page_reader import PageReader
from hashlists.formats.paged_set import PagedReader, PagedSet
from hashlists.formats.pages import MORE_PAGES_NOTE, is_unfinished
from hashlists.formats.registry import find_format, open_reader
from hashlists.formats.unpacking import open_parts
from hashlists.formats.unpacking.parts import shown_name
from hashlists.formats.unreadable import take_sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path

    from hashlists.formats.base import ListReader, PageInfo, RawBatch
    from hashlists.formats.unpacking import Part, Parts
    from hashlists.formats.unpacking.age_files import Identity
    from hashlists.limits import ImportLimits
    from hashlists.model import Place, PlaceAt

#: For a member of an archive of which not even the beginning could be read.
_LEAVE_OUT: Final = (
    "; if this is no list file, leave it out: zip --delete ARCHIVE MEMBER, or unpack the archive"
    " and import the list files alone"
)
#: What to say of a part that could not be read, given what its reader says.
_Advise: TypeAlias = "Callable[[str], str]"


@dataclass(slots=True)
class OpenFile:
    """One file of the import.

    Attributes:
        name: fit to be shown, without folders.
        stream: its bytes as they are on disk.
        before: how it stood when it was opened.
    """

    name: str
    stream: BufferedReader
    before: os.stat_result

    @property
    def length(self) -> int:
        """Bytes on disk."""
        return self.before.st_size

    def require_same(self) -> None:
        """Sees to it that nobody wrote to the file meanwhile.

        Raises:
            FormatError: somebody did.
        """
        after = os.fstat(self.stream.fileno())
        if (self.before.st_size, self.before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise FormatError(
                "the file changed while it was read; import it again when it is whole"
            )


@contextmanager
def open_files(paths: Sequence[Path]) -> Iterator[Sequence[OpenFile]]:
    """Opens all files, so that a missing one is told before anything is read.

    Raises:
        FormatError: there is none, or one cannot be opened, or is a pipe.
    """
    if not paths:
        raise FormatError("no file to import")
    with ExitStack() as opened:
        yield [_open(path, opened, named=len(paths) > 1) for path in paths]


def _open(path: Path, opened: ExitStack, *, named: bool) -> OpenFile:
    name = shown_name(path.name)
    which = name if named else "the file"
    try:
        stream = opened.enter_context(path.open("rb"))
    except OSError as error:
        raise FormatError(f"{which} cannot be read: {error.strerror}") from error
    if not stream.seekable():
        raise FormatError("a pipe cannot be imported: it is read twice; write it to a file first")
    return OpenFile(name, stream, os.fstat(stream.fileno()))


@dataclass(slots=True)
class RecordSource:
    """Reads the records of all files, part after part.

    Attributes:
        files: open, in order.
        format, options, limits: as for `open_reader`.
        spool_dir: where unpacked copies lie, for readers that need them.
        identities: private keys, for files that are encrypted.
        bytes_read: of the files as they are on disk, so far.
        notes: what was left aside beside the records: what archives hold beside list files.
        pages: where those files that are pages of an exchange, and were read, stand among others.
        parts: how many files, those within archives each, were begun so far.
    """

    files: Sequence[OpenFile]
    format: str
    options: Mapping[str, str] | None
    limits: ImportLimits
    spool_dir: Path | None = None
    identities: Sequence[Identity] = ()
    bytes_read: int = 0
    notes: Counter[str] = field(default_factory=Counter)
    pages: list[PageInfo] = field(default_factory=list)
    parts: int = 0

    @property
    def length(self) -> int:
        """Bytes of all files."""
        return sum(each.length for each in self.files)

    def batches(self) -> Iterator[RawBatch]:
        """All records of all parts.

        Raises:
            UnknownFormatError, OptionsError, FormatError: as `open_reader` and its readers; of one
                part of several they name it.
        """
        opened = [self._parts(each) for each in self.files]
        count = sum(len(parts.names) for parts in opened)
        if count > self.limits.max_parts:
            raise FormatError(
                f"{count} files are too many for one import; at most {self.limits.max_parts} are "
                "(max_parts)"
            )
        pages = PagedSet() if count > 1 else None
        done = 0
        for file, parts in zip(self.files, opened, strict=True):
            self.notes.update(parts.notes)
            named = count > 1 or parts.compression == "zip"
            self.bytes_read = done
            with _naming(file.name if len(self.files) > 1 else ""):
                yield from self._of_file(parts, pages, named=named)
            done += file.length
        self.bytes_read = done
        if pages is not None:
            pages.require_whole()
        if is_unfinished(self.pages):
            self.notes[MORE_PAGES_NOTE] += 1

    def require_same(self) -> None:
        """Sees to it that no file changed meanwhile.

        Raises:
            FormatError: one did.
        """
        for each in self.files:
            with _naming(each.name if len(self.files) > 1 else ""):
                each.require_same()

    def _parts(self, file: OpenFile) -> Parts:
        several = len(self.files) > 1
        with _naming(file.name if several else ""):
            name = file.name if several else ""
            return open_parts(
                file.stream,
                name,
                self.limits,
                spool_dir=self.spool_dir,
                identities=self.identities,
            )

    def _of_file(self, parts: Parts, pages: PagedSet | None, *, named: bool) -> Iterator[RawBatch]:
        before = self.bytes_read
        for part in parts:
            name = part.name if named else ""
            self.parts += 1
            with _naming(name, self._advice(parts, part)):
                reader = open_reader(
                    part.stream, format=self.format, options=self.options, limits=self.limits
                )
                if pages is not None and isinstance(reader, PagedReader):
                    reader.join(pages)
                batches = self._of_part(reader, part, before, named=named)
                first = next(batches, None)
            with _naming(name):
                if first is not None:
                    yield first
                yield from batches
            before += part.packed_bytes

    def _advice(self, parts: Parts, part: Part) -> _Advise:
        """What to do about a part whose beginning cannot be read."""
        if len(parts.names) > 1:
            return lambda told: told + _LEAVE_OUT
        if len(self.files) == 1:
            return str

        def advise(told: str) -> str:
            try:
                sample = take_sample(part.stream)
            except FormatError:  # packed, and damaged
                return told
            return fit_for_set(told, find_format(self.format), sample)

        return advise

    def _of_part(
        self, reader: ListReader, part: Part, before: int, *, named: bool
    ) -> Iterator[RawBatch]:
        for raw in reader:
            self.bytes_read = before + part.packed_read(reader.bytes_read)
            yield _in_part(raw, part.name) if named else raw
        self.bytes_read = before + part.packed_read(reader.bytes_read)
        if isinstance(reader, PageReader):
            self.pages.append(reader.page)


@contextmanager
def _naming(part: str, advise: _Advise = str) -> Iterator[None]:
    """Errors within name the part, unless they do already, and say what to do."""
    try:
        yield
    except FormatError as error:
        if not part or error.part:
            raise
        raise FormatError(advise(error.message), place=error.place).of_part(part) from error
    except OptionsError as error:
        if not part or str(error).startswith(part):
            raise
        raise OptionsError(f"{part}: {advise(str(error))}") from error


def _in_part(raw: RawBatch, part: str) -> RawBatch:
    return replace(
        raw,
        place_at=_PartPlaces(raw.place_at, part),
        rejections=[replace(each, place=replace(each.place, part=part)) for each in raw.rejections],
    )


class _PartPlaces:
    """Places that name their part."""

    __slots__ = ("_part", "_place_at")

    def __init__(self, place_at: PlaceAt, part: str) -> None:
        self._place_at = place_at
        self._part = part

    def __call__(self, row: int, /) -> Place:
        return replace(self._place_at(row), part=self._part)


__all__ = ["OpenFile", "RecordSource", "open_files"]
