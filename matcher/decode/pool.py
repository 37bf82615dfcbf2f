"""The seam between the matcher and whatever runs the decoders.

A pool takes bytes and answers with fixed arrays or a reason, always: a decoder that raises, or that
gives back anything but its contract, costs its own item only. What a decoder gives back is not
trusted; `checked` verifies every shape, dtype and number before anybody else sees it.

`InProcessPool` runs decoders in threads of this process: it cannot stop one that hangs, nor outlive
one that crashes. Pools of sandboxed processes implement the same protocol.
"""

from __future__ import annotations

import math
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np

from matcher.decode.limits import DecodeLimits
from matcher.decode.protection import Protection
from matcher.errors import DecoderContractError
from matcher.model import (
    DecodedImage,
    DecodeRequest,
    HashKind,
    NotHashableReason,
    Undecodable,
    View,
    ViewBlocks,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Decoded = DecodedImage | Undecodable

_BLOCK_SHAPE = (64, 64)
_INPUT_SHAPES: Mapping[HashKind, tuple[tuple[int, int], type[np.generic]]] = {
    HashKind.PHASH: ((32, 32), np.uint8),
    HashKind.DHASH: ((8, 9), np.uint8),
    HashKind.AHASH: ((8, 8), np.uint8),
    HashKind.WHASH: ((8, 8), np.float64),
}
_DARKEST, _BRIGHTEST = -0.5, 255.5  # luminance, with room for rounding in 32-bit floats
_FORMAT_NAME = re.compile(r"[a-z0-9]{1,16}")
_FRAME_VIEW = re.compile(r"frame:[1-9][0-9]{0,5}")
_FIXED_VIEWS = frozenset(
    {
        *(View.UPRIGHT, View.STORED, View.COMPOSITED_WHITE, View.COMPOSITED_BLACK, View.TRIMMED),
        *View.MIRRORED,
    }
)
_LONGEST_DETAIL = 300  # characters
_LONGEST_SIDE = 2**31 - 1  # pixels


class DecodePool(Protocol):
    """Runs decoders. Safe to use from several threads."""

    def submit(
        self,
        data: bytes,
        request: DecodeRequest,
        *,
        started: Callable[[], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Future[Decoded]:
        """Decodes one upload.

        Args:
            data: the file as received.
            request: which views and 64-bit kinds are wanted.
            started: called once its turn has come, in the thread that decodes or waits for it.
            meanwhile: called there too, once, before the result is there, unless that is a
                `DecodersAwayError`: other work on the same bytes, for which no thread need be
                woken. It raises nothing.

        Returns:
            A future whose result is what came of it: what goes wrong with a file is an
            `Undecodable`. It holds a `DecodersAwayError` where no decoder can be started, which
            says nothing of the file; another try may do better. It holds no other exception.

        Raises:
            RuntimeError: the pool is closed.
        """
        ...

    def close(self) -> None:
        """Finishes what was submitted and frees the workers. May be called twice."""
        ...

    def versions(self) -> str:
        """The decoders at work and their versions, in one line.

        Raises:
            DecodersAwayError: none was ever started, and none can be.
        """
        ...

    def protection(self) -> Protection:
        """What protects against a decoder that a file has taken over.

        Raises:
            DecodersAwayError: none was ever started, and none can be.
        """
        ...

    def restarts(self) -> Mapping[str, int]:
        """How often decoders had to be replaced, by cause.

        Causes are `ended`, `memory`, `nonsense` and `time`.
        """
        ...


class InProcessPool:
    """Decoders in threads of this process; Pillow's codecs let one another run."""

    def __init__(self, limits: DecodeLimits | None = None, workers: int | None = None) -> None:
        """Starts no thread before the first upload.

        Args:
            limits: ceilings for one upload; by default those of `DecodeLimits`.
            workers: threads; by default one for each CPU.
        """
        from matcher.decode import worker  # noqa: PLC0415  brings Pillow

        self._decoders = worker
        self._limits = limits or DecodeLimits()
        self._executor = ThreadPoolExecutor(
            max_workers=workers or os.cpu_count() or 1, thread_name_prefix="decode"
        )

    def submit(
        self,
        data: bytes,
        request: DecodeRequest,
        *,
        started: Callable[[], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Future[Decoded]:
        """As `DecodePool.submit`."""
        return self._executor.submit(self._decode, data, request, started, meanwhile)

    def close(self) -> None:
        """As `DecodePool.close`."""
        self._executor.shutdown()

    def versions(self) -> str:
        """As `DecodePool.versions`."""
        return self._decoders.versions()

    def protection(self) -> Protection:
        """As `DecodePool.protection`: none."""
        return Protection(0)

    def restarts(self) -> Mapping[str, int]:
        """As `DecodePool.restarts`: a thread cannot be replaced."""
        return {}

    def _decode(
        self,
        data: bytes,
        request: DecodeRequest,
        started: Callable[[], None] | None,
        meanwhile: Callable[[], None] | None,
    ) -> Decoded:
        for each in (started, meanwhile):
            if each is not None:
                each()
        try:
            result = self._decoders.decode(data, request, self._limits)
            return checked(result, request, self._limits)
        except MemoryError:
            return out_of_memory()
        except Exception as error:  # noqa: BLE001 - the border where foreign exceptions end
            return broken_down(error)


def out_of_memory(*, fatal: bool = False) -> Undecodable:
    """What a file is to its caller whose decoding takes more memory than there is."""
    detail = "decoding takes more memory than there is"
    return Undecodable(NotHashableReason.OVER_LIMIT, detail, fatal=fatal)


def broken_down(error: Exception) -> Undecodable:
    """What an exception that no decoder should raise is to the caller."""
    return Undecodable(
        NotHashableReason.DECODER_FAILED,
        f"the decoder broke down: this is a bug ({type(error).__name__}); please report it",
    )


def checked(result: object, request: DecodeRequest, limits: DecodeLimits) -> Decoded:
    """Verifies what a decoder gave back against its contract.

    Args:
        result: whatever came back.
        request: what was asked for.
        limits: ceilings that were in force.

    Returns:
        The same object.

    Raises:
        DecoderContractError: it is not what a decoder may give back.
    """
    if isinstance(result, Undecodable):
        _check_undecodable(result)
        return result
    if not isinstance(result, DecodedImage):
        raise DecoderContractError("the decoder gave back neither an image nor a reason")
    _require(_FORMAT_NAME.fullmatch(result.format) is not None, "format")
    _require(1 <= result.width <= _LONGEST_SIDE, "width")
    _require(1 <= result.height <= _LONGEST_SIDE, "height")
    _require(result.frames >= 1, "number of frames")
    names = [view.view for view in result.views]
    _require(names[:1] == [View.UPRIGHT], "first view")
    _require(len(names) <= limits.codes, "number of views")
    _require(len(set(names)) == len(names), "names of views")
    known = _FIXED_VIEWS.union(map(View.crop, request.crops))
    for name in (*names, *result.views_left_out):
        _require(name in known or _FRAME_VIEW.fullmatch(name) is not None, "name of a view")
    for view in result.views:
        _check_view(view, request)
    return result


def _check_undecodable(result: Undecodable) -> None:
    _require(isinstance(result.reason, NotHashableReason), "reason")
    _require(result.reason is not NotHashableReason.FEATURELESS, "reason")
    _require(len(result.detail) <= _LONGEST_DETAIL and result.detail.isprintable(), "detail")


def _check_view(view: ViewBlocks, request: DecodeRequest) -> None:
    if view.luma is not None:
        _check_array(view.luma, _BLOCK_SHAPE, np.float32)
    _require(view.inputs64.keys() == request.kinds64, "kinds of a view")
    for kind, array in view.inputs64.items():
        shape, dtype = _INPUT_SHAPES[kind]
        _check_array(array, shape, dtype)


def _check_array(array: object, shape: tuple[int, int], dtype: type[np.generic]) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise DecoderContractError("the decoder broke its contract: dtype of an array")
    _require(array.shape == shape, "shape of an array")
    low, high = float(array.min()), float(array.max())  # either is not finite if any number is
    _require(math.isfinite(low) and math.isfinite(high), "numbers of an array")
    _require(low >= _DARKEST and high <= _BRIGHTEST, "range of an array")


def _require(kept: bool, what: str) -> None:  # noqa: FBT001 - reads as one word
    if not kept:
        raise DecoderContractError(f"the decoder broke its contract: {what}")
