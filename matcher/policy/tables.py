"""Reads nested tables strictly: every key is taken by name, and what is left over is an error.

All problems of a document are gathered with their key paths, so that one reading names them all.
No message repeats a value, since values may be hashes.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self, TypeVar

from hashlists.words import counted
from matcher.errors import PolicyError

_MAX_TOLD = 20
_Value = TypeVar("_Value")


class WrongValueError(ValueError):
    """A value is not of the allowed form; the message says what is."""


class Problems:
    """What is wrong with a document, in reading order."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, path: str, message: str) -> None:
        """Notes a problem at a key path."""
        self._lines.append(f"{path}: {message}" if path else message)

    def raise_any(self, origin: str) -> None:
        """Ends the reading when anything is wrong.

        Raises:
            PolicyError: naming the document and every problem (the first 20 of many).
        """
        if not self._lines:
            return
        told = self._lines[:_MAX_TOLD]
        if len(self._lines) > len(told):
            told.append(f"and {counted(len(self._lines) - len(told), 'more problem')}")
        raise PolicyError(f"{origin}: " + "\n".join(told))


class Table:
    """One table of a document, at a key path.

    Use as a context manager: at its end, keys that nothing took are reported.
    """

    def __init__(self, value: object, path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self._allowed: list[str] = []
        if isinstance(value, Mapping):
            self._values: Mapping[str, object] = value
        else:
            problems.add(path, "must be a table")
            self._values = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for key in self._values:
            if key not in self._allowed:
                self.problems.add(self.at(key), unknown("key", str(key), self._allowed))

    def at(self, key: object) -> str:
        """The path of a key of this table."""
        return f"{self.path}.{key}" if self.path else str(key)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def take(self, key: str, parse: Callable[[object], _Value], default: _Value) -> _Value:
        """The parsed value of a key; `default` where it is absent or wrong."""
        self._allowed.append(key)
        if key not in self._values:
            return default
        try:
            return parse(self._values[key])
        except WrongValueError as error:
            self.problems.add(self.at(key), str(error))
            return default

    def require(self, key: str, parse: Callable[[object], _Value]) -> _Value | None:
        """As `take`, but absence is a problem; None where absent or wrong."""
        if key not in self._values:
            self._allowed.append(key)
            self.problems.add(self.path, f"needs the key {key!r}")
            return None
        optional: Callable[[object], _Value | None] = parse
        return self.take(key, optional, None)

    def table(self, key: str) -> Table:
        """The table at a key; an empty one where it is absent."""
        self._allowed.append(key)
        return Table(self._values.get(key, {}), self.at(key), self.problems)

    def tables(self, key: str) -> Iterator[Table]:
        """The array of tables at a key, counted from 1 in paths; none where it is absent."""
        self._allowed.append(key)
        value = self._values.get(key, [])
        if not isinstance(value, list):
            self.problems.add(
                self.at(key), f"must be an array of tables, written [[{self.at(key)}]]"
            )
            return
        for number, each in enumerate(value, 1):
            yield Table(each, f"{self.at(key)}[{number}]", self.problems)

    def items(self) -> Iterator[tuple[str, object]]:
        """All keys with their values, for tables whose keys are names; each counts as taken."""
        for key, value in self._values.items():
            self._allowed.append(key)
            yield key, value


def unknown(what: str, name: str, allowed: Sequence[str]) -> str:
    """Says that a name is unknown, which one is near it, and which there are."""
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"unknown {what}{hint} (allowed: {', '.join(allowed)})"


def boolean(value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise WrongValueError("must be true or false")
    return value


def text(value: object) -> str:
    """Text that is not blank."""
    if not isinstance(value, str) or not value.strip():
        raise WrongValueError("must be text that is not blank")
    return value.strip()


def text_or_empty(value: object) -> str:
    """Any text."""
    if not isinstance(value, str):
        raise WrongValueError('must be text ("" for none)')
    return value.strip()


def names(value: object) -> tuple[str, ...]:
    """An array of one or more names, in the order written, each once."""
    if not isinstance(value, list) or not value or not all(isinstance(n, str) and n for n in value):
        raise WrongValueError("must be an array of one or more names")
    return tuple(dict.fromkeys(value))


def names_among(allowed: Sequence[str], what: str) -> Callable[[object], tuple[str, ...]]:
    """An array of one or more of the allowed names, in the order written, each once."""

    def parse(value: object) -> tuple[str, ...]:
        found = names(value)
        for name in found:
            if name not in allowed:
                raise WrongValueError(unknown(what, name, allowed))
        return found

    return parse


def sorted_names(parse: Callable[[object], tuple[str, ...]]) -> Callable[[object], tuple[str, ...]]:
    """What `parse` gives, sorted: for names whose order means nothing."""
    return lambda value: tuple(sorted(parse(value)))


def whole_number(low: int, high: int) -> Callable[[object], int]:
    """A whole number from `low` to `high`."""

    def parse(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise WrongValueError(f"must be a whole number from {low} to {high}")
        return value

    return parse


def hex_bytes(nbytes: int) -> Callable[[object], bytes]:
    """Exactly `nbytes` bytes as hex digits of either case."""

    def parse(value: object) -> bytes:
        wrong = WrongValueError(f"must be {2 * nbytes} hex digits")
        if not isinstance(value, str) or len(value) != 2 * nbytes:
            raise wrong
        try:
            raw = bytes.fromhex(value)
        except ValueError:
            raise wrong from None
        if len(raw) != nbytes:  # fromhex passes over blanks
            raise wrong
        return raw

    return parse


__all__ = [
    "Problems",
    "Table",
    "WrongValueError",
    "boolean",
    "hex_bytes",
    "names",
    "names_among",
    "sorted_names",
    "text",
    "text_or_empty",
    "unknown",
    "whole_number",
]
