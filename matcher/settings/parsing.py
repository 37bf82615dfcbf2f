"""Forms of values: each parser takes what stands in a file, a variable or a command line.

Relative paths begin at the folder that a parser is given. No message repeats a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matcher.settings.addresses import MAX_PORT, is_host, is_port

KIB, MIB, GIB = 1024, 1024**2, 1024**3


class BadValueError(ValueError):
    """A value is not of the allowed form; the message says what is."""


Parser = Callable[[object, Path], Any]


def whole(low: int, high: int) -> Parser:
    """A whole number within bounds, these included."""

    def parse(value: object, _: Path) -> int:
        number = _number(value, int)
        if number is None or not low <= number <= high:
            raise BadValueError(f"must be a whole number from {low} to {high}")
        return int(number)

    return parse


def real(low: float, high: float, unit: str) -> Parser:
    """A number within bounds, these included."""

    def parse(value: object, _: Path) -> float:
        number = _number(value, float)
        if number is None or not low <= number <= high:
            raise BadValueError(f"must be {unit} from {low:g} to {high:g}")
        return float(number)

    return parse


_NUMBERS: Mapping[type, re.Pattern[str]] = {
    int: re.compile(r"-?[0-9]{1,18}"),
    float: re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?"),
}


def _number(value: object, kind: type[int | float]) -> float | None:
    if isinstance(value, str):
        return kind(value) if _NUMBERS[kind].fullmatch(value) else None
    allowed = int if kind is int else (int, float)
    return value if isinstance(value, allowed) and not isinstance(value, bool) else None


_SIZE = re.compile(r"(\d{1,18}) ?(|B|KiB|MiB|GiB)")
_SIZE_UNITS = {"": 1, "B": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}


def size(low: int, high: int) -> Parser:
    """A number of bytes, or one of KiB, MiB or GiB."""

    def parse(value: object, _: Path) -> int:
        parts = _SIZE.fullmatch(value) if isinstance(value, str) else None
        number = int(parts[1]) * _SIZE_UNITS[parts[2]] if parts else _number(value, int)
        if number is None or not low <= number <= high:
            raise BadValueError(
                f'must be bytes from {low} to {high}, as a whole number or e.g. "25 MiB"'
            )
        return int(number)

    return parse


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def boolean(value: object, _: Path) -> bool:
    """True or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise BadValueError("must be true or false")


def choice(*allowed: str) -> Parser:
    """One of some words."""

    def parse(value: object, _: Path) -> str:
        if value not in allowed:
            raise BadValueError(f"must be one of {', '.join(allowed)}")
        return str(value)

    return parse


def pattern(expression: str, form: str) -> Parser:
    """A text that a regular expression matches as a whole; `form` tells people of which."""
    compiled = re.compile(expression)

    def parse(value: object, _: Path) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise BadValueError(f"must be {form}")
        return value

    return parse


def path(value: object, folder: Path) -> Path:
    """A path; `~` is the home folder."""
    if not isinstance(value, str | Path) or str(value) == "" or "\0" in str(value):
        raise BadValueError("must be a path")
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:
        raise BadValueError("must not start with ~: no home folder is known") from None


def path_or_none(value: object, folder: Path) -> Path | None:
    """A path, or empty or `off` for none."""
    return None if value in {"", "off"} else path(value, folder)


def address_or_none(value: object, folder: Path) -> str:
    """HOST:PORT, or empty or `off` for none."""
    return "" if value in {"", "off"} else address(value, folder)


#: In `lists_listen`: no address of its own.
SAME = "same"


def address_or_same(value: object, folder: Path) -> str:
    """HOST:PORT, or `same`."""
    return SAME if value == SAME else address(value, folder)


def roots(value: object, folder: Path) -> Path | str:
    """A file of certificates; `system` for those that the machine trusts; empty for no TLS."""
    if value in {"", "off"}:
        return ""
    return "system" if value == "system" else path(value, folder)


_STORE_SCHEMES = ("file", "s3", "gs", "az")


_KEY_PLACES = ("file:", "command:", "keys:")


def key_place(value: object, folder: Path) -> str:
    """Where keys are: a file, a command that prints them, or the keys themselves."""
    if isinstance(value, str):
        place, rest = next(
            ((each, value[len(each) :]) for each in _KEY_PLACES if value.startswith(each)), ("", "")
        )
        if place and rest.strip():
            return f"{place}{path(rest, folder)}" if place == "file:" else value
    raise BadValueError(
        "must be file:PATH, command:PROGRAM ARGUMENTS, or keys: with 64 hex digits for each key "
        "and commas between them"
    )


def key_place_or_none(value: object, folder: Path) -> str:
    """As `key_place`; empty for none."""
    return "" if value in {"", "off"} else key_place(value, folder)


def http_url_or_none(value: object, _: Path) -> str:
    """A URL of HTTP, or empty or `off` for none."""
    if value in {"", "off"}:
        return ""
    if isinstance(value, str) and re.fullmatch(r"https?://[^\s@/]+(/[^\s@]*)?", value):
        return value
    raise BadValueError("must be an http:// or https:// URL without credentials in it")


def store_url(value: object, _: Path) -> str:
    """A folder or object store; one without credentials, since it is shown in reports."""
    if value in {"", "off"}:
        return ""
    if isinstance(value, str):
        scheme, separator, rest = value.partition("://")
        place = rest.partition("/")[0]
        if separator and rest and scheme in _STORE_SCHEMES and "@" not in place:
            return value
    raise BadValueError(
        "must be file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, "
        "without credentials in it"
    )


def address(value: object, _: Path) -> str:
    """HOST:PORT."""
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        bracketed = bare != host
        if colon and is_host(bare, bracketed=bracketed):
            if is_port(port):
                return value
            if port.isascii() and port.isdigit():
                raise BadValueError(f"must be HOST:PORT with a port from 0 to {MAX_PORT}")
    raise BadValueError('must be HOST:PORT, e.g. "127.0.0.1:50051" or "[::1]:50051"')


__all__ = [
    "GIB",
    "KIB",
    "MIB",
    "SAME",
    "BadValueError",
    "Parser",
    "address",
    "address_or_none",
    "address_or_same",
    "boolean",
    "choice",
    "http_url_or_none",
    "key_place",
    "key_place_or_none",
    "path",
    "path_or_none",
    "pattern",
    "real",
    "roots",
    "size",
    "store_url",
    "whole",
]
