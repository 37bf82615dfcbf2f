"""What the supervisor decrypts is one memory for all, and nobody depends on it."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hashlists.encryption.keys import KeySource
from hashlists.snapshot import SnapshotWriter, open_snapshot
from hashlists.snapshot.vault import Vault
from matcher.service import shared_memory
from matcher.service.shared_memory import Broker, SupervisorMemory

ONE, TWO = "11" * 32, "22" * 32
CODES = np.random.default_rng(5).integers(0, 256, (20_000, 32), np.uint8)


@dataclass
class Settings:
    snapshots_dir: Path
    encryption_keys: str = f"keys:{ONE}"


@pytest.fixture
def broker(tmp_path):
    made = Broker(Settings(tmp_path))
    yield made
    made.close()


@pytest.fixture
def connect(broker):
    """A process's view of the broker."""
    made = []

    def connected():
        with broker.connect() as end:
            made.append(SupervisorMemory(os.dup(end.fileno())))
        return made[-1]

    yield connected
    for each in made:
        if each._socket is not None:
            each._socket.close()


def publish(root, revision=1, key=ONE, codes=CODES):
    vault = None if key is None else Vault(KeySource(f"keys:{key}"))
    with SnapshotWriter(root, revision=revision, vault=vault) as writer:
        writer.add_array("codes", codes)
        writer.add_array("empty", codes[:0])
        return writer.publish({})


def opened(path, shared, key=ONE):
    return open_snapshot(path, vault=Vault(KeySource(f"keys:{key}"), shared=shared))


def inodes():
    """Of the sealed memory that this process maps."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line.split()[4] for line in lines if "memfd:hashwarden-snapshot" in line]


def test_two_that_ask_get_the_same_memory(tmp_path, broker, connect):
    path = publish(tmp_path)
    before = set(inodes())
    one, other = opened(path, connect()), opened(path, connect())
    assert (one.arrays["codes"] == CODES).all()
    assert (other.arrays["codes"] == CODES).all()
    mine = [each for each in inodes() if each not in before]
    assert len(mine) == 2
    assert len(set(mine)) == 1
    assert broker.nbytes == CODES.nbytes


def test_without_it_each_has_its_own(tmp_path):
    path = publish(tmp_path)
    before = set(inodes())
    held = [opened(path, None), opened(path, None)]
    assert len({each for each in inodes() if each not in before}) == len(held)


def test_memory_of_earlier_snapshots_is_given_back(tmp_path, broker, connect):
    shared = connect()
    opened(publish(tmp_path, 1), shared)
    second = opened(publish(tmp_path, 2, codes=CODES[:100]), shared)
    assert broker.nbytes == second.arrays["codes"].nbytes
    broker.close()
    assert broker.nbytes == 0
    assert (second.arrays["codes"] == CODES[:100]).all()


def asked(shared, **message):
    """What the broker answers a process that says anything."""
    shared._socket.send(json.dumps(message).encode())
    answer, memories, _, _ = socket.recv_fds(shared._socket, 1024, 4)
    for each in memories:
        os.close(each)
    return answer, len(memories)


def test_only_arrays_of_authentic_snapshots_are_given_away(tmp_path, connect):
    path = publish(tmp_path)
    clear = publish(tmp_path, 2, key=None)
    foreign = publish(tmp_path, 3, key=TWO)
    shared = connect()
    for snapshot, file in [
        (path.name, "manifest.json"),
        (path.name, "../current"),
        ("../" + path.name, "codes.bin"),
        (clear.name, "codes.bin"),
        (foreign.name, "codes.bin"),
        ("snapshot-000000000009-0123456789abcdef", "codes.bin"),
    ]:
        assert asked(shared, snapshot=snapshot, file=file) == (b"-", 0)
    assert asked(shared, other=1) == (b"-", 0)
    assert asked(shared, snapshot=path.name, file="codes.bin")[1] == 1


@pytest.mark.parametrize("place", ["", f"keys:{TWO}"])
def test_who_gets_nothing_decrypts_for_itself(tmp_path, broker, connect, place):
    path = publish(tmp_path)
    broker.use(Settings(tmp_path, place))
    found = opened(path, connect())
    assert (found.arrays["codes"] == CODES).all()
    assert broker.nbytes == 0


def test_a_supervisor_that_is_gone_is_not_asked_again(tmp_path):
    path = publish(tmp_path)
    own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    shared = SupervisorMemory(theirs.detach())
    own.close()
    assert (opened(path, shared).arrays["codes"] == CODES).all()
    assert shared._socket is None
    assert (opened(path, shared).arrays["codes"] == CODES).all()


def test_a_supervisor_that_is_too_slow_is_not_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "_ANSWER_SECONDS", 0.01)
    own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    shared = SupervisorMemory(theirs.detach())
    with own:
        assert (opened(publish(tmp_path), shared).arrays["codes"] == CODES).all()
    assert shared._socket is None


class Liar:
    """Gives memory that is not what was asked for."""

    def __init__(self, nbytes):
        self._nbytes = nbytes

    def find(self, snapshot, record):
        memory = os.memfd_create("lie", os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, self._nbytes)
        return memory


@pytest.mark.parametrize("nbytes", [CODES.nbytes, 5])
def test_memory_that_could_still_change_is_not_taken(tmp_path, nbytes):
    assert (opened(publish(tmp_path), Liar(nbytes)).arrays["codes"] == CODES).all()
