"""Reads what `--views` is given."""

from __future__ import annotations

import click


def split_views(text: str) -> tuple[str, ...]:
    """The names in a comma-separated list; whether they exist is for the policy to say.

    Raises:
        click.BadParameter: it names nothing.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise click.BadParameter("names no view", param_hint="--views")
    return names
