"""The main job from the command line: a list in, an upload in, a decision out.

The server runs in a process of its own; so does what needs a terminal. The rest runs in this one,
which saves a second of start-up for each command.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import matcher
from matcher import cli, demo

SOURCE = Path(matcher.__file__).parents[1]
COMMAND = [sys.executable, "-m", "matcher.cli"]
RESULT_KEYS = ["path", "decision", "reason", "match_id", "matches"]
MATCH_KEYS = [
    *("list", "entry", "kind", "basis", "view"),
    *("distance", "classification", "severity", "derivation"),
]


def environment(**more):
    return os.environ | {"PYTHONPATH": str(SOURCE), **more}


def run(data, *arguments, status=0, stdin=b""):
    """Runs a command and gives its standard output and standard error."""
    out, told, got = run_any(data, *arguments, stdin=stdin)
    assert got == status, told
    assert "this is a bug" not in told
    return out, told


def run_any(data, *arguments, stdin=b""):
    out, told = io.StringIO(), io.StringIO()
    typed = io.TextIOWrapper(io.BytesIO(stdin))
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in (("stdin", typed), ("stdout", out), ("stderr", told)):
            patch.setattr(sys, name, stream)
        got = cli.main(["--data", str(data), *arguments])
    return out.getvalue(), told.getvalue(), got


def lines(data, *arguments, status=0, **options):
    out, _ = run(data, *arguments, "--json", status=status, **options)
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, demo_folder):
    """The demo's pictures, beside which tests lay others."""
    return shutil.copytree(demo_folder, tmp_path_factory.mktemp("story") / "pictures")


@pytest.fixture(scope="module")
def data(folder):
    """A data folder into which the demo list was imported."""
    made = folder / "data"
    (report,) = lines(
        made,
        *("lists", "import", str(folder / demo.DEMO_LIST_FILE), "--list", "demo"),
        *("--format", "vics", "--harm", "test", "--source", "Hashwarden demo"),
    )
    assert report.items() >= {"read": 4, "added": 4, "rejected": 0}.items()
    return made


@pytest.fixture(scope="module")
def server(data):
    """The address of a server over the same data."""
    with subprocess.Popen(
        [*COMMAND, "--data", str(data), "serve", "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment() | {"HASHWARDEN_LISTS_LISTEN": "same"},
        text=True,
    ) as process:
        ready = process.stdout.readline()
        assert ready.startswith("serving on 127.0.0.1:"), process.stderr.read()
        yield ready.split()[-1]
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=170)
        assert process.returncode == 0, told
        assert "Traceback" not in told


@pytest.fixture(params=["local", "server"])
def target(request):
    """Options that choose the local catalog or the server."""
    if request.param == "local":
        return ()
    return ("--server", request.getfixturevalue("server"))


def decisions(records):
    return {Path(record["path"]).name: record["decision"] for record in records}


FOUND = {"MATCH", "REVIEW"}


def test_match_tells_copies_variants_and_strangers_apart(data, folder, target):
    names = ["listed-1.jpg", "listed-4-digests-only.jpg", "recompressed.jpg", "resized.jpg"]
    names += [
        "exif-rotated.jpg",
        "unlisted.jpg",
        "mirrored.jpg",
        demo.DEMO_LIST_FILE,
        "missing.jpg",
    ]
    paths = [str(folder / name) for name in names]
    records = lines(data, "match", *paths, *target, status=1)
    assert [record["path"] for record in records] == paths
    for record in records:
        assert list(record)[:5] == RESULT_KEYS
        assert all(list(match) == MATCH_KEYS for match in record["matches"])
        assert (record["match_id"] is not None) == (record["decision"] in FOUND)
    said = decisions(records)
    assert said["listed-1.jpg"] == said["listed-4-digests-only.jpg"] == "MATCH"
    assert {said[name] for name in names[2:5]} <= FOUND
    assert said["unlisted.jpg"] == said["mirrored.jpg"] == "NO_KNOWN_MATCH"
    assert said[demo.DEMO_LIST_FILE] == "NOT_HASHABLE"
    assert said["missing.jpg"] is None
    assert records[0]["matches"][0]["basis"] == "exact"
    best = records[3]["matches"][0]
    assert (best["list"], best["kind"], best["basis"]) == ("demo", "pdq", "near")
    assert best["classification"] == {"scheme": "vics", "profile": "Default", "code": "1"}


