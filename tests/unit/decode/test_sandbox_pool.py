"""Decoders in a sandbox answer as those in this process do, whatever files make of them."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import mmap
import os
import pickle
import signal
import struct
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from matcher.decode.limits import DecodeLimits, WorkerLimits
from matcher.decode.pool import InProcessPool
from matcher.decode.protection import EVERY_PROTECTION
from matcher.decode.sandbox import forks, frames, seats
from matcher.decode.sandbox import pool as pool_module
from matcher.decode.sandbox.connection import Worker
from matcher.decode.sandbox.pool import SandboxPool
from matcher.decode.worker.selftest import sample
from matcher.decode.worker.sniff import Format
from matcher.errors import DecodersAwayError
from matcher.model import (
    ALL_VIEWS,
    CODE64_KINDS,
    DecodedImage,
    DecodeRequest,
    HashKind,
    NotHashableReason,
    Undecodable,
    ViewBlocks,
)
from matcher.telemetry import JsonFormatter, request_id
from tests.planted_decoders import NUMBER, planted

REQUEST = DecodeRequest(ALL_VIEWS, frozenset(CODE64_KINDS), crops=(0.02, 0.05))
PROGRAM = "tests.planted_decoders"
ROOT = Path(__file__).parents[3]
SECONDS = 60.0
PICTURE = sample(Format.PNG)


@pytest.fixture(scope="module")
def pool():
    """One decoder, which has all the time that a busy machine may take for a file."""
    made = SandboxPool(workers=1, worker_limits=WorkerLimits(seconds=SECONDS), program=PROGRAM)
    yield made
    made.close()


@pytest.fixture(scope="module")
def hasty():
    """One decoder, which has two seconds for a file."""
    made = SandboxPool(workers=1, worker_limits=WorkerLimits(seconds=2.0), program=PROGRAM)
    yield made
    made.close()


@pytest.fixture
def made(request):
    """Makes pools, and closes them."""

    def make(*, workers=1, program=PROGRAM, **limits):
        pool = SandboxPool(workers=workers, program=program, worker_limits=WorkerLimits(**limits))
        request.addfinalizer(pool.close)
        return pool

    return make


@pytest.fixture(scope="module")
def trusted():
    made = InProcessPool(workers=1)
    yield made
    made.close()


def asked(pool, data, request=REQUEST):
    return pool.submit(data, request).result(SECONDS)


def restarts_over(pool, work):
    """How often workers were replaced over some work, without the causes that never were."""
    before = pool.restarts()
    work()
    after = pool.restarts()
    return {cause: after[cause] - before[cause] for cause in after if after[cause] != before[cause]}


def pid_of(pool):
    return int(asked(pool, planted("pid")).detail)


def wait_for_end(*pids):
    """Until they run no more; who waits for them is another process."""
    deadline = time.monotonic() + SECONDS
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_it_is_protected_by_everything_there_is_here(pool):
    assert pool.protection() == EVERY_PROTECTION


@pytest.mark.parametrize("image_format", Format)
def test_every_format_decodes_as_outside(lab, pool, trusted, image_format):
    data = sample(image_format)
    found = asked(pool, data)
    assert isinstance(found, DecodedImage)
    assert lab.is_same(found, asked(trusted, data))


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff" + bytes(300)])
def test_what_is_no_image_is_told_as_outside(pool, trusted, data):
    assert asked(pool, data) == asked(trusted, data)


def test_a_large_file_goes_through_shared_memory(lab, pool, trusted, monkeypatch):
    written = []
    write = Worker._write

    def noted(self, data, until):
        written.append(len(data))
        write(self, data, until)

    monkeypatch.setattr(Worker, "_write", noted)
    large = PICTURE + bytes(frames.INLINE_BYTES)  # what follows a picture is no part of it
    assert lab.is_same(asked(pool, large), asked(trusted, large))
    assert lab.is_same(asked(pool, PICTURE), asked(trusted, PICTURE))  # nothing of it is left over
    head = frames.REQUEST_HEAD_BYTES + 8 * len(REQUEST.crops)
    assert written == [head, head + len(PICTURE)]


def test_nobody_else_writes_into_shared_memory_or_resizes_it():
    shared = forks._shared_memory(4096)
    try:
        with mmap.mmap(shared, 0) as ours:
            forks._seal(shared)
            with pytest.raises(PermissionError):
                mmap.mmap(shared, 0)
            for size in (1, 8192):
                with pytest.raises(PermissionError):
                    os.ftruncate(shared, size)
            with pytest.raises(PermissionError):
                fcntl.fcntl(shared, fcntl.F_ADD_SEALS, 0)
            with mmap.mmap(shared, 0, access=mmap.ACCESS_READ) as theirs:
                ours[:5] = b"bytes"
                assert theirs[:5] == b"bytes"
    finally:
        os.close(shared)


def test_a_kernel_without_the_newest_seal_has_the_others(monkeypatch):
    monkeypatch.setattr(forks, "_F_SEAL_FUTURE_WRITE", 1 << 20)
    shared = forks._shared_memory(4096)
    try:
        forks._seal(shared)
        with pytest.raises(PermissionError):
            os.ftruncate(shared, 1)
    finally:
        os.close(shared)


def test_a_file_past_the_limit_is_not_even_sent():
    pool = SandboxPool(DecodeLimits(encoded_bytes=100), workers=1)
    try:
        assert asked(pool, bytes(101)).reason is NotHashableReason.OVER_LIMIT
        assert pool._forks._process is None
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("word", "reason", "causes"),
    [
        ("segfault", NotHashableReason.DECODER_FAILED, {"ended": 2}),
        ("abort", NotHashableReason.DECODER_FAILED, {"ended": 2}),
        ("exit", NotHashableReason.DECODER_FAILED, {"ended": 2}),
        ("silence", NotHashableReason.DECODER_FAILED, {"ended": 2}),
        ("memory", NotHashableReason.OVER_LIMIT, {"memory": 2}),
    ],
)
def test_a_worker_that_a_file_takes_down_costs_that_file_alone(pool, word, reason, causes):
    """It is tried once more."""
    assert harm_by(pool, word, reason) == causes


@pytest.mark.parametrize("word", ["loop", "sleep"])
def test_a_worker_that_takes_too_long_costs_that_file_alone(hasty, word):
    """It is not tried once more."""
    assert harm_by(hasty, word, NotHashableReason.DECODER_FAILED) == {"time": 1}


def harm_by(pool, word, reason):
    """How often workers were replaced over a file that does harm, and others after it."""

    def work():
        harmed, *others = [pool.submit(each, REQUEST) for each in (planted(word), *[PICTURE] * 3)]
        answer = harmed.result(SECONDS)
        assert (answer.reason, answer.fatal) == (reason, True)
        assert all(isinstance(each.result(SECONDS), DecodedImage) for each in others)

    return restarts_over(pool, work)


@pytest.fixture
def logged():
    """What the seats of workers log, as a server writes it."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(seats.__name__)
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger.removeHandler(handler)


