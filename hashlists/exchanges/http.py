"""The one way out to exchanges: HTTP with limits on time and size, and TLS that is always verified.

Invariants: requests go to the configured origin alone, and no redirect is followed, so that
credentials and questions reach nobody else. Plain HTTP is spoken with this machine only.
Certificates are verified; there is no way to turn that off. No answer takes more than its limits of
bytes and seconds, and it is held in memory, never on disk. It is unpacked once at most, and never
beyond those bytes. No error or log names a path, a query, a header, or anything of an answer but
its status, its type and the host that it redirects to. The environment is not read: whoever opens a
connection says which proxy leads there.
"""

from __future__ import annotations

import hashlib
import io
import ipaddress
import logging
import os
import socket
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO, Final, Self
from urllib.parse import quote, urlencode, urlsplit

import httpx

from hashlists.errors import (
    ExchangeAwayError,
    ExchangeCredentialsError,
    ExchangePageError,
    ExchangeRefusedError,
    ExchangeSettingsError,
)
from hashlists.exchanges.clock import Clock
from hashlists.exchanges.packing import unpacked
from hashlists.exchanges.proxy import make_proxy, proxy_errors_told, unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path
    from types import TracebackType

_MIB: Final = 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_AGENT: Final = "hashwarden"
_SHOWN_CHARS: Final = 60
_LOOK: Final = (
    "look at the address (`hashwarden exchanges status`), the network, and HTTPS_PROXY if a proxy "
    "leads out"
)
#: Statuses that a later attempt may better.
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_WRONG_KEY: Final = frozenset({401, 403, 407})

