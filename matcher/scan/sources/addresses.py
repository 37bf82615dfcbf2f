"""What a person types for a place, taken apart. No error repeats what may be a credential."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from matcher.scan.document import Place
from matcher.scan.errors import SourceError

STORES: Final = ("s3", "gs", "az")
_BUCKET: Final = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,254}", re.ASCII)
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.ASCII | re.DOTALL)
#: What is typed for a URL with a slash too few, or without any.
_NEARLY: Final = re.compile(rf"({'|'.join(STORES)}):|(file):/", re.IGNORECASE)
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where objects lie.

    Attributes:
        scheme: `file`, or one of `STORES`.
        bucket: or container; of `file` empty.
        path: of `file` the absolute path; else the prefix, empty or with "/" at its end.
    """

    scheme: str
    bucket: str
    path: str

    @property
    def url(self) -> str:
        """As `Place.url` has it."""
        return self.path if self.scheme == "file" else f"{self.scheme}://{self.bucket}/{self.path}"


def place_of(text: str, *, inventory: str = "", endpoint: str = "") -> Place:
    """A place as it is written down, from what was typed.

    Args:
        text: a folder's path, `file:///folder`, or `s3://`, `gs://`, `az://` with bucket and
            prefix.
        inventory: path or URL of an S3 Inventory, which serves as the listing.
        endpoint: of a store that is none of the cloud's own, as an `http` or `https` URL.

    Raises:
        SourceError: it is nothing of that kind, or holds credentials.
    """
    address = split(text)
    if endpoint:
        check_endpoint(endpoint, address.scheme)
    if inventory:
        if address.scheme != "s3":
            raise SourceError("an S3 Inventory lists buckets of S3: give it with an s3:// URL")
        inventory = split(inventory).url.rstrip("/")  # of a file, not of what lies below it
    return Place(address.url, inventory, endpoint)


def split(text: str) -> Address:
    """Takes a path or URL apart.

    Raises:
        SourceError: it is of no known form, or holds credentials.
    """
    found = _SCHEME.fullmatch(text)
    if found is None and (nearly := _NEARLY.match(text)):
        meant = "file:///absolute/path" if nearly[2] else f"{nearly[1].lower()}://bucket/prefix"
        raise SourceError(
            f"what begins with {nearly[0]} is no URL, which is written as {meant}, and no folder, "
            f"whose name would be given as ./{nearly[0]}..."
        )
    if found is None:
        return Address("file", "", _absolute(text))
    scheme, rest = found[1].lower(), found[2]
    if scheme == "file":
        host, slash, path = rest.partition("/")
        if host.lower() not in {"", "localhost"} or not slash:
            raise SourceError("a folder is given as file:///absolute/path, or by its path alone")
        return Address("file", "", _absolute(unquote(slash + path, errors="surrogateescape")))
    if scheme not in STORES:
        raise SourceError(
            f"{scheme}:// is not scanned: give a folder's path, or a URL that begins with s3://,"
            " gs:// or az://"
        )
    bucket, _, prefix = rest.partition("/")
    if "@" in bucket or ":" in bucket:
        raise SourceError(
            f"a URL holds no credentials (what stands before the first / of {scheme}:// is the"
            " bucket alone); give them by the environment, or by the cloud's own tools"
        )
    if "?" in prefix:
        raise SourceError(
            f"a URL of {scheme}:// holds no query, such as a signature; where the question mark is"
            " part of the prefix, give the prefix by --prefix"
        )
    if not _BUCKET.fullmatch(bucket):
        raise SourceError(f"a bucket is given as {scheme}://bucket/prefix")
    prefix = _checked(prefix)
    return Address(scheme, bucket, prefix if not prefix or prefix.endswith("/") else prefix + "/")


def _absolute(text: str) -> str:
    if not text or "\0" in text:
        raise SourceError("a folder is given by its path, and the path is empty or has a NUL in it")
    return str(Path(_checked(text)).absolute())


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SourceError(
            "a name in the path is no UTF-8, and cannot be written down: give the folder above it"
        ) from None
    return text


def check_endpoint(endpoint: str, scheme: str) -> None:
    """Sees that a store could answer there.

    Raises:
        SourceError: it is no plain URL of a server, or the place is none that has one.
    """
    if scheme == "file":
        raise SourceError("a folder has no endpoint: leave it out")
    try:
        parts = urlsplit(endpoint)
        _ = parts.port
    except ValueError:
        raise SourceError("the endpoint is no URL: give it as https://host:port") from None
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SourceError("an endpoint holds no credentials and no query; give https://host:port")
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SourceError("an endpoint is given as https://host:port")


def is_plain_http(endpoint: str) -> bool:
    """Whether requests to it can be read on their way from this machine."""
    parts = urlsplit(endpoint)
    return parts.scheme == "http" and parts.hostname not in _LOOPBACK


__all__ = ["STORES", "Address", "check_endpoint", "is_plain_http", "place_of", "split"]
