"""Finds the members of a ZIP archive, and refuses archives that are not plainly what they say.

The directory at the archive's end is read by the standard library; what it promises is held against
the members' own headers, since archives made to fill disks let members overlap.
"""

from __future__ import annotations

import io
import stat
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.unpacking.stream import DAMAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.formats.unpacking.stream import Unpacker
    from hashlists.limits import ImportLimits

MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_END_MAGIC: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_LOCAL_MAGIC: Final = b"PK\x03\x04"
_LOCAL_BYTES: Final = 30
_ENCRYPTED: Final = 0x2041  # encrypted, strongly so, or its directory masked
_DIRECTORY_BYTES_A_MEMBER: Final = 256
_MIN_DIRECTORY_BYTES: Final = 256 * 1024
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_AS_CSV: Final = "open it, save each sheet as CSV (UTF-8), and import those"
#: By a member that only they have.
_DOCUMENTS: Final = {
    "xl/workbook.xml": f"an Excel workbook (XLSX); {_AS_CSV}",
    "xl/workbook.bin": f"an Excel workbook (XLSB); {_AS_CSV}",
    "word/document.xml": "a Word document (DOCX); ask the source for the list as CSV",
    "META-INF/manifest.xml": f"an OpenDocument file (ODS, ODT); if it is a table: {_AS_CSV}",
}
#: What Mac OS and Windows put beside the files themselves.
_SYSTEM_FOLDERS: Final = "__MACOSX/"
_SYSTEM_FILES: Final = frozenset({".ds_store", "desktop.ini", "thumbs.db"})


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive.

    Attributes:
        name: as the archive has it; foreign text, never used as a path.
        size, packed_size: bytes.
    """

    name: str
    size: int
    packed_size: int


class Archive:
    """An open ZIP archive.

    Attributes:
        members: files to read, by name.
        left_aside: what is no list file, in words, and how many there are.
    """

    def __init__(self, stream: BinaryIO, limits: ImportLimits) -> None:
        """Reads the directory and the members' headers.

        Raises:
            FormatError: the archive is cut off, damaged, encrypted, made to mislead, or holds too
                many files or none.
        """
        self._stream = stream
        self._size = stream.seek(0, io.SEEK_END)
        try:
            self._zip = zipfile.ZipFile(_Guarded(stream, limits.max_parts))
        except FormatError:
            raise
        except DAMAGE:
            raise FormatError(
                "the ZIP archive is cut off or damaged; get it again from its source"
            ) from None
        infos = self._zip.infolist()
        _refuse_documents({each.filename for each in infos})
        self._require_plain(infos, limits)
        self.left_aside: Mapping[str, int] = _count_left_aside(infos)
        files = sorted((each for each in infos if not _aside(each)), key=lambda each: each.filename)
        if not files:
            raise FormatError("the ZIP archive holds no file")
        self._infos = {each.filename: each for each in files}
        self.members: Sequence[Member] = [
            Member(each.filename, each.file_size, each.compress_size) for each in files
        ]

    def begin(self, member: Member) -> Unpacker:
        """Unpacks a member from its first byte on."""
        opened: Unpacker = self._zip.open(self._infos[member.name])
        return opened

    def _require_plain(self, infos: Sequence[zipfile.ZipInfo], limits: ImportLimits) -> None:
        if len(infos) > limits.max_parts:
            raise FormatError(
                f"the ZIP archive holds {len(infos)} files, more than {limits.max_parts} "
                "(max_parts)"
            )
        if len({each.filename for each in infos}) != len(infos):
            raise FormatError("two files of the ZIP archive have the same name")
        for each in infos:
            _require_readable(each)
        self._require_end(len(self._zip.comment))
        self._require_apart(infos)

    def _require_end(self, comment_bytes: int) -> None:
        """The archive ends with its end record and the comment, and both are whole."""
        self._stream.seek(max(self._size - _END_BYTES - comment_bytes, 0))
        end = self._stream.read(_END_BYTES)
        if not end.startswith(_END_MAGIC) or int.from_bytes(end[-2:], "little") != comment_bytes:
            raise FormatError(
                "the end of the ZIP archive is cut off, or something stands behind it"
            )

    def _require_apart(self, infos: Sequence[zipfile.ZipInfo]) -> None:
        """No two members share bytes, and none reaches into the directory."""
        taken = 0
        for each in sorted(infos, key=lambda each: each.header_offset):
            if each.header_offset < taken:
                raise FormatError(
                    "files of the ZIP archive overlap, as in one made to fill disks; nothing of it "
                    "is imported"
                )
            self._stream.seek(each.header_offset)
            local = self._stream.read(_LOCAL_BYTES)
            if len(local) < _LOCAL_BYTES or not local.startswith(_LOCAL_MAGIC):
                raise FormatError("the directory of the ZIP archive does not fit its files")
            names = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
            taken = each.header_offset + _LOCAL_BYTES + names + each.compress_size
        if taken > self._zip.start_dir:
            raise FormatError("the directory of the ZIP archive does not fit its files")


class _Guarded(io.RawIOBase):
    """The archive as the library reads it, which would take a directory of any size into memory."""

    def __init__(self, stream: BinaryIO, max_parts: int) -> None:
        super().__init__()
        self._stream = stream
        self._most = max(_MIN_DIRECTORY_BYTES, max_parts * _DIRECTORY_BYTES_A_MEMBER)

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._most + 1 if size is None or size < 0 else size
        if wanted > self._most and size is not None and size >= 0:
            raise FormatError(
                "the directory of the ZIP archive is longer than max_parts allows; nothing of it "
                "is imported"
            )
        return self._stream.read(wanted)

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


def _refuse_documents(names: set[str]) -> None:
    """Office documents are archives, too, whose members are no lists."""
    found = next((what for name, what in _DOCUMENTS.items() if name in names), None)
    if found is not None:
        raise FormatError(f"the file is {found}")


def _require_readable(info: zipfile.ZipInfo) -> None:
    if not info.filename:
        raise FormatError("a file of the ZIP archive has no name")
    if info.flag_bits & _ENCRYPTED:
        raise FormatError(
            "the ZIP archive is encrypted; unpack it with its password and import what it holds"
        )
    if info.compress_type not in _METHODS:
        raise FormatError(
            "the ZIP archive is packed in another way than stored or deflated; pack it anew"
        )
    if stat.S_ISLNK(info.external_attr >> 16):
        raise FormatError("the ZIP archive holds a link in place of a file; pack the file itself")


def _aside(info: zipfile.ZipInfo) -> str:
    """Why a member is no list file; empty for one that may be."""
    if info.filename.startswith(_SYSTEM_FOLDERS):
        return "resource fork in the archive left aside"
    if info.filename.rpartition("/")[2].lower() in _SYSTEM_FILES:
        return "system file in the archive left aside"
    return "folder in the archive left aside" if info.is_dir() else ""


def _count_left_aside(infos: Sequence[zipfile.ZipInfo]) -> Mapping[str, int]:
    found = [why for each in infos if (why := _aside(each))]
    return {why: found.count(why) for why in dict.fromkeys(found)}


__all__ = ["MAGICS", "Archive", "Member"]
