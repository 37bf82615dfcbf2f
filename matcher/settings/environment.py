"""What else the environment says: credentials of exchanges, proxies, and what programs need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from matcher.settings.names import EXCHANGE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: What programs need to start, in the environment: all else may hold passwords and tokens.
_STARTING_NAMES = frozenset({"PATH", "LANG", "TZ", "VIRTUAL_ENV"})
_STARTING_PREFIXES = ("PYTHON", "LD_", "LC_", "COVERAGE_")


def environment_to_start(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What of the environment a program of ours needs to start, and no more.

    For processes that hostile bytes may take over: in theirs no password is to be found.

    Args:
        environ: the environment; the process's own by default.
    """
    variables = os.environ if environ is None else environ
    return {
        name: value
        for name, value in variables.items()
        if name in _STARTING_NAMES or name.startswith(_STARTING_PREFIXES)
    }


def silence_grpc() -> None:
    """Has gRPC's core write nothing to standard error by itself, where the environment is silent.

    Its lines have a form of their own, so they may not stand among JSON objects. For this process
    before it imports gRPC, and for those that it starts.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def silence_ray() -> None:
    """Has Ray not tell its makers of its use, nor write to standard error by itself.

    Where the environment says otherwise, it does. For this process before it imports Ray, and for
    those that it starts.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")


def exchange_variable(exchange: str, credential: str) -> str:
    """The environment variable that holds a credential of an exchange."""
    return EXCHANGE_PREFIX + f"{exchange}_{credential}".upper().replace("-", "_")


def exchange_credentials(
    exchange: str, names: Sequence[str], environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The credentials of an exchange that the environment holds, by name; empty ones count as none.

    Args:
        exchange: its name.
        names: of the credentials.
        environ: the environment; the process's own by default.
    """
    variables = os.environ if environ is None else environ
    found = {name: variables.get(exchange_variable(exchange, name), "") for name in names}
    return {name: value for name, value in found.items() if value}


def exchange_proxy(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The proxy that leads to an exchange, as the environment says it to every program.

    `HTTPS_PROXY` names it, else `ALL_PROXY`; `NO_PROXY` names hosts that are reached without one,
    between commas, with all below them, or `*`. The same names in small letters go before these.
    Plain HTTP is spoken with this machine only, so it has no proxy.

    Args:
        url: of the exchange.
        environ: the environment; the process's own by default.
    """
    variables = os.environ if environ is None else environ

    def told(name: str) -> str:
        return variables.get(name.lower()) or variables.get(name) or ""

    parts = urlsplit(url)
    proxy = told("HTTPS_PROXY") or told("ALL_PROXY")
    if parts.scheme != "https" or not proxy:
        return None
    if any(_is_below(parts, each.strip()) for each in told("NO_PROXY").split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_below(address: SplitResult, name: str) -> bool:
    """Whether an address is of that host, perhaps with its port, or below it; `*` is all."""
    if name == "*":
        return True
    plain = name.lower().removeprefix("*").lstrip(".")
    hosts = (address.hostname or "", address.netloc.rpartition("@")[2].lower())
    return bool(plain) and any(host == plain or host.endswith(f".{plain}") for host in hosts)


__all__ = [
    "environment_to_start",
    "exchange_credentials",
    "exchange_proxy",
    "exchange_variable",
    "silence_grpc",
]
