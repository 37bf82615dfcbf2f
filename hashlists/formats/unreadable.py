"""Files that are known by sight and never read, with the way around each.

What is no list at all, `foreign_files` tells by its first bytes; the rest are lists of hashes.

Binary files whose layout is not published are told by their names, since nothing else is known of
them; SQL, and what lies beside the events of a MISP feed, are told by their text. Nothing here
reads a record.
"""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.advice import EMPTY
from hashlists.formats.base import Sample
from hashlists.formats.foreign_files import what_it_is

if TYPE_CHECKING:
    from collections.abc import Mapping

HEAD_BYTES: Final = 64 * 1024

_SUFFIXES: Mapping[str, str] = {
    ".hke": (
        "a HashKeeper .hke file, whose layout is not published; export the hash set as HashKeeper's"
        " CSV (its first line names file_id, hashset_id, ...) and import that as digests"
    ),
    ".xhd": (
        "a part of X-Ways' internal hash database (.xhd), which is not made for exchange; export"
        " the hash set in X-Ways as text (its first line is MD5) and import that as digests"
    ),
}
_RHDB: Final = (
    "X-Ways' database of PhotoDNA hashes (RHDB), whose layout is not published; ask the source for"
    " the list as VICS JSON, or as CSV with a column of PhotoDNA"
)
_SQL: Final = (
    "SQL statements, as NIST publishes the quarterly changes of RDS 3; statements of a foreign file"
    " are never run here. Apply them to a copy of the full RDS database in the way that NIST"
    " describes, and import the database as nsrl-sqlite"
)
_UUID: Final = rb"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_FEED_MANIFEST = re.compile(rb'\s*\{\s*"' + _UUID + rb'"\s*:\s*\{')
_FEED_HASHES = re.compile(rb"[0-9a-fA-F]{32}," + _UUID + rb"\s*(?:\n|\Z)")
_MANIFEST: Final = (
    "the manifest of a MISP feed, which names events and holds no hashes; import the event files"
    " beside it, whose names are the events' uuids, all as one set"
)
_HASHES_CSV: Final = (
    "the hashes.csv of a MISP feed: MD5 of the values of attributes, not of files, so none of them"
    " would ever match; import the event files beside it, all as one set"
)
_SQL_START = re.compile(
    r"(?>\s|--[^\n]*\n|/\*.*?\*/)*+"  # never tried in another way: it could take for ever
    r"(?:INSERT\s+(?:OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE\s+\S+\s+SET\b|DELETE\s+FROM"
    r"|BEGIN\s*(?:TRANSACTION|;)|PRAGMA\s"
    r"|(?:CREATE|DROP)\s+(?:TABLE|VIEW|TRIGGER|(?:UNIQUE\s+)?INDEX)\s)",
    re.IGNORECASE | re.DOTALL,
)


def why_unreadable(sample: Sample) -> str | None:
    """What a file is that no reader takes, and what to import instead; None for any other."""
    if not sample.head:
        return EMPTY
    path = PurePath(sample.name)
    if (known := _SUFFIXES.get(path.suffix.lower())) is not None:
        return known
    if path.stem.upper() == "RHDB" or path.suffix.upper() == ".RHDB":
        return _RHDB
    if is_sql(sample.head):
        return _SQL
    return why_no_event(sample.head) or what_it_is(sample.head)


def why_no_event(head: bytes) -> str | None:
    """What a file is that lies beside the events of a MISP feed; None for any other."""
    text = head.removeprefix(b"\xef\xbb\xbf")
    if _FEED_MANIFEST.match(text) and (b'"info"' in text or b'"Orgc"' in text):
        return _MANIFEST
    return _HASHES_CSV if _FEED_HASHES.match(text) else None


def is_sql(head: bytes) -> bool:
    """Whether a file begins with a statement of SQL."""
    text = head[:8192].removeprefix(b"\xef\xbb\xbf").decode("latin-1")
    return _SQL_START.match(text) is not None


def take_sample(stream: BinaryIO) -> Sample:
    """The beginning of an open file; the stream is left at its start."""
    stream.seek(0)
    head = stream.read(HEAD_BYTES)
    whole = len(head) < HEAD_BYTES or not stream.read(1)
    stream.seek(0)
    name = getattr(stream, "name", "")
    return Sample(head, PurePath(name).name if isinstance(name, str) else "", whole)


def refuse_unreadable(sample: Sample) -> None:
    """Says what a file is instead.

    Raises:
        FormatError: the file is empty, or one of those that are never read.
    """
    why = why_unreadable(sample)
    if why is not None:
        raise FormatError(f"the file is {why}")


__all__ = [
    "HEAD_BYTES",
    "is_sql",
    "refuse_unreadable",
    "take_sample",
    "why_no_event",
    "why_unreadable",
]
