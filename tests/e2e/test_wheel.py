"""The wheel as a user meets it: complete, nothing too much, and at work in an empty folder.

The fresh environment borrows third-party packages from the one that runs the tests, but Hashwarden
itself comes from the wheel; the first test asserts it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from matcher import __version__

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hashlists", "matcher")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this source tree without a network."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    built = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = folder.glob("*.whl")
    return path


@dataclass(frozen=True)
class Installed:
    """A fresh environment that has the wheel.

    Attributes:
        python: its interpreter.
        folder: an empty folder to work in.
    """

    python: Path
    folder: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command `hashwarden` in the empty folder."""
        return self.call(self.python.with_name("hashwarden"), *arguments)

    def call(self, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a program with nothing of this environment but the system's paths."""
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return subprocess.run(
            [str(program), *arguments],
            cwd=self.folder,
            env={**kept, "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a fresh environment, with an empty folder beside it."""
    base = tmp_path_factory.mktemp("fresh")
    venv.create(base / "env", with_pip=False, symlinks=True)
    python = base / "env" / "bin" / "python"
    target = base / "env" / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
    borrowed = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (target / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    install += ["--disable-pip-version-check", "--no-index", "--no-deps", "--ignore-installed"]
    done = subprocess.run([*install, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (base / "empty").mkdir()
    return Installed(python, base / "empty")


def json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def test_wheel_holds_the_packages_and_nothing_else(wheel: Path) -> None:
    source = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == source
    assert {name.rpartition("/")[2] for name in metadata} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "LICENSE",
    }


def test_wheel_holds_what_is_easily_forgotten(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    for wanted in (
        "hashlists/py.typed",
        "matcher/py.typed",
        "matcher/_proto/hashwarden/match/v1/match_pb2.py",
        "matcher/_proto/hashwarden/match/v1/match_pb2_grpc.py",
        "matcher/_proto/hashwarden/lists/v1/lists_pb2.pyi",
        "matcher/demo_data/hashwarden-test-image.png",
        "matcher/demo_data/hashwarden-test-image.json",
        "hashlists/catalog/migrations/env.py",
    ):
        assert wanted in names
    assert any(name.startswith("hashlists/catalog/migrations/versions/0") for name in names)


@pytest.mark.slow
def test_code_comes_from_the_wheel(installed: Installed) -> None:
    show = "import hashlists, matcher; print(hashlists.__file__); print(matcher.__file__)"
    run = installed.call(installed.python, "-c", show)
    assert run.returncode == 0, run.stderr
    environment = installed.python.parent.parent
    for line in run.stdout.splitlines():
        assert Path(line).is_relative_to(environment)
        assert not Path(line).is_relative_to(ROOT)


def test_version(installed: Installed) -> None:
    run = installed.run("--version")
    assert run.returncode == 0, run.stderr
    assert __version__ in run.stdout


def test_every_command_has_help(installed: Installed) -> None:
    for command in ("serve", "hash", "match", "lists", "doctor"):
        run = installed.run(command, "--help")
        assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_doctor_is_content(installed: Installed) -> None:
    run = installed.run("--data", "data", "doctor")
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_pictures_of_an_imported_list_are_found(installed: Installed) -> None:
    demo = installed.call(installed.python, "-W", "error", "-m", "matcher.demo", "demo")
    assert demo.returncode == 0, demo.stderr
    # Not as a test list, whose near matches decide: the cautious default is to be seen here.
    imported = installed.run(
        *("--data", "data", "lists", "import", "demo/demo-list.vics.json", "--json"),
        *("--list", "demo", "--format", "vics", "--harm", "csam", "--source", "Hashwarden demo"),
    )
    assert imported.returncode == 0, imported.stdout + imported.stderr
    report = json_lines(imported.stdout)[-1]
    assert report["added"] == report["read"] > 0
    assert report["rejected"] == 0

    pictures = [f"demo/{name}.jpg" for name in ("listed-1", "recompressed", "unlisted")]
    run = installed.run("--data", "data", "match", "--json", *pictures)
    assert run.returncode == 1, run.stdout + run.stderr
    copy, near, none = json_lines(run.stdout)
    assert (copy["decision"], copy["matches"][0]["basis"]) == ("MATCH", "exact")
    assert (near["decision"], near["matches"][0]["basis"]) == ("REVIEW", "near")
    assert near["matches"][0]["list"] == "demo"
    assert (none["decision"], none["matches"]) == ("NO_KNOWN_MATCH", [])

    run = installed.run("--data", "data", "match", "--json", "demo/unlisted.jpg")
    assert run.returncode == 0, run.stdout + run.stderr
