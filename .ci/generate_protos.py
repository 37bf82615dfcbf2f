"""Generates `matcher/_proto` from `protos/`, or lays out third-party protos for buf.

The output is the same for the same versions of the tools, so that CI can regenerate and compare.
Imports of our own generated modules are rewritten to live under `matcher._proto`; nothing is
written outside the folder that is named.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.rpc import status_pb2
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
#: Where the plug-ins of protoc lie, whether or not the environment is activated.
BIN = Path(sys.executable).parent
PACKAGE = "hashwarden"
TARGET_PACKAGE = "matcher._proto"
#: What buf, and clients in other languages, need beside the well-known types that they bring along.
THIRD_PARTY = ("google/rpc/status.proto", "google/rpc/error_details.proto")
HEADER = '"""Generated from `protos/` by `make protos`; never edited by hand."""\n'

#: Lines that name Python modules; all others name parts of the wire contract, which stay.
_MODULE_LINES = ("from ", "import ", "_builder.BuildTopDescriptorsAndMessages(")
_OWN_MODULE = re.compile(rf"(?<![\w./]){PACKAGE}(?=\.\w+\.v\d+\b)")


def third_party_includes() -> Path:
    """The folder in which `google/rpc/*.proto` of googleapis-common-protos lies."""
    return Path(status_pb2.__file__).parents[2]


def generate(target: Path) -> None:
    """Writes the generated packages into `target`, which is replaced whole.

    Raises:
        SystemExit: when protoc fails; its own message is on standard error.
    """
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        arguments = [
            "protoc",
            f"-I{PROTOS}",
            f"-I{Path(grpc_tools.__file__).parent / '_proto'}",
            f"-I{third_party_includes()}",
            *(
                f"--plugin={name}={BIN / name}"
                for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")
            ),
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--mypy_out=quiet:{out}",
            f"--mypy_grpc_out=quiet:{out}",
            *sources,
        ]
        if protoc.main(arguments) != 0:
            sys.exit("protoc failed")
        for path in out.rglob("*.py*"):
            path.write_text(rewrite_imports(path.read_text(encoding="utf-8")), encoding="utf-8")
        for folder in (out, *(path for path in out.rglob("*") if path.is_dir())):
            (folder / "__init__.py").write_text(HEADER, encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(out, target)


def rewrite_imports(source: str) -> str:
    """Moves every generated module of ours under `matcher._proto`.

    Descriptors, service names and proto file names are left alone.
    """
    moved = f"{TARGET_PACKAGE}.{PACKAGE}"
    return "".join(
        _OWN_MODULE.sub(moved, line) if line.startswith(_MODULE_LINES) else line
        for line in source.splitlines(keepends=True)
    )


def lay_third_party(target: Path) -> None:
    """Copies the third-party protos that ours import into `target`."""
    for name in THIRD_PARTY:
        destination = target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(third_party_includes() / name, destination)


def main() -> None:
    """The command: `generate DIR` or `third-party DIR`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("generate", "third-party"))
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    action = generate if arguments.what == "generate" else lay_third_party
    action(arguments.target)


if __name__ == "__main__":
    main()
