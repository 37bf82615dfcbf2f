"""The README's story works word for word, in a fresh folder, with the commands it names."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
# What a reader does once, and this test has done already.
SET_UP = ". .venv/bin/activate"
STATUS = re.compile(r"# exit status (\d+)")


def story():
    text = README.read_text(encoding="utf-8")
    section = text.split("## A tried story")[1].split("\n## ")[0]
    lines = [
        line
        for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        for line in block.splitlines()
    ]
    assert SET_UP in lines
    return [line for line in lines if line != SET_UP]


#: Seconds that a reader sleeps are enough for a server to start on a machine that does little else;
#: here they end once it is ready, however long that takes.
SLEEP = """
sleep() {
  until exec 3<>/dev/tcp/127.0.0.1/ADMIN && printf 'GET /readyz HTTP/1.0\\r\\n\\r\\n' >&3 \\
    && grep -q '^HTTP/[0-9.]* 200' <&3
  do command sleep 0.1; done 2>/dev/null
  exec 3>&-
}
"""


def as_script(lines, port, admin):
    """The lines as one bash script that ends at the first line with another status than it says."""
    script = ["set -u", SLEEP.replace("ADMIN", str(admin))]
    expected = 0
    for line in lines:
        if told := STATUS.fullmatch(line):
            expected = int(told[1])
            continue
        script += [
            line.replace("50051", str(port)),
            f'status=$?; [ $status -eq {expected} ] || {{ echo "status $status" >&2; exit 99; }}',
        ]
        expected = 0
    return "\n".join([*script, "wait"])


@pytest.fixture
def ports():
    """Two that nobody uses."""
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        return [each.getsockname()[1] for each in (one, two)]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the story is written for bash")
def test_the_story(tmp_path, ports):
    port, admin = ports
    lines = story()
    assert shutil.which("buf", path=str(Path(sys.executable).parent)), "install the test group"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HASHWARDEN_LISTEN": f"127.0.0.1:{port}",
        "HASHWARDEN_ADMIN_LISTEN": f"127.0.0.1:{admin}",
    }
    story_told = subprocess.Popen(
        ["bash", "-x", "-c", as_script(lines, port, admin)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = story_told.communicate(timeout=170)
    finally:
        with suppress(ProcessLookupError):  # its server as well, whatever happened to bash
            os.killpg(story_told.pid, signal.SIGKILL)
        story_told.wait()
    assert story_told.returncode == 0, f"{out}\n{err}"
    assert "the list demo was created" in err.lower()
    assert "mirrored:" in out
    assert "DECISION_MATCH" in out
    for value in re.findall(r"sha1:[0-9a-f]{40}", err):
        assert value.removeprefix("sha1:") not in out
