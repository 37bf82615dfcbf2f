"""Every knob of Hashwarden, typed and with its unit, and where its value comes from.

A value comes from the built-in default, else the settings file, else the environment
(`HASHWARDEN_` and the name in capitals), else the command line; the later one wins. A name that
means nothing is an error, since a mistyped limit would silently not hold. Nothing but this
package reads the environment or TOML; it opens nothing but those files, and knows nothing of
decoders or policies: their knobs are plain numbers and a plain document here.

No message repeats a value, since a catalog's URL may hold a password.
"""

from __future__ import annotations

from matcher.settings.addresses import is_loopback
from matcher.settings.environment import (
    environment_to_start,
    exchange_credentials,
    exchange_proxy,
    exchange_variable,
    silence_grpc,
    silence_ray,
)
from matcher.settings.files import load_mapping
from matcher.settings.loading import load_settings
from matcher.settings.model import KNOBS, Settings
from matcher.settings.names import (
    CONFIG_NAME,
    CONFIG_VARIABLE,
    DATA_VARIABLE,
    EXCHANGE_PREFIX,
    MESSAGE_OVERHEAD_BYTES,
    PREFIX,
)
from matcher.settings.parsing import SAME

__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "DATA_VARIABLE",
    "EXCHANGE_PREFIX",
    "KNOBS",
    "MESSAGE_OVERHEAD_BYTES",
    "PREFIX",
    "SAME",
    "Settings",
    "environment_to_start",
    "exchange_credentials",
    "exchange_proxy",
    "exchange_variable",
    "is_loopback",
    "load_mapping",
    "load_settings",
    "silence_grpc",
    "silence_ray",
]
