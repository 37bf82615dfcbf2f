"""The root of the command line: finds commands, turns errors into one clear line and a status.

Exit statuses: 0 all well; 1 what a command was asked about was found (`match`, `lookup`) or is
wrong (`doctor`, `index`); 2 an error; 130 interrupted. A bug never ends in 1, which would read as a
match.

Whatever is told of an error, and whoever words it, a hash that was typed in place of a file or a
name is not repeated: errors end in logs and on screens that others see.
"""

from __future__ import annotations

import difflib
import io
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashlists.errors import HashlistsError
from matcher import __version__
from matcher.cli.context import Session
from matcher.cli.output import printable, without_hashes
from matcher.errors import MatcherError, in_words

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130

#: In the order in which `--help` shows them.
_COMMANDS = {
    "serve": "matcher.cli.serve",
    "hash": "matcher.cli.hash",
    "match": "matcher.cli.match",
    "lookup": "matcher.cli.lookup",
    "scan": "matcher.cli.scan",
    "matches": "matcher.cli.matches",
    "lists": "matcher.cli.lists",
    "exchanges": "matcher.cli.exchanges",
    "index": "matcher.cli.index",
    "catalog": "matcher.cli.catalog",
    "clients": "matcher.cli.clients",
    "audit": "matcher.cli.audit",
    "review": "matcher.cli.review",
    "doctor": "matcher.cli.doctor",
}


class _UserError(click.ClickException):
    """An error whose cause lies outside the program; told in one line."""

    exit_code = EXIT_ERROR

    def show(self, file: Any = None) -> None:  # noqa: ARG002  click's signature
        _tell(self.message)


def _tell(message: str) -> None:
    """Tells an error; where it lists several mistakes, each on a line of its own."""
    first, *more = map(printable, without_hashes(message).split("\n"))
    click.echo("\n  ".join([click.style("error: ", fg="red", bold=True) + first, *more]), err=True)


class RootGroup(click.Group):
    """Loads each command when it is asked for, and tells errors of our own in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """Names of all commands, in the order of the help text."""
        return list(_COMMANDS)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002  click's signature
        cmd_name: str,
    ) -> click.Command | None:
        """Imports and returns the command of that name."""
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = import_module(module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; names the nearest where there is none of that name."""
        near = difflib.get_close_matches(args[0], _COMMANDS, n=1)
        if near and args[0] not in _COMMANDS:
            ctx.fail(f"No such command {args[0]!r}. Did you mean {near[0]!r}?")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; errors that a user can mend become a `ClickException`."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            raise self._placed(ctx, error) from error
        except (HashlistsError, MatcherError) as error:
            raise _UserError(str(error)) from error
        except BrokenPipeError:  # click would end with status 1, which reads as a match
            _forget_stdout()
            ctx.exit(EXIT_ERROR)
        except OSError as error:
            raise _UserError(in_words(error)) from error

    def _placed(self, ctx: click.Context, error: click.NoSuchOption) -> click.UsageError:
        """The error, which tells where the option belongs if it is one of ours."""
        name, below = error.option_name, error.ctx
        for ours in self.get_params(ctx):
            if below is not None and name in ours.opts:
                option = " ".join(filter(None, (name, ours.metavar)))
                command = below.command_path.removeprefix(ctx.command_path)
                return click.UsageError(
                    f"{name} stands before the command: {ctx.command_path} {option}{command} ...",
                    below,
                )
        return error


class _Folder(click.Path):
    """A folder; an empty name would mean the current one."""

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        if not os.fspath(value):
            self.fail("the name of the folder is empty", param, ctx)
        return super().convert(value, param, ctx)


@click.group(
    cls=RootGroup, name="hashwarden", context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(__version__, prog_name="hashwarden")
@click.option(
    "--data",
    metavar="DIR",
    type=_Folder(file_okay=False, path_type=Path),
    help="Where catalog and snapshots lie. Default: HASHWARDEN_DATA, else the platform's folder.",
)
@click.pass_context
def root(ctx: click.Context, data: Path | None) -> None:
    """Tells for every image whether it is already known abuse imagery. Holds hashes only.

    A hash match is a lead, not proof.
    """
    ctx.obj = Session(data)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit status; never raises but for `SystemExit`."""
    try:
        result = root.main(args=arguments, prog_name="hashwarden", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        _show(error)
        return EXIT_ERROR
    except click.Abort:
        click.echo("interrupted", err=True)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return EXIT_ERROR
    except Exception as error:  # noqa: BLE001  the last line of defence: a bug must not exit with 1
        _report_bug(error)
        return EXIT_ERROR
    return result if isinstance(result, int) else 0


def _show(error: click.ClickException) -> None:
    """Shows an error as click words it, usage and all, without what looks like a hash."""
    shown = io.StringIO()
    error.show(shown)
    click.echo(without_hashes(shown.getvalue()), err=True, nl=False)


def _forget_stdout() -> None:
    """The reader of our output is gone: keeps the interpreter from failing again as it exits."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report_bug(error: Exception) -> None:
    """Tells where a bug is. Leaves out the message, which may repeat a hash or a file's bytes."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"  {Path(f.filename).name}:{f.lineno} in {f.name}" for f in frames[-8:]]
    _tell(f"this is a bug in hashwarden {__version__}: {type(error).__name__}; please report it:")
    click.echo("\n".join(places), err=True)
