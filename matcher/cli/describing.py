"""Options that say what a hash list is, for the commands that create one."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from hashlists.model import Handling, Harm, HashList, ListState

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
    originator: str | None = None
    releasable_to: tuple[str, ...] | None = None
    expires_at: datetime | None = None

    @property
    def suffices(self) -> bool:
        """Whether a list can be created from it."""
        return self.harm is not None and self.source is not None

    @property
    def handling(self) -> Handling:
        """Of a list that is created from it."""
        return Handling(self.originator or "", self.releasable_to or (), self.expires_at)

    def contradicted_by(self, held: HashList) -> dict[str, str]:
        """What was said of the list and does not hold of `held`: by field, in words."""
        wrong = {}
        for each in fields(self):
            place = held.handling if each.name in HANDLING else held
            wanted, is_now = getattr(self, each.name), getattr(place, each.name)
            if wanted is not None and wanted != is_now:
                told = f"{each.name.replace('_', ' ')} is {_shown(is_now)}, not {_shown(wanted)}"
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
            handling=self.handling,
        )


#: How a moment is given.
MOMENT = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"])
#: What is said of an entry's handling where the entry itself says nothing.
HANDLING = frozenset({"originator", "releasable_to", "expires_at"})


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "nobody"
    return str(value or "empty")


def names(
    _context: click.Context, _option: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...] | None:
    """Callback of an option that is given once for each name; None where it is not given."""
    return tuple(dict.fromkeys(given)) or None


def in_utc(
    context: click.Context, option: click.Parameter, given: datetime | None
) -> datetime | None:
    """Callback of an option that says until when entries may be used."""
    if given is None:
        return None
    end = given.replace(tzinfo=UTC)
    if end <= datetime.now(UTC):
        raise click.BadParameter(
            f"{end:%Y-%m-%d %H:%M} UTC is over: no entry of the list would match", context, option
        )
    return end


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
        click.option(
            "--originator",
            metavar="NAME",
            help="Who made the entries known, where they do not say so themselves.",
        ),
        click.option(
            "--releasable-to",
            metavar="NAME",
            multiple=True,
            callback=names,
            help="To whom entries that do not say so themselves may be released: the recipient "
            "that `lists export` names. Nobody by default. May be repeated.",
        ),
        click.option(
            "--expires",
            "expires_at",
            type=MOMENT,
            callback=in_utc,
            help="Until when, in UTC, entries that do not say so themselves may be used.",
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
