"""One line of a library is kept from standard error, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from matcher.cli.scan_quiet import RAYS_LINE, without_lines


@pytest.fixture
def seen(capfd):
    return lambda: capfd.readouterr().err


def test_lines_that_hold_it_are_dropped_and_all_others_come_through(seen):
    sys.stderr.write("before\n")
    with without_lines(RAYS_LINE):
        sys.stderr.write("one\n")
        sys.stderr.flush()
        os.write(2, b"[x] logging.cc:303: Set level from " + RAYS_LINE + b" to 3\n")
        os.write(2, b"two \xff\n")
        os.write(2, b"no end")
    sys.stderr.write(" after\n")
    assert seen() == "before\none\ntwo \N{REPLACEMENT CHARACTER}\nno end after\n"


def test_it_ends_with_what_ends_it(seen):
    def broken():
        os.write(2, b"a drop\n")
        raise ValueError

    with pytest.raises(ValueError), without_lines(b"drop"):
        broken()
    os.write(2, b"drop\n")
    assert seen() == "drop\n"


def test_a_process_that_was_begun_meanwhile_holds_nothing_up(seen):
    """And what it writes comes through as well."""
    with without_lines(b"drop"):
        child = subprocess.Popen(
            [sys.executable, "-c", "import sys; input(); print('late', file=sys.stderr)"],
            stdin=subprocess.PIPE,
        )
    os.write(2, b"drop\n")
    child.communicate(b"\n")
    told = ""
    while "late" not in told:
        told += seen()
    assert told == "drop\nlate\n"