def test_mirrored_is_found_with_all_views(data, folder, target):
    (record,) = lines(
        data, "match", str(folder / "mirrored.jpg"), "--views", "all", *target, status=1
    )
    assert record["decision"] in FOUND
    assert record["matches"][0]["view"].startswith("mirrored:")


def test_exit_status_is_0_for_strangers_and_2_where_something_is_not_known(data, folder, target):
    stranger, no_image = str(folder / "unlisted.jpg"), str(folder / demo.DEMO_LIST_FILE)
    lines(data, "match", stranger, *target, status=0)
    lines(data, "match", stranger, no_image, *target, status=2)
    lines(data, "match", stranger, str(folder / "missing"), *target, status=2)


def test_lookup_finds_a_hash_without_its_image(data, folder, target):
    (hashed,) = lines(data, "hash", str(folder / "resized.jpg"))
    (listed,) = lines(data, "hash", str(folder / "listed-1.jpg"))
    pdq = hashed["views"][0]["pdq"]
    size = str((folder / "listed-1.jpg").stat().st_size)
    queries = [f"pdq:{pdq}", f"sha1:{'0' * 39}1", f"md5:{listed['md5']}"]
    out, told = run(data, "lookup", *queries, "--size", size, *target, "--json", status=1)
    records = [json.loads(line) for line in out.splitlines()]
    assert [record["query"] for record in records] == [0, 1, 2]
    assert [record["decision"] in FOUND for record in records] == [True, False, True]
    assert pdq not in out + told
    typed = "\n".join(queries).encode()
    again = lines(data, "lookup", "-", "--size", size, *target, status=1, stdin=typed)
    assert [r["decision"] for r in again] == [r["decision"] for r in records]
    run(data, "lookup", queries[1], *target, status=0)


def test_lookup_answers_lines_as_they_come_and_spares_neighbours(data, folder, target):
    (listed,) = lines(data, "hash", str(folder / "listed-1.jpg"))
    good = f"sha1:{listed['sha1']}\n"
    typed = f"{good}nonsense\n{good * 300}".encode()
    records = lines(data, "lookup", "-", *target, status=1, stdin=typed)
    assert [record["query"] for record in records] == [*range(302)]
    assert {record["decision"] for record in records} == {"MATCH", None}
    assert records[1]["error"]["reason"] == "malformed"
    assert records[1]["error"]["detail"].startswith("query 1: it has no colon")
    assert lines(data, "lookup", "-", *target, status=2, stdin=b"nonsense\n")[0]["error"]


def test_lookup_does_not_wait_for_the_end_of_its_input(data):
    command = [*COMMAND, "--data", str(data), "lookup", "-", "--json"]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment(), text=True, **pipes) as process:
        process.stdin.write(f"md5:{'0' * 31}1\n" * 400)  # neither pipe fills up
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["query"] == 0
        process.communicate()
        assert process.returncode == 0


def test_hash_prints_the_promised_objects(data, folder):
    paths = [str(folder / name) for name in ("listed-2.png", demo.DEMO_LIST_FILE, "none")]
    out, _ = run(data, "hash", *paths, status=2)
    image, other, missing = (json.loads(line) for line in out.splitlines())
    assert list(image) == ["path", "width", "height", "format", "views", "md5", "sha1", "sha256"]
    assert (image["width"], image["height"], image["format"]) == (960, 720, "png")
    lengths = {"view": 7, "pdq": 64, "phash": 16, "dhash": 16, "ahash": 16, "whash": 16}
    (view,) = image["views"]
    assert list(view) == ["view", "pdq", "quality", "phash", "dhash", "ahash", "whash"]
    assert {name: len(view[name]) for name in lengths} == lengths
    assert list(other) == ["path", "error", "md5", "sha1", "sha256"]
    assert list(other["error"]) == ["reason", "detail"]
    assert len(other["sha256"]) == 64
    assert missing["error"]["reason"] == "unreadable"
    everything = lines(data, "hash", paths[0], "--views", "all")[0]["views"]
    assert len({view["view"] for view in everything}) >= 8
    data_in = (folder / "listed-2.png").read_bytes()
    (from_stdin,) = lines(data, "hash", "-", stdin=data_in)
    assert from_stdin | {"path": paths[0]} == image


