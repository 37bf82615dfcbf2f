"""All that is wrong with a command, told at once: else each mistake takes another try."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from hashlists.errors import HashlistsError
from matcher.cli.refusal import RefusalError
from matcher.errors import MatcherError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Mistakes:
    """What checks found wrong, each on its own."""

    def __init__(self) -> None:
        self._found: list[HashlistsError | MatcherError | click.UsageError] = []

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Keeps what is raised within, so that the next check is made, too."""
        try:
            yield
        except (HashlistsError, MatcherError, click.UsageError) as error:
            self._found.append(error)

    def raise_any(self) -> None:
        """Tells what was found.

        Raises:
            HashlistsError, MatcherError, UsageError: the one mistake that there is.
            RefusalError: there are several; each is told on a line.
        """
        if len(self._found) == 1:
            raise self._found[0]
        if self._found:
            raise RefusalError("\n".join(_in_words(each) for each in self._found))


class AllMissingTold(click.Command):
    """A command that names all required options that were not given, and not the first alone."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses the arguments.

        Raises:
            UsageError: required options are missing, or anything else is wrong.
        """
        given = list(args)
        try:
            return super().parse_args(ctx, args)
        except click.MissingParameter:
            said: dict[str, Any] = self.make_parser(ctx).parse_args(given)[0]
            missing = [
                each.get_error_hint(ctx)
                for each in self.get_params(ctx)
                if each.required and said.get(each.name or "") is None
            ]
            if len(missing) == 1:
                raise
            told = f"these are missing: {', '.join(missing)}"
            raise click.UsageError(told, ctx) from None


def _in_words(error: HashlistsError | MatcherError | click.UsageError) -> str:
    return error.message if isinstance(error, click.UsageError) else str(error)


__all__ = ["AllMissingTold", "Mistakes"]
