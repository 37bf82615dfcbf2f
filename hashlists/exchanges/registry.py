"""Which kinds of exchanges there are, and how one is made from its settings."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hashlists.errors import ExchangeSettingsError, FormatError, HashlistsError
from hashlists.exchanges.credentials import require_private_file
from hashlists.exchanges.http import require_url
from hashlists.exchanges.ncmec import NcmecClient
from hashlists.exchanges.stopncii import StopNciiClient
from hashlists.exchanges.tat import TatClient
from hashlists.exchanges.threatexchange import ThreatExchangeClient
from hashlists.formats.registry import open_reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.exchanges.base import Client

_CLIENTS: Final = {
    each.kind: each for each in (NcmecClient, StopNciiClient, ThreatExchangeClient, TatClient)
}
KINDS: Final = tuple(_CLIENTS)


@dataclass(frozen=True, slots=True)
class ExchangeSettings:
    """What an exchange was given, beside its credentials.

    Attributes:
        url: its address.
        options: of its client and its reader.
        credentials_file: where credentials are that the environment does not give; None for none.
        ca_file: certificates that count instead of the system's; None for those.
    """

    url: str
    options: Mapping[str, str] = field(default_factory=dict)
    credentials_file: Path | None = None
    ca_file: Path | None = None

    def to_document(self) -> dict[str, Any]:
        """As the catalog keeps it."""
        return {
            "url": self.url,
            "options": dict(self.options),
            "credentials_file": None
            if self.credentials_file is None
            else str(self.credentials_file),
            "ca_file": None if self.ca_file is None else str(self.ca_file),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ExchangeSettings:
        """The way back."""
        files = (document.get(name) for name in ("credentials_file", "ca_file"))
        credentials, ca = (None if each is None else Path(each) for each in files)
        return cls(document["url"], document["options"], credentials, ca)


def make_client(kind: str, options: Mapping[str, str]) -> Client:
    """The client of that kind.

    Raises:
        ExchangeSettingsError: there is none, or an option is unknown or wrong.
    """
    made = _CLIENTS.get(kind)
    if made is None:
        raise ExchangeSettingsError(f"unknown kind of exchange {kind!r}; known: {', '.join(KINDS)}")
    return made.from_options(options)


def format_of(kind: str) -> str:
    """The format of what exchanges of a kind answer."""
    return _CLIENTS[kind].format


def check_settings(kind: str, settings: ExchangeSettings) -> None:
    """Makes sure of all that can be told without asking the exchange, and tells all that is wrong.

    Raises:
        ExchangeSettingsError: address, kind or options are wrong; or several things are, each told
            on a line.
        OptionsError: an option of the reader is wrong.
        ExchangeCredentialsError: the file of credentials is not there, or not private.
    """
    wrong: list[HashlistsError] = []
    for check in (_check_options, _check_url, _check_credentials_file):
        try:
            check(kind, settings)
        except HashlistsError as error:
            wrong.append(error)
    if len(wrong) == 1:
        raise wrong[0]
    if wrong:
        raise ExchangeSettingsError("\n".join(map(str, wrong)))


def _check_options(kind: str, settings: ExchangeSettings) -> None:
    client = make_client(kind, settings.options)
    with suppress(FormatError):  # no page is there yet; options are judged before it
        open_reader(io.BytesIO(), format=client.format, options=client.reader_options)


def _check_url(_: str, settings: ExchangeSettings) -> None:
    require_url(settings.url)


def _check_credentials_file(_: str, settings: ExchangeSettings) -> None:
    if settings.credentials_file is not None:
        require_private_file(settings.credentials_file)


__all__ = ["KINDS", "ExchangeSettings", "check_settings", "format_of", "make_client"]
