"""Several processes on one port: shared work, deaths, renewal and drain, with real processes."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest

import matcher
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.client import Client
from matcher.demo_data import published_test_image
from matcher.model import Decision
from tests.monitoring import OF_REPLICAS, asked_metrics, told_metrics

SOURCE = Path(matcher.__file__).parents[1]
IMAGE = published_test_image().data
#: Only what hangs takes so many seconds, however busy the machine is.
PATIENCE = 100
#: Seconds between two looks, and between two calls: all of these processes share the machine.
PAUSE = 0.05
#: In the environment of all that these tests start, and so in that of its children. Decoders are
#: given little else than what is named like this.
MARK = {"PYTHON_STARTED_BY_TEST": f"test_supervisor of {os.getpid()}"}
UP = re.compile(r"(?m)^hashwarden_processes_up (\S+)$")
SERVED = re.compile(r'(?m)^hashwarden_requests_total\{code="OK",method="MatchImage"\} (\S+)$')


class Served:
    """`hashwarden serve` with two processes, as its operator sees it."""

    def __init__(self, data, **settings):
        self.admin_port = free_ports(3)
        values = {
            "PROCESSES": 2,
            "DECODE_WORKERS": 2,
            "LISTEN": "127.0.0.1:0",
            "LISTS_LISTEN": "same",
            "ADMIN_LISTEN": f"127.0.0.1:{self.admin_port}",
            "FOLLOW_SECONDS": 0.1,
            **settings,
        }
        named = {f"HASHWARDEN_{name}": str(value) for name, value in values.items()}
        self.log = data / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "matcher.cli", "--data", str(data), "serve"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": str(SOURCE)} | MARK | named,
            )
        self.ready_line = self.process.stdout.readline()
        self.address = self.ready_line.removeprefix("serving on ").strip()

    def get(self, path, *, process=None):
        port = self.admin_port if process is None else self.admin_port + 1 + process
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def readiness(self):
        status, body = self.get("/readyz")
        return status, json.loads(body)

    def pids(self):
        return [each["pid"] for each in self.readiness()[1]["processes"]]

    def ready_ones(self):
        """The status, and whether each process is ready; who answers late is told as not ready."""
        status, told = self.readiness()
        assert told["ready"] == (status == 200)
        return status, [each["ready"] for each in told["processes"]]

    def up(self):
        """How many processes serve, by the supervisor's own knowledge."""
        return float(UP.search(self.get("/metrics")[1])[1])

    def answered(self, process):
        found = SERVED.search(self.get("/metrics", process=process)[1])
        return float(found[1]) if found else 0.0

    def match(self):
        with Client(self.address, timeout=PATIENCE) as client:
            return client.match_image(IMAGE).result

    def told(self):
        return self.log.read_text(encoding="utf-8")


def free_ports(count):
    """The first of `count` ports in a row that nobody uses.

    They lie below those that the kernel gives out by itself, so that no connection of this machine
    takes one before the server does.
    """
    while True:
        first = random.randrange(10_000, 30_000)
        if all(map(is_free, range(first, first + count))):
            return first


def is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@contextmanager
def served(data, **settings):
    server = Served(data, **settings)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()
        server.process.stdout.close()


def until(condition):
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(PAUSE)
    return result


def fresh_channels_until_both_answer(server):
    def both():
        assert server.match().decision is Decision.MATCH
        return min(server.answered(0), server.answered(1)) > 0

    until(both)


@pytest.mark.slow
def test_two_processes_share_the_port_and_stand_in_for_each_other(tmp_path):
    with served(tmp_path) as server:
        assert re.fullmatch(r"serving on 127\.0\.0\.1:\d+\n", server.ready_line)
        until(lambda: server.ready_ones() == (200, [True, True]))
        assert server.get("/livez")[0] == 200
        fresh_channels_until_both_answer(server)

        first, second = server.pids()
        os.kill(first, signal.SIGKILL)
        until(lambda: server.ready_ones() == (503, [False, True]))
        assert server.get("/livez")[0] == 200
        assert {server.match().decision for _ in range(5)} == {Decision.MATCH}

        until(lambda: server.readiness()[0] == 200)
        again, same = server.pids()
        assert (again != first, same) == (True, second)
        assert server.up() == 2
        metrics = server.get("/metrics")[1]
        assert 'hashwarden_process_restarts_total{process="0"} 1.0' in metrics
        assert "server process 0: it ended with SIGKILL; it is started again in 0.5 s" in (
            server.told()
        )
        # What the dashboard and the alert rules ask for is told by what runs.
        pages = (metrics, *(server.get("/metrics", process=each)[1] for each in range(2)))
        assert asked_metrics() - OF_REPLICAS <= set().union(*map(told_metrics, pages))

        renew_without_a_failed_call(server, {again, same})
        refuse_what_cannot_serve(server)
        assert re.search(r"serving revision 2: 1 entry, 0 of them changed after", server.told())
        drain_in_good_order(server)


