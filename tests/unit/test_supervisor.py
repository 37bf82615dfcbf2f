"""A supervisor's decisions, with small programs in place of server processes."""

from __future__ import annotations

import asyncio
import http.server
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, date, datetime, time

import pytest

from matcher import settings as settings_module
from matcher.errors import NotReadyError, SettingsError
from matcher.service import handover, listening, processes, worker
from matcher.service.handover import Order, Report
from matcher.service.processes import Backoff, ServerProcess, shares
from matcher.service.supervisor import Fleet, supervise
from matcher.settings import model

QUICK = Backoff(first=0.01, longest=0.04, steady=60)
READ = "import sys, json; order = json.loads(sys.stdin.buffer.read()); "
TELL = "print(json.dumps({'admin': '', 'error': ''}), flush=True); "
WAIT = "import time; time.sleep(60)"
SERVES = READ + TELL + WAIT


def load_settings(data, **overrides):
    one_address = {"listen": "127.0.0.1:0", "lists_listen": "same"}
    known = {**one_address, "admin_listen": "off", "processes": 2, "drain_seconds": 5}
    return settings_module.load_settings(data, environ={}, overrides=known | overrides)


@pytest.fixture
def programs(monkeypatch):
    """What is started in place of server processes: the last one again and again."""
    waiting = [SERVES]

    async def spawn(memory=None):
        program = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(program, OSError):
            raise program
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-S", "-E", "-c", program),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )

    monkeypatch.setattr(processes, "_spawn", spawn)
    return waiting


class Kept:
    """One server process that is kept running for a test."""

    def __init__(self, settings, **options):
        self.restarts = 0
        self.process = ServerProcess(
            0, settings, on_restart=self.count, **({"backoff": QUICK} | options)
        )
        self.task = None

    def count(self):
        self.restarts += 1

    async def __aenter__(self):
        self.task = asyncio.create_task(self.process.keep())
        return self

    async def __aexit__(self, *_):
        self.process.stop()
        await asyncio.gather(self.task, return_exceptions=True)
        assert self.process.pid is None


async def until(condition):
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - processes send no event to a test
            await asyncio.sleep(0.005)


