"""Exchanges that tests run on loopback, from the documented shapes, with faults on demand.

`Feed` is what an exchange knows: made-up records, with the time of their last change. `serve`
answers for one of the four kinds over real HTTP. A fault takes the place of one answer.
"""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from hashlists.exchanges.clock import Clock
from hashlists.exchanges.credentials import Credentials
from hashlists.model import HashKind
from hashlists.moments import read_moment, utc_text
from tests.catalog_support import value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAGE = {
    "ncmec": "/v2/entries",
    "stopncii": "/FetchHashes",
    "threatexchange": "/77/threat_updates/",
    "tat": "/api/hash-list/v2/all",
}
OPTIONS = {"ncmec": {}, "stopncii": {}, "threatexchange": {"privacy_group": "77"}, "tat": {}}
SECRETS = {
    "ncmec": {"username": "somebody", "password": "hidden-word"},
    "stopncii": {"functions_key": "hidden-one", "subscription_key": "hidden-two"},
    "threatexchange": {"access_token": "hidden-token"},
    "tat": {"username": "somebody", "password": "hidden-word"},
}
JWT = "hidden.jwt"


class Time:
    """One clock for a feed and those who fetch it; nobody waits."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now
        self.slept: list[float] = []

    def pass_by(self, **duration: float) -> None:
        self.now += timedelta(**duration)

    def clock(self, *, ahead: timedelta = timedelta(0)) -> Clock:
        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.now += timedelta(seconds=seconds)

        return Clock(lambda: self.now + ahead, self.now.timestamp, sleep)


@dataclass
class Record:
    number: int
    version: int
    changed: datetime
    deleted: bool = False


@dataclass
class Feed:
    """What an exchange knows.

    Attributes:
        size: records of a page.
        bad: numbers of records that are told malformed.
        forgets: age at which deletions are no longer told.
        in_order: whether records come by time where the exchange was asked for that.
    """

    kind: str
    time: Time = field(default_factory=Time)
    size: int = 3
    records: dict[int, Record] = field(default_factory=dict)
    bad: set[int] = field(default_factory=set)
    forgets: timedelta | None = None
    in_order: bool = True

    def put(self, *numbers: int, version: int = 0) -> None:
        for number in numbers:
            self.records[number] = Record(number, version, self.time.now)

    def delete(self, *numbers: int) -> None:
        for number in numbers:
            if number in self.records:
                version = self.records[number].version
                self.records[number] = Record(number, version, self.time.now, deleted=True)

    def truth(self) -> dict[str, tuple[bytes, str]]:
        """What a list must hold: key, hash and class of what is in force."""
        return {
            self.key(each): (digest(self.kind, each), classes(self.kind)[each.version % 2])
            for each in self.records.values()
            if not each.deleted and each.number not in self.bad
        }

    def key(self, record: Record) -> str:
        if self.kind == "stopncii":
            return f"pdq:{digest(self.kind, record).hex()}"
        return f"id:42/{record.number}" if self.kind == "ncmec" else f"id:{record.number}"

    def told(self) -> list[Record]:
        """What is told at all."""
        oldest = self.time.now - self.forgets if self.forgets else None
        return [
            each
            for each in self.records.values()
            if not (each.deleted and oldest and each.changed < oldest)
        ]


def digest(kind: str, record: Record) -> bytes:
    """PDQ. StopNCII's records are known by it, so there it stays."""
    version = 0 if kind == "stopncii" else record.version
    return value(HashKind.PDQ, f"{record.number} {version}")


def classes(kind: str) -> tuple[str, str]:
    return {
        "ncmec": ("A1", "B2"),
        "stopncii": ("Active", "Received"),
        "threatexchange": ("MALICIOUS", "SUSPICIOUS"),
        "tat": ("islamist", "far-right"),
    }[kind]


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _after(records: list[Record], order: Callable[[Record], tuple], token: str | None, size: int):
    """The records behind a token, in that order, and the token of the next page."""
    rows = sorted(records, key=order)
    if token:
        rows = [each for each in rows if list(order(each)) > json.loads(bytes.fromhex(token))]
    page = rows[:size]
    more = len(rows) > size
    return page, json.dumps(order(page[-1])).encode().hex() if more else None


def _by_time(record: Record) -> tuple:
    return _seconds(record.changed), record.number


