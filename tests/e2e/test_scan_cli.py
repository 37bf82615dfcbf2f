"""A scan from the command line: folders and buckets in, one record for each object out.

What is killed or needs a terminal runs in a process of its own; the rest runs in this one.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import botocore.session
import numpy as np
import pyrage
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

import matcher
from hashlists.catalog import Catalog
from hashlists.importer import import_file
from hashlists.model import Harm, HashList, ListState
from matcher import cli, demo
from matcher.cli import scan_means
from matcher.settings import load_settings
from tests.s3_server import give_credentials

SOURCE = Path(matcher.__file__).parents[1]
COMMAND = [sys.executable, "-m", "matcher.cli"]
MANY = 640  # files of the scans that are stopped
PICTURES = 11


def environment(**more):
    return os.environ | {"PYTHONPATH": str(SOURCE), **more}


def run(data, *arguments, status=0):
    """Runs a command; gives its standard output and standard error."""
    out, told = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        for name, stream in (("stdin", io.StringIO()), ("stdout", out), ("stderr", told)):
            patch.setattr(sys, name, stream)
        got = cli.main(["--data", str(data), *map(str, arguments)])
    assert "this is a bug" not in told.getvalue(), told.getvalue()
    assert got == status, told.getvalue()
    return out.getvalue(), told.getvalue()


def records(folder):
    lines = (folder / "report.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(each) for each in lines]


def outcomes(folder):
    return {each["key"]: each["outcome"] for each in records(folder)}


def with_list(data, file, name="demo", **described):
    """Imports a list of the demo."""
    with Catalog.open(load_settings(data, environ={}).catalog_url) as catalog:
        catalog.create_list(HashList(name, Harm.TEST, "test", state=ListState.LIVE), author="test")
        import_file(catalog, file, list_name=name, importer="test", **described)
    return data


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, demo_folder):
    return shutil.copytree(demo_folder, tmp_path_factory.mktemp("scan") / "pictures")


@pytest.fixture(scope="module")
def data(tmp_path_factory, _begun_data, demo_folder):
    """A data folder with the demo's list."""
    made = shutil.copytree(_begun_data, tmp_path_factory.mktemp("data") / "data", symlinks=True)
    return with_list(made, demo_folder / demo.DEMO_LIST_FILE, format="vics")


@pytest.fixture(scope="module")
def many(tmp_path_factory, demo_folder):
    """Many small files, no two alike, in several folders: some of them listed."""
    folder = tmp_path_factory.mktemp("many") / "many"
    listed = (demo_folder / "listed-2.png").read_bytes()
    rng = np.random.default_rng(20261122)
    for number in range(MANY):
        file = folder / f"{number % 7}" / f"{number:04}"
        file.parent.mkdir(parents=True, exist_ok=True)
        if number % 100 == 0:
            file.write_bytes(listed + b"%d" % number)
        else:
            noise = rng.integers(0, 256, (64, 64), dtype=np.uint8)
            Image.fromarray(noise).save(file, "jpeg")
    return folder


@pytest.fixture(scope="module")
def undisturbed(data, many, tmp_path_factory):
    """What a scan of them finds that nobody stops, by key."""
    out = tmp_path_factory.mktemp("whole") / "out"
    run(data, "scan", many, "--output", out, status=1)
    assert len(records(out)) == MANY
    return comparable(out)


def comparable(folder):
    """The records without what is drawn at random, or depends on which of two is first."""
    return {
        each["key"]: {k: v for k, v in each.items() if k not in {"match_id", "way"}}
        for each in records(folder)
    }


# Folders and buckets


def test_a_folder(data, pictures, tmp_path):
    out, told = run(data, "scan", pictures, "--output", tmp_path / "out", status=1)
    assert "matched\t8" in out
    assert "A hash match is a lead, not proof" in told
    found = outcomes(tmp_path / "out")
    assert len(found) == PICTURES
    assert found["listed-1.jpg"] == found["resized.jpg"] == "matched"
    assert found["unlisted.jpg"] == "no_known_match"
    assert found[demo.DEMO_LIST_FILE] == "not_hashable"
    for file in (tmp_path / "out").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    shown, _ = run(data, "scan", "status", tmp_path / "out")
    assert f"finished\t{PICTURES}" in shown
    (status,) = map(
        json.loads, run(data, "scan", "status", tmp_path / "out", "--json")[0].split("\n")[:1]
    )
    assert status["complete"]
    assert status["outcomes"]["matched"] == 8


