"""What crosses between a decode worker and its parent: fixed headers and raw arrays.

Invariants: nothing is unpickled, evaluated or looked up by a name that the worker wrote. Every
length follows from bounded numbers, so that a worker taken over by a file can make its parent
allocate no more than `largest_body`, and what does not add up to the byte is a
`DecoderContractError`. What the numbers mean is judged by `matcher.decode.pool.checked`.

All numbers are little-endian. A request is a head, the shares of its crops, and the file, unless
that lies in shared memory. An answer is a head, which repeats the request's number, and a body: a
detail in UTF-8, or a table of views, a table of the views that were left out, and the arrays of the
first in its order.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from matcher.errors import DecoderContractError
from matcher.model import (
    CODE64_KINDS,
    DecodedImage,
    DecodeRequest,
    HashKind,
    NotHashableReason,
    Undecodable,
    View,
    ViewBlocks,
    ViewSelection,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

#: Larger files cross through shared memory.
INLINE_BYTES = 256 * 1024

#: magic, number, bytes of the file, shared, views, kinds, crops, frames
_REQUEST = struct.Struct("<IIIBBBBI")
_REQUEST_MAGIC = 0x51525748
#: magic, number, status, reason, truncated, format, width, height, frames, views, left out, bytes
#: of the body
_ANSWER = struct.Struct("<IIBBBx16sIIIHHI")
_ANSWER_MAGIC = 0x41525748
_VIEW = struct.Struct("<BBBxI")  # which one, whether it has a block, its kinds, its number
_SHARE = struct.Struct("<d")

_IMAGE, _UNDECODABLE, _OUT_OF_MEMORY = range(3)
_MAX_CROPS = 16
_MAX_DETAIL_BYTES = 1200  # 300 characters
_MAX_LEFT_OUT = 2048
_REASONS = tuple(NotHashableReason)
_KINDS = tuple(kind for kind in HashKind if kind in CODE64_KINDS)
_FIXED_VIEWS = (
    *(View.UPRIGHT, View.STORED, View.COMPOSITED_WHITE, View.COMPOSITED_BLACK, View.TRIMMED),
    *View.MIRRORED,
)
_FRAME, _CROP = 254, 255
_SELECTION = ("stored", "composited", "composited_black", "trimmed", "mirrored")


@dataclass(frozen=True, slots=True)
class _Layout:
    """How an array lies in an answer."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    nbytes: int


def _layout(shape: tuple[int, ...], name: str) -> _Layout:
    dtype: np.dtype[np.generic] = np.dtype(name)
    return _Layout(shape, dtype, math.prod(shape) * dtype.itemsize)


_LUMA = _layout((64, 64), "<f4")
_INPUTS: Mapping[HashKind, _Layout] = {
    HashKind.PHASH: _layout((32, 32), "u1"),
    HashKind.DHASH: _layout((8, 9), "u1"),
    HashKind.AHASH: _layout((8, 8), "u1"),
    HashKind.WHASH: _layout((8, 8), "<f8"),
}

REQUEST_HEAD_BYTES = _REQUEST.size
ANSWER_HEAD_BYTES = _ANSWER.size
NUMBERS = 2**32  # of requests, before they begin again
#: The first thing that a worker says: what protects against it.
GREETING = struct.Struct("<I")


class OutOfMemoryError(Exception):
    """The worker came to the end of its memory over this file."""


