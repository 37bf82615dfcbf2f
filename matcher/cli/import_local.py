"""Imports into the catalog of this machine.

A list that an import describes is created only once the file's beginning has proved good. Where an
import fails later, its list stays, empty; the next import can then correct what was said of it.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from hashlists.errors import HashlistsError, ListNotFoundError
from hashlists.formats.harm import require_harm
from hashlists.model import ChangeKind, Harm
from hashlists.words import counted
from matcher.cli.describing import HANDLING, Described
from matcher.cli.importing import another_list, may_retract, no_such_list, seekable
from matcher.cli.output import note, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hashlists.catalog import Catalog
    from hashlists.importer import FullList, ImportReport
    from hashlists.importing.full import Absent
    from hashlists.model import EntryBatch, HashList, Revision
    from matcher.cli.context import Session
    from matcher.cli.importing import ImportOrder

_NEWEST = 100
#: What the audit keeps of a report.
_TOLD = ("revision", "read", "added", "updated", "retracted", "rejected")


def import_here(session: Session, order: ImportOrder) -> ImportReport:
    """Imports the files; tells on standard error what happens to the list.

    Raises:
        HashlistsError: nothing was imported, and why.
        RefusalError: the same, since somebody has to be asked and nobody can be.
    """
    from hashlists.importer import import_files  # noqa: PLC0415  brings the catalog and numpy

    share, settings = order.max_rejected_share, session.settings
    with session.catalog(create=order.described.suffices) as catalog:
        settings.prepare_data_dir()  # copies lie there, wherever the catalog does
        prepare = _list_plan(catalog, order.list_name, order.described, author=session.author)
        harm = _require_harm(catalog, order)
        with (
            _telling_what_stays(catalog, order.list_name),
            ExitStack() as spooled,
            ExitStack() as watched,
            session.recorded(
                "list.import", order.list_name, format=order.format, reason=order.reason
            ) as told,
        ):
            bar = progress(f"Importing {order.shown_files}", of_bytes=True)
            advance = watched.enter_context(bar)
            report = import_files(
                catalog,
                [spooled.enter_context(seekable(each, settings.spool_dir)) for each in order.files],
                list_name=order.list_name,
                format=order.format,
                options=order.options,
                importer=session.author,
                reason=order.reason,
                idempotency_key=order.idempotency_key,
                max_rejected_share=settings.max_rejected_share if share is None else share,
                progress=lambda done, total, count: advance(done, total, counted(count, "record")),
                prepare_list=prepare,
                prepared_handling=order.described.handling,
                prepared_harm=harm,
                full=_full(order, before_asking=watched.close),
                force=order.force,
                spool_dir=settings.spool_dir,
                identities=order.identities,
            )
            told.update({name: getattr(report, name) for name in _TOLD})
            return report


def try_here(
    session: Session,
    catalog: Catalog,
    order: ImportOrder,
    observe: Callable[[EntryBatch], None],
    tell_refusal: Callable[[HashlistsError], None],
) -> ImportReport:
    """Tries an import out: everything is read, staged and compared, then dropped.

    Args:
        session: of the command.
        catalog: is not changed.
        order: what would be imported.
        observe: shown every validated batch.
        tell_refusal: told why it would not be imported, where what it would change can be told.

    Raises:
        HashlistsError: it would not be imported, and why.
    """
    from hashlists.importer import FullList, import_files  # noqa: PLC0415

    share, settings = order.max_rejected_share, session.settings
    spool_dir = settings.spool_dir if settings.data_dir.is_dir() else None  # nothing is made
    prepare = _list_plan(catalog, order.list_name, order.described, author=session.author)
    harm = _require_harm(catalog, order)
    with ExitStack() as opened:
        advance = opened.enter_context(progress(f"Reading {order.shown_files}", of_bytes=True))
        return import_files(
            catalog,
            [opened.enter_context(seekable(each, spool_dir)) for each in order.files],
            list_name=order.list_name,
            format=order.format,
            options=order.options,
            importer=session.author,
            max_rejected_share=settings.max_rejected_share if share is None else share,
            progress=lambda done, total, count: advance(done, total, counted(count, "record")),
            prepare_list=prepare,
            prepared_handling=order.described.handling,
            prepared_harm=harm,
            observers=[observe],
            dry_run=True,
            tell_refusal=tell_refusal,
            full=None if order.whole is None else FullList(force=order.whole.force),
            force=order.force,
            spool_dir=spool_dir,
            identities=order.identities,
        )


def _require_harm(catalog: Catalog, order: ImportOrder) -> Harm:
    """The harm of the list as it will be, in which the format's entries may stand.

    Raises:
        HarmMismatchError: they may not.
    """
    from hashlists.formats.registry import find_format  # noqa: PLC0415  brings numpy

    told, held = order.described.harm, None
    with suppress(ListNotFoundError):
        held = catalog.get_list(order.list_name).hash_list.harm
    harm = held if told is None else Harm(told)
    assert harm is not None, "the list is there, or was described"
    format_ = find_format(order.format)
    require_harm(format_, order.list_name, harm, order.options, planned=harm is not held)
    return harm


def _full(order: ImportOrder, *, before_asking: Callable[[], None]) -> FullList | None:
    """What is to be done with entries that the files do not name."""
    from hashlists.importer import FullList  # noqa: PLC0415  brings the catalog and numpy

    if order.whole is None:
        return None

    def confirm(absent: Absent) -> bool:
        before_asking()
        return may_retract(
            order.list_name,
            absent.entries,
            absent.before,
            look_first=", or put --plan in its place to see what would change",
        )

    return FullList(force=order.whole.force, confirm=None if order.whole.yes else confirm)


def _list_plan(
    catalog: Catalog, name: str, described: Described, *, author: str
) -> Callable[[], None] | None:
    """What has to be done so that the list is what the user takes it for; None for nothing.

    Raises:
        ListNotFoundError: it does not exist and too little was said of it to create it.
        ListExistsError: it is another than was described, and has held entries.
    """
    try:
        existing = catalog.get_list(name).hash_list
    except ListNotFoundError:
        if not described.suffices:
            raise no_such_list(name) from None
        return partial(
            _create_list, catalog, described.to_list(name, at_server=False), author=author
        )
    wrong = described.contradicted_by(existing)
    if not wrong:
        return None
    if catalog.was_filled(name) or not HANDLING.isdisjoint(wrong):
        raise another_list(name, wrong, described.state)
    return partial(_correct_list, catalog, name, described, list(wrong), author=author)


def _create_list(catalog: Catalog, hash_list: HashList, *, author: str) -> None:
    made = catalog.create_list(hash_list, author=author)
    note(f"The list {hash_list.name} was created: revision {made.revision} of the catalog.")


def _correct_list(
    catalog: Catalog, name: str, described: Described, wrong: Sequence[str], *, author: str
) -> None:
    catalog.update_list(
        name,
        author=author,
        reason="corrected before its first entry",
        state=described.state,
        title=described.title,
        legal_basis=described.legal_basis,
        harm=None if described.harm is None else Harm(described.harm),
        source=described.source,
    )
    words = ", ".join(f"{each.replace('_', ' ')} is {getattr(described, each)}" for each in wrong)
    note(f"The list {name}, which never held an entry, was corrected: its {words}.", style="yellow")


@contextmanager
def _telling_what_stays(catalog: Catalog, name: str) -> Iterator[None]:
    """Where an import ends early, says what it has left behind."""
    before = catalog.head()
    try:
        yield
    except BaseException as error:
        with suppress(HashlistsError):
            made = {each.kind for each in _revisions_since(catalog, name, before)}
            if ChangeKind.IMPORT in made:
                note("The import had been made already; see `hashwarden lists revisions`.")
            elif isinstance(error, KeyboardInterrupt):
                note("Nothing was imported.")
            if ChangeKind.CREATE_LIST in made and ChangeKind.IMPORT not in made:
                note(f"The list {name} stays, empty; the next import can correct its --harm.")
        raise


def _revisions_since(catalog: Catalog, name: str, revision: int) -> list[Revision]:
    newer = catalog.list_revisions(limit=_NEWEST)
    return [each for each in newer if each.number > revision and each.list_name == name]
