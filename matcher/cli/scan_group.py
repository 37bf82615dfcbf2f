"""How `hashwarden scan` reads its command line: what to scan, or one of its sub-commands.

The first word decides: the name of a sub-command is that, all else is a scan. A folder named like a
sub-command is given as ./NAME.
"""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ALIKE: Final = 0.75  # of 1: "statu" and "reprot" are, "photos" and "reports-2026" are not
_CHOSEN: Final = "matcher.cli.scan_group.chosen"


class Section(click.Option):
    """An option that `--help` shows under a heading.

    Args:
        section: the heading.
    """

    def __init__(self, *arguments: Any, section: str, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.section = section


class Urls(click.Argument):
    """What is scanned; it is no part of how sub-commands are used."""

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Nothing: the usage is written by the group."""
        return []


def settled(args: Sequence[str], optional: Mapping[str, str]) -> list[str]:
    """The arguments with a value for each option that was given without one.

    Args:
        args: as they were given.
        optional: options whose value may be left out, with what stands for it then. A number
            behind one of them is its value.
    """
    found: list[str] = []
    for place, each in enumerate(args):
        if each == "--":
            return [*found, *args[place:]]
        follows = args[place + 1] if place + 1 < len(args) else ""
        found.append(
            f"{each}={optional[each]}" if each in optional and not follows.isdecimal() else each
        )
    return found


class OptionalValues(click.Command):
    """A command with options whose value may be left out.

    Args:
        optional: as for `settled`.
    """

    def __init__(self, *arguments: Any, optional: dict[str, str], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.optional = optional

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments."""
        return super().parse_args(ctx, settled(args, self.optional))


class ScanGroup(click.Group):
    """A command with sub-commands beside it.

    Args:
        optional: as for `settled`.
    """

    def __init__(self, *arguments: Any, optional: dict[str, str], **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.optional = optional
        self.allow_interspersed_args = True

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names of the sub-commands, in the order in which they were added."""
        return list(self.commands)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses what is to be scanned; leaves what a sub-command was given to that.

        Raises:
            UsageError: an option is wrong, or a sub-command stands behind others.
        """
        if args and args[0] in self.commands:
            ctx.meta[_CHOSEN] = (args[0], args[1:])
            return []
        if args and "/" not in args[0] and not Path(args[0]).exists():
            for meant in get_close_matches(args[0], self.commands, n=1, cutoff=_ALIKE):
                raise click.UsageError(
                    f"{args[0]!r} is no command and no folder here; did you mean "
                    f"{f'{ctx.command_path} {meant}'!r}?",
                    ctx,
                )
        if not args:
            args = ["--help"]
        return click.Command.parse_args(self, ctx, settled(args, self.optional))

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the sub-command, or the scan."""
        chosen = ctx.meta.pop(_CHOSEN, None)
        if chosen is None:
            return click.Command.invoke(self, ctx)
        name, rest = chosen
        ctx.invoked_subcommand = name
        command = self.commands[name]
        with command.make_context(name, rest, parent=ctx) as below:
            return command.invoke(below)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes both ways of using it."""
        formatter.write_usage(ctx.command_path, "[OPTIONS] URL...")
        formatter.write_usage(ctx.command_path, "COMMAND [ARGS]...", prefix=" " * len("Usage: "))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options under their headings, and the sub-commands."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for each in self.get_params(ctx):
            shown = each.get_help_record(ctx)
            if shown is not None and isinstance(each, click.Option):
                heading = each.section if isinstance(each, Section) else "Help"
                sections.setdefault(heading, []).append(shown)
        for heading, shown_options in sections.items():
            with formatter.section(heading):
                formatter.write_dl(shown_options)
        self.format_commands(ctx, formatter)


__all__ = ["OptionalValues", "ScanGroup", "Section", "Urls", "settled"]