def largest_body(views: int) -> int:
    """Bytes of the largest body of an answer with at most so many views."""
    arrays = sum(each.nbytes for each in (_LUMA, *_INPUTS.values()))
    return max(_MAX_DETAIL_BYTES, views * (_VIEW.size + arrays) + _MAX_LEFT_OUT * _VIEW.size)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The fixed part of a request.

    Attributes:
        number: which the answer repeats.
        nbytes: of the file.
        shared: the file lies in shared memory, and does not follow.
        request: what is asked for, but for its crops.
        crop_bytes: of the shares that follow.
    """

    number: int
    nbytes: int
    shared: bool
    request: DecodeRequest
    crop_bytes: int

    def with_crops(self, shares: bytes) -> DecodeRequest:
        """All that is asked for, with the shares that followed."""
        crops = tuple(share for (share,) in _SHARE.iter_unpack(shares))
        return replace(self.request, crops=crops)


def pack_request(request: DecodeRequest, nbytes: int, number: int) -> bytes:
    """The head of the request of that number, for a file of `nbytes`, and its crops.

    Raises:
        ValueError: there are more crops than a request may have.
    """
    if len(request.crops) > _MAX_CROPS:
        raise ValueError(f"at most {_MAX_CROPS} crops at once, not {len(request.crops)}")
    head = _REQUEST.pack(
        _REQUEST_MAGIC,
        number,
        nbytes,
        nbytes > INLINE_BYTES,
        _to_bits(getattr(request.views, name) for name in _SELECTION),
        _to_bits(kind in request.kinds64 for kind in _KINDS),
        len(request.crops),
        request.views.frames,
    )
    return head + b"".join(map(_SHARE.pack, request.crops))


def unpack_request(head: bytes) -> RequestHead:
    """Reads the head of a request.

    Raises:
        DecoderContractError: it is none.
    """
    magic, number, nbytes, shared, views, kinds, crops, frames = _REQUEST.unpack(head)
    _require(magic == _REQUEST_MAGIC, "a request")
    chosen = dict(zip(_SELECTION, _from_bits(views), strict=False))
    wanted = frozenset(
        kind for kind, is_wanted in zip(_KINDS, _from_bits(kinds), strict=False) if is_wanted
    )
    request = DecodeRequest(ViewSelection(frames=frames, **chosen), wanted)
    return RequestHead(number, nbytes, bool(shared), request, crops * _SHARE.size)


def pack_out_of_memory(number: int) -> bytes:
    """The answer to the request of that number where memory ran out."""
    return _ANSWER.pack(
        *(_ANSWER_MAGIC, number, _OUT_OF_MEMORY, 0, False, b""), *(0, 0, 0, 0, 0, 0)
    )


def pack_answer(result: DecodedImage | Undecodable, request: DecodeRequest, number: int) -> bytes:
    """The answer to the request of that number, head included.

    Raises:
        ValueError: a view has a name that no request asks for.
    """
    if isinstance(result, Undecodable):
        detail = result.detail.encode()[:_MAX_DETAIL_BYTES]
        reason = _REASONS.index(result.reason)
        return (
            _ANSWER.pack(
                *(_ANSWER_MAGIC, number, _UNDECODABLE, reason, False, b""),
                *(0, 0, 0, 0, 0, len(detail)),
            )
            + detail
        )
    left_out = result.views_left_out[:_MAX_LEFT_OUT]
    parts = [_pack_view(view, request) for view in result.views]
    parts += [_pack_name(name, request) for name in left_out]
    for view in result.views:
        parts += [array.astype(layout.dtype).tobytes() for array, layout in _arrays_of(view)]
    body = b"".join(parts)
    head = _ANSWER.pack(
        *(_ANSWER_MAGIC, number, _IMAGE, 0, result.truncated, result.format.encode("ascii")),
        *(result.width, result.height, result.frames, len(result.views), len(left_out)),
        len(body),
    )
    return head + body


def body_bytes(head: bytes, number: int, *, views: int) -> int:
    """How many bytes follow the head of an answer with at most so many views.

    Raises:
        DecoderContractError: it is no head, or of the answer to another request, or says more than
            there can be.
    """
    magic, answered, *_, nbytes = _ANSWER.unpack(head)
    _require(magic == _ANSWER_MAGIC and answered == number, "an answer")
    _require(nbytes <= largest_body(views), "the length of an answer")
    return int(nbytes)


def unpack_answer(
    head: bytes, body: bytes | bytearray, request: DecodeRequest
) -> DecodedImage | Undecodable:
    """Reads an answer; its arrays are read-only and lie in `body`.

    Args:
        head: as `body_bytes` took it.
        body: as many bytes as that said.
        request: what was asked for.

    Raises:
        DecoderContractError: it is none.
        OutOfMemoryError: it says that memory ran out.
    """
    _, _, status, reason, truncated, name, width, height, frames, views, left_out, _ = (
        _ANSWER.unpack(head)
    )
    if status == _OUT_OF_MEMORY:
        raise OutOfMemoryError
    if status == _UNDECODABLE:
        _require(reason < len(_REASONS), "a reason")
        return Undecodable(_REASONS[reason], _text(body, "utf-8"))
    _require(status == _IMAGE and truncated < 2, "the status of an answer")  # noqa: PLR2004 - a bool
    data = memoryview(body).toreadonly()
    tables = (views + left_out) * _VIEW.size
    _require(tables <= len(data), "the length of an answer")
    rows = list(_VIEW.iter_unpack(data[:tables]))
    shown = tuple(_views(rows[:views], data[tables:], request))
    return DecodedImage(
        width=width,
        height=height,
        format=_text(name.rstrip(b"\0"), "ascii"),
        frames=frames,
        truncated=bool(truncated),
        views=shown,
        views_left_out=tuple(_name(row[0], row[3], request) for row in rows[views:]),
    )


def _views(
    rows: Sequence[tuple[int, int, int, int]], arrays: memoryview, request: DecodeRequest
) -> Iterator[ViewBlocks]:
    start = 0

    def take(layout: _Layout) -> Any:
        nonlocal start
        stop = start + layout.nbytes
        _require(stop <= len(arrays), "the length of an answer")
        array = np.frombuffer(arrays[start:stop], layout.dtype).reshape(layout.shape)
        start = stop
        return array

    for which, has_luma, kinds, number in rows:
        _require(has_luma < 2 and kinds < 1 << len(_KINDS), "a view")  # noqa: PLR2004 - a bool
        yield ViewBlocks(
            view=_name(which, number, request),
            luma=take(_LUMA) if has_luma else None,
            inputs64={
                kind: take(_INPUTS[kind]) for bit, kind in enumerate(_KINDS) if kinds >> bit & 1
            },
        )
    _require(start == len(arrays), "the length of an answer")


def _pack_view(view: ViewBlocks, request: DecodeRequest) -> bytes:
    which, number = _number(view.view, request)
    kinds = _to_bits(kind in view.inputs64 for kind in _KINDS)
    return _VIEW.pack(which, view.luma is not None, kinds, number)


def _pack_name(name: str, request: DecodeRequest) -> bytes:
    which, number = _number(name, request)
    return _VIEW.pack(which, False, 0, number)  # noqa: FBT003 - it has no block


def _arrays_of(view: ViewBlocks) -> Iterator[tuple[NDArray[np.generic], _Layout]]:
    if view.luma is not None:
        yield view.luma, _LUMA
    for kind in _KINDS:
        if kind in view.inputs64:
            yield view.inputs64[kind], _INPUTS[kind]


def _number(name: str, request: DecodeRequest) -> tuple[int, int]:
    """Which view a name is of, and its number among those."""
    if name in _FIXED_VIEWS:
        return _FIXED_VIEWS.index(name), 0
    family, _, number = name.partition(":")
    if family == View.family(View.frame(0)):
        return _FRAME, int(number)
    return _CROP, [View.crop(share) for share in request.crops].index(name)


def _name(which: int, number: int, request: DecodeRequest) -> str:
    if which == _FRAME:
        return View.frame(number)
    if which == _CROP:
        _require(number < len(request.crops), "a view")
        return View.crop(request.crops[number])
    _require(which < len(_FIXED_VIEWS), "a view")
    return _FIXED_VIEWS[which]


def _text(data: bytes | bytearray, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise DecoderContractError("the decoder broke its contract: a text") from None


def _to_bits(values: Iterable[bool]) -> int:
    return sum(value << bit for bit, value in enumerate(values))


def _from_bits(bits: int) -> list[bool]:
    return [bool(bits >> bit & 1) for bit in range(8)]


def _require(kept: bool, what: str) -> None:  # noqa: FBT001 - reads as one word
    if not kept:
        raise DecoderContractError(f"the decoder broke its contract: {what}")


__all__ = [
    "ANSWER_HEAD_BYTES",
    "GREETING",
    "INLINE_BYTES",
    "NUMBERS",
    "REQUEST_HEAD_BYTES",
    "OutOfMemoryError",
    "RequestHead",
    "body_bytes",
    "largest_body",
    "pack_answer",
    "pack_out_of_memory",
    "pack_request",
    "unpack_answer",
    "unpack_request",
]
