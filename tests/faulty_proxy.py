"""An HTTP proxy of our own in front of a store, which does harm by rules.

    with FaultyProxy(server.endpoint) as proxy:
        proxy.add(Fault(key="photos/a.jpg", status=503, code="SlowDown", times=2))
        ...
        assert proxy.asked("photos/a.jpg") == 3

A rule says of which key (or of any), how many of its requests pass before, how many it hits, and
what becomes of those. The first rule that is not used up is taken.
"""

from __future__ import annotations

import http.client
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

#: The key of requests that list a bucket.
LISTING = "?list"
ALWAYS = 1 << 30


@dataclass
class Fault:
    """What goes wrong with which requests.

    Attributes:
        key: of the object, without the bucket; `LISTING` for listings; None for any object.
        skip: so many requests of it pass before.
        times: so many are hit.
        status: answered instead; 0 for the store's own answer.
        code: of the answer, as S3 names it.
        retry_after: seconds, as a header; None for none.
        cut_after: bytes of the body after which the connection is closed; None for all.
        wait: seconds before the answer.
        stall_after: bytes of the body after which nothing comes any more; None for never.
        body: given instead of the store's, which is asked all the same.
        answer: an object's bytes, given with `status` without asking the store.
    """

    key: str | None = None
    skip: int = 0
    times: int = 1
    status: int = 0
    code: str = ""
    retry_after: int | None = None
    cut_after: int | None = None
    wait: float = 0.0
    stall_after: int | None = None
    body: bytes | None = None
    answer: bytes | None = None
    _seen: int = field(default=0, repr=False)

    def hits(self, key: str) -> bool:
        """Counts a request, and tells whether it is one of those."""
        if key != self.key and (self.key is not None or key == LISTING):
            return False
        self._seen += 1
        return self.skip < self._seen <= self.skip + self.times


def vanish(key: str) -> Fault:
    """The object is listed, and is gone when it is read."""
    return Fault(key, times=ALWAYS, status=404, code="NoSuchKey")


class FaultyProxy:
    """The proxy, in a thread of its own; `signed` counts requests that had a signature, by key."""

    def __init__(self, upstream: str) -> None:
        self._faults: list[Fault] = []
        self._asked: Counter[str] = Counter()
        self.signed: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.ending = threading.Event()
        self.upstream = urlsplit(upstream).netloc
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def endpoint(self) -> str:
        """What the client is told to be the store."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it; nothing listens there any more. May be called twice."""
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, *faults: Fault) -> None:
        """More rules, behind those that are there."""
        with self._lock:
            self._faults.extend(faults)

    def clear(self) -> None:
        """Nothing goes wrong any more, and nothing has been asked for."""
        with self._lock:
            self._faults.clear()
            self._asked.clear()

    def asked(self, key: str) -> int:
        """How often an object was asked for, or `LISTING`."""
        with self._lock:
            return self._asked[key]

    def fault_of(self, key: str) -> Fault | None:
        """Counts a request, and tells what becomes of it."""
        with self._lock:
            self._asked[key] += 1
            return next((each for each in self._faults if each.hits(key)), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    proxy: FaultyProxy

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing is told."""

    def do_GET(self) -> None:
        fault = self.server.proxy.fault_of(_key(self.path))
        self.server.proxy.signed[_key(self.path)] += "Authorization" in self.headers
        if fault is not None and fault.wait:
            self.server.proxy.ending.wait(fault.wait)
        if fault is not None and fault.answer is not None:
            headers = [("ETag", '"e"'), ("Last-Modified", "Wed, 04 Mar 2026 05:06:07 GMT")]
            headers.append(("Content-Length", str(len(fault.answer))))
            self._answer(fault.status, headers, fault.answer, fault)
            return
        if fault is not None and fault.status:
            self._refuse(fault)
            return
        status, headers, body = self._passed_on()
        if fault is not None and fault.body is not None:
            body = fault.body
            headers = [each for each in headers if each[0].lower() != "content-length"]
            headers.append(("Content-Length", str(len(body))))
        self._answer(status, headers, body, fault)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815

    def _refuse(self, fault: Fault) -> None:
        body = b""
        if fault.code and self.command != "HEAD":
            body = f"<Error><Code>{fault.code}</Code><Message>x</Message></Error>".encode()
        headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
        if fault.retry_after is not None:
            headers.append(("Retry-After", str(fault.retry_after)))
        self._answer(fault.status, headers, body, None)

    def _passed_on(self) -> tuple[int, list[tuple[str, str]], bytes]:
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection(self.server.proxy.upstream, timeout=60)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() != "connection":
                    upstream.putheader(name, value)
            upstream.endheaders(sent)
            answer = upstream.getresponse()
            body = answer.read()
            headers = [
                (name, value)
                for name, value in answer.getheaders()
                if name.lower() not in {"transfer-encoding", "connection", "content-length"}
            ]
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            headers.append(("Content-Length", length or str(len(body))))
            return answer.status, headers, body
        finally:
            upstream.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], body: bytes, fault: Fault | None
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        stop = None if fault is None else fault.cut_after
        if fault is not None and fault.stall_after is not None:
            stop = fault.stall_after
        self.wfile.write(body[:stop])
        self.wfile.flush()
        if stop is not None:
            if fault is not None and fault.stall_after is not None:
                self.server.proxy.ending.wait(60)
            self.close_connection = True


def _key(path: str) -> str:
    parts = urlsplit(path)
    if "list-type" in parse_qs(parts.query, keep_blank_values=True):
        return LISTING
    return unquote(path.partition("?")[0].lstrip("/").partition("/")[2])
