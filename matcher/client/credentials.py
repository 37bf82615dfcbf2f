"""How a client shows who it is: TLS with or without a certificate of its own, and a token."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from matcher.errors import CredentialsError, in_words
from matcher.settings import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def tls_credentials(
    ca: Path | None = None, *, certificate: Path | None = None, key: Path | None = None
) -> grpc.ChannelCredentials:
    """Credentials for a channel with TLS.

    Args:
        ca: file (PEM) of the certificates that the server's must come from; None for those that
            gRPC brings along.
        certificate: file (PEM) of the client's own, with the chain above it.
        key: file (PEM) of its private key.

    Raises:
        CredentialsError: a file cannot be read.
    """
    try:
        roots, chain, secret = (
            None if each is None else each.read_bytes() for each in (ca, certificate, key)
        )
    except OSError as error:
        raise CredentialsError(in_words(error)) from None
    return grpc.ssl_channel_credentials(roots, secret, chain)


class Bearing:
    """A channel, all of whose calls carry a token.

    Args:
        channel: of gRPC, for threads or for asyncio.
        token: of a client.
    """

    def __init__(self, channel: Any, token: str) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),)
        self.unary_unary = partial(self._make, channel.unary_unary)
        self.unary_stream = partial(self._make, channel.unary_stream)
        self.stream_unary = partial(self._make, channel.stream_unary)
        self.stream_stream = partial(self._make, channel.stream_stream)

    def _make(self, make: Callable[..., Any], *arguments: Any, **named: Any) -> Callable[..., Any]:
        return partial(make(*arguments, **named), metadata=self._metadata)


def bearing(
    channel: Any, token: str | None, *, target: str, credentials: grpc.ChannelCredentials | None
) -> Any:
    """The channel itself, or one whose calls carry the token.

    Raises:
        CredentialsError: the token would go to another machine in the clear, or is none.
    """
    if token is None:
        return channel
    if credentials is None and not is_loopback(target):
        raise CredentialsError(
            f"a token is not sent to {target} without TLS: whoever is on the way could use it"
        )
    if not (token.isascii() and token.isprintable() and token.strip() == token and token):
        raise CredentialsError("what was given as a token is none")
    return Bearing(channel, token)


__all__ = ["Bearing", "bearing", "tls_credentials"]
