"""Bounds how slowly the upload of a list file may come, since it holds a place while it does.

gRPC bounds none of this: a client that sends a byte a minute would hold its place for as long as it
likes. Only what the client takes counts, never what is done here with what it has sent.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from matcher.errors import UploadTooSlowError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from matcher._proto.hashwarden.lists.v1 import lists_pb2 as pb

#: So many bytes, or the end of the file, come in the time that is given.
PROGRESS_BYTES = 64 * 1024


class Pace:
    """The pace of one upload.

    Args:
        requests: the messages of the call, the first of which says what comes.
        seconds: in which the first message has to come, and then each `PROGRESS_BYTES`.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        requests: AsyncIterator[pb.ImportHashListRequest],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._requests = requests
        self._seconds = seconds
        self._clock = clock
        self._waited = 0.0
        self._came = 0

    async def start(self) -> pb.ImportHashListRequest | None:
        """The first message; None where there is none.

        Raises:
            UploadTooSlowError: it did not come in time.
        """
        request = await self._next("no message came")
        self._waited = 0.0
        return request

    async def next(self) -> pb.ImportHashListRequest | None:
        """The next message; None at the end.

        Raises:
            UploadTooSlowError: less than `PROGRESS_BYTES` came in the time that is given.
        """
        request = await self._next(f"less than {PROGRESS_BYTES >> 10} KiB came")
        self._came += 0 if request is None else len(request.chunk)
        if self._came >= PROGRESS_BYTES:
            self._waited, self._came = 0.0, 0
        return request

    async def _next(self, short: str) -> pb.ImportHashListRequest | None:
        too_slow = UploadTooSlowError(f"{short} in {self._seconds:g} seconds; nothing is imported")
        began = self._clock()
        try:
            async with asyncio.timeout(self._seconds - self._waited):
                request = await anext(self._requests, None)
        except TimeoutError:
            raise too_slow from None
        self._waited += self._clock() - began
        if self._waited > self._seconds:  # what was there already is not waited for
            raise too_slow
        return request


__all__ = ["PROGRESS_BYTES", "Pace"]
