"""Where an object is: the one thing that leads from a report to the material."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.document import Place
    from matcher.scan.model import Record

#: Between an archive's address and the path within it.
WITHIN: Final = "!/"


class Addresses:
    """The addresses of a scan's objects.

    Args:
        places: of the scan, in its order.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self._urls = [place.url for place in places]
        self._starts = [url if url.endswith("/") else url + "/" for url in self._urls]

    def place(self, record: Record) -> str:
        """The URL, or folder, that the object was found below."""
        return self._urls[record.source]

    def archive(self, record: Record) -> str:
        """The address of the object; of a member that of its archive."""
        return self._starts[record.source] + record.key

    def address(self, record: Record) -> str:
        """The address, as it stands: nothing in it is written in any other way than it was read."""
        return self._starts[record.source] + within(record)


def within(record: Record) -> str:
    """The address below its place."""
    return f"{record.key}{WITHIN}{record.member}" if record.member else record.key


def moment(seconds: float | None) -> datetime | None:
    """A time in UTC, to the microsecond; None where there is none, or a calendar has none such.

    Args:
        seconds: since 1970, UTC.
    """
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):  # a disk may say what it likes
        return None


def moment_text(seconds: float | None) -> str:
    """The time in RFC 3339; empty where there is none."""
    found = moment(seconds)
    return found.isoformat().replace("+00:00", "Z") if found else ""


__all__ = ["WITHIN", "Addresses", "moment", "moment_text", "within"]
