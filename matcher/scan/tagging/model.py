"""What is to be tagged, and what came of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from matcher.scan.errors import ScanError
from matcher.scan.model import FOUND, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from matcher.scan.model import Record

#: What S3 allows in tags, less what no attribute of a file should be named by.
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@+-]{0,99}")
_VALUE: Final = re.compile(r"[A-Za-z0-9 ._:/=@+-]{1,256}")
_OF_THE_CLOUD: Final = "aws:"
_MOST_TAGS: Final = 10  # that an object of S3 can have


class TagError(ScanError):
    """Tags are not of the form that they must have, or cannot be set in a place."""

    reason = "SCAN_TAG"


class Came(StrEnum):
    """What came of tagging an object."""

    TAGGED = "tagged"
    ALREADY = "already"  # it has these very tags
    CHANGED = "changed"  # it is not what was scanned any more
    GONE = "gone"
    LINK = "link"  # a link leads there, and none is followed
    FORBIDDEN = "forbidden"
    UNSUPPORTED = "unsupported"  # the file system, or the store, keeps no tags
    FULL = "full"  # it has as many tags as it can
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Target:
    """An object that was found.

    Attributes:
        id: of its record.
        source: which of the scan's URLs, from 0.
        key, raw, size, modified, etag, version: as its record has them.
        outcome: the graver of its own and of those of its members, where it is an archive.
    """

    id: str
    source: int
    key: str
    raw: bytes
    size: int | None
    modified: float | None
    etag: str
    version: str
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Done:
    """What came of one object.

    Attributes:
        came: what.
        detail: one line for a person; empty where there is no more to say.
    """

    came: Came
    detail: str = ""


class Tagger(Protocol):
    """Tags objects of one place; used by several threads."""

    def tag(self, target: Target, tags: Mapping[str, str]) -> Done:
        """Sets tags, if the object still is what was scanned."""
        ...


def checked(tags: Mapping[str, str]) -> dict[str, str]:
    """The tags, if they can be set everywhere.

    Raises:
        TagError: naming what is wrong.
    """
    for key, value in tags.items():
        if key.startswith(_OF_THE_CLOUD) or not _KEY.fullmatch(key):
            raise TagError(
                f"no tag can be named {key!r}: a name has up to 100 letters, digits and . _ : @ + "
                f"-, begins with a letter or a digit, and not with {_OF_THE_CLOUD}"
            )
        if not _VALUE.fullmatch(value):
            raise TagError(
                f"the value of the tag {key} has other characters than letters, digits, blanks and "
                ". _ : / = @ + -, or more than 256"
            )
    if not 0 < len(tags) <= _MOST_TAGS:
        raise TagError(f"from one to {_MOST_TAGS} tags can be set")
    return dict(tags)


def found(records: Iterable[Record], outcomes: Iterable[Outcome] = FOUND) -> Iterator[Target]:
    """The objects with one of the outcomes, each once; memory does not grow with the records.

    Args:
        records: in the order in which a scan gives them: members behind their archive.
        outcomes: which count.
    """
    wanted = frozenset(outcomes)
    held: Record | None = None
    met: set[Outcome] = set()
    for record in records:
        if not record.member:
            yield from _target(held, met)
            held, met = record, set()
        if record.outcome in wanted:
            met.add(record.outcome)
    yield from _target(held, met)


def _target(record: Record | None, met: set[Outcome]) -> Iterator[Target]:
    graver = next((each for each in FOUND if each in met), None)
    if record is None or graver is None:
        return
    yield Target(
        record.id,
        record.source,
        record.key,
        record.raw,
        record.size,
        record.modified,
        record.etag,
        record.version,
        graver,
    )


__all__ = ["Came", "Done", "TagError", "Tagger", "Target", "checked", "found"]