def _no_order(record: Record) -> tuple:
    return (hashlib.sha256(str(record.number).encode()).hexdigest(),)


def ncmec(feed: Feed, query: dict[str, str]) -> bytes:
    first, last = read_moment(query["from"]), read_moment(query["to"])
    assert query["from"].endswith("Z")
    told = [x for x in feed.told() if first <= x.changed.replace(microsecond=0) <= last]
    page, token = _after(told, _no_order, query.get("start"), feed.size)
    rows = []
    for each in page:
        head = (
            f'<member id="42">x</member><timestamp>{utc_text(each.changed)}</timestamp>'
            f"<id>{each.number}</id>"
        )
        if each.deleted:
            rows.append(f"<deletedImage>{head}</deletedImage>")
            continue
        text = f"zz{each.number}" if each.number in feed.bad else digest("ncmec", each).hex()
        code = classes("ncmec")[each.version % 2]
        rows.append(
            f"<image>{head}<classification>{code}</classification>"
            f"<fingerprints><pdq>{text}</pdq></fingerprints></image>"
        )
    newest = f' maxTimestamp="{utc_text(max(x.changed for x in page))}"' if page else ""
    link = ""
    if token:
        asked = urlencode({"from": query["from"], "to": query["to"], "start": token})
        link = f"<paging><next>/v2/entries?{asked.replace('&', '&amp;')}</next></paging>"
    return (
        '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2">'
        f'<images count="{len(rows)}"{newest}>{"".join(rows)}</images>{link}</queryResult>'
    ).encode()


def stopncii(feed: Feed, query: dict[str, str]) -> bytes:
    told = [x for x in feed.told() if _seconds(x.changed) >= int(query["startTimestamp"])]
    page, token = _after(told, _by_time, query.get("nextPageToken"), feed.size)
    records = [
        {
            "signalType": "ImagePDQ",
            "hashValue": f"zz{x.number}" if x.number in feed.bad else digest("stopncii", x).hex(),
            "hashStatus": "Withdrawn" if x.deleted else classes("stopncii")[x.version % 2],
            "lastModtimestamp": _seconds(x.changed),
        }
        for x in page
    ]
    # Up and down from page to page, as in public samples: right on the last one only.
    last = max((_seconds(x.changed) for x in page), default=_seconds(feed.time.now))
    return json.dumps(
        {
            "count": len(records),
            "hashRecords": records,
            "hasMoreRecords": token is not None,
            "nextPageToken": token or "",
            "nextSetTimestamp": last + 86_400 if token else last,
        }
    ).encode()


def threatexchange(feed: Feed, query: dict[str, str]) -> bytes:
    told = [x for x in feed.told() if _seconds(x.changed) >= int(query["start_time"])]
    page, token = _after(told, _no_order, query.get("after"), feed.size)
    records = [
        {
            "id": str(x.number),
            "type": "HASH_PDQ",
            "indicator": f"zz{x.number}"
            if x.number in feed.bad
            else digest("threatexchange", x).hex(),
            "last_updated": _seconds(x.changed),
            "should_delete": x.deleted,
            "descriptors": {
                "data": [{"status": classes("threatexchange")[x.version % 2], "owner": {"id": "1"}}]
            },
        }
        for x in page
    ]
    paging = {"cursors": {"after": token or "end"}}
    if token:
        paging["next"] = "https://elsewhere.invalid/?access_token=x"
    return json.dumps({"data": records, "paging": paging}).encode()


def tat(feed: Feed, query: dict[str, str]) -> bytes:
    told = feed.told()
    if query.get("after"):
        time, number = query["after"].split(",")
        told = [x for x in told if _by_time(x) > (int(time), int(number))]
    order = _by_time if feed.in_order else _no_order
    page, token = _after(told, order, query.get("offset"), feed.size)
    records = [
        {
            "id": x.number,
            "algorithm": "PDQ",
            "hash_digest": f"zz{x.number}" if x.number in feed.bad else digest("tat", x).hex(),
            "ideology": classes("tat")[x.version % 2],
            "deleted": x.deleted,
            "updated_on": float(_seconds(x.changed)),
        }
        for x in page
    ]
    asked = urlencode({**query, "offset": token or ""})
    return json.dumps(
        {
            "count": len(feed.records),
            "next": f"https://elsewhere.invalid{PAGE['tat']}?{asked}" if token else None,
            "previous": None,
            "checkpoint": f"{_seconds(page[-1].changed)},{page[-1].number}" if page else None,
            "results": records,
        }
    ).encode()