for _name in ("httpx", "httpcore"):  # they log addresses with their queries
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """Ceilings of one request.

    Attributes:
        connect_seconds: until a connection stands.
        read_seconds: between two pieces of an answer.
        answer_seconds: for an answer as a whole, however it trickles.
        answer_bytes: of an answer, as it is sent and unpacked.
    """

    connect_seconds: float = 15.0
    read_seconds: float = 60.0
    answer_seconds: float = 600.0
    answer_bytes: int = 64 * _MIB


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer.

    Attributes:
        stream: its body, seekable, closed with the answer.
        length: bytes of the body.
        sha256: of the body.
        server_time: when the server says that it answered; None where it does not say.
    """

    stream: BinaryIO = field(repr=False)
    length: int
    sha256: bytes = field(repr=False)
    server_time: datetime | None


def require_url(url: str) -> str:
    """The address of an exchange, without a slash at its end.

    Raises:
        ExchangeSettingsError: it is none, is not of HTTPS, or holds a password or a query.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
        parts = urlsplit("")
    if not host or not url.isascii() or any(c.isspace() for c in url):
        raise ExchangeSettingsError("the address must be of the form https://HOST/PATH")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ExchangeSettingsError(
            "the address must hold no user, password or query: those are credentials or options"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ExchangeSettingsError(
            "the address must begin with https://; http:// is spoken with this machine alone "
            "(127.0.0.1, [::1], localhost)"
        )
    if port == 0:
        raise ExchangeSettingsError("the address names port 0")
    return url.rstrip("/")


def host_of(url: str) -> str:
    """The host of an address that was checked, fit to be shown; it is no secret."""
    return (urlsplit(url).hostname or "")[:_SHOWN_CHARS]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Http:
    """Connections to one exchange. A context manager; not for several threads."""

    def __init__(
        self,
        url: str,
        *,
        limits: HttpLimits | None = None,
        clock: Clock | None = None,
        ca_file: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        """Opens nothing yet.

        Args:
            url: where the exchange is; see `require_url`.
            limits: ceilings of each request.
            clock: for the time that an answer takes.
            ca_file: certificates (PEM) that count instead of those of the system's bundle.
            proxy: address of the proxy that leads there; None for the straight way. Not for plain
                HTTP, which never leaves this machine.

        Raises:
            ExchangeSettingsError: an address or the file of certificates is wrong.
        """
        self._url = require_url(url)
        self._limits = limits or HttpLimits()
        self._clock = clock or Clock()
        tls = _tls(self._url, ca_file)
        is_away = self._url.startswith("https:")
        self._proxy = make_proxy(proxy, tls) if proxy is not None and is_away else None
        self._client = httpx.Client(
            verify=tls,
            proxy=self._proxy,
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(self._limits.read_seconds, connect=self._limits.connect_seconds),
            limits=httpx.Limits(max_connections=1),
            headers={"User-Agent": _AGENT, "Accept-Encoding": "gzip"},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all connections."""
        self._client.close()

    @contextmanager
    def ask(
        self,
        path: str,
        query: Sequence[tuple[str, str]] | str = (),
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
        types: Sequence[str] = (),
    ) -> Iterator[Answer]:
        """One request, and its whole answer.

        Args:
            path: below the exchange's address; its parts are quoted here.
            query: names and values, or a query as it was given by the exchange.
            method: of HTTP.
            headers: further ones.
            content: what to send.
            types: parts of media types, e.g. `json`, one of which the answer's type must have.

        Raises:
            ExchangeAwayError: it cannot be reached, fails or is overloaded; ask again.
            ExchangePageError: the answer is cut off, too large or of another type.
            ExchangeCredentialsError: it does not accept the credentials.
            ExchangeRefusedError: it answers otherwise than with success.
        """
        text = query if isinstance(query, str) else urlencode(query)
        address = f"{self._url}/{quote(path.lstrip('/'), safe='/%')}{'?' if text else ''}{text}"
        with io.BytesIO() as body, self._errors_told(), proxy_errors_told(self._proxy):
            until = self._clock.monotonic() + self._limits.answer_seconds
            with self._client.stream(method, address, headers=headers, content=content) as response:
                _require_success(response)
                _require_type(response, types)
                digest = self._take(response, body, until)
                server_time = _date(response)
            length = body.tell()
            body.seek(0)
            yield Answer(body, length, digest, server_time)

    @contextmanager
    def _errors_told(self) -> Iterator[None]:
        """Errors of the library become ours; its own words may repeat the address."""
        host = host_of(self._url)
        try:
            yield
        except httpx.ConnectTimeout:
            told = f"{unreachable(host, self._proxy)}: no connection within "
            told += f"{self._limits.connect_seconds:g} seconds; {_LOOK}"
            raise ExchangeAwayError(told) from None
        except httpx.TimeoutException:
            raise ExchangeAwayError(f"{host} did not answer in time") from None
        except httpx.RemoteProtocolError:
            raise ExchangeAwayError(f"the answer of {host} was cut off, or is no HTTP") from None
        except httpx.TransportError as error:
            raise ExchangeAwayError(_cause(error, host, self._proxy)) from None
        except httpx.InvalidURL:
            raise ExchangeRefusedError("what it gave to ask on with is no address") from None

    def _take(self, response: httpx.Response, body: BinaryIO, until: float) -> bytes:
        digest, length = hashlib.sha256(), 0
        coding = response.headers.get("content-encoding", "")
        for piece in unpacked(self._sent(response, until), coding, piece_bytes=_CHUNK_BYTES):
            length = self._bounded(length + len(piece))
            digest.update(piece)
            body.write(piece)
        return digest.digest()

    def _sent(self, response: httpx.Response, until: float) -> Iterator[bytes]:
        """The answer as it is sent; the library would unpack it however often it is packed."""
        length = 0
        for piece in response.iter_raw(_CHUNK_BYTES):
            length = self._bounded(length + len(piece))
            if self._clock.monotonic() > until:
                raise ExchangeAwayError(
                    f"the answer took longer than {self._limits.answer_seconds:g} seconds"
                )
            yield piece

    def _bounded(self, length: int) -> int:
        if length > self._limits.answer_bytes:
            raise ExchangePageError(
                f"the answer is longer than {self._limits.answer_bytes} bytes; ask for smaller "
                "pages (option page_size) where the exchange allows it"
            )
        return length


def _tls(url: str, ca_file: Path | None) -> ssl.SSLContext:
    if url.startswith("http:") and ca_file is None:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # never used; it would trust nobody
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise ExchangeSettingsError(
            "the file of certificates cannot be read, or holds none in PEM"
        ) from None


#: What was fetched so far hangs on the address, so no exchange changes its own.
_REMOVE_AND_ADD: Final = (
    "remove the exchange and add it again with the right --url, which fetches everything anew; its "
    "list stays: hashwarden exchanges remove, then exchanges add"
)
_WRONG_ADDRESS: Final = f"where that is the right address, {_REMOVE_AND_ADD}"


def _require_success(response: httpx.Response) -> None:
    status = response.status_code
    if response.is_success:
        return
    told = _in_words(status)
    if response.is_redirect or response.has_redirect_location:
        raise ExchangeRefusedError(
            f"it redirects ({told}) to {_host(response)}; redirects are not followed, since they "
            f"could lead credentials elsewhere; {_WRONG_ADDRESS}"
        )
    if status in _WRONG_KEY:
        raise ExchangeCredentialsError(f"it does not accept the credentials ({told})")
    if status in _PASSING:
        raise ExchangeAwayError(f"it answers {told}", retry_after=_retry_after(response))
    raise ExchangeRefusedError(f"it answers {told}")


def _in_words(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _host(response: httpx.Response) -> str:
    """Where a redirect leads; no path or query, which may hold a token."""
    try:
        host = response.url.join(response.headers.get("location", "")).host
    except (httpx.InvalidURL, ValueError):
        host = ""
    return host[:_SHOWN_CHARS] if host and host.isprintable() else "an odd address"


def _require_type(response: httpx.Response, types: Sequence[str]) -> None:
    told = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not types or not told or any(each in told for each in types):
        return
    shown = told[:_SHOWN_CHARS] if told.isprintable() else "something odd"
    raise ExchangePageError(f"the answer is of type {shown}, not {' or '.join(types)}")


def _date(response: httpx.Response) -> datetime | None:
    return _http_date(response.headers.get("date", ""))


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else None


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds, which may be given as a date of the server's own clock."""
    text = response.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    until, now = _http_date(text), _date(response)
    return max(0.0, (until - now).total_seconds()) if until and now else None


def _cause(error: httpx.TransportError, host: str, proxy: httpx.Proxy | None) -> str:
    """Why it cannot be reached; never the library's own words, which may repeat the address."""
    reason = ""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {host} is not trusted: {inner.verify_message}; where another "
                "authority vouches for it, name its certificates with --ca-file"
            )
        if isinstance(inner, ssl.SSLError):
            return (
                f"no TLS connection can be made to {host}; where its address or its port is wrong, "
                f"{_REMOVE_AND_ADD}"
            )
        if isinstance(inner, OSError):
            reason = _reason(inner)
        inner = inner.__cause__ or inner.__context__
    if isinstance(error, httpx.ConnectError):
        told = unreachable(host, proxy)
        return f"{told}{f': {reason}' if reason else ''}; {_LOOK}"
    return f"the connection to {host} broke off"


def _reason(error: OSError) -> str:
    """What the operating system says, in its words for the number alone."""
    if isinstance(error, socket.gaierror):
        return "no such name is known here"
    return os.strerror(error.errno) if error.errno else ""


__all__ = ["Answer", "Http", "HttpLimits", "require_url"]
