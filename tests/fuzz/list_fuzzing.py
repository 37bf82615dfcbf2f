"""What the fuzzers of list readers share: a deterministic mutator for texts, and the checks.

Every input must end in entries and rejections, or in an error of `hashlists.errors`. On success
the sums must be right and every hash as long as its kind says. No word about an input may hold
what looks like a hash.
"""

from __future__ import annotations

import io
import random
import re
from typing import TYPE_CHECKING

from fuzzing import command_line, tried

from hashlists.errors import HashlistsError
from hashlists.formats.registry import open_reader
from hashlists.limits import ImportLimits
from hashlists.model import NO_ONWARD_SHARING
from hashlists.validate import validate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hashlists.formats.base import RawBatch

    Mutation = Callable[[bytearray, random.Random, Sequence[bytes]], None]
    #: What to read: the file, the format's options.
    Case = tuple[bytes, Mapping[str, str]]

#: A run of hexadecimal digits that is no number and no word.
HASH_LIKE = re.compile(r"(?=[0-9]*[A-Fa-f])(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{16,}")
#: Small, so that blocks end everywhere and limits are met.
LIMITS = tuple(
    ImportLimits(
        block_bytes=block_bytes,
        max_record_bytes=4096,
        max_member_bytes=1024,
        max_batch_objects=64,
        max_batch_rows=5,
        max_line_chars=2048,
        max_columns=40,
        max_extra_hashes=3,
    )
    for block_bytes in (1, 7, 64, 1000, 1 << 16)
)


def _flip_bit(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set_byte(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.randrange(256)


def _insert_token(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = chance.choice(tokens) * chance.choice((1, 1, 1, 2, 50))


def _replace_by_token(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at : at + chance.randrange(1, 12)] = chance.choice(tokens)


def _cut(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _remove(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.randrange(1, 64)]


def _repeat(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    at = chance.randrange(len(data) + 1)
    data[at:at] = data[at : at + chance.randrange(1, 200)] * chance.randrange(1, 4)


def _swap(data: bytearray, chance: random.Random, tokens: Sequence[bytes]) -> None:
    first, second = sorted(chance.randrange(len(data) + 1) for _ in range(2))
    size = chance.randrange(1, 40)
    data[first : first + size], data[second : second + size] = (
        data[second : second + size],
        data[first : first + size],
    )


_MUTATIONS: tuple[Mutation, ...] = (
    _flip_bit,
    _set_byte,
    _insert_token,
    _replace_by_token,
    _cut,
    _remove,
    _repeat,
    _swap,
)


def mutated(
    corpus: Sequence[Case], tokens: Sequence[bytes], seed: int, number: int
) -> tuple[Case, ImportLimits]:
    """Input `number` of a run: always the same for the same corpus and seed."""
    chance = random.Random(f"{seed}/{number}")
    data, options = chance.choice(corpus)
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3, 8))):
        chance.choice(_MUTATIONS)(changed, chance, tokens)
    return (bytes(changed), options), chance.choice(LIMITS)


def read(data: bytes, format_name: str, options: Mapping[str, str], limits: ImportLimits) -> str:
    """Reads one input and checks what came of it.

    Returns:
        `imported`, `partly` where records were rejected, or the reason of a typed error.
    """
    rejected = 0
    stream = io.BytesIO(data)
    try:
        for batch in open_reader(stream, format=format_name, options=options, limits=limits):
            rejected += _check(batch, limits)
    except HashlistsError as error:
        if HASH_LIKE.search(str(error)):
            raise AssertionError("an error repeats a hash") from None
        return error.reason if str(error) else "an error without words"
    finally:
        assert not stream.closed
    return "partly" if rejected else "imported"


def _check(batch: RawBatch, limits: ImportLimits) -> int:
    """Asserts what must hold of any batch; returns how many records were rejected."""
    result = validate(batch, default_handling=NO_ONWARD_SHARING, limits=limits)
    entries = result.entries
    told = len(entries) + len(result.retractions) + len(result.rejections)
    assert told == batch.rows + len(batch.rejections)
    assert len(entries.content_digests) == len(entries)
    numbers = [entries.place_at(row).number for row in range(len(entries))]
    assert numbers == sorted(set(numbers))
    assert all(key and len(key) > 1 for key in entries.keys)
    for kind, values in entries.hashes.items():
        assert len(values) == len(entries)
        assert all(value is None or len(value) == kind.nbytes for value in values)
    for row in range(len(entries)):
        assert any(values[row] for values in entries.hashes.values())
    for row, kind, value, _ in entries.extra_hashes:
        assert 0 <= row < len(entries)
        assert len(value) == kind.nbytes
    assert not any(map(HASH_LIKE.search, batch.notes))
    for rejection in result.rejections:
        assert rejection.reason
        assert not HASH_LIKE.search(rejection.reason)
        assert not HASH_LIKE.search(rejection.field)
        assert rejection.place.number >= 1
    return len(result.rejections)


def run(
    format_name: str,
    corpus: Sequence[Case],
    tokens: Sequence[bytes],
    *,
    inputs: int,
    seed: int,
    only: int | None = None,
) -> tuple[list[int], dict[str, int]]:
    """Reads mutated inputs.

    Returns:
        The numbers of the inputs that ended in anything but a result or a typed error, and how
        often each kind of outcome came.
    """

    def attempt(number: int) -> str:
        (data, options), limits = mutated(corpus, tokens, seed, number)
        return read(data, format_name, options, limits)

    return tried(attempt, inputs, seed, only)


def main(format_name: str, corpus: Sequence[Case], tokens: Sequence[bytes]) -> int:
    """The command line; exit status 1 when anything was found."""

    def fuzz(inputs: int, seed: int, only: int | None) -> tuple[list[int], dict[str, int]]:
        return run(format_name, corpus, tokens, inputs=inputs, seed=seed, only=only)

    return command_line(format_name, f"Fuzzes the {format_name} reader.", fuzz)
