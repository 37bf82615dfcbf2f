"""What the tests of readers of exchange pages share: reading a file to its end."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.formats.registry import open_reader
from hashlists.limits import DEFAULT_LIMITS
from hashlists.model import NO_ONWARD_SHARING
from hashlists.validate import validate
from tests.export_support import Row, rows_of

if TYPE_CHECKING:
    from hashlists.formats.base import ListReader
    from hashlists.model import Rejection, Retraction

#: Why an entry goes that its source lists by no hash of a known kind.
UNMATCHABLE = "listed by nothing that can be matched"


@dataclass
class Found:
    """What a file gave."""

    reader: ListReader
    rows: list[Row] = field(default_factory=list)
    retractions: list[Retraction] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)


def run(data, format_name, options=None, limits=DEFAULT_LIMITS):
    """Reads a file, given as bytes or as what becomes JSON."""
    if not isinstance(data, bytes):
        data = json.dumps(data).encode()
    reader = open_reader(io.BytesIO(data), format=format_name, options=options, limits=limits)
    found = Found(reader)
    for batch in reader:
        result = validate(batch, default_handling=NO_ONWARD_SHARING, limits=limits)
        found.rows += rows_of(result.entries)
        found.retractions += result.retractions
        found.rejections += result.rejections
        for note, times in batch.notes.items():
            found.notes[note] = found.notes.get(note, 0) + times
    assert reader.bytes_read == len(data)
    return found
