"""The parts of one list file: itself, what it unpacks to, or the members of an archive by name."""

from __future__ import annotations

import gzip
import io
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.unpacking import zip_archive, zstd
from hashlists.formats.unpacking.age_files import decrypted, is_age
from hashlists.formats.unpacking.descriptors import descriptor_of, named
from hashlists.formats.unpacking.stream import Budget, UnpackedStream
from hashlists.limits import DEFAULT_LIMITS, ImportLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from hashlists.formats.unpacking.age_files import Identity
    from hashlists.formats.unpacking.stream import Unpacker

_GZIP: Final = b"\x1f\x8b"
_HEAD_BYTES: Final = 512
_TAR_MAGIC: Final = slice(257, 262), b"ustar"
#: Packed in ways that are not read here.
_FOREIGN: Final = (
    (re.compile(rb"BZh[1-9]1AY&SY"), "bzip2"),
    (re.compile(rb"\xfd7zXZ\x00"), "xz"),
    (re.compile(rb"7z\xbc\xaf\x27\x1c"), "7-Zip"),
    (re.compile(rb"Rar!\x1a\x07"), "RAR"),
)
_HASH_LIKE: Final = re.compile(r"[0-9A-Fa-f]{24,}|[0-9A-Za-z+=]{40,}")
_UNPRINTABLE: Final = re.compile(r"[^ -~\u00a1-\uffff]|[\u2028-\u202e\u2066-\u2069\ufeff]")
_SHOWN_CHARS: Final = 120


@dataclass(frozen=True, slots=True)
class Part:
    """One file of list records, open for reading.

    Attributes:
        name: of the file; in an archive the member's, too. Made fit to be shown.
        stream: its bytes, unpacked; seekable, at its start; closed when the next part is asked for.
        packed_bytes: bytes of the packed file that this part takes up.
    """

    name: str
    stream: BinaryIO = field(repr=False)
    packed_bytes: int
    _packed_read: Callable[[int], int] = field(repr=False)

    def packed_read(self, bytes_read: int) -> int:
        """How much of `packed_bytes` was read once a reader took `bytes_read` of the stream."""
        return min(self._packed_read(bytes_read), self.packed_bytes)

    def descriptor(self) -> int:
        """A file descriptor of the whole part, as `descriptors.descriptor_of`."""
        return descriptor_of(self.stream)

    def named(self) -> AbstractContextManager[Path]:
        """A path for the moment of opening the part by name, as `descriptors.named`."""
        return named(self.stream)


class Parts:
    """An iterable of the parts of one file; each part is valid until the next is asked for.

    Going on from a part proves the rest of it, checksums included, though its reader had stopped.

    Attributes:
        encryption: how the file is encrypted: `age`, or empty for not at all.
        compression: how the file is packed, below that: `gzip`, `zstd`, `zip`, or empty for a plain
            file.
        names: of all parts, fit to be shown.
        notes: what an archive holds beside them, in words, and how many.
    """

    def __init__(
        self,
        stream: BinaryIO,
        name: str,
        limits: ImportLimits,
        spool_dir: Path | None,
        identities: Sequence[Identity],
    ) -> None:
        self.encryption = "age" if is_age(_head(stream)) else ""
        if self.encryption:
            stream = decrypted(stream, identities, spool_dir)
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        self._name = shown_name(name)
        self._budget = Budget(limits, self._size)
        self._spool_dir = spool_dir
        self._archive: zip_archive.Archive | None = None
        self.notes: Mapping[str, int] = {}
        self.names: Sequence[str] = (self._name,)
        self.compression = compression_of(_head(stream))
        if self.compression == "zip":
            self._archive = zip_archive.Archive(stream, limits)
            self.notes = self._archive.left_aside
            within = [shown_name(member.name) for member in self._archive.members]
            self.names = [f"{self._name}/{each}" if self._name else each for each in within]
        elif self.compression == "zstd":
            zstd.require_whole(stream)

    def __iter__(self) -> Iterator[Part]:
        for number in range(len(self.names)):
            with self.part(number) as part:
                yield part

    @contextmanager
    def part(self, number: int, *, prove: bool = True) -> Iterator[Part]:
        """One part, within the context only.

        Args:
            number: as in `names`.
            prove: whether leaving the context proves what was not read.

        Raises:
            FormatError: it cannot be unpacked, or is an archive itself.
        """
        if not self.compression:
            self._stream.seek(0)
            yield Part(self._name, self._stream, self._size, lambda done: done)
            return
        part = self._packed() if self._archive is None else self._member(self._archive, number)
        assert isinstance(part.stream, UnpackedStream)
        with part.stream as stream:
            _require_no_archive(stream)
            yield part
            if prove:
                stream.require_end()

    def _packed(self) -> Part:
        def begin() -> Unpacker:
            if self.compression == "zstd":
                return zstd.begin(self._stream)
            self._stream.seek(0)
            unpacker: Unpacker = gzip.GzipFile(fileobj=self._stream, mode="rb")
            return unpacker

        what = f"{self.compression} file"
        stream = self._unpacked(begin, what)
        return Part(self._name, stream, self._size, lambda _: self._stream.tell())

    def _member(self, archive: zip_archive.Archive, number: int) -> Part:
        member, name = archive.members[number], self.names[number]
        what = f"file {name} of the ZIP archive"
        stream = self._unpacked(lambda: archive.begin(member), what)

        def packed_read(done: int) -> int:
            return done * member.packed_size // max(member.size, 1)

        return Part(name, stream, member.packed_size, packed_read)

    def _unpacked(self, begin: Callable[[], Unpacker], what: str) -> UnpackedStream:
        return UnpackedStream(
            begin,
            self._budget,
            what,
            spool_dir=self._spool_dir,
            is_secret=bool(self.encryption),
        )


