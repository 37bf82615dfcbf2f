"""Memory and speed of listing, by the number of objects: neither may grow with a bucket.

    python -m loadtest.scan_listing [--objects N ...] [--folder] [--smoke]

A simulated bucket of S3 answers on loopback, page by page, with keys that are made as they are
asked for; nothing of it is kept. Each listing runs in a process of its own, which lists the whole
bucket, chooses by a glob and a sample, and keeps nothing either. With `--folder` as many empty
files are listed from a folder of a hundred folders, made beforehand and removed after.

Memory is the largest resident set of the process, as the kernel counted it; what it was before
the first page was asked for is told beside it. Seconds are those on the clock, with the server on
the same machine taking its share.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from matcher.scan.document import Selection
from matcher.scan.sources import open_source
from matcher.scan.sources.addresses import place_of
from matcher.scan.sources.selection import Selector

_OBJECTS, _SMOKE_OBJECTS = (10_000, 1_000_000), (1_000, 5_000)
_MOST_GROWTH_MEBIBYTES = 64  # from the fewest objects to the most
_FOLDERS = 100
_MEBIBYTE = 1 << 20


def _key(number: int) -> str:
    return f"uploads/{number // 1000:06}/a photograph of a length that names have {number:09}.jpg"


class _Bucket(BaseHTTPRequestHandler):
    """Answers `ListObjectsV2` over keys that it counts out."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing is told."""

    def do_GET(self) -> None:
        """A page behind `start-after`."""
        query = parse_qs(urlsplit(self.path).query)
        after = query.get("start-after", [""])[0]
        first = int(after[-13:-4]) + 1 if after else 0
        last = min(first + int(query["max-keys"][0]), self.server.objects)
        items = "".join(
            f"<Contents><Key>{_key(number)}</Key><LastModified>2026-01-02T03:04:05.000Z"
            f'</LastModified><ETag>"{number:032x}"</ETag><Size>100000</Size></Contents>'
            for number in range(first, last)
        )
        body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{items}</ListBucketResult>"
        self.send_response_only(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, objects: int) -> None:
        super().__init__(("127.0.0.1", 0), _Bucket)
        self.objects = objects


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


async def _list(url: str, endpoint: str) -> dict[str, float]:
    """Lists a place to its end, and tells what it took."""
    source = open_source(place_of(url, endpoint=endpoint))
    selector = Selector(Selection(include=("*.jpg",), sample=0.5))
    before, started, found, chosen = _resident(), time.monotonic(), 0, 0
    async for page in source.list():
        found += len(page.objects)
        chosen += sum(map(selector.passes, page.objects))
    seconds = time.monotonic() - started
    await source.close()
    return {
        "objects": found,
        "chosen": chosen,
        "seconds": seconds,
        "before": before,
        "peak": _resident(),
    }


def _listed_apart(url: str, endpoint: str = "") -> dict[str, float]:
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [sys.executable, "-m", "loadtest.scan_listing", "--one", url, "--endpoint", endpoint]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def _bucket(objects: int) -> dict[str, float]:
    with _Server(objects) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            return _listed_apart("s3://simulated", f"http://127.0.0.1:{server.server_port}")
        finally:
            server.shutdown()
            thread.join()


def _folder(objects: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as top:
        for part in range(_FOLDERS):
            folder = Path(top, f"{part:03}")
            folder.mkdir()
            for number in range(part, objects, _FOLDERS):
                os.close(os.open(folder / f"{number:09}.jpg", os.O_WRONLY | os.O_CREAT))
        return _listed_apart(top)


def main() -> int:
    """The command line; exit status 1 where memory grew, or an object was not listed."""
    parser = argparse.ArgumentParser(description="Measures listing.")
    parser.add_argument("--objects", type=int, nargs="+", default=list(_OBJECTS))
    parser.add_argument("--folder", action="store_true", help="list folders, too")
    parser.add_argument("--smoke", action="store_true", help="few objects, to see that it runs")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--endpoint", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(asyncio.run(_list(arguments.one, arguments.endpoint))))
        return 0
    failed = False
    for name, listed in (("bucket", _bucket), ("folder", _folder)):
        if name == "folder" and not arguments.folder:
            continue
        peaks = []
        for objects in _SMOKE_OBJECTS if arguments.smoke else sorted(arguments.objects):
            told = listed(objects)
            peaks.append(told["peak"])
            failed |= told["objects"] != objects
            print(
                f"{name}: {objects} objects in {told['seconds']:.1f} s"
                f" ({objects / told['seconds']:.0f} a second); {told['before'] / _MEBIBYTE:.0f} MiB"
                f" before, at most {told['peak'] / _MEBIBYTE:.0f} MiB"
            )
        failed |= peaks[-1] - peaks[0] > _MOST_GROWTH_MEBIBYTES * _MEBIBYTE
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
