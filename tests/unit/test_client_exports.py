"""A client takes a file for whole only where the server's report agrees with what came."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
from functools import partial

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from hashlists.errors import DigestMismatchError, ExportTargetError, OptionsError
from hashlists.exporting.request import ExportRequest
from matcher._proto.hashwarden.lists.v1 import lists_pb2 as pb
from matcher._proto.hashwarden.lists.v1 import lists_pb2_grpc
from matcher.client import AsyncClient, Client
from matcher.errors import ServerError

PIECES = (b"first, ", b"second")
DATA = b"".join(PIECES)
REPORT = {"length": len(DATA), "sha256": hashlib.sha256(DATA).digest(), "revision": 7}


class Exporting(lists_pb2_grpc.HashListServiceServicer):
    """Exports made-up bytes; the first recipient says what goes wrong at the end."""

    async def ExportHashList(self, request, context):  # noqa: N802  gRPC's name
        for piece in PIECES:
            yield pb.ExportHashListResponse(chunk=piece)
        match request.recipients[0]:
            case "whole":
                yield pb.ExportHashListResponse(report=pb.ExportReport(**REPORT))
            case "short":
                report = pb.ExportReport(**REPORT | {"length": len(DATA) + 1})
                yield pb.ExportHashListResponse(report=report)
            case "other":
                report = pb.ExportReport(**REPORT | {"sha256": bytes(32)})
                yield pb.ExportHashListResponse(report=report)
            case "more":
                yield pb.ExportHashListResponse(report=pb.ExportReport(**REPORT))
                yield pb.ExportHashListResponse(chunk=b"!")
            case "failed":
                code = grpc.StatusCode.UNAVAILABLE.value[0]
                status = status_pb2.Status(code=code, message="ended early")
                info = error_details_pb2.ErrorInfo(reason="EXPORT_PROCESS_ENDED")
                status.details.add().Pack(info)
                await context.abort_with_status(rpc_status.to_status(status))
            case "waiting":
                await asyncio.Event().wait()


@pytest_asyncio.fixture
async def address():
    server = grpc.aio.server()
    lists_pb2_grpc.add_HashListServiceServicer_to_server(Exporting(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


@pytest.fixture(params=["blocking", "asyncio"])
def export(request, address):
    """Exports to a file by either client."""

    def blocking(path, wanted, **options):
        with Client(address) as client:
            return client.export_list(path, wanted, **options)

    async def by_loop(path, wanted, **options):
        async with AsyncClient(address) as client:
            return await client.export_list(path, wanted, **options)

    return by_loop if request.param == "asyncio" else partial(asyncio.to_thread, blocking)


def wanted(end):
    return ExportRequest(list_names=["demo"], format="csv", recipients=[end])


async def test_a_file_that_agrees_is_there(export, tmp_path):
    report = await export(tmp_path / "out.csv", wanted("whole"))
    assert (tmp_path / "out.csv").read_bytes() == DATA
    assert (report.bytes, report.revision, report.list_names) == (len(DATA), 7, ("demo",))


@pytest.mark.parametrize(
    ("end", "kind", "reason"),
    [
        ("short", DigestMismatchError, "FILE_DIGEST_MISMATCH"),
        ("other", DigestMismatchError, "FILE_DIGEST_MISMATCH"),
        ("more", DigestMismatchError, "FILE_DIGEST_MISMATCH"),
        ("none", ServerError, "UNKNOWN"),
        ("failed", ServerError, "EXPORT_PROCESS_ENDED"),
    ],
)
async def test_whatever_does_not_is_not(export, tmp_path, end, kind, reason):
    target = tmp_path / "out.csv"
    target.write_text("mine")
    with pytest.raises(kind) as caught:
        await export(target, wanted(end), force=True)
    assert caught.value.reason == reason
    assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(target, "mine")]


async def test_a_deadline_that_passes_leaves_nothing(export, tmp_path):
    with pytest.raises(ServerError) as caught:
        await export(tmp_path / "out.csv", wanted("waiting"), timeout=0.2)
    assert caught.value.reason == "DEADLINE_EXCEEDED"
    assert list(tmp_path.iterdir()) == []


async def test_nothing_is_asked_for_that_could_not_be_kept(export, tmp_path):
    with pytest.raises(OptionsError):
        await export(tmp_path / "out.csv.age", wanted("whole"))
    with pytest.raises(ExportTargetError):
        await export(tmp_path / "no such folder" / "out.csv", wanted("whole"))
    assert list(tmp_path.iterdir()) == []


async def test_a_stream_that_takes_no_more_is_told(address):
    class Full(io.RawIOBase):
        def write(self, _):
            raise OSError(errno.ENOSPC, "no space left")

    with Client(address) as client, pytest.raises(OSError, match="no space left"):
        await asyncio.to_thread(client.export_to_stream, Full(), wanted("waiting"))
    async with AsyncClient(address) as client:
        with pytest.raises(OSError, match="no space left"):
            await client.export_to_stream(Full(), wanted("waiting"))
