"""Rules of the source tree that no linter checks."""

from __future__ import annotations

import ast
import re
import runpy
import socket
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("hashlists", "matcher")
SETTINGS = ROOT / "matcher" / "settings"
GENERATED = ROOT / "matcher" / "_proto"
MIGRATIONS = ROOT / "hashlists" / "catalog" / "migrations"


def sources(*folders: str) -> list[Path]:
    """Hand-written Python files, in a stable order."""
    return sorted(
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*.py")
        if GENERATED not in path.parents
    )


PRODUCT = sources(*PACKAGES)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def dotted(node: ast.AST) -> str:
    """`a.b.c` for the expression that spells it, else an empty string."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return ""
    return ".".join([node.id, *reversed(parts)])


@dataclass(frozen=True)
class Facts:
    """What the rules ask of a module: its tree would burden every collection of garbage after them.

    Attributes:
        imported: full names of all that it imports.
        mentioned: those, and all that it spells out.
        system: its other names for `os`.
        allows_pickle: whether it allows that to NumPy.
        has_docstring: whether it says what it is.
        evaluates_annotations: whether it has code and does not put that off.
    """

    imported: frozenset[str]
    mentioned: frozenset[str]
    system: frozenset[str]
    allows_pickle: bool
    has_docstring: bool
    evaluates_annotations: bool


@cache
def facts_of(path: Path) -> Facts:
    return facts(path.read_text(encoding="utf-8"), is_package=path.name == "__init__.py")


def facts(source: str, *, is_package: bool = False) -> Facts:
    tree = ast.parse(source)
    named, spelled, system, allows_pickle = set[str](), set[str](), set[str](), False
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                named |= {alias.name for alias in node.names}
                system |= {each.asname for each in node.names if each.name == "os" and each.asname}
            case ast.ImportFrom() if node.module:
                named |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            case ast.Name() | ast.Attribute():
                spelled.add(dotted(node))
            case ast.keyword(arg="allow_pickle"):
                value = node.value
                allows_pickle |= not (isinstance(value, ast.Constant) and value.value is False)
    return Facts(
        frozenset(named),
        frozenset(named | spelled),
        frozenset(system),
        allows_pickle,
        bool(ast.get_docstring(tree)),
        evaluates_annotations(tree, named, is_package=is_package),
    )


def evaluates_annotations(tree: ast.Module, imported: set[str], *, is_package: bool) -> bool:
    has_code = any(not isinstance(node, ast.Expr) for node in tree.body)
    if is_package and not any(
        isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AnnAssign) for node in tree.body
    ):
        return False
    return has_code and "__future__.annotations" not in imported


def environment_readers(module: Facts) -> frozenset[str]:
    """What in a module reads the environment or TOML, by whatever name it was imported."""
    forbidden = ("os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "tomllib")
    found = {
        name
        for name in module.mentioned
        if any(name == word or name.startswith(f"{word}.") for word in forbidden)
    }
    return module.system | found


def unpicklers(module: Facts) -> set[str]:
    """What in a module may pickle or unpickle, over pipes between processes included."""
    modules = {"pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}
    names = {
        "multiprocessing.Pipe",
        "multiprocessing.Pool",
        "multiprocessing.Queue",
        "multiprocessing.SimpleQueue",
        "multiprocessing.Manager",
        "multiprocessing.Process",
        "multiprocessing.connection",
        "multiprocessing.managers",
        "multiprocessing.pool",
        "multiprocessing.queues",
        "concurrent.futures.ProcessPoolExecutor",
        "concurrent.futures.process",
        "logging.handlers.SocketHandler",
        "logging.config.listen",
    }
    found = {
        name
        for name in module.mentioned
        if name.partition(".")[0] in modules
        or any(name == word or name.startswith(f"{word}.") for word in names)
    }
    return found | {"allow_pickle"} if module.allows_pickle else found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import os\nos.environ['A']", True),
        ("from os import getenv", True),
        ("import os as system", True),
        ("import tomllib", True),
        ("import os\nos.replace('a', 'b')", False),
    ],
)
def test_the_environment_rule_sees_what_it_should(source: str, found: bool) -> None:
    assert bool(environment_readers(facts(source))) is found


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from pickle import loads", True),
        ("import multiprocessing\nmultiprocessing.Queue()", True),
        ("from concurrent.futures import ProcessPoolExecutor", True),
        ("import numpy as np\nnp.load('a', allow_pickle=True)", True),
        ("import numpy as np\nnp.load('a', allow_pickle=False)", False),
        ("from concurrent.futures import ThreadPoolExecutor", False),
    ],
)
def test_the_pickle_rule_sees_what_it_should(source: str, found: bool) -> None:
    assert bool(unpicklers(facts(source))) is found


def test_there_is_something_to_check() -> None:
    assert len(PRODUCT) > 20
    assert SETTINGS / "loading.py" in PRODUCT


def test_only_the_settings_read_environment_and_toml() -> None:
    found = {name_of(p): environment_readers(facts_of(p)) for p in PRODUCT if p.parent != SETTINGS}
    assert {name: readers for name, readers in found.items() if readers} == {}


def test_nothing_is_pickled() -> None:
    found = {name_of(path): unpicklers(facts_of(path)) for path in PRODUCT}
    assert {name: unpickling for name, unpickling in found.items() if unpickling} == {}


def test_modules_say_what_they_are() -> None:
    assert [name_of(path) for path in PRODUCT if not facts_of(path).has_docstring] == []


def test_annotations_are_not_evaluated() -> None:
    assert [name_of(path) for path in PRODUCT if facts_of(path).evaluates_annotations] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_code_is_a_package(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        folder = path.parent
        assert (folder / "__init__.py").is_file() or MIGRATIONS in [folder, *folder.parents], folder


def tracked_names(root: Path) -> list[str]:
    """What git follows in a checkout; what its user lays beside that is no part of the product."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "-z", "--cached"], cwd=root, capture_output=True, check=True
        ).stdout.decode()
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [name for name in listing.split("\0") if name]


