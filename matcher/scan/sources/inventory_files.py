"""The files of an S3 Inventory: found by its manifest, or one alone; here or in a bucket.

A file from a bucket is copied to a nameless temporary file first, since Parquet is read from its
end; its sum is checked where the manifest tells one. Nothing of it is left behind.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec

from matcher.errors import in_words
from matcher.scan.errors import SourceError
from matcher.scan.model import FetchError
from matcher.scan.sources.addresses import split
from matcher.scan.sources.s3_client import S3Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.scan.sources.options import SourceOptions

_MOST_MANIFEST: Final = 256 << 20
_BLOCK_BYTES: Final = 1 << 20
_ORC: Final = (
    "is in ORC, which is not read: set the inventory's output format to CSV or Apache Parquet"
)


class ManifestFile(msgspec.Struct, frozen=True):
    """A file of an inventory, as its manifest has it."""

    key: str
    md5: str = msgspec.field(default="", name="MD5checksum")


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What says which files an inventory has; further members are none of our business."""

    source_bucket: str
    file_format: str
    file_schema: str
    files: tuple[ManifestFile, ...]


class InventoryFiles:
    """The files of one inventory; its calls block.

    Attributes:
        source_bucket: that was listed; empty where no manifest tells it.
        columns: of CSV files, in their order; none where no manifest tells them.
        names: of the files, for errors.

    Args:
        place: path or URL of `manifest.json`, or of one CSV or Parquet file.
        endpoint: of the store that has it, where it is none of the cloud's own.
        options: patience.

    Raises:
        SourceError: it is missing, damaged, or of a format that is not read.
    """

    def __init__(self, place: str, endpoint: str, options: SourceOptions) -> None:
        self._place = place
        address = split(place)
        self._client: S3Client | None = None
        self._key = address.path.rstrip("/")
        if address.scheme == "s3":
            self._client = S3Client(address.bucket, endpoint, options)
        elif address.scheme != "file":
            raise SourceError("an inventory is given by its path, or by an s3:// URL")
        self.source_bucket = ""
        self.columns: tuple[str, ...] = ()
        self.names: tuple[str, ...] = (self._key,)
        self._sums: tuple[str, ...] = ("",)
        self._version = ""  # of the file that was opened last
        if place.endswith(".json"):
            self._take(self._manifest())
        if any(each.endswith(".orc") for each in self.names):
            raise SourceError(f"{place}: {_ORC}")

    def _manifest(self) -> Manifest:
        with self._file(self._key) as file:
            data = file.read(_MOST_MANIFEST + 1)
        if len(data) > _MOST_MANIFEST:
            raise SourceError(f"{self._place}: is larger than any manifest of an inventory")
        try:
            return msgspec.json.decode(data, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise SourceError(
                f"{self._place}: is no manifest of an S3 Inventory, or is cut off; get it again"
            ) from None

    def _take(self, manifest: Manifest) -> None:
        form = manifest.file_format.upper()
        if form == "ORC":
            raise SourceError(f"{self._place}: {_ORC}")
        if form not in {"CSV", "PARQUET"}:
            raise SourceError(f"{self._place}: the manifest tells of a format that is not read")
        self.source_bucket = manifest.source_bucket
        if form == "CSV":
            self.columns = tuple(each.strip() for each in manifest.file_schema.split(","))
        self.names = tuple(each.key for each in manifest.files)
        self._sums = tuple(each.md5.lower() for each in manifest.files)

    @property
    def mark(self) -> str:
        """Tells this inventory from others; of a file alone once it was opened."""
        lone = () if any(self._sums) else (self._version,)
        told = "\n".join((*self.names, *self._sums, *lone))
        return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()

    @contextmanager
    def opened(self, number: int) -> Iterator[IO[bytes]]:
        """A file of the inventory, from 0, whose sum is right.

        Raises:
            SourceError: it is missing, cannot be read, or is another one than the manifest tells.
        """
        with self._file(self.names[number]) as file:
            if self._sums[number]:
                digest = hashlib.md5(usedforsecurity=False)
                while block := file.read(_BLOCK_BYTES):
                    digest.update(block)
                if digest.hexdigest() != self._sums[number]:
                    raise SourceError(
                        f"{self.names[number]}: is damaged, or another file than the inventory's"
                        " manifest tells of; get it again"
                    )
                file.seek(0)
            yield file

    @contextmanager
    def _file(self, key: str) -> Iterator[IO[bytes]]:
        try:
            if self._client is None:
                with self._local(key).open("rb") as file:
                    state = os.fstat(file.fileno())
                    self._version = f"{state.st_size} {state.st_mtime_ns}"
                    yield file
            else:
                with tempfile.TemporaryFile() as copy:
                    found, _, blocks = self._client.read(key)
                    self._version = f"{found.size} {found.etag}"
                    for block in blocks:
                        copy.write(block)
                    copy.seek(0)
                    yield copy
        except FetchError as error:
            raise SourceError(f"{key}: a file of the inventory: {error}") from None
        except OSError as error:
            raise SourceError(f"{in_words(error)}: a file of the inventory") from None

    def _local(self, key: str) -> Path:
        """Where a file lies beside its manifest: as in the bucket, or all in one folder."""
        if key == self._key:
            return Path(key)
        folder, name = Path(self._key).parent, Path(key).name
        places = (folder / name, folder / "data" / name, folder.parent / "data" / name)
        found = next((each for each in places if each.is_file()), None)
        if found is None:
            raise SourceError(
                f"{self._place}: its file {name} is missing: put the inventory's files beside the"
                " manifest, or give the manifest's s3:// URL"
            )
        return found

    def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            self._client.close()


__all__ = ["InventoryFiles"]