def test_the_exit_status_is_that_of_match(data, pictures, tmp_path):
    only = ("--include", "unlisted.jpg")
    run(data, "scan", pictures, *only, "--output", tmp_path / "a", status=0)
    run(data, "scan", pictures, "--include", "*.json", "--output", tmp_path / "b", status=2)
    run(data, "scan", pictures, "--exclude", "*", "--output", tmp_path / "c", status=0)


def test_the_default_folder_is_named_after_the_scan(data, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(data, "scan", pictures, "--limit", "1", status=2)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("scan-")
    _, told = run(data, "scan", pictures, "--output", folder, status=2)
    assert str(folder) in told


def test_events_are_json_lines(data, pictures, tmp_path):
    out, _ = run(data, "scan", pictures, "--output", tmp_path / "out", "--events", status=1)
    events = [json.loads(each) for each in out.splitlines()]
    assert [each["event"] for each in events] == ["estimate", "begun", "done"]
    assert events[0]["objects"] == PICTURES
    assert events[-1]["exit_status"] == 1
    assert "listed-1" not in out


def test_a_bucket(data, pictures, tmp_path, s3_store, monkeypatch):
    give_credentials(monkeypatch, tmp_path)
    bucket = s3_store.bucket("scanned")
    shutil.copytree(pictures, bucket / "photos")
    (bucket / "beside.txt").write_text("x")
    place = ("s3://scanned/photos", "--endpoint", s3_store.endpoint)
    _, told = run(
        data,
        "scan",
        *place,
        "--output",
        tmp_path / "out",
        "--price-get",
        "5",
        "--price-list",
        "5",
        status=1,
    )
    assert "1 LIST and 11 GET requests, 0.06" in told
    there = outcomes(tmp_path / "out")
    run(data, "scan", pictures, "--output", tmp_path / "here", status=1)
    assert there == outcomes(tmp_path / "here")


def test_shards_add_up(data, pictures, tmp_path):
    parts = []
    for shard in ("1/3", "2/3", "3/3"):
        out = tmp_path / shard.replace("/", "-")
        cli.main(
            ["--data", str(data), "scan", str(pictures), "--shard", shard, "--output", str(out)]
        )
        parts += outcomes(out)
    assert sorted(parts) == sorted(each.name for each in pictures.iterdir())


def test_an_empty_catalog_warns(begun_data, pictures, tmp_path):
    _, told = run(
        begun_data, "scan", pictures, "--include", "unlisted.jpg", "--output", tmp_path / "out"
    )
    assert "no list but the built-in" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("no-such-folder",), "no-such-folder"),
        (("ftp://x",), "ftp://"),
        (("/proc/self/fdinfo", "--policy", "none"), "none"),
        (("/proc/self/fdinfo", "--views", "sideways"), "sideways"),
        ((".",), "--output"),
        (("--resume", "."), "holds no scan"),
        (("gs://bucket", "--tag", "a=b"), "gs://"),
        ((".", "--tag", "a b=c"), "a b"),
    ],
)
def test_what_cannot_be_scanned_is_refused_and_leaves_nothing(
    data, tmp_path, monkeypatch, arguments, told
):
    monkeypatch.chdir(tmp_path)
    assert told in run(data, "scan", *arguments, status=2)[1]
    assert list(tmp_path.iterdir()) == []


# Stopped and resumed


