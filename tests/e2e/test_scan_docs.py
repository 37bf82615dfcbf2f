"""The walk through of docs/scan.md works word for word, in a fresh folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scan.md"
STATUS = re.compile(r"# exit status (\d+)")
LARGE = 500  # pictures of a scan that is killed
#: A reader kills after seconds; here it is done once some of the listing is written down.
TIMEOUT = """
timeout() {
  shift 3
  "$@" & scan=$!
  until python -c 'import sqlite3
state = sqlite3.connect("file:large/state.db?mode=ro", uri=True)
if not state.execute("SELECT listed FROM scan").fetchone()[0]:
    raise SystemExit(1)' 2>/dev/null; do sleep 0.05; done
  kill -KILL $scan
  wait $scan 2>/dev/null
}
"""


def walk():
    section = PAGE.read_text(encoding="utf-8").split("\n## A walk through\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def as_script(lines):
    """The lines as one bash script that ends at the first line with another status than it says."""
    script, expected = ["set -u", TIMEOUT], 0
    for line in lines:
        if told := STATUS.fullmatch(line):
            expected = int(told[1])
            continue
        wrong = f"echo 'status' $status 'of:' {line.split()[0]} >&2; exit 99"
        script += [line, f"status=$?; [ $status -eq {expected} ] || {{ {wrong}; }}"]
        expected = 0
    return "\n".join(script)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="the walk is written for bash")
def test_the_walk_through(tmp_path):
    large = tmp_path / "large-pictures"
    large.mkdir()
    rng = np.random.default_rng(5)
    for number in range(LARGE):
        Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(
            large / f"{number}.png"
        )
    here = Path(sys.executable).parent
    done = subprocess.run(
        ["bash", "-c", as_script(walk())],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{here}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "LARGE": str(large),
        },
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "matched resized.jpg" in done.stdout
    assert "no_known_match unlisted.jpg" in done.stdout
    assert "matched unlisted.jpg" in done.stdout.partition("no_known_match unlisted.jpg")[2]
    assert "review=pending" in done.stdout


def test_the_page_names_every_event_and_file():
    page = PAGE.read_text(encoding="utf-8")
    events = {"estimate", "begun", "changed", "progress", "stopping", "interrupted", "done"}
    for name in (*events, "state.db", "state.lock", "report.jsonl", "summary.json"):
        assert f"`{name}`" in page
    told = "".join(
        (ROOT / "matcher" / "cli" / f"{name}.py").read_text(encoding="utf-8")
        for name in ("scan_order", "scan_results", "scan_run", "scan_stopping", "scan_progress")
    )
    assert {*re.findall(r'\.tell\(\s*"(\w+)"', told)} | {"progress"} == events