def open_parts(
    stream: BinaryIO,
    name: str = "",
    limits: ImportLimits = DEFAULT_LIMITS,
    *,
    spool_dir: Path | None = None,
    identities: Sequence[Identity] = (),
) -> Parts:
    """Looks at a file and finds its parts.

    Args:
        stream: the file, seekable; never closed here, not to be moved while a part is read.
        name: of the file, without folders.
        limits: ceilings of the import.
        spool_dir: where unpacked copies on disk lie, for readers that need them; None for the
            folder of temporary files.
        identities: private keys, for a file that is encrypted.

    Raises:
        FormatError: the file is encrypted and none of the keys opens it, is packed in a way that
            is not read here, or its archive is not whole. What only unpacking shows is raised
            while the parts are read.
    """
    return Parts(stream, name, limits, spool_dir, identities)


def compression_of(head: bytes) -> str:
    """How a file that begins so is packed: `gzip`, `zstd`, `zip`, or empty for not at all.

    Raises:
        FormatError: in a way that is not read here.
    """
    packed = packing_of(head)
    if packed in ("", "gzip", "zstd", "zip"):
        return packed
    raise FormatError(
        f"the file is packed with {packed}, which is not read here; unpack it first (gzip, "
        "zip and zstd files are read as they are)"
    )


def packing_of(head: bytes) -> str:
    """The name of what a file that begins so is packed with; empty for nothing that is known."""
    if head.startswith(_GZIP):
        return "gzip"
    if zstd.is_zstd(head):
        return "zstd"
    if head.startswith(zip_archive.MAGICS):
        return "zip"
    where, magic = _TAR_MAGIC
    if head[where] == magic:
        return "tar"
    return next((name for magic, name in _FOREIGN if magic.match(head)), "")


def shown_name(name: str) -> str:
    """A foreign file name made fit for messages: printable, short, and without hashes."""
    hidden = _HASH_LIKE.sub("(hash)", _UNPRINTABLE.sub("?", name))
    return hidden if len(hidden) <= _SHOWN_CHARS else f"...{hidden[-_SHOWN_CHARS:]}"


def _require_no_archive(stream: BinaryIO) -> None:
    """An archive within an archive is refused: limits must see all that is unpacked."""
    head = _head(stream)
    if is_age(head):
        raise FormatError(
            "what the file holds is encrypted with age; unpack it once, and open what comes out "
            "with --identity KEY_FILE"
        )
    packed = packing_of(head)
    if packed:
        raise FormatError(
            f"what the file holds is itself packed ({packed}); unpack it once and import what "
            "comes out"
        )


def _head(stream: BinaryIO) -> bytes:
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    return head


__all__ = ["Part", "Parts", "compression_of", "open_parts", "shown_name"]
