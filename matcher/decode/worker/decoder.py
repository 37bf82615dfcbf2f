"""The whole of decoding on one page: sniff, judge the header, open, render the views.

No state is kept between calls, and one file's trouble never reaches another.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PIL.Image import DecompressionBombError

from matcher.decode.worker.failures import NotDecodableError, over_limit
from matcher.decode.worker.opening import open_file
from matcher.decode.worker.views import render_views
from matcher.model import DecodedImage, NotHashableReason, Undecodable

if TYPE_CHECKING:
    from matcher.decode.limits import DecodeLimits
    from matcher.model import DecodeRequest


def decode(data: bytes, request: DecodeRequest, limits: DecodeLimits) -> DecodedImage | Undecodable:
    """Decodes one upload into what the hashers take.

    Args:
        data: the file as received, of any kind.
        request: which views and which 64-bit kinds are wanted.
        limits: ceilings. Its `seconds` are looked at between views; what a single step of a codec
            takes is bounded by the other limits, and by whoever runs the worker.

    Returns:
        The views, `upright` first, or why there are none. Unforeseen exceptions are let through:
        the pool makes `decoder_failed` of them, and a fuzzer must see them.

    Raises:
        MemoryError: there was not enough; another process may have it.
    """
    deadline = time.monotonic() + limits.seconds
    try:
        if len(data) > limits.encoded_bytes:
            raise over_limit("file", len(data), limits.encoded_bytes, "bytes")
        opened = open_file(data, limits)
        rendered = render_views(opened, request, limits, deadline)
    except NotDecodableError as error:
        return error.answer
    except DecompressionBombError:
        return Undecodable(NotHashableReason.OVER_LIMIT, "decoding takes more memory than there is")
    return DecodedImage(
        width=rendered.width,
        height=rendered.height,
        format=opened.format.value,
        frames=rendered.frames,
        truncated=opened.truncated,
        views=rendered.views,
        views_left_out=rendered.left_out,
    )
