"""The limit of open files is raised, and leaves room beside connections."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys

import pytest

from matcher.service import open_files


@pytest.fixture
def limit(monkeypatch):
    """The limits of a process, which it can raise as systems let it."""
    limit = [1024, 4096]

    def change(_, wanted):
        if wanted[0] > limit[1] >= 0:
            raise ValueError("not allowed")
        limit[:] = wanted

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limit))
    monkeypatch.setattr(resource, "setrlimit", change)
    return limit


def test_it_is_raised_to_what_the_system_allows(limit):
    open_files.raise_limit()
    assert limit == [4096, 4096]
    open_files.raise_limit()
    assert open_files.limits() == (4096, 4096)


def test_one_without_end_is_raised_far_enough_and_stays_so(limit):
    limit[1] = resource.RLIM_INFINITY
    open_files.raise_limit()
    assert limit == [1 << 20, resource.RLIM_INFINITY]
    limit[0] = resource.RLIM_INFINITY
    open_files.raise_limit()
    assert limit == [resource.RLIM_INFINITY, resource.RLIM_INFINITY]
    assert open_files.limits() == (1 << 20, 1 << 20)


def test_where_it_cannot_be_raised_a_server_goes_on(limit, monkeypatch, caplog):
    def refuse(*_):
        raise OSError("not here")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    with caplog.at_level(logging.WARNING):
        open_files.raise_limit()
    assert "no more than 1024 files" in caplog.text


@pytest.mark.parametrize("files", [16, 1024, 1 << 20])
def test_two_servers_leave_files_for_all_else(files):
    assert files // 2 <= 2 * open_files.most_connections(files) <= files * 3 // 4
    assert open_files.most_connections(1) == 1


def test_a_process_of_its_own_raises_its_limit():
    program = (
        "import resource\n"
        "from matcher.service.open_files import limits, raise_limit\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))\n"
        "raise_limit()\n"
        "print(limits()[0] == limits()[1] > 64)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"