class TestServerProcess:
    async def test_it_is_up_once_it_says_so_and_drains_when_told(self, tmp_path, programs):
        programs[:] = [SERVES.replace("'admin': ''", "'admin': '127.0.0.1:5'")]
        async with Kept(load_settings(tmp_path)) as kept:
            assert await kept.process.begun()
            assert (kept.process.is_up, kept.process.admin) == (True, "127.0.0.1:5")
            assert kept.process.pid is not None
        assert (kept.process.is_up, kept.restarts) == (False, 0)
        assert kept.task.result() is None

    async def test_it_is_given_its_order_by_standard_input(self, tmp_path, programs):
        programs[:] = [READ + "print(json.dumps({'admin': order['settings']['listen'] + ' ' + "
                       "str([order['number'], order['supervisor']]), 'error': ''}), flush=True); "
                       + WAIT]  # fmt: skip
        async with Kept(load_settings(tmp_path)) as kept:
            assert await kept.process.begun()
            assert kept.process.admin == f"127.0.0.1:0 [0, {os.getpid()}]"

    async def test_it_is_started_again_ever_more_slowly(self, tmp_path, programs, caplog):
        programs[:] = [READ + TELL, READ + TELL, "raise SystemExit(3)", SERVES]
        async with Kept(load_settings(tmp_path)) as kept:
            await until(lambda: kept.restarts == 3)
            assert await kept.process.begun()
        pauses = [each.args[2] for each in caplog.records if "started again" in each.message]
        assert pauses == [0.01, 0.02, 0.04]
        assert "server process 0: it ended with status 3" in caplog.text

    async def test_the_pause_has_a_bound_and_begins_anew_after_long_service(
        self, tmp_path, programs, caplog
    ):
        programs[:] = [READ + TELL]
        quick = Backoff(first=0.01, longest=0.02, steady=60)
        async with Kept(load_settings(tmp_path), backoff=quick) as kept:
            await until(lambda: kept.restarts == 3)
        pauses = [each.args[2] for each in caplog.records if "started again" in each.message]
        assert pauses[:3] == [0.01, 0.02, 0.02]
        caplog.clear()
        async with Kept(load_settings(tmp_path), backoff=replace(quick, steady=0)) as kept:
            await until(lambda: kept.restarts == 2)
        pauses = [each.args[2] for each in caplog.records if "started again" in each.message]
        assert set(pauses) == {0.01}

    async def test_a_killed_one_is_named_by_its_signal(self, tmp_path, programs, caplog):
        async with Kept(load_settings(tmp_path)) as kept:
            assert await kept.process.begun()
            os.kill(kept.process.pid, signal.SIGKILL)
            await until(lambda: kept.restarts == 1)
            assert await kept.process.begun()
        assert "it ended with SIGKILL" in caplog.text

    @pytest.mark.parametrize(
        ("program", "why"),
        [
            (READ + "print(json.dumps({'admin': '', 'error': 'no room'}))", "^no room$"),
            ("raise SystemExit(4)", "it ended with status 4"),
            (READ + "print('hello')", "what a server process does not say"),
            (READ + "print('{}')", "what a server process does not say"),
            (OSError(12, "Cannot allocate memory"), "cannot be started: Cannot allocate memory"),
        ],
    )
    async def test_one_that_never_served_is_given_up(self, tmp_path, programs, program, why):
        programs[:] = [program]
        async with Kept(load_settings(tmp_path)) as kept:
            with pytest.raises(NotReadyError, match=why):
                await kept.task

    async def test_one_that_does_not_drain_is_killed(self, tmp_path, programs, monkeypatch, caplog):
        monkeypatch.setattr(processes, "KILL_SECONDS", 0.1)
        programs[:] = ["import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SERVES]
        async with Kept(load_settings(tmp_path, drain_seconds=0)) as kept:
            assert await kept.process.begun()
        assert "does not end and is killed" in caplog.text

    async def test_stopping_does_not_wait_for_a_pause(self, tmp_path, programs):
        programs[:] = [READ + TELL]
        async with Kept(load_settings(tmp_path), backoff=Backoff(60, 60)) as kept:
            assert await kept.process.begun()
            await until(lambda: kept.process.pid is None)
        assert kept.restarts == 0

    async def test_a_replaced_one_serves_with_new_settings(self, tmp_path, programs):
        programs[:] = [SERVES.replace("'admin': ''", "'admin': order['settings']['listen']")]
        async with Kept(load_settings(tmp_path)) as kept:
            assert await kept.process.begun()
            before = kept.process.pid
            assert await kept.process.replace(load_settings(tmp_path, listen="127.0.0.1:7"))
            assert (kept.process.admin, kept.process.is_up) == ("127.0.0.1:7", True)
            assert kept.process.pid != before
            assert kept.restarts == 0

    async def test_one_that_cannot_be_replaced_gets_its_settings_back(self, tmp_path, programs):
        refuses = READ + "print(json.dumps({'admin': '', 'error': 'bad policy'}))"
        programs[:] = [SERVES, refuses, SERVES]
        settings = load_settings(tmp_path)
        async with Kept(settings) as kept:
            assert await kept.process.begun()
            assert not await kept.process.replace(load_settings(tmp_path, listen="127.0.0.1:7"))
            assert kept.process.settings is settings
            await until(lambda: kept.process.is_up)

    async def test_one_that_is_down_is_replaced_at_once(self, tmp_path, programs):
        programs[:] = [READ + TELL, SERVES]
        async with Kept(load_settings(tmp_path), backoff=Backoff(60, 60)) as kept:
            assert await kept.process.begun()
            await until(lambda: kept.process.pid is None)
            async with asyncio.timeout(20):
                assert await kept.process.replace(load_settings(tmp_path, listen="127.0.0.1:7"))

    async def test_one_that_is_being_started_is_replaced_by_that_start(
        self, tmp_path, programs, monkeypatch
    ):
        programs[:] = [SERVES.replace("'admin': ''", "'admin': order['settings']['listen']")]
        quick, starting, go_on = processes._spawn, asyncio.Event(), asyncio.Event()

        async def slow(memory=None):
            starting.set()
            await go_on.wait()
            return await quick(memory)

        async with Kept(load_settings(tmp_path)) as kept:
            assert await kept.process.begun()
            monkeypatch.setattr(processes, "_spawn", slow)
            os.kill(kept.process.pid, signal.SIGKILL)
            async with asyncio.timeout(20):
                await starting.wait()
                assert kept.process.pid is None
                renewal = load_settings(tmp_path, listen="127.0.0.1:7")
                replacing = asyncio.create_task(kept.process.replace(renewal))
                await asyncio.sleep(0)
                go_on.set()
                assert await replacing
            assert kept.process.admin == "127.0.0.1:7"

    async def test_a_replacement_that_an_end_forestalls_serves_not(self, tmp_path, programs):
        programs[:] = [READ + TELL, SERVES]
        async with Kept(load_settings(tmp_path), backoff=Backoff(60, 60)) as kept:
            assert await kept.process.begun()
            await until(lambda: kept.process.pid is None)
            replacing = asyncio.create_task(kept.process.replace(load_settings(tmp_path)))
            await asyncio.sleep(0)
            kept.process.stop()
            async with asyncio.timeout(20):
                assert not await replacing


class TestFleet:
    async def test_all_must_serve_before_it_is_told_and_a_signal_ends_all(self, tmp_path, programs):
        told = []

        def ready(address, lists):
            assert lists == address  # as both are one here
            told.append(address)
            os.kill(os.getpid(), signal.SIGTERM)

        async with asyncio.timeout(20):
            await supervise(load_settings(tmp_path), reload=None, on_ready=ready)
        assert len(told) == 1
        assert told[0].startswith("127.0.0.1:")
        assert told[0] != "127.0.0.1:0"

    async def test_the_others_start_once_the_first_serves(self, tmp_path, programs):
        programs[:] = [READ + "print(json.dumps({'admin': '', 'error': 'no catalog'}))", SERVES]
        with pytest.raises(NotReadyError, match="no catalog"):
            await supervise(load_settings(tmp_path), reload=None)
        assert programs == [SERVES]  # none of the others was started

    async def test_a_signal_during_the_start_ends_it(self, tmp_path, programs):
        programs[:] = [READ + WAIT]
        asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGINT)
        async with asyncio.timeout(20):
            await supervise(load_settings(tmp_path), reload=None, on_ready=pytest.fail)

    async def test_sighup_renews_one_after_the_other(self, tmp_path, programs, caplog):
        caplog.set_level(logging.INFO)
        new = load_settings(tmp_path, listen="127.0.0.1:7", processes=5, max_batch=8)
        seen = []

        async def attended(fleet):
            renew = asyncio.Event()
            attending = asyncio.create_task(fleet.attend(renew, lambda: new))
            renew.set()
            await until(lambda: "server process 1 was replaced" in caplog.text)
            seen.extend(each.settings for each in fleet.processes)
            attending.cancel()

        await self.with_fleet(load_settings(tmp_path), attended)
        assert [each.max_batch for each in seen] == [8, 8]
        assert {each.listen for each in seen} == {"127.0.0.1:0"}  # bound once
        assert len(seen) == 2

    async def test_settings_that_cannot_be_read_change_nothing(self, tmp_path, programs, caplog):
        def wrong():
            raise SettingsError("hashwarden.toml: is not TOML")

        async def attended(fleet):
            pids = [each.pid for each in fleet.processes]
            renew = asyncio.Event()
            attending = asyncio.create_task(fleet.attend(renew, wrong))
            renew.set()
            await until(lambda: "all goes on as before" in caplog.text)
            attending.cancel()
            assert [each.pid for each in fleet.processes] == pids

        await self.with_fleet(load_settings(tmp_path), attended)

    @pytest.mark.parametrize(
        ("program", "told"),
        [
            (READ + "print(json.dumps({'admin': '', 'error': 'no such list'}))", "no such list"),
            (READ + "raise SystemExit(3)", "the process that tried them ended with status 3"),
            (OSError(11, "no more processes"), "no process can be started: no more processes"),
        ],
        ids=["refused", "died", "not started"],
    )
    async def test_settings_that_fail_on_trial_interrupt_nothing(
        self, tmp_path, programs, caplog, *, program, told
    ):
        async def attended(fleet):
            before = [each.pid for each in fleet.processes]
            programs[:] = [program, SERVES]
            renew = asyncio.Event()
            attending = asyncio.create_task(
                fleet.attend(renew, lambda: load_settings(tmp_path, max_batch=8))
            )
            renew.set()
            await until(lambda: f"all goes on as before: {told}" in caplog.text)
            attending.cancel()
            assert [each.pid for each in fleet.processes] == before
            assert {each.settings.max_batch for each in fleet.processes} == {64}

        await self.with_fleet(load_settings(tmp_path), attended)

    async def test_the_trial_has_the_new_settings_and_is_told_so(
        self, tmp_path, programs, caplog, monkeypatch
    ):
        program = READ + "print(json.dumps({'admin': '', 'error': str([order['trial'], order['"
        programs[:] = [program + "settings']['max_batch']])}), flush=True); " + WAIT]
        assert await processes.try_out(load_settings(tmp_path, max_batch=8)) == "[True, 8]"

    async def test_a_renewal_that_fails_stops_at_the_first(self, tmp_path, programs, caplog):
        async def attended(fleet):
            second = fleet.processes[1].pid
            fails = READ + "print(json.dumps({'admin': '', 'error': 'no'}))"
            programs[:] = [SERVES, fails, SERVES]
            renew = asyncio.Event()
            attending = asyncio.create_task(
                fleet.attend(renew, lambda: load_settings(tmp_path, max_batch=8))
            )
            renew.set()
            await until(lambda: "it gets back the old ones" in caplog.text)
            await until(lambda: fleet.processes[0].is_up)
            attending.cancel()
            assert fleet.processes[1].pid == second
            assert {each.settings.max_batch for each in fleet.processes} == {64}

        await self.with_fleet(load_settings(tmp_path), attended)

    async def with_fleet(self, settings, attended):
        fleet = Fleet(settings, backoff=QUICK)
        try:
            await fleet.start()
            await attended(fleet)
        finally:
            await fleet.stop()
        assert fleet.ready()[0] is False

    async def test_readiness_is_that_of_all(self, tmp_path, programs):
        with answering(b'{"ready": true, "revision": 3}') as good, answering(b"[]") as odd:
            fleet = Fleet(load_settings(tmp_path, processes=3))
            fleet.pulse = type(fleet.pulse)()
            assert fleet.live() == (True, {"live": True})
            first, second, third = fleet.processes
            first.is_up, first.admin = True, good
            second.is_up = True
            well, told = await asyncio.to_thread(fleet.ready)
            assert not well
            assert [each["ready"] for each in told["processes"]] == [True, True, False]
            assert told["processes"][0]["revision"] == 3
            third.is_up, third.admin = True, odd
            well, told = await asyncio.to_thread(fleet.ready)
            assert (well, told["processes"][2]["problem"]) == (
                False,
                "its health cannot be asked: TypeError",
            )
            third.admin = good
            assert (await asyncio.to_thread(fleet.ready))[0]


