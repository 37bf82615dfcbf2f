"""HOST:PORT: of which form one is, and who can reach it."""

from __future__ import annotations

import ipaddress
import re

MAX_PORT = 65_535


def is_host(bare: str, *, bracketed: bool) -> bool:
    """Whether it is a name or an IP address, of version 6 in brackets."""
    try:
        return (ipaddress.ip_address(bare).version == 6) == bracketed  # noqa: PLR2004  IPv6
    except ValueError:
        return not bracketed and re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*)", bare) is not None


def is_port(port: str) -> bool:
    """Whether it is the number of a port, or 0."""
    return port.isascii() and port.isdigit() and int(port) <= MAX_PORT


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a HOST:PORT."""
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


__all__ = ["MAX_PORT", "is_host", "is_loopback", "is_port"]
