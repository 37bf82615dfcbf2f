"""What a supervisor and its server processes tell each other: JSON over pipes, never a pickle.

The supervisor hands over the settings as it resolved them, by standard input: a process started
again serves by the same policies as its siblings whatever became of the files meanwhile, and what
is secret stands neither on a command line nor in an environment.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matcher.settings import Settings

_TAG = "$type"
_PLAIN = (str, int, float, bool, type(None))
#: What stands in settings and TOML beside JSON's own types. A datetime is a date, so it goes first.
_CODED: Mapping[str, tuple[type, Any]] = {
    "datetime": (datetime, datetime.fromisoformat),
    "date": (date, date.fromisoformat),
    "time": (time, time.fromisoformat),
    "path": (Path, Path),
}


@dataclass(frozen=True, slots=True)
class Order:
    """What a server process is to do.

    Attributes:
        number: the process's own, from 0; stable over restarts.
        supervisor: process id of who is to be outlived by nobody.
        settings: as the supervisor resolved them, with this process's share.
        trial: only see whether these settings serve: load everything, answer nobody, and end.
        memory: descriptor of the socket by which it asks for what the supervisor has decrypted;
            None for none.
        peers: descriptor of the socket by which it and its siblings tell each other what they
            notice; None for none.
    """

    number: int
    supervisor: int
    settings: Settings
    trial: bool = False
    memory: int | None = None
    peers: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What a server process says of its start, once.

    Attributes:
        admin: `host:port` of its health and metrics, or empty.
        error: why it cannot serve; empty where it does.
    """

    admin: str = ""
    error: str = ""


def order_to_json(order: Order) -> bytes:
    """The order as one JSON document."""
    values = {each.name: _encoded(getattr(order.settings, each.name)) for each in fields(Settings)}
    about = {
        "number": order.number,
        "supervisor": order.supervisor,
        "trial": order.trial,
        "memory": order.memory,
        "peers": order.peers,
    }
    return json.dumps(about | {"settings": values}).encode()


def order_from_json(data: bytes) -> Order:
    """The order that `order_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: it did not.
    """
    document = json.loads(data)
    values = {name: _decoded(value) for name, value in document["settings"].items()}
    values["sources"] = MappingProxyType(values["sources"])
    return Order(
        document["number"],
        document["supervisor"],
        Settings(**values),
        trial=bool(document["trial"]),
        memory=None if document["memory"] is None else int(document["memory"]),
        peers=None if document["peers"] is None else int(document["peers"]),
    )


def report_to_json(report: Report) -> bytes:
    """The report as one line."""
    return json.dumps({"admin": report.admin, "error": report.error}).encode() + b"\n"


def report_from_json(line: bytes) -> Report:
    """The report that `report_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError: it did not.
    """
    document = json.loads(line)
    return Report(str(document["admin"]), str(document["error"]))


def _encoded(value: object) -> object:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        if _TAG in value:  # nothing in settings may pass for what is coded here
            raise ValueError(f"a setting holds the key {_TAG}")
        return {str(key): _encoded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(each) for each in value]
    for name, (kind, _) in _CODED.items():
        if isinstance(value, kind):
            return {_TAG: name, "value": str(value) if name == "path" else _iso(value)}
    raise TypeError(f"settings hold a {type(value).__name__}, which cannot be handed over")


def _iso(value: Any) -> str:
    return str(value.isoformat())


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    if _TAG in value:
        _, decode = _CODED[value[_TAG]]
        return decode(value["value"])
    return {key: _decoded(each) for key, each in value.items()}


__all__ = [
    "Order",
    "Report",
    "order_from_json",
    "order_to_json",
    "report_from_json",
    "report_to_json",
]