@contextlib.contextmanager
def begun(data, *arguments, **streams):
    with subprocess.Popen(
        [*COMMAND, "--data", str(data), "scan", *map(str, arguments)],
        env=environment(TERM="xterm-256color", COLUMNS="120"),
        **streams,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for_some(data, out, process):
    """Waits until some of a scan is finished; it should not be over by then."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if (out / "state.db").exists():
            shown, _ = run_any(data, "scan", "status", out, "--json")
            if shown and json.loads(shown)["finished"]:
                return
        assert process.poll() is None, "it ended before anything was finished"
        time.sleep(0.02)
    pytest.fail("nothing was ever finished")


def run_any(data, *arguments):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", io.StringIO())
        got = cli.main(["--data", str(data), *map(str, arguments)])
    return out.getvalue(), got


SLOWLY = ("--workers", "1", "--fetches", "1")


@pytest.mark.slow
def test_a_killed_scan_goes_on_and_reports_each_object_once(data, many, undisturbed, tmp_path):
    out = tmp_path / "out"
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with begun(data, many, "--output", out, *SLOWLY, **streams) as process:
        wait_for_some(data, out, process)
        process.kill()
    run(data, "scan", "status", out, status=1)
    _, told = run(data, "scan", "--resume", out, status=1)
    assert "resumed in" in told
    assert Counter(each["key"] for each in records(out)).most_common(1)[0][1] == 1
    assert comparable(out) == undisturbed
    status = json.loads(run(data, "scan", "status", out, "--json")[0])
    assert [each["how"] for each in status["runs"]] == ["killed", "done"]


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_stops_and_tells_how_to_go_on(data, many, undisturbed, tmp_path):
    out = tmp_path / "an out's folder"
    ours, theirs = pty.openpty()
    with begun(
        data, many, "--output", out, *SLOWLY, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, preexec_fn=lambda: _own_terminal(theirs),
    ) as process:  # fmt: skip
        os.close(theirs)
        seen, typed = b"", False
        with contextlib.suppress(OSError):  # Linux's word for the end of a terminal
            while chunk := os.read(ours, 65536):
                seen += chunk
                if not typed and b"no known match " in seen and b"objects" in seen:
                    wait_for_some(data, out, process)
                    os.write(ours, b"\x03")
                    typed = True
        os.close(ours)
        assert process.wait(120) == 130
    text = seen.decode(errors="replace")  # the terminal shows ^C in the middle of what is drawn
    assert "Stopping:" in text
    assert "Traceback" not in text
    (words,) = re.findall(r"Go on with: (.*?)(?:\x1b|\r)", text)
    again = shlex.split(words)
    assert again == [
        *("hashwarden", "--data", str(data), "scan", "--resume", str(out)),
        *SLOWLY,
    ]
    assert not (out / "report.jsonl").exists()
    run(data, *again[3:], status=1)
    assert comparable(out) == undisturbed


def _own_terminal(file):
    import fcntl
    import termios

    fcntl.ioctl(file, termios.TIOCSCTTY, 0)


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_sigterm_stops_once_in_order_and_twice_at_once(data, many, tmp_path, times):
    out = tmp_path / "out"
    with begun(
        data, many, "--output", out, *SLOWLY, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    ) as process:  # fmt: skip
        wait_for_some(data, out, process)
        for _ in range(times):
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)  # two signals at once are one
        told = process.stderr.read()
        # The second one may meet an interpreter that has told everything and takes no signals.
        assert process.wait(120) in {130, -signal.SIGTERM if times == 2 else 130}
    assert "Go on with: " in told
    assert ("Ended at once" in told) or "Interrupted: " in told


def test_what_contradicts_the_folder_is_refused(data, pictures, tmp_path):
    out = tmp_path / "out"
    run(data, "scan", pictures, "--output", out, "--include", "*.png", status=1)
    _, told = run(data, "scan", "--resume", out, "--include", "*.jpg", "--policy", "x", status=2)
    assert "--include, --policy" in told
    run(data, "scan", pictures, "--include", "*.png", "--resume", out, status=1)


@pytest.mark.slow
def test_changed_lists_are_told_when_a_scan_goes_on(data, many, tmp_path):
    own = shutil.copytree(data, tmp_path / "data", symlinks=True)
    out = tmp_path / "out"
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with begun(own, many, "--output", out, *SLOWLY, **streams) as process:
        wait_for_some(own, out, process)
        process.kill()
    file = tmp_path / "more.txt"
    file.write_text(f"{'0' * 31}7\n")
    with_list(own, file, "more", format="digests")
    _, told = run(own, "scan", "--resume", out, status=1)
    assert "lists or policy have changed: revision" in told


# Kept hashes


def test_kept_hashes_are_looked_up_in_newer_lists_and_forgotten(
    begun_data, pictures, demo_folder, tmp_path
):
    first, again = tmp_path / "first", tmp_path / "again"
    run(begun_data, "scan", pictures, "--keep-hashes", "--output", first, status=1)
    assert outcomes(first)["listed-1.jpg"] == "no_known_match"
    with_list(begun_data, demo_folder / demo.DEMO_LIST_FILE, format="vics")
    moved = tmp_path / "moved"
    pictures_here = shutil.copytree(pictures, tmp_path / "pictures")
    shutil.rmtree(pictures_here)  # nothing is fetched
    run(begun_data, "scan", "rematch", first, "--output", again, status=1)
    assert outcomes(again)["listed-1.jpg"] == "matched"
    assert len(records(again)) == PICTURES
    run(begun_data, "scan", "--resume", again, status=1)
    _, told = run(begun_data, "scan", "forget", first, status=2)
    assert "--yes" in told
    run(begun_data, "scan", "forget", first, "--prefix", "listed", "--yes")
    run(begun_data, "scan", "rematch", first, "--output", moved, status=1)
    assert "listed-1.jpg" not in outcomes(moved)
    run(begun_data, "scan", "forget", first, "--yes")
    _, told = run(begun_data, "scan", "forget", first, "--yes")
    assert "No hashes are kept" in told
    _, told = run(begun_data, "scan", "rematch", first, "--output", tmp_path / "none", status=2)
    assert "no hashes are kept" in told
    acts = [json.loads(each) for each in run(begun_data, "audit", "show", "--json")[0].splitlines()]
    forgotten = [each for each in acts if each["act"] == "scan.forget"]
    assert len(forgotten) == 4
    assert "listed" not in json.dumps(forgotten)


@pytest.mark.slow
def test_what_a_killed_scan_has_kept_is_looked_up_and_the_rest_is_told(data, many, tmp_path):
    out, again = tmp_path / "out", tmp_path / "again"
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with begun(data, many, "--output", out, "--keep-hashes", *SLOWLY, **streams) as process:
        wait_for_some(data, out, process)
        process.kill()
    _, status = run_any(data, "scan", "rematch", out, "--output", again)
    assert status in (1, 2)  # never 0, whether something was found or not
    totals = json.loads((again / "summary.json").read_text())["totals"]
    assert totals["skipped"]["objects that the earlier scan has not finished"] > 0


def test_what_has_not_changed_is_not_fetched_again(
    begun_data, pictures, demo_folder, tmp_path, monkeypatch
):
    here = shutil.copytree(pictures, tmp_path / "pictures")
    first, again = tmp_path / "first", tmp_path / "again"
    run(begun_data, "scan", here, "--keep-hashes", "--output", first, status=1)
    with_list(begun_data, demo_folder / demo.DEMO_LIST_FILE, format="vics")
    (here / "new.jpg").write_bytes((here / "listed-1.jpg").read_bytes())
    run(begun_data, "scan", here, "--unchanged-from", first, "--output", again, status=1)
    ways = {each["key"]: each["way"] for each in records(again)}
    assert ways.pop("new.jpg") == "fetched"
    assert {*ways.values()} == {"unchanged"}
    assert outcomes(again)["listed-1.jpg"] == outcomes(again)["new.jpg"] == "matched"
    monkeypatch.setattr(scan_means, "decoders_of", lambda _: "newer decoders")
    newer = tmp_path / "newer"
    run(begun_data, "scan", here, "--unchanged-from", first, "--output", newer, status=1)
    fetched = {each["key"] for each in records(newer) if each["way"] == "fetched"}
    assert fetched == {"new.jpg", demo.DEMO_LIST_FILE}  # which may be a picture for newer ones


def test_where_nothing_stands_all_is_fetched_and_that_is_told(data, pictures, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    run(data, "scan", pictures, "--output", first, status=1)
    _, told = run(data, "scan", pictures, "--unchanged-from", first, "--output", again, status=1)
    assert "kept no hashes" in told
    assert {each["way"] for each in records(again)} == {"fetched"}


# Archives, and a server


def test_members_of_archives(data, pictures, tmp_path):
    place = tmp_path / "archives"
    place.mkdir()
    shutil.make_archive(str(place / "pictures"), "zip", pictures)
    out, _ = run(data, "scan", place, "--archives", "--output", tmp_path / "out", status=1)
    assert "members of archives" in out
    members = {each["member"]: each["outcome"] for each in records(tmp_path / "out")[1:]}
    assert members["listed-1.jpg"] == "matched"
    shown, _ = run(data, "scan", "tag", tmp_path / "out", "--tag", "a=b", status=2)
    assert "matched\t1\ta=b" in shown
    run(data, "scan", place, "--output", tmp_path / "without", status=2)


@pytest.fixture(scope="module")
def server(data):
    """The address of a server over the same data."""
    free = {f"HASHWARDEN_{name}": "127.0.0.1:0" for name in ("LISTEN", "ADMIN_LISTEN")}
    with subprocess.Popen(
        [*COMMAND, "--data", str(data), "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment(**free, HASHWARDEN_LISTS_LISTEN="same"),
        text=True,
    ) as process:
        ready = process.stdout.readline()
        assert ready.startswith("serving on 127.0.0.1:")
        yield ready.split()[-1]
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_a_scan_through_a_server_finds_the_same(data, server, pictures, tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    nowhere = tmp_path / "nowhere"  # no lists are there
    run(nowhere, "scan", pictures, "--server", server, "--output", there, status=1)
    run(data, "scan", pictures, "--output", here, status=1)
    assert outcomes(there) == outcomes(here)
    assert not nowhere.exists()


# Encrypted records


def test_encrypted_records_are_read_by_who_holds_the_key(data, pictures, tmp_path):
    identity = pyrage.x25519.Identity.generate()
    key = tmp_path / "key"
    key.write_text(f"{identity}\n")
    key.chmod(0o600)
    out = tmp_path / "out"
    to = ("--encrypt-to", str(identity.to_public()))
    run(data, "scan", pictures, "--output", out, *to, status=1)
    assert {each.name for each in out.iterdir()} >= {"report.html", "summary.json"}
    assert not (out / "report.jsonl").exists()
    for file in out.iterdir():
        assert b"listed-1" not in file.read_bytes(), file
    _, told = run(data, "scan", "report", out, status=2)
    assert "--identity" in told
    there = tmp_path / "there"
    run(data, "scan", "report", out, "--identity", key, "--output", there, "--format", "jsonl,csv")
    assert outcomes(there)["listed-1.jpg"] == "matched"
    run(data, "scan", "report", out, "--identity", key, *to)
    sealed = (out / "report.jsonl.age").read_bytes()
    assert b"listed-1" in pyrage.decrypt(sealed, [identity])
    assert not (out / "report.jsonl").exists()
    _, told = run(data, "scan", "tag", out, "--tag", "a=b", "--yes", status=2)
    assert "encrypted" in told


def test_reports_are_made_again(data, pictures, tmp_path):
    out = tmp_path / "out"
    run(data, "scan", pictures, "--output", out, "--report", "html", status=1)
    assert not (out / "report.jsonl").exists()
    told, _ = run(data, "scan", "report", out, "--format", "jsonl,csv,parquet,vics,html")
    names = {Path(each).name for each in told.splitlines()}
    assert names >= {"report.jsonl", "report.csv", "report.parquet", "report.vics.json"}
    assert len(records(out)) == PICTURES


# Tags


@pytest.fixture
def tagged_folder(tmp_path, pictures):
    folder = shutil.copytree(pictures, tmp_path / "pictures")
    try:
        os.setxattr(folder / "unlisted.jpg", "user.probe", b"1")
    except OSError as error:
        pytest.skip(f"this file system keeps no attributes: {error.strerror}")
    return folder


def attributes(file):
    return {each for each in os.listxattr(file) if each.startswith("user.hashwarden.")}


def test_tags_are_shown_before_they_are_set(data, tagged_folder, tmp_path):
    out = tmp_path / "out"
    run(data, "scan", tagged_folder, "--output", out, status=1)
    shown, told = run(data, "scan", "tag", out, "--tag", "case=17", status=2)
    assert f"{tagged_folder}\tmatched\t8\tcase=17" in shown
    assert "--yes" in told
    assert not any(attributes(each) for each in tagged_folder.iterdir())
    (tagged_folder / "listed-1.jpg").write_bytes(b"another")
    (tagged_folder / "listed-2.png").unlink()
    _, told = run(data, "scan", "tag", out, "--tag", "case=17", "--yes", status=2)
    assert "6 tagged" in told
    assert "not tagged (changed): " + str(tagged_folder / "listed-1.jpg") in told
    assert "1 not tagged, since gone" in told
    assert not attributes(tagged_folder / "listed-1.jpg")
    assert not attributes(tagged_folder / "unlisted.jpg")
    assert attributes(tagged_folder / "resized.jpg") == {"user.hashwarden.case"}
    lines = run(data, "audit", "show", "--json")[0].splitlines()
    act = [each for each in map(json.loads, lines) if each["act"] == "scan.tag"][-1]
    assert act["details"].items() >= {"tagged": 6, "changed": 1, "gone": 1, "objects": 8}.items()
    assert "listed-1" not in "".join(lines)


def test_a_scan_tags_in_the_end_where_that_was_asked_for(data, tagged_folder, tmp_path):
    tag = ("--tag", "case=17")
    _, told = run(data, "scan", tagged_folder, "--output", tmp_path / "a", *tag, status=1)
    assert "Nothing was tagged" in told
    assert not any(attributes(each) for each in tagged_folder.iterdir())
    run(data, "scan", tagged_folder, "--output", tmp_path / "b", *tag, "--yes", status=1)
    assert sum(bool(attributes(each)) for each in tagged_folder.iterdir()) == 8


def test_objects_of_s3_are_tagged(data, demo_folder, tmp_path, monkeypatch):
    give_credentials(monkeypatch, tmp_path)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    try:
        endpoint = "http://{}:{}".format(*server.get_host_and_port())
        s3 = botocore.session.get_session().create_client("s3", endpoint_url=endpoint)
        s3.create_bucket(Bucket="tagged")
        for name in ("listed-1.jpg", "unlisted.jpg"):
            body = (demo_folder / name).read_bytes()
            s3.put_object(Bucket="tagged", Key=f"photos/{name}", Body=body)
        out = tmp_path / "out"
        place = ("s3://tagged/photos", "--endpoint", endpoint)
        run(data, "scan", *place, "--output", out, "--tag", "case=17", "--yes", status=1)

        def tags(name):
            return s3.get_object_tagging(Bucket="tagged", Key=f"photos/{name}")["TagSet"]

        assert tags("listed-1.jpg") == [{"Key": "case", "Value": "17"}]
        assert tags("unlisted.jpg") == []
        s3.close()
    finally:
        server.stop()


def test_nothing_found_is_nothing_to_tag(data, pictures, tmp_path):
    out = tmp_path / "out"
    run(data, "scan", pictures, "--include", "unlisted.jpg", "--output", out)
    _, told = run(data, "scan", "tag", out, "--tag", "case=17", "--yes")
    assert "Nothing was found" in told


def test_only_one_outcome_may_be_tagged(data, tagged_folder, tmp_path):
    out = tmp_path / "out"
    run(data, "scan", tagged_folder, "--output", out, status=1)
    _, told = run(data, "scan", "tag", out, "--tag", "a=b", "--outcome", "review", "--yes")
    assert "Nothing was found" in told
