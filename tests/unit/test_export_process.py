"""The export's child process: what it says, how it fails, and that it never outlives its parent."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from hashlists.catalog import Catalog
from hashlists.exporting.frames import (
    HEADER,
    MAX_CONTENT_BYTES,
    PIECE_BYTES,
    FrameKind,
    FrameWriter,
    read_header,
)
from hashlists.exporting.request import (
    Compression,
    ExportRequest,
    request_from_dict,
    request_to_dict,
)
from hashlists.model import Classification, Handling, HashKind
from tests.catalog_support import DEMO, bring, items

ROOT = Path(__file__).parents[2]
FOR_A = Handling("us", ("unit-a",))
SECRET = hashlib.md5(b"made up").hexdigest()
#: The highest that the kernel knows.
LEAST_URGENT = 19
#: More than a pipe and every buffer on the way hold.
MANY = 5_000
FAILING = """
import sys
from hashlists import export_process
def fail(*_):
    raise {error}
export_process.export_to_stream = fail
sys.exit(export_process.main())
"""


def frames_of(data):
    found, stream = [], io.BytesIO(data)
    while header := stream.read(HEADER.size):
        kind, length = read_header(header)
        content = stream.read(length)
        assert len(content) == length
        found.append((kind, content if kind is FrameKind.PIECE else json.loads(content)))
    return found


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    found = f"sqlite:///{tmp_path_factory.mktemp('catalog') / 'catalog.db'}"
    with Catalog.open(found) as catalog:
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items(*map(str, range(MANY)), handling=FOR_A))
    return found


def request(**fields):
    wanted = {"list_names": ["demo"], "format": "jsonl", "recipients": ["unit-a"], **fields}
    return request_to_dict(ExportRequest(**wanted))


def start(url, *, code=None, **fields):
    command = ["-m", "hashlists.export_process"] if code is None else ["-c", code]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    child = subprocess.Popen([sys.executable, *command], cwd=ROOT, **pipes)
    child.stdin.write(json.dumps({"catalog": url, "request": request(**fields)}).encode() + b"\n")
    child.stdin.flush()
    return child


def run(url, **options):
    """Frames, standard error and status; standard input stays open until the child has ended."""
    with start(url, **options) as child:
        out, told = child.stdout.read(), child.stderr.read()
        return frames_of(out), told.decode(), child.wait()


class TestFrames:
    def test_bytes_go_out_in_pieces_and_the_rest_when_asked(self):
        out = io.BytesIO()
        writer = FrameWriter(out)
        sent = os.urandom(PIECE_BYTES * 2 + 10)
        assert writer.write(sent[:7]) == 7
        assert out.getvalue() == b""
        writer.write(sent[7:])
        assert [len(content) for _, content in frames_of(out.getvalue())] == [PIECE_BYTES] * 2
        writer.flush()
        writer.flush()
        writer.end(FrameKind.REPORT, {"entries": 1})
        *pieces, last = frames_of(out.getvalue())
        assert b"".join(content for _, content in pieces) == sent
        assert last == (FrameKind.REPORT, {"entries": 1})

    @pytest.mark.parametrize(
        "header", [HEADER.pack(b"X", 1), HEADER.pack(b"P", MAX_CONTENT_BYTES + 1)]
    )
    def test_what_is_no_header_is_refused(self, header):
        with pytest.raises(ValueError, match=r"frame|FrameKind"):
            read_header(header)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {
            "options": {"profile": "US"},
            "since": 2,
            "upto": 3,
            "classifications": [Classification("vics", "US", "1"), None],
            "kinds": [HashKind.MD5, HashKind.PDQ],
            "compression": Compression.ZSTD,
            "encrypt_to": ["age1"],
        },
        {"recipients": None, "classifications": [None], "compression": Compression.NONE},
    ],
)
def test_a_request_comes_back_from_plain_values(fields):
    wanted = ExportRequest(
        **{
            "list_names": ["demo"],
            "format": "vics",
            "recipients": ["a"],
            "encrypt_to": [],
            **fields,
        }
    )
    assert request_from_dict(json.loads(json.dumps(request_to_dict(wanted)))) == wanted


def test_the_file_and_then_its_report(url):
    (*pieces, (kind, report)), told, status = run(url)
    data = b"".join(content for _, content in pieces)
    assert (kind, status, told) == (FrameKind.REPORT, 0, "")
    assert (report["entries"], report["bytes"]) == (MANY, len(data))
    assert report["sha256"] == hashlib.sha256(data).hexdigest()
    assert max(len(content) for _, content in pieces) == PIECE_BYTES
    assert len(data.splitlines()) == MANY + 2


def test_an_error_comes_with_its_reason(url):
    ((kind, error),), told, status = run(url, list_names=["nosuch"])
    assert (kind, error["reason"], status, told) == (FrameKind.ERROR, "LIST_NOT_FOUND", 1, "")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (f"ValueError({SECRET!r})", "by a bug (ValueError in <string>:5)"),
        ("OSError(28, 'No space left on device')", "the export failed: No space left on device"),
    ],
    ids=["bug", "disk"],
)
def test_of_a_bug_the_place_alone_is_told(url, error, words):
    ((kind, message),), told, status = run(url, code=FAILING.format(error=error))
    assert (kind, message["reason"], status) == (FrameKind.ERROR, "EXPORT_PROCESS_ENDED", 1)
    assert words in message["message"]
    assert SECRET not in message["message"] + told


def test_it_gives_way_and_ends_with_its_parent(url):
    with start(url) as child:
        child.stdout.read(1)  # by now it writes, and waits for somebody to read on
        assert psutil.Process(child.pid).nice() == min(os.nice(0) + 10, LEAST_URGENT)
        child.stdin.close()
        assert child.wait() == 1
        assert child.stderr.read() == b""


def test_it_ends_when_nobody_reads_any_more(url):
    with start(url) as child:
        child.stdout.read(1)
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait() == 1
