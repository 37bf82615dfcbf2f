"""Every command and option is documented, and the page is fresh."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from matcher.cli import reference
from matcher.cli.root import root

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def commands(command=root, name="hashwarden"):
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for below in command.list_commands(context):
            yield from commands(command.get_command(context, below), f"{name} {below}")


def test_the_page_is_what_the_help_says():
    text = PAGE.read_text(encoding="utf-8")
    assert reference.rewritten(text) == text, "run: python -m matcher.cli.reference docs/cli.md"


def test_the_page_can_be_written_in_place(tmp_path):
    page = tmp_path / "cli.md"
    page.write_text(f"# Mine\n\n{reference.HEADING}", encoding="utf-8")
    reference._main(page)
    assert "### `hashwarden lists import`" in page.read_text(encoding="utf-8")


def test_what_was_written_by_hand_stays():
    page = reference.rewritten(f"# Mine\n\n{reference.HEADING}old")
    assert page.startswith(f"# Mine\n\n{reference.HEADING}\n### `hashwarden`")
    assert not page.startswith(f"# Mine\n\n{reference.HEADING}old")
    with pytest.raises(ValueError):
        reference.rewritten("no heading")


@pytest.mark.parametrize(
    ("name", "command"), [*commands()], ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_command_and_option_is_on_the_page(name, command):
    section = PAGE.read_text(encoding="utf-8").partition(f"### `{name}`\n")[2].partition("###")[0]
    assert command.help
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.name} has no help"
            for spelling in parameter.opts:
                assert re.search(rf"(?m)^  .*{spelling}\b", section)


def test_every_reporting_command_has_json():
    names = {
        name
        for name, command in commands()
        if any("--json" in parameter.opts for parameter in command.params)
    }
    assert names == {
        "hashwarden hash",
        "hashwarden match",
        "hashwarden lookup",
        "hashwarden scan status",
        "hashwarden lists create",
        "hashwarden lists show",
        "hashwarden lists entry",
        "hashwarden lists import",
        "hashwarden lists export",
        "hashwarden lists inspect",
        "hashwarden lists stats",
        "hashwarden lists promote",
        "hashwarden lists demote",
        "hashwarden lists handling",
        "hashwarden lists retract",
        "hashwarden lists add",
        "hashwarden lists enrich",
        "hashwarden lists restore",
        "hashwarden lists rollback",
        "hashwarden lists purge",
        "hashwarden lists revisions",
        "hashwarden exchanges fetch",
        "hashwarden exchanges status",
        "hashwarden audit show",
        "hashwarden audit verify",
        "hashwarden review list",
        "hashwarden matches show",
        "hashwarden matches list",
        "hashwarden matches replay",
        "hashwarden matches undone",
        "hashwarden matches report",
        "hashwarden clients add",
        "hashwarden clients change",
        "hashwarden clients rotate",
        "hashwarden clients revoke",
        "hashwarden clients show",
        "hashwarden catalog backup",
        "hashwarden catalog restore",
        "hashwarden index status",
        "hashwarden index build",
        "hashwarden index verify",
        "hashwarden doctor",
    }
