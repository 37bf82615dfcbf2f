"""Makes a file that may do harm of whole ones: always the same for the same seed and number."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING, Final

from loadtest.hostile.layout import Layout, Number, Order, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BYTES: Final = (0, 1, 0x7F, 0x80, 0xFF)
_TIMES: Final = (1, 1, 2, 3, 8)  # mutations of one file
_LARGEST: Final = 256 * 1024  # bytes of a mutated file
_COPIES: Final = (1, 2, 5, 50, 500)


def mutated(corpus: Sequence[bytes], seed: int, number: int) -> bytes:
    """File `number` of a run.

    Args:
        corpus: whole files; the same ones in the same order give the same file.
        seed: which run.
        number: from 0.
    """
    chance = random.Random(f"{seed}/{number}")
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice(_TIMES)):
        which = chance.randrange(len(_ALONE) + len(_MIXING))
        if which < len(_ALONE):
            _ALONE[which](data, chance)
        else:
            _MIXING[which - len(_ALONE)](data, chance, corpus)
        del data[_LARGEST:]
    if data.startswith(b"\x89PNG") and chance.random() < 0.7:
        _sign_png(data)
    return bytes(data) or b"\0"  # an empty upload is refused as a request


def _flip_bit(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _set_byte(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(len(data))] = chance.choice(_BYTES)


def _set_header_byte(data: bytearray, chance: random.Random) -> None:
    if data:
        data[chance.randrange(min(len(data), 64))] = chance.randrange(256)


def _set_number(data: bytearray, chance: random.Random) -> None:
    size = chance.choice((2, 4))
    if len(data) >= size:
        at = chance.randrange(len(data) - size + 1)
        order: Order = "little" if chance.random() < 0.5 else "big"
        _write(data, Number(at, size, order), _hostile_number(chance, size))


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data) + 1) :]


def _remove(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    del data[at : at + chance.randrange(1, 32)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data) + 1)
    part = data[at : at + chance.randrange(1, 64)]
    data[at:at] = part * chance.randrange(1, 4)


def _splice(data: bytearray, chance: random.Random, corpus: Sequence[bytes]) -> None:
    other = chance.choice(corpus)
    at, there = chance.randrange(len(data) + 1), chance.randrange(len(other))
    data[at : at + 64] = other[there : there + chance.randrange(1, 128)]


def _append_noise(data: bytearray, chance: random.Random) -> None:
    data += chance.randbytes(chance.randrange(1, 64))


def _remove_piece(data: bytearray, chance: random.Random) -> None:
    if pieces := layout_of(bytes(data)).pieces:
        start, end = chance.choice(pieces)
        del data[start:end]


def _repeat_piece(data: bytearray, chance: random.Random) -> None:
    if pieces := layout_of(bytes(data)).pieces:
        start, end = chance.choice(pieces)
        copies = min(chance.choice(_COPIES), _LARGEST // max(1, end - start))
        data[start:start] = data[start:end] * copies


def _swap_pieces(data: bytearray, chance: random.Random) -> None:
    pieces = layout_of(bytes(data)).pieces
    if len(pieces) > 1:
        (start, end), (other, stop) = sorted(chance.sample(pieces, 2))
        if end <= other:
            first, second = bytes(data[start:end]), bytes(data[other:stop])
            data[other:stop], data[start:end] = first, second


def _take_piece(data: bytearray, chance: random.Random, corpus: Sequence[bytes]) -> None:
    """A piece of another file, most often of the same format."""
    own, at = bytes(data[:4]), chance.randrange(len(data) + 1)
    alike = [each for each in corpus if each[:4] == own] or corpus
    other = chance.choice(alike)
    theirs, ours = layout_of(other).pieces, layout_of(bytes(data)).pieces
    if theirs:
        start, end = chance.choice(theirs)
        at = chance.choice(ours)[0] if ours else at
        data[at:at] = other[start:end]


def _lie_of_length(data: bytearray, chance: random.Random) -> None:
    _lie(data, chance, layout_of(bytes(data)).lengths)


def _lie_of_size(data: bytearray, chance: random.Random) -> None:
    sizes = layout_of(bytes(data)).sizes
    for _ in range(chance.choice((1, 2))):
        _lie(data, chance, sizes)


def _lead_astray(data: bytearray, chance: random.Random) -> None:
    """Has something lie elsewhere: where it is told of, at another's place, beyond the end."""
    found: Layout = layout_of(bytes(data))
    if found.places:
        one, other = chance.choice(found.places), chance.choice(found.places)
        there = int.from_bytes(data[other.at : other.at + other.size], other.order)
        near = chance.choice((one.at, other.at, there, len(data), len(data) - 1, 0, 4, 8))
        _write(data, one, near)


def _lie(data: bytearray, chance: random.Random, numbers: Sequence[Number]) -> None:
    if numbers:
        number = chance.choice(numbers)
        _write(data, number, _hostile_number(chance, number.size))


def _hostile_number(chance: random.Random, size: int) -> int:
    most = (1 << 8 * size) - 1
    return chance.choice(
        (
            *(0, 1, 2, most, most - 1, most // 2, most // 2 + 1, 1 << 15, 1 << 16),
            *(chance.randrange(1, 300), chance.randrange(1 << 16), chance.randrange(most + 1)),
        )
    )


def _write(data: bytearray, number: Number, value: int) -> None:
    size = number.size
    data[number.at : number.at + size] = (value % (1 << 8 * size)).to_bytes(size, number.order)


def _sign_png(data: bytearray) -> None:
    """Chunks get the check that fits them: else their damage would be all that is seen."""
    for start, end in layout_of(bytes(data)).pieces:
        data[end - 4 : end] = zlib.crc32(data[start + 4 : end - 4]).to_bytes(4, "big")


#: What takes a file alone, and what takes parts of others; several know how the file is built.
_ALONE: Final[tuple[Callable[[bytearray, random.Random], None], ...]] = (
    _flip_bit,
    _set_byte,
    _set_header_byte,
    _set_number,
    _cut,
    _remove,
    _repeat,
    _append_noise,
    _remove_piece,
    _repeat_piece,
    _swap_pieces,
    _lie_of_length,
    _lie_of_size,
    _lead_astray,
)
_MIXING: Final[tuple[Callable[[bytearray, random.Random, Sequence[bytes]], None], ...]] = (
    _splice,
    _take_piece,
)

__all__ = ["mutated"]
