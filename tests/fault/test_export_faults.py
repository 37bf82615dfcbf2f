"""Exports that run out of disk, are killed, or meet a target that is not theirs.

Whatever happens, the target is whole, or what it was before, and nothing else looks like it.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from hashlists.catalog import Catalog
from hashlists.errors import ExportTargetError
from hashlists.exporter import ExportRequest, export_lists
from hashlists.exporting import whole_file as module
from hashlists.exporting.whole_file import whole_file
from tests.catalog_support import DEMO, bring, items

ROOT = Path(__file__).parents[2]
ENTRIES = 3_000


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    found = f"sqlite:///{tmp_path_factory.mktemp('catalog') / 'catalog.db'}"
    with Catalog.open(found) as catalog:
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items(*map(str, range(ENTRIES))))
    return found


def request(**fields):
    return ExportRequest(list_names=["demo"], format="jsonl", recipients=None, **fields)


@pytest.fixture(params=["nameless", "named"])
def either_way(request, monkeypatch):
    """File systems that know files without a name, and those that do not."""
    if request.param == "named":
        monkeypatch.setattr(module, "_DESCRIPTORS", "/nowhere")
    return request.param


@pytest.fixture
def short_of_disk():
    """Files may have 100 kB: less than the list, more than the catalog's own small files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("either_way", "short_of_disk")
@pytest.mark.parametrize("before", [None, "mine"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_disk_that_takes_no_more(url, tmp_path, before, encrypted):
    target = tmp_path / "out.jsonl"
    if before is not None:
        target.write_text(before)
    keys = [str(pyrage.x25519.Identity.generate().to_public())] if encrypted else []
    with Catalog.open(url) as catalog:
        wanted = request(encrypt_to=keys)
        with pytest.raises(ExportTargetError, match="was not written: File too large"):
            export_lists(catalog, target, wanted, force=True)
    if before is None:
        assert list(tmp_path.iterdir()) == []
    else:
        assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(target, "mine")]


#: Writes some, says so, and waits to be killed.
CHILD = """
import sys
from pathlib import Path
from hashlists.catalog import Catalog
from hashlists.exporter import ExportRequest, export_lists
from hashlists.exporting import whole_file
url, target, descriptors = sys.argv[1:]
whole_file._DESCRIPTORS = descriptors
def wait(_):
    print("written", flush=True)
    sys.stdin.read()
with Catalog.open(url) as catalog:
    wanted = ExportRequest(list_names=["demo"], format="jsonl", recipients=None)
    export_lists(catalog, Path(target), wanted, force=True, progress=wait)
"""


@pytest.mark.parametrize("descriptors", ["/proc/self/fd", "/nowhere"])
def test_a_kill_in_the_middle(url, tmp_path, descriptors):
    target = tmp_path / "out.jsonl"
    target.write_text("mine")
    arguments = (sys.executable, "-c", CHILD, url, str(target), descriptors)
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as child:
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    assert target.read_text() == "mine"
    left = [each for each in tmp_path.iterdir() if each != target]
    assert [each.suffix for each in left] == ([".partial"] if descriptors == "/nowhere" else [])
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in left)


def test_an_interruption_leaves_nothing(url, tmp_path, either_way):
    def interrupt(_):
        raise KeyboardInterrupt

    with Catalog.open(url) as catalog, pytest.raises(KeyboardInterrupt):
        export_lists(catalog, tmp_path / "out.jsonl", request(), progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def written(target, *, force=False):
    with whole_file(target, force=force) as stream:
        stream.write(b"whole")


def test_it_is_written_whole(tmp_path, either_way):
    target = tmp_path / "out"
    with whole_file(target) as stream:
        stream.write(b"wh")
        assert not target.exists()
        stream.write(b"ole")
    assert target.read_bytes() == b"whole"
    assert target.stat().st_mode & 0o777 == 0o600
    written(target, force=True)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_takes_no_files(tmp_path, either_way, monkeypatch, force):
    """Root may write anywhere, so that the system's answer is made up."""
    real = os.open

    def refuse(path, flags, *arguments, **more):
        if flags & (os.O_CREAT | os.O_WRONLY):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *arguments, **more)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ExportTargetError, match="was not written: Permission denied"):
        written(tmp_path / "out", force=force)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ExportTargetError, match="was not written: Permission denied"):
        written(tmp_path / "out")


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ExportTargetError, match="No such file or directory"):
        written(tmp_path / "none" / "out")


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("dangling", [False, True])
def test_a_symbolic_link_is_never_followed(tmp_path, either_way, force, dangling):
    behind = tmp_path / "behind"
    if not dangling:
        behind.write_text("mine")
    target = tmp_path / "out"
    target.symlink_to(behind)
    with pytest.raises(ExportTargetError, match="symbolic link"):
        written(target, force=force)
    assert target.is_symlink()
    assert dangling or behind.read_text() == "mine"
    assert behind.exists() is not dangling


@pytest.mark.parametrize("force", [False, True])
def test_what_appears_meanwhile_is_no_less_safe(tmp_path, either_way, force):
    """A link put there while the file is written: replaced with --force, never followed."""
    behind, target = tmp_path / "behind", tmp_path / "out"
    behind.write_text("mine")

    def race():
        with whole_file(target, force=force) as stream:
            stream.write(b"whole")
            target.symlink_to(behind)

    if force:
        race()
        assert (target.is_symlink(), target.read_bytes()) == (False, b"whole")
    else:
        with pytest.raises(ExportTargetError, match="there already"):
            race()
        assert target.is_symlink()
    assert behind.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [behind, target]


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_regular_file(tmp_path, make, force):
    make(tmp_path / "out")
    with pytest.raises(ExportTargetError, match="no regular file"):
        written(tmp_path / "out", force=force)


class TestFileSystemsWithoutLinks:
    @pytest.fixture(autouse=True)
    def without_links(self, monkeypatch):
        def refuse(*_, **__):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(module, "_DESCRIPTORS", "/nowhere")
        monkeypatch.setattr(os, "link", refuse)

    def test_it_is_written_whole(self, tmp_path):
        target = tmp_path / "out"
        written(target)
        assert target.read_bytes() == b"whole"
        with pytest.raises(ExportTargetError, match="there already"):
            written(target)
        written(target, force=True)
        assert list(tmp_path.iterdir()) == [target]

    def test_what_appears_meanwhile_stays(self, tmp_path):
        target = tmp_path / "out"

        def race():
            with whole_file(target) as stream:
                stream.write(b"whole")
                target.write_text("mine")

        with pytest.raises(ExportTargetError, match="there already"):
            race()
        assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(target, "mine")]


@pytest.mark.parametrize(("number", "is_told"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_folders_that_cannot_be_synced(tmp_path, monkeypatch, number, is_told):
    calls = []
    real = os.fsync

    def fsync(handle):
        calls.append(handle)
        if len(calls) == 2:  # the file comes first
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    if is_told:
        with pytest.raises(ExportTargetError):
            written(tmp_path / "out")
    else:
        written(tmp_path / "out")
    assert len(calls) == 2


def test_any_other_answer_to_a_link_is_told(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(ExportTargetError, match="No space left"):
        written(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
