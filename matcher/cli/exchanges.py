"""`hashwarden exchanges`: feeds of hashes that are fetched into lists.

No credential is an argument or an option: they come from the environment, or from a private file.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashlists.errors import HashlistsError
from hashlists.model import Harm, HashKind
from hashlists.words import counted
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.describing import Described
from matcher.cli.exchange_output import (
    exchange_record,
    print_exchanges,
    print_fetched,
    print_set_aside,
)
from matcher.cli.fed_list import list_to_make
from matcher.cli.mistakes import AllMissingTold, Mistakes
from matcher.cli.output import note, print_json, printable, progress, without_hashes
from matcher.cli.paths import ExistingPath
from matcher.cli.refusal import RefusalError

if TYPE_CHECKING:
    from hashlists.catalog import Catalog
    from hashlists.exchanges.base import Client
    from hashlists.exchanges.credentials import Credentials
    from hashlists.exchanges.registry import ExchangeSettings
    from hashlists.exchanges.report import FetchReport

_KINDS = ("ncmec", "stopncii", "threatexchange", "tat")
_FEEDBACK_KINDS = ("md5", "sha1", "photodna", "pdq")
_EXIT_SOME_FAILED = 2
_SHOWN_ASIDE = 20


@click.group("exchanges")
def command() -> None:
    """Fetch hashes from exchanges into lists, and see how that goes.

    Credentials come from environment variables, HASHWARDEN_EXCHANGE_ followed by the exchange's
    name and the credential's in capitals, or from a file that nobody else may read. HTTPS_PROXY and
    NO_PROXY are kept to.
    """


@command.command(cls=AllMissingTold)
@click.argument("name")
@click.option("--kind", required=True, type=click.Choice(_KINDS), help="What is spoken there.")
@click.option("--list", "list_name", required=True, metavar="LIST", help="The list that it fills.")
@click.option("--url", required=True, metavar="URL", help="Its address, https://HOST/PATH.")
@click.option(
    "--option",
    "chosen",
    multiple=True,
    metavar="NAME=VALUE",
    help="An option of its kind; may be repeated.",
)
@click.option(
    "--credentials-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Lines of NAME = VALUE, mode 0600; the environment goes before it.",
)
@click.option(
    "--ca-file",
    type=ExistingPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Certificates (PEM) that count instead of the system's.",
)
@click.option(
    "--harm",
    type=click.Choice([harm.value for harm in Harm]),
    help="Of the new list; needed where the kind of exchange does not say it.",
)
@click.option("--source", help="Of the new list: the body that issues it. Default: the kind.")
@click.option("--legal-basis", help="Of the new list: why it may be held here.")
@click.option("--originator", help="Who made its entries known; kept with each.")
@click.option(
    "--releasable-to",
    multiple=True,
    metavar="RECIPIENT",
    help="To whom its entries may go on; may be repeated. Default: nobody.",
)
@click.option("--live", is_flag=True, help="The list is live already, and may stay so.")
@pass_session
def add(session: Session, /, *, name: str, kind: str, list_name: str, **chosen: Any) -> None:
    """Add an exchange that fills a list; nothing is fetched yet.

    A list that is not there is created in shadow: it is matched and counted, and decides nothing
    until `hashwarden lists promote`. One that is there stays as it is, and must be what is said of
    it. Where the exchange cannot be added no list is created either; all that is wrong is told at
    once.
    """
    from hashlists.catalog.lists import require_name  # noqa: PLC0415  brings SQLAlchemy
    from hashlists.exchanges.registry import ExchangeSettings, check_settings  # noqa: PLC0415

    mistakes = Mistakes()
    with mistakes.gathered():
        settings = ExchangeSettings(
            chosen["url"],
            dict(map(_parse_option, chosen["chosen"])),
            _absolute(chosen["credentials_file"]),
            _absolute(chosen["ca_file"]),
        )
        check_settings(kind, settings)
    for named, what in ((name, "an exchange"), (list_name, "a list")):
        with mistakes.gathered():
            require_name(named, what)
    described = Described(
        harm=chosen["harm"],
        source=chosen["source"],
        title=None,
        legal_basis=chosen["legal_basis"],
        state=None,
        originator=chosen["originator"],
        releasable_to=tuple(dict.fromkeys(chosen["releasable_to"])) or None,
    )
    made = list_to_make(session, kind, list_name, described, mistakes, live=chosen["live"])
    mistakes.raise_any()
    document = settings.to_document()
    with (
        session.catalog(create=True) as catalog,
        session.recorded("exchange.add", name, kind=kind, list=list_name),
    ):
        if made is not None:
            catalog.add_exchange_with_list(
                name, kind=kind, hash_list=made, settings=document, author=session.author
            )
        else:
            catalog.add_exchange(name, kind=kind, list_name=list_name, settings=document)
    if made is not None:
        note(f"The list {list_name} was created in shadow; see: hashwarden lists promote --help")
    note(f"The exchange {name} was added; fetch it with: hashwarden exchanges fetch {name}")


@command.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option("--full", is_flag=True, help="Fetch all anew, and withdraw what is gone there.")
@click.option("--force", is_flag=True, help="With --full: withdraw whatever speaks against it.")
@options.as_json
@click.pass_context
@pass_session
def fetch(
    session: Session,
    ctx: click.Context,
    *,
    names: tuple[str, ...],
    full: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Fetch what is new, from the named exchanges or all that are not paused.

    What was fetched counts page by page, so whatever ends a fetch, the next one goes on from there.
    The failure of one exchange does not keep the others from being fetched.

    Exit status: 0 where all of them were fetched; 2 where one could not be, or where none is there
    or all are paused, so that nothing was fetched.
    """
    if force and not full:
        raise click.UsageError("--force needs --full")
    failed = False
    with session.catalog() as catalog:
        for name in names or _active(catalog):
            with session.recorded("exchange.fetch", name, full=full) as told:
                told["fetched"] = _fetch(
                    session, catalog, name, full=full, force=force, as_json=as_json
                )
            failed |= not told["fetched"]
    ctx.exit(_EXIT_SOME_FAILED if failed else 0)


