"""What the tests of digest lists share: values that mean nothing, and reading a whole file."""

from __future__ import annotations

import io
import random
import sqlite3
from dataclasses import dataclass, field

from hashlists.formats.registry import find_format, open_reader
from hashlists.formats.unreadable import take_sample
from hashlists.limits import ImportLimits
from hashlists.model import NO_ONWARD_SHARING, HashKind
from hashlists.validate import validate


def value(kind, seed=1):
    return random.Random(f"{kind}{seed}").randbytes(kind.nbytes)


def md5(seed=1):
    return value(HashKind.MD5, seed).hex()


def sha1(seed=1):
    return value(HashKind.SHA1, seed).hex()


def sha256(seed=1):
    return value(HashKind.SHA256, seed).hex()


@dataclass
class Outcome:
    """What came of a file."""

    batches: list = field(default_factory=list)
    rejections: list = field(default_factory=list)
    notes: dict = field(default_factory=dict)

    def column(self, kind):
        return [
            each for batch in self.batches for each in batch.hashes.get(kind, [None] * len(batch))
        ]

    @property
    def sizes(self):
        return [size for batch in self.batches for size in batch.sizes]

    @property
    def keys(self):
        return [key for batch in self.batches for key in batch.keys]

    @property
    def places(self):
        return [str(batch.place_at(row)) for batch in self.batches for row in range(len(batch))]

    @property
    def faults(self):
        return [(each.place.number, each.field, each.reason) for each in self.rejections]


def read(data, format_name, options=None, limits=None):
    """Reads a file to its end."""
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    limits = limits or ImportLimits()
    outcome = Outcome()
    reader = open_reader(stream, format=format_name, options=options, limits=limits)
    for batch in reader:
        result = validate(batch, default_handling=NO_ONWARD_SHARING, limits=limits)
        outcome.batches.append(result.entries)
        outcome.rejections += result.rejections
        for note, count in batch.notes.items():
            outcome.notes[note] = outcome.notes.get(note, 0) + count
    assert not stream.closed
    return outcome


def likeness(data, format_name, name=""):
    """What the format says of a file."""
    stream = io.BytesIO(data)
    stream.name = name
    return find_format(format_name).looks_like(take_sample(stream))


def database(path, *statements, rows=()):
    """A SQLite file made of statements; `rows` are pairs of a statement and its parameters."""
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    for statement, parameters in rows:
        connection.executemany(statement, parameters)
    connection.commit()
    connection.close()
    return path.read_bytes()
