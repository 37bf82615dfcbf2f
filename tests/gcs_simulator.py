"""A simulator of the part of Google Cloud Storage's XML interface that snapshots use.

One bucket, in memory: objects with generations and preconditions on them, ranges, listings and
multipart uploads. It takes any credentials. No emulator that can be installed here speaks that
interface for writing; what it leaves out is that Google's own servers may differ from their
documentation.
"""

from __future__ import annotations

import http.server
import json
import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.snapshot_store_support import forget_credentials

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

BUCKET = "snapshots"
_RANGE = re.compile(r"bytes=(\d+)-(\d+)")


class _Stored:
    def __init__(self, content: bytes, generation: int) -> None:
        self.content, self.generation = content, generation
        self.modified = datetime.now(UTC)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.stored: dict[str, _Stored] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.generation = 1000
        self.lock = threading.Lock()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer is one packet, or the system delays its second
    server: _Server

    def log_message(self, *_) -> None:
        pass

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def parse(self) -> tuple[str, dict[str, str]]:
        """Name of the object (empty for the bucket) and the query."""
        parts = urlsplit(self.path)
        _, bucket, name = [*unquote(parts.path).split("/", 2), ""][:3]
        assert bucket == BUCKET
        query = parse_qs(parts.query, keep_blank_values=True)
        return name, {key: values[0] for key, values in query.items()}

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def store(self, name: str, content: bytes) -> None:
        with self.server.lock:
            wanted = self.headers.get("x-goog-if-generation-match")
            before = self.server.stored.get(name)
            if wanted is not None and int(wanted) != (before.generation if before else 0):
                self.answer(412)
                return
            self.server.generation += 1
            generation = self.server.generation
            self.server.stored[name] = _Stored(content, generation)
        self.answer(200, ETag=f'"{generation}"', x_goog_generation=str(generation))

    def do_PUT(self) -> None:
        name, query = self.parse()
        content = self.body()
        if "uploadId" in query:
            number = int(query["partNumber"])
            self.server.uploads[query["uploadId"]][number] = content
            self.answer(200, ETag=f'"part-{number}"')
            return
        self.store(name, content)

    def do_POST(self) -> None:
        name, query = self.parse()
        self.body()
        if "uploads" in query:
            with self.server.lock:
                upload = f"upload-{len(self.server.uploads)}"
                self.server.uploads[upload] = {}
            text = (
                f"<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{escape(name)}</Key>"
                f"<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
            self.answer(200, text.encode())
            return
        parts = self.server.uploads.pop(query["uploadId"])
        content = b"".join(parts[number] for number in sorted(parts))
        with self.server.lock:
            self.server.generation += 1
            generation = self.server.generation
            self.server.stored[name] = _Stored(content, generation)
        text = '<CompleteMultipartUploadResult><ETag>"whole"</ETag></CompleteMultipartUploadResult>'
        self.answer(200, text.encode(), x_goog_generation=str(generation))

    def do_DELETE(self) -> None:
        name, _ = self.parse()
        found = self.server.stored.pop(name, None)
        self.answer(404 if found is None else 204)

    def do_GET(self) -> None:
        name, query = self.parse()
        if not name:
            self.list(query.get("prefix", ""))
            return
        found = self.server.stored.get(name)
        if found is None:
            self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        headers = {
            "ETag": f'"{found.generation}"',
            "x_goog_generation": str(found.generation),
            "Last_Modified": format_datetime(found.modified, usegmt=True),
        }
        span = _RANGE.fullmatch(self.headers.get("Range", ""))
        if span is None:
            self.answer(200, found.content, **headers)
            return
        start, last = int(span[1]), int(span[2])
        part = found.content[start : last + 1]
        if not part:
            self.answer(416)
            return
        whole = len(found.content)
        headers["Content_Range"] = f"bytes {start}-{start + len(part) - 1}/{whole}"
        self.answer(206, part, **headers)

    do_HEAD = do_GET  # noqa: N815  # the library's name

    def list(self, prefix: str) -> None:
        items = "".join(
            f"<Contents><Key>{escape(name)}</Key><Generation>{each.generation}</Generation>"
            f"<LastModified>{each.modified:%Y-%m-%dT%H:%M:%S.%fZ}</LastModified>"
            f'<ETag>"{each.generation}"</ETag><Size>{len(each.content)}</Size></Contents>'
            for name, each in sorted(self.server.stored.items())
            if name.startswith(prefix)
        )
        text = f"<ListBucketResult><Name>{BUCKET}</Name>{items}</ListBucketResult>"
        self.answer(200, text.encode())


@contextmanager
def gcs_server(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """The simulator in a thread; gives the URL of a prefix of its bucket."""
    forget_credentials(monkeypatch)
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    account = folder / "account.json"
    account.write_text(
        json.dumps(
            {
                "gcs_base_url": f"http://127.0.0.1:{server.server_port}",
                "disable_oauth": True,
                "client_email": "",
                "private_key": "",
                "private_key_id": "",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(account))
    monkeypatch.setenv("GOOGLE_ALLOW_HTTP", "true")
    try:
        yield f"gs://{BUCKET}/production"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


__all__ = ["BUCKET", "gcs_server"]
