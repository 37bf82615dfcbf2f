"""The admin port: its pages, its limits, and where it listens."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import socket
import threading

import pytest

from matcher import settings as settings_module
from matcher.decode.protection import Protection
from matcher.errors import SettingsError
from matcher.service import admin
from matcher.service import server as server_module
from matcher.service.admin import AdminServer, address_of, admin_listener
from matcher.service.metrics import IndexStatus, ServiceMetrics, SupervisorMetrics
from matcher.service.parts import Parts
from matcher.service.server import running


def load_settings(data, **overrides):
    return settings_module.load_settings(data, environ={}, overrides=overrides)


def status(**changes):
    known = {
        "ready": True,
        "stale": False,
        "revision": 7,
        "entries": 10,
        "segments": {"base": 8, "live": 2},
        "seconds_since_contact": math.inf,
        "problem": "",
        "items_in_flight": 3,
        "protection": Protection.MEMORY | Protection.SYSTEM_CALLS,
        "decoder_restarts": {"ended": 2, "time": 0},
        "throttled_clients": 1,
        "index_age_seconds": 12.5,
        "queues": {"decoder": 4, "batch": 0},
        "hot_entries": 1,
        "list_ages": {},
        "tell_list_names": False,
        "counts": {"swaps": 2},
        "certificate_ends": {},
    }
    return IndexStatus(**(known | changes))


@pytest.fixture
def well():
    """What the probes say, by name; a test may change it."""
    return {"live": True, "ready": True}


@pytest.fixture
def server(tmp_path, well):
    listener = admin_listener(load_settings(tmp_path, admin_listen="127.0.0.1:0"))
    server = AdminServer(
        listener,
        live=lambda: (well["live"], {"live": well["live"]}),
        ready=lambda: (well["ready"], {"ready": well["ready"], "problem": ""}),
        registry=ServiceMetrics(status).registry,
    )
    yield server
    server.close()


def ask(server, path, method="GET", **parts):
    connection = http.client.HTTPConnection(server.address, timeout=100)
    try:
        connection.request(method, path, **parts)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize(("path", "name"), [("/livez", "live"), ("/readyz", "ready")])
def test_a_probe_answers_by_its_status(server, well, path, name):
    code, headers, body = ask(server, path)
    assert (code, json.loads(body)[name]) == (200, True)
    assert headers["Content-Type"] == "application/json"
    well[name] = False
    code, _, body = ask(server, path)
    assert (code, json.loads(body)[name]) == (503, False)


def test_metrics_come_in_the_form_that_is_asked_for(server):
    code, headers, body = ask(server, "/metrics")
    assert (code, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")
    lines = body.decode().splitlines()
    for line in (
        "hashwarden_ready 1.0",
        "hashwarden_index_revision 7.0",
        "hashwarden_source_contact_age_seconds +Inf",
        'hashwarden_segment_entries{segment="base"} 8.0',
        'hashwarden_segment_entries{segment="live"} 2.0',
        "hashwarden_items_in_flight 3.0",
        'hashwarden_decoders_protected{by="memory"} 1.0',
        'hashwarden_decoders_protected{by="privileges"} 0.0',
        'hashwarden_decoder_restarts_total{cause="ended"} 2.0',
        'hashwarden_decoder_restarts_total{cause="time"} 0.0',
        "hashwarden_throttled_clients 1.0",
        "hashwarden_swaps_total 2.0",
        'hashwarden_decisions_total{decision="NOT_HASHABLE"} 0.0',
        'hashwarden_not_hashable_total{reason="over_limit"} 0.0',
    ):
        assert line in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)
    _, headers, body = ask(
        server, "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_a_supervisor_counts_its_processes():
    metrics = SupervisorMetrics(3)
    metrics.up.set(2)
    metrics.restarts.labels("1").inc()
    told = {
        (each.name, *each.labels.values()): each.value
        for family in metrics.registry.collect()
        for each in family.samples
    }
    assert told["hashwarden_processes",] == 3
    assert told["hashwarden_processes_up",] == 2
    assert told["hashwarden_process_restarts_total", "1"] == 1


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE", "OPTIONS"])
def test_nothing_but_get_is_answered(server, method):
    code, headers, _ = ask(server, "/metrics", method)
    assert (code, headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize("path", ["/", "/metrics/", "/livez/..", "/readyz/", "/favicon.ico"])
def test_there_are_no_other_pages(server, path):
    assert ask(server, path)[0] == 404


def test_headers_and_bodies_have_a_limit(server):
    assert ask(server, "/livez", headers={"X": "y" * admin.MAX_HEADER_BYTES})[0] == 431
    assert ask(server, "/livez", "POST", body=b"ab")[0] == 413
    assert ask(server, "/livez")[0] == 200


@pytest.mark.parametrize(("idle_seconds", "closed"), [(3600, False), (1, True)])
def test_an_idle_connection_holds_up_nobody_and_is_closed(
    tmp_path, monkeypatch, idle_seconds, closed
):
    monkeypatch.setattr(admin, "IDLE_SECONDS", idle_seconds)
    listener = admin_listener(load_settings(tmp_path, admin_listen="127.0.0.1:0"))
    registry = ServiceMetrics().registry
    server = AdminServer(
        listener, live=lambda: (True, {}), ready=lambda: (True, {}), registry=registry
    )
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=100) as silent:
        silent.sendall(b"GET /livez HTTP/1.1\r\n")
        assert ask(server, "/livez")[0] == 200
        if closed:
            assert silent.recv(1) == b""
        else:
            silent.setblocking(False)
            with pytest.raises(BlockingIOError):  # it is open still
                silent.recv(1)
    server.close()


def test_closing_frees_the_port(tmp_path):
    listener = admin_listener(load_settings(tmp_path, admin_listen="127.0.0.1:0"))
    address = address_of(listener)
    server = AdminServer(
        listener,
        live=lambda: (True, {}),
        ready=lambda: (True, {}),
        registry=ServiceMetrics().registry,
    )
    assert server.address == address
    server.close()
    socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))).close()


class NoMoreThreads(threading.Thread):
    """As where the system lets a process have no more of them."""

    def start(self):
        if self.name == "admin":
            raise RuntimeError("can't start new thread")
        super().start()


def named_threads():
    """But for those that anything may start, and keep."""
    return {each for each in threading.enumerate() if not each.name.startswith("asyncio_")}


async def test_a_server_that_cannot_tell_its_health_leaves_nothing_open(tmp_path, monkeypatch):
    listeners, closed, opened, close = [], [], [], Parts.close

    async def noting(parts):
        closed.append(parts)
        await close(parts)

    def listening(settings):
        listeners.append(admin_listener(settings))
        return listeners[0]

    def opening(settings, *, shared):
        opened.append(open_parts(settings, shared=shared))
        return opened[0]

    open_parts = Parts.open
    monkeypatch.setattr(Parts, "close", noting)
    monkeypatch.setattr(Parts, "open", opening)
    monkeypatch.setattr(server_module, "admin_listener", listening)
    monkeypatch.setattr(threading, "Thread", NoMoreThreads)
    before = named_threads()
    settings = load_settings(tmp_path, listen="127.0.0.1:0", admin_listen="127.0.0.1:0")
    with pytest.raises(RuntimeError, match="new thread"):
        async with running(settings):
            pytest.fail("nobody could look after it")
    assert len(opened) == 1
    assert closed == opened
    assert listeners[0].fileno() == -1
    for each in named_threads() - before:  # they end on their own, and soon
        await asyncio.to_thread(each.join, 60)
        assert not each.is_alive()


class TestWhereItListens:
    def test_off_is_off(self, tmp_path):
        assert admin_listener(load_settings(tmp_path, admin_listen="off")) is None

    def test_an_address_that_others_reach_needs_insistence(self, tmp_path):
        settings = load_settings(tmp_path, admin_listen="0.0.0.0:0")
        with pytest.raises(SettingsError, match=r"admin_listen: 0\.0\.0\.0:0 is reachable"):
            admin_listener(settings)
        insisting = load_settings(
            tmp_path, admin_listen="0.0.0.0:0", danger_listen_without_tls=True
        )
        with admin_listener(insisting) as listener:
            assert address_of(listener).startswith("0.0.0.0:")

    def test_a_chosen_port_that_is_taken_is_an_error(self, tmp_path):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = address_of(taken)
            with pytest.raises(SettingsError, match=f"{address}: Address already in use"):
                admin_listener(load_settings(tmp_path, admin_listen=address))

    def test_the_default_port_gives_way_with_a_warning(self, tmp_path, caplog):
        settings = load_settings(tmp_path)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", 9464))
                probe.listen()
            except OSError:
                pass  # another server has it, which is as good
            with admin_listener(settings) as listener:
                assert address_of(listener) != settings.admin_listen
        assert "health and metrics take a free port instead" in caplog.text

    @pytest.mark.skipif(not socket.has_ipv6, reason="the machine has no IPv6")
    def test_an_ipv6_address_is_told_in_brackets(self, tmp_path):
        with admin_listener(load_settings(tmp_path, admin_listen="[::1]:0")) as listener:
            assert address_of(listener).startswith("[::1]:")
