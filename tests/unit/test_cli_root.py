"""Errors are one clear line and status 2, a bug never looks like a match, and help is instant."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import matcher
from hashlists.errors import CatalogError
from matcher import cli
from matcher.cli import root
from matcher.errors import SettingsError

SOURCE = Path(matcher.__file__).parents[1]


@pytest.fixture
def failing(monkeypatch):
    """Makes `hashwarden hash x` raise an error."""

    def fail_with(error):
        @click.command("hash")
        @click.argument("files", nargs=-1)
        def command(files):
            raise error

        monkeypatch.setattr(root.RootGroup, "get_command", lambda *_: command)
        return cli.main(["hash", "x"])

    return fail_with


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SettingsError("hashwarden.toml: listen: must be HOST:PORT"), "must be HOST:PORT"),
        (CatalogError("the catalog is of a newer version"), "newer version"),
        (FileNotFoundError(2, "No such file or directory", "/a/b"), "/a/b: No such file"),
        (FileNotFoundError(2, "No such file or directory", b"/a/\xff"), "No such file"),
        (OSError("odd"), "odd"),
        (OSError(), "gives no reason"),
        (click.UsageError("query 0: no colon"), "query 0"),
    ],
)
def test_an_error_of_ours_is_one_line_and_status_2(failing, capsys, error, told):
    assert failing(error) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert "Traceback" not in captured.err
    assert captured.err.splitlines()[-1].lower().startswith("error")


HASHES = {
    "md5": "0d599f0ec05c3bda8c3b8a68c32a1b47",
    "sha256": "0d599f0ec05c3bda8c3b8a68c32a1b470d599f0ec05c3bda8c3b8a68c32a1b47",
    "phash": "0d599f0ec05c3bda",
    "base32": "BVMZ6DWAXQ55VDB3RJUMGKQ3I7777777",
    "base64": "DVmfDsBcO9qMO4powyobR1234567890abcdefghijkm=",
}


@pytest.mark.parametrize("kind", HASHES)
@pytest.mark.parametrize(
    "words",
    [
        ["lists", "retract", "a", "--reason", "x", "--digests", "{}"],
        ["lists", "retract", "a", "--reason", "x", "--entries", "{}"],
        ["lists", "purge", "a", "--reason", "x", "--yes", "--source-ids", "{}"],
        ["lists", "show", "{}"],
        ["lists", "inspect", "{}"],
        ["lists", "inspect", "x", "--mapping", "{}"],
        ["lists", "import", "{}", "--list", "a"],
        ["lists", "import", "x", "--list", "a", "--identity", "{}"],
        ["lists", "import", "x", "--list", "a", "--plan", "--reference", "{}"],
        ["lists", "add", "--list", "a", "{}"],
        ["exchanges", "add", "a", "--kind", "{}"],
        ["exchanges", "set", "a", "--ca-file", "{}"],
        ["lookup", "{}"],
        ["{}"],
        ["lists", "--{}"],
    ],
    ids=" ".join,
)
def test_no_error_repeats_a_hash_that_was_typed(words, kind, capsys, tmp_path):
    told = [word.replace("{}", HASHES[kind]) for word in words]
    assert cli.main(["--data", str(tmp_path), *told]) == 2
    captured = capsys.readouterr()
    assert HASHES[kind] not in captured.out + captured.err
    assert captured.err


def test_names_of_snapshots_stay_in_errors(failing, capsys):
    name = "snapshot-000000000017-0123456789abcdef"
    failing(CatalogError(f"{name}: damaged"))
    assert name in capsys.readouterr().err


def test_control_characters_in_an_error_do_not_reach_the_terminal(failing, capsys):
    failing(FileNotFoundError(2, "No such file", "\x1b[2J"))
    assert "\x1b" not in capsys.readouterr().err


def test_a_bug_is_told_by_its_place_without_its_message_and_never_as_a_match(failing, capsys):
    assert failing(KeyError("0f2fc6f5")) == 2
    told = capsys.readouterr().err
    assert "this is a bug in hashwarden" in told
    assert "KeyError" in told
    assert "test_cli_root.py:" in told
    assert "0f2fc6f5" not in told


def test_an_interrupt_is_status_130(failing, capsys):
    assert failing(KeyboardInterrupt()) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_command_is_a_usage_error(capsys):
    assert cli.main(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["scan", "--data", "x", "y"], "hashwarden --data DIR scan ..."),
        (["scan", "status", "--data=x", "y"], "hashwarden --data DIR scan status ..."),
        (["doctor", "--version"], "hashwarden --version doctor ..."),
    ],
)
def test_an_option_behind_its_command_is_told_where_it_belongs(arguments, told, capsys):
    assert cli.main(arguments) == 2
    assert f" stands before the command: {told}\n" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["scan", "--dta", "x"], ["--nothing", "scan"]])
def test_an_option_of_nobody_is_no_such_option(arguments, capsys):
    assert cli.main(arguments) == 2
    assert "No such option" in capsys.readouterr().err


def test_the_nearest_command_is_named(capsys):
    assert cli.main(["list", "show"]) == 2
    assert "No such command 'list'. Did you mean 'lists'?" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["lists", "--help"], ["hash", "-h"]])
def test_help_is_status_0(arguments, capsys):
    assert cli.main(arguments) == 0
    assert "Usage: hashwarden" in capsys.readouterr().out


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"hashwarden, version {matcher.__version__}\n"


def run(*arguments, code=None, **options):
    command = [sys.executable, *(["-c", code] if code else ["-m", "matcher.cli"]), *arguments]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, **options
    )


def test_help_imports_nothing_heavy():
    heavy = "['numpy', 'scipy', 'faiss', 'grpc', 'sqlalchemy', 'alembic', 'PIL', 'rich']"
    code = (
        "import sys; from matcher.cli import main; main(['--help']);"
        f"sys.exit(', '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = run(code=code)
    assert done.returncode == 0, done.stderr


def test_a_reader_that_goes_away_leaves_no_traceback(tmp_path):
    (tmp_path / "file").write_bytes(b"no image")
    command = [sys.executable, "-m", "matcher.cli", "hash", *[str(tmp_path / "file")] * 200]
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(170) == 2
    assert told == b""


def test_a_wrong_setting_is_named_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HASHWARDEN_LISTEN", "nowhere")
    done = run("--data", str(tmp_path), "lists", "show")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "HASHWARDEN_LISTEN" in done.stderr


def test_an_interrupt_in_the_midst_of_work_leaves_no_traceback(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    (tmp_path / "file").write_bytes(b"no image")
    command = [sys.executable, "-m", "matcher.cli", "hash", *[str(tmp_path / "file")] * 70, "-"]
    # What runs in the background of a shell ignores it, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as process:
        process.stdout.readline()  # at work, and it will wait for standard input
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=170)
    assert process.returncode == 130
    assert told.decode().strip() == "interrupted"
