"""The folder or object store to which snapshots are published, as far as they need it.

Below the URL lie

    objects/<sha256>                       the bytes of an array or document, named by their digest
    manifests/<sequence>-<snapshot>.json   the manifest of a published snapshot
    current                                the signed publication (`hashlists.snapshot.signing`)

Invariants:

* Writing an object is atomic: it is there whole or not at all.
* `current` is replaced only where it still is what its writer has seen.
* At most a few parts of `PART_BYTES` are in memory at a time, whatever the size of a file.
* Whatever the storage library raises becomes a `SnapshotStoreError` without a secret in it.

Connections, retries, back-off and credentials are the library's (`obstore`): it reads credentials
from its own environment variables and from the machine's metadata service. A URL never holds any.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions as refusals
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from hashlists.errors import SnapshotConflictError, SnapshotStoreError
from hashlists.snapshot.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from obstore import PutMode, UpdateVersion
    from obstore.store import RetryConfig

Library: TypeAlias = "AzureStore | GCSStore | LocalStore | S3Store"

CURRENT = "current"
OBJECTS = "objects"
MANIFESTS = "manifests"
PART_BYTES = 8 << 20
_MAX_PARTS = 9_000  # S3 allows 10,000 parts of an upload
_SMALL_BYTES = 1 << 20  # more than any object has that is replaced
_LOCK_FILE = "publish.lock"
_UNFINISHED = re.compile(r".+#[0-9]+", re.ASCII)  # as the library names its temporary files
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,254}", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._=@+ -]{1,255}", re.ASCII)
_MAX_SAID = 200
_MISSING = (FileNotFoundError, refusals.NotFoundError)


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How long and how hard a store is tried.

    Attributes:
        connect_seconds: for one connection to be made.
        request_seconds: for one request, which moves `PART_BYTES` at most.
        retries: how often a request is tried again.
        retry_seconds: after which a request is not tried again.
        transfers: files that are moved at the same time.
    """

    connect_seconds: float = 5.0
    request_seconds: float = 120.0
    retries: int = 5
    retry_seconds: float = 60.0
    transfers: int = 4


@dataclass(frozen=True, slots=True)
class Listed:
    """An object, as a listing shows it: its size in bytes, and the store's time of writing."""

    nbytes: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Seen:
    """An object's content at some moment, and the version by which the store tells it apart."""

    content: bytes | None
    version: UpdateVersion = field(default_factory=lambda: _no_version())  # noqa: PLW0108  # later