ANSWERS = {x.__name__: x for x in (ncmec, stopncii, threatexchange, tat)}


def is_let_in(kind: str, headers, query: dict[str, str]) -> bool:
    secrets = SECRETS[kind]
    if kind == "ncmec":
        pair = f"{secrets['username']}:{secrets['password']}".encode()
        return headers.get("Authorization") == f"Basic {base64.b64encode(pair).decode()}"
    if kind == "stopncii":
        return (headers.get("x-functions-key"), headers.get("Ocp-Apim-Subscription-Key")) == (
            secrets["functions_key"],
            secrets["subscription_key"],
        )
    token = secrets["access_token"] if kind == "threatexchange" else JWT
    return headers.get("Authorization") == f"Bearer {token}" or query.get("access_token") == token


@dataclass
class Fault:
    """An answer that takes the place of a right one.

    Attributes:
        cut: bytes of the right body that are sent, though more were announced.
        wait: what the server waits for in the middle of the body.
    """

    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    wait: threading.Event | None = None
    drop: bool = False


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    body: bytes


class Server:
    """A server under way.

    Attributes:
        faults: what comes instead of the next answers, one after the other.
        asked: the requests so far.
        ahead: how far its clock is ahead of the feed's.
        before_page: called before each page.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.faults: list[Fault | None] = []
        self.asked: list[Asked] = []
        self.ahead = timedelta(0)
        self.tells_date = True
        self.before_page: Callable[[], None] = lambda: None
        self.url = ""

    @property
    def pages(self) -> list[Asked]:
        return [each for each in self.asked if each.path == PAGE[self.feed.kind]]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one small class
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body at once: apart they wait for each other's acknowledgement

        def log_message(self, *_arguments) -> None:
            pass

        def date_time_string(self, timestamp=None) -> str:
            return format_datetime(server.feed.time.now + server.ahead, usegmt=True)

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        do_PUT = do_POST  # noqa: N815 - the library's names

        def _answer(self, content: bytes) -> None:
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            server.asked.append(Asked(self.command, parts.path, query, content))
            kind = server.feed.kind
            if parts.path == "/token-auth/tcap/":
                given = json.loads(content)
                right = all(given[name] == text for name, text in SECRETS["tat"].items())
                self._send(200 if right else 401, json.dumps({"token": JWT}).encode(), "json")
                return
            if not is_let_in(kind, self.headers, query):
                self._send(401, b"no", "text")
                return
            if self.command == "PUT":
                self._send(200, b"<ok/>", "xml")
                return
            fault = server.faults.pop(0) if server.faults else None
            if fault is not None and fault.drop:
                self.close_connection = True
                return
            server.before_page()
            body = ANSWERS[kind](server.feed, query) if parts.path == PAGE[kind] else b""
            shape = "xml" if kind == "ncmec" else "json"
            self._send(200 if body else 404, body, shape, fault)

        def _send(self, status: int, body: bytes, shape: str, fault: Fault | None = None) -> None:
            fault = fault or Fault(status=status)
            body = body if fault.body is None else fault.body
            self.send_response_only(fault.status)
            headers = {"Content-Type": f"application/{shape}", "Content-Length": str(len(body))}
            if server.tells_date:
                headers["Date"] = self.date_time_string()
            for name, text in {**headers, **fault.headers}.items():
                self.send_header(name, text)
            self.end_headers()
            if fault.wait is not None:
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                fault.wait.wait(60)
                self.close_connection = True
                return
            if fault.cut is not None:
                self.close_connection = True
                body = body[: fault.cut]
            self.wfile.write(body)

    return Handler


@contextmanager
def serve(feed: Feed, *, certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """A server for the feed; with the files of a certificate and its key, over TLS."""
    server = Server(feed)
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(server)) as http:
        http.daemon_threads = True
        http.handle_error = lambda *_arguments: None  # a client may leave in the middle
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            http.socket = context.wrap_socket(http.socket, server_side=True)
            scheme = "https"
        server.url = f"{scheme}://localhost:{http.server_port}"
        if certificate is None:
            server.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


def credentials_of(kind: str):
    """Right ones, as `fetch` asks for them."""
    return lambda _client, _settings: Credentials(SECRETS[kind])
