"""Forms of values that `hashwarden scan` takes: moments, sizes, shares, shards, tags, formats.

A moment without a time zone counts as UTC, never as local time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)([smhdw])")
_UNITS: Final = {
    "": 1,
    "B": 1,
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGTP", start=1)},
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGTP", start=1)},
}
_SIZE: Final = re.compile(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]*)")
_SHARE: Final = re.compile(r"(\d{1,3}(?:\.\d{1,12})?|\.\d{1,12})( ?%)?")
_SHARD: Final = re.compile(r"(\d{1,9})/(\d{1,9})")


@dataclass(frozen=True, slots=True)
class When:
    """A moment, or how long before the scan's beginning.

    Attributes:
        at: seconds since 1970, UTC; None where it is told from the beginning.
        ago: seconds before the beginning.
    """

    at: float | None = None
    ago: float = 0.0

    def seconds(self, beginning: float) -> float:
        """Seconds since 1970, for a scan that began then."""
        return beginning - self.ago if self.at is None else self.at


def read_when(text: str) -> When | None:
    """The moment that a text names: an ISO date or time, or a duration; None where it is none."""
    if duration := _DURATION.fullmatch(text):
        return When(ago=float(duration[1]) * _SECONDS[duration[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return When(at=(moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


class WhenType(click.ParamType[Any]):
    """A moment as an ISO date or time, or as a duration before now."""

    name = "when"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> When | Path:
        """The moment."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]  # converted already
        found = read_when(value)
        if found is None:
            self.fail(
                f"{value!r} is no date such as 2026-01-31, no time such as "
                "2026-01-31T12:00:00+01:00, and no duration such as 7d, 12h or 30m",
                param,
                ctx,
            )
        return found


class SinceType(WhenType):
    """A moment, or the folder of an earlier scan."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> When | Path:
        """The moment, or the folder."""
        if isinstance(value, str) and read_when(value) is None:
            if Path(value).is_dir():
                return Path(value)
            self.fail(
                f"{value!r} is no date such as 2026-01-31, no duration such as 7d, and no folder "
                "of an earlier scan",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


class SizeType(click.ParamType[Any]):
    """Bytes, as a number alone or with its unit."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of bytes."""
        if isinstance(value, int):
            return value
        parts = _SIZE.fullmatch(value)
        unit = None if parts is None else _UNITS.get(parts[2])
        if parts is None or unit is None:
            self.fail(f"{value!r} is no size such as 4096, 10KiB or 1.5GB", param, ctx)
        return int(float(parts[1]) * unit)


class PartType(click.ParamType[Any]):
    """A share of all objects, as a percentage or a number up to 1."""

    name = "share"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """The share, more than 0 and at most 1."""
        if isinstance(value, float):
            return value
        parts = _SHARE.fullmatch(value)
        share = float(parts[1]) / (100 if parts[2] else 1) if parts else 0.0
        if not 0 < share <= 1:
            self.fail(
                f"{value!r} is no share such as 1% or 0.01, above none, up to all", param, ctx
            )
        return share


class ShardType(click.ParamType[Any]):
    """One of several parts of all objects."""

    name = "shard"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Which part, from 1, and of how many."""
        if isinstance(value, tuple):
            return value
        parts = _SHARD.fullmatch(value)
        shard, shards = (int(parts[1]), int(parts[2])) if parts else (0, 0)
        if not 1 <= shard <= shards:
            self.fail(
                f"{value!r} is no shard such as 1/4, the first of four; the last is 4/4", param, ctx
            )
        return shard, shards


class NamesType(click.ParamType[Any]):
    """Names set apart by commas, each one of those that there are.

    Args:
        known: the names that there are.
    """

    name = "names"

    def __init__(self, known: Sequence[str]) -> None:
        self._known = tuple(known)

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The names, each once."""
        if isinstance(value, tuple):
            return value
        found = tuple(dict.fromkeys(each.strip() for each in value.split(",") if each.strip()))
        unknown = [each for each in found if each not in self._known]
        if unknown or not found:
            told = f"{unknown[0]!r} is none" if unknown else "names none"
            self.fail(f"{told}; there are {', '.join(self._known)}", param, ctx)
        return found


__all__ = [
    "NamesType",
    "PartType",
    "ShardType",
    "SinceType",
    "SizeType",
    "When",
    "WhenType",
    "read_when",
]
