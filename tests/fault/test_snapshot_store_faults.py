"""Disks that fill up, servers that break off, kills: what was served before is served after."""

from __future__ import annotations

import errno
import http.client
import http.server
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from hashlists.errors import SnapshotError, SnapshotStoreError
from hashlists.snapshot import open_current, sweep
from hashlists.snapshot.objects import OBJECTS, Objects, StoreOptions
from hashlists.snapshot.pointer import readable_pointer
from hashlists.snapshot.receive import pull, try_pull
from hashlists.snapshot.store import push
from tests.snapshot_store_support import (
    HASTY,
    Keys,
    build,
    folders,
    forget_credentials,
    point_s3_at,
    revision_of_arrays,
    s3_server,
)

if TYPE_CHECKING:
    from pathlib import Path

#: The calls of `os` by which pulling touches the disk.
CALLS = ("open", "mkdir", "link", "fsync", "rename", "replace")


class Site:
    """A builder and a replica that holds revision 1, while the store shows revision 2."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.url = folder, url
        self.keys = Keys(folder)
        self.built, self.root = folder / "built", folder / "replica"
        self.publish(1)
        self.pull()
        self.publish(2)
        self.held = folders(self.root)

    def publish(self, revision: int, *, purge: str = "", **options):
        folder = build(self.built, revision, purge=purge)
        options.setdefault("options", HASTY)
        return push(folder, self.url, signing_key=self.keys.private, **options)

    def pull(self, **options):
        options.setdefault("options", HASTY)
        return pull(self.url, self.root, verify_key=self.keys.public, **options)

    def still_serves_the_first(self) -> None:
        assert folders(self.root) == self.held
        assert not list(self.root.glob(".current-*"))
        assert revision_of_arrays(self.root) == 1


@pytest.fixture
def local(tmp_path):
    return Site(tmp_path, f"file://{tmp_path}/store")


class Trap:
    """Lets one call of `os` fail, the `strike_at`-th of those in `CALLS`; keeps count."""

    def __init__(self, strike_at: int, number: int) -> None:
        self.strike_at, self.number = strike_at, number
        self.count = 0
        self._lock = threading.Lock()

    def wrap(self, call):
        def trapped(*arguments, **keywords):
            with self._lock:
                self.count += 1
                strike = self.count == self.strike_at
            if strike:
                raise OSError(self.number, os.strerror(self.number))
            return call(*arguments, **keywords)

        return trapped

    @contextmanager
    def set(self):
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self.wrap(getattr(os, name)))
            yield self


class TestDisk:
    def test_a_full_disk_at_any_step_leaves_nothing_behind(self, local):
        kept = local.folder / "kept"
        local.root.rename(kept)
        self.restore(kept, local.root)
        with Trap(0, errno.ENOSPC).set() as dry:
            local.pull()
        assert dry.count > 20
        outcomes = set()
        for step in range(1, dry.count + 1):
            self.restore(kept, local.root)
            with Trap(step, errno.ENOSPC).set() as trap:
                try:
                    local.pull()
                except SnapshotError as error:
                    assert "(No space left on device)" in str(error)  # noqa: PT017  # most steps raise
            assert trap.count >= step
            # Whole, and either the one before or, past the swap, the new one.
            if revision_of_arrays(local.root) == 1:
                local.still_serves_the_first()
                outcomes.add("the first")
            else:
                assert len(folders(local.root)) == 2
                outcomes.add("the second")
        assert outcomes == {"the first", "the second"}

    @staticmethod
    def restore(kept: Path, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(kept, root)

    def test_a_file_that_cannot_grow(self, local):
        script = (
            "import sys; from pathlib import Path; from hashlists.snapshot.receive import pull;"
            "pull(sys.argv[1], Path(sys.argv[2]), verify_key=Path(sys.argv[3]))"
        )
        done = subprocess.run(
            [
                sys.executable,
                "-B",
                "-c",
                script,
                local.url,
                str(local.root),
                str(local.keys.public),
            ],
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
            capture_output=True,
            text=True,
            check=False,
        )
        assert "SnapshotError: the folder of snapshots cannot be used" in done.stderr
        local.still_serves_the_first()

    KILLED = """