def test_the_log_tells_with_which_call_the_file_came(pool, logged):
    """And with none where a worker was gone before the next file was there."""
    for called in ("first", "second"):
        mark = request_id.set(called)
        answers = [pool.submit(planted("exit"), REQUEST), pool.submit(PICTURE, REQUEST)]
        request_id.reset(mark)
        for each in answers:
            each.result(SECONDS)
    assert [each["request_id"] for each in logged()] == ["first"] * 2 + ["second"] * 2
    pid = pid_of(pool)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)
    mark = request_id.set("third")
    asked(pool, PICTURE)
    request_id.reset(mark)
    *_, last = logged()
    assert "is replaced" in last["message"]
    assert "request_id" not in last


def test_a_file_that_a_fresh_worker_decodes_is_decoded(pool):
    """What an earlier file did to a worker costs no later one its answer."""

    def work():
        asked(pool, PICTURE)
        assert isinstance(asked(pool, planted("used", PICTURE)), DecodedImage)

    assert restarts_over(pool, work) == {"ended": 1}


class _Bomb:
    """What runs code where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_that_a_worker_says_is_unpickled(pool, tmp_path):
    mark = tmp_path / "ran"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        said = pickle.dumps(_Bomb(mark), protocol) + bytes(frames.ANSWER_HEAD_BYTES)
        answer = asked(pool, planted("say", said))
        assert answer.reason is NotHashableReason.DECODER_FAILED
    said = frames.pack_answer(Undecodable(NotHashableReason.MALFORMED, "x" * 300), REQUEST, NUMBER)
    said = said[:-300] + pickle.dumps(_Bomb(mark)).ljust(300, b".")
    assert asked(pool, planted("say", said)).reason is NotHashableReason.DECODER_FAILED
    assert not mark.exists()
    pickle.loads(pickle.dumps(_Bomb(mark)))
    assert mark.exists()


INPUTS = {
    HashKind.PHASH: np.zeros((32, 32), np.uint8),
    HashKind.DHASH: np.zeros((8, 9), np.uint8),
    HashKind.AHASH: np.zeros((8, 8), np.uint8),
    HashKind.WHASH: np.zeros((8, 8), np.float64),
}
VIEW = ViewBlocks("upright", np.zeros((64, 64), np.float32), INPUTS)
IMAGE = DecodedImage(10, 10, "png", 1, False, (VIEW,))
NO_IMAGE = Undecodable(NotHashableReason.MALFORMED, "x" * 300)


def said(result, request=REQUEST, *, number=NUMBER):
    return frames.pack_answer(result, request, number)


def with_luma(value):
    return said(replace(IMAGE, views=(replace(VIEW, luma=np.full((64, 64), value, np.float32)),)))


def with_body_of(length, data):
    head = data[: frames.ANSWER_HEAD_BYTES - 4] + struct.pack("<I", length)
    return (head + data[frames.ANSWER_HEAD_BYTES :])[: frames.ANSWER_HEAD_BYTES + length]


BODY_BYTES = len(said(IMAGE)) - frames.ANSWER_HEAD_BYTES
LIES = {
    "zeros": bytes(200),
    "letters": b"an answer, honestly " * 20,
    "a detail that is no text": said(NO_IMAGE)[:-300] + b"\xff" * 300,
    "a detail of two lines": said(Undecodable(NotHashableReason.MALFORMED, "one\ntwo")),
    "a reason that no decoder has": said(Undecodable(NotHashableReason.FEATURELESS, "never")),
    "no views": said(replace(IMAGE, views=())),
    "another first view": said(replace(IMAGE, views=(replace(VIEW, view="stored"),))),
    "a view twice": said(replace(IMAGE, views=(VIEW, VIEW))),
    "a format of another alphabet": said(replace(IMAGE, format="PNG")),
    "no width": said(replace(IMAGE, width=0)),
    "a number that is none": with_luma(np.nan),
    "infinity": with_luma(-np.inf),
    "brighter than white": with_luma(256),
    "an array cut short": with_body_of(
        len(said(IMAGE)) - frames.ANSWER_HEAD_BYTES - 8, said(IMAGE)
    ),
    "an array too long": with_body_of(
        len(said(IMAGE)) - frames.ANSWER_HEAD_BYTES + 8, said(IMAGE) + bytes(8)
    ),
    "a kind that was not asked for": said(replace(IMAGE, views=(replace(VIEW, inputs64={}),))),
    "more than there can be": with_body_of(1 << 31, said(NO_IMAGE)),
    "the answer to another file": said(IMAGE, number=NUMBER + 1),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_worker_that_says_nonsense_is_replaced(pool, lie):
    def work():
        answer = asked(pool, planted("say", LIES[lie]))
        assert (answer.reason, answer.fatal) == (NotHashableReason.DECODER_FAILED, True)

    assert restarts_over(pool, work) == {"nonsense": 2}
    assert isinstance(asked(pool, PICTURE), DecodedImage)


def test_what_has_the_form_of_an_answer_is_one(pool):
    """So that the lies above are found out for what they say, and not for how they were said."""
    answer = asked(pool, planted("early", b""))
    assert (answer.reason, answer.detail) == (NotHashableReason.MALFORMED, "early")


def test_a_worker_that_answers_half_has_ended(pool):
    def work():
        answer = asked(pool, planted("half", said(IMAGE)[:-100]))
        assert (answer.reason, answer.fatal) == (NotHashableReason.DECODER_FAILED, True)

    assert restarts_over(pool, work) == {"ended": 2}


@pytest.mark.slow
def test_a_late_answer_is_nobodys(lab, hasty, trusted):
    def work():
        late, after = [
            hasty.submit(each, REQUEST) for each in (planted("late", said(IMAGE)), PICTURE)
        ]
        assert late.result(SECONDS).reason is NotHashableReason.DECODER_FAILED
        assert lab.is_same(after.result(SECONDS), asked(trusted, PICTURE))

    assert restarts_over(hasty, work) == {"time": 1}


def test_an_answer_before_its_question_is_nobodys(lab, pool, trusted):
    """A worker that was taken over cannot lay down what a later file is told to be."""

    def work():
        assert asked(pool, planted("early", said(IMAGE))).detail == "early"
        # Whether it has said more by now or only later, the next file's answer is its own.
        assert lab.is_same(asked(pool, PICTURE), asked(trusted, PICTURE))

    assert restarts_over(pool, work) == {"nonsense": 1}


def test_an_exception_of_a_decoder_is_an_answer(pool):
    def work():
        answer = asked(pool, planted("raise"))
        assert (answer.reason, answer.fatal) == (NotHashableReason.DECODER_FAILED, False)
        assert "KeyError" in answer.detail
        assert "a bug" not in answer.detail.replace("this is a bug", "")

    assert restarts_over(pool, work) == {}


@pytest.mark.slow
def test_who_gave_up_is_dropped_before_work_is_spent(hasty):
    def work():
        busy = hasty.submit(planted("sleep"), REQUEST)
        given_up = hasty.submit(planted("segfault"), REQUEST)
        assert given_up.cancel()
        busy.result(SECONDS)
        assert isinstance(asked(hasty, PICTURE), DecodedImage)

    assert restarts_over(hasty, work) == {"time": 1}


def test_a_worker_is_retired_after_so_many_files(made):
    pool = made(files=2)
    pids = [pid_of(pool) for _ in range(5)]
    assert [pids.index(each) for each in pids] == [0, 0, 2, 2, 4]
    assert not any(pool.restarts().values())
    wait_for_end(*pids[:4])


def test_a_worker_is_retired_after_so_much_time(made, monkeypatch):
    monkeypatch.setattr(seats, "RETIRE_SECONDS", 0.0)
    pool = made()
    assert pid_of(pool) != pid_of(pool)


@pytest.mark.slow
def test_a_large_picture_leaves_no_memory_behind(made):
    """Such as a bomb within the limits: 132 million pixels in 17 kB."""
    pool = made(seconds=SECONDS)  # a busy machine may take longer than a file is given
    worker = psutil.Process(pid_of(pool))
    before = worker.memory_info().rss
    stream = io.BytesIO()
    Image.new("1", (11_500, 11_500)).save(stream, "PNG")
    assert isinstance(asked(pool, stream.getvalue(), DecodeRequest()), DecodedImage)
    assert pid_of(pool) == worker.pid
    assert worker.memory_info().rss < before + 64 * 2**20


@pytest.mark.parametrize("what", ["pid", "segfault"])
def test_other_work_is_done_once_and_before_the_result(made, what):
    done = []
    made().submit(planted(what), REQUEST, meanwhile=lambda: done.append(1)).result(SECONDS)
    assert done == [1]


def test_other_work_is_done_where_no_worker_is_asked(made):
    done = []
    pool = SandboxPool(DecodeLimits(encoded_bytes=10), workers=1)
    try:
        result = pool.submit(bytes(11), REQUEST, meanwhile=lambda: done.append(1)).result(SECONDS)
    finally:
        pool.close()
    assert result.reason is NotHashableReason.OVER_LIMIT
    assert done == [1]


def test_an_idle_worker_that_is_killed_costs_no_file_anything(made):
    pool = made(files=100)
    pid = pid_of(pool)
    os.kill(pid, signal.SIGKILL)
    wait_for_end(pid)

    def work():  # the first of two tries is a file's own
        assert isinstance(asked(pool, planted("used", PICTURE)), DecodedImage)

    assert restarts_over(pool, work) == {"ended": 1}


def test_a_forkserver_that_is_gone_is_started_anew(made):
    """Its workers go with it, each with a file; every file gets its answer."""
    pool = made(workers=3)
    answers = [pool.submit(planted("nap", PICTURE), REQUEST) for _ in range(9)]
    answers.pop(0).result(SECONDS)
    first = pool._forks._process
    first.kill()
    first.wait()
    assert all(isinstance(each.result(SECONDS), DecodedImage) for each in answers)
    assert pool._forks._process.pid != first.pid
    assert pool.restarts()["ended"] <= 3
    assert not any(pool.restarts()[cause] for cause in ("nonsense", "time", "memory"))


def test_signals_to_a_whole_group_are_the_parents_to_act_on(made):
    """A terminal and a service manager send them to all; accepted work is finished first."""
    pool = made()
    pid = pid_of(pool)
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, each)
        pool._forks._process.send_signal(each)
    assert pid_of(pool) == pid


ORPHAN = """
import sys
import time
from matcher.decode.sandbox.pool import SandboxPool
from matcher.model import DecodeRequest
from tests.planted_decoders import planted
pool = SandboxPool(workers=1, program="tests.planted_decoders")
pid = pool.submit(planted("pid"), DecodeRequest()).result().detail
pool.submit(planted("loop"), DecodeRequest())
print(pool._forks._process.pid, pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("victim", ["parent", "forkserver"])
def test_no_worker_outlives_who_could_end_it(victim):
    """Not even one that is busy for good."""
    command = [sys.executable, "-c", ORPHAN]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as parent:
        forkserver, worker = map(int, parent.stdout.readline().split())
        os.kill(parent.pid if victim == "parent" else forkserver, signal.SIGKILL)
        try:
            wait_for_end(worker, forkserver)
        finally:
            parent.kill()


def test_a_worker_has_nothing_that_it_does_not_need(made, monkeypatch):
    monkeypatch.setenv("HASHWARDEN_TEST_SECRET", "s3cret")
    pool = made()
    assert asked(pool, planted("environ")).detail == ""
    pid = pid_of(pool)
    try:
        opened = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    except PermissionError:
        pytest.skip("only root may look at a process that cannot be dumped")
    assert sorted(each.partition(":")[0] for each in opened) == [*["/dev/null"] * 3, "socket"]


@pytest.mark.parametrize("chosen", [{}, {"niceness": 3}])
def test_who_answers_callers_goes_first(made, chosen):
    pool = made(**chosen)
    more = chosen.get("niceness", WorkerLimits().niceness)
    assert psutil.Process(pid_of(pool)).nice() == min(19, psutil.Process().nice() + more)


def test_one_thread_forks(made):
    """Another one might hold a lock at that moment, which nobody would ever let go."""
    pool = made(program=forks.PROGRAM)
    assert pool.versions()
    assert pool._forks.threads == 1


def test_where_no_decoder_can_be_started_it_is_no_files_fault(made, monkeypatch, caplog):
    monkeypatch.setattr(pool_module, "_AWAY_SECONDS", (0.0,))
    pool = made(program="tests.no_such_program")
    for _ in range(2):
        with pytest.raises(DecodersAwayError, match="their first process ended"):
            asked(pool, PICTURE)
    assert "their first process ended" in caplog.text
    with pytest.raises(DecodersAwayError):
        pool.protection()
    with pytest.raises(DecodersAwayError):
        pool.versions()


@pytest.mark.parametrize("what", ["socket.socketpair", "os.memfd_create", "subprocess.Popen"])
def test_where_there_is_no_room_another_try_is_made(made, monkeypatch, what):
    """Nothing is left open by what failed."""
    monkeypatch.setattr(pool_module, "_AWAY_SECONDS", (0.0,))
    module, name = what.split(".")
    real = getattr(getattr(forks, module), name)
    failures = [OSError(24, "too many open files")]

    def scarce(*arguments, **named):
        if failures:
            raise failures.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(getattr(forks, module), name, scarce)
    assert isinstance(asked(made(), PICTURE), DecodedImage)
    assert not failures


def test_a_fault_of_our_own_costs_one_file_alone(made, monkeypatch, caplog):
    pool = made()
    real = Worker.ask
    faults = [ZeroDivisionError("the secret of a file")]

    def faulty(*arguments, **named):
        if faults:
            raise faults.pop()
        return real(*arguments, **named)

    monkeypatch.setattr(Worker, "ask", faulty)
    assert "ZeroDivisionError" in asked(pool, PICTURE).detail
    assert isinstance(asked(pool, PICTURE), DecodedImage)
    assert "ZeroDivisionError" in caplog.text
    assert "secret" not in caplog.text


def test_nothing_is_left_when_it_is_closed():
    before = children(os.getpid())
    pool = SandboxPool(workers=2)
    answers = [pool.submit(PICTURE, REQUEST) for _ in range(8)]
    pool.close()
    pool.close()
    assert all(isinstance(each.result(0), DecodedImage) for each in answers)
    assert children(os.getpid()) == before
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(b"", REQUEST)


def test_nothing_is_started_after_it_was_closed():
    before = children(os.getpid())
    pool = SandboxPool(workers=2)
    pool.close()
    with pytest.raises(DecodersAwayError, match="closed"):
        pool.versions()
    with pytest.raises(DecodersAwayError, match="closed"):
        pool.protection()
    assert children(os.getpid()) == before


def test_versions_are_those_of_the_workers(pool, trusted):
    assert pool.versions() == trusted.versions()
