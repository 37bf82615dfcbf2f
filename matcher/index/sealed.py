"""How the codes of a sealed segment are kept and found: one place that knows every method.

| kinds | method | arrays |
|---|---|---|
| PDQ, many codes | `multi_index` | `codes`, `chunk00_offsets`, `chunk01_offsets`, ... |
| PDQ, few codes; 64-bit kinds | `flat` | `codes` |
| PhotoDNA | `group_sums` | `codes`, `sums`, `half_norms` |
| digests | `sorted` | `leads`, `tails` |

Parameters stand in the snapshot, so that what was built with other choices is opened all the same.
Opening maps: nothing of the size of the codes is computed or copied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hashlists.model import HashKind
from matcher.index.cost import CODE_BITS, choose_chunk_bits
from matcher.index.digest import DigestIndex, split_digests
from matcher.index.flat import FlatIndex
from matcher.index.multi_index import (
    MAX_CHUNK_BITS,
    Chunk,
    MultiIndex,
    build_chunks,
    check,
    chunk_name,
)
from matcher.index.photodna import PhotoDnaIndex, bound_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from matcher.index.base import CodeIndex, UInt8Array

METHOD = "method"
CHUNK_BITS = "chunk_bits"
MULTI_INDEX = "multi_index"
FLAT = "flat"
GROUP_SUMS = "group_sums"
SORTED = "sorted"
_NAMES = {
    FLAT: ("codes",),
    GROUP_SUMS: ("codes", "sums", "half_norms"),
    SORTED: ("leads", "tails"),
}
_MAX_CHUNKS = 100  # what two digits of a name can count


def choose_parameters(kind: HashKind, count: int) -> dict[str, Any]:
    """The method, with its parameters, for `count` codes of a kind; JSON-able."""
    if kind.is_digest:
        return {METHOD: SORTED}
    if kind is HashKind.PHOTODNA:
        return {METHOD: GROUP_SUMS}
    chunk_bits = choose_chunk_bits(count) if kind is HashKind.PDQ else None
    if chunk_bits is None:
        return {METHOD: FLAT}
    return {METHOD: MULTI_INDEX, CHUNK_BITS: list(chunk_bits)}


def sealed_names(kind: HashKind, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The arrays in which codes are kept that were sealed with these parameters.

    Raises:
        ValueError: this build does not know the method, or not for that kind.
    """
    method = parameters.get(METHOD)
    if method == MULTI_INDEX and kind is HashKind.PDQ and set(parameters) == {METHOD, CHUNK_BITS}:
        chunks = len(_chunk_bits(parameters))
        names = [name for number in range(chunks) for name in _chunk_names(number)]
        return ("codes", *names)
    if dict(parameters) == choose_parameters(kind, 0):
        return _NAMES[str(method)]
    raise ValueError(f"{kind} is searched by a method that this build does not know")


def seal(
    kind: HashKind,
    codes: UInt8Array,
    parameters: Mapping[str, Any] | None = None,
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Makes the arrays by name, one after the other, so that each can be written and let go.

    Args:
        kind: of the codes.
        codes: `(N, kind.nbytes) uint8`, C-contiguous, distinct and sorted by their bytes.
        parameters: as `choose_parameters` gives them, and chosen so where they are None.

    Raises:
        ValueError: the parameters are not for that kind.
    """
    if parameters is None:
        parameters = choose_parameters(kind, len(codes))
    names = sealed_names(kind, parameters)
    if kind.is_digest:
        yield from zip(names, split_digests(codes), strict=True)
        return
    yield "codes", codes
    if kind is HashKind.PHOTODNA:
        yield from zip(names[1:], bound_arrays(codes), strict=True)
    elif parameters[METHOD] == MULTI_INDEX:
        for number, chunk in enumerate(build_chunks(codes, _chunk_bits(parameters))):
            for name, array in zip(_chunk_names(number), (chunk.offsets, chunk.rows), strict=False):
                if array is not None:
                    yield name, array


def open_sealed(
    kind: HashKind,
    arrays: Mapping[str, NDArray[Any]],
    parameters: Mapping[str, Any],
) -> CodeIndex:
    """An index over the arrays that `seal` made.

    Refuses what could crash a search, or make it miss in silence, as far as one quick pass over
    the arrays and samples of the codes can tell.

    Args:
        kind: of the codes.
        arrays: those that `sealed_names` names; not copied, never to be changed.
        parameters: those that the arrays were sealed with.

    Raises:
        ValueError: an array is missing, the arrays contradict each other or the parameters, or this
            build does not know the method; names the array.
    """
    for name in sealed_names(kind, parameters):
        if name not in arrays:
            raise ValueError(f"{kind}.{name} is missing")
    if kind.is_digest:
        return DigestIndex(kind, arrays["leads"], arrays["tails"])
    codes = arrays["codes"]
    if kind is HashKind.PHOTODNA:
        return PhotoDnaIndex(codes, sums=arrays["sums"], half_norms=arrays["half_norms"])
    flat = FlatIndex(kind, codes)
    if parameters[METHOD] == FLAT:
        return flat
    chunks = _open_chunks(arrays, _chunk_bits(parameters))
    try:
        check(codes, chunks)
    except ValueError as error:
        raise ValueError(f"{kind}.{error}") from error
    return MultiIndex(codes, chunks)


def _chunk_names(number: int) -> tuple[str, ...]:
    """Names of a chunk's arrays: the first has no rows, since codes stand in its order."""
    name = chunk_name(number)
    return (f"{name}_offsets", f"{name}_rows") if number else (f"{name}_offsets",)


def _open_chunks(arrays: Mapping[str, NDArray[Any]], chunk_bits: Sequence[int]) -> list[Chunk]:
    chunks = []
    for number, bits in enumerate(chunk_bits):
        offsets, *rows = (arrays[name] for name in _chunk_names(number))
        chunks.append(Chunk(sum(chunk_bits[:number]), bits, offsets, rows[0] if rows else None))
    return chunks


def _chunk_bits(parameters: Mapping[str, Any]) -> tuple[int, ...]:
    widths = parameters[CHUNK_BITS]
    if (
        not isinstance(widths, list)
        or not 0 < len(widths) <= _MAX_CHUNKS
        or not all(type(bits) is int and 0 < bits <= MAX_CHUNK_BITS for bits in widths)
        or sum(widths) > CODE_BITS
    ):
        raise ValueError(
            f"chunk_bits are at most {_MAX_CHUNKS} numbers of 1 to {MAX_CHUNK_BITS} that add up to"
            f" at most {CODE_BITS}",
        )
    return tuple(widths)


__all__ = ["choose_parameters", "open_sealed", "seal", "sealed_names"]
