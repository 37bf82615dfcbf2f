"""Names in the environment and of files, and what bounds messages."""

from __future__ import annotations

PREFIX = "HASHWARDEN_"
DATA_VARIABLE = "HASHWARDEN_DATA"
CONFIG_VARIABLE = "HASHWARDEN_CONFIG"
CONFIG_NAME = "hashwarden.toml"
#: Credentials of an exchange: this, its name and the credential's, e.g.
#: `HASHWARDEN_EXCHANGE_MY_FEED_PASSWORD` for the exchange `my-feed`. They are no settings.
EXCHANGE_PREFIX = "HASHWARDEN_EXCHANGE_"
#: What a message holds beside an image: names, options, framing.
MESSAGE_OVERHEAD_BYTES = 64 * 1024

__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "DATA_VARIABLE",
    "EXCHANGE_PREFIX",
    "MESSAGE_OVERHEAD_BYTES",
    "PREFIX",
]
