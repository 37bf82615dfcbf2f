"""What is installed together works together: floors, licences, generated code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from matcher import __version__

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GENERATED = ROOT / "matcher" / "_proto"


def floor(name: str) -> Version:
    """The lowest version of a run-time dependency that pyproject.toml admits."""
    for line in PROJECT["project"]["dependencies"]:
        requirement = Requirement(line)
        if requirement.name == name:
            (bound,) = (s for s in requirement.specifier if s.operator == ">=")
            return Version(bound.version)
    pytest.fail(f"{name} is not a dependency")


def test_version_is_the_same_everywhere() -> None:
    assert PROJECT["project"]["version"] == __version__


def test_changelog_knows_the_version_or_has_it_unreleased() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changelog or f"## [{__version__}]" in changelog


def test_wheel_lists_its_packages_explicitly() -> None:
    assert PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"] == [
        "hashlists",
        "matcher",
    ]


@pytest.mark.parametrize(
    "package", ["grpcio", "grpcio-health-checking", "grpcio-reflection", "grpcio-status"]
)
def test_grpc_floors_cover_the_generated_code(package: str) -> None:
    stated = {
        Version(match)
        for path in GENERATED.rglob("*_pb2_grpc.py")
        for match in re.findall(r"GRPC_GENERATED_VERSION = '([^']+)'", path.read_text("utf-8"))
    }
    assert stated, "no generated gRPC code"
    assert floor(package) >= max(stated)


def test_protobuf_floor_covers_the_generated_code() -> None:
    stated = {
        Version(match)
        for path in GENERATED.rglob("*_pb2.py")
        for match in re.findall(r"# Protobuf Python Version: (\S+)", path.read_text("utf-8"))
    }
    assert stated, "no generated code"
    assert floor("protobuf") >= max(stated)


def test_every_proto_has_generated_code() -> None:
    for proto in (ROOT / "protos").rglob("*.proto"):
        stem = GENERATED / proto.relative_to(ROOT / "protos").with_suffix("")
        for suffix in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi"):
            assert stem.with_name(stem.name + suffix).is_file()


def test_generated_code_imports_without_warnings_and_keeps_its_wire_names() -> None:
    source = """
import importlib, pkgutil
import matcher._proto as root
for module in pkgutil.walk_packages(root.__path__, root.__name__ + "."):
    importlib.import_module(module.name)
from google.protobuf import descriptor_pool
pool = descriptor_pool.Default()
for name in ("hashwarden.match.v1.MatchService", "hashwarden.lists.v1.HashListService"):
    assert pool.FindServiceByName(name).methods
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_generated_modules_say_where_they_live() -> None:
    from matcher._proto.hashwarden.match.v1 import match_pb2

    assert match_pb2.MatchImageRequest.__module__ == match_pb2.__name__


def test_nothing_but_tests_uses_the_gpl_encoder() -> None:
    run_time = [Requirement(line).name for line in PROJECT["project"]["dependencies"]]
    extras = [
        Requirement(line).name
        for lines in PROJECT["project"]["optional-dependencies"].values()
        for line in lines
    ]
    assert "pillow-heif" not in run_time + extras
    for package in ("hashlists", "matcher"):
        for path in (ROOT / package).rglob("*.py"):
            assert "pillow_heif" not in path.read_text(encoding="utf-8"), path


def run_time_imports(statements: list[ast.stmt]) -> Iterator[str]:
    """Top-level names of the modules that code imports when it runs, not for types alone.

    An import is a statement: no expression is looked at.
    """
    for statement in statements:
        match statement:
            case ast.Import():
                yield from (alias.name.partition(".")[0] for alias in statement.names)
            case ast.ImportFrom():
                yield (statement.module or "").partition(".")[0]
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                pass
            case ast.Match():
                for case in statement.cases:
                    yield from run_time_imports(case.body)
            case _:
                for part in ("body", "orelse", "finalbody"):
                    yield from run_time_imports(getattr(statement, part, []))
                for handler in getattr(statement, "handlers", []):
                    yield from run_time_imports(handler.body)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def f():\n  with x:\n    import a.b", {"a"}),
        ("class C:\n  async def f():\n    async with x:\n      from a.b import c", {"a"}),
        (
            "try:\n  import a\nexcept E:\n  import b\nelse:\n  import c\nfinally:\n  import d",
            set("abcd"),
        ),
        ("try:\n  pass\nexcept* E:\n  import a", {"a"}),
        ("for x in y:\n  import a\nelse:\n  import b\nwhile x:\n  import c", set("abc")),
        ("match x:\n  case 1:\n    import a", {"a"}),
        ("if x:\n  import a\nelif y:\n  import b\nelse:\n  import c", set("abc")),
        ("if TYPE_CHECKING:\n  import a\nif x.TYPE_CHECKING:\n  import b", {"b"}),
    ],
)
def test_imports_are_seen_wherever_they_stand(source: str, found: set[str]) -> None:
    assert set(run_time_imports(ast.parse(source).body)) == found


@cache
def distributions() -> dict[str, list[str]]:
    """Which distributions bring a module: it takes long to find out."""
    return dict(packages_distributions())


def undeclared(folder: str, declared: set[str]) -> dict[str, list[str]]:
    """Imported packages of others that no declared distribution brings."""
    names = {
        name
        for path in (ROOT / folder).rglob("*.py")
        for name in run_time_imports(ast.parse(path.read_text(encoding="utf-8")).body)
    }
    return {
        name: distributions()[name]
        for name in names & set(distributions()) - {"hashlists", "matcher"}
        if not {canonicalize_name(found) for found in distributions()[name]} & declared
    }


def declared(*groups: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for group in groups for line in group}


@pytest.mark.parametrize("folder", ["hashlists", "matcher"])
def test_the_product_imports_what_it_declares(folder: str) -> None:
    project = PROJECT["project"]
    assert (
        undeclared(
            folder, declared(project["dependencies"], *project["optional-dependencies"].values())
        )
        == {}
    )


def test_the_tests_import_what_they_declare() -> None:
    test = declared(PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"].values())
    assert undeclared("tests", test) == {}


def requirements() -> set[str]:
    """Every package that pyproject.toml names, in whatever group."""
    project = PROJECT["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    return {Requirement(line).name for group in groups for line in group}


def test_every_dependency_has_its_line_of_reason() -> None:
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| ([A-Za-z0-9._-]+) \| (?!why)", page, flags=re.MULTILINE))
    assert listed - {"package"} == requirements()


def test_licence_is_the_whole_of_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "9. Accepting Warranty or Additional Liability." in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"
