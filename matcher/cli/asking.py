"""Asks a person before something is done that cannot simply be undone."""

from __future__ import annotations

import sys

import click

from matcher.cli.output import is_terminal
from matcher.cli.refusal import RefusalError


def can_ask() -> bool:
    """Whether a person watches, and can answer."""
    return sys.stdin.isatty() and is_terminal(error=True)


def require_someone_to_ask(*, otherwise: str) -> None:
    """Refuses what would have to be asked about where nobody can be.

    Args:
        otherwise: what to do instead, e.g. "add --yes".

    Raises:
        RefusalError: nobody watches.
    """
    if not can_ask():
        raise RefusalError(f"nobody can be asked here: {otherwise}")


def agreed(question: str) -> bool:
    """Whether the person says yes; asked on standard error."""
    return click.confirm(question, err=True)


__all__ = ["agreed", "can_ask", "require_someone_to_ask"]