def test_a_file_that_may_not_be_read_stops_nothing(data, folder, target, tmp_path, monkeypatch):
    locked = tmp_path / "locked.jpg"
    locked.write_bytes(b"no matter")
    allowed, listed = os.access, str(folder / "listed-1.jpg")

    def access(path, mode, **options):
        return path != str(locked) and allowed(path, mode, **options)

    def opened(path, mode):
        if path == str(locked):
            raise PermissionError(13, "Permission denied", path)
        return Path(path).open(mode)

    monkeypatch.setattr(os, "access", access)  # a superuser may read any file
    monkeypatch.setattr("matcher.cli.files.open", opened, raising=False)
    told = {"reason": "unreadable", "detail": "Permission denied"}
    refused, found = lines(data, "match", str(locked), listed, *target, status=1)
    assert (refused["decision"], refused["error"]) == (None, told)
    assert found["decision"] == "MATCH"
    refused, hashed = lines(data, "hash", str(locked), listed, status=2)
    assert refused["error"] == told
    assert len(hashed["sha256"]) == 64


def test_what_was_not_looked_at_is_told(data, folder, target, tmp_path):
    whole = (folder / "unlisted.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) * 3 // 4])
    frames = [Image.effect_noise((160, 120), 64 + n) for n in range(4)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    paths = [str(tmp_path / "cut.jpg"), str(tmp_path / "moving.gif"), str(folder / "unlisted.jpg")]
    cut, moving, stranger = lines(data, "match", *paths, *target)
    assert cut.get("truncated") is True
    assert moving.get("frames") == 4
    assert list(stranger) == RESULT_KEYS
    _, told = run(data, "match", *paths, *target)
    assert "1 cut off: what still renders was hashed" in told
    assert "1 with frames or pages that were not hashed" in told
    (moving,) = lines(data, "match", paths[1], "--views", "all", *target)
    assert "frames" not in moving


def test_a_name_that_is_no_utf8_is_no_obstacle(data, folder):
    strange = folder / os.fsdecode(b"caf\xe9.jpg")
    strange.write_bytes((folder / "unlisted.jpg").read_bytes())
    (record,) = lines(data, "match", str(strange))
    assert record["path"].endswith("caf\\xe9.jpg")


def test_a_large_file_is_matched_by_its_digests(data, folder, target, tmp_path):
    padded = (folder / "listed-1.jpg").read_bytes()
    padded += bytes(26 * 2**20 - len(padded))
    (tmp_path / "large.jpg").write_bytes(padded)
    (hashed,) = lines(data, "hash", str(tmp_path / "large.jpg"), status=2)
    assert hashed["error"]["reason"] == "over_limit"
    (record,) = lines(data, "match", str(tmp_path / "large.jpg"), *target, status=2)
    assert (record["decision"], record["reason"]) == ("NOT_HASHABLE", "over_limit")
    rows = f"md5,sha256,size\n{hashed['md5']},{hashed['sha256']},{len(padded)}\n"
    (tmp_path / "large.csv").write_text(rows)
    columns = [f"--column={name}={name}" for name in ("md5", "sha256", "size")]
    described = ("--list", "large", "--harm", "test", "--source", "Us")
    mine = tmp_path / "data"
    lines(mine, "lists", "import", str(tmp_path / "large.csv"), *described, *columns)
    (record,) = lines(mine, "match", str(tmp_path / "large.jpg"), status=1)
    assert (record["decision"], record["reason"]) == ("MATCH", "over_limit")


def test_an_unknown_policy_or_view_is_one_line(data, folder, target):
    for option in (("--policy", "nonsense"), ("--views", "nonsense")):
        out, told = run(data, "match", str(folder / "unlisted.jpg"), *option, *target, status=2)
        assert out == ""
        assert told.count("\n") == 1
        assert "nonsense" in told


def test_a_server_that_is_not_there_is_one_line(data, folder, monkeypatch):
    monkeypatch.setattr("matcher.cli.remote._PAUSES_SECONDS", (0.0,) * 5)
    nowhere = ("--server", "127.0.0.1:1")
    for arguments in (("match", str(folder / "unlisted.jpg")), ("lookup", f"md5:{'0' * 31}1")):
        out, told = run(data, *arguments, *nowhere, status=2)
        assert out == ""
        assert told == (
            "error: no server answers at 127.0.0.1:1; start one with: hashwarden serve\n"
        )
    run(data, "doctor", *nowhere, status=1)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.0.1:", ":50051", "::1", "http://localhost:1", "host:name"]
)
def test_an_address_is_host_and_port(data, address):
    for arguments in (("match", "no-matter"), ("lookup", f"md5:{'0' * 31}1")):
        _, told = run(data, *arguments, "--server", address, status=2)
        assert "must be HOST:PORT" in told


def test_the_server_is_healthy(data, server):
    (finding,) = lines(data, "doctor", "--server", server)
    assert finding["status"] == "ok"


def test_the_doctor_sees_catalog_and_snapshot(data, folder):
    run(data, "match", str(folder / "unlisted.jpg"))
    found = {each["check"]: each for each in lines(data, "doctor")}
    assert "entries" in found["catalog"]["detail"]
    assert found["snapshot"]["status"] == "ok"
    assert found["data privacy"]["status"] == "ok"


def test_an_empty_catalog_warns(tmp_path, folder):
    new = tmp_path / "new"
    run(new, "match", str(folder / "unlisted.jpg"), status=2)
    assert not new.exists()
    run(new, "lists", "create", "mine", "--harm", "test", "--source", "Us")
    _, told = run(new, "match", str(folder / "unlisted.jpg"))
    assert "no list but the built-in" in told
    found = {each["check"]: each for each in lines(tmp_path / "new", "doctor")}
    assert found["catalog"]["status"] == "warn"


def test_an_import_while_the_server_runs_counts_soon(data, folder, server, tmp_path):
    (hashed,) = lines(data, "hash", str(folder / "unlisted.jpg"))
    file = tmp_path / "more.csv"
    file.write_text(f"sha256\n{hashed['sha256']}\n")
    described = ("--list", "more", "--harm", "test", "--source", "Us", "--column=sha256=sha256")
    before = lines(data, "match", hashed["path"], "--server", server)
    assert before[0]["decision"] == "NO_KNOWN_MATCH"
    lines(data, "lists", "import", str(file), *described)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        out, *_ = run_any(data, "match", hashed["path"], "--server", server, "--json")
        if json.loads(out)["decision"] == "MATCH":
            return
        time.sleep(0.1)
    pytest.fail("the server never saw the import")


@pytest.mark.slow
def test_a_list_goes_to_a_server_as_into_the_local_catalog(data, server, tmp_path):
    digests = [hashlib.sha256(b"%d" % n).hexdigest() for n in range(30)]
    file = tmp_path / "far.csv"
    file.write_text("sha256\n" + "".join(f"{each}\n" for each in digests) + "nothing\n")
    nowhere, column = tmp_path / "none", "--column=sha256=sha256"
    far = ("lists", "import", str(file), "--list", "far", column, "--server", server)
    _, told = run(nowhere, *far, status=2)
    assert told == "error: no list is named far; add --harm and --source to create it\n"
    (report,) = lines(nowhere, *far, "--harm", "test", "--source", "Us", "--idempotency-key", "one")
    (again,) = lines(nowhere, *far, "--idempotency-key", "one")
    assert again == report | {"repeated": True, "seconds": again["seconds"]}
    (here,) = lines(
        *(tmp_path / "mine", "lists", "import", str(file), "--list", "far", column),
        *("--harm", "test", "--source", "Us"),
    )
    assert (report["list_state"], here["list_state"]) == ("shadow", "live")
    apart = {"revision", "seconds", "list_state"}
    assert {k: v for k, v in report.items() if k not in apart} == {
        k: v for k, v in here.items() if k not in apart
    }
    assert (report["added"], report["rejected"]) == (30, 1)
    assert report["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    (revision,) = lines(nowhere, "lists", "revisions", "far", "--limit", "1", "--server", server)
    assert (revision["kind"], revision["revision"]) == ("import", report["revision"])
    assert "(unverified, via grpc:" in revision["author"]
    typed = file.read_bytes()
    from_stdin = ("lists", "import", "-", "--format", "csv", *far[3:])
    (more,) = lines(nowhere, *from_stdin, stdin=typed)
    assert (more["unchanged"], more["revision"]) == (30, 0)
    _, told = run(nowhere, *far, "--max-rejected-share", "0", status=2)
    assert "1 of 31 records was rejected" in told
    assert "not known" not in told
    out, told = run(nowhere, *far)
    assert out.startswith("import\tfar\nresult\tnothing changed\n")
    assert "rejected: line 32" in told
    assert not nowhere.exists()


def on_a_terminal(data, *arguments, typed=b""):
    """Runs a command in a pseudo-terminal and gives its status and what a person sees."""
    ours, theirs = pty.openpty()
    os.write(ours, typed)
    with subprocess.Popen(
        [*COMMAND, "--data", str(data), *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(TERM="xterm-256color", COLUMNS="120"),
    ) as process:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # Linux's word for the end of a terminal
            while chunk := os.read(ours, 65536):
                seen += chunk
        os.close(ours)
        return process.wait(170), seen.decode()


@pytest.mark.slow
def test_a_person_sees_a_table_in_colour(data, folder):
    paths = [str(folder / name) for name in ("listed-1.jpg", "resized.jpg", "mirrored.jpg")]
    status, seen = on_a_terminal(data, "match", *paths)
    assert status == 1
    assert "\x1b[1;31mMATCH" in seen
    assert "exact" in seen
    assert "a lead, not proof" in seen
    status, seen = on_a_terminal(data, "lists", "show", "demo")
    assert status == 0
    assert "can match near" in seen


@pytest.mark.slow
def test_a_person_is_asked_before_entries_are_erased_for_good(tmp_path):
    data, file = tmp_path / "data", tmp_path / "list.csv"
    digests = [hashlib.sha256(b"%d" % n).digest() for n in range(3)]
    file.write_text("sha256,id\n" + "".join(f"{d.hex()},S{n}\n" for n, d in enumerate(digests)))
    columns = ("--column=sha256=sha256", "--column=source_id=id")
    lines(data, "lists", "import", str(file), "--list=mine", "--harm=test", "--source=Us", *columns)
    (built,) = lines(data, "index", "build")
    assert (built["built"], built["entries"]) == (True, 4)
    purge = ("lists", "purge", "mine", "--source-id", "S1", "--reason", "the case is closed")
    status, seen = on_a_terminal(data, *purge, typed=b"n\n")
    assert status == 2
    assert "From the list mine would be erased for good:" in seen
    assert "Nothing was changed." in seen
    out, _ = run(data, *purge, "--yes")
    assert "rewritten, no trace left" in out
    assert "built anew, the old ones removed" in out
    stored = [path.read_bytes() for path in data.rglob("*") if path.is_file()]
    tails = [digest[8:] for digest in digests]  # an index keeps the first bytes turned round
    assert [any(tail in each for each in stored) for tail in tails] == [True, False, True]
    (*_, result) = lines(data, "index", "verify")
    assert result["holds"]


def test_statuses_and_streams_of_a_process(data, folder):
    done = subprocess.run(
        [*COMMAND, "--data", str(data), "hash", str(folder / "resized.jpg"), "/nowhere"],
        capture_output=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 2
    assert done.stderr == b""
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()][1] == "/nowhere"
