"""Buckets of S3, Google Cloud Storage and Azure as sources.

`obstore` reads the objects, many at a time, and lists what is not S3 (`s3_client` says why). It
tries each request once: how often an object is tried is the caller's to say, and to count.

Invariants:

* Each key that is listed is asked for as it is, or fails with a reason; none is turned into
  another.
* Memory does not grow with a listing, nor with an object: beyond the limit it is digested as it
  streams by.
* No error holds a request, since requests are signed.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import obstore
from obstore import exceptions as refusals
from obstore.store import AzureStore, GCSStore, S3Store

from matcher.hashing.digests import Digester, digest_bytes
from matcher.scan.errors import SourceError
from matcher.scan.model import Content, FailureReason, FetchError, Listed
from matcher.scan.sources.encodings import shown
from matcher.scan.sources.keys import is_path, markers_named, order, page_of, told
from matcher.scan.sources.options import SourceOptions
from matcher.scan.sources.refusals import cut_off, of_answer, of_text, timed_out
from matcher.scan.sources.s3_client import S3Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from matcher.scan.model import Page
    from matcher.scan.sources.addresses import Address

Library: TypeAlias = "AzureStore | GCSStore | S3Store"

_LISTING_SECONDS: Final = 180.0
_BLOCK_BYTES: Final = 4 << 20
_NOT_FOUND: Final = 404
_WHOLE_OBJECT: Final = "86400s"  # the library's own limit would cut off what is large


class StoreSource:
    """The objects of a bucket whose keys begin with a prefix.

    Args:
        address: the bucket, and what is cut off the keys.
        prefix: with which a key must begin, behind what is cut off.
        endpoint: of a store that is none of the cloud's own; empty otherwise.
        options: patience.
    """

    def __init__(
        self,
        address: Address,
        *,
        prefix: str = "",
        endpoint: str = "",
        options: SourceOptions | None = None,
    ) -> None:
        self._address = address
        self._below = address.path
        self._prefix = address.path + prefix
        self._endpoint = endpoint
        self._options = options or SourceOptions()
        self._opening = asyncio.Lock()
        self._s3: S3Client | None = None
        self._library: Library | None = None
        self._readers = ThreadPoolExecutor(self._options.readers, "scan-store")

    @property
    def url(self) -> str:
        """With bucket and prefix."""
        return self._address.url

    def order(self, key: str) -> object:
        """By the bytes of the keys."""
        return order(key)

    # ------------------------------------------------------------------------------------- listing

    async def list(self, after: str = "") -> AsyncIterator[Page]:
        """The objects behind a key, a page at a time.

        Raises:
            SourceError: the bucket cannot be listed, or not any further.
        """
        await self._opened()
        found = self._listed_by_s3(after) if self._s3 else self._listed_by_library(after)
        async for objects in found:
            page = page_of(self.url, objects, below=self._below, after=after)
            after = page.cursor
            yield page

    async def _listed_by_s3(self, after: str) -> AsyncIterator[Sequence[Listed]]:
        assert self._s3 is not None
        while found := await self._in_thread(self._s3.page, self._prefix, after):
            yield found
            after = found[-1].key

    async def _listed_by_library(self, after: str) -> AsyncIterator[Sequence[Listed]]:
        # The library lists whole folders: the prefix's own, of which what else lies there is left.
        folder = self._prefix.rpartition("/")[0] or None
        begin = after
        chunks = obstore.list(
            self._made(self._options.listing_tries - 1),
            folder,
            offset=begin.rstrip("/") or None,
            chunk_size=self._options.page_objects,
        )
        while True:
            with self._told_of_listing():
                chunk = await anext(aiter(chunks), None)
            if chunk is None:
                return
            listed = markers_named([_told(each["path"], each) for each in chunk], after)
            found = [
                each
                for each in listed
                # Not every store can be told where to begin, and none within a name.
                if each.key.startswith(self._prefix) and order(each.key) > order(begin)
            ]
            if found:
                after = found[-1].key
                yield found

    @contextmanager
    def _told_of_listing(self) -> Iterator[None]:
        try:
            yield
        except refusals.InvalidPathError:
            raise SourceError(
                f"{self.url}: an object's key has an empty part, `.`, `..` or a control character,"
                " which the storage library cannot list here; rename it, or scan around it by"
                " --prefix"
            ) from None
        except FileNotFoundError:
            raise SourceError(f"{self.url}: there is no such bucket; see to its name") from None
        except (refusals.BaseError, ValueError) as error:
            raise SourceError(
                f"{self.url}: listing it: {of_text(str(error))}; see to the credentials and the"
                " endpoint, then resume"
            ) from None

    # ------------------------------------------------------------------------------------- reading

    async def fetch(self, listed: Listed, *, max_bytes: int) -> Content:
        """Reads an object.

        Raises:
            FetchError: it could not be read this time.
        """
        await self._opened_for_reading()
        key = self._below + listed.key
        if self._s3 is not None and not is_path(key):
            content: Content = await self._in_thread(self._read_by_s3, listed, max_bytes)
            return content
        if not is_path(key):
            raise FetchError(
                FailureReason.UNREADABLE,
                "the storage library cannot ask for a key like this one: rename the object",
            )
        try:
            return await self._read(listed, key, max_bytes)
        except FileNotFoundError:
            raise of_answer(_NOT_FOUND) from None
        except (refusals.BaseError, ValueError, OSError) as error:
            raise _failed(error) from None

    async def _read(self, listed: Listed, key: str, max_bytes: int) -> Content:
        assert self._library is not None
        answer = await obstore.get_async(self._library, key)
        meta = answer.meta
        digests = None
        if meta["size"] <= max_bytes:
            data: bytes | None = bytes(await answer.bytes_async())
            size = len(data or b"")
        else:
            data, digester, size = None, Digester(), 0
            async for block in answer.stream(min_chunk_size=_BLOCK_BYTES):
                await self._in_thread(digester.update, block)
                size += len(block)
            digests = digester.digests()
        if size != meta["size"]:
            raise cut_off("fewer bytes came than were told")
        read = _told(listed.key, meta)
        if data is None:
            return Content(read, None, digests)
        encoding = str(answer.attributes.get("Content-Encoding") or "")
        return _content(read, data, encoding, max_bytes)

    def _read_by_s3(self, listed: Listed, max_bytes: int) -> Content:
        assert self._s3 is not None
        state, encoding, blocks = self._s3.read(self._below + listed.key)
        expected, size = state.size or 0, 0
        digester = None if expected <= max_bytes else Digester()
        kept: list[bytes] = []
        for block in blocks:
            size += len(block)
            kept.append(block) if digester is None else digester.update(block)
        if size != expected:
            raise cut_off("fewer bytes came than were told")
        read = Listed(listed.key, size, state.modified, state.etag, state.version)
        if digester is None:
            return _content(read, b"".join(kept), encoding, max_bytes)
        return Content(read, None, digester.digests())

    # ------------------------------------------------------------------------------------- opening

    async def _opened(self) -> None:
        """Makes what asks the store, once: it may look for credentials and the bucket's region."""
        async with self._opening:
            if self._library is None:
                self._library = await self._in_thread(self._open)

    async def _opened_for_reading(self) -> None:
        try:
            await self._opened()
        except SourceError as error:
            raise FetchError(FailureReason.STORE_ERROR, str(error), transient=True) from None

    def _open(self) -> Library:
        if self._address.scheme == "s3":
            self._s3 = S3Client(self._address.bucket, self._endpoint, self._options)
        return self._made(0)

    def _made(self, retries: int) -> Library:
        options = self._options
        retry: Any = {
            "max_retries": retries,
            "retry_timeout": timedelta(seconds=_LISTING_SECONDS),
        }
        # Not as `client_options`: those would displace what the environment says of the client,
        # such as a proxy.
        config: Any = {
            "connect_timeout": f"{round(options.connect_seconds * 1000)}ms",
            "read_timeout": f"{round(options.idle_seconds * 1000)}ms",
            "timeout": _WHOLE_OBJECT,
        }
        if options.anonymous:
            config["skip_signature"] = "true"
        bucket = self._address.bucket
        try:
            if self._s3 is not None:
                return self._made_for_s3(self._s3, bucket, config, retry)
            if self._endpoint:
                config["endpoint" if self._address.scheme == "az" else "base_url"] = self._endpoint
            if self._address.scheme == "gs":
                return GCSStore(bucket, config=config, retry_config=retry)
            return AzureStore(bucket, config=config, retry_config=retry)
        except (refusals.BaseError, ValueError, TypeError):
            raise SourceError(
                f"{self.url}: the environment's settings of the store are missing or make no sense;"
                " see to its account and credentials"
            ) from None

    def _made_for_s3(self, s3: S3Client, bucket: str, config: Any, retry: Any) -> S3Store:
        reach = s3.reach()
        config["region"] = reach.region
        if reach.endpoint:
            config |= {"endpoint": reach.endpoint, "virtual_hosted_style_request": "false"}
            if reach.endpoint.startswith("http:"):
                config["allow_http"] = "true"
        if self._options.anonymous:
            return S3Store(bucket, config=config, retry_config=retry)
        provider: Any = s3.credentials
        return S3Store(bucket, config=config, retry_config=retry, credential_provider=provider)

    async def _in_thread(self, call: Any, *given: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._readers, call, *given)

    async def close(self) -> None:
        """Closes the connections; what is being read is waited for."""
        await asyncio.to_thread(self._readers.shutdown, wait=True, cancel_futures=True)
        if self._s3 is not None:
            self._s3.close()


def _content(read: Listed, data: bytes, encoding: str, max_bytes: int) -> Content:
    """An object as a browser shows it; of what is too large for that the digests as it lies."""
    plain = shown(data, encoding, max_bytes=max_bytes)
    return Content(read, plain, digest_bytes(data) if plain is None else None)


def _told(key: str, meta: Any) -> Listed:
    return told(key, meta["size"], meta["last_modified"], meta["e_tag"], meta["version"])


def _failed(error: Exception) -> FetchError:
    if isinstance(error, refusals.PreconditionError):
        return cut_off("it became another one while it was read")
    if isinstance(error, TimeoutError):
        return timed_out()
    return of_text(str(error))


__all__ = ["StoreSource"]
