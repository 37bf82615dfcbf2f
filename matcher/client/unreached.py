"""Why no call reached a server, in words that name what to change.

gRPC tells it in text alone, which is read here and nowhere else. Text that is not known here is
told as a server that is not there, as most often it is.
"""

from __future__ import annotations

from typing import Final

#: What gRPC's text holds, and what it means of the server at {at}; the first that fits counts.
_MEANINGS: Final = {
    "hostname verification": (
        "the certificate of the server at {at} has other names than that: call the server by one "
        "of them, or give it a certificate (tls_certificate there) that names this address"
    ),
    "certificate has expired": (
        "the certificate of the server at {at}, or of its authority, has expired: renew it there "
        "(tls_certificate); new connections are given it at once"
    ),
    "certificate is not yet valid": (
        "the certificate of the server at {at} does not count yet: is the clock right, here and "
        "there?"
    ),
    "certificate_verify_failed": (
        "the certificate of the server at {at} is from no authority that is trusted here: set "
        "server_ca to the file of its authority's certificate"
    ),
    "wrong_version_number": (
        "the server at {at} speaks no TLS: set server_ca to off for it, or tls_certificate "
        "and tls_key there"
    ),
    "handshake failed": (
        "TLS with the server at {at} failed: see server_ca, server_certificate and server_key "
        "here, and the tls_ settings there"
    ),
    # Who is refused by TLS is told nothing but this, and so is who speaks none.
    "failed to connect to all addresses; last error: unavailable: ": (
        "the server at {at} takes connections and closes them: for one with TLS set server_ca; "
        "for one with tls_client_ca also server_certificate and server_key, to a certificate that "
        "counts there"
    ),
}


def why_unreached(said: str, target: str) -> str:
    """What is wrong where a call ended before any server of ours saw it.

    Args:
        said: gRPC's text.
        target: where the server should be.
    """
    lower = said.lower()
    for part, meaning in _MEANINGS.items():
        if part in lower:
            return meaning.format(at=target)
    return f"no server answers at {target}; start one with: hashwarden serve"


__all__ = ["why_unreached"]