import os, sys
from pathlib import Path
from hashlists.snapshot.receive import pull
call, strike_at, after = sys.argv[4], int(sys.argv[5]), sys.argv[6] == "after"
count, original = 0, getattr(os, call)
def trapped(*arguments, **keywords):
    global count
    count += 1
    if count == strike_at and not after:
        os.kill(os.getpid(), 9)
    result = original(*arguments, **keywords)
    if count == strike_at:
        os.kill(os.getpid(), 9)
    return result
setattr(os, call, trapped)
pull(sys.argv[1], Path(sys.argv[2]), verify_key=Path(sys.argv[3]))
"""

    @pytest.mark.parametrize(
        ("call", "strike_at", "when", "swapped"),
        [
            ("replace", 1, "after", False),  # what was seen is remembered
            ("link", 1, "after", False),  # in the unfinished folder
            ("fsync", 5, "before", False),  # while files are written
            ("rename", 1, "before", False),
            (
                "rename",
                1,
                "after",
                False,
            ),  # the folder has its name, the pointer does not lead there
            ("replace", 2, "before", False),  # the pointer
            ("replace", 2, "after", True),
            ("replace", 3, "before", True),  # which local snapshot it is
        ],
    )
    def test_a_kill_leaves_what_the_next_pull_clears(self, local, call, strike_at, when, swapped):
        arguments = [local.url, str(local.root), str(local.keys.public), call, str(strike_at), when]
        done = subprocess.run(
            [sys.executable, "-c", self.KILLED, *arguments], capture_output=True, check=False
        )
        assert done.returncode == -9, done.stderr
        assert revision_of_arrays(local.root) == (2 if swapped else 1)
        assert local.pull().changed is not swapped
        assert revision_of_arrays(local.root) == 2
        sweep(local.root)
        assert len(folders(local.root)) == 2
        assert not list(local.root.glob(".current-*"))
        # Nothing of it counts as purged, nor is it forgotten what was seen.
        local.publish(3, purge="one")
        assert local.pull().erase_previous
        sweep(local.root, keep_previous=False)
        assert not local.pull().erase_previous


class TestWhatCannotBeOpened:
    def test_what_is_fetched_again_and_again_leaves_the_one_before(self, local):
        (first,) = (each.name for each in local.root.glob("snapshot-*"))
        for _ in range(3):
            local.pull(repair=True)
            sweep(local.root)
        assert readable_pointer(local.root).previous == first
        assert len(list(local.root.glob("snapshot-*"))) == 2

    def test_none_of_several_that_cannot_be_opened_takes_the_place_of_one_that_can(self, local):
        (first,) = (each.name for each in local.root.glob("snapshot-*"))
        local.pull()
        for number in (3, 4):
            local.publish(number)
            try_pull(local.url, local.root, verify_key=local.keys.public, refused=True)
            sweep(local.root, keep_previous=True)
            pointer = readable_pointer(local.root)
            assert (pointer.revision, pointer.previous) == (number, first)
        assert len(list(local.root.glob("snapshot-*"))) == 2

    def test_what_a_check_refuses_is_not_fetched(self, local):
        def refuse(folder, manifest):
            raise SnapshotError(f"{folder.name}: {manifest['revision']} is not for here")

        for repair in (False, True):
            with pytest.raises(SnapshotError, match="2 is not for here"):
                try_pull(
                    local.url,
                    local.root,
                    verify_key=local.keys.public,
                    repair=repair,
                    check=refuse,
                )
            local.still_serves_the_first()


class TestPublishing:
    @pytest.mark.parametrize("step", ["upload", "write", "replace"])
    def test_a_builder_that_breaks_off_has_published_nothing(self, local, step, monkeypatch):
        local.pull()
        with monkeypatch.context() as patched:
            patched.setattr(Objects, step, self.broken)
            with pytest.raises(SnapshotStoreError, match="broke off"):
                local.publish(3)
        assert not local.pull().changed
        assert revision_of_arrays(local.root) == 2
        local.publish(4)
        local.pull()
        assert revision_of_arrays(local.root) == 4

    @staticmethod
    def broken(*_, **__):
        raise SnapshotStoreError("broke off")

    def test_a_full_store(self, local):
        (local.folder / "store" / OBJECTS).rename(local.folder / "kept")
        (local.folder / "store" / OBJECTS).touch()
        with pytest.raises(SnapshotStoreError, match="objects"):
            local.publish(3)
        (local.folder / "store" / OBJECTS).unlink()
        with pytest.raises(SnapshotStoreError, match="is missing"):
            local.pull()
        local.still_serves_the_first()
        local.publish(3)
        local.pull()
        assert revision_of_arrays(local.root) == 3

    def test_a_purge_while_a_replica_is_pulling(self, local, monkeypatch):
        """What it is pulling goes away beneath it; it keeps what it has and comes again."""
        stream = Objects.stream

        def purged(self, name, nbytes, role):
            monkeypatch.setattr(Objects, "stream", stream)
            local.publish(3, purge="one")
            yield from stream(self, name, nbytes, role)

        monkeypatch.setattr(Objects, "stream", purged)
        with pytest.raises(SnapshotStoreError, match="just have been replaced"):
            local.pull(options=StoreOptions(transfers=1))
        local.still_serves_the_first()
        assert local.pull().erase_previous
        assert revision_of_arrays(local.root) == 3


# ---------------------------------------------------------------------------------------- servers


class Proxy(http.server.ThreadingHTTPServer):
    """Stands between the storage library and a server, and misbehaves when told to.

    `misbehave(method, path, count)` gives what to do with a request: None to pass it on, `cut` to
    break off in the middle of the answer's body, `lose` to pass it on and answer that it failed,
    `hang` not to answer, or a status code.
    """

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.upstream = urlsplit(upstream).netloc
        self.misbehave = lambda method, path, count: None
        self.count = 0
        self.released = threading.Event()

    def handle_error(self, request, client_address):
        """A client that hangs up is part of the tests."""


class _ProxyHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer is one packet, or the system delays its second

    def log_message(self, *_):
        pass

    def serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action = self.server.misbehave(self.command, self.path, self.server.count)
        if action is not None:
            self.server.count += 1
        if isinstance(action, int):
            self.refuse(action)
            return
        if action == "hang":
            self.server.released.wait(600)
            self.close_connection = True
            return
        answer, content = self.pass_on(body)
        if action == "lose":
            self.refuse(503)
            return
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "content-length"}:
                self.send_header(name, value)
        length = answer.getheader("Content-Length") or str(len(content))
        self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if action == "cut" else content)
        if action == "cut":
            self.close_connection = True

    def refuse(self, status: int) -> None:
        answer = f"<Error><Code>Told</Code><Key>{'secret' * 3}</Key></Error>".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def pass_on(self, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=100)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = serve  # noqa: N815  # the library's names


def is_object(method: str, path: str) -> bool:
    return method == "GET" and "/objects/" in path


@pytest.fixture
def proxied(tmp_path, monkeypatch):
    """A site over S3, and the proxy between."""
    url = s3_server(monkeypatch)
    proxy = Proxy(os.environ["AWS_ENDPOINT"])
    thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
    thread.start()
    try:
        point_s3_at(monkeypatch, f"http://127.0.0.1:{proxy.server_port}")
        yield Site(tmp_path, url), proxy
    finally:
        proxy.released.set()
        proxy.shutdown()
        thread.join()
        proxy.server_close()


class TestServers:
    def test_a_body_cut_once_is_fetched_again(self, proxied):
        site, proxy = proxied
        proxy.misbehave = lambda method, path, count: (
            "cut" if is_object(method, path) and count < 1 else None
        )
        site.pull()
        assert proxy.count == 1
        assert revision_of_arrays(site.root) == 2

    @pytest.mark.parametrize("action", ["cut", 500, 404, 416])
    def test_objects_that_never_come_whole(self, proxied, action):
        site, proxy = proxied
        proxy.misbehave = lambda method, path, _: action if is_object(method, path) else None
        with pytest.raises(SnapshotStoreError, match=r"(array recent\.codes|document lists)"):
            site.pull()
        site.still_serves_the_first()
        proxy.misbehave = lambda *_: None
        site.pull()
        assert revision_of_arrays(site.root) == 2

    def test_a_server_that_is_overloaded_for_a_moment(self, proxied):
        site, proxy = proxied
        proxy.misbehave = lambda method, path, count: 503 if count < 1 else None
        assert site.pull().changed
        assert proxy.count == 1

    def test_a_server_that_does_not_answer_is_given_up(self, proxied):
        site, proxy = proxied
        proxy.misbehave = lambda *_: "hang"
        with pytest.raises(SnapshotStoreError):
            site.pull(options=StoreOptions(request_seconds=0.3, retries=1, retry_seconds=1))
        site.still_serves_the_first()

    def test_a_server_that_stops_in_the_middle(self, proxied):
        site, proxy = proxied

        def stop(method, path, count):
            if is_object(method, path):
                threading.Thread(target=proxy.shutdown).start()
                proxy.socket.close()
                return "cut"
            return None

        proxy.misbehave = stop
        with pytest.raises(SnapshotStoreError):
            site.pull()
        site.still_serves_the_first()
        with pytest.raises(SnapshotStoreError):
            site.publish(3)
        site.still_serves_the_first()

    def test_denied_access_is_told_without_a_secret(self, proxied):
        site, proxy = proxied
        for status in (401, 403):
            proxy.misbehave = lambda *_, status=status: status
            with pytest.raises(SnapshotStoreError, match="access is denied") as caught:
                site.pull()
            assert "secret" not in str(caught.value)
            assert caught.value.__cause__ is None
        site.still_serves_the_first()

    def test_a_store_that_cannot_compare_is_written_to(self, proxied, monkeypatch):
        site, _ = proxied
        monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
        site.publish(3)
        site.pull()
        assert revision_of_arrays(site.root) == 3

    def test_an_answer_that_came_too_late_is_no_conflict(self, proxied):
        """The publication was taken, its answer lost; trying again finds itself."""
        site, proxy = proxied

        proxy.misbehave = lambda method, path, count: (
            "lose" if method == "PUT" and path.endswith("/current") and count < 1 else None
        )
        assert site.publish(3).revision == 3
        assert proxy.count == 1
        site.pull()
        assert revision_of_arrays(site.root) == 3


def test_a_shared_access_signature_is_never_told(monkeypatch, tmp_path):
    """Azure's are part of the URL of each request, which the library repeats in its errors."""
    forget_credentials(monkeypatch)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("AZURE_ALLOW_HTTP", "true")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sv=2021&sig=hunter2")
    objects = Objects("az://container/a", StoreOptions(retries=0))
    told = []
    for attempt in (
        lambda: objects.read("current", 100),
        lambda: objects.list("objects"),
        lambda: objects.write("current", b""),
        lambda: objects.delete(["current"]),
    ):
        with pytest.raises(SnapshotStoreError) as caught:
            attempt()
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        told.append(str(caught.value))
    assert not re.search("hunter2|sig=", "".join(told))


def test_the_same_failure_is_told_in_the_same_words(monkeypatch, tmp_path):
    point_s3_at(monkeypatch, "http://127.0.0.1:1")
    objects = Objects("s3://bucket/a", StoreOptions(retries=0))
    told = set()
    for _ in range(5):
        with pytest.raises(SnapshotStoreError) as caught:
            objects.read("current", 100)
        told.add(str(caught.value))
    assert len(told) == 1


def test_nothing_is_open_to_others(local):
    local.pull()
    assert open_current(local.root) is not None
    for path in [local.root, *local.root.rglob("*"), local.folder / "store"]:
        assert path.stat().st_mode & 0o077 == 0, path.name