class Objects:
    """What lies below one URL of a store.

    Args:
        url: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`
            (the account's name comes from the library's environment).
        options: patience.
        make: make the folder of a `file://` URL (0700) where it is missing.

    Raises:
        SnapshotStoreError: the URL is not of that form or holds credentials, the folder is missing,
            or the library refuses what it was given by its environment.
    """

    def __init__(
        self, url: str, options: StoreOptions | None = None, *, make: bool = False
    ) -> None:
        self.options = options or StoreOptions()
        self.url = url
        self._folder: Path | None = None
        scheme, place, prefix = _split(url)
        with self._told("opening it"):
            self._store = self._open(scheme, place, prefix, make=make)

    def _open(self, scheme: str, place: str, prefix: str, *, make: bool) -> Library:
        if scheme == "file":
            self._folder = Path(place)
            if make:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            elif not self._folder.is_dir():
                raise SnapshotStoreError(f"{self.url}: there is no such folder")
            return LocalStore(self._folder)
        retry: RetryConfig = {
            "max_retries": self.options.retries,
            "retry_timeout": timedelta(seconds=self.options.retry_seconds),
        }
        # Not as `client_options`: those would displace what the environment says of the client,
        # such as a proxy or plain HTTP to a server on the same host.
        timeouts: Any = {
            "connect_timeout": f"{round(self.options.connect_seconds * 1000)}ms",
            "timeout": f"{round(self.options.request_seconds * 1000)}ms",
        }
        below = prefix or None
        if scheme == "s3":
            return S3Store(place, prefix=below, config=timeouts, retry_config=retry)
        if scheme == "gs":
            return GCSStore(place, prefix=below, config=timeouts, retry_config=retry)
        return AzureStore(place, prefix=below, config=timeouts, retry_config=retry)

    # ------------------------------------------------------------------------------------ reading

    def read(self, name: str, limit: int) -> Seen:
        """The content of a small object; None where there is none.

        Raises:
            SnapshotStoreError: the store is away, or the object is longer than `limit` bytes.
        """
        with self._told(f"reading {name}"):
            try:
                answer = obstore.get(self._store, name)
                size = answer.meta["size"]
                if size > limit:
                    raise SnapshotStoreError(
                        f"{self.url}: {name} has {size} bytes, at most {limit} are read"
                    )
                return Seen(bytes(answer.bytes()), _version_of(answer.meta))
            except _MISSING:
                return Seen(None)

    def stream(self, name: str, nbytes: int, role: str) -> Iterator[memoryview]:
        """The first `nbytes` bytes of an object, in parts.

        Args:
            name: the object.
            nbytes: how many there must be.
            role: what the object is, for errors.

        Raises:
            SnapshotStoreError: the store is away, or the object is missing or cut off.
        """
        for start in range(0, nbytes, PART_BYTES):
            end = min(start + PART_BYTES, nbytes)
            with self._told(f"reading {role}"):
                try:
                    part = memoryview(obstore.get_range(self._store, name, start=start, end=end))
                except _MISSING:
                    raise SnapshotStoreError(
                        f"{self.url}: {role} is missing ({name}); it may just have been replaced by"
                        " a newer snapshot"
                    ) from None
            if len(part) != end - start:
                raise SnapshotStoreError(f"{self.url}: {role} is cut off ({name})")
            yield part

    def list(self, folder: str) -> dict[str, Listed]:
        """The objects of `objects` or `manifests` by their names without the folder's."""
        listed = {}
        with self._told(f"listing {folder}"):
            for batch in obstore.list(self._store, folder, chunk_size=1000):
                for each in batch:
                    name = PurePosixPath(each["path"]).name
                    listed[name] = Listed(each["size"], each["last_modified"])
        return listed

    def modified(self, name: str) -> datetime:
        """When an object was written, by the store's own clock."""
        with self._told(f"reading {name}"):
            return obstore.head(self._store, name)["last_modified"]

    # ------------------------------------------------------------------------------------ writing

    def write(self, name: str, content: bytes) -> None:
        """Writes a small object, whether it is there or not."""
        with self._told(f"writing {name}"):
            obstore.put(self._store, name, content, mode="overwrite", use_multipart=False)
            self._sync(name)

    def upload(self, name: str, path: Path, nbytes: int) -> None:
        """Writes an object from a file, in parts.

        Raises:
            SnapshotStoreError: the store is away or refuses it.
        """
        with self._told(f"writing {name}"):
            obstore.put(
                self._store,
                name,
                path,
                chunk_size=max(PART_BYTES, -(-nbytes // _MAX_PARTS)),
                max_concurrency=2,
            )
            self._sync(name)

    def replace(self, name: str, content: bytes, seen: Seen) -> None:
        """Writes a small object where it is still what was seen.

        A store that cannot compare is written to all the same: there must be one writer then.

        Raises:
            SnapshotConflictError: it is another one by now.
            SnapshotStoreError: the store is away or refuses it.
        """
        if self._folder is not None:
            self._replace_locally(self._folder, name, content, seen)
            return
        try:
            with self._told(f"writing {name}"):
                mode: PutMode = "create" if seen.content is None else seen.version or "overwrite"
                try:
                    obstore.put(self._store, name, content, mode=mode, use_multipart=False)
                except NotImplementedError:
                    self.write(name, content)
        except SnapshotConflictError:
            # A request that was answered too late is tried again and then refuses itself.
            if self.read(name, _SMALL_BYTES).content != content:
                raise

    def _replace_locally(self, folder: Path, name: str, content: bytes, seen: Seen) -> None:
        with self._told(f"writing {name}"):
            lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self.read(name, _SMALL_BYTES).content != seen.content:
                    raise self._conflict()
                self.write(name, content)
            finally:
                os.close(lock)

    def delete(self, names: Iterable[str]) -> None:
        """Deletes objects; those that are gone already are passed over."""
        with self._told("deleting"):
            for name in names:
                try:
                    obstore.delete(self._store, name)
                except _MISSING:
                    continue

    def delete_unfinished(self, *, before: datetime) -> None:
        """Deletes what uploads that broke off have left in a `file://` store.

        Other stores keep parts of such uploads out of sight, to be removed by a rule of the bucket.
        """
        if self._folder is None:
            return
        with self._told("deleting"):
            for path in self._folder.rglob("*#*"):
                if (
                    _UNFINISHED.fullmatch(path.name)
                    and path.is_file()
                    and path.stat().st_mtime < before.timestamp()
                ):
                    path.unlink(missing_ok=True)

    def _sync(self, name: str) -> None:
        """Syncs what the library wrote to a folder: it renames, and leaves the rest to luck."""
        if self._folder is None:
            return
        path = self._folder / name
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_folder(path.parent)
        sync_folder(self._folder)

    # ------------------------------------------------------------------------------------- errors

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """Turns what the library raises into our errors.

        The cause is left out on purpose: it may hold a request with its signature.
        """
        try:
            yield
        except (refusals.AlreadyExistsError, refusals.PreconditionError):
            raise self._conflict() from None
        except (refusals.PermissionDeniedError, refusals.UnauthenticatedError):
            raise SnapshotStoreError(
                f"{self.url}: {doing}: access is denied; see which credentials the environment"
                " gives, and what they may do"
            ) from None
        except _MISSING:
            raise SnapshotStoreError(f"{self.url}: {doing}: it is missing") from None
        except OSError as error:
            raise SnapshotStoreError(f"{self.url}: {doing}: {error.strerror}") from None
        except (refusals.BaseError, ValueError, TypeError) as error:
            raise SnapshotStoreError(f"{self.url}: {doing}: {_said(error)}") from None

    def _conflict(self) -> SnapshotConflictError:
        return SnapshotConflictError(
            f"{self.url}: another builder published meanwhile, so this one did not; a store has one"
            " builder"
        )


def check_url(url: str) -> None:
    """Sees that a store could be at that URL, without looking for it.

    Raises:
        SnapshotStoreError: the URL is not of the form that `Objects` takes, or holds credentials.
    """
    _split(url)


def _split(url: str) -> tuple[str, str, str]:
    """Scheme, folder or bucket, and prefix of a URL. No error repeats what may be a secret."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise SnapshotStoreError("the URL of the store is malformed") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SnapshotStoreError(
            "the URL of a store holds no credentials, query or fragment; the storage library reads"
            " credentials from its own environment variables"
        )
    if parts.scheme == "file":
        path = unquote(parts.path)
        if parts.netloc not in {"", "localhost"} or not path.startswith("/") or "\0" in path:
            raise SnapshotStoreError(f"{url}: a folder is given as file:///absolute/path")
        return parts.scheme, path, ""
    if parts.scheme not in {"s3", "gs", "az"}:
        raise SnapshotStoreError("the URL of a store begins with file://, s3://, gs:// or az://")
    prefix = parts.path.strip("/")
    if not _BUCKET.fullmatch(parts.netloc) or not all(
        _SEGMENT.fullmatch(each) and each not in {".", ".."} for each in prefix.split("/") if prefix
    ):
        raise SnapshotStoreError(f"{url}: a store is given as {parts.scheme}://bucket/prefix")
    return parts.scheme, parts.netloc, prefix


def _no_version() -> UpdateVersion:
    return {}


def _version_of(meta: obstore.ObjectMeta) -> UpdateVersion:
    version = _no_version()
    if meta["e_tag"] is not None:
        version["e_tag"] = meta["e_tag"]
    if meta["version"] is not None:
        version["version"] = meta["version"]
    return version


def _said(error: Exception) -> str:
    """The first words of a library's error: no answer of a server, no query of a URL, no timing.

    Without the timing the same failure is told in the same words, and can be told once.
    """
    text = str(error).partition("\n")[0].partition("<")[0]
    text = re.sub(r"\?\S*| in [0-9.]+[a-zµ]+", "", text)  # as the library prints it
    return text[:_MAX_SAID].rstrip(" :")


__all__ = [
    "CURRENT",
    "MANIFESTS",
    "OBJECTS",
    "PART_BYTES",
    "Listed",
    "Objects",
    "Seen",
    "StoreOptions",
    "check_url",
]
