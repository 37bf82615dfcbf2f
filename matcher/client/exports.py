"""Exports as a client takes them: a request, and a file that counts only once its report agrees."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO

from hashlists.errors import DigestMismatchError
from hashlists.exporting.measured import Measured
from hashlists.exporting.report import ExportReport
from hashlists.exporting.request import Compression
from matcher import wire
from matcher._proto.hashwarden.lists.v1 import lists_pb2
from matcher.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager

    from hashlists.exporting.request import ExportRequest

_COMPRESSIONS = {
    Compression.NONE: lists_pb2.COMPRESSION_UNSPECIFIED,
    Compression.GZIP: lists_pb2.COMPRESSION_GZIP,
    Compression.ZSTD: lists_pb2.COMPRESSION_ZSTD,
}


def export_request(request: ExportRequest, *, author: str) -> lists_pb2.ExportHashListRequest:
    """The request on the wire; where it names no recipient, the server refuses it."""
    classes = request.classifications
    return lists_pb2.ExportHashListRequest(
        hash_lists=[wire.LIST_COLLECTION + name for name in request.list_names],
        format=request.format,
        format_options=request.options,
        recipients=request.recipients,
        since_revision=request.since,
        upto_revision=request.upto,
        classifications=[
            lists_pb2.Classification(scheme=each.scheme, profile=each.profile, code=each.code)
            for each in classes or ()
            if each is not None
        ],
        unclassified=classes is not None and None in classes,
        kinds=None if request.kinds is None else [kind.value for kind in request.kinds],
        compression=_COMPRESSIONS[request.compression or Compression.NONE],
        encryption_keys=request.encrypt_to,
        derived=request.derived,
        author=author,
    )


class ReceivedFile:
    """The bytes of an export on their way to a stream, and what the server says of them.

    Args:
        stream: takes the bytes; may take a part of what it is given at a time.
        request: what was asked for.
    """

    def __init__(self, stream: BinaryIO, request: ExportRequest) -> None:
        self._measured = Measured(stream)
        self._request = request
        self._report: lists_pb2.ExportReport | None = None

    def take(self, message: lists_pb2.ExportHashListResponse) -> None:
        """The server's next message.

        Raises:
            OSError: the stream takes no more.
        """
        if message.WhichOneof("payload") == "report":
            self._report = message.report
        else:
            self._measured.write(message.chunk)

    def finish(self) -> ExportReport:
        """The report, where it agrees with what came.

        Raises:
            ServerError: the server gave none; what came is no whole file.
            DigestMismatchError: other bytes came than the server sent.
            OSError: the stream takes no more.
        """
        if self._report is None:
            raise ServerError(
                "the server gave no report; what came is no whole file", reason="UNKNOWN"
            )
        came = (self._measured.bytes, self._measured.sha256)
        if came != (self._report.length, self._report.sha256.hex()):
            raise DigestMismatchError(
                "what came is not the file that the server reports; export it again"
            )
        self._measured.finish()
        return _report_of(self._report, self._request)


def _report_of(report: lists_pb2.ExportReport, request: ExportRequest) -> ExportReport:
    held_back = report.held_back
    return ExportReport(
        list_names=tuple(request.list_names),
        format=request.format,
        recipients=None if request.recipients is None else tuple(request.recipients),
        revision=report.revision,
        since=request.since,
        entries=report.entries,
        retracted=report.retracted,
        left_out=report.left_out,
        untold=report.untold,
        purged=report.purged,
        losses=dict(report.losses),
        unreleasable=held_back.unreleasable,
        by_recipient=dict(held_back.unreleasable_by_recipient),
        expired=held_back.expired,
        bytes=report.length,
        sha256=report.sha256.hex(),
        media_type=report.media_type,
        ending=report.file_ending,
        compression=(request.compression or Compression.NONE).value,
        encrypted_to=tuple(request.encrypt_to),
        seconds=report.seconds,
        warnings=tuple(report.warnings),
    )


@asynccontextmanager
async def in_threads(manager: AbstractContextManager[BinaryIO]) -> AsyncIterator[BinaryIO]:
    """The context, begun and ended in threads, since it waits for a disk."""
    opened = await asyncio.to_thread(manager.__enter__)
    try:
        yield opened
    except BaseException as error:
        if not await asyncio.to_thread(manager.__exit__, type(error), error, error.__traceback__):
            raise
    else:
        await asyncio.to_thread(manager.__exit__, None, None, None)
