"""The index in locked memory: its pages stay; where the system refuses, it is served as ever."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from hashlists import snapshot as snapshots
from hashlists.catalog import Catalog
from matcher.follow.follower import Follower
from matcher.follow.snapshots import build_snapshot
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import DEMO, bring, items

_STATUS = Path("/proc/self/status")
pytestmark = pytest.mark.skipif(not _STATUS.exists(), reason="this system does not say")

_ENTRIES = 1 << 17
_BEYOND_THE_LIMIT = """
import os, resource, sys
from pathlib import Path
from hashlists import snapshot
opened = snapshot.open_current(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
if os.geteuid() == 0:
    os.setuid(65534)  # the limit is not for root
try:
    snapshot.lock_in_memory(opened)
except OSError as error:
    print(error.errno)
"""


def locked_bytes() -> int:
    (line,) = (each for each in _STATUS.read_text().splitlines() if each.startswith("VmLck"))
    return int(line.split()[1]) * 1024


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "snapshots"
    with snapshots.SnapshotWriter(root, revision=1) as writer:
        writer.add_array("numbers", np.arange(_ENTRIES))
        writer.add_array("empty", np.empty(0, np.int64))
        writer.publish({})
    return root


def test_every_array_is_locked_until_it_is_let_go(root):
    opened = snapshots.open_current(root)
    before = locked_bytes()
    try:
        assert snapshots.lock_in_memory(opened) == 8 * _ENTRIES
    except OSError:
        pytest.skip("this system does not let us lock a megabyte")
    assert locked_bytes() - before == 8 * _ENTRIES
    assert snapshots.lock_in_memory(opened) == 8 * _ENTRIES
    assert locked_bytes() - before == 8 * _ENTRIES
    del opened
    assert locked_bytes() == before


def test_past_what_the_system_allows_it_is_refused(root):
    command = [sys.executable, "-c", _BEYOND_THE_LIMIT, str(root)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) in {errno.EPERM, errno.ENOMEM, errno.EAGAIN}


class TestServing:
    @pytest.fixture
    def catalog(self, tmp_path):
        with Catalog.open(f"sqlite:///{tmp_path}/catalog.sqlite3") as catalog:
            catalog.create_list(DEMO, author="a person")
            bring(catalog, items("abc"))
            yield catalog

    def follower(self, catalog, tmp_path, **options):
        root = tmp_path / "snapshots"
        build_snapshot(catalog, root)
        return Follower(catalog, root, {"default": default_policy()}, Holder(), **options)

    def test_what_is_opened_is_locked_where_that_is_wanted(self, catalog, tmp_path):
        with mock.patch.object(snapshots, "lock_in_memory") as lock:
            self.follower(catalog, tmp_path).refresh()
            assert not lock.called
            follower = self.follower(catalog, tmp_path, lock_index=True)
            follower.refresh()
        (call,) = lock.call_args_list
        assert call.args[0].path.name == follower.state().snapshot

    def test_what_cannot_be_locked_is_served_and_told(self, catalog, tmp_path):
        follower = self.follower(catalog, tmp_path, lock_index=True)
        refusal = OSError(errno.ENOMEM, "Cannot allocate memory")
        with mock.patch.object(snapshots, "lock_in_memory", side_effect=refusal):
            assert follower.refresh()
        state = follower.state()
        assert state.revision == catalog.head()
        assert state.problem.startswith("locking the index in memory: ")
        bring(catalog, items("d"))
        build_snapshot(catalog, tmp_path / "snapshots", full=True)
        with mock.patch.object(snapshots, "lock_in_memory"):
            assert follower.refresh()
        assert not follower.state().problem

    def test_an_older_snapshot_is_locked_as_well(self, catalog, tmp_path):
        follower = self.follower(catalog, tmp_path, lock_index=True)
        (tmp_path / "snapshots" / "current").write_text("damaged")
        catalog.close()
        with mock.patch.object(snapshots, "lock_in_memory") as lock:
            assert follower.refresh()
        assert lock.call_count == 1
        assert "locking" not in follower.state().problem
