"""What is said of a list on the command line, its handling above all."""

from __future__ import annotations

from datetime import UTC, datetime

import click
from click.testing import CliRunner

from hashlists.model import Handling, Harm, HashList, ListState
from matcher.cli.describing import Described, described

REQUIRED = ["--harm", "test", "--source", "us"]


def parse(*arguments: str) -> Described:
    given: list[Described] = []

    @click.command()
    @described(required=True)
    def command(described: Described) -> None:
        given.append(described)

    result = CliRunner().invoke(command, [*REQUIRED, *arguments], standalone_mode=False)
    assert result.exception is None, result.output
    return given[0]


def test_without_handling_nothing_goes_on():
    made = parse().to_list("demo", at_server=False)
    assert made.handling == Handling()
    assert made.state is ListState.LIVE


def test_handling_of_a_list():
    made = parse(
        *("--originator", "Unit A"),
        *("--releasable-to", "Unit B", "--releasable-to", "Unit C", "--releasable-to", "Unit B"),
        *("--expires", "2030-01-02"),
    ).to_list("demo", at_server=True)
    end = datetime(2030, 1, 2, tzinfo=UTC)
    assert made.handling == Handling("Unit A", ("Unit B", "Unit C"), end)
    assert made.state is ListState.SHADOW


def test_what_is_said_otherwise_than_held_is_told():
    held = HashList("demo", Harm.TEST, "us", handling=Handling("", ("Unit B",)))
    assert parse("--releasable-to", "Unit B").contradicted_by(held) == {}
    assert parse().contradicted_by(held) == {}
    other = parse("--releasable-to", "Unit C", "--originator", "Unit A")
    assert other.contradicted_by(held) == {
        "originator": "originator is empty, not Unit A",
        "releasable_to": "releasable to is Unit B, not Unit C",
    }
