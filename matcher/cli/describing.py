"""Options that say what a hash list is, for the commands that create one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from hashlists.model import Harm, HashList, ListState

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Described:
    """What the user said of a list; None where nothing was said."""

    harm: str | None
    source: str | None
    title: str | None
    legal_basis: str | None
    state: ListState | None

    @property
    def suffices(self) -> bool:
        """Whether a list can be created from it."""
        return self.harm is not None and self.source is not None

    def contradicted_by(self, held: HashList) -> dict[str, str]:
        """What was said of the list and does not hold of `held`: by field, in words."""
        wrong = {}
        for each in fields(self):
            wanted, is_now = getattr(self, each.name), getattr(held, each.name)
            if wanted is not None and wanted != is_now:
                told = f"{each.name.replace('_', ' ')} is {is_now or 'empty'}, not {wanted}"
                wrong[each.name] = told
        return wrong

    def to_list(self, name: str, *, at_server: bool) -> HashList:
        """The list of that name; `suffices` must be true.

        Where nothing was said of its state, it is live here, where the operator works, and in
        shadow at a server, where whoever works from afar does not decide alone.
        """
        assert self.harm is not None
        assert self.source is not None
        return HashList(
            name=name,
            harm=Harm(self.harm),
            source=self.source,
            title=self.title or "",
            legal_basis=self.legal_basis or "",
            state=self.state or (ListState.SHADOW if at_server else ListState.LIVE),
        )


def described(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options that describe a list, given to the command as one `described`."""
    made = [
        click.option(
            "--harm",
            required=required,
            type=click.Choice([harm.value for harm in Harm]),
            help="The kind of harm that the whole list is about.",
        ),
        click.option("--source", required=required, help="The body that issues the list."),
        click.option("--title", help="A name for people."),
        click.option("--legal-basis", help="Why it may be held and matched here."),
        click.option(
            "--shadow",
            "state",
            flag_value=ListState.SHADOW,
            type=click.UNPROCESSED,
            help="Match and count it, but let it decide nothing, until `lists promote`. Default "
            "with --server.",
        ),
        click.option(
            "--live",
            "state",
            flag_value=ListState.LIVE,
            type=click.UNPROCESSED,
            help="Let it decide at once. Default without --server.",
        ),
    ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def gathered(*arguments: Any, **chosen: Any) -> None:
            described = Described(
                **{each.name: chosen.pop(each.name) for each in fields(Described)}
            )
            function(*arguments, described=described, **chosen)

        command: Callable[..., None] = gathered
        for option in reversed(made):
            command = option(command)
        return command

    return decorate