def renew_without_a_failed_call(server, before):
    """SIGHUP replaces one process after the other, and callers notice nothing."""
    version = server.match().policy_version
    policies = server.log.parent / "policies.toml"
    policies.write_text('[policies.default]\nviews = ["default", "trimmed"]\n', "utf-8")
    done, failures = threading.Event(), []

    def call():
        while not done.is_set():
            try:
                assert server.match().decision is Decision.MATCH
            except Exception as error:  # noqa: BLE001 - told by the assertion below
                failures.append(error)
            time.sleep(PAUSE)

    caller = threading.Thread(target=call)
    caller.start()
    server.process.send_signal(signal.SIGHUP)
    up = set()

    def replaced():
        up.add(server.up())
        status, told = server.readiness()
        return status == 200 and not before & {each["pid"] for each in told["processes"]}

    try:
        until(replaced)
    finally:
        done.set()
        caller.join()
    assert failures == []
    assert server.match().policy_version != version
    assert min(up) >= 1  # never both away


def refuse_what_cannot_serve(server):
    """SIGHUP with policies that do not fit: the log says why, and nothing else happens."""
    policies, before = server.log.parent / "policies.toml", server.pids()
    good = policies.read_text("utf-8")
    for wrong, told in (
        ("[policies.default]\nviews = 3\n", "policies.default.views"),
        ('[policies.default]\nlists = ["missing"]\n', "missing"),
    ):
        policies.write_text(wrong, "utf-8")
        known = len(server.told())
        server.process.send_signal(signal.SIGHUP)

        def refused(known=known):
            assert server.up() == 2
            return "all goes on as before" in server.told()[known:]

        until(refused)
        assert told in server.told()[known:]
    assert server.pids() == before
    assert server.match().decision is Decision.MATCH
    policies.write_text(good, "utf-8")


def drain_in_good_order(server):
    """SIGTERM: of an open stream's items, just those that were read are answered."""
    answered, begun = [], threading.Event()
    # Few are under way, and none is sent once the server is to end: sending into a socket just
    # closed would break it before it is read how the stream ended.
    under_way = threading.Semaphore(16)

    def items():
        for number in range(10_000):
            under_way.acquire()
            yield match_pb2.MatchImagesRequest(request_id=str(number), image=IMAGE)

    def consume():
        with grpc.insecure_channel(server.address) as channel:
            stream = match_pb2_grpc.MatchServiceStub(channel).MatchImages(items())
            try:
                for response in stream:
                    assert response.HasField("result")
                    answered.append(int(response.request_id))
                    if len(answered) < 20:
                        under_way.release()
                    else:
                        begun.set()
            except grpc.RpcError as error:
                return error
            finally:
                under_way.release()  # the sending thread sees that the stream has ended

    ended = []
    consumer = threading.Thread(target=lambda: ended.append(consume()))
    consumer.start()
    assert begun.wait(PATIENCE)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
    consumer.join()
    assert ended[0].code() is grpc.StatusCode.UNAVAILABLE
    assert "shutting down" in ended[0].details()
    assert sorted(answered) == list(range(len(answered)))  # none read and not answered
    assert is_free(int(server.address.rpartition(":")[2]))


@pytest.mark.slow
def test_the_port_is_held_until_the_supervisor_is_killed_and_then_free(tmp_path):
    with served(tmp_path) as server:
        other = tmp_path / "other"
        other.mkdir()
        with served(other, LISTEN=server.address) as second:
            assert second.process.wait(PATIENCE) == 2
            assert "Address already in use" in second.told()

        children = [psutil.Process(pid) for pid in server.pids()]
        assert {server.process.pid, *server.pids()} <= {each.pid for each in still_running()}
        server.process.kill()
        server.process.wait()
        _, alive = psutil.wait_procs(children, timeout=PATIENCE)
        assert alive == []
        assert all(map(is_free, range(server.admin_port, server.admin_port + 3)))
        until(lambda: is_free(int(server.address.rpartition(":")[2])))


def test_a_fault_of_all_processes_is_told_once(tmp_path):
    first = free_ports(2)
    with (
        socket.create_server(("127.0.0.1", first + 1)),
        served(tmp_path, ADMIN_LISTEN=f"127.0.0.1:{first}") as server,
    ):
        assert server.process.wait(PATIENCE) == 2
        assert server.ready_line == ""
        assert server.told().splitlines()[-1] == (
            f"error: admin_listen: cannot listen on 127.0.0.1:{first + 1}: Address already in use; "
            'choose another, or "off" for none'
        )


def still_running():
    """What these tests started, with all that this started, whoever is its parent by now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            ended = process.status() == psutil.STATUS_ZOMBIE
            if not ended and MARK.items() <= process.environ().items():
                found.append(process)
    return found


@pytest.fixture(autouse=True)
def _no_orphans():
    yield
    until(lambda: not still_running())
