"""The commands of the operator's guide, word for word and in its order, beside a running server."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.deployment import DEPLOY, ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SECTIONS = ("Backup and restore", "When something has gone wrong")


def blocks():
    """The shell blocks of the sections, taken out of the list items that they stand in."""
    page = (DEPLOY / "operating.md").read_text(encoding="utf-8")
    for name in SECTIONS:
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        found = re.findall(r"^( *)```sh\n(.*?)^\1```$", section, re.DOTALL | re.MULTILINE)
        yield from (textwrap.dedent(block) for _, block in found)


@pytest.fixture
def environment(tmp_path):
    free = ("LISTEN", "LISTS_LISTEN", "ADMIN_LISTEN")
    return {
        **os.environ,
        **{f"HASHWARDEN_{name}": "127.0.0.1:0" for name in free},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HASHWARDEN_DATA": str(tmp_path / "data"),
        "HASHWARDEN_ENCRYPTION_KEYS": f"file:{tmp_path / 'encryption.keys'}",
    }


@pytest.fixture
def hashwarden(environment, tmp_path):
    """Runs the command; gives its lines of JSON."""

    def run(*arguments, status=0):
        done = subprocess.run(
            ["hashwarden", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@pytest.fixture
def server(environment, hashwarden, demo_folder, tmp_path):
    """Serves the demo's list, its snapshots encrypted; gives the address."""
    keys = tmp_path / "encryption.keys"
    keys.touch(mode=0o600)
    keys.write_text(f"{secrets.token_hex(32)}\n", encoding="utf-8")
    listed = (str(demo_folder / "demo-list.vics.json"), "--list", "demo", "--format", "vics")
    hashwarden("lists", "import", *listed, "--harm", "test", "--source", "demo", "--json")
    with (tmp_path / "log").open("wb") as log:
        served = subprocess.Popen(
            ["hashwarden", "serve"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    try:
        line = served.stdout.readline()
        assert line.startswith("serving on "), (tmp_path / "log").read_text()
        yield line.removeprefix("serving on ").strip()
    finally:
        served.terminate()
        served.communicate(timeout=100)


def test_backup_restore_and_incidents(environment, hashwarden, server, demo_folder, tmp_path):
    picture = str(demo_folder / "resized.jpg")
    (found,) = hashwarden("match", picture, "--server", server, "--json", status=1)
    (made,) = [
        each["revision"]
        for each in hashwarden("lists", "revisions", "demo", "--json")
        if each["kind"] == "create_list"
    ]
    while not hashwarden("matches", "list", "--json"):  # records are written beside matching
        pass
    case = {
        "MATCH": found["match_id"],
        "ENTRY": str(found["matches"][0]["entry"]),
        "BEFORE": str(made),
    }
    done = subprocess.run(
        ["bash", "-c", "\n".join(["set -eu", *blocks()])],
        cwd=tmp_path,
        env=environment | case,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert found["match_id"] in done.stdout.rpartition("a picture of a cat")[2]
    hashwarden("match", picture, "--json", status=0)
    (record,) = hashwarden("matches", "undone", "--json")
    assert (record["record"]["match_id"], record["nothing_left"]) == (found["match_id"], True)
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    # What was saved is from before: restored, it matches what was retracted since.
    restored = ("--data", str(tmp_path / "restored"))
    (again,) = hashwarden(*restored, "match", picture, "--json", status=1)
    assert str(again["matches"][0]["entry"]) == case["ENTRY"]


def test_every_block_of_the_guide_is_run():
    page = (DEPLOY / "operating.md").read_text(encoding="utf-8")
    assert page.count("```sh") == len(list(blocks())) > 8