@command.command()
@click.argument("name", required=False)
@options.as_json
@pass_session
def status(session: Session, *, name: str | None, as_json: bool) -> None:
    """Show how far exchanges were fetched, and what went wrong.

    With a NAME also which records were set aside last: where they stood and why, never what they
    held.
    """
    from hashlists.exchanges.clock import Clock  # noqa: PLC0415

    with session.catalog() as catalog:
        records = [catalog.get_exchange(name)] if name else catalog.list_exchanges()
        now = Clock().now()
        shown = []
        for record in records:
            entries = catalog.get_list(record.list_name).coverage.entries
            aside = catalog.list_set_aside(record.name, limit=_SHOWN_ASIDE) if name else []
            shown.append(exchange_record(record, entries, aside, now))
    if as_json:
        for each in shown:
            print_json(each)
        return
    print_exchanges(shown)
    if name:
        print_set_aside(shown[0])


@command.command("set")
@click.argument("name")
@click.option(
    "--credentials-file",
    type=ExistingPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Lines of NAME = VALUE, mode 0600; the environment goes before it.",
)
@click.option("--no-credentials-file", is_flag=True, help="Only the environment gives them.")
@click.option(
    "--ca-file",
    type=ExistingPath(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Certificates (PEM) that count instead of the system's.",
)
@click.option("--no-ca-file", is_flag=True, help="The system's certificates count.")
@pass_session
def set_files(
    session: Session,
    *,
    name: str,
    credentials_file: Path | None,
    no_credentials_file: bool,
    ca_file: Path | None,
    no_ca_file: bool,
) -> None:
    """Name other files for an exchange; it goes on where it was.

    Its address, its kind and its options stay, since what was fetched so far hangs on them: for
    others remove it and add it again, which fetches everything anew.
    """
    from hashlists.exchanges.credentials import require_private_file  # noqa: PLC0415
    from hashlists.exchanges.registry import ExchangeSettings  # noqa: PLC0415

    if (credentials_file and no_credentials_file) or (ca_file and no_ca_file):
        raise click.UsageError("a file is either named or there is none")
    if not (credentials_file or no_credentials_file or ca_file or no_ca_file):
        raise click.UsageError("nothing is to be set: name a file")
    if credentials_file:
        require_private_file(credentials_file)
    with session.catalog() as catalog:
        settings = ExchangeSettings.from_document(catalog.get_exchange(name).settings)
        if credentials_file or no_credentials_file:
            settings = replace(settings, credentials_file=_absolute(credentials_file))
        if ca_file or no_ca_file:
            settings = replace(settings, ca_file=_absolute(ca_file))
        with session.recorded("exchange.set", name):
            catalog.update_exchange(name, settings=settings.to_document())
    note(f"The exchange {name} was changed; it goes on where it was.")


@command.command()
@click.argument("name")
@pass_session
def pause(session: Session, *, name: str) -> None:
    """Fetch an exchange no longer, until it is resumed; its list stays as it is."""
    _set_state(session, name, "paused")


@command.command()
@click.argument("name")
@pass_session
def resume(session: Session, *, name: str) -> None:
    """Fetch a paused exchange again; it goes on where it was."""
    _set_state(session, name, "active")


@command.command()
@click.argument("name")
@pass_session
def remove(session: Session, *, name: str) -> None:
    """Forget an exchange, and how far it was fetched; its list and entries stay."""
    with session.catalog() as catalog:
        record = catalog.get_exchange(name)
        with session.recorded("exchange.remove", name, list=record.list_name):
            catalog.remove_exchange(name)
    note(f"The exchange {name} was removed; the list {record.list_name} stays as it is.")


@command.command()
@click.argument("name")
@click.argument("opinion", type=click.Choice(["affirmative", "negative"]))
@click.option("--entry", required=True, type=int, metavar="ID", help="As matches show it.")
@click.option(
    "--kind", required=True, type=click.Choice(_FEEDBACK_KINDS), help="Which of its hashes."
)
@click.option(
    "--reason",
    "reasons",
    multiple=True,
    metavar="GUID",
    help="Why negative, as the exchange numbers its reasons; may be repeated.",
)
@pass_session
def feedback(
    session: Session, *, name: str, opinion: str, entry: int, kind: str, reasons: tuple[str, ...]
) -> None:
    """Tell NCMEC what you think of one hash of an entry that came from there."""
    from hashlists.exchanges.clock import Clock  # noqa: PLC0415
    from hashlists.exchanges.ncmec_feedback import Feedback, send_feedback  # noqa: PLC0415
    from matcher.settings import exchange_proxy  # noqa: PLC0415

    if (opinion == "negative") != bool(reasons):
        raise click.UsageError("negative feedback needs --reason, and affirmative takes none")
    told = Feedback(entry, HashKind(kind), reasons)
    said = {"entry": entry, "kind": kind, "opinion": opinion, "reasons": list(reasons)}
    with session.catalog() as catalog, session.recorded("exchange.feedback", name, **said):
        credentials = partial(_credentials, name)
        send_feedback(catalog, name, told, credentials, Clock(), proxy_for=exchange_proxy)
    note(f"The {opinion} feedback on the {kind} of entry {entry} was accepted.")


def _active(catalog: Catalog) -> list[str]:
    """The names of all exchanges that are not paused.

    Raises:
        RefusalError: there are none; a fetch of nothing must not look like one of everything.
    """
    records = catalog.list_exchanges()
    active = [each.name for each in records if each.state.value == "active"]
    if not records:
        raise RefusalError("there is no exchange to fetch; see: hashwarden exchanges add --help")
    if not active:
        what = (
            f"all {len(records)} exchanges are paused"
            if len(records) > 1
            else f"the exchange {records[0].name} is paused"
        )
        raise RefusalError(f"{what}, so nothing was fetched; see: hashwarden exchanges resume")
    return active


def _fetch(
    session: Session, catalog: Catalog, name: str, *, full: bool, force: bool, as_json: bool
) -> bool:
    """Fetches one exchange; tells its error rather than raising it."""
    from hashlists.exchanges.fetching import FetchOrder, fetch  # noqa: PLC0415
    from matcher.settings import exchange_proxy  # noqa: PLC0415

    shown = printable(without_hashes(name))  # a hash may stand where a name was expected
    with progress(f"Fetching {shown}") as advance:

        def watch(report: FetchReport) -> None:
            advance(report.pages, report.pages, counted(report.records, "record"))

        order = FetchOrder(
            session.author, full=full, force=force, watch=watch, proxy_for=exchange_proxy
        )
        try:
            report = fetch(catalog, name, order, partial(_credentials, name))
        except HashlistsError as error:
            problem: HashlistsError = error
        else:
            print_fetched(report, as_json=as_json)
            return True
    told = printable(without_hashes(str(problem)))
    if as_json:
        print_json({"exchange": shown, "error": {"reason": problem.reason, "detail": told}})
    click.echo(f"{click.style('error:', fg='red')} {shown}: {told}", err=True)
    return False


def _credentials(name: str, client: Client, settings: ExchangeSettings) -> Credentials:
    from hashlists.exchanges.credentials import find_credentials  # noqa: PLC0415
    from matcher.settings import exchange_credentials, exchange_variable  # noqa: PLC0415

    return find_credentials(
        client.credential_names,
        exchange_credentials(name, client.credential_names),
        settings.credentials_file,
        variable_of=partial(exchange_variable, name),
    )


def _set_state(session: Session, name: str, state: str) -> None:
    from hashlists.catalog import ExchangeState  # noqa: PLC0415  brings SQLAlchemy

    with session.catalog() as catalog, session.recorded("exchange.set", name, state=state):
        catalog.update_exchange(name, state=ExchangeState(state))
    note(f"The exchange {name} is {state}.")


def _parse_option(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise click.UsageError(f"--option takes NAME=VALUE, not {printable(text)!r}")
    return name, value


def _absolute(path: Path | None) -> Path | None:
    """A fetch may run in another folder."""
    return None if path is None else path.absolute()
