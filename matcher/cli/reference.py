"""Writes the commands' own help into docs/cli.md: `python -m matcher.cli.reference docs/cli.md`.

What stands above the heading "Commands" is written by hand and stays. A test compares the rest, so
that no command or option goes undocumented.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from matcher.cli.root import root

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADING = "## Commands\n"
_WIDTH = 88  # characters


def rewritten(page: str) -> str:
    """The page with the help of all commands under its heading.

    Raises:
        ValueError: the page has no such heading.
    """
    written_by_hand = page[: page.index(HEADING)]
    return written_by_hand + HEADING + "".join(_section(*each) for each in _helps(root, root.name))


def _section(name: str, text: str) -> str:
    return f"\n### `{name}`\n\n```text\n{text}\n```\n"


def _helps(command: click.Command, name: str | None) -> Iterator[tuple[str, str]]:
    """The help text of a command and of all below it."""
    context = click.Context(command, info_name=name, terminal_width=_WIDTH)
    context.help_option_names = ["-h", "--help"]
    yield f"{name}", command.get_help(context)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from _helps(found, f"{name} {below}")


def _main(file: Path) -> None:
    file.write_text(rewritten(file.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