class answering:  # noqa: N801 - reads as a phrase
    """An HTTP server that gives one answer; `with` gives its address."""

    def __init__(self, body):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self):
        self.thread.start()
        return f"127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class TestShares:
    def test_decoders_and_room_are_shared_out(self, tmp_path):
        settings = load_settings(tmp_path, decode_workers=7, max_in_flight=10, max_unary_rpcs=8)
        parts = shares(settings, 3)
        assert [each.decode_workers for each in parts] == [3, 2, 2]
        assert {each.max_in_flight for each in parts} == {4}
        assert {each.max_unary_rpcs for each in parts} == {3}
        assert {each.max_in_flight_bytes for each in parts} == {settings.max_in_flight_bytes // 3}
        assert {each.processes for each in parts} == {1}

    def test_all_have_as_many_decoders_by_default(self, tmp_path, monkeypatch):
        monkeypatch.setattr("matcher.settings.model.usable_cpus", lambda: 16)
        settings = load_settings(tmp_path)
        assert [each.decode_workers for each in shares(settings, 4)] == [5, 5, 5, 5]

    def test_everyone_can_work(self, tmp_path):
        settings = load_settings(tmp_path, decode_workers=1, max_in_flight=1)
        settings = replace(settings, max_in_flight_bytes=settings.image_bytes)
        for each in shares(settings, 3):
            assert (each.decode_workers, each.max_in_flight) == (1, 1)
            assert each.max_in_flight_bytes == settings.image_bytes

    @pytest.mark.parametrize(
        ("address", "expected"),
        [
            ("off", ["", ""]),
            ("127.0.0.1:0", ["127.0.0.1:0", "127.0.0.1:0"]),
            ("[::1]:9464", ["[::1]:9465", "[::1]:9466"]),
        ],
    )
    def test_each_has_an_admin_port_of_its_own(self, tmp_path, address, expected):
        parts = shares(load_settings(tmp_path, admin_listen=address), 2)
        assert [each.admin_listen for each in parts] == expected

    def test_there_are_so_many_ports(self, tmp_path):
        with pytest.raises(SettingsError, match="server process 1 would need port 65536"):
            shares(load_settings(tmp_path, admin_listen="127.0.0.1:65534"), 2)

    def test_four_processors_to_a_process(self, tmp_path, monkeypatch):
        for usable, expected in ((1, 1), (7, 1), (8, 2), (64, 16)):
            monkeypatch.setattr(model, "usable_cpus", lambda usable=usable: usable)
            assert load_settings(tmp_path, processes=0).process_count == expected
        assert load_settings(tmp_path, processes=3).process_count == 3


class TestHandover:
    def test_settings_arrive_as_they_were(self, tmp_path):
        (tmp_path / "policies.toml").write_text(
            '[policies.default]\nviews = ["default"]\nday = 2026-01-02\n'
            "at = 2026-01-02T03:04:05Z\nclock = 03:04:05\n",
            encoding="utf-8",
        )
        settings = load_settings(tmp_path, snapshot_verify_key=tmp_path / "key.pem")
        order = Order(3, 77, settings, trial=True)
        again = handover.order_from_json(handover.order_to_json(order))
        assert again == order
        assert dict(again.settings.sources) == dict(settings.sources)
        policy = again.settings.policy_document["policies"]["default"]
        assert policy["day"] == date(2026, 1, 2)
        assert policy["at"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert policy["clock"] == time(3, 4, 5)

    def test_nothing_passes_for_what_it_is_not(self, tmp_path):
        for document, wrong in (({"$type": "path"}, ValueError), ({"x": {1}}, TypeError)):
            settings = replace(load_settings(tmp_path), policy_document=document)
            with pytest.raises(wrong):
                handover.order_to_json(Order(0, 1, settings))

    def test_a_report_is_one_line(self):
        report = Report(admin="127.0.0.1:5", error="first\nsecond")
        line = handover.report_to_json(report)
        assert line.count(b"\n") == 1
        assert handover.report_from_json(line) == report


class TestReservedPort:
    def test_it_is_nobody_elses_and_shared_by_who_asks(self):
        with listening.reserved("127.0.0.1:0") as address:
            port = int(address.rpartition(":")[2])
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                with pytest.raises(OSError, match="in use"):
                    other.bind(("127.0.0.1", port))
            with socket.socket() as sharer:
                sharer.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                sharer.bind(("127.0.0.1", port))

    def test_a_name_is_as_good(self):
        with listening.reserved("localhost:0") as address:
            assert address.startswith("localhost:")
            assert not address.endswith(":0")

    def test_lingering_connections_do_not_keep_it(self):
        with socket.create_server(("127.0.0.1", 0)) as ended:
            port = ended.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port)) as client:
                ended.accept()[0].close()  # who closes first keeps the lingering end
                client.recv(1)
        with listening.reserved(f"127.0.0.1:{port}") as address:
            assert address == f"127.0.0.1:{port}"

    @pytest.mark.parametrize("host", ["192.0.2.1", "[2001:db8::1]"])
    def test_an_address_of_another_machine_is_refused(self, host):
        with (
            pytest.raises(SettingsError, match="cannot listen on"),
            listening.reserved(f"{host}:50051"),
        ):
            pass

    def test_an_unknown_name_is_refused(self, monkeypatch):
        def unknown(*_, **__):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with (
            pytest.raises(SettingsError, match="nowhere:1: Name or service not known"),
            listening.reserved("nowhere:1"),
        ):
            pass


class TestWorker:
    def run(self, order):
        return subprocess.run(
            [sys.executable, "-m", "matcher.service.worker"],
            input=order,
            capture_output=True,
            timeout=170,
            check=False,
        )

    def test_one_whose_supervisor_is_gone_does_not_start(self, tmp_path):
        order = handover.order_to_json(Order(0, 1, load_settings(tmp_path)))
        done = self.run(order)
        assert (done.returncode, done.stdout, done.stderr) == (worker.EXIT_ERROR, b"", b"")
        assert not (tmp_path / "catalog.sqlite3").exists()

    def test_why_it_cannot_serve_is_reported(self, tmp_path):
        settings = replace(load_settings(tmp_path), listen="0.0.0.0:0")
        done = self.run(handover.order_to_json(Order(0, os.getpid(), settings)))
        assert done.returncode == worker.EXIT_ERROR
        assert json.loads(done.stdout)["error"].startswith("listen: 0.0.0.0:0 is reachable")

    def test_every_record_says_which_process_it_is_from(self, monkeypatch):
        monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
        worker._name_in_logs(4)
        assert logging.makeLogRecord({}).process_number == 4
