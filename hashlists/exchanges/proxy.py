"""The proxy by way of which an exchange is reached, where there is one.

A proxy is told the exchange's host and port and nothing else: it carries a TLS connection that ends
at the exchange, whose certificate is verified as without it. Its address may hold a user and a
password, so no error or `repr` names more of it than its host.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx

from hashlists.errors import ExchangeAwayError, ExchangeRefusedError, ExchangeSettingsError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

_SCHEMES: Final = ("http", "https")
_STATUS = re.compile(r"[1-5][0-9]{2}\b", re.ASCII)
_CLIENT_ERRORS: Final = range(400, 500)
#: Refusals that may pass: a request that came too slowly, or too often.
_PASSING: Final = (408, 429)


def make_proxy(url: str, tls: ssl.SSLContext) -> httpx.Proxy:
    """The proxy at an address such as `http://USER:PASSWORD@HOST:PORT`.

    Args:
        url: its address.
        tls: what its own certificate is verified by, where it is spoken to over TLS.

    Raises:
        ExchangeSettingsError: the address is none, or not of HTTP or HTTPS.
    """
    try:
        parts = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        parts = httpx.URL("")
    if parts.scheme not in _SCHEMES or not parts.host:
        raise ExchangeSettingsError(
            "the proxy's address must be of the form http://HOST:PORT or https://HOST:PORT"
        )
    return httpx.Proxy(parts, ssl_context=tls if parts.scheme == "https" else None)


@contextmanager
def proxy_errors_told(proxy: httpx.Proxy | None) -> Iterator[None]:
    """Errors of the proxy become ours; the library's own words may repeat addresses.

    A connection to the exchange itself fails as the proxy's answer, so whatever else cannot be
    connected is the proxy.
    """
    try:
        yield
    except httpx.ProxyError as error:
        found = _STATUS.match(str(error))
        status = int(found[0]) if found else 0
        told = f"the proxy {_host(proxy)} does not lead to it"
        told += f": it answers {status}" if status else ""
        if status in _CLIENT_ERRORS and status not in _PASSING:
            raise ExchangeRefusedError(told) from None
        raise ExchangeAwayError(told) from None


def _host(proxy: httpx.Proxy | None) -> str:
    return proxy.url.host if proxy is not None else "on the way"


def unreachable(host: str, proxy: httpx.Proxy | None) -> str:
    """What cannot be reached where no connection stands: the exchange's host, or its proxy."""
    if proxy is None:
        return f"{host} cannot be reached"
    return f"{host} cannot be asked, for its proxy {_host(proxy)} cannot be reached"


__all__ = ["make_proxy", "proxy_errors_told", "unreachable"]
