"""Files and folders that must be there. One that is not is told in one line, without the usage.

Whoever mistypes a name knows how the command is used; what they need is which name, and why.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any, NoReturn

import click

from matcher.cli.refusal import RefusalError

if TYPE_CHECKING:
    from pathlib import Path


class ExistingPath(click.Path):
    """As `click.Path` with `exists`; what is wrong with a path is a `RefusalError`."""

    def __init__(
        self,
        *,
        dir_okay: bool = True,
        allow_dash: bool = False,
        path_type: type[Path | str] | None = None,
    ) -> None:
        super().__init__(exists=True, dir_okay=dir_okay, allow_dash=allow_dash, path_type=path_type)

    def convert(
        self,
        value: str | os.PathLike[str],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:
        """The path, as `click.Path` converts it."""
        name = os.fspath(value)
        if not name:
            raise RefusalError("the name of a file is empty")
        if not self.dir_okay and os.path.isdir(name):  # noqa: PTH112  bytes are names, too
            folder = os.fsdecode(name).rstrip("/") or "/"
            raise RefusalError(
                f"{folder} is a folder, and files are wanted; to name all that it holds: "
                f"{shlex.quote(folder)}/*"
            )
        return super().convert(value, param, ctx)

    def fail(
        self,
        message: str,
        param: click.Parameter | None = None,  # noqa: ARG002  click's signature
        ctx: click.Context | None = None,  # noqa: ARG002
    ) -> NoReturn:
        """Refuses the path.

        Raises:
            RefusalError: always.
        """
        raise RefusalError(message)


__all__ = ["ExistingPath"]
