"""CPUs of their own for a server and for what measures it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from loadtest.openloop.cpus import Cpus, confined

ASKED = [sys.executable, "-c", "import os; print(*sorted(os.sched_getaffinity(0)))"]


def cpus_of_a_child():
    return [int(each) for each in subprocess.check_output(ASKED, text=True).split()]


def test_the_generator_has_one_of_its_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 2, 3})
    apart = Cpus.apart()
    assert (apart.server, apart.generator) == ({2, 3}, {5})
    assert Cpus.shared() == Cpus(frozenset({2, 3, 5}), frozenset({2, 3, 5}))


def test_one_cpu_is_too_few(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    with pytest.raises(RuntimeError, match="two CPUs"):
        Cpus.apart()


def test_what_is_started_meanwhile_keeps_to_them():
    usable = os.sched_getaffinity(0)
    last = max(usable)
    with confined(frozenset({last})):
        assert cpus_of_a_child() == [last]
    assert cpus_of_a_child() == sorted(usable)