def tracked() -> list[Path]:
    """The text files of the repository."""
    suffixes = {".py", ".pyi", ".md", ".toml", ".yaml", ".proto", ".mako", ".ini", ""}
    return [
        ROOT / name
        for name in tracked_names(ROOT)
        if Path(name).suffix in suffixes and (ROOT / name).is_file()
    ]


def test_nothing_is_left_to_do() -> None:
    marks = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X"]) + r")\b")
    left = [name_of(p) for p in tracked() if p.suffix != ".toml" and marks.search(p.read_text())]
    assert left == []


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    homes = re.compile("/" + r"(?:home|Users|root|work)/[a-z.]+")
    assert [name_of(p) for p in tracked() if homes.search(p.read_text())] == []


@pytest.mark.parametrize(
    "path", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=name_of
)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" in target or target.startswith(("#", "mailto:")):
            continue
        assert (path.parent / target.partition("#")[0]).exists(), target


def test_top_level_is_as_agreed() -> None:
    folders = {name.partition("/")[0] for name in tracked_names(ROOT) if "/" in name}
    assert folders <= {".ci", "docs", "hashlists", "loadtest", "matcher", "protos", "tests"}


def test_what_a_user_lays_beside_the_product_is_not_judged(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / "pictures").mkdir()
    for name in ("followed.py", "beside.py", "pictures/one.json"):
        (tmp_path / name).touch()
    subprocess.run(["git", "add", "followed.py"], cwd=tmp_path, check=True)
    assert tracked_names(tmp_path) == ["followed.py"]


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@example.invalid")
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, check=True).stdout.decode()


def committed(folder: Path, text: str) -> str:
    """Commits another state of the protos; returns its name."""
    (folder / "protos").mkdir(exist_ok=True)
    (folder / "protos" / "a.proto").write_text(text)
    git(folder, "add", "protos")
    git(folder, "commit", "--quiet", "--message", text)
    return git(folder, "rev-parse", "HEAD").strip()


def test_the_wire_contract_is_never_compared_with_itself(tmp_path: Path) -> None:
    earlier_protos = runpy.run_path(str(ROOT / ".ci" / "earlier_protos.py"))["earlier_protos"]
    git(tmp_path, "init", "--quiet", "--initial-branch=main")
    first = committed(tmp_path, "1")
    assert earlier_protos(tmp_path) is None
    (tmp_path / "protos" / "a.proto").write_text("not committed")
    assert earlier_protos(tmp_path) == first
    git(tmp_path, "checkout", "--quiet", "-b", "change")
    second = committed(tmp_path, "2")
    assert earlier_protos(tmp_path) == first
    assert earlier_protos(tmp_path, "HEAD") is None
    git(tmp_path, "tag", "v1")
    assert earlier_protos(tmp_path) == first, "what is released now is compared with what was"
    third = committed(tmp_path, "3")
    assert earlier_protos(tmp_path) == second
    git(tmp_path, "tag", "v2")
    assert earlier_protos(tmp_path) == second, "the release before this one"
    git(tmp_path, "checkout", "--quiet", "main")
    git(tmp_path, "merge", "--quiet", "--ff-only", third)
    git(tmp_path, "tag", "--delete", "v1", "v2")
    assert earlier_protos(tmp_path) is None
    git(tmp_path, "checkout", "--quiet", "-b", "release", second)
    committed(tmp_path, "4")
    git(tmp_path, "tag", "v3")
    git(tmp_path, "checkout", "--quiet", "main")
    assert earlier_protos(tmp_path) == second, "where the branch of the release left this one"


@pytest.mark.parametrize("name", ["/data/", "/story-data/", "/pictures/", "/request.json"])
def test_what_the_readme_makes_never_reaches_git(name: str) -> None:
    assert name in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_data_folders_never_reach_the_container_engine() -> None:
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"


@pytest.mark.parametrize("address", [("192.0.2.1", 9), ("example.invalid", 9), ("2001:db8::1", 9)])
def test_tests_cannot_leave_the_machine(address: tuple[str, int]) -> None:
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family) as tried, pytest.raises(AssertionError, match="loopback only"):
        tried.connect(address)
