"""A fetch that is killed at any moment: the next one goes on, and nothing is lost or doubled."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hashlists.catalog import Catalog
from tests.exchange_servers import Feed, serve
from tests.exchange_support import NAME, add_exchange, fetch_from, held

ROOT = Path(__file__).resolve().parents[2]
CHILD = """
import os, signal, sys
from datetime import datetime
from hashlists.catalog import Catalog, staging
from hashlists.exchanges import asking, fetching
from hashlists.exchanges.fetching import fetch
from tests.exchange_servers import Time, credentials_of
from tests.exchange_support import NAME, order

url, kind, when, count, now = sys.argv[1:]
left = int(count)

def dying(function, after):
    def call(*arguments, **named):
        global left
        left -= 1
        if left == 0 and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call

place, name = {
    "answered": (asking, "read_page"),
    "staged": (fetching, "stage_page"),
    "committing": (staging, "write_progress"),
    "committed": (staging.StagedImport, "commit"),
}[when]
setattr(place, name, dying(getattr(place, name), after=True))
with Catalog.open(url) as catalog:
    fetch(catalog, NAME, order(Time(datetime.fromisoformat(now))), credentials_of(kind))
"""


@pytest.mark.slow
@pytest.mark.parametrize("when", ["answered", "staged", "committing", "committed"])
def test_a_killed_fetch_is_gone_on_with(tmp_path, when):
    url = f"sqlite:///{tmp_path}/catalog.db"
    with serve(Feed("ncmec")) as server:
        feed = server.feed
        feed.put(*range(11))
        with Catalog.open(url) as catalog:
            add_exchange(catalog, server)
        feed.time.pass_by(minutes=30)
        killed = subprocess.run(
            [sys.executable, "-c", CHILD, url, "ncmec", when, "3", feed.time.now.isoformat()],
            cwd=ROOT,
            check=False,
            timeout=120,
        )
        assert killed.returncode == -signal.SIGKILL
        feed.put(1, 2, version=1)
        feed.delete(3)
        with Catalog.open(url) as catalog:
            taken = 9 if when == "committed" else 6
            assert len(held(catalog)) == taken
            assert catalog.get_exchange(NAME).number == taken // 3
            feed.time.pass_by(minutes=30)
            server.asked.clear()
            fetch_from(catalog, server)
            assert "start" in server.pages[0].query  # it went on within the range
            assert held(catalog) == feed.truth()
